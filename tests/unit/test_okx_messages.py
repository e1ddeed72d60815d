"""What OKX says beside records with a table: other channels, unknown kinds, replies, errors and notices."""

from __future__ import annotations

from typing import Any

import pytest

from recorder.records import Ack, Notice, Pong, Reaction, Refusal
from recorder.venues.okx import venue
from tests import copytext
from tests.unit.okxframes import BTC, NOW, TS, decode, encoded, poison, push, row, rows, trade

# --- everything else ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "arg", "element", "symbol"),
    [
        ("call-auction-details", {"instId": "BTC-USDT"}, {"instId": "ETH-USDT"}, "BTC-USDT"),
        ("adl-warning", {"instType": "SWAP"}, {"instId": "BTC-USDT-SWAP"}, "BTC-USDT-SWAP"),
        ("opt-summary", {"instFamily": "BTC-USD"}, {"instId": "BTC-USD-1-C"}, "BTC-USD-1-C"),
        ("opt-summary", {"instFamily": "BTC-USD"}, {}, "BTC-USD"),
        ("sprd-tickers", {"sprdId": "A-B_C-D"}, {}, "A-B_C-D"),
        ("status", {}, {"title": "tea\tbreak\\n"}, ""),
        ("brand-new", {"instId": "BTC-USDT"}, "text", "BTC-USDT"),
    ],
)
def test_every_other_channel_is_kept_as_it_came(
    channel: str, arg: dict[str, str], element: object, symbol: str
) -> None:
    """A row per element, under the instrument it is about; time is `ts`, else that of its arrival."""
    message = push(channel, element, {"ts": TS, "instId": symbol} if symbol else {"ts": TS}, arg=arg)
    first, second = rows(decode(message), "messages")
    assert (first["payload"], first["symbol"], first["channel"], first["time"]) == (element, symbol, channel, NOW)
    assert second["time"] == int(TS) * 1000


@pytest.mark.parametrize(
    ("element", "reason"),
    [(b'{"a":"\\u0000"}', "bad_text"), (b'{"a":1e99999}', "bad_number"), (b'{"a":1e-20000}', "bad_number")],
)
def test_payloads_that_jsonb_refuses_are_poison(element: bytes, reason: str) -> None:
    """NUL and numbers beyond numeric's range; what only looks like them is kept."""
    raw = encoded(push("status", "@", arg={})).replace(b'"@"', element)
    assert poison(raw) == [(0, reason)]
    assert row("messages", push("status", {"a": "\\u0000 1e99999", "b": 1e30}, arg={}))["payload"] == {
        "a": "\\u0000 1e99999",
        "b": copytext.number("1e+30"),
    }


def test_unknown_kinds_are_counted_and_kept() -> None:
    """A message with `arg` but no data is a row of its own, without `arg` an event; either is drift."""
    decoded = decode({"arg": {"channel": "status"}, "page": 2}, {"event": "party", "msg": "x"}, {"a": 1})
    assert [r["payload"] for r in rows(decoded, "messages")] == [{"arg": {"channel": "status"}, "page": 2}]
    assert [(event.code, event.action) for event in decoded.events] == [("unknown", "none")] * 2
    assert decoded.drift == {"status": 1, "": 2}
    assert poison({"arg": {"channel": "trades", **BTC}, "page": 2}) == [(0, "missing_field")]


def test_new_fields_are_noticed() -> None:
    """A field that we do not know counts as drift and disturbs nothing."""
    decoded = decode(push("trades", trade(colour="red")))
    assert (decoded.drift, len(rows(decoded, "trades"))) == ({"trades": 1}, 1)
    assert decode(push("trades", trade(source="0", instId="X"))).drift == {}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"arg":"\xff"}', "invalid_utf8"),
        (b"[1]", "wrong_type"),
        (b'{"arg":{"channel":"trades","instId":"A\\u0000"},"data":[]}', "bad_text"),
        (b"[" * 9000, "too_deep"),
    ],
)
def test_what_is_no_message_is_poison(raw: bytes, reason: str) -> None:
    """Each with its reason, and with the frame as it came."""
    (found,) = decode(raw).poison
    assert (found.reason, found.raw) == (reason, raw)


# --- replies --------------------------------------------------------------------------------------------------------


def test_replies_to_requests() -> None:
    """Acknowledgements name what was subscribed, by instrument, type or family; pong is no JSON."""
    swap, family = (
        {"channel": "liquidation-orders", "instType": "SWAP"},
        {"channel": "opt-summary", "instFamily": "BTC-USD"},
    )
    options = {"channel": "option-trades", "instType": "OPTION", "instFamily": "BTC-USD"}
    decoded = decode(
        *({"event": "subscribe", "arg": arg, "connId": "a"} for arg in (swap, family, options)),
        {"event": "unsubscribe", "arg": {"channel": "trades", **BTC}},
        b"pong",
        {"event": "login", "code": "0", "msg": ""},
        {"event": "channel-conn-count", "channel": "orders", "connCount": "2"},
    )
    assert decoded.replies == [
        Ack("liquidation-orders", "SWAP"),
        Ack("opt-summary", "BTC-USD"),
        Ack("option-trades", "BTC-USD"),
        Ack("trades", "BTC-USDT", ended=True),
        Pong(),
    ]
    assert (decoded.events, decoded.tables, decoded.messages) == ([], {}, {})


MEANINGS = {code.code: code.meaning for code in venue.codes}
INVALID, ABSENT, RETIRED = MEANINGS["60012"], MEANINGS["60018"], MEANINGS["30040"]
CROWDED, UPGRADE = MEANINGS["channel-conn-count-error"], MEANINGS["64008"]
GONE = "Wrong URL or channel:trades,instId:FOO-BAR doesn't exist."


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        (
            {"event": "error", "code": "60012", "msg": "Invalid", "id": "s1"},
            Refusal("60012", f"{INVALID}: Invalid", Reaction.DROP, "s1"),
        ),
        (
            {"event": "error", "code": "60018", "msg": GONE},
            Refusal("60018", f"{ABSENT}: {GONE}", Reaction.DROP, "", "trades", "FOO-BAR"),
        ),
        (
            {"event": "error", "code": "60018", "msg": GONE, "arg": {"channel": "books", "instId": "A-B"}},
            Refusal("60018", f"{ABSENT}: {GONE}", Reaction.DROP, "", "books", "A-B"),
        ),
        ({"event": "error", "code": "12345", "msg": "new"}, Refusal("12345", "new", Reaction.NONE)),
        ({"error": "60012"}, Refusal("60012", INVALID, Reaction.DROP)),
        (b'{ "error" : 30040 }', Refusal("30040", RETIRED, Reaction.DROP)),
        (
            {"event": "channel-conn-count-error", "channel": "orders", "connCount": "20"},
            Refusal("channel-conn-count-error", f"{CROWDED}: 20", Reaction.DROP, "", "orders"),
        ),
    ],
)
def test_refusals(message: bytes | dict[str, Any], refusal: Refusal) -> None:
    """An error is a refusal with its reaction, and an event; it names its channel in `arg`, in words, or by its id."""
    decoded = decode(message)
    assert decoded.replies == [refusal]
    (event,) = decoded.events
    assert (event.code, event.action, event.message) == (refusal.code, refusal.reaction.value, refusal.message)


def test_the_notice_of_an_upgrade() -> None:
    """64008 makes the feed open the next connection before this one is closed."""
    decoded = decode({"event": "notice", "code": "64008", "msg": "soon", "connId": "a"})
    assert decoded.replies == [Notice("64008", f"{UPGRADE}: soon", Reaction.HAND_OVER)]
    assert [(event.code, event.action) for event in decoded.events] == [("64008", "hand_over")]


def test_events_can_be_stored() -> None:
    """What the venue says is bounded, and without NUL."""
    (event,) = decode({"event": "error", "code": "9" * 99, "msg": "a\x00b" * 9999}).events
    assert len(event.code) <= 40
    assert len(event.message) <= 4000
    assert "\x00" not in event.message


# Every code of the documentation, by what it makes the feed do.
DOCUMENTED = {
    Reaction.RETRY: "60004 60006 63999 close-4004 close-4005 close-4006",
    Reaction.RESUBSCRIBE: "64007",
    Reaction.DROP: (
        "60008 60011 60012 60013 60018 60019 60020 60025 60027 60028 60029 60033 64000 64001 64002 64003 64004 30040 "
        "channel-conn-count-error"
    ),
    Reaction.SLOW_DOWN: "60014 60023",
    Reaction.PARK: (
        "60005 60007 60009 60024 60032 close-1009 close-4001 close-4002 close-4003 close-4007 close-4008 close-4009"
    ),
    Reaction.HAND_OVER: "64008",
    Reaction.NONE: "60026 60030 60031",
}
CLOSES = (1009, 4001, 4002, 4003, 4004, 4005, 4006, 4007, 4008, 4009)


def test_every_documented_code_has_a_reaction() -> None:
    """The documented list, complete; closing for want of a heartbeat counts as one that was missed."""
    expected = {name: reaction for reaction, names in DOCUMENTED.items() for name in names.split()}
    assert {code.code.replace(" ", "-"): code.reaction for code in venue.codes} == expected
    assert {f"close-{n}" for n in CLOSES} <= set(expected)
    assert [code.code for code in venue.codes if code.counts_as_heartbeat_timeout] == ["close 4004"]


def test_a_code_is_explained() -> None:
    """30040 of the tutorials is a channel that does not exist, and no matter of signatures; the event says so."""
    (event,) = decode(b'{ "error" : 30040 }').events
    assert (event.code, event.action) == ("30040", "drop")
    assert "no such channel" in event.message and "signature has nothing to do with it" in event.message


def test_close_codes_have_labels() -> None:
    """The label of a reconnect: heartbeat, auth, quota, config, else close."""
    labels = [venue.close_reason(code, "") for code in (*CLOSES, 1000, 1006)]
    assert labels == [
        "config",
        "auth",
        "config",
        "quota",
        "heartbeat",
        "close",
        "close",
        "auth",
        "quota",
        "quota",
        "close",
        "close",
    ]
