"""The benchmark's own arithmetic: what it says of the recorder can only be as good as this."""

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from recorder.bench.ceiling import BLOCK, transactions
from recorder.bench.latency import latency, percentile
from recorder.bench.server import backend_cpu
from recorder.bench.stages import Commits, Point, Stopwatch
from recorder.records import Burst, Header, Kind, Streams, stamp
from recorder.simulator.flatout import LEVELS, MIXES, SYMBOLS, VENUE, Traffic, stored
from recorder.venues import Continuity, venues

START = 1_780_000_000_000_000


def lines(*received: int) -> bytes:
    return b"".join(f"{stamp(START)}\t{stamp(START + us)}\tbench\ttrades\tX\t1\n".encode() for us in received)


class TestLatency:
    """Percentiles over messages."""

    def test_counts_every_message_once(self) -> None:
        """p99 is over messages, not over flushes: a flush of a hundred weighs a hundred times one of one."""
        kept = [(START + 2_000_000, lines(*[1_990_000] * 99)), (START + 2_500_000, lines(2_000_000))]
        found = latency(kept, skip_us=0)
        assert found is not None
        assert (found.messages, found.p50, found.p99, found.worst) == (100, 10.0, 10.0, 500.0)
        kept = [(START + 2_000_000, lines(*[1_990_000] * 98)), (START + 2_500_000, lines(2_000_000, 2_000_000))]
        found = latency(kept, skip_us=0)
        assert found is not None
        assert found.p99 == 500.0

    def test_leaves_the_warm_up_out(self) -> None:
        """The first half second after the first message does not count."""
        kept = [(START + 900_000, lines(0, 499_999)), (START + 905_000, lines(500_000))]
        found = latency(kept)
        assert found is not None
        assert (found.messages, found.worst) == (1, 405.0)

    def test_nothing_is_nothing(self) -> None:
        """No message, no figure."""
        assert latency([]) is None
        assert latency([(START + 10, lines(0))]) is None

    def test_percentile_of_a_list(self) -> None:
        """Seconds in, milliseconds out."""
        assert percentile([n / 1000 for n in range(100)], 0.5) == pytest.approx(50)
        assert percentile([0.001], 0.99) == pytest.approx(1)


class TestCeiling:
    """The ready-made transactions."""

    def test_all_rows_in_order_in_equal_commits(self) -> None:
        """Cutting loses nothing, changes no order, and keeps the commits' size."""
        rows = [f"{n}\tx\n".encode() for n in range(1003)]
        work = transactions({"trades": b"".join(rows)}, 100)
        assert len(work) == 10
        assert b"".join(block for parts in work for _, blocks in parts for block in blocks) == b"".join(rows)
        sizes = [b"".join(blocks).count(b"\n") for parts in work for _, blocks in parts]
        assert max(sizes) - min(sizes) <= 1

    def test_every_commit_has_its_share_of_every_table(self) -> None:
        """A mix is committed as a mix."""
        work = transactions({"trades": b"t\n" * 500, "books": b"b\n" * 300, "tickers": b"k\n" * 200}, 100)
        assert [[(table, sum(b.count(b"\n") for b in blocks)) for table, blocks in parts] for parts in work] == [
            [("trades", 50), ("books", 30), ("tickers", 20)]
        ] * 10

    def test_blocks_are_of_256_kib(self) -> None:
        """The size at which COPY is fastest; only the last of a commit is smaller."""
        ((_, blocks),) = transactions({"trades": (b"x" * 99 + b"\n") * 10_000}, 10_000)[0]
        assert [len(block) for block in blocks] == [BLOCK, BLOCK, BLOCK, 1_000_000 - 3 * BLOCK]

    def test_fewer_rows_than_a_commit_takes(self) -> None:
        """One commit, without empty parts."""
        assert transactions({"trades": b"1\n", "books": b""}, 20_000) == [[("trades", [b"1\n"])]]


class Machine:
    """Something with stages inside each other."""

    def outer(self) -> str:
        spin(0.02)
        self.inner()
        return "done"

    def inner(self) -> None:
        spin(0.04)

    def waits(self, event: threading.Event) -> None:
        event.wait(0.2)


def spin(seconds: float) -> None:
    """Use so much CPU, whatever else runs on the machine."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class TestStopwatch:
    """CPU by stage."""

    POINTS = (Point("outer", Machine, "outer"), Point("inner", Machine, "inner"), Point("waits", Machine, "waits"))

    def test_a_stage_does_not_count_what_is_inside_it(self) -> None:
        """Stages add up to the whole: nothing is counted twice."""
        with Stopwatch().over(self.POINTS) as watch:
            assert Machine().outer() == "done"
        assert watch.seconds()["outer"] == pytest.approx(0.02, abs=0.015)
        assert watch.seconds()["inner"] == pytest.approx(0.04, abs=0.015)

    def test_waiting_is_free(self) -> None:
        """Only CPU counts: a thread that waits for the disk or the database uses none."""
        with Stopwatch().over(self.POINTS) as watch:
            Machine().waits(threading.Event())
        assert watch.seconds()["waits"] < 0.05

    def test_threads_add_up(self) -> None:
        """What several threads spend in one stage is one sum."""
        with Stopwatch().over(self.POINTS) as watch:
            threads = [threading.Thread(target=Machine().inner) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert watch.seconds()["inner"] == pytest.approx(0.12, abs=0.04)

    def test_methods_are_put_back(self) -> None:
        """After measuring, the classes are as before, also when the measured code raised; inherited stays inherited."""

        class Heir(Machine):
            pass

        before = Machine.outer
        with pytest.raises(ZeroDivisionError), Stopwatch().over([*self.POINTS, Point("heir", Heir, "outer")]):
            raise ZeroDivisionError
        assert Machine.outer is before
        assert "outer" not in vars(Heir)


@dataclass
class FakeRows:
    data: bytes


@dataclass
class FakePart:
    rows: FakeRows


@dataclass
class FakeFlush:
    rows: int
    parts: dict[str, list[FakePart]] = field(default_factory=dict)


class FakeSink:
    def commit(self, flush: Any) -> list[str]:
        if flush.rows < 0:
            raise ConnectionError("lost")
        return ["quarantined"]


class TestCommits:
    """What was committed, and when."""

    def test_counts_only_what_was_committed(self) -> None:
        """A commit that failed is not one; a flush without rows moves a position, but is none of ours."""
        with Commits().of(FakeSink) as commits:
            assert FakeSink().commit(FakeFlush(10)) == ["quarantined"]
            FakeSink().commit(FakeFlush(0))
            with pytest.raises(ConnectionError):
                FakeSink().commit(FakeFlush(-5))
        assert (commits.rows, commits.flushes) == (10, 1)
        assert commits.wait(10, 0)
        assert not commits.wait(11, 0)

    def test_wakes_whoever_waits(self) -> None:
        """The end of a round is the commit of its last row, not the next look at a counter."""
        with Commits().of(FakeSink) as commits:
            thread = threading.Thread(target=FakeSink().commit, args=(FakeFlush(3),))
            thread.start()
            assert commits.wait(3, 20)
            thread.join()

    def test_keeps_lines_on_request(self) -> None:
        """For latency: the lines with the time of their commit."""
        with Commits(keep=True).of(FakeSink) as commits:
            FakeSink().commit(FakeFlush(1, {"trades": [FakePart(FakeRows(b"line\n"))]}))
        assert [data for _, data in commits.kept] == [b"line\n"]


def test_cpu_of_processes_that_are_not_the_servers() -> None:
    """A backend elsewhere, or a process that is no server, has no figure rather than a wrong one."""
    assert backend_cpu(None) is None
    assert backend_cpu(1) is None
    assert backend_cpu(2**22 + 1) is None


class TestTraffic:
    """What the sender sends is a market as far as the recorder can tell."""

    @pytest.mark.parametrize("mix", sorted(MIXES.keys() - {"poisoned"}))
    def test_runs_on_without_holes(self, mix: str) -> None:
        """Every message becomes one row; ids and chains run on over orders, so nothing is a gap or a duplicate."""
        traffic, streams = Traffic(), Streams()
        header = Header("id", "f", "bench", VENUE, "/", {})
        decoder = venues()[VENUE].decoder(header, streams)
        frames = [traffic.message(mix, START // 1000) for _ in range(700)]
        decoded = decoder.decode(Burst(0, START, Kind.TEXT, frames))
        assert decoded.rows == len(frames)
        assert not decoded.poison
        assert not decoded.drift
        last: dict[int, int] = {}
        for rows in decoded.tables.values():
            for number, seq_from, seq_to in zip(rows.streams, rows.seq_from, rows.seq_to, strict=True):
                channel = venues()[VENUE].channel(streams[number].channel)
                assert channel is not None
                if channel.continuity is Continuity.NUMBERED and number in last:
                    assert seq_from == last[number] + 1
                if channel.continuity is Continuity.CHAINED:
                    assert seq_from == last.get(number, -1)
                if seq_to is not None:
                    last[number] = seq_to
        assert len(streams) == len(SYMBOLS) * len(traffic.channels(mix))

    def test_one_message_in_a_hundred_is_poison(self) -> None:
        """And the benchmark knows how many rows to wait for."""
        traffic = Traffic()
        decoder = venues()[VENUE].decoder(Header("id", "f", "bench", VENUE, "/", {}), Streams())
        frames = [traffic.message("poisoned", START // 1000) for _ in range(700)]
        decoded = decoder.decode(Burst(0, START, Kind.TEXT, frames))
        assert (decoded.rows, len(decoded.poison)) == (stored("poisoned", 700), 7)
        assert [stored(mix, 700) for mix in ("trades", "mix", "poisoned")] == [700, 700, 693]

    def test_shares_of_the_mix(self) -> None:
        """50 % trades, 30 % books of twenty levels, 20 % tickers."""
        messages = [json.loads(Traffic.message(t, "mix", 0)) for t in [Traffic()] for _ in range(1000)]
        channels = [m["arg"]["channel"] for m in messages]
        assert [channels.count(c) for c in ("trades", "books", "tickers")] == [500, 300, 200]
        book = next(m for m in messages if m["arg"]["channel"] == "books")["data"][0]
        assert len(book["asks"]) == len(book["bids"]) == LEVELS
