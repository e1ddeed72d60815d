"""What every venue must keep, whichever it is: tried on each one found, with recorded frames and with any bytes."""

from __future__ import annotations

import json
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.config import Source, Subscribe
from recorder.guards import REASONS
from recorder.records import (
    TABLES,
    Alive,
    Burst,
    Control,
    Decoded,
    Header,
    Kind,
    Opened,
    Poison,
    Streams,
    Subscribed,
    encode_control,
)
from recorder.venues import Continuity, Subscription, Venue, venues
from tests import copytext, samples

# Where a venue's recorded frames are, and what its sources must say; the rest of this module knows no venue.
FOLDERS = {"okx": "okx_v5", "infoway": "infoway", "okex_v1": "okex_v1", "okex_v3": "okex_v3"}
OPTIONS = {
    "infoway": {"business": "crypto", "api_key": "hunter2"},
    "okex_v1": {"api_key": "hunter2", "secret_key": "hunter2"},
    "okex_v3": dict.fromkeys(("api_key", "secret_key", "passphrase"), "hunter2"),
}
# Where the name of a channel holds the symbol: some of those names, and the symbol.
WHOLE = {"okex_v1": (("ok_sub_spot_aaa{}_usdt_ticker", "ok_sub_spot_aaa{}_usdt_deals"), "aaa{}_usdt")}
RECEIVED_AT = 1_787_000_000_000_000  # later than every recording

settings.register_profile("house", deadline=None)  # the machine is shared: time says nothing
settings.load_profile("house")
each_venue = pytest.mark.parametrize("venue", venues().values(), ids=lambda venue: venue.name)


def decode(venue: Venue, frames: list[bytes], kind: Kind = Kind.TEXT) -> Decoded:
    """Frames as the first burst of a run."""
    path = venue.channels[0].path
    header = Header("", f"x/{path}/0", "x", venue.name, path, {}, run="1-00000000", run_ordinal=1)
    return venue.decoder(header, Streams()).decode(Burst(5, RECEIVED_AT, kind, frames))


def whole(decoded: Decoded) -> Decoded:
    """The same, after everything that must hold for whatever a decoder says."""
    frames = range(decoded.first, decoded.next)
    poisoned = [poison.frame for poison in decoded.poison]
    assert poisoned == sorted(set(poisoned))
    assert all(poison.reason in REASONS for poison in decoded.poison)
    for table, rows in decoded.tables.items():
        lists = (rows.streams, rows.seq_from, rows.seq_to, rows.times, rows.frames)
        assert {len(each) for each in lists} == {rows.data.count(b"\n")} != {0}
        assert rows.frames == sorted(rows.frames)
        assert set(rows.frames) <= set(frames) - set(poisoned)
        for line, time in zip(rows.data.splitlines(keepends=True), rows.times, strict=True):
            readable(table, line, time, decoded.received_at)
    return decoded


def readable(table: str, line: bytes, time: int, received_at: int) -> None:
    """PostgreSQL can read the line, but for one case that costs too much to find."""
    try:
        (row,) = copytext.rows(table, line)
    except copytext.RefusedLevel:
        return
    assert row["time"] == time
    assert row["received_at"] == received_at
    assert row["source"] == "x"


def said(decoded: Decoded) -> tuple[object, ...]:
    """All that a burst had to say but the numbers of its frames and streams."""
    tables = {t: (rows.data, rows.seq_from, rows.seq_to, rows.times) for t, rows in decoded.tables.items()}
    poison = [(poison.reason, poison.raw) for poison in decoded.poison]
    events = [(event.code, event.action, event.message) for event in decoded.events]
    return tables, poison, events, decoded.replies, decoded.messages


def recorded(venue: Venue) -> list[bytes]:
    """A few hundred frames of every kind that the venue was ever seen to send."""
    if venue.name not in FOLDERS:
        pytest.skip("no recorded frames of this venue yet")
    return [*ends_of_recordings(FOLDERS[venue.name]), venue.heartbeat.payload]


@cache
def ends_of_recordings(folder: str) -> list[bytes]:
    """The last frames of each recording."""
    return [raw for name in samples.files(folder) for raw in samples.received(folder, name)[-60:]]


# --- any bytes at all -----------------------------------------------------------------------------------------------


@each_venue
@given(frames=st.lists(st.binary(max_size=80), min_size=1, max_size=5), kind=st.sampled_from(Kind))
def test_any_bytes_are_rows_or_poison(venue: Venue, frames: list[bytes], kind: Kind) -> None:
    """Whatever a socket or a disk yields, decoding it says something and raises nothing."""
    whole(decode(venue, frames, kind))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["1", "-1", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


def damaged(raw: bytes, draw: st.DrawFn) -> bytes:
    """A frame cut short, with a byte changed, with a part repeated, or with a value replaced by another one."""
    way = draw(st.integers(0, 3))
    at = draw(st.integers(0, max(0, len(raw) - 1)))
    if way == 0:
        return raw[:at]
    if way == 1:
        return raw[:at] + draw(st.binary(min_size=1, max_size=1)) + raw[at + 1 :]
    if way == 2:
        return raw[:at] + raw[at : at + draw(st.integers(1, 20))] * 2 + raw[at:]
    try:
        return json.dumps(replaced(json.loads(raw), draw), separators=(",", ":")).encode()
    except ValueError:
        return raw


def replaced(value: object, draw: st.DrawFn) -> object:
    """The value with one place in it replaced by something else."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: replaced(value[key], draw)}
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        n = draw(st.integers(0, len(value) - 1))
        return [*value[:n], replaced(value[n], draw), *value[n + 1 :]]
    return draw(JSON)


@each_venue
@settings(max_examples=300)
@given(data=st.data())
def test_damaged_frames_cost_only_themselves(venue: Venue, data: st.DataObject) -> None:
    """A damaged frame among good ones is rows or poison; its neighbours' rows are what they are without it."""
    good = recorded(venue)
    picked = data.draw(st.lists(st.sampled_from(good), min_size=1, max_size=4))
    bad = data.draw(st.composite(lambda draw: damaged(draw(st.sampled_from(good)), draw))())
    at = data.draw(st.integers(0, len(picked)))
    together = whole(decode(venue, [*picked[:at], bad, *picked[at:]]))
    alone = whole(decode(venue, picked))
    for table in TABLES:
        mine = [n if n < 5 + at else n - 1 for n in frames_of(together, table) if n != 5 + at]
        assert mine == frames_of(alone, table)
        assert without(together, table, 5 + at) == lines(alone, table)


def frames_of(decoded: Decoded, table: str) -> list[int]:
    """The frame of each line."""
    return decoded.tables[table].frames if table in decoded.tables else []


def lines(decoded: Decoded, table: str) -> list[bytes]:
    """The lines of a table."""
    return decoded.tables[table].data.splitlines() if table in decoded.tables else []


def without(decoded: Decoded, table: str, frame: int) -> list[bytes]:
    """The lines of a table that did not come out of this frame."""
    both = zip(lines(decoded, table), frames_of(decoded, table), strict=True)
    return [line for line, n in both if n != frame]


# --- pure -----------------------------------------------------------------------------------------------------------


@each_venue
def test_equal_bursts_give_equal_results(venue: Venue) -> None:
    """A decoder remembers nothing that shows: the same burst twice, or in a fresh decoder, says the same."""
    frames = recorded(venue)
    header = Header("", "x/y/0", "x", venue.name, "", {})
    decoder = venue.decoder(header, Streams())
    burst = Burst(0, RECEIVED_AT, Kind.TEXT, frames)
    first = decoder.decode(burst)
    assert decoder.decode(burst) == first
    assert venue.decoder(header, Streams()).decode(burst) == first


@each_venue
@given(data=st.data())
def test_bursts_may_be_cut_anywhere(venue: Venue, data: st.DataObject) -> None:
    """What frames say does not depend on how they were read together."""
    frames = recorded(venue)
    some = data.draw(st.lists(st.sampled_from(frames) | st.binary(max_size=9), min_size=2, max_size=8))
    at = data.draw(st.integers(1, len(some) - 1))
    left, right, both = decode(venue, some[:at]), decode(venue, some[at:]), decode(venue, some)
    for table in TABLES:
        assert lines(left, table) + lines(right, table) == lines(both, table)
    assert [p.raw for d in (left, right) for p in d.poison] == [p.raw for p in both.poison]
    assert left.replies + right.replies == both.replies
    assert sum((d.messages.get(c, 0) for d in (left, right) for c in both.messages), 0) == sum(both.messages.values())


@each_venue
def test_control_records_come_back(venue: Venue) -> None:
    """Every decoder reads the records that a feed spools between the frames, and sets aside what is none."""
    records: list[Control] = [Opened("wss://a"), Subscribed((("c", "s"),)), Alive()]
    decoded = decode(venue, [*map(encode_control, records), b"{}", b""], Kind.CONTROL)
    assert decoded.control == list(enumerate(records, 5))
    assert decoded.poison == [Poison(8, "invalid_control", b"{}"), Poison(9, "invalid_control", b"")]


# --- planning -------------------------------------------------------------------------------------------------------


def source(venue: Venue, channels: tuple[str, ...], symbols: tuple[str, ...], **limits: int) -> Source:
    """A source of this venue."""
    return Source(
        name="x",
        venue=venue.name,
        endpoints=venue.endpoints,
        rest=venue.rest,
        options=OPTIONS.get(venue.name, {}),
        subscribe=(Subscribe(channels=channels, symbols=symbols),),
        limits=limits,
    )


def tabled(venue: Venue) -> tuple[str, ...]:
    """Channels with a table of their own."""
    names, _ = WHOLE.get(venue.name, ((), ""))
    own = (c.name for c in venue.channels if c.table != "messages" and "*" not in c.name)
    return tuple(name.format(0) for name in names) or tuple(own)


def asked(venue: Venue, count: int, **limits: int) -> tuple[Source, list[Subscription]]:
    """A source that wants all channels with a table of so many symbols, and each of these subscriptions."""
    if venue.name not in WHOLE:
        symbols = tuple(f"AAA{n}-USDT" for n in range(count))
        pairs = [Subscription(channel, symbol) for symbol in symbols for channel in tabled(venue)]
        return source(venue, tabled(venue), symbols, **limits), pairs
    names, symbol = WHOLE[venue.name]
    pairs = [Subscription(name.format(n), symbol.format(n)) for n in range(count) for name in names]
    return source(venue, tuple(each.channel for each in pairs), (), **limits), pairs


@each_venue
def test_requests_keep_the_limits(venue: Venue) -> None:
    """Any number of subscriptions is asked for once each, in frames within the limit, with ids that fit and differ."""
    many = [each for each in asked(venue, 2500)[1] if venue.name in WHOLE or each.channel in tabled(venue)[:2]]
    for ask in (venue.subscribe, venue.unsubscribe):
        requests = ask(many)
        assert sorted(s for request in requests for s in request.subscriptions) == sorted(many)
        assert all(len(r.payload) <= (venue.limits.request_bytes or 65_536) for r in requests)
        assert all(json.loads(r.payload) for r in requests)
        ids = [r.id for r in requests if r.id]
        assert len(set(ids)) == len(ids)
        assert all(i.isascii() and i.isalnum() and len(i) <= 32 for i in ids)
        assert ask(many) == requests


@each_venue
def test_books_over_rest_name_their_symbol(venue: Venue) -> None:
    """Only chained channels can be asked for over REST; the question names the symbol, no host and no query, and the
    venue says how many of them it answers."""
    for channel in tabled(venue):
        request, found = venue.book_request(Subscription(channel, "AAA1-USDT")), venue.channel(channel)
        assert found is not None
        if request is not None:
            assert found.continuity is Continuity.CHAINED
            assert request.path.startswith("/") and "?" not in request.path
            assert "AAA1-USDT" in request.params.values()
            assert venue.limits.book_requests_per_second > 0


@each_venue
def test_lines_hold_every_subscription_once(venue: Venue) -> None:
    """Connections are named, stable, within the limits, and carry each subscription exactly once."""
    wanted, pairs = asked(venue, 70, symbols_per_connection=25)
    lines = venue.lines(wanted)
    held = [subscription for line in lines for subscription in line.subscriptions]
    assert sorted(held) == sorted(pairs)
    assert len({line.name for line in lines}) == len(lines)
    assert all(len({s.symbol for s in line.subscriptions}) <= 25 for line in lines)
    assert venue.lines(wanted) == lines
    few, _ = asked(venue, 70, max_connections=len({line.path for line in lines}))
    assert len(venue.lines(few)) == len({line.path for line in lines})


@each_venue
def test_the_heartbeat_fits_the_allowance(venue: Venue) -> None:
    """Heartbeats alone never use up what may be sent, and come before the venue gives up on a quiet connection."""
    beat = venue.heartbeat
    assert 0 < beat.interval <= 30
    assert beat.payload
    assert not venue.limits.frames_per_minute or 60 / beat.interval <= venue.limits.frames_per_minute / 2


@each_venue
def test_every_code_has_one_reaction(venue: Venue) -> None:
    """No code is listed twice, and each says what it means."""
    codes = [code.code for code in venue.codes]
    assert len(set(codes)) == len(codes)
    assert all(code.meaning for code in venue.codes)


@each_venue
def test_channels_are_found_by_name(venue: Venue) -> None:
    """A channel is found by its own name; no channel is found by nonsense."""
    assert all(venue.channel(name) in venue.channels for name in tabled(venue))
    assert venue.channel("no-such-channel") is None
    assert {c.table for c in venue.channels} <= set(TABLES)
    assert all(c.continuity in Continuity for c in venue.channels)


@each_venue
def test_a_wrong_channel_is_explained(venue: Venue) -> None:
    """A misspelt channel is one sentence with its place and the name that was meant."""
    name, symbols = tabled(venue)[0], () if venue.name in WHOLE else ("BTC-USDT",)
    (problem,) = venue.check(source(venue, (name + "x",), symbols))
    assert problem.startswith("subscribe[0].channels[0]: ")
    assert f'"{name}"' in problem


@each_venue
def test_secrets_never_show(venue: Venue) -> None:
    """Nothing that a venue says of itself or plans holds the value of a secret option where it could be printed."""
    wanted = source(venue, (*tabled(venue)[:1], "nonsense"), ("BTC-USDT",))
    assert set(venue.secrets) <= set(venue.options)
    assert all(wanted.options[option] == "hunter2" for option in venue.secrets)
    said = (venue, venue.check(wanted), venue.warnings(wanted), venue.lines(wanted))
    assert "hunter2" not in "".join(map(repr, said))
