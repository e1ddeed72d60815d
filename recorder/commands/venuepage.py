"""The page `docs/venues.md`: every venue as its file describes it, as Markdown.

Owns the page's order and words. Everything else comes out of the venues; so the page is never written by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields

from recorder.records import Reaction
from recorder.venues import Code, Continuity, Evidence, Heartbeat, Limits, Venue, venues

_HEAD = """\
# Venues

What each venue offers and how the recorder treats it. Made by `recorder venues --markdown` from the files in
`recorder/venues`; change those, not this page."""

_PROOFS = {
    Continuity.NUMBERED: "ids run on without holes: a missing id is a gap of known size",
    Continuity.ORDERED: "ids rise, with holes: a repeat is known by its id; a break is a gap of unknown size, "
    "unless the venue gives the last record again after it",
    Continuity.CHAINED: "every record names the one before: a break is a gap, and the book is asked for anew",
    Continuity.BARS: "one record for each interval: a gap where a bar was skipped or never seen closed",
    Continuity.NONE: "the venue offers no proof: a break of the connection is a gap of unknown size",
}

_EVIDENCE = {
    Evidence.RECORDED: "read as it was recorded from a socket; the recordings are played in the tests",
    Evidence.CAPTURED: "read as in single messages that somebody received and published; they are in the tests",
    Evidence.DOCUMENTED: "read as documents say, or other programs; no real message of it was seen by these tests",
}

_REACTIONS = {
    Reaction.NONE: "counted and stored; nothing else happens",
    Reaction.RETRY: "leave the connection, come back after a delay that doubles (10 s at most, 60 s after a refusal)",
    Reaction.RESUBSCRIBE: "ask again on the same connection, after a pause that doubles (60 s at most)",
    Reaction.DROP: "give up the subscription that is to blame, and say so; the others go on",
    Reaction.SLOW_DOWN: "keep the connection, send nothing but heartbeats for 30 s and longer",
    Reaction.PARK: "three attempts in the first minute, then one in 15 minutes",
    Reaction.HAND_OVER: "open the next connection before this one ends",
}

_BAR = r"\|"  # a bar that does not end a cell

_LIMITS = {
    "connects_per_second": "new connections a second, of all feeds together",
    "operations_per_hour": "subscribe, unsubscribe and login requests an hour, for each connection",
    "frames_per_minute": "frames a minute that we send on a connection, heartbeats included",
    "request_bytes": "bytes in a request",
    "max_connections": "connections",
    "symbols_per_connection": "symbols on a connection",
    "book_requests_per_second": "books a second over REST, of all feeds together",
}


def page() -> str:
    """The whole page."""
    parts = [_HEAD, *_words("How channels prove that nothing is missing", _named(_PROOFS))]
    parts += _words("What our reading of a channel was verified on", _named(_EVIDENCE))
    parts += _words("What error codes make the recorder do", _named(_REACTIONS))
    for venue in venues().values():
        parts += _venue(venue)
    return "\n\n".join(parts) + "\n"


def _named(meanings: dict[Continuity, str] | dict[Evidence, str] | dict[Reaction, str]) -> list[tuple[str, str]]:
    return [(f"`{kind.value}`", meaning) for kind, meaning in meanings.items()]


def _words(title: str, pairs: Iterable[tuple[str, str]]) -> list[str]:
    """A section that explains words."""
    return [f"## {title}", "\n".join(f"- {word}: {meaning}." for word, meaning in pairs)]


def _venue(venue: Venue) -> Iterator[str]:
    yield f"## {venue.title}"
    yield f'`venue = "{venue.name}"`'
    yield "\n".join(_basics(venue))
    yield "### Channels"
    rows = [
        (f"`{c.name}`", f"`{c.table}`", c.continuity.value, c.evidence.value, f"`{c.path}`", c.note)
        for c in venue.channels
    ]
    yield _table(("channel", "table", "continuity", "verified on", "path", "note"), rows)
    yield "### Limits"
    yield "\n".join(_limits(venue.limits))
    yield "### Codes"
    yield (
        "`close` codes end a WebSocket, `http` codes are statuses of a handshake that is refused, all others stand in "
        "frames.\nAny other code is counted, stored in `venue_events`, and harmless."
    )
    yield _table(("code", "meaning", "reaction"), map(_code, sorted(venue.codes, key=_order)))
    yield "### Where this comes from"
    yield "\n".join(f"- {fact}" for fact in venue.facts)


def _basics(venue: Venue) -> Iterator[str]:
    rest = f"; REST: `{venue.rest}`" if venue.rest else ""
    yield f"- Endpoints: {', '.join(f'`{each}`' for each in venue.endpoints)}{rest}"
    for option, meaning in venue.options.items():
        secret = " (secret)" if option in venue.secrets else ""
        yield f"- Option `{option}`{secret}: {meaning}"
    yield f"- Heartbeat: {_heartbeat(venue.heartbeat)}"


def _heartbeat(heartbeat: Heartbeat) -> str:
    when = "when nothing came for" if heartbeat.idle_only else "every"
    within = heartbeat.reply_within
    answer = "the venue never answers" if within is None else f"something must come within {within:g} s"
    return f"`{heartbeat.payload.decode()}` {when} {heartbeat.interval:g} s; {answer}"


def _limits(limits: Limits) -> Iterator[str]:
    """Those that there are; `limits = { … }` of a source overrides any of them."""
    known = [(field.name, getattr(limits, field.name)) for field in fields(limits)]
    yield from (f"- {value:g} {_LIMITS[name]} (`{name}`)" for name, value in known if value)
    free = [f"`{name}`" for name, value in known if not value]
    yield f"- No limit of its own: {', '.join(free)}" if free else "- A source may override each of them"


def _order(code: Code) -> tuple[bool, str, int, str]:
    """Codes of frames first, then closes and handshakes; numbers by size."""
    kind, _, number = code.code.rpartition(" ")
    return bool(kind), kind, int(number) if number.isdecimal() else 0, number


def _code(code: Code) -> Sequence[str]:
    counted = "; counts as a heartbeat that was missed" if code.counts_as_heartbeat_timeout else ""
    return f"`{code.code}`", code.meaning, f"`{code.reaction.value}`{counted}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("".join(f"| {cell.replace('|', _BAR)} " for cell in line) + "|" for line in lines)
