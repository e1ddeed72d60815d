"""Ways in which the venue was or will be different, errors on request, and a notice to one connection of several."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest

from recorder.simulator import faults
from recorder.simulator.okx import commands as okx_commands
from recorder.simulator.okx.channels import CLOSES, MESSAGES
from recorder.simulator.okx.commands import Manners
from recorder.simulator.okx.options import Shape, Start
from recorder.simulator.okx.text import checksum
from recorder.simulator.okx.venue import BUSINESS, OkxVenue
from recorder.simulator.server import Simulator
from tests.integration.simulated import BTC, Client, pushes, rest, venue

Levels = dict[str, dict[str, list[str]]]


@pytest.fixture
def simulator() -> Iterator[Simulator[OkxVenue]]:
    """A venue with 50 trades a second."""
    with venue() as one:
        yield one


@pytest.fixture
def client(simulator: Simulator[OkxVenue]) -> Iterator[Client]:
    with Client(simulator) as one:
        yield one


def apply(book: Levels, data: dict[str, Any]) -> None:
    """What a reader does with a message."""
    for side in ("bids", "asks"):
        for level in data[side]:
            if level[1] == "0":
                book[side].pop(level[0], None)
            else:
                book[side][level[0]] = level


def ranked(book: Levels) -> list[list[list[str]]]:
    """Bids and asks, best first."""
    return [
        sorted(book["bids"].values(), key=lambda level: -float(level[0])),
        sorted(book["asks"].values(), key=lambda level: float(level[0])),
    ]


# --- books -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["books", "books-elp"])
def test_checksums_on_request(simulator: Simulator[OkxVenue], client: Client, channel: str) -> None:
    """With checksums on, every message has that of the book that a reader has then; cleared, it is 0 again."""
    simulator.fault(Manners(checksum=True))
    messages = client.subscribe((channel, BTC))
    simulator.advance(5)
    book: Levels = {"bids": {}, "asks": {}}
    seen = set()
    for message in pushes(messages + client.drain(), channel):
        (data,) = message["data"]
        apply(book, data)
        assert data["checksum"] == checksum(*ranked(book))
        seen.add(data["checksum"])
    assert len(seen) > 30
    simulator.fault(faults.Clear())
    simulator.advance(1)
    assert {m["data"][0]["checksum"] for m in pushes(client.drain(), channel)} == {0}


def started(client: Client, simulator: Simulator[OkxVenue], seconds: float = 1.0) -> list[dict[str, Any]]:
    messages = client.subscribe(("books", BTC))
    simulator.advance(seconds)
    return pushes(messages + client.drain(), "books")


def test_a_start_without_snapshot(simulator: Simulator[OkxVenue], client: Client) -> None:
    """Updates only: with REST's book as the start, and updates up to its number dropped, the book is right."""
    simulator.fault(Manners(start=Start.NONE, lag=0.25))
    updates = started(client, simulator)
    assert {m["action"] for m in updates} == {"update"}
    (start,) = rest(simulator, "market/books", instId=BTC, sz=400)
    ids = [(m["data"][0]["prevSeqId"], m["data"][0]["seqId"]) for m in updates]
    assert ids[0][0] < start["seqId"] < ids[-1][1]  # it is behind, but not too far
    assert start["seqId"] in {seq for _, seq in ids}
    book: Levels = {side: {level[0]: level for level in start[side]} for side in ("bids", "asks")}
    later = [m["data"][0] for m in updates if m["data"][0]["seqId"] > start["seqId"]]
    assert later[0]["prevSeqId"] <= start["seqId"] < later[0]["seqId"]
    for data in later:
        apply(book, data)
    assert ranked(book) == published(simulator, later[-1]["seqId"])


def published(simulator: Simulator[OkxVenue], seq: int) -> list[list[list[str]]]:
    """The book under a number, as the venue's own log has it."""
    url = f"{simulator.http_url}/_control/book"
    answer = httpx.get(url, params={"instId": BTC, "seqId": seq}).json()
    return [answer["bids"], answer["asks"]]


def test_a_rest_book_that_is_too_old(simulator: Simulator[OkxVenue], client: Client) -> None:
    """With a long lag REST's book is older than the first updates: who starts must ask again until it is not."""
    simulator.fault(Manners(start=Start.NONE, lag=0.7))
    simulator.advance(2)
    first = started(client, simulator, 0.35)
    (old,) = rest(simulator, "market/books", instId=BTC, sz=400)
    assert old["seqId"] < first[1]["data"][0]["prevSeqId"]
    simulator.advance(1)
    (new,) = rest(simulator, "market/books", instId=BTC, sz=400)
    assert new["seqId"] >= first[1]["data"][0]["prevSeqId"]


def test_a_snapshot_that_misleads(simulator: Simulator[OkxVenue], client: Client) -> None:
    """In the announced way a snapshot still comes, but a book that begins with it is wrong."""
    simulator.fault(Manners(start=Start.STALE))
    messages = started(client, simulator)
    assert [m["action"] for m in messages[:2]] == ["snapshot", "update"]
    book: Levels = {"bids": {}, "asks": {}}
    for message in messages:
        apply(book, message["data"][0])
    assert ranked(book) != published(simulator, messages[-1]["data"][0]["seqId"])


def test_the_log_knows_every_published_book(simulator: Simulator[OkxVenue], client: Client) -> None:
    """Under every number that was pushed the venue can tell its book, over a restart of the numbers, too."""
    messages = client.subscribe(("books", BTC))
    simulator.advance(2)
    simulator.fault(faults.Resetbook(symbol=BTC))
    simulator.advance(2)
    book: Levels = {"bids": {}, "asks": {}}
    for message in pushes(messages + client.drain(), "books"):
        (data,) = message["data"]
        apply(book, data)
        assert ranked(book) == published(simulator, data["seqId"])
    answer = httpx.get(f"{simulator.http_url}/_control/book", params={"instId": BTC, "seqId": 0})
    assert answer.status_code == 404


def test_numbers_are_the_same_for_everybody(simulator: Simulator[OkxVenue]) -> None:
    """Two connections that subscribed at different times get the same updates under the same numbers."""
    with Client(simulator) as one, Client(simulator) as two:
        one.subscribe(("books", BTC))
        simulator.advance(0.55)
        two.subscribe(("books", BTC))
        one.drain()
        simulator.advance(3)
        seen = [pushes(each.drain(), "books") for each in (one, two)]
    assert len(seen[0]) > 20
    assert seen[0] == seen[1]


def test_candles_of_seven_fields(simulator: Simulator[OkxVenue]) -> None:
    """On request candles end with their second volume, as until 2022; those of marks stay as they are."""
    simulator.fault(Manners(candle_fields=7))
    with Client(simulator, BUSINESS) as client:
        messages = client.subscribe(("candle1m", BTC), ("candle1s", BTC), ("mark-price-candle1m", BTC))
        simulator.advance(61)
        messages += client.drain()
    counts = {m["arg"]["channel"]: len(m["data"][0]) for m in messages if "data" in m}
    assert counts == {"candle1m": 7, "candle1s": 7, "mark-price-candle1m": 6}


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(MESSAGES))
def test_every_code_as_a_frame(simulator: Simulator[OkxVenue], client: Client, code: str) -> None:
    """Any code can come out of the blue, with the venue's words, and as the answer to a subscription."""
    assert simulator.fault(okx_commands.Error(code=code, id="a7")) == 1
    assert client.drain() == [{"id": "a7", "event": "error", "code": code, "msg": MESSAGES[code]}]
    simulator.fault(faults.Reject(channel="books5", code=code))
    (answer,) = client.subscribe(("books5", BTC))
    assert (answer["event"], answer["code"]) == ("error", code)


@pytest.mark.parametrize("code", sorted(CLOSES))
def test_every_code_as_a_close(simulator: Simulator[OkxVenue], client: Client, code: int) -> None:
    """Any close code can end a connection."""
    simulator.fault(faults.Drop(how=faults.How.CLOSE, code=code, reason=CLOSES[code]))
    assert client.closing() == code


@pytest.mark.parametrize(
    ("shape", "want"), [(Shape.TEXT, b'{"error":"60012"}'), (Shape.NUMBER, b'{ "error" : 60012 }')]
)
def test_errors_of_old_shapes(simulator: Simulator[OkxVenue], client: Client, shape: Shape, want: bytes) -> None:
    """On request errors look as old tutorials have them: unasked for, and in answers."""
    simulator.fault(okx_commands.Error(code="60012", shape=shape))
    assert client.ws.recv_data()[1] == want
    simulator.fault(Manners(shape=shape))
    client.ws.send("{}")
    assert client.ws.recv_data()[1] == want


def test_any_text(simulator: Simulator[OkxVenue], client: Client) -> None:
    """Any text can be sent, over the control endpoint, too, to the connection that is named by its id."""
    with Client(simulator) as other:
        conn = other.subscribe(("tickers", BTC))[0]["connId"]
        text = '{"event":"channel-conn-count-error","channel":"orders","connCount":"30"}'
        order = {"fault": "say", "text": text, "path": conn}
        assert httpx.post(f"{simulator.http_url}/_control", json=order).json() == {"ok": True, "struck": 1}
        assert other.drain() == [json.loads(text)]
        assert client.drain() == []


def test_a_notice_to_one_of_several(simulator: Simulator[OkxVenue]) -> None:
    """The one connection that is given notice is closed after the time set, and no other: the numbers of trades and
    books run on over the old and the new one."""
    with Client(simulator) as old, Client(simulator) as other:
        conn = old.subscribe(("trades", BTC), ("books", BTC))[0]["connId"]
        other.subscribe(("trades", BTC))
        assert simulator.fault(faults.Notice(path=conn, after=5)) == 1
        notice = old.drain()[-1]
        assert notice == {"event": "notice", "code": "64008", "msg": MESSAGES["64008"], "connId": conn}
        assert other.drain() == []
        with Client(simulator) as new:
            new.subscribe(("trades", BTC), ("books", BTC))
            simulator.advance(4.9)
            both = [each.drain() for each in (old, new)]
            simulator.advance(1)
            assert old.closing() == 1001
            both[1] += new.drain()
        assert pushes(other.drain(), "trades")
    ids = [int(m["data"][0]["tradeId"]) for m in pushes(both[0], "trades")]
    later = [int(m["data"][0]["tradeId"]) for m in pushes(both[1], "trades")]
    assert later[: len(ids)] == ids
    chain = [(m["data"][0]["prevSeqId"], m["data"][0]["seqId"]) for m in pushes(both[1], "books")]
    assert all(after[0] == before[1] for before, after in pairwise(chain))
