"""The simulated Infoway spells as the recorded one does: every recorded message, taken apart and written again by the
simulator, is the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.simulator import faults
from recorder.simulator.bars import Bar, Bars
from recorder.simulator.book import Level
from recorder.simulator.decimals import fixed, plain
from recorder.simulator.infoway import commands as commands
from recorder.simulator.infoway.ask import BadAsk, read
from recorder.simulator.infoway.calendar import schedule_row, trading_days
from recorder.simulator.infoway.listings import BUSINESSES, HOMES, LISTINGS, levels
from recorder.simulator.infoway.oracle import numbered
from recorder.simulator.infoway.text import GREETING, KLINES, WELCOME, Text, ack, error, kline_span, percent
from recorder.simulator.market import Listing, Trade
from recorder.simulator.wire import HttpResponse
from tests import samples

LISTED = {one.symbol: one for one in LISTINGS}
BTC, APPLE = LISTED["BTCUSDT"], LISTED["AAPL.US"]


def frames(name: str, code: int) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The recorded pushes with a code, as bytes and as data; there must be some."""
    found = [raw for raw in samples.received("infoway", name) if raw.startswith(b'{"code":%d,"data"' % code)]
    assert found
    for raw in found:
        yield raw, json.loads(raw)["data"]


def ticks(text: str, places: int) -> int:
    """A recorded decimal as an integer of 10^-places, exactly."""
    scaled = Decimal(text).scaleb(places)
    assert scaled == int(scaled)
    return int(scaled)


def test_recorded_trades() -> None:
    """Price, volume and turnover without padding, time as an integer, the side as a number."""
    for raw, row in frames("crypto_trade_part1.jsonl", 10002):
        price, lots = ticks(row["p"], BTC.price_places), ticks(row["v"], BTC.size_places)
        assert Text(BTC).trade(Trade(1, 1, price, lots, row["td"] == 1, row["t"], 1)) == raw


@dataclass
class Top:
    """A side of a book, as far as it is shown."""

    rows: list[Level]

    def top(self, depth: int) -> list[Level]:
        """The best levels."""
        return self.rows[:depth]


@dataclass
class Shown:
    """A book and its instrument in one."""

    asks: Top
    bids: Top

    @property
    def book(self) -> Shown:
        """Itself."""
        return self


def test_recorded_depth() -> None:
    """Five levels a side, column by column, eight decimals everywhere."""
    for raw, row in frames("crypto_depth.jsonl", 10005):
        sides = [
            Top([(ticks(p, BTC.price_places), ticks(q, BTC.size_places), 1) for p, q in zip(*row[side], strict=True)])
            for side in "ab"
        ]
        shown: Any = Shown(*sides)
        assert Text(BTC).depth(shown, row["t"]) == raw
        rest = Text(BTC).depth_row(shown, row["t"])
        assert json.loads(rest) == row and list(json.loads(rest)) == ["s", "t", "a", "b"]


def bar(listing: Listing, row: dict[str, Any]) -> tuple[Bar, int]:
    """A recorded bar, and the price that it came from."""
    o, h, low, c, change = (ticks(row[name], listing.price_places) for name in ("o", "h", "l", "c", "pca"))
    lots, places = ticks(row["v"], listing.size_places), listing.price_places + listing.size_places
    return Bar(int(row["t"]) * 1000, o, h, low, c, lots, ticks(row["vw"], places)), c - change


def test_recorded_klines() -> None:
    """Bars with five decimals, the change and its share, the time as a string of seconds."""
    for raw, row in frames("crypto_kline.jsonl", 10008):
        assert Text(BTC).kline(row["ty"], *bar(BTC, row)) == raw


@pytest.mark.parametrize(("symbol", "count"), [("BTCUSDT", 2), ("AAPL.US", 2)])
def test_recorded_rest_klines(symbol: str, count: int) -> None:
    """REST spells the same bar in another order and calls the share `pc`; equities have three decimals."""
    listing, seen = LISTED[symbol], 0
    for each in samples.recorded("infoway", "rest_responses.jsonl"):
        body = json.loads(each.raw)
        for row in (body.get("data") or []) if isinstance(body.get("data"), list) else []:
            if row.get("s") == symbol:
                written = ",".join(Text(listing).kline_row(1, *bar(listing, one)) for one in row["respList"])
                assert f'"respList":[{written}]'.encode() in each.raw
                seen += len(row["respList"])
    assert seen == count


def test_recorded_control_frames() -> None:
    """Greeting, welcome, acknowledgements and errors are those recorded, answer by answer."""
    asked, answered = 0, set()
    for name in samples.files("infoway"):
        traces = {}
        for each in samples.recorded("infoway", name):
            if each.sent:
                request = json.loads(each.raw)
                traces[request["trace"]] = each.raw
                asked += 1
            elif (trace := _trace(each.raw)) in traces:
                answered.add(trace)
                assert each.raw == reply(traces[trace])
    assert len(answered) >= 7 and asked >= len(answered)
    first, second = samples.received("infoway", "stock_trade_closed.jsonl")[:2]
    assert (first, second) == (GREETING, WELCOME)


def _trace(raw: bytes) -> str:
    body = json.loads(raw) if raw.startswith(b"{") else {}
    return str(body.get("trace") or body.get("traceId"))


def reply(request: bytes) -> bytes:
    """What the simulator answers a request that no limit is in the way of."""
    try:
        ask = read(request)
    except BadAsk as bad:
        return error(bad.code, str(bad), bad.trace)
    return ack(ask.answer, ask.trace)


def test_recorded_answers_of_rest() -> None:
    """The trading days of a recorded month are its weekdays; so is every day here."""
    for each in samples.recorded("infoway", "rest_responses.jsonl"):
        days = json.loads(each.raw).get("data")
        if isinstance(days, dict) and "trade_days" in days:
            assert trading_days("20260801", "20260831") == days["trade_days"]
            return
    pytest.fail("no trading days were recorded")


# --- without recordings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "before", "text"),
    [(-900, 6_304_800, "-0.01%"), (0, 5, "0.00%"), (-1, 6_304_800, "0.00%"), (90, 305_840, "0.03%"), (5, 10, "50.00%")],
)
def test_shares_of_a_change(change: int, before: int, text: str) -> None:
    """Two places, halves upwards, and no negative zero."""
    assert percent(change, before) == text


@pytest.mark.parametrize(
    ("kind", "at", "start", "end"),
    [
        (1, 1_786_775_241, 1_786_775_220, 1_786_775_280),
        (7, 1_786_775_241, 1_786_766_400, 1_786_780_800),
        (8, 1_786_775_241, 1_786_752_000, 1_786_838_400),
        (9, 1_786_775_241, 1_786_320_000, 1_786_924_800),  # Monday 2026-08-10
        (10, 1_786_775_241, 1_785_542_400, 1_788_220_800),  # August
        (11, 1_786_775_241, 1_782_864_000, 1_790_812_800),  # July to September
        (12, 1_786_775_241, 1_767_225_600, 1_798_761_600),
    ],
)
def test_where_klines_open(kind: int, at: int, start: int, end: int) -> None:
    """Bars open in UTC: weeks on Mondays, months, quarters and years by the calendar."""
    assert kline_span(kind, at * 1000) == (start * 1000, end * 1000)


def test_every_kline_has_a_span() -> None:
    """The twelve types follow one another in length."""
    lengths = [end - start for start, end in (kline_span(kind, 1_786_775_241_000) for kind in KLINES)]
    assert lengths == sorted(lengths) and len(lengths) == 12


def test_the_price_before_a_bar() -> None:
    """A change counts from the close before the bar; from its opening where nothing is older."""
    bars = Bars(60_000, 0, 100, 10)
    bars.add(1_000, 104, 1)
    bars.add(61_000, 107, 1)
    assert [bars.close_before(at) for at in (0, 60_000, 120_000, 600_000)] == [104, 104, 107, 107]


def test_every_kind_has_a_home() -> None:
    """Each listing belongs to one business, has levels to show, and is spelled by a market of numbered trades, too."""
    assert {HOMES[one.kind] for one in LISTINGS} == set(BUSINESSES)
    assert [levels(LISTED[name]) for name in ("BTCUSDT", "00700.HK", "600519.SH", "AAPL.US", ".DJI.US")] == [
        5, 10, 5, 1, 0,
    ]  # fmt: skip
    for one in LISTINGS:
        market = numbered([one.symbol], 0, depth=12)
        text, instrument = Text(market.instruments[one.symbol].listing), market.instruments[one.symbol]
        row = json.loads(text.depth(instrument, 1))["data"]
        assert row["a"] is None if one.symbol == ".DJI.US" else len(row["a"][0]) == levels(one)
    assert Text(LISTED[".DJI.US"]).symbol_row()["index"] is True


def test_turnover_of_long_bars() -> None:
    """From a day on turnover keeps all its places, shorter bars drop trailing zeros; equities always keep them."""
    whole = Bar(0, 100, 100, 100, 100, lots=10, turnover=1_234_567_890)
    crypto = [json.loads(Text(BTC).kline(kind, whole, 100))["data"]["vw"] for kind in (7, 8)]
    assert crypto == ["123.456789", "123.4567890"]
    assert json.loads(Text(APPLE).kline(1, whole, 100))["data"]["vw"] == "1234567.890"


def test_changes_count_from_the_bar_before() -> None:
    """Change and share are against the close before, wherever the bar opened."""
    row = json.loads(Text(APPLE).kline(1, Bar(0, 150_000, 160_000, 140_000, 110_000, 1, 1), 100_000))["data"]
    assert (row["o"], row["pca"], row["pfr"]) == ("150.000", "10.000", "10.00%")
    rest = json.loads(Text(APPLE).kline_row(1, Bar(0, 150_000, 160_000, 140_000, 110_000, 1, 1), 100_000))
    assert (rest["pca"], rest["pc"]) == ("10.000", "10.00%")


def test_the_type_of_a_trade() -> None:
    """`ty` stands in an equity's trades for those who asked, and nowhere else."""
    trade = Trade(1, 1, 305_771, 1, True, 1_786_751_999_691, 1)
    assert b'"td":0,"ty":0,"v":"1"' in Text(APPLE).trade(trade, typed=True)
    assert b'"ty"' not in Text(APPLE).trade(trade)
    assert b'"ty"' not in Text(BTC).trade(trade, typed=True)


@pytest.mark.parametrize(
    ("symbol", "session", "native", "whole"),
    [("XAUUSD", "1700-1700", ("17:00", "17:00"), True), ("USOIL", "1800-1700", ("18:00", "17:00"), False)],
)
def test_schedules(symbol: str, session: str, native: tuple[str, str], whole: bool) -> None:
    """Sessions in the exchange's time and in GMT, an hour later in winter, with the pause where there is one."""
    row: Any = schedule_row(LISTED[symbol])
    assert list(row) == [
        "symbol", "type", "name", "timezone", "session", "holidays", "is_24_7", "trading_hours", "break_time",
    ]  # fmt: skip
    (segment,) = row["trading_hours"]["segments"]
    assert (row["session"], segment["continuous_24h"]) == (session, whole)
    assert (segment["native"]["start"], segment["native"]["end"]) == native
    hours = {name: int(span["start"][:2]) for name, span in segment["gmt0"].items()}
    assert hours == {"summer": int(session[:2]) + 4, "winter": int(session[:2]) + 5}
    assert bool(row["break_time"]["windows"]) is not whole
    assert msgspec.json.encode(row)


def test_decimals_below_zero() -> None:
    """A negative change has its sign before all places."""
    assert (fixed(-5, 2), fixed(-123, 2), plain(-150, 2)) == ("-0.05", "-1.23", "-1.5")


@given(st.integers(-(10**20), 10**20), st.integers(0, 12))
def test_decimals_are_exact(value: int, places: int) -> None:
    """Lots and ticks become the decimals they stand for, with or without trailing zeros, and back."""
    want = Decimal(value).scaleb(-places)
    assert Decimal(fixed(value, places)) == Decimal(plain(value, places)) == want
    assert not ("." in plain(value, places) and plain(value, places).endswith(("0", ".")))


@pytest.mark.parametrize("status", [427, 499, 524])
def test_statuses_of_gateways(status: int) -> None:
    """A status that no standard knows is sent all the same."""
    assert HttpResponse(status, b"").encode().startswith(b"HTTP/1.1 %d Unassigned\r\n" % status)


@pytest.mark.parametrize(
    ("body", "want"),
    [
        (b'{"fault":"error","code":"516"}', commands.Error(code="516")),
        (b'{"fault":"say","text":"hello"}', commands.Say(text="hello")),
        (b'{"fault":"turnaway","code":"519","times":2}', commands.Turnaway(code="519", times=2)),
        (b'{"fault":"prose","text":"no","symbol":"A"}', commands.Prose(text="no", symbol="A")),
        (b'{"fault":"answer","status":524,"path":"/x"}', commands.Answer(status=524, path="/x")),
        (b'{"fault":"drop"}', faults.Drop()),
    ],
)
def test_requests_have_names(body: bytes, want: faults.Fault) -> None:
    """A control request names a fault of any venue, or one of this one's own."""
    assert commands.decode(body) == want


def test_answered_requests_run_out() -> None:
    """A REST fault counts down on its own path, and only there."""
    state = commands.Switched(Random(1))
    state.answers += [commands.Answer(path="/a"), commands.Answer(path="/b", status=429)]
    assert state.answer("/x/c") is None
    assert [getattr(state.answer(path), "status", 0) for path in ("/x/b", "/x/b", "/x/a", "/x/a")] == [429, 0, 500, 0]
