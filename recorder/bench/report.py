"""What the benchmark found, as numbers for machines and as a page for people.

Owns the result's shape. Absolute figures belong to the machine they were taken on; the shares are what to compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import msgspec
from rich.console import Console
from rich.table import Table

from recorder.bench.ceiling import Ceiling
from recorder.bench.latency import Latency
from recorder.bench.pipeline import Round
from recorder.bench.server import Facts


@dataclass(frozen=True, slots=True)
class Pair:
    """A flat-out round of the recorder, and the ceiling of the very rows that it stored."""

    recorder: Round
    ceiling: Ceiling

    @property
    def share(self) -> float:
        """How much of what the server can take the recorder gives it."""
        return self.recorder.rate / self.ceiling.rate


@dataclass(frozen=True, slots=True)
class Pace:
    """A steady rate. `sender_late_ms`: how late the sender itself was at worst."""

    rate: float
    flush_age: float
    latency: Latency
    sender_late_ms: float


@dataclass(frozen=True, slots=True)
class Result:
    """Everything. `stages`: a round of its own in which the parts were measured."""

    mix: str
    facts: Facts
    pairs: tuple[Pair, ...]
    stages: Round
    paces: tuple[Pace, ...]
    bare_commit_ms: tuple[float, float]  # p50, p99 of a commit with one small row

    @property
    def share(self) -> float:
        """The median round's share of the ceiling."""
        return median(pair.share for pair in self.pairs)

    def json(self) -> bytes:
        """For machines."""
        rates = [{"recorder": p.recorder.rate, "ceiling": p.ceiling.rate, "share": p.share} for p in self.pairs]
        head = {"share": self.share, "messages_per_second": median(r["recorder"] for r in rates)}
        ceiling = median(r["ceiling"] for r in rates)
        return msgspec.json.encode(head | {"ceiling_per_second": ceiling, "rates": rates} | msgspec.to_builtins(self))

    def show(self, console: Console) -> None:
        """For people."""
        f = self.facts
        edition = f"TimescaleDB {f.timescaledb} ({f.license})" if f.timescaledb else "no TimescaleDB"
        console.print(
            f"PostgreSQL {f.version}, {edition}, fsync {f.fsync}, synchronous_commit {f.synchronous_commit}\n"
            f"mix: {self.mix}; over TLS from another process, everything on; the ceiling is COPY of the same rows, "
            "ready-made"
        )
        console.print(_flat_out(self))
        console.print(f"share of the ceiling: [bold]{self.share:.0%}[/bold] (median)\n")
        console.print(_stages(self.stages))
        if self.paces:
            console.print(_paces(self.paces))
        console.print("bare commit of this server: p50 {:.2f} ms, p99 {:.2f} ms".format(*self.bare_commit_ms))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=None, title_justify="left", pad_edge=False)
    for n, column in enumerate(columns):
        table.add_column(column, justify="right" if n else "left")
    return table


def _us(value: float | None) -> str:
    return "elsewhere" if value is None else f"{value:.2f}"


def _flat_out(result: Result) -> Table:
    columns = ("round", "messages", "recorder /s", "ceiling /s", "share", "rows a commit", "fell behind")
    table = _table("flat out", *columns, "Python µs", "server µs", "ceiling's server µs")
    for n, pair in enumerate(result.pairs, 1):
        r, c = pair.recorder, pair.ceiling
        table.add_row(
            *(f"{n}", f"{r.messages:,}", f"{r.rate:,.0f}", f"{c.rate:,.0f}", f"{pair.share:.0%}"),
            *(f"{r.messages / max(1, r.flushes):,.0f}", f"{r.overflows}"),
            *(f"{r.python_us:.2f}", _us(r.backend_us), _us(c.backend_us)),
        )
    return table


def _stages(stages: Round) -> Table:
    table = _table("where a message's time goes (CPU)", "stage", "µs a message")
    for stage, us in stages.stages_us.items():
        table.add_row(stage, f"{us:.2f}")
    rest = stages.python_us - sum(stages.stages_us.values())
    table.add_row("everything else in Python", f"{rest:.2f}")
    table.add_row("server, the writer's backend", _us(stages.backend_us))
    return table


def _paces(paces: tuple[Pace, ...]) -> Table:
    table = _table("received → committed", "messages/s", "flush_age", "p50 ms", "p99 ms", "worst ms", "sender late ms")
    for p in paces:
        times = (f"{ms:.1f}" for ms in (p.latency.p50, p.latency.p99, p.latency.worst, p.sender_late_ms))
        table.add_row(f"{p.rate:,.0f}", f"{p.flush_age * 1000:.0f} ms", *times)
    return table
