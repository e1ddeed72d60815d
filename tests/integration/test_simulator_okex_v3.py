"""The simulated OKEx v3, as a client of another make sees it over real sockets: what it says, and in which form."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from recorder.simulator.faults import Breakbook, Resetbook
from recorder.simulator.okex_v3.channels import CANDLES, CHANNELS
from recorder.simulator.okex_v3.venue import OkexV3Venue, Rules
from recorder.simulator.server import Simulator
from tests.integration.okexv3client import BTC, Client, Reader, inflate, names, rows, venue

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
def simulator() -> Iterator[Simulator[OkexV3Venue]]:
    """A venue with 100 trades a second."""
    with venue() as one:
        yield one


@pytest.fixture
def client(simulator: Simulator[OkexV3Venue]) -> Iterator[Client]:
    with Client(simulator) as one:
        yield one


def everything(simulator: Simulator[OkexV3Venue]) -> list[str]:
    """Every channel of an instrument of each kind."""
    found = []
    for group, channels in CHANNELS.items():
        about = {channel: (names(simulator, group.upper()) or ["BTC-USD"])[0] for channel in channels}
        about |= {"summary": "BTC-USD"} if group == "option" else {}
        found += [f"{group}/{channel}:{subject}" for channel, subject in sorted(about.items())]
    return found


# --- frames and requests -------------------------------------------------------------------------------------------


def test_every_frame_is_compressed(simulator: Simulator[OkexV3Venue], client: Client) -> None:
    """Acks, errors, pushes, `pong` and the answer to a login are each one binary frame with one whole stream, the
    shortest as the venue made it: level 1, nothing before, nothing after."""
    client.ask("subscribe", *everything(simulator), "spot/none:BTC-USDT")
    client.login(str(simulator.venue.clock.wall_us() / 1e6))
    simulator.advance(5)
    texts = client.texts()
    assert len({json.loads(text).get("table") for text in texts}) > 70
    assert {json.loads(text).get("event") for text in texts} == {"subscribe", "error", "login", None}
    for data, text in zip(client.raw, texts, strict=True):
        stream = zlib.compressobj(1, zlib.DEFLATED, -15)
        assert stream.compress(text.encode()) + stream.flush() == data
    client.ws.send("ping")
    assert inflate(client.frame()) == b"pong"


def test_acks(client: Client) -> None:
    """One ack an argument, byte for byte as recorded, all of them before the data; and again when it is repeated."""
    args = ["spot/depth_l2_tbt:BTC-USDT", "spot/ticker:ETH-USDT", "spot/trade:BTC-USDT"]
    for _ in range(2):
        client.ask("subscribe", *args)
        acks, rest = client.texts()[:3], client.drain()
        assert acks == [f'{{"event":"subscribe","channel":"{arg}"}}' for arg in args]
        assert rest == []
    client.ask("unsubscribe", args[0])
    assert client.texts() == [f'{{"event":"unsubscribe","channel":"{args[0]}"}}']


def test_an_argument_without_its_array(client: Client) -> None:
    """As some clients send it."""
    client.ws.send('{"op":"subscribe","args":"spot/trade:BTC-USDT"}')
    assert client.drain() == [{"event": "subscribe", "channel": "spot/trade:BTC-USDT"}]


def test_unsubscribed(simulator: Simulator[OkexV3Venue], client: Client) -> None:
    """What is no longer wanted no longer comes, and the rest goes on."""
    client.subscribe("spot/trade:BTC-USDT", "spot/ticker:BTC-USDT")
    client.ask("unsubscribe", "spot/trade:BTC-USDT")
    client.drain()
    simulator.advance(2)
    assert {m["table"] for m in client.drain()} == {"spot/ticker"}


def missing(arg: str) -> dict[str, Any]:
    """The venue's words for a channel that is none, as captured."""
    return {"event": "error", "message": f"Channel {arg} doesn't exist", "errorCode": 30040}


@pytest.mark.parametrize(
    "arg",
    [
        "spot/tickerinvalid:BTC-USDT",
        "spot/trade:NO-SUCH",
        "spot/trade:BTC-USDT-SWAP",
        "swap/trade:BTC-USDT",
        "spot/mark_price:BTC-USDT",
        "spot/candle61s:BTC-USDT",
        "index/ticker:NO-SUCH",
        "index/trade:BTC-USD",
        "option/summary:ETH-USD",
        "futures/funding_rate:BTC-USDT",
        "trades",
    ],
)
def test_what_does_not_exist(client: Client, arg: str) -> None:
    """It is refused with its name, harms no other argument, and the connection stays."""
    wanted = [missing(arg if ":" in arg else f"{arg}:"), {"event": "subscribe", "channel": "swap/trade:BTC-USD-SWAP"}]
    assert client.subscribe(arg, "swap/trade:BTC-USD-SWAP") == wanted


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("[]", 30039),
        ("nonsense", 30039),
        ('{"op":"dance","args":["a"]}', 30039),
        ('{"op":"subscribe","args":[]}', 30039),
        ('{"op":"subscribe","args":[""]}', 30039),
        ('{"op":"subscribe","args":["spot/account:BTC"]}', 30041),
    ],
)
def test_bad_requests(client: Client, message: str, code: int) -> None:
    """Each gets its code, a number, and the connection stays."""
    client.ws.send(message)
    (answer,) = client.drain()
    assert (answer["event"], answer["errorCode"]) == ("error", code)
    assert answer["message"]


# --- login and life ------------------------------------------------------------------------------------------------


def test_login(simulator: Simulator[OkexV3Venue], client: Client) -> None:
    """A good login opens private channels, once."""
    now = simulator.venue.clock.wall_us() / 1e6
    client.login(str(now - 29))
    assert client.texts() == ['{"event":"login","success":true}']
    assert client.subscribe("spot/account:BTC") == [{"event": "subscribe", "channel": "spot/account:BTC"}]
    client.login(str(now))
    assert [m["errorCode"] for m in client.drain()] == [30042]


@pytest.mark.parametrize(
    ("code", "ago", "options"),
    [
        (30001, 0.0, {"key": ""}),
        (30005, float("nan"), {}),
        (30006, 0.0, {"key": "nobody"}),
        (30008, 31.0, {}),
        (30008, -31.0, {}),
        (30013, 0.0, {"secret": "another"}),
        (30015, 0.0, {"word": "another"}),
    ],
)
def test_a_login_that_is_refused(
    simulator: Simulator[OkexV3Venue], client: Client, code: int, ago: float, options: dict[str, str]
) -> None:
    """It is told why, and the connection ends."""
    client.login(str(simulator.venue.clock.wall_us() / 1e6 - ago), **options)
    (answer,), closed = client.closing()
    assert (answer["event"], answer["errorCode"], closed) == ("error", code, 1000)


@pytest.mark.parametrize(("count", "code"), [(0, 30001), (1, 30004), (2, 30003), (3, 30002), (5, 30027)])
def test_a_login_with_too_few_arguments(client: Client, count: int, code: int) -> None:
    """The first that is missing has its code."""
    client.ask("login", *["x"] * count)
    assert client.closing()[0][0]["errorCode"] == code


def test_the_end_of_what_is_idle() -> None:
    """After 30 seconds without data or heartbeat a connection ends; a heartbeat is enough, and so is data."""
    with (
        venue(rules=Rules(connects_per_second=0)) as one,
        Client(one) as idle,
        Client(one) as beats,
        Client(one) as reads,
    ):
        reads.subscribe("spot/trade:BTC-USDT")
        for _ in range(7):
            one.advance(5)
            assert beats.drain() == []
        assert idle.closing() == ([], 1000)
        assert len(reads.drain()) > 100


def test_limits() -> None:
    """One connection a second, 240 operations an hour, and requests of at most 4096 bytes."""
    with venue(rules=Rules(idle_seconds=0)) as simulator:
        with Client(simulator) as client:
            with pytest.raises(Exception, match="429"):
                Client(simulator)
            for _ in range(240):
                client.ask("unsubscribe", "spot/trade:BTC-USDT")
            assert {m["event"] for m in client.drain()} == {"unsubscribe"}
            assert [m["errorCode"] for m in client.subscribe("spot/trade:BTC-USDT")] == [30026]
        simulator.advance(2)
        with Client(simulator) as client:
            client.ask("subscribe", *["spot/trade:BTC-USDT"] * 200)
            assert client.closing() == ([], 1009)


# --- trades --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "size"), [("SPOT", "size"), ("SWAP", "size"), ("FUTURES", "qty"), ("OPTION", "qty")])
def test_trades_run_on(simulator: Simulator[OkexV3Venue], client: Client, kind: str, size: str) -> None:
    """Every id comes once, in order, with the fields of its kind, numbers as strings, times to the millisecond."""
    symbol, table = names(simulator, kind)[0], f"{kind.lower()}/trade"
    client.subscribe(f"{table}:{symbol}")
    simulator.advance(60)
    found = rows(client.drain(), table)
    assert [int(row["trade_id"]) for row in found] == list(range(1, len(found) + 1))
    assert len(found) > 20
    for row in found:
        assert list(row) == ["side", "trade_id", "price", size, "instrument_id", "timestamp"]
        assert row["side"] in ("buy", "sell")
        assert row["instrument_id"] == symbol
        assert ISO.fullmatch(row["timestamp"])
        assert float(row["price"]) > 0 < float(row[size])
        assert not re.search(r"\.\d*0$", row["price"])


def test_last_trade_again(simulator: Simulator[OkexV3Venue], client: Client) -> None:
    """A subscription begins with the last trade again, right after the acks, however old."""
    simulator.advance(3)
    first = client.subscribe("spot/trade:BTC-USDT", "spot/candle60s:BTC-USDT")[2]
    assert first["table"] == "spot/trade"
    with Client(simulator) as other:
        assert other.subscribe("spot/trade:BTC-USDT")[1] == first
    simulator.advance(1)
    following = rows(client.drain(), "spot/trade")
    assert int(following[0]["trade_id"]) == int(first["data"][0]["trade_id"]) + 1


def test_the_ledger(simulator: Simulator[OkexV3Venue], client: Client) -> None:
    """It knows which ids went out on which connection, and numbering goes on while nobody is connected."""
    simulator.advance(5)
    client.subscribe("spot/trade:BTC-USDT")
    simulator.advance(5)
    ids = [int(row["trade_id"]) for row in rows(client.drain(), "spot/trade")]
    ledger = simulator.call(simulator.venue.ledger)
    (page,) = ledger.connections.values()
    assert page.sent[BTC][-1][1] == ids[-1] == ledger.issued[BTC]
    assert ids[0] > 100


# --- books ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["depth", "depth_l2_tbt"])
@pytest.mark.parametrize("kind", ["SPOT", "FUTURES"])
def test_books(simulator: Simulator[OkexV3Venue], kind: str, channel: str) -> None:
    """A whole book first, then updates; every checksum is that of the book as it is then, over a thousand updates of
    spot, whoever else subscribes meanwhile."""
    table, reader = f"{kind.lower()}/{channel}", Reader()
    wanted = f"{table}:{names(simulator, kind)[0]}"
    both = [wanted, wanted.replace(channel, "depth" if channel != "depth" else "depth_l2_tbt")]
    with Client(simulator) as client:
        messages = client.subscribe(wanted)
        for _ in range(11):
            with Client(simulator) as other:
                assert [m["action"] for m in other.subscribe(*both) if "action" in m] == ["partial", "partial"]
                simulator.advance(10)
                messages += client.drain()
    pushed = [m for m in messages if m.get("table") == table]
    assert [m["action"] for m in pushed[:2]] == ["partial", "update"]
    assert {m["action"] for m in pushed[1:]} == {"update"}
    assert all(reader.take(message) for message in pushed)
    assert reader.taken > (1_000 if kind == "SPOT" else 50)
    levels = [level for m in pushed for side in ("asks", "bids") for level in m["data"][0][side]]
    short = (kind, channel) == ("SPOT", "depth")
    assert {tuple(map(type, level)) for level in levels} == {(str, str, int) if short else (str, str, str, str)}
    assert any(level[1] == "0" for level in levels)


def test_tick_by_tick(simulator: Simulator[OkexV3Venue], client: Client) -> None:
    """`depth_l2_tbt` tells a change before `depth` does, and both tell the same book."""
    client.subscribe("spot/depth:BTC-USDT", "spot/depth_l2_tbt:BTC-USDT")
    simulator.advance(10)
    found = client.drain()
    books, fast = rows(found, "spot/depth"), rows(found, "spot/depth_l2_tbt")
    assert len(fast) > 2 * len(books) > 100
    sums = [row["checksum"] for row in fast]
    assert {row["checksum"] for row in books} <= set(sums)


def test_a_book_that_breaks(simulator: Simulator[OkexV3Venue], client: Client) -> None:
    """A lost update shows in the next checksum, and a whole book, sent on request, heals it."""
    reader = Reader()
    for message in client.subscribe("spot/depth_l2_tbt:BTC-USDT")[1:]:
        assert reader.take(message)
    simulator.fault(Breakbook(symbol=BTC))
    simulator.advance(5)
    assert False in [reader.take(message) for message in client.drain()]
    simulator.fault(Resetbook(symbol=BTC))
    simulator.advance(5)
    messages = client.drain()
    whole = [m["action"] for m in messages].index("partial")
    assert whole < 2 < 20 < len(messages)
    assert all(reader.take(message) for message in messages[whole:])


def test_five_levels(simulator: Simulator[OkexV3Venue], client: Client) -> None:
    """`depth5` is five levels a side each time, without action and checksum, and comes only when it changed."""
    client.subscribe("swap/depth5:BTC-USDT-SWAP")
    simulator.advance(10)
    found = rows(client.drain(), "swap/depth5")
    assert len(found) > 20
    assert all(len(row["asks"]) == len(row["bids"]) == 5 for row in found)
    assert all(a["asks"] != b["asks"] or a["bids"] != b["bids"] for a, b in pairwise(found))


# --- the rest ------------------------------------------------------------------------------------------------------


def test_every_channel_has_something_to_say() -> None:
    """Whatever is accepted is served, within a minute, in the hour before delivery."""
    with venue(delivery=1_800) as simulator, Client(simulator) as client:
        wanted = everything(simulator)
        assert [m["event"] for m in client.subscribe(*wanted)[: len(wanted)]] == ["subscribe"] * len(wanted)
        simulator.advance(60)
        found = {m["table"] for m in client.drain()}
    assert found == {arg.partition(":")[0] for arg in wanted}


@pytest.mark.parametrize("group", ["spot", "swap", "index"])
def test_candles(simulator: Simulator[OkexV3Venue], client: Client, group: str) -> None:
    """A candle of each length; it opens where its length says, and a minute's last state is told before the next."""
    symbol = {"spot": BTC, "swap": "BTC-USDT-SWAP", "index": "BTC-USD"}[group]
    client.subscribe(*(f"{group}/{channel}:{symbol}" for channel in CANDLES))
    simulator.advance(120)
    messages = client.drain()
    assert {m["table"].partition("/")[2] for m in messages} == set(CANDLES)
    minutes = [row["candle"] for row in rows(messages, f"{group}/candle60s")]
    assert {len(candle) for candle in minutes} == {7 if group == "swap" else 6}
    assert [c[0] for c in minutes] == sorted(c[0] for c in minutes)
    assert len({c[0] for c in minutes}) == 3
    assert all(ISO.fullmatch(c[0]) and c[0].endswith(":00.000Z") for c in minutes)
    (day,) = {row["candle"][0] for row in rows(messages, f"{group}/candle86400s")}
    assert day == "2025-06-14T16:00:00.000Z"


def test_contracts(simulator: Simulator[OkexV3Venue], client: Client) -> None:
    """Mark price and range agree, a funding rate is paid at the next settlement, an index has a price."""
    client.subscribe(*(f"swap/{one}:BTC-USD-SWAP" for one in ("mark_price", "price_range", "funding_rate")))
    client.subscribe("index/ticker:BTC-USD")
    simulator.advance(70)
    messages = client.drain()
    mark, limits = (rows(messages, f"swap/{one}")[-1] for one in ("mark_price", "price_range"))
    assert float(limits["lowest"]) < float(mark["mark_price"]) < float(limits["highest"])
    (rate,) = {json.dumps(row) for row in rows(messages, "swap/funding_rate")}
    assert json.loads(rate)["funding_time"] == "2025-06-15T16:00:00.000Z"
    assert len(rows(messages, "index/ticker")) > 5


def test_a_ticker(simulator: Simulator[OkexV3Venue], client: Client) -> None:
    """It has the last trade's price and size, and the book's best prices."""
    client.subscribe("spot/ticker:BTC-USDT", "spot/trade:BTC-USDT")
    simulator.advance(10)
    messages = client.drain()
    ticker, trade = rows(messages, "spot/ticker")[-1], rows(messages, "spot/trade")[-1]
    assert (ticker["last"], ticker["last_qty"]) == (trade["price"], trade["size"])
    assert float(ticker["low_24h"]) <= float(ticker["best_bid"]) < float(ticker["best_ask"])
