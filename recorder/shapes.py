"""What a record of each table says before it is a line.

Owns the fields of a record of every table and their way into `Lines`. A venue says how it spells them (`spelling`), or
fills them itself where its messages are built otherwise. Never knows a venue, and never proves a value (guards do).

Numbers are the venue's text, times its milliseconds as text, "" for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from recorder.guards import Bad, levels
from recorder.lines import At, Lines
from recorder.records import Rows
from recorder.spelling import Shape

Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Trade(Shape, gc=False):
    """A row of `trades`. `count`: how many ids end with this one."""

    trade_id: str = ""
    price: str = ""
    size: str = ""
    side: str = ""
    count: str = ""
    seq: Int | None = None


class Ticker(Shape, gc=False):
    """A row of `tickers`, its columns in order."""

    last_price: str = ""
    last_size: str = ""
    bid_price: str = ""
    bid_size: str = ""
    ask_price: str = ""
    ask_size: str = ""
    open_24h: str = ""
    high_24h: str = ""
    low_24h: str = ""
    volume_24h: str = ""
    turnover_24h: str = ""
    open_interest: str = ""


class Book(Shape, gc=False):
    """A row of `books`, or of `quotes`. Sides are JSON as sent: rows of price, size, and whatever follows. `checksum`:
    of the book with this record in it; 0 is none."""

    asks: msgspec.Raw = msgspec.Raw()
    bids: msgspec.Raw = msgspec.Raw()
    checksum: Int | None = None
    prev_seq: Int | None = None
    seq: Int | None = None


class Funding(Shape, gc=False):
    """A row of `funding_rates`. The two times are milliseconds, too."""

    rate: str = ""
    next_rate: str = ""
    funding_time: str = ""
    next_funding_time: str = ""


class Interest(Shape, gc=False):
    """A row of `open_interest`."""

    contracts: str = ""
    amount: str = ""
    value_usd: str = ""


class Reference(Shape, gc=False):
    """Rows of `reference_prices`: one for each kind that a message speaks of."""

    mark: str | None = None
    index: str | None = None
    estimated: str | None = None
    limit_up: str | None = None
    limit_down: str | None = None


class Liquidation(Shape, gc=False):
    """A row of `liquidations`."""

    side: str = ""
    position_side: str = ""
    price: str = ""
    size: str = ""


# --- into lines -----------------------------------------------------------------------------------------------------


def _trades(lines: Lines, at: At, found: Sequence[Trade]) -> Rows:
    numbers, sides = ([t.price for t in found], [t.size for t in found]), [t.side for t in found]
    ids, counts, seqs = [t.trade_id for t in found], [t.count for t in found], [t.seq for t in found]
    return lines.trades(at, numbers, sides, ids, counts, seqs)


def _columns(found: Sequence[Shape], shape: type[Shape]) -> list[list[str]]:
    return [[getattr(each, field) for each in found] for field in shape.__struct_fields__[2:]]


def _tickers(lines: Lines, at: At, found: Sequence[Ticker]) -> Rows:
    return lines.numeric(at, _columns(found, Ticker))


def _quotes(lines: Lines, at: At, found: Sequence[Book]) -> Rows:
    """A best price that is not there is an empty side."""
    best = [[*_best(t.bids), *_best(t.asks)] for t in found]
    return lines.quotes(at, list(zip(*best, strict=True)), [t.seq for t in found])


def _best(side: msgspec.Raw) -> list[str]:
    rows = levels(side) if bytes(side) else None
    if rows is None or (rows and len(rows[0]) < 2):
        raise Bad("missing_field")
    return rows[0][:2] if rows else ["", ""]


def books(lines: Lines, at: At, found: Sequence[Book], kinds: Sequence[str]) -> Rows:
    """`kinds`: of each, `snapshot` or `update`."""
    if not {"snapshot", "update"}.issuperset(kinds):
        raise Bad("missing_field" if "" in kinds else "wrong_type")
    sides = [(bytes(b.bids), bytes(b.asks)) for b in found]
    if any(not (bids and asks) for bids, asks in sides):
        raise Bad("missing_field")
    rows = lines.books(at, kinds, sides, [b.seq for b in found], [b.prev_seq for b in found])
    checks = [b.checksum for b in found]
    if any(checks):  # most venues send none
        rows.checks = [check or 0 for check in checks]
    return rows


def _funding(lines: Lines, at: At, found: Sequence[Funding]) -> Rows:
    rates, times = _columns(found, Funding)[:2], _columns(found, Funding)[2:]
    return lines.funding_rates(at, rates, times)


def _interest(lines: Lines, at: At, found: Sequence[Interest]) -> Rows:
    return lines.numeric(at, _columns(found, Interest))


def _liquidations(lines: Lines, at: At, found: Sequence[Liquidation]) -> Rows:
    sides, positions, *numbers = _columns(found, Liquidation)
    return lines.liquidations(at, sides, positions, numbers)


def _references(lines: Lines, at: At, found: Sequence[Reference]) -> Rows:
    """A row for each kind of price that the message speaks of. A limit that is off is a row without a price."""
    kinds = Reference.__struct_fields__[2:]
    rows = [
        (frame, route, time, kind, price)
        for frame, route, time, each in zip(*at, found, strict=True)
        for kind in kinds
        if (price := getattr(each, kind)) is not None
    ]
    if len({frame for frame, *_ in rows}) < len(set(at.frames)):
        raise Bad("missing_field")
    many = At.of(row[:3] for row in rows)
    return lines.reference_prices(many, [kind for *_, kind, _ in rows], [price for *_, price in rows])


def candles(lines: Lines, at: At, bars: Sequence[Sequence[str]]) -> Rows:
    """`bars`: open, high, low, close, volume, turnover, and "1" if closed, "0" if not."""
    *numbers, closed = zip(*bars, strict=True) if bars else [()] * 7
    return lines.candles(at, numbers, closed)


WRITE: Mapping[str, Callable[[Lines, At, Sequence[Any]], Rows]] = {
    "trades": _trades,
    "tickers": _tickers,
    "quotes": _quotes,
    "funding_rates": _funding,
    "open_interest": _interest,
    "liquidations": _liquidations,
    "reference_prices": _references,
    "candles": candles,
}
