"""Records: texts as PostgreSQL reads them, numbers of streams, control records, and what a burst weighs."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.records import (
    COMMON,
    TABLES,
    Acknowledged,
    Alive,
    Burst,
    Closed,
    Control,
    Decoded,
    Ended,
    Failed,
    Heard,
    Kind,
    Opened,
    Poison,
    Rejected,
    Rows,
    Shed,
    Silent,
    Stream,
    Streams,
    Subscribed,
    decode_control,
    encode_control,
    join_rows,
    stamp,
    text,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEARS = 365 * 86_400_000_000
CONTROLS: list[Control] = [
    Opened("wss://one.example/ws"),
    Closed("close", "4004", "no data", "wss://one.example/ws", 17, 4711, 1.25),
    Closed("shutdown"),
    Failed("dns", "wss://one.example/ws", "no such host", None),
    Subscribed((("trades", "BTC-USDT"), ("books", "BTC-USDT"))),
    Acknowledged("trades", "BTC-USDT"),
    Silent("trades", "NO-SUCH"),
    Heard("trades", "NO-SUCH"),
    Rejected("trades", "NO-SUCH", "60018", "instId doesn't exist\t\n"),
    Ended("trades", "BTC-USDT"),
    Shed(12),
    Alive(),
]


def test_every_table_begins_with_the_common_columns() -> None:
    """time, received_at, source, channel, symbol come first in every table, and no column twice."""
    for table in TABLES.values():
        assert table.columns[:5] == COMMON
        assert len(set(table.columns)) == len(table.columns) > 5


@pytest.mark.parametrize(
    ("us", "expected"),
    [
        (0, "1970-01-01 00:00:00.000000+00"),
        (1_795_253_400_123_456, "2026-11-21 09:30:00.123456+00"),
        (1_795_253_400_000_007, "2026-11-21 09:30:00.000007+00"),
        (951_782_399_999_999, "2000-02-28 23:59:59.999999+00"),
        (-1, "1969-12-31 23:59:59.999999+00"),
    ],
)
def test_a_stamp_is_microseconds_in_utc(us: int, expected: str) -> None:
    """Microseconds stand with six digits, also before 1970, and the zone is said."""
    assert stamp(us) == expected


@given(st.integers(-20 * YEARS, 200 * YEARS))
def test_a_stamp_reads_back(us: int) -> None:
    """No microsecond is lost on the way through text."""
    assert (datetime.fromisoformat(stamp(us)) - EPOCH) // timedelta(microseconds=1) == us


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_text_is_one_field_of_one_line(value: str) -> None:
    """Whatever a name holds, its COPY field has neither tab nor line end, and unescapes to itself."""
    field = text(value)
    assert not set(field) & set("\t\n\r")
    assert _unescaped(field) == value


def _unescaped(field: str) -> str:
    out, plain = [], {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}
    letters = iter(field)
    for letter in letters:
        out.append(plain[next(letters)] if letter == "\\" else letter)
    return "".join(out)


# --- streams ---------------------------------------------------------------------------------------------------------


def test_a_stream_keeps_its_number() -> None:
    """Equal streams have one number, and the number leads back to the stream."""
    streams = Streams()
    names = [Stream("s", "trades", symbol) for symbol in "ABC"]
    numbers = [streams.number(name) for name in names]
    assert numbers == [streams.number(Stream(n.source, n.channel, n.symbol)) for n in names] == [0, 1, 2]
    assert [streams[number] for number in numbers] == names
    assert len(streams) == 3


def test_threads_that_meet_the_same_streams_agree() -> None:
    """Feeds that see a stream first at the same moment get the same number for it."""
    streams, together = Streams(), threading.Barrier(4)
    names = [Stream("s", "c", str(i)) for i in range(300)]
    seen: dict[int, list[int]] = {}

    def meet(order: int) -> None:
        together.wait()
        numbers = {name: streams.number(name) for name in names[:: 1 if order % 2 else -1]}
        seen[order] = [numbers[name] for name in names]

    threads = [threading.Thread(target=meet, args=(order,)) for order in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(streams) == 300
    assert all(seen[order] == seen[0] for order in range(4))
    assert [streams[number] for number in seen[0]] == names


# --- control records -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", CONTROLS, ids=lambda record: type(record).__name__)
def test_a_control_record_survives_the_spool(record: Control) -> None:
    """What a feed says of itself reads back equal, and names its kind in words that later versions keep."""
    raw = encode_control(record)
    assert decode_control(raw) == record
    assert msgspec.json.decode(raw)["type"] == type(record).__name__.lower()


def test_every_kind_of_control_record_is_tried() -> None:
    """The table above leaves no kind out."""
    assert {type(record) for record in CONTROLS} == set(Control.__args__)


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"type":"later"}', b'{"type":"shed"}', b"\xff", b"[1]"])
def test_bytes_that_are_no_control_record_are_refused(raw: bytes) -> None:
    """A damaged or newer record raises one family of errors, which the decoder turns into poison."""
    with pytest.raises(msgspec.MsgspecError):
        decode_control(raw)


def test_a_field_that_a_later_version_adds_is_skipped() -> None:
    """An older recorder reads the control records of a newer one as far as it knows them."""
    assert decode_control(b'{"type":"shed","frames":3,"bytes":99}') == Shed(3)


# --- bursts ----------------------------------------------------------------------------------------------------------


def rows(*lines: bytes, stream: int = 0, first: int = 0) -> Rows:
    """Lines of one stream, a frame each."""
    n = len(lines)
    return Rows(
        b"".join(line + b"\n" for line in lines),
        [stream] * n,
        list(range(first, first + n)),
        list(range(first, first + n)),
        [first] * n,
        list(range(first, first + n)),
    )


def test_a_burst_ends_behind_its_last_frame() -> None:
    """`next` is where the following burst begins."""
    assert Burst(7, 0, Kind.TEXT, [b"a", b"", b"c"]).next == 10


def test_joined_rows_are_their_parts_in_order() -> None:
    """Lines and what is known of each stay side by side; the parts are left as they were."""
    one, two = rows(b"a", b"b"), rows(b"c", stream=1, first=5)
    joined = join_rows([one, two])
    assert (joined.data, joined.count) == (b"a\nb\nc\n", 3)
    assert joined.streams == [0, 0, 1]
    assert joined.seq_from == joined.seq_to == joined.frames == [0, 1, 5]
    assert joined.times == [0, 0, 5]
    assert (one, two) == (rows(b"a", b"b"), rows(b"c", stream=1, first=5))


def test_joined_rows_keep_their_checksums() -> None:
    """A part without any has none, wherever it stands; without any at all there is no column of them."""
    one, two, three = rows(b"a", b"b"), rows(b"c"), rows(b"d", b"e")
    assert join_rows([one, two]).checks is None
    two.checks = [7]
    assert join_rows([one, two, three]).checks == [0, 0, 7, 0, 0]
    assert join_rows([two, one]).checks == [7, 0, 0]


def test_nothing_joined_is_nothing() -> None:
    """No parts make no rows."""
    assert join_rows([]).count == 0


def test_a_burst_weighs_what_it_carries() -> None:
    """The queue's budget counts lines, the lists beside them and raw poison; even an empty burst is not free."""
    empty = Decoded("f", "1-a", 0, 1, 0)
    full = Decoded("f", "1-a", 0, 3, 0, {"trades": rows(b"x" * 99, b"y" * 99)}, poison=[Poison(2, "bad", b"z" * 50)])
    assert (empty.rows, full.rows) == (0, 2)
    assert 0 < empty.size < 1000
    assert full.size - empty.size == 200 + 2 * 160 + 50
