"""Frames recorded from real sockets. They are not part of this repository: RECORDER_SAMPLES says where they are.

Owns finding and reading them. Never interprets a frame.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
SAMPLES = Path(os.environ.get("RECORDER_SAMPLES", _ROOT.parent / "shared" / "samples"))


@dataclass(frozen=True, slots=True)
class Recorded:
    """One frame. `at` is when it was received or sent, Unix seconds; `url` the request that a REST body answers;
    `binary` the frame itself, where the venue compressed it: `raw` then is the text in it."""

    raw: bytes
    sent: bool
    at: float | None
    url: str | None
    binary: bytes | None


def need(directory: str) -> Path:
    """The folder of a venue's recordings; skips the test without them, or fails it if they are required."""
    path = SAMPLES / directory
    if not path.is_dir():
        if os.environ.get("RECORDER_REQUIRE_SAMPLES"):
            pytest.fail(f"no recorded frames at {path}, and RECORDER_REQUIRE_SAMPLES is set")
        pytest.skip(f"no recorded frames at {path}: set RECORDER_SAMPLES")
    return path


def files(directory: str) -> list[str]:
    """The names of a venue's recordings."""
    return sorted(path.name for path in need(directory).iterdir() if ".jsonl" in path.suffixes)


def recorded(directory: str, name: str) -> list[Recorded]:
    """All frames of a recording, in order."""
    path = need(directory) / name
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        found = [json.loads(line) for line in lines]
    return [
        Recorded(each["raw"].encode(), each["dir"] == "send", each["t"], each.get("url"), _binary(each))
        for each in found
        if each["dir"] in ("send", "recv")
    ]


def _binary(line: dict[str, str]) -> bytes | None:
    return base64.b64decode(line["b64"], validate=True) if "b64" in line else None


def received(directory: str, name: str) -> list[bytes]:
    """The frames of a recording that came over its socket."""
    return [each.raw for each in recorded(directory, name) if not each.sent and each.url is None]


def compressed(directory: str, name: str) -> list[tuple[bytes, bytes]]:
    """Those that came compressed by the venue: each as it came, and the text in it."""
    return [(each.binary, each.raw) for each in recorded(directory, name) if each.binary is not None]
