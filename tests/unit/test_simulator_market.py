"""Simulated markets: they agree with themselves, follow from seed and time alone, and number without a listener."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.simulator.bars import Bars
from recorder.simulator.book import Side, Update
from recorder.simulator.market import Instrument, Listing, Market, Match, Trade
from recorder.simulator.oracle import NumberedMarket, extend, price_of, trade_of

START = 1_750_000_000_000_000
SECOND = 1_000_000
COIN = Listing("COIN-USD", "SPOT", 100_000, 2, 4, 10_000)
OTHER = Listing("OTHER-USD", "SPOT", 50_000, 1, 3, 10_000, spacing=10)


@dataclass
class Heard:
    """A listener that keeps everything, and rebuilds every book from its updates."""

    trades: dict[str, list[Trade]] = field(default_factory=dict)
    updates: dict[str, list[Update]] = field(default_factory=dict)
    bids: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)
    asks: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)
    tops: int = 0
    seconds: list[int] = field(default_factory=list)

    def start(self, instrument: Instrument) -> None:
        name, book = instrument.listing.symbol, instrument.book
        self.bids[name], self.asks[name] = dict(book.bids.levels), dict(book.asks.levels)

    def on_trade(self, instrument: Instrument, trade: Trade) -> None:
        self.trades.setdefault(instrument.listing.symbol, []).append(trade)

    def on_top(self, instrument: Instrument) -> None:
        self.tops += 1

    def on_book(self, instrument: Instrument, update: Update) -> None:
        name = instrument.listing.symbol
        self.updates.setdefault(name, []).append(update)
        for side, levels in ((self.bids, update.bids), (self.asks, update.asks)):
            for price, lots, orders in levels:
                if lots:
                    side[name][price] = (lots, orders)
                else:
                    del side[name][price]

    def on_tenth(self, instrument: Instrument) -> None:
        pass

    def on_second(self, instrument: Instrument, at_ms: int) -> None:
        self.seconds.append(at_ms)


def run(market: Market, *steps: int) -> Heard:
    heard = Heard()
    for instrument in market.instruments.values():
        heard.start(instrument)
    now = START
    for step in steps:
        now += step
        market.advance(now, heard)
    return heard


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 700_000), min_size=1, max_size=12), st.integers(0, 5))
def test_time_alone_decides(steps: list[int], seed: int) -> None:
    """The same seed and time give the same market, in however many steps time passes."""
    whole = run(Market([COIN, OTHER], START, rate=60, seed=seed, depth=20), sum(steps))
    parts = run(Market([COIN, OTHER], START, rate=60, seed=seed, depth=20), *steps)
    assert parts.trades == whole.trades
    assert parts.updates == whole.updates
    assert parts.bids == whole.bids


def test_seeds_differ() -> None:
    """Another seed is another market."""
    one = run(Market([COIN], START, rate=60, seed=1, depth=20), SECOND)
    two = run(Market([COIN], START, rate=60, seed=2, depth=20), SECOND)
    assert one.trades != two.trades


def test_ids_run_on() -> None:
    """Trade ids run on without a hole, over aggregates of several matches, and their lots add up."""
    market = Market([COIN], START, rate=500, depth=50)
    heard = run(market, 20 * SECOND)
    trades, tape = heard.trades["COIN-USD"], market.instruments["COIN-USD"].tape
    assert trades[0].first == 1
    assert all(before.last + 1 == after.first for before, after in pairwise(trades))
    assert any(trade.matches > 1 for trade in trades)
    for trade in trades:
        matches = [tape.match(n) for n in range(trade.first, trade.last + 1)]
        assert sum(match.lots for match in matches) == trade.lots
        assert {(m.price, m.buy, m.ts) for m in matches} == {(trade.price, trade.buy, trade.ts)}


def test_rate_is_shared() -> None:
    """The rate is that of all instruments together, or of each."""
    shared = Market([COIN, OTHER], START, rate=100, depth=20)
    each = Market([COIN, OTHER], START, rate=100, each=True, depth=20)
    orders = [len({t.ts for t in run(m, 10 * SECOND).trades["COIN-USD"]}) for m in (shared, each)]
    assert orders == [500, 1_000]


def test_book_is_sound() -> None:
    """A book is never crossed, always as deep as promised, every level has lots and orders, and the price moves."""
    market = Market([COIN], START, rate=400, depth=50)
    book = market.instruments["COIN-USD"].book
    heard, prices = Heard(), set()
    heard.start(market.instruments["COIN-USD"])
    for tenth in range(1, 200):
        market.advance(START + tenth * 100_000, heard)
        prices.add(book.bids.best)
        assert book.bids.best < book.asks.best
        for side in (book.bids, book.asks):
            assert len(side.prices) == len(side.levels) == 50
            assert side.prices == sorted(side.levels)
            assert all(lots > 0 and orders > 0 for lots, orders in side.levels.values())
    assert len(prices) > 20


def test_updates_give_the_book() -> None:
    """Applied to the state at the start, the updates give the book, and each names the one before."""
    market = Market([COIN, OTHER], START, rate=300, depth=60)
    first = {name: one.book.published for name, one in market.instruments.items()}
    heard = run(market, 7 * SECOND)
    for name, instrument in market.instruments.items():
        instrument.publish(heard)  # a maker may have moved after the last publication
        assert heard.bids[name] == instrument.book.bids.levels
        assert heard.asks[name] == instrument.book.asks.levels
        updates = heard.updates[name]
        assert updates[0].previous == first[name]
        assert all(a.seq == b.previous < b.seq for a, b in pairwise(updates))


def test_restart_of_numbering() -> None:
    """After maintenance one update names the right predecessor and has a smaller id itself."""
    market = Market([COIN], START, rate=50, depth=20)
    heard = run(market, SECOND)
    instrument = market.instruments["COIN-USD"]
    instrument.publish(heard)
    before = instrument.book.published
    instrument.book.restart()
    instrument.publish(heard)
    last = heard.updates["COIN-USD"][-1]
    assert last.previous == before > last.seq


def test_quiet_book_repeats_itself() -> None:
    """A book without any change gets an empty update with its own id every 60 s."""
    market = Market([COIN], START, rate=0, depth=20)
    heard = run(market, 125 * SECOND)
    assert heard.trades == {}
    assert [(u.bids, u.asks, u.previous == u.seq) for u in heard.updates["COIN-USD"]] == [((), (), True)] * 2


def test_bars_equal_trades() -> None:
    """Seconds and minutes are what the trades say; a second without trades is flat at the last price."""
    market = Market([COIN], START, rate=3, depth=20)
    heard = run(market, 150 * SECOND)
    instrument = market.instruments["COIN-USD"]
    matches = [instrument.tape.match(n) for n in range(1, instrument.tape.last + 1)]
    for bars in (instrument.seconds, instrument.minutes):
        close = COIN.price
        for at in range(bars.first, bars.running + bars.step, bars.step):
            bar = bars.merge(at, at + bars.step)
            assert bar is not None
            inside = [m for m in matches if at <= m.ts < at + bars.step]
            prices = [m.price for m in inside] or [close]
            close = prices[-1]
            assert (bar.open, bar.high, bar.low, bar.close) == (prices[0], max(prices), min(prices), close)
            assert bar.lots == sum(m.lots for m in inside)
            assert bar.turnover == sum(m.lots * m.price for m in inside)
    assert len(heard.trades["COIN-USD"]) > 400


def test_day_equals_trades() -> None:
    """The day's statistics are those of the trades in its window, across minutes."""
    market = Market([COIN], START, rate=5, depth=20)
    run(market, 130 * SECOND)
    instrument = market.instruments["COIN-USD"]
    matches = [instrument.tape.match(n) for n in range(1, instrument.tape.last + 1)]
    day = instrument.day.bar()
    assert (day.open, day.close) == (matches[0].price, matches[-1].price)
    assert (day.high, day.low) == (max(m.price for m in matches), min(m.price for m in matches))
    assert (day.lots, day.turnover) == (sum(m.lots for m in matches), sum(m.lots * m.price for m in matches))


def test_oldest_bars_go() -> None:
    """Memory is bounded: beyond twice what is kept, the oldest bars go and the others keep their place."""
    bars = Bars(1_000, 0, 100, keep=10)
    for second in range(50):
        bars.add(second * 1_000 + 500, 100 + second, 1)
    assert bars.running == 49_000
    assert bars.first >= 29_000
    held = bars.merge(45_000, 47_000)
    assert held is not None
    assert (held.open, held.close, held.lots) == (145, 146, 2)
    assert bars.merge(0, 5_000) is None


def test_tape_is_paged() -> None:
    """`newest` gives ids strictly between two ids, newest first, and what fell off the tape is gone."""
    market = Market([COIN], START, rate=300, depth=20, keep=100)
    run(market, 3 * SECOND)
    tape = market.instruments["COIN-USD"].tape
    assert tape.first > 1
    assert [m.trade_id for m in tape.newest(3)] == [tape.last, tape.last - 1, tape.last - 2]
    below = tape.last - 10
    assert [m.trade_id for m in tape.newest(50, above=below - 4, below=below)] == [below - 1, below - 2, below - 3]
    assert tape.newest(50, below=tape.first) == []
    ts = tape.match(tape.last).ts
    assert tape.match(tape.last_before(ts)).ts < ts == tape.match(tape.last_before(ts) + 1).ts


@pytest.mark.parametrize("rate", [1.0, 7.0, 2_000.0])
def test_numbered_trades_follow_from_their_ids(rate: float) -> None:
    """Trade n happens at start + n / rate; id, size, price and side follow from n."""
    market = NumberedMarket(["A", "B"], START, rate=rate, depth=5)
    heard = run(market, 5 * SECOND)
    for symbol in ("A", "B"):
        trades = heard.trades[symbol]
        assert [t.last for t in trades] == list(range(1, int(rate * 5) + 1))
        assert [t.ts for t in trades] == [(START + int(n * 1e6 / rate)) // 1000 for n in range(1, len(trades) + 1)]
        assert all(
            (t.price, t.lots, t.buy, t.matches) == (price_of(t.last), t.last, t.last % 2 == 1, 1) for t in trades
        )
        tape = market.instruments[symbol].tape
        assert [tape.match(t.last) for t in trades] == [Match(t.last, t.price, t.lots, t.buy, t.ts) for t in trades]


def test_payload_names_its_id() -> None:
    """No two numbered trades near each other look alike."""
    seen = {trade_of(n) for n in range(1, 30_000)}
    assert len(seen) == 29_999
    assert trade_of(7) == ("1000.07", "7", "buy")


def test_numbering_needs_no_listener() -> None:
    """What was issued at a moment can be told afterwards, whoever listened."""
    market = NumberedMarket(["A"], START, rate=1_000, depth=5)
    run(market, 10 * SECOND)
    assert market.instruments["A"].issued_before(START + 3 * SECOND) == 2_999
    assert market.instruments["A"].issued_before(START) == 0


def test_ranges_grow() -> None:
    """Neighbouring ids become one range, others a new one."""
    ranges: list[tuple[int, int]] = []
    for first, last in ((1, 3), (4, 4), (6, 7), (8, 9)):
        extend(ranges, first, last)
    assert ranges == [(1, 4), (6, 9)]


def test_best_first() -> None:
    """Both sides name their best price first, in levels and in changes."""
    for sign, want in ((1, [3, 2, 1]), (-1, [1, 2, 3])):
        side = Side(sign)
        for price in (2, 1, 3):
            side.put(price, 5, 1)
        assert [level[0] for level in side.top(9)] == want
        assert [level[0] for level in side.top(2)] == want[:2]
        assert (side.best, side.worst, side.near(1)) == (want[0], want[-1], 2)
        assert side.changes() == tuple((price, 5, 1) for price in want)


def test_changes_are_what_a_reader_must_do() -> None:
    """A level that is gone is deleted; one that came and went, or changed back, is not mentioned."""
    side = Side(1)
    for price in (1, 2, 3):
        side.put(price, 5, 1)
    side.changes()
    side.drop(2)
    side.put(3, 9, 2)
    side.put(3, 5, 1)
    side.put(7, 1, 1)
    side.drop(7)
    side.put(8, 1, 1)
    assert side.changes() == ((8, 1, 1), (2, 0, 0))
    assert side.changes() == ()
