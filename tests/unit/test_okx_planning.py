"""OKX connections and requests, and what it makes of a wrong configuration."""

from __future__ import annotations

import json

import pytest

from recorder.config import Source, Subscribe
from recorder.records import Ack
from recorder.venues import Continuity, Subscription
from recorder.venues.okx import venue
from tests.unit.okxframes import decode

# --- planning -------------------------------------------------------------------------------------------------------


def source(*blocks: tuple[tuple[str, ...], tuple[str, ...]], **limits: int) -> Source:
    """A source with these blocks of channels and symbols."""
    subscribe = tuple(Subscribe(channels=channels, symbols=symbols) for channels, symbols in blocks)
    return Source(
        name="okx", venue="okx", endpoints=venue.endpoints, rest=venue.rest, subscribe=subscribe, limits=limits
    )


def test_paths_of_channels() -> None:
    """trades-all and candles are served by `business`, the rest here by `public`; other channels go to messages."""
    lines = venue.lines(source((("trades", "books", "trades-all", "candle1m", "mark-price"), ("BTC-USDT", "ETH-USDT"))))
    assert [(line.name, line.path, len(line.subscriptions)) for line in lines] == [
        ("public/0", "/ws/v5/public", 6),
        ("business/0", "/ws/v5/business", 4),
    ]
    found = {name: venue.channel(name) for name in ("candle1m", "candle7m", "mark-price-candle1H", "index-candle1Dutc")}
    assert found["candle7m"] is None
    assert [c.table for c in found.values() if c] == ["candles", "candles", "candles"]


@pytest.mark.parametrize(
    ("channel", "continuity"),
    [
        ("trades", Continuity.NUMBERED),
        ("books-elp", Continuity.CHAINED),
        ("books5", Continuity.NONE),
        ("candle1s", Continuity.BARS),
    ],
)
def test_how_channels_prove_themselves(channel: str, continuity: Continuity) -> None:
    """Ids, chains, bars, or nothing."""
    found = venue.channel(channel)
    assert found is not None
    assert found.continuity is continuity


def test_deep_books_are_spread() -> None:
    """Fewer than 30 deep books on a connection; a limit on connections weighs more than that advice."""
    symbols = tuple(f"A{n}-USDT" for n in range(60))
    lines = venue.lines(source((("books", "trades"), symbols)))
    assert [sum(s.channel == "books" for s in line.subscriptions) for line in lines] == [29, 29, 2]
    assert [line.name for line in lines] == ["public/0", "public/1", "public/2"]
    assert len(venue.lines(source((("books", "trades"), symbols), max_connections=1))) == 1


@pytest.mark.parametrize(
    ("channel", "symbol", "arg"),
    [
        ("trades", "BTC-USDT", {"instId": "BTC-USDT"}),
        ("liquidation-orders", "SWAP", {"instType": "SWAP"}),
        ("opt-summary", "BTC-USD", {"instFamily": "BTC-USD"}),
        ("option-trades", "BTC-USD", {"instFamily": "BTC-USD", "instType": "OPTION"}),
        ("estimated-price", "BTC-USD-251226", {"instId": "BTC-USD-251226", "instType": "FUTURES"}),
        ("estimated-price", "BTC-USD-251226-9000-C", {"instId": "BTC-USD-251226-9000-C", "instType": "OPTION"}),
        ("sprd-tickers", "BTC-USDT_BTC-USDT-SWAP", {"sprdId": "BTC-USDT_BTC-USDT-SWAP"}),
        ("status", "", {}),
    ],
)
def test_what_a_request_asks(channel: str, symbol: str, arg: dict[str, str]) -> None:
    """Each channel is asked for by what it is about; the acknowledgement leads back to the subscription."""
    wanted = Subscription(channel, symbol)
    (request,) = venue.subscribe([wanted])
    sent = json.loads(request.payload)
    assert (sent["op"], sent["args"], sent["id"]) == ("subscribe", [{"channel": channel, **arg}], request.id)
    assert decode({"event": "subscribe", "arg": sent["args"][0]}).replies == [Ack(channel, symbol)]
    (ended,) = venue.unsubscribe([wanted])
    assert json.loads(ended.payload)["op"] == "unsubscribe"
    assert ended.id != request.id


@pytest.mark.parametrize(
    ("channels", "symbols", "problem"),
    [
        ("trade", "BTC-USDT", 'subscribe[0].channels[0]: there is no channel "trade"; did you mean "trades"?'),
        (
            "candle1min",
            "BTC-USDT",
            'subscribe[0].channels[0]: there is no channel "candle1min"; did you mean "candle1m"?',
        ),
        ("candle*", "BTC-USDT", 'there is no channel "candle*"'),
        ("orders", "BTC-USDT", "is a private channel"),
        (
            "trades",
            "btc-usdt",
            'subscribe[0].symbols[0]: "btc-usdt" is no instId of this venue; did you mean "BTC-USDT"?',
        ),
        ("trades", "BTCUSDT", 'did you mean "BTC-USDT"?'),
        ("trades", "BTC/USDT", 'did you mean "BTC-USDT"?'),
        ("trades", "B", "it looks like BTC-USDT"),
        ("liquidation-orders", "S*", "is a pattern, but the venue gives no list for liquidation-orders"),
        ("sprd-tickers", "*_BTC-USDT-SWAP", "is a pattern, but the venue gives no list for sprd-tickers"),
        ("liquidation-orders", "BTC-USDT", "it looks like SPOT, MARGIN, SWAP"),
        ("liquidation-orders", "swap", 'did you mean "SWAP"?'),
        ("trades", "", '"trades" needs symbols'),
        ("status", "BTC-USDT", '"status" takes no symbols'),
        ("books-l2-tbt books", "BTC-USDT", "cannot have both books-l2-tbt and books"),
    ],
)
def test_mistakes_are_explained(channels: str, symbols: str, problem: str) -> None:
    """One sentence for each mistake: where, what, and what was probably meant."""
    (found,) = venue.check(source((tuple(channels.split()), tuple(symbols.split()))))
    assert problem in found


def test_its_market_never_closes() -> None:
    """So silence of all that it brings is never normal."""
    assert venue.always_open(source((("trades",), ("BTC-USDT",))))


def test_what_is_possible_has_no_problems() -> None:
    """Every channel that there is can be asked for."""
    blocks = [
        (("trades", "books", "funding-rate"), ("*-USDT-SWAP", "ETH-?SD")),
        (("trades", "books", "candle1m", "mark-price-candle1H"), ("BTC-USDT", "BTC-USD-SWAP", "BTC-USD_UM-SWAP")),
        (("liquidation-orders", "instruments"), ("SWAP",)),
        (("status",), ()),
    ]
    assert venue.check(source(*blocks)) == []


def test_other_impossible_things() -> None:
    """An endpoint with a path, and more connections than allowed."""
    wrong = Source(name="okx", venue="okx", endpoints=("wss://ws.okx.com:8443/ws/v5/public",), rest="")
    (problem,) = venue.check(wrong)
    assert problem.startswith("endpoints[0]: ")
    assert '"wss://ws.okx.com:8443"' in problem
    (problem,) = venue.check(source((("trades", "candle1m"), ("BTC-USDT",)), max_connections=1))
    assert problem == "needs 2 connections, but limits allow 1; subscribe to less"


@pytest.mark.parametrize(
    ("channel", "levels"),
    [("books", "400"), ("books-l2-tbt", "400"), ("books50-l2-tbt", "50"), ("books-elp", None), ("trades", None)],
)
def test_books_over_rest(channel: str, levels: str | None) -> None:
    """As many levels as the channel has; the book of all orders says nothing of the one with some."""
    found = venue.book_request(Subscription(channel, "BTC-USDT"))
    path, query = "/api/v5/market/books", {"instId": "BTC-USDT", "sz": levels}
    assert (None if found is None else (found.path, found.params)) == (None if levels is None else (path, query))
