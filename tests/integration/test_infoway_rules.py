"""Who may talk to the simulated Infoway, how much, and what it says to nonsense."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import websocket

from recorder.simulator.infoway.venue import NO_LIMITS, UNKNOWN_KEY, Rules
from tests.integration.infowayclient import APPLE, BTC, ETH, KEY, Client, Venue, codes, klines, pushes, rest, venue


@pytest.fixture
def simulator() -> Iterator[Venue]:
    """A venue without limits that never trades."""
    with venue(rate=0) as one:
        yield one


# --- the handshake -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", UNKNOWN_KEY])
def test_bad_keys(simulator: Venue, key: str) -> None:
    """A key that is missing or unknown is refused before there is a WebSocket, with what the gateway wants."""
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        Client(simulator, key=key)
    assert refused.value.status_code == 401
    assert refused.value.resp_headers is not None
    assert refused.value.resp_headers["www-authenticate"] == 'apikey realm="key"'


def test_only_the_keys_given() -> None:
    """A venue with a list of keys knows no other."""
    with venue(rate=0, keys=["good"]) as simulator:
        with Client(simulator, key="good") as client:
            assert len(client.drain()) == 1
        with pytest.raises(websocket.WebSocketBadStatusException, match="401"):
            Client(simulator, key=KEY)


@pytest.mark.parametrize("target", ["/ws?business=other&apikey=k", "/ws?apikey=k", "/other?business=crypto&apikey=k"])
def test_unknown_endpoints(simulator: Venue, target: str) -> None:
    """No business of that name, no such path: 404 in the handshake."""
    with pytest.raises(websocket.WebSocketBadStatusException, match="404"):
        websocket.create_connection(simulator.ws_url + target)


@pytest.mark.parametrize("over", [427, 512])
def test_too_many_connections(over: int) -> None:
    """A connection over the plan's number is refused in the handshake, or told so and closed; other keys may come, and
    when one goes the next may."""
    with venue(rate=0, rules=Rules(connections=2, over=over)) as simulator, Client(simulator):
        with Client(simulator, "stock"):
            if over == 427:
                with pytest.raises(websocket.WebSocketBadStatusException, match="427"):
                    Client(simulator)
            else:
                with Client(simulator) as third:
                    message, closed = third.last_words()
                    assert '"code":512' in message and closed == "1000"
            with Client(simulator, key="another") as other:
                assert len(other.drain()) == 1
        assert simulator.wait(lambda one: len(one.sessions) == 1)
        with Client(simulator) as next_one:
            assert len(next_one.drain()) == 1


def test_no_key_is_shown(simulator: Venue) -> None:
    """Sessions, ledger and the paths that faults choose by hold no key."""
    with Client(simulator, key="s3cret"):
        shown = httpx.get(f"{simulator.http_url}/_control").text
        assert "business=crypto" in shown and "s3cret" not in shown


# --- heartbeats and budget -----------------------------------------------------------------------------------------


def test_heartbeats_are_heard(simulator: Venue) -> None:
    """A heartbeat gets no answer, unless it asks for one."""
    with Client(simulator) as client:
        client.drain()
        client.ask(10010)
        assert client.texts() == []
        trace = client.ask(10010, ack=1)
        assert client.drain() == [{"code": 10011, "trace": trace, "msg": "ok"}]


def test_no_heartbeat_for_a_minute() -> None:
    """After more than 60 s without one comes 513 and the end; requests are no heartbeats."""
    with venue(rate=0, rules=Rules()) as simulator, Client(simulator) as idle, Client(simulator) as alive:
        simulator.advance(40)
        alive.ask(10010)
        idle.ask(11000)
        assert [m["code"] for m in alive.drain()] == [200]
        assert [m["code"] for m in idle.drain()] == [200, 11010]
        simulator.advance(21)
        message, closed = idle.last_words()
        assert (message, closed) == ('{"traceId":"","code":513,"msg":"Websocket heartbeat timeout"}', "1000")
        assert alive.texts() == []


def test_sixty_frames_a_minute() -> None:
    """Subscriptions, heartbeats and nonsense count alike: the 61st within a minute is answered with 501 and the end."""
    with venue(rate=0, rules=Rules()) as simulator, Client(simulator) as client:
        client.drain()
        for _ in range(20):
            client.ask(10010)
            client.ask(11000)
            client.ws.send("nonsense")
        assert [m["code"] for m in client.drain()] == [11010, 515] * 20
        simulator.advance(59)
        client.ask(10010)
        message, closed = client.last_words()
        assert '"code":501' in message and closed == "1000"
        assert simulator.wait(lambda one: not one.sessions)


def test_the_minute_slides() -> None:
    """A minute later the budget is whole again."""
    with venue(rate=0, rules=Rules()) as simulator, Client(simulator) as client:
        for _ in range(2):
            for _ in range(60):
                client.ask(10010)
            assert all(m["code"] == 200 for m in client.drain())
            simulator.advance(60)


# --- limits of symbols ---------------------------------------------------------------------------------------------


def test_too_many_symbols_on_a_connection() -> None:
    """Different symbols count, over all channels; a request that goes over is refused whole, the rest stays."""
    with venue(rules=Rules(symbols_per_connection=2)) as simulator, Client(simulator) as client:
        client.subscribe(10000, codes(BTC, ETH))
        assert client.subscribe(10003, codes(BTC, ETH))[-1]["code"] == 10004
        trace = client.ask(10006, klines(t1=f"{BTC},XRPUSDT"))
        assert client.drain() == [{"traceId": trace, "code": 505, "msg": "Single WS subscribe exceeds the limit 2"}]
        simulator.advance(1)
        messages = client.drain()
        assert pushes(messages, 10002) and not pushes(messages, 10008)
        client.subscribe(11000, codes(ETH))
        client.subscribe(11001, codes(ETH))
        assert client.subscribe(10006, klines(t1=f"{BTC},XRPUSDT"))[-1]["code"] == 10007


def test_too_many_symbols_of_an_account() -> None:
    """The total counts over all connections of a key, and is free again when one goes."""
    with venue(rate=0, rules=Rules(symbols=3)) as simulator, Client(simulator) as first:
        first.subscribe(10000, codes(BTC, ETH))
        with Client(simulator, "stock") as second, Client(simulator, key="another") as other:
            trace = second.ask(10000, codes(APPLE, "TSLA.US"))
            refusal = (
                f'Subscribe fail: {{"traceId":"{trace}","code":516,"msg":"All products quantity exceeds the limit：3"}}'
            )
            assert second.texts()[-1] == refusal
            assert other.subscribe(10000, codes(BTC, ETH, "XRPUSDT"))[-1]["code"] == 10001
        assert simulator.wait(lambda one: len(one.sessions) == 1)
        with Client(simulator) as third:
            assert third.subscribe(10000, codes("XRPUSDT"))[-1]["code"] == 10001


# --- nonsense ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        ('{"code":10000,"trace":"x"}', 507, "Param lost：data"),
        ('{"code":10000,"trace":"x","data":{}}', 507, "Param lost：codes"),
        ('{"code":10003,"trace":"x","data":{"codes":" , "}}', 507, "Param lost：codes"),
        ('{"code":10006,"trace":"x","data":{"codes":"A"}}', 507, "Param lost：arr"),
        ('{"code":10006,"trace":"x","data":{"arr":[{"codes":"A"}]}}', 507, "Param lost：type"),
        ('{"trace":"x","data":{"codes":"A"}}', 507, "Param lost：code"),
        ('{"code":99999,"trace":"x","data":{"codes":"A"}}', 506, "Param error：The code is out of range"),
        ('{"code":"10000","trace":"x","data":{"codes":"A"}}', 506, "Param error：The code is out of range"),
        ('{"code":10000,"trace":"x","data":{"codes":["A"]}}', 506, "Param error：codes"),
        ('{"code":10000,"trace":"x","data":"A"}', 506, "Param error：data"),
        ('{"code":10006,"trace":"x","data":{"arr":{"type":1}}}', 506, "Param error：arr"),
        ('{"code":10006,"trace":"x","data":{"arr":[{"type":13,"codes":"A"}]}}', 506, "Param error：type"),
        ('{"code":11002,"trace":"x","data":{"codes":"A","klineTypes":"1,x"}}', 506, "Param error：type"),
    ],
)
def test_bad_requests(simulator: Venue, request_: str, code: int, text: str) -> None:
    """A request that lacks something gets 507, one that makes no sense 506, with its trace; the connection stays."""
    with Client(simulator) as client:
        client.drain()
        client.ws.send(request_)
        assert client.drain() == [{"traceId": "x", "code": code, "msg": text}]


@pytest.mark.parametrize("request_", ["ping", "{", "[1]", '"text"', "7"])
@pytest.mark.parametrize("business", ["crypto", "stock"])
def test_no_json(simulator: Venue, request_: str, business: str) -> None:
    """What is no JSON object gets 515, on stock in plain words."""
    with Client(simulator, business) as client:
        client.texts()
        client.ws.send(request_)
        (answer,) = client.texts()
    assert answer == ("Param not json" if business == "stock" else '{"traceId":"","code":515,"msg":"Param not json"}')


def test_requests_are_limited_by_the_second() -> None:
    """The 21st REST request within a second gets the body that was recorded, with status 200 or 429; a second later
    all is well."""
    for status in (200, 429):
        with venue(rate=0, rules=Rules(limited=status)) as simulator:
            answers = [rest(simulator, "/common/basic/symbols?type=CRYPTO") for _ in range(21)]
            assert all(answer.json().get("ret") == 200 for answer in answers[:20])
            assert (answers[20].status_code, answers[20].json()) == (status, {"detail": "Rate limit exceeded"})
            simulator.advance(1)
            assert rest(simulator, "/common/basic/symbols?type=CRYPTO").json()["ret"] == 200


def test_no_limits_is_none() -> None:
    """Without limits nothing is counted."""
    fields: Any = {name: getattr(NO_LIMITS, name) for name in NO_LIMITS.__slots__}
    assert {value for name, value in fields.items() if name not in ("over", "limited")} == {0}
