"""The [[source]] tables: what is recorded, from which venue, over which addresses.

Owns the keys that every source may have, and the rules between sources. What only a venue can know (its channels, its
symbols, its own keys) is asked of the venue. Knows no venue by name.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from recorder.config import Secret, Source, Subscribe
from recorder.settings import addresses
from recorder.settings.tables import Table, boolean, one_of, seconds, string, whole, word
from recorder.venues import Limits, Venue

# A place inside the source, with which a venue may begin a sentence: `subscribe[0].channels[2]: …`.
_PLACE = re.compile(r"[a-z_]+(\[\d+\])?(\.[a-z_]+(\[\d+\])?)*: ")


def sources_section(root: Table, venues: Mapping[str, Venue]) -> tuple[Source, ...]:
    """Every source that could be read."""
    tables = root.tables("source", _label)
    if not tables and not any(p.startswith("source:") for p in root.report.problems):
        root.report.wrong("", "there is no [[source]]: nothing would be recorded")
    found = [(table, source) for table in tables if (source := _source(table, venues)) is not None]
    _distinct(found)
    return tuple(source for _, source in found)


def _label(values: Mapping[str, object]) -> str:
    """How messages call a source: by its name, else by its venue."""
    name = values.get("name", values.get("venue"))
    return f' "{name}"' if isinstance(name, str) and name.isprintable() else ""


def _name(value: object) -> str:
    text = string(value)
    # It becomes a label, the first word of a feed's name and of its directory: no slash, no dot.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", text):
        raise ValueError('may hold letters, digits, "-" and "_" only, at most 40, a letter or digit first')
    return text


def _venue(table: Table, venues: Mapping[str, Venue]) -> Venue | None:
    """The venue that a source names; None (and a complaint) without one."""
    if "venue" not in table:
        named = table.values.get("name")
        hint = f'; did you mean venue = "{named}"?' if named in venues else f"; venues are {', '.join(venues)}"
        table.wrong("venue", f"is missing{hint}")
    found = table.take("venue", one_of(venues, "venue"), "")
    return venues.get(found)


def _source(table: Table, venues: Mapping[str, Venue]) -> Source | None:
    venue = _venue(table, venues)
    options, complete = _options(table, venue)
    source = Source(
        name=table.take("name", _name, venue.name if venue else ""),
        venue=venue.name if venue else "",
        endpoints=_endpoints(table, venue),
        rest=table.take("rest", addresses.base_url("https", "http"), venue.rest if venue else ""),
        proxy=_proxy(table),
        connections=table.take("connections", whole(1, 2), 1),
        coalesce=table.take("coalesce", seconds(0, 1), 0.002),
        refill=table.take("refill", boolean, True),
        limits=_limits(table.table("limits")),
        sessions=table.take("sessions", string, ""),
        options=options,
        subscribe=_subscriptions(table),
    )
    if venue is None:
        return None
    table.finish(lambda key: _foreign(key, venue, venues))
    if complete and any(block.channels for block in source.subscribe):
        _ask(table, venue, source)
    return source


def _ask(table: Table, venue: Venue, source: Source) -> None:
    """Let the venue find what is impossible, and what is doubtful."""
    for sentence in venue.check(source):
        if _PLACE.match(sentence):
            table.report.wrong("", f"{table.place}.{sentence}")
        else:
            table.report.wrong(table.place, sentence)
    table.report.notes += [f"{table.place}.{sentence}" for sentence in venue.warnings(source)]


def _endpoints(table: Table, venue: Venue | None) -> tuple[str, ...]:
    default = venue.endpoints if venue else ()
    check = addresses.base_url("wss", "ws")
    return table.each("endpoints", check, default, empty="leave it out to use the venue's own") or default


def _proxy(table: Table) -> Secret | None:
    found: Secret | None = table.take("proxy", _maybe_proxy, None, secret=True)
    if found is not None:
        table.report.secrets += addresses.proxy_passwords(found)
    return found


def _maybe_proxy(value: object) -> Secret | None:
    """An empty one is none, so that `proxy = "${PROXY:-}"` can be left unset."""
    return None if value == "" else addresses.proxy(value)


def _limits(table: Table) -> dict[str, int]:
    names = [f.name for f in dataclasses.fields(Limits)]
    found = {name: table.take(name, whole(0, 1_000_000_000), 0) for name in names if name in table}
    table.taken.update(names)
    table.finish()
    return found


def _options(table: Table, venue: Venue | None) -> tuple[dict[str, str], bool]:
    """The keys that only this venue knows, and whether all that are there could be read."""
    found: dict[str, str] = {}
    keys = venue.options if venue else {}
    for key in keys:
        secret = venue is not None and key in venue.secrets
        value = table.take(key, _item, "", secret=secret)
        if value:
            found[key] = Secret(value) if secret else value
            table.report.secrets += [value] if secret else []
    return found, all(key in found for key in keys if key in table)


def _foreign(key: str, venue: Venue, venues: Mapping[str, Venue]) -> str:
    """A key that another venue would take."""
    others = [v.name for v in venues.values() if key in v.options]
    return f"; it belongs to venue {' or '.join(others)}, this one is {venue.name}" if others else ""


def _subscriptions(table: Table) -> tuple[Subscribe, ...]:
    """Every block at its place: one that cannot be read is empty, so that the venue's numbers are the file's."""
    if "subscribe" not in table:
        table.wrong("subscribe", "is missing; add [[source.subscribe]] with channels and symbols")
    found = [(inside, _subscribe(inside)) for inside in table.tables("subscribe", lambda _: "")]
    seen: dict[tuple[str, str], str] = {}
    for inside, block in found:
        _once(inside, block, seen)
    return tuple(block for _, block in found)


def _subscribe(table: Table) -> Subscribe:
    """One block; an empty one when something in it cannot be read."""
    before = len(table.report.problems)
    if "channels" not in table:
        table.wrong("channels", "is missing; list the venue's own channel names")
    channels = table.each("channels", _item, (), empty="nothing would be recorded")
    symbols = table.each(
        "symbols", _item, (), empty="nothing would be recorded; leave it out where a channel needs none"
    )
    unread = len(table.report.problems) > before
    for key, items in (("channels", channels), ("symbols", symbols)):
        for item in dict.fromkeys(i for i in items if items.count(i) > 1):
            table.wrong(key, f'"{item}" stands here twice')
    table.finish()
    return Subscribe(channels=()) if unread else Subscribe(channels=channels, symbols=symbols)


def _item(value: object) -> str:
    text = word(value)
    if not text.isprintable() or len(text) > 200:
        raise ValueError("must be printable and at most 200 characters long")
    return text


def _streams(block: Subscribe) -> list[tuple[str, str]]:
    streams = ((channel, symbol) for channel in block.channels for symbol in block.symbols or ("",))
    return list(dict.fromkeys(streams))


def _shown(streams: list[tuple[str, str]]) -> str:
    """The first of some streams, and how many there are."""
    more = f" and {len(streams) - 1} more" if len(streams) > 1 else ""
    return f'"{" ".join(streams[0]).strip()}"{more}'


def _once(table: Table, block: Subscribe, seen: dict[tuple[str, str], str]) -> None:
    """Complain about streams that an earlier block of the same source asks for."""
    again = [stream for stream in _streams(block) if stream in seen]
    if again:
        earlier = seen[again[0]].rpartition(".")[2]
        table.report.wrong(table.place, f"{_shown(again)} is already asked for in {earlier}")
    for stream in _streams(block):
        seen.setdefault(stream, table.place)


def _distinct(found: list[tuple[Table, Source]]) -> None:
    """Complain about sources of one name, and about streams that two sources would fetch from the same place."""
    names: dict[str, str] = {}
    streams: dict[tuple[object, ...], str] = {}
    for table, source in found:
        if source.name in names:
            hint = "give each its own name" if "name" in table else "add a name of its own"
            table.wrong("name", f'"{source.name}" is already the name of {names[source.name]}; {hint}')
        names.setdefault(source.name, table.place)
        origin = (source.venue, source.endpoints, tuple(sorted(source.options.items())))
        asked = dict.fromkeys(stream for block in source.subscribe for stream in _streams(block))
        again = [stream for stream in asked if (*origin, *stream) in streams]
        if again:
            other = streams[(*origin, *again[0])]
            table.wrong(
                "subscribe", f"{_shown(again)} is already recorded by {other}; connections = 2 makes it redundant"
            )
        streams.update(((*origin, *stream), table.place) for stream in asked if stream not in again)
