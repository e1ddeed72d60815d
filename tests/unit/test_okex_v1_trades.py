"""OKEx v1's trades: what they become, and which day they are of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.guards import DAY_US
from recorder.venues.okex_v1 import dated
from tests.unit.okexv1frames import NOW, deals, decode, poison, row

TRADES = "ok_sub_futureusd_btc_trade_quarter"

# --- trades ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "taker"), [("bid", "buy"), ("ask", "sell"), ("", None), ("buy", None)])
def test_a_trade_keeps_what_was_sent(side: str, taker: str | None) -> None:
    """Its id, and the taker's side."""
    found = row("trades", deals(["818723474", "3770.6901", "2.7E-3", "15:24:58", side]))
    assert (found["trade_id"], str(found["price"]), str(found["size"])) == ("818723474", "3770.6901", "0.0027")
    assert (found["side"], found["count"], found["seq"], found["turnover"]) == (taker, None, None, None)
    assert found["time"] == NOW // 1_000_000 * 1_000_000 - 2_000_000


@pytest.mark.parametrize("coins", [[], ["1.2006"]])
def test_a_futures_trade(coins: list[str]) -> None:
    """Its size is in contracts; the coins, where they are sent, have no column."""
    found = row("trades", deals(["732916869", "999.49", "12.0", "15:25:03", "ask", *coins], channel=TRADES))
    assert (str(found["size"]), found["turnover"], found["symbol"]) == ("12.0", None, "btc_usd_quarter")


def test_ids_rise_and_may_have_holes() -> None:
    """They stand beside the lines, for continuity."""
    decoded = decode(deals(*([str(number), "1", "1", "15:00:00", "bid"] for number in (425965263, 425965268))))
    assert (decoded.tables["trades"].seq_from, decoded.tables["trades"].seq_to) == ([425965263, 425965268],) * 2


@pytest.mark.parametrize("time", ["24:00:00", "15:60:00", "15:00", "1:00:00", "15:00:00.5", "x"])
def test_what_is_no_time_of_day(time: str) -> None:
    """It costs only its message; without any time it is when it came."""
    good = deals(["1", "2", "3", "15:00:00", "bid"])
    assert poison(good, deals(["1", "2", "3", time, "bid"])) == [(1, "absurd_time")]
    assert row("trades", deals(["1", "2", "3", "", "bid"]))["time"] == NOW


# --- days -----------------------------------------------------------------------------------------------------------

CHINA = timezone(timedelta(hours=8))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def clock(us: int) -> str:
    """The time of day at the venue."""
    return (EPOCH + timedelta(microseconds=us)).astimezone(CHINA).strftime("%H:%M:%S")


def received(text: str) -> int:
    """A moment of a day in UTC+8, µs."""
    return (datetime.fromisoformat(f"2018-06-30T{text}+08:00") - EPOCH) // timedelta(microseconds=1)


moments = st.integers(1_400_000_000, 2_000_000_000).map(lambda second: second * 1_000_000)


@given(at=moments, late=st.integers(-290_000_000, 23 * 3600 * 1_000_000))
def test_a_trade_gets_its_day_back(at: int, late: int) -> None:
    """Whatever the time of day, and whether it comes a day later or from a clock that is minutes ahead of ours."""
    assert dated([clock(at)], at + late) == [str(at // 1000)]


@given(at=moments, late=st.integers(0, 3600), steps=st.lists(st.integers(-40, 23 * 3600), max_size=6))
def test_trades_of_one_message_get_theirs(at: int, late: int, steps: list[int]) -> None:
    """From the newest back, over midnights; they may be out of order by minutes."""
    times = [at]
    for step in steps:
        times.append(times[-1] - step * 1_000_000)
    received_at = max(times) + late * 1_000_000
    assert dated([clock(us) for us in reversed(times)], received_at) == [str(us // 1000) for us in reversed(times)]


@pytest.mark.parametrize(
    ("now", "time", "days"),
    [
        ("00:00:01", "23:59:59", -1),
        ("00:00:01", "00:00:01", 0),
        ("00:00:01", "00:04:59", 0),
        ("00:00:01", "00:05:02", -1),
        ("23:59:59", "00:00:01", 1),
        ("23:59:59", "00:04:59", 1),
        ("23:59:59", "00:05:01", 0),
        ("07:59:59", "08:00:01", 0),
        ("12:00:00", "12:00:00", 0),
    ],
)
def test_midnight(now: str, time: str, days: int) -> None:
    """The venue's midnight, not ours: five minutes after the receipt are today or tomorrow, anything else is past."""
    assert dated([time], received(now)) == [str((received(time) + days * DAY_US) // 1000)]


def test_an_older_trade_of_a_later_time_is_of_the_day_before() -> None:
    """What is given again upon subscribing may go back over midnight."""
    found = dated(["14:00:00", "09:00:00", "23:00:00", "01:00:00"], received("01:00:05"))
    assert found == [
        str(received(time) // 1000 - days * DAY_US // 1000)
        for time, days in zip(("14:00:00", "09:00:00", "23:00:00", "01:00:00"), (2, 1, 1, 0), strict=True)
    ]
