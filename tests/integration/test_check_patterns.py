"""`recorder check --connect` of a source with patterns: what they mean is asked first, as `run` does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recorder.listing import Ask
from recorder.simulator.okx.venue import OkxVenue
from recorder.simulator.server import Simulator
from recorder.venues import venues
from tests.integration.checking import Setup, closed, simulated

PATH = "/api/v5/public/instruments"
ASKS = (
    (Ask(PATH), "the venue answered with code 50014"),
    (Ask(PATH, {"instType": "FUTURES"}), "the venue lists nothing at all"),
    (Ask("/_control"), "no list of instruments"),
)


@pytest.fixture
def venue() -> Iterator[Simulator[OkxVenue]]:
    """A simulated venue without TLS."""
    with simulated() as simulator:
        yield simulator


@pytest.fixture
def setup(tmp_path: Path, database: str, venue: Simulator[OkxVenue]) -> Setup:
    """A configuration in which everything is well."""
    return Setup(tmp_path, database, venue.ws_url, venue.http_url)


def test_patterns_are_asked_for(setup: Setup) -> None:
    """The venue's list says what they mean, and the first of it is subscribed to. Without patterns nobody asks."""
    setup.symbols = ("*-USDT-SWAP", "[!B]*-USDT")
    found = {line["check"]: line for line in setup.checks()}
    assert setup.code == 0
    assert found["instruments"]["sentence"] == "5 listed, 2 match *-USDT-SWAP, 2 match [!B]*-USDT"
    assert found["subscription"]["sentence"] == "trades BTC-USDT-SWAP accepted"
    setup.symbols = ("BTC-USDT",)
    assert "instruments" not in {line["check"] for line in setup.checks()}


def test_a_pattern_that_means_nothing(setup: Setup) -> None:
    """Most likely a mistake: said, and the rest of the source is looked at."""
    setup.symbols = ("*_USDT", "*-USDT")
    found = {line["check"]: line for line in setup.checks()}
    assert (setup.code, found["instruments"]["ok"]) == (1, False)
    assert found["instruments"]["sentence"] == "5 listed, 0 match *_USDT, 3 match *-USDT"
    assert found["subscription"]["sentence"] == "trades BTC-USDT accepted"
    setup.symbols = ("*_USDT",)
    found = {line["check"]: line for line in setup.checks()}
    assert found["subscription"]["sentence"] == "not checked: there is nothing to ask for"


def test_a_list_that_cannot_be_had(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what came instead, or that nobody was there; what has a name is subscribed to all the same."""
    setup.symbols = ("*-USDT-SWAP", "ETH-USDT")
    known = venues()["okx"]
    assert known.listing is not None
    for ask, words in ASKS:
        monkeypatch.setattr(type(known), "listing", replace(known.listing, asks=(ask,)))
        found = {line["check"]: line for line in setup.checks()}
        assert (setup.code, found["instruments"]["ok"]) == (1, False)
        assert words in found["instruments"]["sentence"]
        assert found["subscription"]["sentence"] == "trades ETH-USDT accepted"
    with closed() as port:
        setup.rest = f"http://127.0.0.1:{port}"
        found = {line["check"]: line for line in setup.checks()}
    assert found["instruments"]["ok"] is None
    assert "was not reached" in found["instruments"]["sentence"]
