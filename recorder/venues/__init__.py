"""What a venue must be able to say, and where venues are found.

Owns the `Venue` contract and its discovery by scanning this package: a new venue is one new file here, which
defines a module-level `venue`. A venue is pure: no sockets, queues, clocks or database.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache
from typing import Protocol

from recorder.config import Source
from recorder.listing import Ask, Listing
from recorder.records import Burst, Decoded, Header, Reaction, Streams


class Continuity(Enum):
    """How a channel proves that nothing is missing. See `Rows.seq_from` for what each puts on a line."""

    NUMBERED = "numbered"  # ids run on without holes: first and last id of the record
    ORDERED = "ordered"  # ids rise, with holes that mean nothing: first and last id of the record
    CHAINED = "chained"  # every record names the one before: previous id (-1 in a snapshot) and own id
    BARS = "bars"  # one record per interval, revised until closed: length of the bar in µs, closed
    NONE = "none"  # the venue offers no proof

    @property
    def identified(self) -> bool:
        """Whether records have ids that tell a repeat from news."""
        return self in (Continuity.NUMBERED, Continuity.ORDERED)


class Evidence(Enum):
    """What our reading of a channel was verified on."""

    RECORDED = "recorded"  # a connection that was recorded whole
    CAPTURED = "captured"  # single messages that somebody received and published
    DOCUMENTED = "documented"  # what the venue or other programs say about it


@dataclass(frozen=True, slots=True)
class Channel:
    """One kind of data that a venue offers: a row of the capability table (`recorder venues`)."""

    name: str  # the venue's own name; `*` at the end where a family shares it (candle*)
    table: str
    continuity: Continuity
    path: str  # which connection serves it
    note: str = ""
    within: float | None = 90.0  # seconds in which a stream that works brings something; None: only on events
    evidence: Evidence = Evidence.DOCUMENTED


def verified(channels: Iterable[Channel], recorded: str = "", captured: str = "") -> tuple[Channel, ...]:
    """The channels with the evidence there is of each, by name; of all others there are only documents."""
    known = dict.fromkeys(captured.split(), Evidence.CAPTURED) | dict.fromkeys(recorded.split(), Evidence.RECORDED)
    return tuple(replace(each, evidence=known.get(each.name, Evidence.DOCUMENTED)) for each in channels)


@dataclass(frozen=True, slots=True, order=True)
class Subscription:
    """(channel, symbol) asked for on a connection."""

    channel: str
    symbol: str


class Login(Protocol):
    """How a connection logs in. Compares by what it was made of, and shows no secret."""

    def request(self, now: int) -> Request:
        """What is sent before anything else on a connection that is open since `now` (µs). A refusal comes as one."""
        ...


@dataclass(frozen=True, slots=True)
class Line:
    """One connection a source needs: `name` becomes part of the feed's name (`okx/public/0`) and ends with a digit,
    `path` is added to the endpoint's base URL. `query` may hold secrets and is never logged."""

    name: str
    path: str
    subscriptions: tuple[Subscription, ...]
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    login: Login | None = None


def other_slot(feed: str) -> str:
    """A line has two places for a feed, so that one can take over from the other: `okx/public/0`, `okx/public/0b`."""
    return feed[:-1] if feed.endswith("b") else f"{feed}b"


@dataclass(frozen=True, slots=True)
class Request:
    """One frame to send. `id` is echoed by the venue in refusals, or in all answers, where it supports that; `cost` is
    what it takes from the connection's allowance of operations. `payload` may hold secrets."""

    payload: bytes = field(repr=False)
    subscriptions: tuple[Subscription, ...] = ()
    id: str = ""
    cost: int = 1


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How a connection is kept alive. `idle_only`: sent only when nothing came for `interval` seconds; otherwise
    every `interval` seconds. `reply_within`: seconds in which something must come after it, None where the venue
    never answers heartbeats. `payload` is sent as a text frame."""

    payload: bytes
    interval: float
    reply_within: float | None
    idle_only: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """What the venue allows. Zero means no such limit. `[[source]] limits = {…}` overrides by field name."""

    connects_per_second: float = 0.0
    operations_per_hour: int = 0  # per connection: subscribe, unsubscribe, login
    frames_per_minute: int = 0  # per connection: everything we send, heartbeats included
    request_bytes: int = 0
    max_connections: int = 0
    symbols_per_connection: int = 0
    book_requests_per_second: int = 0  # over REST, from one address


@dataclass(frozen=True, slots=True)
class Code:
    """One error code of the venue: what it means in plain words, and the one reaction it has. `code` is what stands in
    a frame, `close 4004` for a WebSocket close code, `http 401` for the status of a handshake that was refused: equal
    numbers may mean different things. `reason`: the label of `recorder_reconnects_total` when it ends a connection,
    where the reaction does not say it already."""

    code: str
    meaning: str
    reaction: Reaction
    counts_as_heartbeat_timeout: bool = False
    reason: str = ""

    def explain(self, said: str) -> str:
        """The meaning in front of what the venue said."""
        return f"{self.meaning}: {said}" if said else self.meaning

    @property
    def label(self) -> str:
        """The label in any case."""
        return self.reason or {Reaction.PARK: "auth", Reaction.HAND_OVER: "handover"}.get(self.reaction, "close")


def codes(table: Mapping[Reaction, Mapping[str, str]], reasons: Mapping[str, str] | None = None) -> tuple[Code, ...]:
    """The codes of a table: by reaction, `code, code, …` with their meaning. `reasons`: by label, `code, code, …`;
    `heartbeat` counts as one that was missed."""
    labels = {code: label for label, some in (reasons or {}).items() for code in some.split(", ")}
    return tuple(
        Code(code, meaning, reaction, labels.get(code) == "heartbeat", labels.get(code, ""))
        for reaction, meanings in table.items()
        for names, meaning in meanings.items()
        for code in names.split(", ")
    )


@dataclass(frozen=True, slots=True)
class Timekeeper:
    """Where a venue tells its time over REST: milliseconds since 1970, as a number or digits, at the end of `keys` in
    the JSON of its answer."""

    path: str
    keys: tuple[str | int, ...]

    def milliseconds(self, body: bytes) -> int:
        """The time in an answer; raises ValueError on a body that tells none."""
        try:
            found = json.loads(body)
            for key in self.keys:
                found = found[key]
            return int(found)
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
            raise ValueError("no time in the answer") from None


class Decoder(Protocol):
    """Turns bursts of one feed's run into COPY lines. Pure: equal bursts give equal results."""

    def decode(self, burst: Burst) -> Decoded:
        """Never raises on venue data: a frame that cannot be decoded becomes `Decoded.poison`."""
        ...

    def skim(self, burst: Burst) -> Decoded:
        """As far as a feed must know the burst: replies, counts, and records of chained channels."""
        ...


class Venue(Protocol):
    """Everything the rest of the recorder may know about a venue."""

    name: str
    title: str
    endpoints: tuple[str, ...]  # default base URLs, in order of preference
    rest: str  # default REST base URL; "" where it is asked for nothing over REST
    channels: tuple[Channel, ...]
    codes: tuple[Code, ...]
    facts: tuple[str, ...]  # where what is said here comes from
    heartbeat: Heartbeat
    limits: Limits
    time: Timekeeper | None  # None where the venue tells no time
    listing: Listing | None  # None where the venue does not tell what can be traded
    options: Mapping[str, str]  # option name -> help; the only extra keys a [[source]] of this venue may have
    secrets: frozenset[str]  # which of the options are secret

    def check(self, source: Source) -> list[str]:
        """Everything wrong with a source's subscriptions and options, one sentence each with a suggestion."""
        ...

    def always_open(self, source: Source) -> bool:
        """Whether all that a source can bring is traded around the clock, all year, so that silence is never normal."""
        ...

    def warnings(self, source: Source) -> list[str]:
        """What is possible, but probably not meant: one sentence each, with its place."""
        ...

    def lines(self, source: Source, held: Sequence[Line] = ()) -> list[Line]:
        """The connections to make, subscriptions spread over them within the limits. Stable: the same source gives
        the same names with the same subscriptions; lines that are `held` keep what is still wanted, also of nothing."""
        ...

    def subscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """Frames that ask for these, each within `limits.request_bytes`."""
        ...

    def unsubscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """Frames that end these."""
        ...

    def book_request(self, subscription: Subscription) -> Ask | None:
        """How to ask for the whole book of a chained channel, in the numbers of its chain; None where one cannot. The
        answer is spooled as a frame of kind REST, for the decoder."""
        ...

    def decoder(self, header: Header, streams: Streams) -> Decoder:
        """A decoder for the run that `header` describes."""
        ...

    def channel(self, name: str) -> Channel | None:
        """The channel that a venue's channel name belongs to (`candle1m` → `candle*`), None if there is none."""
        ...

    def close_reason(self, code: int, text: str) -> str:
        """The reason label of `recorder_reconnects_total` for a close frame's code."""
        ...


@cache
def venues() -> dict[str, Venue]:
    """Every venue of this package, by name. What several venues share stands in modules whose names begin with `_`."""
    found: dict[str, Venue] = {}
    for info in pkgutil.iter_modules(__path__):
        if info.name.startswith("_"):
            continue
        venue: Venue = importlib.import_module(f"{__name__}.{info.name}").venue
        found[venue.name] = venue
    return dict(sorted(found.items()))
