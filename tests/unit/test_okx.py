"""OKX records, rule by rule: what the fields of trades, candles, tickers and quotes become."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import copytext
from tests.unit.okxframes import NOW, TS, bar, book, decode, poison, push, row, rows, trade

# --- trades ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "first", "last"),
    [
        ({"tradeId": "100", "count": "3"}, 98, 100),
        ({"tradeId": "100", "count": ""}, 100, 100),
        ({"tradeId": "5000", "count": "1500"}, 3501, 5000),
        ({"tradeId": "a1"}, None, None),
        ({"tradeId": ""}, None, None),
        ({"tradeId": "9" * 19}, None, None),
    ],
)
def test_a_trade_covers_the_ids_it_counts(fields: dict[str, str], first: int | None, last: int | None) -> None:
    """tradeId is the last of `count` ids; an id that is no number is kept, and proves nothing."""
    decoded = decode(push("trades", trade(**fields)))
    assert (decoded.tables["trades"].seq_from, decoded.tables["trades"].seq_to) == ([first], [last])
    (found,) = rows(decoded, "trades")
    assert found["trade_id"] == (fields["tradeId"] or None)
    assert found["count"] == (int(fields.get("count", "3")) if fields.get("count", "3") else None)


def test_a_trade_keeps_what_was_sent() -> None:
    """Every column of a trade; a side that nobody knows is null."""
    found = row("trades", push("trades", trade(px="0.10", sz="1e-7", side="hold")))
    assert str(found["price"]) == "0.10"
    assert (found["size"], found["side"], found["seq"]) == (copytext.number("1e-7"), None, 7)
    assert (found["turnover"], found["origin"], found["symbol"]) == (None, "stream", "BTC-USDT")
    assert (found["time"], found["received_at"]) == (int(TS) * 1000, NOW)


@pytest.mark.parametrize("field", ["px", "sz"])
def test_a_trade_without_price_or_size_is_none(field: str) -> None:
    """It goes to quarantine, whether the field is empty or not there."""
    bare = {key: value for key, value in trade().items() if key != field}
    assert poison(push("trades", bare), push("trades", trade(**{field: ""}))) == [
        (0, "missing_field"),
        (1, "missing_field"),
    ]


@pytest.mark.parametrize("count", ["0", "-1", "x", "9" * 10])
def test_a_trade_with_an_impossible_count_is_poison(count: str) -> None:
    """A count that would turn the range of ids around."""
    assert poison(push("trades", trade(count=count))) == [(0, "bad_number")]


def test_all_trades_of_a_message_stand_or_fall_together() -> None:
    """The unit of poison is the frame: the good element of a bad frame is withdrawn, the next frame is not."""
    decoded = decode(push("trades", trade(), trade(px="NaN")), push("trades", trade(tradeId="101"), trade()))
    assert decoded.tables["trades"].frames == [1, 1]
    assert [(each.frame, each.reason) for each in decoded.poison] == [(0, "bad_number")]
    assert decoded.messages == {"trades": 2}


def test_numbers_sent_as_text_or_not_are_the_same() -> None:
    """seqId as text is read as well; a price that is no text is not what this venue sends."""
    assert row("trades", push("trades", trade(seqId="8")))["seq"] == 8
    assert poison(push("trades", trade(px=1.5))) == [(0, "wrong_type")]


# --- times ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ts", ["", None])
def test_a_record_without_time_has_that_of_its_arrival(ts: str | None) -> None:
    """`time` is received_at where the venue gives none."""
    element = {key: value for key, value in trade(ts=ts).items() if value is not None}
    assert row("trades", push("trades", element))["time"] == NOW


DAY = 86_400_000


@pytest.mark.parametrize(
    ("ts", "reason"),
    [
        (NOW // 1000 + DAY, ""),
        (NOW // 1000 + DAY + 1, "absurd_time"),
        (946_684_800_000, ""),
        (946_684_799_999, "absurd_time"),
        (0, "absurd_time"),
        (-5, "absurd_time"),
        (10**16, "absurd_time"),
        (10**17, "bad_number"),
    ],
)
def test_times_that_cannot_be_are_poison(ts: int, reason: str) -> None:
    """Before 2000 or more than a day ahead is absurd; any other past is stored."""
    assert poison(push("trades", trade(ts=str(ts)))) == ([(0, reason)] if reason else [])


@pytest.mark.parametrize(("channel", "ahead"), [("candle1m", 60_000), ("candle1Dutc", DAY), ("candle3M", 92 * DAY)])
def test_a_candle_may_open_one_interval_ahead(channel: str, ahead: int) -> None:
    """The open time of a candle is absurd beyond one interval."""
    opens = NOW // 1000 + ahead
    assert poison(push(channel, bar(str(opens))), push(channel, bar(str(opens + 1)))) == [(1, "absurd_time")]


# --- candles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "turnover", "closed"),
    [
        ((), "20", None),
        (("30",), "30", None),
        (("30", "0"), "30", False),
        (("30", "1"), "30", True),
        (("", "1"), "20", True),
    ],
)
def test_candles_of_every_age(more: tuple[str, ...], turnover: str, closed: bool | None) -> None:
    """Turnover is volCcyQuote, else volCcy; without `confirm` nobody knows whether the bar is closed."""
    decoded = decode(push("candle1m", bar(TS, *more)))
    (found,) = rows(decoded, "candles")
    assert (str(found["turnover"]), found["closed"], found["interval"]) == (turnover, closed, "1m")
    assert [str(found[c]) for c in ("open", "high", "low", "close", "volume")] == ["1", "4", "0.5", "3", "10"]
    assert (decoded.tables["candles"].seq_from, decoded.tables["candles"].seq_to) == (
        [60_000_000],
        [int(closed is True)],
    )


@pytest.mark.parametrize(
    ("channel", "interval", "length"),
    [
        ("candle1s", "1s", 1),
        ("candle4H", "4h", 14400),
        ("candle6Hutc", "6h", 21600),
        ("candle1W", "1w", 604800),
        ("candle1M", "1mo", 0),
        ("candle3Mutc", "3mo", 0),
    ],
)
def test_the_channel_keeps_its_name(channel: str, interval: str, length: int) -> None:
    """candle6H and candle6Hutc stay apart; bars of months have no length."""
    decoded = decode(push(channel, bar()))
    (found,) = rows(decoded, "candles")
    assert (found["channel"], found["interval"]) == (channel, interval)
    assert decoded.tables["candles"].seq_from == [length * 1_000_000]


@pytest.mark.parametrize("bars", [bar()[:6], [*bar(), "1", "2", "3"], {"ts": TS}])
def test_a_candle_of_another_length_is_poison(bars: object) -> None:
    """Six fields or ten are no candle, nor is an object."""
    assert poison(push("candle1m", bars)) == [(0, "wrong_type")]


def test_a_candle_of_unknown_length_is_a_message() -> None:
    """A bar that we do not know is kept as it came."""
    assert row("messages", push("candle7m", bar()))["payload"] == bar()


# --- tickers and quotes ---------------------------------------------------------------------------------------------


def test_a_ticker_without_bids_has_nulls() -> None:
    """Null means that the venue sent nothing; zero is zero."""
    found = row("tickers", push("tickers", {"last": "5", "lastSz": "0", "bidPx": "", "askPx": "6", "ts": TS}))
    assert (found["bid_price"], found["bid_size"], found["open_interest"]) == (None, None, None)
    assert (str(found["last_size"]), str(found["ask_price"])) == ("0", "6")
    assert poison(push("tickers", {"ts": TS, "last": ""})) == [(0, "missing_field")]


def test_a_quote_has_nulls_for_an_empty_side() -> None:
    """bbo-tbt sends one level a side, or none."""
    found = row("quotes", push("bbo-tbt", book([["1.5", "2", "0", "9"]], [], seqId=4)))
    assert (str(found["bid_price"]), str(found["bid_size"])) == ("1.5", "2")
    assert (found["ask_price"], found["ask_size"], found["seq"]) == (None, None, 4)
    assert poison(push("bbo-tbt", {"bids": [], "ts": TS})) == [(0, "missing_field")]


@given(st.integers(2, 40), st.sets(st.integers(0, 39), max_size=6), st.sampled_from(["px", "ts", "sz", "tradeId"]))
def test_bad_messages_leave_the_order_of_the_others(count: int, bad: set[int], field: str) -> None:
    """However many of a burst are at fault, and whatever of them, the others are stored as they came; a message that is
    only unusual (an exponent) keeps its place among them."""
    broken = {"px": "NaN", "ts": "12", "sz": "", "tradeId": "x\u0000"}[field]
    frames = [
        push("trades", trade(**{"tradeId": str(100 + n), "count": "1", **({field: broken} if n in bad else {})}))
        for n in range(count)
    ]
    odd = count // 2
    if odd not in bad:
        frames[odd] = push("trades", trade(tradeId=str(100 + odd), count="1", px="1e3"))
    decoded = decode(push("trades", trade(tradeId="1", count="1")), *frames)
    good = [n for n in range(count) if n not in bad]
    stored = rows(decoded, "trades") if decoded.tables else []
    assert [int(str(row["trade_id"])) for row in stored] == [1, *(100 + n for n in good)]
    assert [each.frame - 1 for each in decoded.poison] == sorted(n for n in bad if n < count)
