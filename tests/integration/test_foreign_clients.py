"""The simulated venue as clients see it that are not ours: python-okx and cryptofeed, unchanged but for the address.

What they report is what the venue sent, through a forced disconnect and a notice 64008: the ids of its ledger, the
payloads of its tape, the books of its log. A few seconds by default; RECORDER_LONG=1 takes two minutes each.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from recorder.simulator import faults
from recorder.simulator.clock import SystemClock
from recorder.simulator.decimals import fixed
from recorder.simulator.faults import Drop, Notice
from recorder.simulator.market import Instrument, Market
from recorder.simulator.okx import commands as okx_commands
from recorder.simulator.okx.listings import dated
from recorder.simulator.okx.venue import BUSINESS, LISTINGS, PUBLIC, OkxVenue
from recorder.simulator.oracle import Connected
from recorder.simulator.server import Simulator
from tests.foreign import Foreign

BTC, SWAP = "BTC-USDT", "BTC-USDT-SWAP"
LEG = 40.0 if os.environ.get("RECORDER_LONG") == "1" else 1.5  # seconds between two disturbances
LOGGED = 5_000  # published states of a book that are kept
Message = dict[str, Any]

pytestmark = pytest.mark.timeout(900)


@contextmanager
def venue(directory: Path, rate: float = 300.0) -> Iterator[Simulator[OkxVenue]]:
    """All kinds of instruments, the venue's usual limits, over TLS, on the machine's clock."""
    clock = SystemClock()
    listings = (*LISTINGS, *dated(clock.wall_us() // 1000))
    one = OkxVenue(Market(listings, clock.wall_us(), rate=rate), clock=clock)
    for symbol, instrument in one.market.instruments.items():
        one.pusher.log.begin(symbol, instrument.book, LOGGED)
    with Simulator(one, tls=directory) as simulator:
        yield simulator


def disturb(simulator: Simulator[OkxVenue], client: Foreign) -> None:
    """Time to run, a disconnect, time, a notice, time; and silence, so that all that was sent has come."""
    venue = simulator.venue

    def again(what: str, seen: int) -> None:
        assert simulator.wait(lambda one: len(one.history) >= seen + 2 and len(one.sessions) == 2), what
        client.until(lambda heard: len(heard) > before, what)

    time.sleep(LEG)
    seen, before = simulator.call(lambda: len(venue.history)), len(client.heard)
    assert simulator.fault(Drop(how=faults.How.EOF)) == 2
    again("comes back after a disconnect", seen)
    time.sleep(LEG)
    seen, before = simulator.call(lambda: len(venue.history)), len(client.heard)
    assert simulator.fault(Notice(after=1.0)) == 2
    again("comes back after a notice", seen)
    time.sleep(LEG)
    simulator.fault(faults.Silence(later=True))
    client.settle()


def pages(simulator: Simulator[OkxVenue]) -> list[Connected]:
    """The ledger's pages in the order of their connections."""
    return simulator.call(lambda: sorted(simulator.venue.ledger().connections.values(), key=lambda page: page.opened))


def ids_of(page: Connected, symbol: str) -> list[int]:
    return [n for first, last in page.sent.get(symbol, []) for n in range(first, last + 1)]


def payload(instrument: Instrument, first: int, last: int) -> tuple[str, str, str, str]:
    """Price, size, side and time of the trades of these ids as the venue pushed them in one message."""
    listing = instrument.listing
    matches = [instrument.tape.match(number) for number in range(first, last + 1)]
    assert len({(m.price, m.buy, m.ts) for m in matches}) == 1
    size = fixed(sum(m.lots for m in matches), listing.size_places)
    side = "buy" if matches[0].buy else "sell"
    return fixed(matches[0].price, listing.price_places), size, side, str(matches[0].ts)


def published(simulator: Simulator[OkxVenue], symbol: str, seq: int) -> str:
    """The book under a number: price and size of every level, best first."""
    sides = simulator.call(lambda: simulator.venue.pusher.log.at(symbol, seq))
    assert sides is not None, f"{symbol} {seq} was never published"
    listing = simulator.venue.market.instruments[symbol].listing
    return "|".join(
        ",".join(f"{fixed(price, listing.price_places)}:{fixed(lots, listing.size_places)}" for price, lots, _ in side)
        for side in sides
    )


# --- python-okx ------------------------------------------------------------------------------------------------------

TRADED = ("BTC-USDT", "ETH-USDT", SWAP)
BOOKS = (BTC, SWAP)


def everything(future: str, soon: str) -> dict[str, list[dict[str, str]]]:
    """Every public and business channel. `soon`: a future in its last hour."""
    by_symbol = ["mark-price", "tickers", "books5", "bbo-tbt", "books-elp"]
    by_symbol += ["price-limit", "open-interest", "funding-rate"]
    by_kind = {
        "instruments": {"instType": "SWAP"},
        "liquidation-orders": {"instType": "SWAP"},
        "adl-warning": {"instType": "SWAP", "instFamily": "BTC-USDT"},
        "estimated-price": {"instType": "FUTURES", "instId": soon},
        "option-trades": {"instType": "OPTION", "instFamily": "BTC-USD"},
        "opt-summary": {"instFamily": "BTC-USD"},
        "index-tickers": {"instId": "BTC-USD"},
        "call-auction-details": {"instId": "OPENS-USDT"},
        "status": {},
    }
    public = [{"channel": channel, "instId": SWAP} for channel in by_symbol]
    public += [{"channel": channel, **more} for channel, more in by_kind.items()]
    public += [{"channel": "trades", "instId": symbol} for symbol in (*TRADED, future)]
    public += [{"channel": "books", "instId": symbol} for symbol in BOOKS]
    candles = ("candle1s", "candle1m", "candle1Dutc", "mark-price-candle1m", "index-candle1m")
    business = [{"channel": channel, "instId": BTC} for channel in ("trades-all", *candles)]
    return {PUBLIC: public, BUSINESS: business}


def test_python_okx(tmp_path: Path) -> None:
    """Its messages are what was sent on each connection: every channel speaks, no trade is missing, more or changed,
    and the books that follow from snapshot and updates are the venue's under every number."""
    with venue(tmp_path) as simulator:
        future = next(symbol for symbol in simulator.venue.market.instruments if symbol.startswith("BTC-USDT-2"))
        soon = f"{future[:-6]}290101"
        simulator.fault(okx_commands.List(symbol=soon, expires_in=1_800, rate=0))
        simulator.fault(okx_commands.List(symbol="OPENS-USDT", opens_in=1_800))
        simulator.fault(okx_commands.Adl(state="warning"))
        simulator.fault(okx_commands.Maintenance())
        order = {"url": simulator.ws_url, "paths": everything(future, soon)}
        with Foreign("python_okx.py", order, simulator.ca_file or tmp_path) as client:
            client.until(lambda heard: len(heard) > 100, "hears anything")
            simulator.fault(okx_commands.List(symbol="NEW-USDT-SWAP"))
            disturb(simulator, client)
            assert client.finish() == 0
        heard, paths = by_connection(client.heard), order["paths"]
        assert len(heard) == 6
        errors = [m for messages in heard.values() for m in messages if m.get("event") == "error"]
        assert [m["code"] for m in errors] == ["ConnClosed"] * 2
        spoke = {m["arg"]["channel"] for messages in heard.values() for m in messages if "data" in m}
        assert spoke == {arg["channel"] for args in paths.values() for arg in args}  # type: ignore[attr-defined]
        for messages in heard.values():
            acked = [m["arg"] for m in messages if m.get("event") == "subscribe"]
            assert acked in paths.values()  # type: ignore[attr-defined]
        check_trades(simulator, heard, (*TRADED, future))
        assert sum(check_books(simulator, messages) for messages in heard.values()) > 3 * LEG * 10


def by_connection(lines: list[Message]) -> dict[int, list[Message]]:
    found: dict[int, list[Message]] = {}
    for line in lines:
        if "message" in line:
            found.setdefault(line["connection"], []).append(line["message"])
    return found


def check_trades(simulator: Simulator[OkxVenue], heard: dict[int, list[Message]], symbols: tuple[str, ...]) -> None:
    """Every connection's ids are those of a page of the ledger, and every payload that of the tape."""
    sent = [{symbol: ids_of(page, symbol) for symbol in symbols} for page in pages(simulator) if page.path == PUBLIC]
    found = []
    for messages in heard.values():
        ids: dict[str, list[int]] = {symbol: [] for symbol in symbols}
        for message in messages:
            if "data" in message and message["arg"]["channel"] == "trades":
                (row,) = message["data"]
                last = int(row["tradeId"])
                first = last - int(row["count"]) + 1
                instrument = simulator.venue.market.instruments[row["instId"]]
                assert (row["px"], row["sz"], row["side"], row["ts"]) == payload(instrument, first, last)
                ids[row["instId"]] += range(first, last + 1)
        if any(ids.values()):
            found.append(ids)
    assert sorted(found, key=str) == sorted(sent, key=str)
    assert all(len(ids[BTC]) > 10 for ids in found)


def check_books(simulator: Simulator[OkxVenue], messages: list[Message]) -> int:
    """Snapshot and updates give the published book under each number; how many that were."""
    books: dict[str, dict[str, dict[str, str]]] = {}
    numbers: dict[str, int] = {}
    count = 0
    for message in messages:
        if "data" not in message or message["arg"]["channel"] != "books":
            continue
        symbol, (data,) = message["arg"]["instId"], message["data"]
        if message["action"] == "snapshot":
            books[symbol] = {"bids": {}, "asks": {}}
        else:
            assert data["prevSeqId"] == numbers[symbol]
        numbers[symbol] = data["seqId"]
        for side, levels in books[symbol].items():
            levels.update((level[0], level[1]) for level in data[side])
        ranked = [
            sorted(((p, s) for p, s in levels.items() if s != "0"), key=lambda level: float(level[0]), reverse=down)
            for levels, down in ((books[symbol]["bids"], True), (books[symbol]["asks"], False))
        ]
        text = "|".join(",".join(f"{price}:{size}" for price, size in side) for side in ranked)
        assert text == published(simulator, symbol, data["seqId"])
        count += 1
    return count


# --- cryptofeed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checksum", [False, True])
def test_cryptofeed(tmp_path: Path, checksum: bool) -> None:
    """Its trades are what was sent, its rebuilt books the venue's under every number, and all its channels speak. With
    checksums on it verifies each book itself, by its own arithmetic, and finds none wrong."""
    both, perpetual = [BTC, "BTC-USDT-PERP"], ["BTC-USDT-PERP"]
    subscription = {"trades": both, "l2_book": both, "ticker": [BTC], "candles": [BTC]}
    subscription |= {"funding": perpetual, "open_interest": perpetual, "liquidations": perpetual}
    with venue(tmp_path) as simulator:
        simulator.fault(okx_commands.Manners(checksum=checksum))
        order = {"ws": simulator.ws_url, "rest": simulator.http_url, "subscription": subscription}
        with Foreign("cryptofeed_okx.py", {**order, "checksum": checksum}, simulator.ca_file or tmp_path) as client:
            client.until(lambda heard: len(heard) > 100, "hears anything")
            disturb(simulator, client)
            client.finish()
        kinds = ("trade", "book", *subscription)
        said = {kind: [line for line in client.heard if line["kind"] == kind] for kind in kinds}
        assert [kind for kind in subscription if kind not in ("trades", "l2_book") and not said[kind]] == []
        for symbol in (BTC, SWAP):
            check_reported(simulator, [line for line in said["trade"] if line["symbol"] == symbol], symbol)
        assert len(said["book"]) > 3 * LEG * 10
        for line in said["book"]:
            assert line["crc"] == crc32(published(simulator, line["symbol"], line["seq"]).encode())
            assert line["levels"] == 400
        assert len(pages(simulator)) == 6  # nothing but what was forced ended a connection


def check_reported(simulator: Simulator[OkxVenue], trades: list[Message], symbol: str) -> None:
    """The library reports the last id of each message: with its count those are the ledger's, with the tape's payload,
    however often the last trade came again."""
    instrument = simulator.venue.market.instruments[symbol]
    found: list[int] = []
    for trade in trades:
        last = int(trade["id"])
        first = last - int(trade["count"]) + 1
        assert payload(instrument, first, last) == (trade["price"], trade["size"], trade["side"], trade["ts"])
        found += range(first, last + 1)
    assert sorted(found) == sorted(n for page in pages(simulator) for n in ids_of(page, symbol))
    assert len(trades) > 10
