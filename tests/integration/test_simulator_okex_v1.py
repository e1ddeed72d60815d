"""The simulated OKEx v1's requests and market, as a client of another make sees them over real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
import websocket

from recorder.simulator.okex_v1.commands import Manners
from recorder.simulator.okex_v1.names import PERIODS, WEEKS, parse
from recorder.simulator.okex_v1.oracle import Ids
from recorder.simulator.okex_v1.venue import KEYS, Rules
from tests import samples
from tests.integration.okexv1client import (
    FUTURES,
    MIDNIGHT,
    OKCOIN,
    PACKED,
    SPOT,
    Client,
    Venue,
    inflated,
    pushes,
    signed,
    venue,
)

TEXT, BINARY = websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY
BTC, WEEK = "btc_usdt", "btc_usd_this_week"
DEALS, DEPTH, TICKER = (f"ok_sub_spot_{BTC}_{kind}" for kind in ("deals", "depth", "ticker"))
TRADE, FUTURE_DEPTH, FUTURE_TICKER = (f"ok_sub_futureusd_btc_{kind}_this_week" for kind in ("trade", "depth", "ticker"))
HOUR = 3600


@pytest.fixture
def simulator() -> Iterator[Venue]:
    """A venue with 50 trades a second on each instrument."""
    with venue() as one:
        yield one


@pytest.fixture
def client(simulator: Venue) -> Iterator[Client]:
    """A reader of the compressed path."""
    with Client(simulator) as one:
        yield one


# --- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "asked", "opcode", "binary"),
    [
        (PACKED, {}, BINARY, 0),
        (PACKED, {"binary": "1"}, BINARY, 1),
        *[(path, {}, TEXT, 0) for path in (SPOT, FUTURES, OKCOIN)],
        *[(path, {"binary": "0"}, TEXT, 0) for path in (SPOT, FUTURES)],
        *[(path, {"binary": how}, BINARY, 1) for path in (SPOT, FUTURES, OKCOIN) for how in ("1", 1)],
    ],
)
def test_compressed_or_not(simulator: Venue, path: str, asked: dict[str, object], opcode: int, binary: int) -> None:
    """`/ws/v1` compresses everything, the other paths what was asked for compressed: acks, failures, pushes."""
    with Client(simulator, path) as client:
        for name in (DEALS, "ok_sub_spot_x"):
            client.ask({"event": "addChannel", "channel": name, **asked})
        simulator.advance(0.2)
        found = client.frames()
        ack = f'[{{"binary":{binary},"channel":"addChannel","data":{{"result":true,"channel":"{DEALS}"}}}}]'
        assert {kind for kind, _ in found} == {opcode}
        assert found[0][1] == ack
        assert {json.loads(text)[0]["binary"] for _, text in found} == {binary}
        assert len(found) > 3


@pytest.mark.parametrize(("path", "opcode"), [(PACKED, BINARY), (SPOT, TEXT), (FUTURES, TEXT), (OKCOIN, TEXT)])
def test_pong(simulator: Venue, path: str, opcode: int) -> None:
    """A heartbeat is answered by an object that is in no array, compressed where everything is."""
    with Client(simulator, path) as client:
        client.ws.send("{'event':'ping'}")
        kind, data = client.ws.recv_data()
        assert (kind, inflated(kind, data)) == (opcode, '{"event":"pong"}')


def test_other_paths_are_refused(simulator: Venue) -> None:
    """There are four paths."""
    with pytest.raises(websocket.WebSocketBadStatusException, match="404"):
        Client(simulator, "/ws/v3")


# --- requests --------------------------------------------------------------------------------------------------------


def test_quotes_and_batches(client: Client) -> None:
    """Single quotes are as good as double ones; of a batch each is answered for itself, in order; repeated, again."""
    client.ws.send(f"[{{'event':'addChannel','channel':'{DEALS}'}},{{'event':'addChannel','channel':'ok_sub_spot_x'}}]")
    client.ask(*[{"event": "addChannel", "channel": DEALS}] * 2)
    found = client.drain()
    assert [(m["channel"], m["data"]["result"]) for m in found] == [
        ("addChannel", True),
        ("ok_sub_spot_x", False),
        ("addChannel", True),
        ("addChannel", True),
    ]


@pytest.mark.parametrize(
    ("request_", "channel", "code"),
    [
        ({"event": "addChannel", "channel": "ok_sub_futureusd_btc_quarter"}, "ok_sub_futureusd_btc_quarter", 20116),
        ({"event": "addChannel", "channel": "ok_sub_spot_xyz_usdt_deals"}, "ok_sub_spot_xyz_usdt_deals", 10015),
        ({"event": "addChannel", "channel": "ok_sub_futureusd_eth_index"}, "ok_sub_futureusd_eth_index", 10015),
        ({"event": "addChannel", "channel": "ok_sub_spot_btc_usdt_order"}, "ok_sub_spot_btc_usdt_order", 10015),
        ({"event": "addChannel"}, "addChannel", 10000),
        ({"event": "subscribe", "channel": DEALS}, DEALS, 10008),
        ({}, "", 10000),
    ],
)
def test_failures(client: Client, request_: dict[str, object], channel: str, code: int) -> None:
    """What cannot be had is refused under its own name with a number, and nothing else happens."""
    client.ask(request_)
    found = client.drain()
    assert [(m["channel"], m["data"]["result"], m["data"]["error_code"]) for m in found] == [(channel, False, code)]


def test_the_captured_failure_byte_for_byte(simulator: Venue) -> None:
    """20116 reads as it was captured."""
    name = "ok_sub_futu_btc_ticker_this_week"
    with Client(simulator, SPOT) as client:
        client.ask({"event": "addChannel", "channel": name, "binary": "1"})
        assert client.texts() == [
            f'[{{"binary":1,"channel":"{name}","data":'
            '{"result":false,"error_msg":"param not match.","error_code":20116}}]'
        ]


@pytest.mark.parametrize("nonsense", ["", "ping", "[", "5", "[5]", "null", '{"event":5}'])
def test_nonsense_is_refused(client: Client, nonsense: str) -> None:
    """What is no request gets an error, and the connection goes on."""
    client.ws.send(nonsense)
    assert [m["data"]["result"] for m in client.drain()] == [False]
    assert client.add(DEALS)[0]["data"]["result"] is True


def test_too_frequent() -> None:
    """Too many messages within a second are refused with 20049; a second later all is well."""
    with venue(rules=Rules(messages_per_second=5)) as simulator, Client(simulator) as client:
        for _ in range(7):
            client.ask({"event": "addChannel", "channel": DEALS})
        found = client.drain()
        assert [m["data"].get("error_code") for m in found] == [None] * 5 + [20049] * 2
        simulator.advance(1)
        client.ask({"event": "addChannel", "channel": DEALS})
        assert [m["data"]["result"] for m in client.drain() if m["channel"] == "addChannel"] == [True]


def test_removed(simulator: Venue, client: Client) -> None:
    """`removeChannel` is acknowledged and ends the pushes of that channel only."""
    client.add(DEALS, TRADE)
    client.ask({"event": "removeChannel", "channel": DEALS})
    ack = client.drain()
    assert ack == [{"binary": 0, "channel": "removeChannel", "data": {"result": True, "channel": DEALS}}]
    simulator.advance(1)
    assert {m["channel"] for m in client.drain()} == {TRADE}


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (SPOT, '[{"binary":0,"channel":"login","data":{"result":true}}]'),
        (PACKED, '[{"binary":0,"channel":"login","data":{"result":true}}]'),
        (FUTURES, '[{"channel":"login","data":{"result":true}}]'),
    ],
)
def test_login(simulator: Venue, path: str, answer: str) -> None:
    """A login with the right signature succeeds, as the documents of each path have it, and all goes on."""
    ((key, secret),) = KEYS.items()
    with Client(simulator, path) as client:
        client.ask({"event": "login", "parameters": signed({"api_key": key}, secret)})
        assert client.texts() == [answer]
        client.ask({"event": "login", "parameters": signed({"api_key": key, "nonce": "5"}, secret)})
        assert client.texts() == [answer]


@pytest.mark.parametrize(("path", "unknown", "mismatch"), [(SPOT, 10005, 10017), (FUTURES, 20020, 20024)])
def test_refused_logins(simulator: Venue, path: str, unknown: int, mismatch: int) -> None:
    """An unknown key, a wrong, a lower-case or no signature: each its code, then the end, whatever else was asked."""
    ((key, secret),) = KEYS.items()
    good = signed({"api_key": key}, secret)
    for parameters, code in (
        (signed({"api_key": "nobody"}, secret), unknown),
        (signed({"api_key": key}, "wrong"), mismatch),
        ({**good, "sign": good["sign"].lower()}, mismatch),
        ({"api_key": key}, 10000),
    ):
        with Client(simulator, path) as client:
            client.ask({"event": "login", "parameters": parameters}, {"event": "addChannel", "channel": DEALS})
            (text,), closed = client.closing()
            (answer,) = json.loads(text)
            assert (answer["channel"], answer["data"]["error_code"], closed) == ("login", code, 1000)


def test_who_never_pings_is_left() -> None:
    """Without a heartbeat for 120 seconds the connection ends, data or not; with one every 100 it lasts."""
    with (
        venue(rate=1, rules=Rules(), symbols=(BTC,)) as simulator,
        Client(simulator) as idle,
        Client(simulator) as alive,
    ):
        idle.ask({"event": "addChannel", "channel": DEALS})
        for _ in range(3):
            simulator.advance(100)
            alive.drain()
        assert idle.ended()
        assert [s.conn_id for s in simulator.call(lambda: list(simulator.venue.sessions.values()))]


# --- the grammar -----------------------------------------------------------------------------------------------------


def names() -> list[str]:
    """Every name there is for a pair and a coin."""
    spot = ["ticker", "deals", "depth", *(f"depth_{n}" for n in (5, 10, 20)), *(f"kline_{p}" for p in PERIODS)]
    weeks = [f"{kind}_{week}" for kind in ("ticker", "trade", "depth") for week in WEEKS]
    weeks += [f"depth_{week}_{n}" for week in WEEKS for n in (5, 10, 20)]
    weeks += [f"kline_{week}_{period}" for week in WEEKS for period in PERIODS]
    return [*(f"ok_sub_spot_{BTC}_{kind}" for kind in spot), *(f"ok_sub_futureusd_btc_{kind}" for kind in weeks)]


def test_every_name_is_served(simulator: Venue, client: Client) -> None:
    """Thirteen periods, three weeks, three depths: every name is acknowledged and brings data within a second; the
    estimate of a delivery is acknowledged."""
    every = [*names(), "ok_sub_futureusd_btc_index"]
    assert len(every) == 19 + 3 * 3 + 9 + 39 + 1
    found = client.add(*every, "btc_forecast_price")
    assert [m["data"]["channel"] for m in found if m["channel"] == "addChannel"] == [*every, "btc_forecast_price"]
    simulator.advance(1)
    found += client.drain()
    assert {m["channel"] for m in found} == {"addChannel", *every}


@pytest.mark.parametrize(
    "name",
    [
        "ok_sub_futureusd_btc_quarter",
        "ok_sub_futureusd_btc_trade",
        "ok_sub_futureusd_btc_deals_quarter",
        "ok_sub_futureusd_btc_trade_quarter_5",
        "ok_sub_futureusd_btc_ticker_quarter_1min",
        "ok_sub_futureusd_btc_depth_quarter_60",
        "ok_sub_futureusd_btc_depth_quarter_1min",
        "ok_sub_futureusd_btc_kline_quarter",
        "ok_sub_futureusd_btc_kline_quarter_5",
        "ok_sub_futureusd_btc_index_quarter",
        "ok_sub_spot_btc_usdt_kline",
        "ok_sub_spot_btc_usdt_kline_1m",
        "ok_sub_spot_btc_usdt_trade",
        "ok_sub_spot_btc_ticker",
        "ok_sub_spot_BTC_USDT_ticker",
        " ok_sub_spot_btc_usdt_ticker",
        "spot/ticker:BTC-USDT",
    ],
)
def test_names_outside_the_grammar(client: Client, name: str) -> None:
    """A name that the grammar does not have is refused as not matching."""
    assert [m["data"]["error_code"] for m in client.add(name)] == [20116]
    assert parse(name) is None


# --- shapes ----------------------------------------------------------------------------------------------------------


def shape(value: Any) -> Any:
    """The names and types of a message; an array by its first element where that is an array, too."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value and isinstance(value[0], list) else [type(each).__name__ for each in value]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def test_shapes_are_those_of_the_samples(simulator: Venue, client: Client) -> None:
    """Every captured and every documented push has a simulated one with the same names and types, ack and failure too;
    that of OKCoin's books in its own manner."""
    frames = [f for name in samples.files("okex_v1") for f in samples.received("okex_v1", name)]
    wanted = [one for raw in frames for one in (lambda m: m if isinstance(m, list) else [m])(json.loads(raw))]
    channels = sorted({m["channel"] for m in wanted if "channel" in m and m["channel"].startswith("ok_sub_")})
    found = client.add(*channels)
    client.ask({"event": "login", "parameters": signed({"api_key": "demo"}, "demo-secret")})
    simulator.advance(2)
    found += client.drain()
    simulator.fault(Manners(numbers=True))
    simulator.advance(1)
    found += client.drain()
    found.append({"event": "pong"})
    shapes = {json.dumps(shape({**m, "data": m.get("data")}), sort_keys=True) for m in found if "event" not in m}
    unmarked = {s.replace('"binary": "number", ', "") for s in shapes}
    for message in wanted:
        if "event" not in message:
            trimmed = json.dumps(shape(_without_empty(message)), sort_keys=True)
            assert trimmed in shapes | unmarked, trimmed
    assert len(wanted) == 16


def _without_empty(message: dict[str, Any]) -> dict[str, Any]:
    """The documents' book has no asks: they would be as its bids are."""
    data = message["data"]
    if isinstance(data, dict) and data.get("asks") == []:
        data = {**data, "asks": data["bids"]}
    return {**message, "data": data}


# --- trades ----------------------------------------------------------------------------------------------------------


def published(simulator: Venue, symbol: str) -> int:
    """The number of the last trade before the last tenth of a second, when trades are pushed."""
    one = simulator.venue.market.instruments[symbol]
    return one.tape.last_before(one.now_us // 100_000 * 100)


def test_deals(simulator: Venue, client: Client) -> None:
    """Several trades in a message, each once, with rising ids that have holes, shared with no other instrument; price,
    amount and side are the market's."""
    client.add(DEALS, TRADE)
    simulator.advance(3.05)
    found = client.drain()
    ids = Ids(simulator.venue.market.instruments)
    seen: set[int] = set()
    for channel, symbol in ((DEALS, BTC), (TRADE, WEEK)):
        messages = pushes(found, channel)
        assert max(len(rows) for rows in messages) > 1
        rows = [row for rows in messages for row in rows]
        tape = simulator.venue.market.instruments[symbol].tape
        numbers = [ids.number(symbol, int(row[0])) for row in rows]
        assert numbers == list(range(1, published(simulator, symbol) + 1))
        steps = {int(b[0]) - int(a[0]) for a, b in pairwise(rows)}
        assert min(steps) > 1
        assert len(steps) > 1
        listing = simulator.venue.market.instruments[symbol].listing
        for number, row in zip(numbers, rows, strict=True):
            match = tape.match(number)
            assert Decimal(row[1]) == Decimal(match.price).scaleb(-listing.price_places)
            assert Decimal(row[2]) == Decimal(match.lots).scaleb(-listing.size_places)
            assert row[4] == ("bid" if match.buy else "ask")
        assert not seen & {int(row[0]) for row in rows}
        seen |= {int(row[0]) for row in rows}


def test_a_contracts_trade_has_its_coins(simulator: Venue, client: Client) -> None:
    """The sixth element is contracts x 100 dollars / price, cut to four places; in one manner it is missing."""
    client.add(TRADE)
    simulator.advance(1)
    rows = [row for rows in pushes(client.drain(), TRADE) for row in rows]
    for row in rows:
        coins = Decimal(row[2]) * 100 / Decimal(row[1])
        assert Decimal(row[5]) == coins.quantize(Decimal("0.0001"), "ROUND_DOWN")
        assert row[2].endswith(".0")
    assert rows
    simulator.fault(Manners(five=True))
    simulator.advance(1)
    assert {len(row) for rows in pushes(client.drain(), TRADE) for row in rows} == {5}


def test_the_last_trades_come_again(simulator: Venue, client: Client) -> None:
    """On subscribing the last sixty trades come at once, fewer where there were fewer, and then goes on what comes
    next: nothing twice, nothing missing; the ledger has them."""
    simulator.advance(0.15)
    before = [row for rows in pushes(client.add(DEALS), DEALS) for row in rows]
    assert 0 < len(before) < 60
    simulator.advance(4.05)
    with Client(simulator) as late:
        (first,) = pushes(late.add(DEALS), DEALS)
        assert len(first) == 60
        simulator.advance(1)
        rows = first + [row for rows in pushes(late.drain(), DEALS) for row in rows]
        ids, last = Ids(simulator.venue.market.instruments), published(simulator, BTC)
        numbers = [ids.number(BTC, int(row[0])) for row in rows]
        assert numbers == list(range(numbers[0], last + 1))
        sent = [page.sent.get(BTC) for page in simulator.venue.ledger().connections.values()]
        assert sent == [[(1, last)], [(numbers[0], last)]]


def test_midnight_in_china() -> None:
    """Trades bear the time of day of UTC+8 and no date: it goes from 23:59:59 to 00:00:00 at 16:00 UTC."""
    with venue(rate=10, start_us=MIDNIGHT - 2_000_000, symbols=(BTC,)) as simulator, Client(simulator) as client:
        client.add(DEALS)
        simulator.advance(4.15)
        times = [row[3] for rows in pushes(client.drain(), DEALS) for row in rows]
        assert list(dict.fromkeys(times)) == ["23:59:58", "23:59:59", "00:00:00", "00:00:01", "00:00:02"]
