"""The simulated OKX's arithmetic and tables: checksums, arguments, codes, derived values, the log of books."""

from __future__ import annotations

import json
from decimal import Decimal
from random import Random
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.simulator.book import Book
from recorder.simulator.market import Listing, Market, Phase, Trade, kind_of
from recorder.simulator.okx import derived as derived
from recorder.simulator.okx.channels import BY_KIND, CLOSES, MESSAGES, NARROWED, arg_of, key_of, leader
from recorder.simulator.okx.listings import LISTINGS, crowd, dated
from recorder.simulator.okx.text import checksum, decimal_of
from recorder.simulator.oracle import BookLog, NumberedMarket
from recorder.venues.okx import venue as okx
from tests import samples

OPTION = "OPTION/A-B-1-2-C"
START = 1_750_000_000_000_000
Ranked = list[list[str]]


# --- checksums -------------------------------------------------------------------------------------------------------


def test_a_checksum_by_hand() -> None:
    """Bid, ask, bid, ask …; the longer side goes on alone; only the best 25 of each count; the result is signed."""
    one = checksum([["3366.1", "7", "0", "3"]], [["3366.8", "9", "0", "1"], ["3368", "8", "0", "1"]])
    assert one % (1 << 32) == crc32(b"3366.1:7:3366.8:9:3368:8")
    assert checksum([["1", "2"]], []) % (1 << 32) == crc32(b"1:2")
    many = [[str(1_000 - n), "1"] for n in range(40)]
    assert checksum(many, many) == checksum(many[:25], many[:25]) != checksum(many[:24], many[:24])
    assert all(-(1 << 31) <= checksum([[str(n), "1"]], []) < 1 << 31 for n in range(100))
    assert any(checksum([[str(n), "1"]], []) < 0 for n in range(100))


def rebuilt(frames: list[bytes]) -> list[tuple[int, Ranked, Ranked]]:
    """The checksum of every book message of a recording, and the book that it leaves a reader with."""
    books: dict[str, dict[str, dict[str, list[str]]]] = {}
    found = []
    for frame in frames:
        message = json.loads(frame)
        if "action" not in message or "checksum" not in message["data"][0]:
            continue
        name, (data,) = str(message["arg"]), message["data"]
        if message["action"] == "snapshot":
            books[name] = {"bids": {}, "asks": {}}
        for side, levels in books.get(name, {}).items():
            levels.update((level[0], level) for level in data[side])
        if name in books:
            ranked = [
                sorted((v for v in levels.values() if v[1] != "0"), key=lambda v: float(v[0]), reverse=side == "bids")
                for side, levels in books[name].items()
            ]
            found.append((data["checksum"], *ranked))
    return found


@pytest.mark.parametrize(
    "name", ["cryptofeed_okx_2022-05_books_trades_tickers.jsonl.gz", "cryptofeed_okex_2021-07_tbt_conn1.jsonl.gz"]
)
def test_checksums_as_recorded(name: str) -> None:
    """The simulator's checksum is the one that the venue sent, for every book message that was recorded."""
    books = rebuilt(samples.received("okx_v5", name))
    assert len(books) > 100
    assert [sent for sent, bids, asks in books if checksum(bids, asks) != sent] == []


# --- channels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arg", "key"),
    [
        ({"channel": "trades", "instId": "A-B"}, ("trades", "A-B")),
        ({"channel": "instruments", "instType": "SPOT"}, ("instruments", "SPOT")),
        ({"channel": "opt-summary", "instFamily": "A-B"}, ("opt-summary", "A-B")),
        ({"channel": "adl-warning", "instType": "SWAP", "instFamily": "A-B"}, ("adl-warning", "SWAP/A-B")),
        ({"channel": "option-trades", "instType": "OPTION", "instId": "A-B-1-2-C"}, ("option-trades", OPTION)),
        ({"channel": "status"}, ("status", "")),
        ({}, ("", "")),
    ],
)  # fmt: skip
def test_arguments_and_keys(arg: dict[str, str], key: tuple[str, str]) -> None:
    """What a subscription is about, and the argument that its messages repeat, follow from each other."""
    assert key_of(arg) == key
    if arg:
        assert json.loads(f"{{{arg_of(key)}}}") == {"arg": arg}


def test_the_recorder_knows_every_code() -> None:
    """Every code that the simulator can send has a reaction in the recorder's table for this venue, 64008 too."""
    known = {code.code for code in okx.codes}
    assert MESSAGES.keys() <= known
    assert {f"close {code}" for code in CLOSES} <= known
    assert NARROWED.keys() <= BY_KIND.keys()


def test_who_leads_an_index() -> None:
    """An index follows its spot market, else what is derived from it, but never an option; what is unknown has none."""
    listings = (*LISTINGS, *dated(START // 1000))
    listed = Market(listings, START, depth=20).instruments
    assert [one and one.listing.symbol for one in (leader(i, listed) for i in ("BTC-USDT", "BTC-USD", "XYZ-USD"))] == [
        "BTC-USDT",
        "BTC-USDT",
        None,
    ]
    listed["BTC-USDT"].phase = Phase.SUSPENDED
    found = leader("BTC-USDT", listed)
    assert found is not None
    assert found.listing.symbol == "BTC-USDT-SWAP"
    assert leader("BTC-EUR", listed) is None


@pytest.mark.parametrize(
    ("symbol", "kind"),
    [("A-B", "SPOT"), ("A-B-SWAP", "SWAP"), ("A-B-261225", "FUTURES"), ("A-B-261225-65000-C", "OPTION")],
)
def test_kinds_by_name(symbol: str, kind: str) -> None:
    """An instrument's kind shows in its name, whatever the market."""
    assert kind_of(symbol) == kind
    assert Market([], START).listing(symbol).kind == NumberedMarket([], START).listing(symbol).kind == kind


def test_a_crowd_has_names() -> None:
    """Hundreds of perpetuals have names that a glob fits, each once."""
    assert len(set(crowd(300))) == 300
    assert all(kind_of(name) == "SWAP" and name.endswith("-USDT-SWAP") for name in crowd(300))


# --- derived values --------------------------------------------------------------------------------------------------


@given(st.text("ABC-", max_size=8), st.integers(0, 2 * 10**12))
def test_rates_are_small_decimals(symbol: str, at: int) -> None:
    """A funding rate is a decimal between -0.0001 and 0.0003 and follows from symbol and time alone."""
    rate = derived.rate_at(symbol, at)
    assert Decimal("-0.0001") <= Decimal(rate) <= Decimal("0.0003")
    assert rate == derived.rate_at(symbol, at)
    assert "E" not in rate


def test_one_trade_in_97_is_a_liquidation() -> None:
    """Of a derivative's trades those whose ids hold a multiple of 97 are liquidations, each multiple once."""
    one = Market(LISTINGS, START, depth=20).instruments["BTC-USDT-SWAP"]
    rows, first = [], 1
    for size in [3, 1, 1] * 200:
        trade = Trade(first, first + size - 1, 650_000, 100, True, 0, 1)
        rows.append(derived.liquidation(one, trade))
        first += size
    assert sum(map(bool, rows)) == (first - 1) // 97


def test_open_interest_in_three_units() -> None:
    """Coins are contracts times their value, dollars are coins times the mark; exactly."""
    one = Market(LISTINGS, START, depth=20).instruments["BTC-USDT-SWAP"]
    row = json.loads(f"{{{derived.open_interest(one, 0)}}}")
    assert Decimal(row["oiCcy"]) == Decimal(row["oi"]) * Decimal("0.01")
    assert Decimal(row["oiUsd"]) == Decimal(row["oiCcy"]) * Decimal(one.mark).scaleb(-1)


@given(st.decimals(0, 10**6, places=4))
def test_decimals_as_integers(value: Decimal) -> None:
    """A decimal is an integer and its places."""
    whole, places = decimal_of(f"{value:f}")
    assert Decimal(whole).scaleb(-places) == value


# --- the log of books ------------------------------------------------------------------------------------------------


@given(st.integers(0, 1_000), st.integers(1, 12), st.lists(st.integers(1, 5), max_size=60))
def test_the_log_tells_every_kept_book(seed: int, keep: int, moves: list[int]) -> None:
    """Whatever happens to a book, under the newest `keep` numbers the log has it exactly as it was published."""
    random = Random(seed)
    book, log = Book(1_000, 8, (50, 3), random), BookLog()
    log.begin("A", book, keep)
    truth = [(book.published, (book.bids.top(8), book.asks.top(8)))]
    for at, count in enumerate(moves):
        for _ in range(count):
            if random.random() < 0.5:
                book.take(random.random() < 0.5, random.random() * 1.2)
            else:
                book.make(0.5)
        log.note("A", at, book.publish())
        truth.append((book.published, (book.bids.top(8), book.asks.top(8))))
        assert log.before("A", at) == truth[-1]
    for seq, sides in truth[-keep:]:
        assert log.at("A", seq) == sides
    assert log.at("A", -5) is None


def test_calm_instruments_are_shallow() -> None:
    """A calm instrument has a book of 50 levels at most and moves once a second, so that hundreds cost little."""
    calm = Listing("A-B", "SPOT", 100_000, 2, 2, 100, calm=True)
    assert Market([calm], START).instruments["A-B"].book.depth == 50
    assert Market([calm], START, depth=5).instruments["A-B"].book.depth == 5
