"""What a record of each table says before it is a line, and how a venue's messages take that shape.

Owns the fields of a record of every table and their way into `Lines`. A venue says how it spells them (`spelled`), or
fills them itself where its messages are built otherwise. Never knows a venue, and never proves a value (guards do).

Numbers are the venue's text, times its milliseconds as text, "" for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar, cast

import msgspec

from recorder.guards import Bad, levels
from recorder.lines import At, Lines
from recorder.records import Rows

Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Shape(msgspec.Struct, gc=False):
    """What all records have. `symbol` only where a message does not say it once for all of its records; `sent`: the
    names of everything that a venue sends of it, as far as we know."""

    sent: ClassVar[frozenset[str]] = frozenset()
    time: str = ""
    symbol: str = ""


S = TypeVar("S", bound=Shape)


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
    """A row of `books`, or of `quotes`. Sides are JSON as sent: rows of price, size, and whatever follows."""

    asks: msgspec.Raw = msgspec.Raw()
    bids: msgspec.Raw = msgspec.Raw()
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
    """Rows of `reference_prices`: one for each kind that the channel tells."""

    mark: str = ""
    index: str = ""
    estimated: str = ""
    limit_up: str = ""
    limit_down: str = ""


class Liquidation(Shape, gc=False):
    """A row of `liquidations`."""

    side: str = ""
    position_side: str = ""
    price: str = ""
    size: str = ""


def spelled(shape: type[S], names: str, also: str = "") -> type[S]:
    """The shape as a venue spells it: `trade_id=tradeId side …`, our name of each field that it sends and the venue's
    (one name where both are the same), in the order of the wire: looked for in order, fields are found at once.
    `also`: what it is known to send besides."""
    known = {each.name: each for each in msgspec.structs.fields(shape)}
    theirs = dict((each + f"={each}").split("=")[:2] for each in names.split())
    sent = frozenset({*theirs.values(), *also.split()})
    theirs |= {each: f"not sent: {each}" for each in known if each not in theirs}  # no field of theirs by our name
    fields = [(n, known[n].type, msgspec.field(default=known[n].default, name=theirs[n])) for n in theirs]
    made = msgspec.defstruct(shape.__name__, fields, bases=(shape,), namespace={"sent": sent}, gc=False)
    return cast(type[S], made)


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
    return lines.books(at, kinds, sides, [b.seq for b in found], [b.prev_seq for b in found])


def _funding(lines: Lines, at: At, found: Sequence[Funding]) -> Rows:
    rates, times = _columns(found, Funding)[:2], _columns(found, Funding)[2:]
    return lines.funding_rates(at, rates, times)


def _interest(lines: Lines, at: At, found: Sequence[Interest]) -> Rows:
    return lines.numeric(at, _columns(found, Interest))


def _liquidations(lines: Lines, at: At, found: Sequence[Liquidation]) -> Rows:
    sides, positions, *numbers = _columns(found, Liquidation)
    return lines.liquidations(at, sides, positions, numbers)


def references(lines: Lines, at: At, found: Sequence[Reference], kinds: Sequence[Sequence[str]]) -> Rows:
    """`kinds`: of each, the fields of `Reference` that its channel tells, a row for each. A limit that is off is a row
    without a price."""
    rows = [
        (frame, route, time, kind, getattr(each, kind))
        for frame, route, time, each, some in zip(*at, found, kinds, strict=True)
        for kind in some
    ]
    if any(not price and not kind.startswith("limit") for _, _, _, kind, price in rows):
        raise Bad("missing_field")
    frames, routes, times, names, prices = zip(*rows, strict=True) if rows else ((),) * 5
    return lines.reference_prices(At(frames, routes, times), names, prices)


WRITE: Mapping[str, Callable[[Lines, At, Sequence[Any]], Rows]] = {
    "trades": _trades,
    "tickers": _tickers,
    "quotes": _quotes,
    "funding_rates": _funding,
    "open_interest": _interest,
    "liquidations": _liquidations,
}
