"""Binary frames: read as the text that is compressed in them, and harmless where they hold something else."""

from __future__ import annotations

import tracemalloc
import zlib
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.decoding import BaseDecoder, Item, note
from recorder.guards import Bad
from recorder.records import Burst, Decoded, Header, Kind, Poison, Pong, Reaction, Rows, Streams
from recorder.venues._deflate import MOST, Inflating, inflate


def deflated(text: bytes, ending: int = zlib.Z_FINISH) -> bytes:
    """As the venue compresses."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(text) + packer.flush(ending)


class Echo(Inflating[bytes]):
    """Notes what it reads; only what looks like JSON or "pong" is a message."""

    seen: ClassVar[list[bytes]] = []

    def read(self, frame: int, raw: bytes, out: Decoded) -> Item[bytes] | None:
        if raw == b"pong":
            out.replies.append(Pong())
        elif raw.startswith(b"{"):
            note(frame, "said", Reaction.NONE, raw.decode(), out)
        else:
            raise Bad("invalid_json")
        return None

    def read_answer(self, frame: int, raw: bytes, out: Decoded) -> Item[bytes] | None:
        raise Bad("wrong_type")

    def write(self, lines: object, batch: object) -> Rows:
        raise AssertionError("no message is data")


def decode(frames: list[bytes], kind: Kind = Kind.BINARY) -> Decoded:
    """Frames as a burst that begins at 5."""
    decoder: BaseDecoder[bytes] = Echo(Header("", "x/y/0", "x", "x", "", {}), Streams(), lambda _: None)
    return decoder.decode(Burst(5, 1, kind, frames))


@given(text=st.binary(max_size=2000), flushed=st.booleans())
def test_what_was_compressed_comes_back(text: bytes, flushed: bool) -> None:
    """Whether the sender ends its stream with each message or only flushes it."""
    assert inflate(deflated(text, zlib.Z_SYNC_FLUSH if flushed else zlib.Z_FINISH)) == text


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xff\xff", deflated(b"hello")[:-1], deflated(b"hello") + b"!", deflated(bytes(MOST + 1))],
    ids=["nothing", "noise", "cut short", "with a tail", "too long"],
)
def test_anything_else_is_refused(raw: bytes) -> None:
    """Cut short, no DEFLATE, followed by something, or longer than a message may be."""
    with pytest.raises(Bad, match="bad_deflate"):
        inflate(raw)


def test_a_bomb_costs_no_more_than_a_long_message() -> None:
    """A hundred times the longest message, in a frame of 400 KB: never more than that one is made."""
    bomb = deflated(bytes(100 * MOST))
    tracemalloc.start()
    (poison,) = decode([bomb]).poison
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert poison == Poison(5, "bad_deflate", bomb)
    assert most < 3 * MOST


def test_good_frames_beside_bad_ones_are_read() -> None:
    """A bad frame is quarantined as it came, with why; its neighbours are read, plain JSON in a binary frame, too."""
    bomb, noise = deflated(bytes(MOST + 1)), b"\xfe\xfe"
    frames = [deflated(b'{"a":1}'), bomb, deflated(b"pong"), noise, deflated(b"what?"), b'{"b":2}', deflated(b"")]
    decoded = decode(frames)
    assert [(event.frame, event.message) for event in decoded.events] == [(5, '{"a":1}'), (10, '{"b":2}')]
    assert decoded.replies == [Pong()]
    assert decoded.poison == [
        Poison(6, "bad_deflate", bomb),
        Poison(8, "bad_deflate", noise),
        Poison(9, "invalid_json", frames[4]),
        Poison(11, "invalid_json", frames[6]),
    ]


def test_text_frames_are_what_they_are() -> None:
    """A text frame is never taken for a compressed one."""
    decoded = decode([b'{"a":1}', deflated(b'{"a":1}')], Kind.TEXT)
    assert [event.message for event in decoded.events] == ['{"a":1}']
    assert [poison.reason for poison in decoded.poison] == ["invalid_json"]
