"""Infoway's messages, rule by rule: what trades, books and klines become, and what answers, errors and words mean."""

from __future__ import annotations

from typing import Any

import pytest

from recorder.records import Ack, Kind, Pong, Reaction, Refusal
from recorder.venues.infoway import venue
from tests.unit.infowayframes import MS, NOW, SECONDS, decode, depth, encoded, kline, poison, row, rows, trade

# --- trades ---------------------------------------------------------------------------------------------------------


def test_a_trade_keeps_what_was_sent() -> None:
    """Every column; a trade has no id here, and `vw` is its turnover, not an average."""
    found = row("trades", trade())
    assert (str(found["price"]), str(found["size"]), str(found["turnover"])) == ("63039.10", "0.07933", "5000.88387")
    assert (found["side"], found["trade_id"], found["count"], found["seq"]) == ("buy", None, None, None)
    assert (found["time"], found["received_at"], found["origin"]) == (MS * 1000, NOW, "stream")
    assert (found["source"], found["channel"], found["symbol"]) == ("infoway", "trade", "BTCUSDT")


def test_trades_prove_nothing() -> None:
    """Neither id nor number: continuity has nothing to hold on to."""
    (lines,) = decode(trade()).tables.values()
    assert (lines.seq_from, lines.seq_to) == ([None], [None])


@pytest.mark.parametrize(
    ("td", "side"),
    [(0, None), (1, "buy"), (2, "sell"), ("1", "buy"), ("2", "sell"), (3, None), (None, None)],
)
def test_the_side_of_a_trade(td: object, side: str | None) -> None:
    """1 is bought, 2 is sold, everything else nobody knows."""
    assert row("trades", trade(td=td))["side"] == side


@pytest.mark.parametrize(("t", "time"), [(MS, MS * 1000), (str(MS), MS * 1000), ("", NOW), (None, NOW)])
def test_a_trade_s_time(t: object, time: int) -> None:
    """Milliseconds, as a number or as text; without one it is when it came."""
    assert row("trades", trade(t=t))["time"] == time


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"p": None}, "missing_field"),
        ({"v": ""}, "missing_field"),
        ({"s": None}, "missing_field"),
        ({"p": "NaN"}, "bad_number"),
        ({"v": True}, "bad_number"),
        ({"s": "A\x00"}, "bad_text"),
        ({"t": 1}, "absurd_time"),
        ({"t": MS + 100_000_000}, "absurd_time"),
        ({"t": 1.5}, "bad_number"),
        ({"p": ["1"]}, "wrong_type"),
    ],
)
def test_what_is_no_trade(fields: dict[str, object], reason: str) -> None:
    """It costs only itself."""
    assert poison(trade(), trade(**fields), trade()) == [(1, reason)]


def test_numbers_may_come_as_numbers() -> None:
    """A business that spells prices without quotation marks is read all the same, digit by digit."""
    raw = b'{"code":10002,"data":{"s":"USOIL","p":67.10,"v":12345678901234567890,"t":%d,"td":2,"vw":null}}' % MS
    found = row("trades", raw)
    assert (f"{found['price']}", f"{found['size']}") == ("67.10", "12345678901234567890")
    assert (found["side"], found["turnover"]) == ("sell", None)


def test_a_push_with_the_code_of_its_request_is_taken_for_what_it_holds() -> None:
    """As a tutorial prints it: code 10000 with s, p, v, t. Counted as something that is not as documented."""
    decoded = decode({"code": 10000, "data": {"s": "USOIL", "p": "67.1", "v": "3", "t": MS}})
    assert [str(found["price"]) for found in rows(decoded, "trades")] == ["67.1"]
    assert (decoded.messages, decoded.drift, decoded.poison) == ({"trade": 1}, {"trade": 1}, [])
    assert decode({**depth(None, None), "code": 10003}).drift == {"depth": 1}
    assert decode({**kline(), "code": 10006}).messages == {"kline_1m": 1}


def test_an_echo_of_a_request_is_no_push() -> None:
    """The same code with `codes` in it holds no trade: kept as something unknown."""
    decoded = decode({"code": 10000, "trace": "x", "data": {"codes": "BTCUSDT"}})
    assert (decoded.tables, decoded.poison, [event.code for event in decoded.events]) == ({}, [], ["unknown"])


# --- books ----------------------------------------------------------------------------------------------------------


def spelled(found: dict[str, Any]) -> list[list[list[str]]]:
    """Both sides of a book, digits as sent."""
    return [[[f"{cell:f}" for cell in level] for level in found[side]] for side in ("bids", "asks")]


def test_a_book_comes_column_by_column() -> None:
    """Prices and quantities become rows of both; always the whole book, which nothing can verify."""
    found = row("books", depth([["9.90", "8"], ["1", "2.0"]], [["10", "11"], ["3", "4"]]))
    assert spelled(found) == [[["9.90", "1"], ["8", "2.0"]], [["10", "3"], ["11", "4"]]]
    assert (found["kind"], found["integrity"], found["seq"], found["prev_seq"]) == (
        "snapshot",
        "unverifiable",
        None,
        None,
    )
    assert (found["time"], found["channel"], found["origin"]) == (MS * 1000, "depth", "stream")


@pytest.mark.parametrize("nothing", [None, [], [[], []]])
def test_a_side_may_be_empty(nothing: object) -> None:
    """null where there is no book."""
    assert spelled(row("books", depth(nothing, [["10"], ["3"]]))) == [[], [["10", "3"]]]
    assert spelled(row("books", depth(nothing, nothing))) == [[], []]


@pytest.mark.parametrize(
    ("bids", "best"),
    [
        ([["8", "9.5"], ["2", "1"]], ["9.5", "8"]),
        ([["-38", "-37.63"], ["2", "1"]], ["-37.63", "-38"]),
        ([["9", "10"], ["2", "1"]], ["10", "9"]),
        ([["1e1", "9"], ["2", "1"]], ["10", "9"]),
    ],
)
def test_the_best_price_comes_first(bids: list[list[str]], best: list[str]) -> None:
    """Whatever the order on the wire, also below zero, where oil has been."""
    assert [level[0] for level in spelled(row("books", depth(bids, None)))[0]] == best


def test_what_the_venue_adds_to_a_level_is_kept() -> None:
    """A third column is a third number of every level."""
    assert spelled(row("books", depth([["9"], ["1"], ["4"]], None)))[0] == [["9", "1", "4"]]


@pytest.mark.parametrize(
    ("bids", "reason"),
    [
        ([["9", "8"], ["1"]], "bad_levels"),
        ([["9", "8"]], "bad_levels"),
        ([["9", ""], ["1", "1"]], "bad_levels"),
        ([["9", "x"], ["1", "1"]], "bad_number"),
        ([["9,1"], ["1"]], "bad_number"),
        (["9", "8"], "wrong_type"),
        ("9", "wrong_type"),
    ],
)
def test_what_is_no_side(bids: object, reason: str) -> None:
    """Columns of different lengths, one column, or what is no number."""
    good = depth([["9"], ["1"]], None)
    assert poison(good, depth(bids, None), good) == [(1, reason)]


def test_a_book_without_its_sides_is_none() -> None:
    """An empty side is said, not left out."""
    assert poison({"code": 10005, "data": {"s": "BTCUSDT", "t": MS}}) == [(0, "wrong_type")]


# --- klines ---------------------------------------------------------------------------------------------------------

# Numbers of intervals, their names at the venue, and ours.
KLINES = {
    1: "1m",
    2: "5m",
    3: "15m",
    4: "30m",
    5: "1h",
    6: "2h",
    7: "4h",
    8: "1d",
    9: "1w",
    10: "1mo",
    11: "1q",
    12: "1y",
}


@pytest.mark.parametrize("ty", KLINES)
def test_the_interval_of_a_kline(ty: int) -> None:
    """Its number makes the channel and the interval, also as text; each belongs to a channel of the table."""
    for spelled_as in (ty, str(ty)):
        found = row("candles", kline(ty=spelled_as))
        assert found["channel"] == f"kline_{KLINES[ty]}"
        assert found["interval"] == ("3mo" if ty == 11 else KLINES[ty])
    assert venue.channel(f"kline_{KLINES[ty]}") is not None


def test_a_kline_keeps_what_was_sent() -> None:
    """The time is when it opens, in seconds; nobody says whether it is closed; change is not stored."""
    found = row("candles", kline())
    values = [str(found[column]) for column in ("open", "high", "low", "close", "volume", "turnover")]
    assert values == ["2", "4", "1", "3.5", "19.9", "60.5"]
    assert (found["time"], found["closed"], found["origin"]) == (int(SECONDS) * 1_000_000, None, "stream")
    assert row("candles", kline(t=int(SECONDS)))["time"] == int(SECONDS) * 1_000_000


def test_a_bar_has_its_length() -> None:
    """Continuity needs it: µs, and never closed."""
    (lines,) = decode(kline(ty=5)).tables.values()
    assert (lines.seq_from, lines.seq_to) == ([3_600_000_000], [0])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"ty": 13}, "wrong_type"),
        ({"o": ""}, "missing_field"),
        ({"t": ""}, "absurd_time"),
        ({"t": "x"}, "bad_number"),
        ({"h": "-"}, "bad_number"),
    ],
)
def test_what_is_no_kline(fields: dict[str, object], reason: str) -> None:
    """It is kept as it came, in quarantine."""
    assert poison(kline(), kline(**fields)) == [(1, reason)]


# --- together -------------------------------------------------------------------------------------------------------


def test_messages_of_a_burst_say_what_they_say_alone() -> None:
    """The fast path for many and the careful one for each give the same rows."""
    many = [trade(), kline(), depth([["9"], ["1"]], None), trade(s="ETHUSDT", td=2), kline(ty=8), trade(p="1e3")]
    decoder_twice = decode(*many, *many)
    for table in ("trades", "books", "candles"):
        alone = [each for message in [*many, *many] for each in rows(decode(message), table)]
        assert rows(decoder_twice, table) == alone
    assert decoder_twice.messages == {"trade": 6, "kline_1m": 2, "kline_1d": 2, "depth": 2}


def test_a_code_that_is_said_twice_is_not_guessed() -> None:
    """Whichever path reads it, the last one counts."""
    twice = encoded(trade())[:-1] + b',"code":10005}'
    assert poison(trade(), twice, trade()) == [(1, "wrong_type")]


def test_new_fields_are_noticed() -> None:
    """A field that we do not know counts as drift and disturbs nothing."""
    assert decode(trade(ty=1)).drift == {}
    for message in (trade(colour="red"), depth(None, None, c=1), kline(x=1)):
        decoded = decode(message)
        assert sum(decoded.drift.values()) == sum(decoded.messages.values()) == 1


def test_there_are_no_rest_answers() -> None:
    """Books come whole: none is ever spooled, and one that is there is set aside."""
    assert [p.reason for p in decode(b'{"url":"","channel":"","symbol":"","body":{}}', kind=Kind.REST).poison] == [
        "wrong_type"
    ]


# --- answers --------------------------------------------------------------------------------------------------------


def test_answers_to_requests() -> None:
    """Acknowledgements name the request by its trace; 11010 is the end of a subscription; a heartbeat's is a pong."""
    acks = [{"code": code, "trace": f"t{code}", "msg": "ok"} for code in (10001, 10004, 10007, 11010)]
    decoded = decode(*acks, {"code": 10011, "trace": "heartbeat", "msg": "ok"})
    assert decoded.replies == [
        *(Ack(request=f"t{code}") for code in (10001, 10004, 10007)),
        Ack("", "", True, "t11010"),
        Pong(),
    ]
    assert (decoded.events, decoded.messages, decoded.drift) == ([], {}, {})


def test_greetings() -> None:
    """The welcome calls for nothing; the one in plain text is kept as a notice."""
    decoded = decode({"code": 200, "msg": "ws connect success"}, b"You have permission to subscribe to all market data")
    assert (decoded.replies, decoded.poison, decoded.drift) == ([], [], {})
    assert [(event.frame, event.code, event.action) for event in decoded.events] == [(1, "text", "none")]


@pytest.mark.parametrize("words", [b"", b"hello", b"null", b"[1]", "升级".encode(), b"wait { a moment", b"x{}y"])
def test_words_are_never_poison(words: bytes) -> None:
    """Whatever is no JSON object is a notice: the gateway speaks plain text when it likes."""
    decoded = decode(words)
    assert (decoded.poison, decoded.tables, len(decoded.events)) == ([], {}, 1)


@pytest.mark.parametrize(
    ("raw", "reason"), [(b"\xff", "invalid_utf8"), (b'{"code":', "invalid_json"), (b'{"code":[]}', "wrong_type")]
)
def test_what_is_neither_words_nor_message(raw: bytes, reason: str) -> None:
    """It is set aside as it came."""
    (found,) = decode(raw).poison
    assert (found.reason, found.raw) == (reason, raw)


MEANINGS = {code.code: code.meaning for code in venue.codes}


@pytest.mark.parametrize("before", [b"", b"Subscribe fail: ", b"Subscribe fail:"])
def test_errors_name_their_request(before: bytes) -> None:
    """As recorded: `traceId` where answers have `trace`; on the stock gateway words stand before it."""
    raw = before + encoded({"traceId": "t1", "code": 507, "msg": "Param lost：data"})
    decoded = decode(raw)
    assert decoded.replies == [Refusal("507", f"{MEANINGS['507']}: Param lost：data", Reaction.DROP, "t1")]
    (event,) = decoded.events
    assert (event.code, event.action, event.message) == ("507", "drop", f"{MEANINGS['507']}: Param lost：data")


def test_a_refusal_in_words() -> None:
    """A code of its own, for there is no number; the one about JSON is a 515."""
    decoded = decode(b"Subscribe fail: no permission", b"Param not json: {x")
    assert [(r.code, r.reaction) for r in decoded.replies if isinstance(r, Refusal)] == [
        ("Subscribe fail", Reaction.DROP),
        ("515", Reaction.DROP),
    ]


def test_an_unknown_code_is_harmless() -> None:
    """Counted and kept, with its words."""
    decoded = decode({"code": 599, "msg": "new", "traceId": "t"}, {"code": "abc"}, {"x": 1})
    assert decoded.replies == [Refusal("599", "new", Reaction.NONE, "t"), Refusal("abc", "")]
    assert [event.code for event in decoded.events] == ["599", "abc", "unknown"]
    assert decoded.drift == {"": 1}


# Every code of the documentation, of the SDKs and of a refused handshake, by what it makes the feed do.
DOCUMENTED = {
    Reaction.RETRY: "499 500 513 524 http-499 http-500 http-502 http-503 http-504 http-524",
    Reaction.RESUBSCRIBE: "516",
    Reaction.DROP: "503 504 505 506 507 515 520 Subscribe-fail",
    Reaction.SLOW_DOWN: "429 501 http-429",
    Reaction.PARK: "401 404 427 502 508 509 510 511 512 514 517 518 519 521 http-401 http-404 http-427",
}


def test_every_documented_code_has_a_reaction() -> None:
    """The list is complete. A number may mean something else as the status of a handshake: 502 there is a gateway out
    of order, in a frame it is the end of the day's quota."""
    expected = {name: reaction for reaction, names in DOCUMENTED.items() for name in names.split()}
    assert {code.code.replace(" ", "-"): code.reaction for code in venue.codes} == expected
    assert [code.code for code in venue.codes if code.counts_as_heartbeat_timeout] == ["513"]


@pytest.mark.parametrize("code", [code for code in MEANINGS if " " not in code])
def test_each_code_is_recognised_in_a_frame(code: str) -> None:
    """As a number and as text, with its reaction and its meaning."""
    table = {each.code: each for each in venue.codes}
    for spelled_as in (int(code), code):
        (reply,) = decode({"traceId": "t", "code": spelled_as, "msg": "why"}).replies
        assert reply == Refusal(code, f"{MEANINGS[code]}: why", table[code].reaction, "t")


@pytest.mark.parametrize(
    ("codes", "label"),
    [
        ("401 508 509 510 511 517 518 519", "auth"),
        ("427 502 512 521", "quota"),
        ("404 514", "config"),
        ("513", "heartbeat"),
        ("499 500 524", "close"),
    ],
)
def test_the_label_of_a_code_that_ends_a_connection(codes: str, label: str) -> None:
    """What `recorder_reconnects_total` counts it as."""
    table = {each.code: each for each in venue.codes}
    assert {table[code].label for code in codes.split()} == {label}
