"""The simulator's bytes: HTTP, frames, decimals, bars and recordings are what their readers expect."""

from __future__ import annotations

import base64
import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.protocol import State
from websockets.uri import parse_uri

from recorder.errors import ConfigError
from recorder.simulator import faults
from recorder.simulator.bars import Bar
from recorder.simulator.decimals import fixed, plain
from recorder.simulator.faults import Faults
from recorder.simulator.market import Listing
from recorder.simulator.okx.bars import bar_span
from recorder.simulator.okx.text import Text
from recorder.simulator.replay import Replay, load
from recorder.simulator.server import serve
from recorder.simulator.wire import BadRequest, HttpRequest, HttpResponse, frame, parse_request

SPOT = Listing("BTC-USDT", "SPOT", 650_000, 1, 8, 100)
SWAP = Listing("BTC-USDT-SWAP", "SWAP", 650_000, 1, 2, 100, contract="0.01")


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


@given(st.binary(max_size=300) | st.sampled_from([125, 126, 65_535, 65_536, 70_000]).map(bytes))
def test_frames_are_what_clients_read(payload: bytes) -> None:
    """A frame of any length is read by a client of another make as the same bytes."""
    client = ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN)
    client.receive_data(frame(payload, 0x2))
    (event,) = client.events_received()
    assert getattr(event, "data") == payload  # noqa: B009 - the event's type is a union


def test_requests_are_read_whole() -> None:
    """A request is found once it is complete, with what it leaves behind for the next one."""
    data = b"POST /a/b?x=1&y= HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbodyGET"
    for cut in range(len(data) - 3):
        assert parse_request(data[:cut]) is None
    found = parse_request(data)
    assert found is not None
    request, used = found
    assert data[used:] == b"GET"
    assert (request.method, request.path, request.query) == ("POST", "/a/b", {"x": "1", "y": ""})
    assert (request.headers["host"], request.body, request.is_upgrade) == ("h", b"body", False)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nnonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        b"x" * 20_000,
    ],
)
def test_bad_requests_are_refused(data: bytes) -> None:
    """What is no request within bounds is refused, never waited for."""
    with pytest.raises(BadRequest):
        parse_request(data)


def test_answers_have_a_length() -> None:
    """An answer says its status, its length and its own headers."""
    data = HttpResponse(429, b"{}", {"Retry-After": "3"}).encode()
    assert data.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"Content-Length: 2\r\n" in data
    assert b"Retry-After: 3\r\n" in data
    assert data.endswith(b"\r\n\r\n{}")


@given(st.integers(0, 10**20), st.integers(0, 12))
def test_decimals_are_exact(value: int, places: int) -> None:
    """Lots and ticks become the decimals they stand for, with or without trailing zeros."""
    want = Decimal(value).scaleb(-places)
    assert Decimal(fixed(value, places)) == want
    assert Decimal(plain(value, places)) == want
    assert not ("." in plain(value, places) and plain(value, places).endswith(("0", ".")))


@pytest.mark.parametrize(
    ("bar", "at", "start", "end"),
    [
        ("1s", "2026-03-04T05:06:07", "2026-03-04T05:06:07", "2026-03-04T05:06:08"),
        ("5m", "2026-03-04T05:06:07", "2026-03-04T05:05:00", "2026-03-04T05:10:00"),
        ("4H", "2026-03-04T05:06:07", "2026-03-04T04:00:00", "2026-03-04T08:00:00"),
        ("1D", "2026-03-04T05:06:07", "2026-03-03T16:00:00", "2026-03-04T16:00:00"),
        ("1Dutc", "2026-03-04T05:06:07", "2026-03-04T00:00:00", "2026-03-05T00:00:00"),
        ("1Wutc", "2026-03-04T05:06:07", "2026-03-02T00:00:00", "2026-03-09T00:00:00"),
        ("1W", "2026-03-01T17:00:00", "2026-03-01T16:00:00", "2026-03-08T16:00:00"),
        ("1Mutc", "2026-12-31T23:59:59", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
        ("1M", "2026-12-31T16:00:00", "2026-12-31T16:00:00", "2027-01-31T16:00:00"),
        ("3Mutc", "2026-05-01T00:00:00", "2026-04-01T00:00:00", "2026-07-01T00:00:00"),
    ],
)
def test_where_bars_open(bar: str, at: str, start: str, end: str) -> None:
    """Bars of six hours and more open on UTC+8 unless named utc; weeks open on Mondays; months by the calendar."""
    assert bar_span(bar, ms(at)) == (ms(start), ms(end))


def test_volumes_by_kind() -> None:
    """Spot: base, quote, quote. Derivatives: contracts, base, quote."""
    spot = Bar(0, 650_000, 650_000, 650_000, 650_000, lots=150_000_000, turnover=150_000_000 * 650_000)
    assert Text(SPOT).volumes(spot) == ("1.5", "97500", "97500")
    swap = Bar(0, 650_000, 650_000, 650_000, 650_000, lots=1_234, turnover=1_234 * 650_000)
    assert Text(SWAP).volumes(swap) == ("12.34", "0.1234", "8021")


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "want"),
    [
        (b'{"fault":"drop"}', faults.Drop()),
        (b'{"fault":"drop","how":"close","code":1012}', faults.Drop(how=faults.How.CLOSE, code=1012)),
        (b'{"fault":"skip","symbol":"A","count":3}', faults.Skip(symbol="A", count=3)),
        (b'{"fault":"breakbook","symbol":"A"}', faults.Breakbook(symbol="A")),
        (b'{"fault":"handshake","status":401,"times":2}', faults.Handshake(status=401, times=2)),
        (b'{"fault":"silence","later":true}', faults.Silence(later=True)),
        (b'{"fault":"clear"}', faults.Clear()),
    ],
)
def test_faults_have_names(body: bytes, want: faults.Request) -> None:
    """A control request names a fault and its fields."""
    assert faults.decode(body) == want


@pytest.mark.parametrize(
    "body", [b"{}", b'{"fault":"fire"}', b'{"fault":"drop","hwo":"rst"}', b'{"fault":"skip"}', b"x"]
)
def test_unknown_faults_are_refused(body: bytes) -> None:
    """A request that names no fault or a field that it lacks strikes nothing."""
    with pytest.raises(msgspec.MsgspecError):
        faults.decode(body)


def test_counted_faults_run_out() -> None:
    """Skipping stops after its count; a broken book loses every second update, its count of times."""
    state = Faults(Random(1), skip={"A": 2}, broken={"A": 4})
    assert [state.skips("A") for _ in range(4)] == [True, True, False, False]
    assert [state.breaks("A") for _ in range(6)] == [True, False, True, False, False, False]
    assert not state.skips("B")


def test_rules_match_by_channel_and_symbol() -> None:
    """An empty channel or symbol means any; clearing forgets all rules."""
    state = Faults(Random(1))
    state.rejected.append(faults.Reject(channel="trades", code="60012"))
    state.muted.append(faults.Mute(symbol="A"))
    assert (state.rejection("trades", "X"), state.rejection("books", "X")) == ("60012", "")
    assert (state.mutes("books", "A"), state.mutes("books", "B")) == (True, False)
    state.clear()
    assert (state.rejection("trades", "X"), state.mutes("books", "A")) == ("", False)


def test_mangled_shares() -> None:
    """About the share asked for is doubled or followed by a bad frame, and that is counted exactly."""
    state = Faults(Random(7), duplicate=0.25, poison=0.1)
    results = [state.mangle(b"g", [b"b"]) for _ in range(4_000)]
    twice, poison = sum(r[1] for r in results), sum(r[2] for r in results)
    data = b"".join(r[0] for r in results)
    assert data.count(b"g") == 4_000 + twice
    assert data.count(b"b") == poison
    assert 900 < twice < 1_100
    assert 330 < poison < 470


# --- recordings ------------------------------------------------------------------------------------------------------


def write(path: Path, lines: list[dict[str, object]]) -> Path:
    data = "\n".join(json.dumps(line) for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_recordings_are_read(tmp_path: Path, name: str) -> None:
    """What was received becomes frames in order, binary ones from their exact bytes; REST answers are kept apart."""
    lines: list[dict[str, object]] = [
        {"t": 1.5, "dir": "send", "raw": "ask"},
        {"t": 2.5, "dir": "recv", "raw": "ünï"},
        {"t": None, "dir": "recv", "raw": "inflated", "b64": base64.b64encode(b"\x01\xff").decode()},
        {"t": 3, "dir": "recv", "raw": "[1]", "url": "https://x.example/api/list?kind=A"},
        {"t": 3, "dir": "recv", "raw": "[2]", "url": "https://x.example/api/list?kind=B"},
        {"dir": "meta", "note": "closed"},
    ]
    replay = Replay([write(tmp_path / name, lines)])
    assert replay.recording.frames == ((2.5, frame("ünï".encode())), (None, frame(b"\x01\xff", 0x2)))
    for query, body in (({"kind": "A"}, b"[1]"), ({"kind": "B"}, b"[2]"), ({"kind": "C"}, b"[1]")):
        assert replay.rest(HttpRequest("GET", "/api/list", query, {})).body == body
    assert replay.rest(HttpRequest("GET", "/api/other", {}, {})).status == 404


def test_no_recording(tmp_path: Path) -> None:
    """A file that is no recording is named in one sentence."""
    bad = tmp_path / "bad.jsonl"
    bad.write_text("not json")
    with pytest.raises(ConfigError, match=r"bad\.jsonl: not a recording"):
        load([bad])
    with pytest.raises(ConfigError, match="not a recording"):
        load([tmp_path / "absent.jsonl"])


def test_wrong_options_are_sentences() -> None:
    """An unknown venue gets a suggestion, an impossible rate its bounds; nothing is started."""
    with pytest.raises(ConfigError, match="did you mean okx"):
        serve(["okex"], "127.0.0.1", 0, False, 10.0, [])
    with pytest.raises(ConfigError, match="--rate -1"):
        serve(["okx"], "127.0.0.1", 0, False, -1.0, [])
