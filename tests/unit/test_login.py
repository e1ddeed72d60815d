"""Logging in: before anything else, anew on each connection; a refusal ends the connection, and then parks the feed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from recorder.errors import ConnectionLost
from recorder.records import Closed
from recorder.venues import Request
from tests.unit.feedrig import WALL, Rig, text


@dataclass(frozen=True, slots=True)
class Key:
    """A login that says when it was made."""

    secret: str

    def request(self, now: int) -> Request:
        """With the second that it is good for."""
        return Request(f"login {self.secret}@{now // 1_000_000}".encode())


def answer(payload: bytes) -> list[str]:
    """A venue that says nothing to a login, and agrees to all else."""
    return [] if payload.startswith(b"login") else Rig.agree(payload)


def test_every_connection_begins_with_a_login_of_its_own() -> None:
    """The login is the first frame, made at the moment it is sent, and no reply to it is waited for."""
    rig = Rig([(1, text("data books A -1 1")), (60, ConnectionLost("eof"))], login=Key("k"))
    rig.connections.append([(1, text("data books A -1 2")), (5, rig.halt)])
    rig.answer = answer
    rig.run()
    assert len(rig.wires) == 2
    for wire in rig.wires:
        at, first = wire.sent[0]
        assert first == f"login k@{(WALL + round(at * 1e6)) // 1_000_000}".encode()
        assert wire.sent[1][1].startswith(b"sub ")
    assert rig.wires[0].sent[0][1] != rig.wires[1].sent[0][1]


def test_a_refused_login_parks_the_feed() -> None:
    """Closed, tried again, and after the third time in peace for a quarter of an hour."""
    refused = [(0.5, text("refuse key x1"))]
    rig = Rig(refused, refused, refused, login=Key("wrong"))
    rig.answer = answer
    rig.run()
    assert [record.reason for record in rig.controls() if isinstance(record, Closed)] == ["auth"] * 3
    times = [at for at, _ in rig.attempts]
    pauses = [after - before for before, after in pairwise(times)]
    assert all(10 < pause < 40 for pause in pauses[:2])
    assert pauses[2] >= 900
    assert rig.count("recorder_reconnects_total", reason="auth") == 3


def test_a_request_shows_nothing_of_what_it_sends() -> None:
    """It may hold a key or a signature."""
    assert "hunter2" not in repr(Key("hunter2").request(0))
