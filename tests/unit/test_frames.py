"""FrameReader against two parsers that are not ours, whatever the cuts in the stream of bytes."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websocket import ABNF
from websockets.frames import Opcode
from websockets.protocol import Protocol, Side, State

from recorder.capture.frames import MAX_FRAGMENTS, MAX_MESSAGE, FrameReader, Goodbye
from recorder.records import Kind

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
Message = tuple[Kind, bytes]


def frame(payload: bytes, opcode: int = TEXT, fin: int = 1) -> bytes:
    """A server's frame, built by the library."""
    made = ABNF(fin, 0, 0, 0, opcode, 0, payload)
    return made.format()


def flat(reader: FrameReader) -> list[Message]:
    """Messages one by one."""
    return [(kind, one) for kind, frames in reader.take() for one in frames]


def read(chunks: Iterable[bytes], reader: FrameReader | None = None) -> list[Message]:
    """All messages of a stream that arrives in these chunks."""
    reader = reader or FrameReader()
    found: list[Message] = []
    for chunk in chunks:
        reader.feed(memoryview(chunk))
        found += flat(reader)
    return found


def theirs(stream: bytes) -> tuple[list[Message], list[bytes]]:
    """Messages and pings as `websockets` reads them, fragments put together by hand."""
    protocol = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
    protocol.receive_data(stream)
    messages: list[Message] = []
    pings: list[bytes] = []
    parts: list[bytes] = []
    kind = Kind.TEXT
    for event in protocol.events_received():
        opcode, data, fin = event.opcode, bytes(event.data), event.fin  # type: ignore[union-attr]
        if opcode is Opcode.PING:
            pings.append(data)
        elif opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            kind = {Opcode.TEXT: Kind.TEXT, Opcode.BINARY: Kind.BINARY}.get(opcode, kind)
            parts.append(data)
            if fin:
                messages.append((kind, b"".join(parts)))
                parts = []
    return messages, pings


SIZES = st.sampled_from([0, 1, 2, 125, 126, 127, 183, 65535, 65536, 65537, 200_000])
BODIES = st.one_of(st.binary(max_size=300), SIZES.map(lambda n: b"\x81\x7e" * (n // 2) + b"x" * (n % 2)))


@st.composite
def messages(draw: st.DrawFn) -> list[bytes]:
    """The frames of one message, with control frames in between, or of a control frame alone."""
    control = st.builds(frame, st.binary(max_size=125), st.sampled_from([PING, PONG]))
    opcode = draw(st.sampled_from([TEXT, TEXT, TEXT, BINARY]))
    bodies = draw(st.lists(BODIES, min_size=1, max_size=4))
    frames: list[bytes] = []
    for i, body in enumerate(bodies):
        frames += draw(st.lists(control, max_size=1))
        frames.append(frame(body, CONT if i else opcode, int(i == len(bodies) - 1)))
    return frames


STREAMS = st.lists(messages(), max_size=6).map(lambda found: b"".join(f for frames in found for f in frames))


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    """The stream in pieces."""
    edges = sorted({0, len(stream), *(c % (len(stream) + 1) for c in cuts)})
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


@settings(max_examples=150, deadline=None)
@given(STREAMS, st.lists(st.integers(0, 1 << 20), max_size=12))
def test_any_split_of_the_bytes_gives_the_messages_that_other_parsers_read(stream: bytes, cuts: list[int]) -> None:
    """Where the bytes are cut means nothing, and `websockets` reads the same messages and pings."""
    reader = FrameReader()
    expected, pings = theirs(stream)
    assert read(cut(stream, cuts), reader) == expected
    assert reader.pings == pings
    assert not reader.over


@settings(max_examples=60, deadline=None)
@given(st.lists(st.builds(frame, st.binary(max_size=200), st.just(TEXT)), max_size=6))
def test_byte_by_byte_equals_the_library_s_own_reading(frames: list[bytes]) -> None:
    """A sender that dribbles gives the payloads that websocket-client's frame buffer reads from the whole."""
    stream = b"".join(frames)
    rest = bytearray(stream)

    def take(size: int) -> bytes:
        data = bytes(rest[:size])
        del rest[:size]
        return data

    from websocket._abnf import frame_buffer

    library = frame_buffer(take, skip_utf8_validation=True)
    expected = [library.recv_frame().data for _ in frames]
    assert [one for _, one in read(bytes([b]) for b in stream)] == expected


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_any_bytes_are_read_or_refused_and_cuts_change_nothing(stream: bytes, cuts: list[int]) -> None:
    """Garbage never raises, and gives the same messages and the same complaint however it arrives."""
    whole, pieces = FrameReader(), FrameReader()
    assert read([stream], whole) == read(cut(stream, cuts), pieces)
    assert (whole.violation, whole.goodbye, whole.pings) == (pieces.violation, pieces.goodbye, pieces.pings)


@pytest.mark.parametrize(
    ("stream", "complaint"),
    [
        (b"\x81\x7f" + struct.pack("!Q", 8 << 30), "8589934592 bytes announced"),
        (b"\x81\x7f" + struct.pack("!Q", MAX_MESSAGE + 1), "announced"),
        (b"\x81\x85mask", "masked"),
        (b"\xc1\x01a", "reserved bits"),
        (b"\x83\x00", "unknown kind 3"),
        (b"\x8b\x00", "unknown kind 11"),
        (b"\x80\x00", "continuation of nothing"),
        (b"\x09\x00", "control frame"),
        (b"\x89\x7e\x00\x7e", "control frame"),
        (b"\x88\x01a", "half a code"),
        (b"\x01\x01a\x81\x01b", "inside a fragmented"),
    ],
)
def test_a_violation_is_named_after_the_messages_before_it_were_delivered(stream: bytes, complaint: str) -> None:
    """Messages in front of the violation are delivered, nothing behind it is looked at."""
    reader = FrameReader()
    before = [frame(b"one"), frame(b"two")]
    assert read([b"".join(before) + stream + frame(b"never")], reader) == [(Kind.TEXT, b"one"), (Kind.TEXT, b"two")]
    assert complaint in reader.violation
    assert read([frame(b"never")], reader) == []


def test_messages_before_a_close_frame_are_delivered() -> None:
    """620 messages were lost by a reader that raised on the close frame behind them."""
    reader = FrameReader()
    close = frame(struct.pack("!H", 4004) + b"No data received in 30s", CLOSE)
    found = read([frame(b"x") * 620 + close + frame(b"never")], reader)
    assert len(found) == 620
    assert reader.goodbye == Goodbye(4004, "No data received in 30s")


@pytest.mark.parametrize(
    ("body", "goodbye"),
    [(b"", Goodbye(None, "")), (b"\x03\xe8", Goodbye(1000, "")), (b"\x03\xe8\xff", Goodbye(1000, "\ufffd"))],
)
def test_close_frames_without_code_or_with_broken_text_are_understood(body: bytes, goodbye: Goodbye) -> None:
    """What a venue says when it leaves can never be a reason to fail."""
    reader = FrameReader()
    read([frame(body, CLOSE)], reader)
    assert reader.goodbye == goodbye


def test_endless_continuation_is_refused_at_the_cap() -> None:
    """A message may be fragmented, but not for ever: at the cap the next header is refused."""
    reader = FrameReader()
    piece = frame(b"x" * 65536, CONT, 0)
    reader.feed(frame(b"", TEXT, 0))
    fed = 0
    while not reader.violation:
        reader.feed(piece)
        fed += 65536
    assert fed == MAX_MESSAGE + 65536
    assert reader.take() == []


def test_endless_empty_fragments_are_refused() -> None:
    """Fragments without bytes never reach a limit of bytes; their number has one."""
    reader = FrameReader()
    reader.feed(frame(b"", TEXT, 0) + frame(b"", CONT, 0) * (MAX_FRAGMENTS - 1))
    assert not reader.violation
    reader.feed(frame(b"", CONT, 0))
    assert "fragments" in reader.violation


def test_a_message_at_the_cap_is_legal() -> None:
    """4 MiB are allowed, whole or in parts."""
    body = random.Random(1).randbytes(MAX_MESSAGE)
    half = MAX_MESSAGE // 2
    assert read([frame(body)]) == [(Kind.TEXT, body)]
    assert read([frame(body[:half], BINARY, 0) + frame(body[half:], CONT)]) == [(Kind.BINARY, body)]


def test_dribbled_bytes_of_a_large_message_cost_linear_time() -> None:
    """Each byte is appended, not copied with all before it: 1 MB byte by byte would take hours otherwise."""
    reader = FrameReader()
    stream = frame(b"x" * 1_000_000)
    for i in range(0, len(stream), 16):
        reader.feed(stream[i : i + 16])
    assert [len(one) for _, one in flat(reader)] == [1_000_000]


def test_neighbours_of_one_kind_stand_together_and_kinds_keep_their_order() -> None:
    """A burst holds frames of one kind; what came first stays first."""
    reader = FrameReader()
    reader.feed(frame(b"a") + frame(b"b") + frame(b"c", BINARY) + frame(b"", PING) + frame(b"d", BINARY) + frame(b"e"))
    assert reader.take() == [(Kind.TEXT, [b"a", b"b"]), (Kind.BINARY, [b"c", b"d"]), (Kind.TEXT, [b"e"])]
