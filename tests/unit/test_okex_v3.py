"""OKEx v3: what its frames say, value by value, and what its sources may ask for."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from recorder.quality.continuity import Continuity
from recorder.records import Ack, Burst, Decoded, Header, Kind, Pong, Reaction, Refusal, Streams
from recorder.venues import Continuity as Proof
from recorder.venues import Subscription
from recorder.venues.okex_v3 import venue
from tests import copytext

NOW = 1_700_000_000_123_456
AT = "2023-11-14T22:13:19.123Z"
US = 1_699_999_999_123_000


def decoder() -> Any:
    """A decoder of a run."""
    header = Header("", "okex_v3/ws/0", "okex_v3", "okex_v3", "/ws/v3", {}, run="1-00000000", run_ordinal=1)
    return venue.decoder(header, Streams())


def decode(*frames: bytes | dict[str, Any], kind: Kind = Kind.TEXT) -> Decoded:
    """Frames as one burst, numbered from 0."""
    found: Decoded = decoder().decode(Burst(0, NOW, kind, list(map(encoded, frames))))
    return found


def encoded(message: bytes | dict[str, Any]) -> bytes:
    """A message as the venue spells it."""
    return message if isinstance(message, bytes) else json.dumps(message, separators=(",", ":")).encode()


def deflated(message: bytes | dict[str, Any]) -> bytes:
    """The same, compressed as the venue does it."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(encoded(message)) + packer.flush()


def push(channel: str, *data: object, **more: object) -> dict[str, Any]:
    """A data message."""
    return {"table": channel, **more, "data": list(data)}


def trade(symbol: str = "BTC-USDT", **fields: object) -> dict[str, object]:
    """A trade; a field that is None is left out."""
    found = {"side": "buy", "trade_id": "7", "price": "1.50", "size": "2", "instrument_id": symbol, "timestamp": AT}
    return {name: value for name, value in {**found, **fields}.items() if value is not None}


def book(bids: object, asks: object, **fields: object) -> dict[str, object]:
    """A book, or a change of one."""
    return {"instrument_id": "BTC-USDT", "asks": asks, "bids": bids, "timestamp": AT, **fields}


def rows(table: str, *frames: bytes | dict[str, Any], kind: Kind = Kind.TEXT) -> list[copytext.Row]:
    """The rows of frames, which must be all that they become."""
    decoded = decode(*frames, kind=kind)
    assert (decoded.poison, decoded.events, list(decoded.tables)) == ([], [], [table])
    return copytext.rows(table, decoded.tables[table].data)


def poison(*frames: bytes | dict[str, Any], kind: Kind = Kind.TEXT) -> list[tuple[int, str]]:
    """What was set aside, and why."""
    return [(each.frame, each.reason) for each in decode(*frames, kind=kind).poison]


def texts(found: copytext.Row, *columns: str) -> list[str | None]:
    """Decimals of a row as they are spelled."""
    return [None if found[column] is None else f"{found[column]:f}" for column in columns]


# --- data -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["spot/trade", "swap/trade", "futures/trade", "option/trade"])
@pytest.mark.parametrize("size", ["size", "qty"])
def test_a_trade_has_a_size_or_a_quantity(channel: str, size: str) -> None:
    """Contracts have a `qty` where coins have a `size`; either is the size."""
    element = {**trade(size=None), size: "0.10"}
    (found,) = rows("trades", push(channel, element))
    assert (texts(found, "price", "size"), found["trade_id"], found["side"]) == (["1.50", "0.10"], "7", "buy")
    assert (found["time"], found["channel"], found["symbol"]) == (US, channel, "BTC-USDT")
    assert poison(push(channel, trade(size=None))) == [(0, "missing_field")]


def test_numbers_without_quotes_keep_their_digits() -> None:
    """Whoever writes a message anew may make numbers of strings: they are stored as they are spelled."""
    raw = encoded(push("futures/trade", trade("BTC-USD-190628", price="@", size=None, qty=4)))
    (found,) = rows("trades", raw.replace(b'"@"', b"4061.940"))
    assert texts(found, "price", "size") == ["4061.940", "4"]
    sides = book([[4084.56, 4, 0, 1]], [[4084.57, 38, 0, 3], [4085, 20, 0, 1]])
    (found,) = rows("books", push("futures/depth", sides, action="partial"))
    assert [[f"{cell:f}" for cell in level] for level in found["asks"]] == [  # type: ignore[union-attr]
        ["4084.57", "38", "0", "3"],
        ["4085", "20", "0", "1"],
    ]


def test_elements_of_a_message_may_be_of_several_instruments() -> None:
    """Each goes to its own stream; one that names none spoils the frame."""
    found = rows("trades", push("spot/trade", trade("A-B"), trade("C-D", trade_id="9")))
    assert [(each["symbol"], each["trade_id"]) for each in found] == [("A-B", "7"), ("C-D", "9")]
    known = push("spot/trade", trade("A-B"))
    found = rows("trades", known, push("spot/trade", trade("A-B", trade_id="8"), trade("C-D", trade_id="9")))
    assert [each["symbol"] for each in found] == ["A-B", "A-B", "C-D"]
    assert poison(known, push("spot/trade", trade("A-B"), trade(instrument_id=None))) == [(1, "missing_field")]
    assert poison(push("spot/trade")) == [(0, "missing_field")]
    assert poison(b'{"table":"spot/trade"}') == [(0, "wrong_type")]


@pytest.mark.parametrize("level", [["1.5", "2", 3], ["1.5", "2", "3"], ["1.5", "2", "0", "3"], [1.5, 2, 0, 3]])
def test_levels_have_three_or_four_cells(level: list[object]) -> None:
    """Price, size and count of orders in 2019; a zero between them since 2020."""
    usual = push("spot/depth", book([["1", "1", "0", "1"]], []), action="partial")
    found = rows("books", usual, push("spot/depth", book([level], []), action="update"), usual)
    assert [each["kind"] for each in found] == ["snapshot", "update", "snapshot"]
    assert [f"{cell:f}" for cell in found[1]["bids"][0]] == [str(cell) for cell in level]  # type: ignore[index]


def test_kinds_of_books() -> None:
    """`partial` is whole, its best price first; `depth5` says no action and is always whole; others must say one."""
    levels = [["1", "1", "0", "1"], ["2", "1", "0", "1"]]
    (found,) = rows("books", push("spot/depth", book(levels, levels), action="partial"))
    prices = [[f"{level[0]:f}" for level in found[side]] for side in ("bids", "asks")]  # type: ignore[union-attr]
    assert (found["kind"], prices) == ("snapshot", [["2", "1"], ["1", "2"]])
    (found,) = rows("books", push("swap/depth5", book([], levels)))
    assert (found["kind"], found["bids"], found["integrity"]) == ("snapshot", [], "unverifiable")
    assert poison(push("spot/depth", book([], []))) == [(0, "missing_field")]
    assert poison(push("spot/depth", book([], []), action="delete")) == [(0, "wrong_type")]
    assert poison(push("spot/depth", {**book([], []), "asks": None}, action="update")) == [(0, "missing_field")]
    assert poison(push("spot/depth", book("x", []), action="update")) == [(0, "wrong_type")]


def test_a_broken_book_is_asked_for_anew() -> None:
    """A checksum that is not the book's breaks the chain, REST has nothing to mend it with, the next `partial` has."""
    assert venue.book_request(Subscription("spot/depth", "BTC-USDT")) is None
    one = [["1", "1", "0", "1"]]
    frames = [
        push("spot/depth", book(one, [], checksum=zlib.crc32(b"1:1")), action="partial"),
        push("spot/depth", book([], one, checksum=17), action="update"),
        push("spot/depth", book(one, [], checksum=0), action="update"),
        push("spot/depth", book(one, [], checksum=zlib.crc32(b"1:1")), action="partial"),
    ]
    streams = Streams()
    one_decoder = venue.decoder(Header("", "x/ws/0", "x", "okex_v3", "/ws/v3", {}, run="1-0"), streams)
    continuity = Continuity(streams, lambda _: Proof.CHAINED)
    bursts = [Burst(n, NOW, Kind.TEXT, [encoded(frame)]) for n, frame in enumerate(frames)]
    verdicts = [continuity.observe(one_decoder.decode(burst)) for burst in bursts]
    assert [bool(verdict.suspect) for verdict in verdicts] == [False, True, True, False]
    assert [verdict.broken for verdict in verdicts] == [[], [0], [], []]


@pytest.mark.parametrize(
    ("channel", "interval"), [("spot/candle60s", "1m"), ("swap/candle21600s", "6h"), ("index/candle604800s", "1w")]
)
def test_candles(channel: str, interval: str) -> None:
    """Open time first; the volume in coins where there is one; never closed or open for sure."""
    bar = [AT, "1", "4", "0.5", "3", "10"]
    for more, turnover in ((["20"], "20"), ([], None)):
        (found,) = rows("candles", push(channel, {"candle": bar + more, "instrument_id": "BTC-USD"}))
        assert texts(found, "open", "high", "low", "close", "volume", "turnover") == [*bar[1:], turnover]
        assert (found["time"], found["interval"], found["closed"]) == (US, interval, None)
    for wrong in (bar[:5], [*bar, "1", "2"], []):
        assert poison(push(channel, {"candle": wrong, "instrument_id": "BTC-USD"})) == [(0, "wrong_type")]
    assert venue.channel("spot/candle61s") is None


@pytest.mark.parametrize(
    ("channel", "fields", "prices"),
    [
        ("futures/mark_price", {"mark_price": "5.10"}, [("mark", "5.10")]),
        ("index/ticker", {"last": "5", "high_24h": "6", "low_24h": "4", "open_24h": "4.5"}, [("index", "5")]),
        ("futures/estimated_price", {"settlement_price": "5"}, [("estimated", "5")]),
        ("swap/price_range", {"highest": "6", "lowest": "4"}, [("limit_up", "6"), ("limit_down", "4")]),
    ],
)
def test_reference_prices(channel: str, fields: dict[str, str], prices: list[tuple[str, str]]) -> None:
    """A row for each price that the message speaks of."""
    message = push(channel, {"instrument_id": "BTC-USD", "timestamp": AT, **fields})
    assert [(row["kind"], f"{row['price']:f}") for row in rows("reference_prices", message)] == prices
    assert decode(message).drift == {}
    assert poison(push(channel, {"instrument_id": "BTC-USD", "timestamp": AT})) == [(0, "missing_field")]


def test_funding_and_liquidations() -> None:
    """A funding rate has no time of its own. Type 3 closes a long position, 4 a short one; others have no side."""
    rate = {"funding_rate": "0.01", "estimated_rate": "", "funding_time": AT, "instrument_id": "BTC-USD-SWAP"}
    (found,) = rows("funding_rates", push("swap/funding_rate", rate))
    times = [found[column] for column in ("time", "funding_time", "next_funding_time")]
    assert (times, texts(found, "rate", "next_rate")) == ([NOW, US, None], ["0.01", None])
    assert poison(push("swap/funding_rate", {**rate, "funding_time": "soon"})) == [(0, "bad_number")]
    order = {"size": "8", "price": "2", "created_at": AT, "instrument_id": "BTC-USD-210326"}
    frames = [push("futures/liquidation", {**order, "type": kind}) for kind in "345"]
    found_sides = [(row["side"], row["position_side"]) for row in rows("liquidations", *frames)]
    assert found_sides == [("sell", "long"), ("buy", "short"), (None, None)]


def test_all_else_is_a_message() -> None:
    """A row for each element, of whatever kind, also of channels that nobody has heard of."""
    option = {"instrument_id": "BTC-USD-210604-30000-P", "timestamp": AT, "delta": "-0.1"}
    for element, symbol, time in (
        (option, "BTC-USD-210604-30000-P", US),
        ({"timestamp": "yesterday", "title": "upgrade"}, "", NOW),
        ([option], "", NOW),
        (7, "", NOW),
    ):
        for channel in ("option/summary", "futures/instruments", "system/status", "spot/news"):
            (found,) = rows("messages", push(channel, element))
            assert (found["symbol"], found["time"], found["payload"]) == (symbol, time, element)


@pytest.mark.parametrize(
    ("time", "outcome"),
    [
        ("2000-01-01T00:00:00.000Z", 946_684_800_000_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000_000),
        ("2023-11-15T22:13:20.123Z", 1_700_086_400_123_000),
        ("", NOW),
        ("1999-12-31T23:59:59.999Z", "absurd_time"),
        ("0001-01-01T00:00:00.000Z", "absurd_time"),
        ("9999-12-31T23:59:59.999Z", "absurd_time"),
        ("2023-11-15T22:13:20.124Z", "absurd_time"),
        ("2023-02-29T00:00:00.000Z", "bad_number"),
        ("2018-10-24T20:11:443Z", "bad_number"),
        ("2023-11-14T24:00:00.000Z", "bad_number"),
        ("2023-11-14T22:13:20.123", "bad_number"),
        ("2023-11-14T22:13:20.123+08:00", "bad_number"),
        ("٢٠٢٣-11-14T22:13:20.123Z", "bad_number"),
        ("Z", "bad_number"),
        ("1699999999123", "bad_number"),
    ],
)
def test_times(time: str, outcome: int | str) -> None:
    """ISO-8601 in UTC to the millisecond; no time is ours; nonsense costs its frame and no other."""
    good = push("spot/trade", trade())
    decoded = decode(good, push("spot/trade", trade(timestamp=time)), good)
    if isinstance(outcome, str):
        assert [(each.frame, each.reason) for each in decoded.poison] == [(1, outcome)]
        assert decoded.tables["trades"].frames == [0, 2]
    else:
        assert (decoded.poison, decoded.tables["trades"].times) == ([], [US, outcome, US])


def test_usual_bursts_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its stream is known, a message is decoded only once; 2019's rows with numbers in them are not usual."""
    frames = [push("spot/trade", trade()), push("spot/depth", book([["1", "1", "0", "1"]], []), action="update")]
    one = decoder()
    burst = Burst(0, NOW, Kind.BINARY, list(map(deflated, frames)))
    first = one.decode(burst)
    monkeypatch.setattr(one, "read", None)
    assert one.decode(burst) == first
    assert first.messages == {"spot/trade": 1, "spot/depth": 1}


def test_new_fields_are_drift() -> None:
    """A field that we do not know is counted, and costs nothing."""
    assert decode(push("spot/trade", trade(mood="calm"))).drift == {"spot/trade": 1}
    ticker = {"last": "1", "open_utc0": "1", "base_volume_24h": "2", "instrument_id": "A-B", "timestamp": AT}
    assert decode(push("spot/ticker", ticker)).drift == {}


# --- compressed frames ----------------------------------------------------------------------------------------------


def test_frames_come_compressed_plain_or_damaged() -> None:
    """A bomb, a frame cut short and plain text that is no JSON cost themselves; their neighbours are read."""
    good, bomb = deflated(push("spot/trade", trade())), deflated(b"[" + b"0," * (4 << 20) + b"0]")
    plain = encoded(push("spot/trade", trade()))
    burst = [good, bomb, good[:-3], b"pong", b"", plain, deflated(b"pong"), good]
    decoded = decode(*burst, kind=Kind.BINARY)
    assert [(each.frame, each.reason, each.raw) for each in decoded.poison] == [
        (n, "bad_deflate", burst[n]) for n in (1, 2, 3, 4)
    ]
    assert (decoded.tables["trades"].frames, decoded.replies) == ([0, 5, 7], [Pong()])
    assert len(bomb) < 1 << 16


# --- replies --------------------------------------------------------------------------------------------------------


def test_replies() -> None:
    """Acknowledgements name a channel and what it is about, if anything."""
    for message, reply in (
        ({"event": "subscribe", "channel": "spot/trade:BTC-USDT"}, Ack("spot/trade", "BTC-USDT")),
        ({"event": "unsubscribe", "channel": "spot/trade:BTC-USDT"}, Ack("spot/trade", "BTC-USDT", ended=True)),
        ({"event": "subscribe", "channel": "futures/instruments"}, Ack("futures/instruments", "")),
        (b"pong", Pong()),
    ):
        for frame, kind in ((encoded(message), Kind.TEXT), (deflated(message), Kind.BINARY)):
            decoded = decode(frame, kind=kind)
            assert (decoded.replies, decoded.poison, decoded.events, decoded.tables) == ([reply], [], [], {})
    decoded = decode({"event": "login", "success": True})
    assert (decoded.replies, decoded.poison, decoded.events, decoded.drift) == ([], [], [], {})


def refused(**fields: object) -> Refusal:
    """The refusal that an error is, which is kept as an event as well."""
    decoded = decode({"event": "error", **fields})
    (reply,), (event,) = decoded.replies, decoded.events
    assert isinstance(reply, Refusal)
    assert (event.code, event.action, event.message) == (reply.code, reply.reaction.value, reply.message)
    return reply


def test_an_error_names_its_culprit_in_words() -> None:
    """Channel and instrument as they were asked for; where neither is named, whoever waits may be meant."""
    found = refused(message="Channel spot/trade:NO-SUCH doesn't exist", errorCode=30040)
    assert (found.channel, found.symbol, found.reaction) == ("spot/trade", "NO-SUCH", Reaction.DROP)
    found = refused(message="Channel option/depth:BTC-USD-210604-0.5-P doesn't exist", errorCode="30040")
    assert (found.code, found.channel, found.symbol) == ("30040", "option/depth", "BTC-USD-210604-0.5-P")
    found = refused(message="Channel futures/instrument doesn't exist", errorCode=30040)
    assert (found.channel, found.symbol) == ("futures/instrument", "")
    found = refused(message="No data.", channel="spot/trade:A-B", errorCode=30036)
    assert (found.channel, found.symbol) == ("spot/trade", "A-B")
    assert refused(message="There is no spot/trade:A-B.", errorCode=30040).symbol == "A-B"
    assert refused(message="Unrecognized request", errorCode=30039).channel == ""
    assert refused(message="?", errorCode=39999).reaction is Reaction.NONE
    assert (refused(message="?").code, refused(message="?").reaction) == ("error", Reaction.NONE)


@pytest.mark.parametrize(
    ("numbers", "reaction"),
    [
        ("30001 30002 30003 30004 30005 30006 30007 30008 30013 30027", Reaction.PARK),
        ("30009 30043", Reaction.RETRY),
        ("30030 30037", Reaction.RESUBSCRIBE),
        ("30031 30032 30034 30036 30039 30040 30041", Reaction.DROP),
        ("30026", Reaction.SLOW_DOWN),
        ("30038", Reaction.PARK),
        ("30042", Reaction.NONE),
    ],
)
def test_every_code_has_its_reaction(numbers: str, reaction: Reaction) -> None:
    """As the venue's table of codes explains them; its words come behind ours."""
    for number in numbers.split():
        found = refused(message="so it is", errorCode=int(number))
        assert found.reaction is reaction
        assert found.message.endswith(": so it is")


def test_a_login_that_is_refused() -> None:
    """In whatever way: it parks the source, and counts as trouble with a key."""
    for message in (
        {"event": "login", "success": False},
        {"event": "login", "success": False, "message": "Invalid sign", "errorCode": 30013},
        {"event": "error", "message": "Login failure", "errorCode": 30027},
    ):
        (reply,) = decode(message).replies
        assert isinstance(reply, Refusal)
        assert reply.reaction is Reaction.PARK
        assert next(code.label for code in venue.codes if code.code == reply.code) == "auth"


@pytest.mark.parametrize("message", [{"event": "party"}, {"event": "subscribe"}, {}, {"channel": "spot/trade:A-B"}])
def test_unknown_events_are_noted(message: dict[str, Any]) -> None:
    """Counted as drift and kept, but no poison."""
    decoded = decode(message)
    assert (decoded.replies, decoded.poison, decoded.drift) == ([], [], {"": 1})
    assert [event.code for event in decoded.events] == ["unknown"]
