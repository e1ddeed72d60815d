"""`recorder bench`: what share of the server's COPY ceiling the recorder reaches, what each stage costs, and how long
a message takes from the socket to the commit.

Owns the order of the rounds. The method: messages enter over TLS from another process, into a whole recorder with
everything on; the ceiling is the same rows as ready-made text in 256 KiB blocks, into the same tables with the same
index, committed at the same size. Rounds of the two alternate and begin with empty tables; medians and shares count,
absolute figures belong to the machine. Never touches a database that it did not create.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    seconds: float = 10.0
    rounds: int = 3
    mix: str = "trades"
    database: str | None = None
    paced: bool = True
    json: bool = False


def _options(arguments: Sequence[str]) -> Options:
    from recorder.simulator.flatout import MIXES

    parser = argparse.ArgumentParser(prog="recorder bench", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a round, about (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of recorder and ceiling (default 3)")
    parser.add_argument("--mix", choices=sorted(MIXES), default="trades", help="trades only, or with books and tickers")
    parser.add_argument("--database", metavar="URL", help="a server to create a database on; else a local one")
    parser.add_argument("--no-paced", dest="paced", action="store_false", help="leave out the latency at steady rates")
    parser.add_argument("--json", action="store_true", help="for machines")
    found = Options(**vars(parser.parse_args(arguments)))
    if found.seconds <= 0 or found.rounds < 1:
        parser.error("--seconds and --rounds must be positive")
    return found


def main(arguments: Sequence[str] = ()) -> int:
    """Measure and report."""
    options = _options(arguments)
    import typer
    from rich.console import Console

    from recorder import log
    from recorder.bench.rounds import local_server, measure

    log.setup(environ={"LOG_LEVEL": "WARNING", **os.environ}, threads=False)  # the daemon tells of dead threads
    console = Console(stderr=options.json, highlight=False)
    with ExitStack() as stack, console.status("database …") as status:
        # Not /tmp: on many machines it is memory, and fdatasync would cost nothing.
        folder = tempfile.TemporaryDirectory(prefix="recorder-bench-", dir="/var/tmp")
        where = Path(stack.enter_context(folder))
        url = options.database or stack.enter_context(local_server(where, status.update))
        result = measure(options, where, url, status.update)
    if options.json:
        typer.echo(result.json())
    else:
        result.show(console)
    return 0
