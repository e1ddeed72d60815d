"""What venues list, and what the recorder makes of it; how far clocks are apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from recorder.capture.rest import Answer, Rest
from recorder.clockwatch import ClockWatch, Unread
from recorder.config import Source, Subscribe
from recorder.errors import ConnectionLost, PoisonMessage, SinkUnavailable
from recorder.following import AGAIN_SECONDS, FOLLOW_SECONDS, LOOK_SECONDS, Following, Unlisted, remembered
from recorder.listing import Listing, is_pattern, resolve
from recorder.venues.okx import venue


def source(*symbols: str) -> Source:
    """A source with one block of these."""
    block = Subscribe(channels=("trades",), symbols=symbols)
    return Source(name="okx", venue="okx", endpoints=venue.endpoints, rest="https://rest.example", subscribe=(block,))


def listed(*symbols: str, state: str = "live") -> bytes:
    """An answer of the venue."""
    data = [{"instId": symbol, "instType": "SWAP", "state": state, "tickSz": "0.1"} for symbol in symbols]
    return json.dumps({"code": "0", "data": data, "msg": ""}).encode()


class Venue:
    """Answers every question with the same; `body` may be an exception."""

    def __init__(self, body: bytes | Exception) -> None:
        self.body = body
        self.asked = 0

    def get(self, path: str, params: object = None) -> Answer:
        """The answer."""
        self.asked += 1
        if isinstance(self.body, Exception):
            raise self.body
        return Answer(200, self.body, path, rtt=0.2, received_at=1_000_000_100_000)


class Rig:
    """Something that follows one source, without a database."""

    def __init__(self, home: Path, one: Source, body: bytes | Exception) -> None:
        self.venue = Venue(body)
        self.served: list[tuple[str, ...]] = []
        self.following = Following([one], home, self._serve, self._none, lambda _: cast(Rest, self.venue))

    def _serve(self, source: Source, symbols: Sequence[str]) -> None:
        source = resolve(source, symbols)
        self.served.append(source.subscribe[0].symbols if source.subscribe[0].channels else ())

    def _none(self) -> psycopg.Connection[tuple[object, ...]]:
        raise SinkUnavailable("no database")


def test_a_pattern_follows_what_is_listed(tmp_path: Path) -> None:
    """What matches is asked for once it is listed, and no longer when it is gone; the same list changes nothing."""
    rig = Rig(tmp_path, source("*-SWAP", "BTC-USDT"), listed("B-SWAP", "A-SWAP", "C-USD"))
    rig.following.turn(0)
    assert rig.served == [("A-SWAP", "B-SWAP", "BTC-USDT")]
    rig.following.turn(FOLLOW_SECONDS - 1)
    rig.following.turn(FOLLOW_SECONDS)
    assert len(rig.served) == 1
    rig.venue.body = listed("A-SWAP", "N-SWAP")
    rig.following.turn(2 * FOLLOW_SECONDS)
    assert rig.served[1:] == [("A-SWAP", "N-SWAP", "BTC-USDT")]


def test_what_is_suspended_is_not_asked_for(tmp_path: Path) -> None:
    """It is listed, but nothing comes of it."""
    rig = Rig(tmp_path, source("*-SWAP"), listed("A-SWAP", state="suspend"))
    rig.following.turn(0)
    assert rig.served == []
    assert remembered(tmp_path, "okx") == []


def test_a_source_without_patterns_is_left_alone(tmp_path: Path) -> None:
    """Its venue is asked for the table's sake, and far less often."""
    rig = Rig(tmp_path, source("BTC-USDT"), listed("A-SWAP"))
    rig.following.turn(0)
    asked = rig.venue.asked
    rig.following.turn(LOOK_SECONDS - 1)
    assert (rig.served, rig.venue.asked) == ([], asked)
    rig.following.turn(LOOK_SECONDS)
    assert rig.venue.asked == 2 * asked


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (ConnectionLost("dns", "looking up rest.example: no address"), "looking up rest.example"),
        (b"<html>", "no list of instruments"),
        (b'{"code":"50011","data":[],"msg":"Too Many Requests"}', "code 50011"),
        (b'{"code":"0","data":[],"msg":""}', "lists nothing at all"),
    ],
)
def test_a_list_that_cannot_be_had_changes_nothing(tmp_path: Path, body: bytes | Exception, sentence: str) -> None:
    """The last one stays in force, here and on disk, and the venue is asked again soon."""
    rig = Rig(tmp_path, source("*-SWAP"), listed("A-SWAP"))
    rig.following.turn(0)
    rig.venue.body = body
    with pytest.raises(Unlisted, match=sentence):
        rig.following.turn(FOLLOW_SECONDS)
    assert (rig.served, remembered(tmp_path, "okx")) == ([("A-SWAP",)], ["A-SWAP"])
    rig.venue.body = listed("A-SWAP", "B-SWAP")
    rig.following.turn(FOLLOW_SECONDS + AGAIN_SECONDS)
    assert rig.served[-1] == ("A-SWAP", "B-SWAP")


@pytest.mark.parametrize("text", ["", "{}", "[1, 2", "null", '{"a": "b"}'])
def test_a_torn_copy_is_no_copy(tmp_path: Path, text: str) -> None:
    """Whatever stands in the file, a start does not fail by it."""
    (tmp_path / "listings").mkdir()
    (tmp_path / "listings" / "okx.json").write_text(text)
    assert remembered(tmp_path, "okx") == []
    assert remembered(tmp_path, "other") == []


def test_patterns_in_the_order_of_the_file() -> None:
    """Symbols once each; a block that nothing matches asks for nothing, one without symbols for the channel."""
    listed_now = ["A-USD", "A-USDT", "B-USDT"]
    assert resolve(source("B*", "?-USDT"), listed_now).subscribe[0].symbols == ("B-USDT", "A-USDT")
    assert resolve(source("X*"), listed_now).subscribe[0].channels == ()
    assert resolve(source(), listed_now) == source()
    assert [is_pattern(each) for each in ("BTC-USDT", "*", "A?", "[AB]-USDT")] == [False, True, True, True]


def test_an_instrument_as_the_venue_spells_it() -> None:
    """Every column finds its field; what has no name is no instrument."""
    assert venue.listing is not None
    row = {"instId": "X", "instType": "SWAP", "settleCcy": "USDT", "ctVal": "0.01", "lotSz": "1", "listTime": "1700"}
    (found,) = venue.listing.read(json.dumps({"code": "0", "data": [{**row, "new": 1}, {"instId": ""}]}).encode())
    assert (found.symbol, found.type, found.settle, found.contract_value) == ("X", "SWAP", "USDT", "0.01")
    assert (found.lot_size, found.listed_at, found.base, found.time) == ("1", "1700", "", "")
    assert Listing((), venue.listing.shape).alive([found]) == ["X"]
    with pytest.raises(PoisonMessage):
        venue.listing.read(b'{"code":"0","data":[{"instId":5}]}')


# --- clocks ----------------------------------------------------------------------------------------------------------


def watch(body: bytes | Exception) -> tuple[ClockWatch, Venue]:
    """A watch of one venue."""
    one = Venue(body)
    make: Callable[[Source], Any] = lambda _: one  # noqa: E731
    return ClockWatch([source("BTC-USDT")], make), one


def test_the_offset_is_less_half_the_round_trip() -> None:
    """We heard at …100.1 s after 0.2 s on the way: the venue read its clock when ours said 100.0."""
    clocks, _ = watch(b'{"code":"0","data":[{"ts":"1000000000"}]}')
    clocks.turn()
    assert clocks.offsets == {("okx",): pytest.approx(0.0)}


@pytest.mark.parametrize("body", [b"{}", b"no", ConnectionLost("refused", "connecting: refused")])
def test_a_clock_that_cannot_be_read_has_no_offset(body: bytes | Exception) -> None:
    """An old reading would say that all is well."""
    clocks, one = watch(b'{"code":"0","data":[{"ts":"1000000000"}]}')
    clocks.turn()
    one.body = body
    with pytest.raises(Unread, match="okx: "):
        clocks.turn()
    assert clocks.offsets == {}
