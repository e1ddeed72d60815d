"""The frames of OKEx v1 as `/ws/v1` sent them, which nobody recorded: compressed, they give the same rows."""

from __future__ import annotations

import zlib

import pytest

from recorder.records import Burst, Decoded, Header, Kind, Streams
from recorder.venues import venues
from tests.contract.test_samples import EXPECTED, RECEIVED_AT, by_table, received

VENUE = "okex_v1"


def deflated(raw: bytes) -> bytes:
    """As the venue compressed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(raw) + packer.flush()


def decode(kind: Kind, frames: list[bytes]) -> Decoded:
    """Frames as one burst."""
    header = Header("", f"{VENUE}/ws/0", VENUE, VENUE, "/ws/v1", {}, run="1-00000000", run_ordinal=1)
    return venues()[VENUE].decoder(header, Streams()).decode(Burst(0, RECEIVED_AT, kind, frames))


@pytest.mark.parametrize("name", EXPECTED[VENUE][1])
def test_compressed_frames_say_what_plain_ones_say(name: str) -> None:
    """Rows, answers and counts; the plain ones are held against the naive decoder."""
    frames = received(VENUE, name)
    plain, binary = decode(Kind.TEXT, frames), decode(Kind.BINARY, list(map(deflated, frames)))
    assert by_table([binary]) == by_table([plain])
    assert (binary.replies, binary.events, binary.messages) == (plain.replies, plain.events, plain.messages)
    assert (binary.poison, binary.next) == ([], plain.next)
    assert binary.messages
