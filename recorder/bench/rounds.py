"""The benchmark from its first message to its result.

Owns the order: a warm-up that says how many messages make a round, rounds of recorder and ceiling in turn, one round
for the stages, then steady rates with a recorder of their own each.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from recorder.bench import Options
from recorder.bench.ceiling import measure as ceiling
from recorder.bench.ceiling import transactions
from recorder.bench.latency import percentile
from recorder.bench.load import Load
from recorder.bench.pipeline import STAGES, Pipeline, Round, config, running
from recorder.bench.report import Pace, Pair, Result
from recorder.bench.server import Facts, scratch
from recorder.simulator.flatout import Traffic, stored
from recorder.store.local import LocalServer
from recorder.store.migrate import migrate_url

WARM_UP = 20_000
MOST = 1_000_000  # messages a round: they are all held ready, 200 to 800 bytes each
PACES = ((10_000.0, 0.02), (2_000.0, 0.005))  # messages a second, flush_age: the targets of the design
FLUSH_AGE = 0.1  # the default
BARE_COMMITS = 200

Say = Callable[[str], None]


@contextmanager
def local_server(directory: Path, say: Say) -> Iterator[str]:
    """A server of our own for as long as the benchmark takes."""
    directory.chmod(0o755)  # the server may run as another account
    server = LocalServer(directory / "postgres", say=say)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, server.directory, ignore_errors=True)  # it may lie elsewhere
        server.start()
        stack.callback(server.stop)
        yield server.owner_url


def measure(options: Options, where: Path, url: str, say: Say) -> Result:
    """All of it, in databases of its own on the server of `url`."""
    bench = Bench(options, where, url, say)
    pairs, stages = bench.flat_out()
    paces = [bench.pace(rate, flush_age) for rate, flush_age in PACES] if options.paced else []
    facts, bare = bench.server()
    return Result(options.mix, facts, tuple(pairs), stages, tuple(paces), bare)


class Bench:
    """The rounds."""

    def __init__(self, options: Options, where: Path, url: str, say: Say) -> None:
        self._options = options
        self._where = where
        self._url = url
        self._say = say
        self._started = 0

    @contextmanager
    def _recorder(self, flush_age: float) -> Iterator[Pipeline]:
        """A sender and a recorder, both at their beginning: an empty database, an empty data directory."""
        self._started += 1
        where, mix = self._where / f"recorder-{self._started}", self._options.mix
        with ExitStack() as stack:
            room = stack.enter_context(scratch(self._url))
            migrate_url(room.url)
            # One certificate for all senders: a process loads what it trusts once.
            load = stack.enter_context(Load(self._where / "certificate"))
            settings = config(where, room.url, load, mix, flush_age)
            yield stack.enter_context(running(settings, load, room, mix))

    def flat_out(self) -> tuple[list[Pair], Round]:
        """Pairs of rounds, then the round of the stages."""
        with self._recorder(FLUSH_AGE) as recorder:
            self._say("warming up …")
            warm = recorder.flat_out(WARM_UP)
            count = int(min(MOST, max(WARM_UP, warm.rate * self._options.seconds))) // 100 * 100  # whole mixes
            pairs = [self._pair(recorder, count, n) for n in range(1, self._options.rounds + 1)]
            self._say("stages …")
            return pairs, recorder.flat_out(count, STAGES)

    def _pair(self, recorder: Pipeline, count: int, n: int) -> Pair:
        self._say(f"round {n}: recorder, {count:,} messages …")
        found = recorder.flat_out(count)
        self._say(f"round {n}: ceiling …")
        room = recorder.scratch
        tables = {table: room.read(table) for table in Traffic().channels(self._options.mix)}  # their names are alike
        room.empty()
        work = transactions(tables, count / max(1, found.flushes))
        del tables
        return Pair(found, ceiling(room.url, work, stored(self._options.mix, count)))

    def pace(self, rate: float, flush_age: float) -> Pace:
        """One steady rate."""
        self._say(f"{rate:,.0f} messages a second …")
        with self._recorder(flush_age) as recorder:
            latency, late = recorder.paced(rate, max(2.0, self._options.seconds))
        return Pace(rate, flush_age, latency, late)

    def server(self) -> tuple[Facts, tuple[float, float]]:
        """What the server is, and p50 and p99 of its bare commits."""
        with scratch(self._url) as room:
            migrate_url(room.url)
            bare = room.bare_commits(BARE_COMMITS)
            return room.facts(), (percentile(bare, 0.5), percentile(bare, 0.99))
