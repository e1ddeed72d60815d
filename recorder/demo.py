"""The demo: a database of this machine's own, simulated venues, a recorder of them, and what one can ask afterwards.

Owns the order of the show and that everything it started is stopped. Needs neither Docker nor the internet beyond
the packages of the first run. Never touches a configured recorder's data.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
from msgspec.structs import replace
from rich.console import Console
from rich.live import Live
from rich.table import Table

from recorder.capture.datadir import DataDir
from recorder.config import Config, Database, Recorder, Secret, Source, SpoolConfig, Subscribe
from recorder.daemon import Daemon
from recorder.errors import Exit, RecorderError
from recorder.listing import is_pattern
from recorder.simulator.server import Simulator, demo_venues
from recorder.store.local import LocalServer
from recorder.store.migrate import migrate_url
from recorder.store.queries import queries

EXAMPLES = ("example_bars", "example_flow", "example_spread", "example_depth", "example_delay")
TABLES = ("trades", "quotes", "tickers", "books", "candles")


def main(seconds: float, keep: bool) -> int:
    """Show it. `keep` leaves the database up and says how to stop it; else everything is stopped and removed."""
    console = Console(highlight=False)
    where = Path(tempfile.mkdtemp(prefix="recorder-demo-"))
    where.chmod(0o755)  # the server may run as another account
    with ExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, where, ignore_errors=True)
        server = _database(console, where)
        if not keep:
            stack.callback(shutil.rmtree, server.directory, ignore_errors=True)  # it may lie elsewhere
            stack.callback(server.stop)
        counts = _record(console, where, server.url, seconds)
        _ask(console, server.url)
        if keep:
            console.print(f"\nThe database stays up: {server.url}\nStop it with: kill -INT {server.postmaster()}")
    missing = [table for table in TABLES if not counts.get(table)]
    if missing:
        raise RecorderError(f"nothing was recorded into {', '.join(missing)}")
    return Exit.OK


def _database(console: Console, where: Path) -> LocalServer:
    with console.status("local database …") as status:
        server = LocalServer(where / "postgres", say=status.update)
        server.start()
    console.print(f"database: [bold]{server.url}[/bold]")
    report = migrate_url(server.owner_url)
    console.print(f"server:   {report.server}, {server.kind}")
    return server


def _record(console: Console, where: Path, url: str, seconds: float) -> dict[str, int]:
    with ExitStack() as stack:
        sources: list[Source] = []
        for venue, plan in demo_venues():
            simulator = stack.enter_context(Simulator(venue))
            console.print(f"venue:    {venue.name} (simulated) {simulator.ws_url}")
            sources += [replace(each, endpoints=(simulator.ws_url,), rest=simulator.http_url) for each in plan]
        for each in sources:
            console.print(_asked(each))
        config = Config(
            recorder=Recorder(data_dir=where / "data", listen="127.0.0.1:0"),
            database=Database(url=Secret(url)),
            spool=SpoolConfig(min_free=0),
            sources=tuple(sources),
        )
        home = stack.enter_context(DataDir(config.home))
        daemon = Daemon(config, home)
        daemon.start()
        stack.callback(daemon.stop)
        console.print(f"status:   http://{daemon.http.address[0]}:{daemon.http.address[1]}/")
        console.print(f"metrics:  http://{daemon.http.address[0]}:{daemon.http.address[1]}/metrics\n")
        return _watch(console, daemon, seconds)


def _asked(source: Source) -> Table:
    """What is recorded of a source, in words."""
    line = Table.grid()
    line.add_column(min_width=len("database: "))
    line.add_row("source:", f"{source.name}: {'; '.join(_words(block) for block in source.subscribe)}")
    return line


def _words(block: Subscribe) -> str:
    patterns = [f"all that is listed as {symbol}" for symbol in block.symbols if is_pattern(symbol)]
    named = [symbol for symbol in block.symbols if not is_pattern(symbol)]
    return f"{', '.join(block.channels)} of {', '.join(named + patterns)}"


def _watch(console: Console, daemon: Daemon, seconds: float) -> dict[str, int]:
    """Live rates until the time is over."""
    end = time.monotonic() + seconds
    before: dict[str, int] = {}
    at = time.monotonic()
    with Live(console=console, refresh_per_second=4, transient=not console.is_terminal) as live:
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(1.0, left))
            trouble = daemon.trouble()
            if trouble is not None:
                raise trouble
            now, counts = time.monotonic(), _committed(daemon)
            live.update(_rates(daemon, counts, before, now - at, end - now))
            before, at = counts, now
    return _committed(daemon)


def _committed(daemon: Daemon) -> dict[str, int]:
    """Rows in the database, by table."""
    return {table: int(daemon.metrics.rows_committed(table)._value.get()) for table in TABLES}


def _rates(daemon: Daemon, counts: dict[str, int], before: dict[str, int], passed: float, left: float) -> Table:
    lag = max(daemon.pipeline.readings.lag().values(), default=0.0)
    table = Table(title=f"recording, {max(0.0, left):.0f} s left, lag {lag * 1000:.0f} ms", box=None, min_width=40)
    for column in ("table", "rows", "rows/s"):
        table.add_column(column, justify="left" if column == "table" else "right")
    for name, rows in counts.items():
        table.add_row(name, f"{rows:,}", f"{(rows - before.get(name, 0)) / max(passed, 1e-3):,.0f}")
    return table


def _ask(console: Console, url: str) -> None:
    """Five questions a researcher would ask, with their answers."""
    with psycopg.connect(url) as conn:
        _show(console, conn, "count_rows")
        for name in EXAMPLES:
            console.print(f"\n[bold]{queries().about[name]}[/bold]")
            console.print(queries()[name].decode(), style="dim", markup=False)
            _show(console, conn, name)


def _show(console: Console, conn: psycopg.Connection[Any], name: str) -> None:
    cursor = conn.execute(queries()[name])
    table = Table(box=None, pad_edge=False)
    for column in cursor.description or ():
        table.add_column(column.name)
    for row in cursor:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table)
