"""Every code of every venue, said on every connection for ever: no reaction loops, and each is what its table says.

The codes are the venues', the frames those of the rig's toy; time passes only when somebody waits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from io import StringIO

import pytest
from loguru import logger

from recorder.errors import ConnectionLost
from recorder.records import Closed, Failed, Reaction
from recorder.venues import Code, Venue, venues
from tests.unit import toyvenue
from tests.unit.feedrig import Rig, Script, text

EVERY = [(venue, code) for venue in venues().values() for code in venue.codes]
FRAMES = [(venue, code) for venue, code in EVERY if " " not in code.code]
CLOSES = [(venue, code) for venue, code in EVERY if code.code.startswith("close ")]
STATUSES = [(venue, code) for venue, code in EVERY if code.code.startswith("http ")]
# So many connections show the pace; those that last until the silence of a whole connection need no more.
MANY = {Reaction.RETRY: 40, Reaction.HAND_OVER: 40, Reaction.DROP: 20}


def each(cases: list[tuple[Venue, Code]]) -> pytest.MarkDecorator:
    """A test of each, named after venue and code."""
    return pytest.mark.parametrize(("venue", "code"), cases, ids=[f"{venue.name}-{code.code}" for venue, code in cases])


def played(venue: Venue, monkeypatch: pytest.MonkeyPatch, *connections: Script | ConnectionLost) -> Rig:
    """A rig whose toy has the codes of a venue."""
    monkeypatch.setattr(toyvenue, "_REACTIONS", {code.code: code.reaction for code in venue.codes})
    monkeypatch.setattr(toyvenue.Toy, "codes", venue.codes)
    monkeypatch.setattr(toyvenue.Toy, "close_reason", staticmethod(venue.close_reason))
    return Rig(*connections)


def paced(rig: Rig, reaction: Reaction) -> None:
    """Attempts keep to what the reaction allows, whoever is asked how often."""
    starts = [at for at, _ in rig.attempts]
    waits = [b - a for a, b in itertools.pairwise(starts)]
    if reaction is Reaction.PARK:
        assert starts[2] - starts[0] < 60
        assert all(wait >= 900 for wait in waits[2:])
        return
    assert sum(waits) / len(waits) > 3
    assert max(sum(at <= other < at + 60 for other in starts) for at in starts[10:] or starts) <= 25


def asked(rig: Rig) -> int:
    """The most requests within a minute, over all connections."""
    times = [at for wire in rig.wires for at, payload in wire.sent if payload != b"ping"]
    return max(sum(at <= other < at + 60 for other in times) for at in times)


@each(FRAMES)
def test_a_code_in_a_frame(venue: Venue, code: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request is answered with it: neither connections nor requests follow each other without end."""
    idle: list[Script] = [[]] * MANY.get(code.reaction, 6)
    rig = played(venue, monkeypatch, *idle)
    rig.answer = refusing(code)
    rig.run()
    paced(rig, code.reaction)
    assert asked(rig) <= 25
    reasons = {
        Reaction.RETRY: code.label,
        Reaction.PARK: code.label,
        Reaction.HAND_OVER: "handover",
        Reaction.DROP: "config",
        Reaction.RESUBSCRIBE: "silence",
        Reaction.SLOW_DOWN: "silence",
        Reaction.NONE: "silence",
    }
    assert isinstance(closed := rig.of(Closed)[0], Closed)
    assert closed.reason == reasons[code.reaction]
    assert (rig.count("recorder_heartbeat_timeouts_total") > 0) == (code.reason == "heartbeat")


def refusing(code: Code) -> Callable[[bytes], list[str]]:
    """A venue that has but this answer to requests. A hand-over is announced, not a refusal."""

    def answer(payload: bytes) -> list[str]:
        if payload == b"ping":
            return ["pong"]
        verb, words = payload.decode().split(" ")
        said = f"notice {code.code}" if code.reaction is Reaction.HAND_OVER else f"refuse {code.code} {words}"
        return [said] if verb == "sub" else []

    return answer


@each(CLOSES)
def test_a_code_that_closes(venue: Venue, code: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after each connection: its pace, its label, and its meaning in the record of the connection."""
    number = code.code.removeprefix("close ")
    ends: list[Script] = [[(0.1, ConnectionLost("close", "bye", number))]] * MANY.get(code.reaction, 6)
    rig = played(venue, monkeypatch, *ends).run()
    paced(rig, code.reaction)
    assert isinstance(closed := rig.of(Closed)[0], Closed)
    assert (closed.reason, closed.code, closed.message) == (code.label, number, f"{code.meaning}: bye")


@each(STATUSES)
def test_a_status_that_refuses(venue: Venue, code: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handshake that is refused each time: the venue's own table says what that means, not the number alone."""
    status = code.code.removeprefix("http ")
    refusals = [ConnectionLost("handshake", f"wss://x: HTTP {status}", status)] * MANY.get(code.reaction, 6)
    rig = played(venue, monkeypatch, *refusals).run()
    paced(rig, code.reaction)
    assert isinstance(failed := rig.of(Failed)[0], Failed)
    assert failed.reason == (code.reason or "handshake")
    assert (failed.code, failed.message) == (status, f"{code.meaning}: wss://x: HTTP {status}")
    if code.reaction is Reaction.SLOW_DOWN:
        starts = [at for at, _ in rig.attempts]
        assert all(b - a >= 30 for a, b in itertools.pairwise(starts))


def test_a_status_that_the_venue_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is the one that the handshake gave; a proxy's code is no status of the venue."""
    refusals = [ConnectionLost("auth", "HTTP 403", "403"), ConnectionLost("proxy", "the proxy refused", "401")]
    rig = played(venues()["infoway"], monkeypatch, *refusals).run()
    assert [(f.reason, f.message) for f in rig.of(Failed) if isinstance(f, Failed)] == [
        ("auth", "HTTP 403"),
        ("proxy", "the proxy refused"),
    ]


def test_a_complaint_about_the_rate_outlives_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A venue that complains and then hangs up is not called again at once, though data had come; long after a
    complaint the end of a connection has nothing to do with it."""
    data = text("data books A -1 0")
    gone = ConnectionLost("eof", "gone")
    complained: Script = [(1.0, data), (1.0, text("refuse 501 books:A,books:B")), (1.0, gone)]
    calm: Script = [(1.0, data), (1.0, text("refuse 501 books:A,books:B")), (29.0, data), (20.0, data), (1.0, gone)]
    rig = played(venues()["infoway"], monkeypatch, complained, calm, [(1.0, data), (1.0, gone)])
    rig.answer = rig.ignore
    rig.run()
    starts = [at for at, _ in rig.attempts]
    assert starts[1] - starts[0] >= 33
    assert starts[2] - starts[1] < 54


@pytest.fixture
def log() -> Iterator[StringIO]:
    """What is logged."""
    lines = StringIO()
    handler = logger.add(lines, format="{extra[event]} {message}")
    yield lines
    logger.remove(handler)


def test_the_log_says_what_a_code_means(log: StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each connection, however often the venue repeats itself; what ended the connection, too."""
    venue = venues()["infoway"]
    table = {code.code: code for code in venue.codes}
    many = text(*["refuse 506 books:A,books:B"] * 50)
    rig = played(
        venue,
        monkeypatch,
        [(1.0, many), (1.0, ConnectionLost("close", "", "4000"))],
        ConnectionLost("auth", "x", "401"),
    )
    rig.answer = rig.ignore
    rig.run()
    lines = log.getvalue().splitlines()
    assert [line for line in lines if line.startswith("feed.refused 506")] == ["feed.refused 506: refused"]
    assert any(table["http 401"].meaning in line for line in lines if line.startswith("feed.lost auth"))
