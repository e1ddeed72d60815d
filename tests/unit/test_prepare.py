"""The preparer: bursts become the rows and statements of one transaction, and what is counted once it is committed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.capture.spoolreader import Lost
from recorder.observe.recent import Recent
from recorder.quality.continuity import Verdict
from recorder.quality.trackers import GRACE
from recorder.records import (
    Alive,
    Event,
    Poison,
    Rows,
    Stream,
)
from recorder.store.flush import clean, moment
from recorder.store.isolate import Quarantined, Withdrawn
from recorder.store.prepare import QUARANTINE_PER_BURST, LastRecord, Preparation, Tally, amend
from tests.unit.storerig import FEED, RECORDER, SOURCE, Rig, at, new, prepare, receive, trade

A = Stream(SOURCE, "trades", "A")


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """One feed, open."""
    rig = Rig(monkeypatch)
    rig.open()
    return rig


def block(to: Preparation, table: str = "trades") -> bytes:
    """What COPY will carry."""
    return b"".join(part.rows.data for part in to.flush.parts.get(table, ()))


# --- words -----------------------------------------------------------------------------------------------------------


def test_a_moment_keeps_its_microseconds() -> None:
    """Parameters of type timestamptz are exact and say their zone."""
    assert moment(1_795_253_400_123_457) == datetime(2026, 11, 21, 9, 30, 0, 123457, tzinfo=UTC)
    assert moment(-1) == datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


@given(st.text(st.characters(codec=None)))
def test_a_venues_words_are_storable(words: str) -> None:
    """Whatever a venue says, PostgreSQL can hold it: no NUL, no lone surrogate; all else stays as it was."""
    cleaned = clean(words)
    assert "\0" not in cleaned
    cleaned.encode()
    assert len(cleaned) == len(words)
    assert all(
        new == old for old, new in zip(words, cleaned, strict=True) if old != "\0" and not 0xD800 <= ord(old) < 0xE000
    )


# --- rows ------------------------------------------------------------------------------------------------------------


def test_rows_pass_untouched(rig: Rig) -> None:
    """Records that follow on go to COPY as the very bytes that the feed formatted, counted by table."""
    bursts = [receive(rig, trade(1), trade(2)), receive(rig, trade(3))]
    to = prepare(rig, *bursts)
    assert [part.rows for part in to.flush.parts["trades"]] == [burst.tables["trades"] for burst in bursts]
    assert {(part.feed, part.run) for part in to.flush.parts["trades"]} == {(FEED, rig.sides[0].run)}
    assert (to.tally.rows, to.flush.rows, to.bytes) == ({"trades": 3}, 3, len(block(to)))


def test_a_duplicate_is_left_out_and_counted(rig: Rig) -> None:
    """A venue that repeats a record gets one row, and the repetition a count, never silence."""
    to = prepare(rig, receive(rig, trade(1), trade(2)), receive(rig, trade(2), trade(3)))
    assert block(to) == b"".join(f"{trade(n)}\n".encode() for n in (1, 2, 3))
    assert to.tally.duplicates == {(SOURCE, "trades"): 1}
    assert to.tally.rows == {"trades": 3}


def test_a_burst_of_duplicates_carries_nothing(rig: Rig) -> None:
    """No empty part reaches COPY."""
    to = prepare(rig, receive(rig, trade(1)))
    to = prepare(rig, receive(rig, trade(1)))
    assert (to.flush.parts, to.tally.rows, to.tally.duplicates[SOURCE, "trades"]) == ({}, {}, 1)


def line(n: int, channel: str = "books") -> bytes:
    """A line with the columns of books; only the last three matter here."""
    return f"t\tr\t{SOURCE}\t{channel}\tA\tupdate\t{n}\t{n - 1}\t{{}}\t{{}}\tverified\tstream".encode()


def rows(*lines: bytes) -> Rows:
    n = list(range(len(lines)))
    return Rows(b"".join(one + b"\n" for one in lines), [10 + i for i in n], [*n], [20 + i for i in n], [*n], [*n])


def test_a_line_of_a_broken_chain_is_marked(rig: Rig) -> None:
    """`integrity` becomes suspect, and nothing else of the line or its neighbours changes."""
    before = rows(line(1), line(2), line(3))
    after = amend("books", before, Verdict(suspect={"books": [1]}))
    assert after.data.splitlines() == [line(1), line(2).replace(b"verified", b"suspect"), line(3)]
    assert (after.streams, after.seq_to, after.frames) == (before.streams, before.seq_to, before.frames)


def test_dropped_and_marked_lines_keep_their_lists_beside_them(rig: Rig) -> None:
    """After duplicates are left out every list still speaks of the line with the same index."""
    after = amend("books", rows(*map(line, range(5))), Verdict(drop={"books": [0, 3]}, suspect={"books": [3, 4]}))
    assert after.data.splitlines() == [line(1), line(2), line(4).replace(b"verified", b"suspect")]
    assert (after.streams, after.seq_from, after.seq_to) == ([11, 12, 14], [1, 2, 4], [21, 22, 24])
    assert (after.times, after.frames, after.count) == ([1, 2, 4], [1, 2, 4], 3)


def test_another_tables_verdict_changes_nothing(rig: Rig) -> None:
    """Indexes belong to their table."""
    before = rows(line(1))
    assert amend("trades", before, Verdict(drop={"books": [0]})) is before


# --- streams ---------------------------------------------------------------------------------------------------------


def test_a_new_stream_is_made_known_once(rig: Rig) -> None:
    """Its first record brings a row of `streams`, with the time of its own first record; later ones do not."""
    bar = receive(rig, "data candles A 60000000 0")
    first = receive(rig, trade(1, "B"), trade(1), trade(2))
    first.tables |= bar.tables
    to = prepare(rig, first, receive(rig, trade(3)))
    assert to.flush.statements == [
        (
            "insert_stream",
            [
                (SOURCE, "candles", "A", moment(bar.received_at - 5000)),
                (SOURCE, "trades", "B", moment(first.received_at - 5000)),
                (SOURCE, "trades", "A", moment(first.received_at - 5000)),
            ],
        )
    ]
    assert prepare(rig, receive(rig, trade(4))).flush.statements == []


def test_a_stream_of_the_database_goes_on_from_there(rig: Rig) -> None:
    """A stream that is stored but unknown to any checkpoint begins at its newest record: ids between are missing,
    because the recorder was down."""
    rig.preparer.know({A})
    rig.past.last[A] = LastRecord(rig.time.now_us(), 7, True)
    assert prepare(rig, receive(rig, trade(10))).flush.statements == []
    to = prepare(rig, receive(rig, Alive(), after=GRACE / 1e6))
    (gap,) = to.flush.statements
    assert (gap[0], gap[1][0][:3], gap[1][0][5:9]) == (
        "insert_gap",
        (SOURCE, "trades", "A"),
        (8, 9, 2, "recorder_down"),
    )
    assert to.tally.gaps == {(SOURCE, "recorder_down"): 1}


def test_the_database_is_asked_once_a_stream(rig: Rig) -> None:
    """A stream that is known to the database but has no record there is not asked for at every burst."""
    rig.preparer.know({A})
    burst = receive(rig, trade(1))
    to = new()
    for _ in range(3):
        rig.preparer.meet(to, [burst])
    assert rig.past.asked == [("last", A)]


# --- gaps ------------------------------------------------------------------------------------------------------------


def test_a_hole_becomes_a_row(rig: Rig) -> None:
    """Missing ids are reported after their grace: first and last missing id, their count, open for refill."""
    before = receive(rig, trade(1))
    after = receive(rig, trade(5))
    prepare(rig, before, after)
    late = receive(rig, trade(6), after=GRACE / 1e6)
    to = prepare(rig, late)
    span = moment(before.received_at - 5000), moment(after.received_at - 5000)
    gap = (SOURCE, "trades", "A", *span, 2, 4, 3, "sequence", "open", at(late), at(late))
    assert to.flush.statements == [("insert_gap", [gap])]
    assert to.tally.gaps == {(SOURCE, "sequence"): 1}
    assert to.tally.gap_seconds == {(SOURCE, "sequence"): pytest.approx(1.0)}


def test_a_late_record_shrinks_its_gap(rig: Rig) -> None:
    """A reported id that comes after all is stored; its gap row is taken back and what remains is said anew. The
    counter of gaps found stays."""
    prepare(rig, receive(rig, trade(1)), receive(rig, trade(5)))
    prepare(rig, receive(rig, trade(6), after=GRACE / 1e6))
    to = prepare(rig, receive(rig, trade(3)))
    assert block(to) == f"{trade(3)}\n".encode()
    assert [name for name, _ in to.flush.statements] == ["delete_gap", "insert_gap"]
    assert to.flush.statements[0][1] == [(SOURCE, "trades", "A", 2, 4)]
    assert [row[5:9] for row in to.flush.statements[1][1]] == [(2, 2, 1, "sequence"), (4, 4, 1, "sequence")]
    assert to.tally.gaps == {}


def test_a_lost_range_is_an_event_and_a_cause(rig: Rig) -> None:
    """Frames that the spool cannot give any more are named, and the hole that follows is theirs."""
    lane = rig.sides[0].lane
    lane.reading = rig.sides[0].run
    lane.watermark = rig.time.now_us()
    to = prepare(rig, receive(rig, trade(1)), Lost(1, 4, "corrupt"), Lost(4, 4, "corrupt"))
    (event,) = [rows for name, rows in to.flush.statements if name == "insert_event"]
    said = (moment(lane.watermark), SOURCE, FEED, "spool", "corrupt")
    assert event == [
        (*said, f"frames 1 to 3 of run {lane.reading}: corrupt"),
        (*said, f"frames 4 to the end of run {lane.reading}: corrupt"),
    ]
    prepare(rig, receive(rig, trade(9)))
    to = prepare(rig, receive(rig, Alive(), after=GRACE / 1e6))
    assert to.tally.gaps == {(SOURCE, "corrupt"): 1}


def test_a_lost_range_before_anything_was_read_is_dated_now(rig: Rig) -> None:
    """After a start there is no burst to date it by: an event of 1970 would help nobody."""
    to = prepare(rig, Lost(0, 3, "missing"))
    assert to.flush.statements[0][1][0][0] == moment(rig.time.now_us())


# --- what a venue said, and what could not be read -------------------------------------------------------------------


def test_events_are_stored_clean(rig: Rig) -> None:
    """A venue's error becomes a row, its words made storable."""
    burst = receive(rig, Alive())
    burst.events.append(Event(0, "60012", "none", "what\0 \ud800?"))
    to = prepare(rig, burst)
    assert to.flush.statements == [
        ("insert_event", [(at(burst), SOURCE, FEED, "60012", "none", "what\N{REPLACEMENT CHARACTER} ??")])
    ]


def test_poison_is_kept_raw_and_counted(rig: Rig) -> None:
    """A frame that could not be decoded goes to quarantine as it came, named run/n; the rest of its burst is stored."""
    burst = receive(rig, trade(1), trade(2))
    burst.poison.append(Poison(1, "invalid_json", b"{\x00\xff"))
    to = prepare(rig, burst)
    frame = f"{rig.sides[0].run}/1"
    assert to.flush.statements[-1] == (
        "insert_quarantine",
        [(at(burst), SOURCE, FEED, frame, "invalid_json", b"{\x00\xff")],
    )
    assert (to.tally.quarantined, to.flush.rows) == ({(SOURCE, "invalid_json"): 1}, 2)


def test_a_flood_of_poison_is_counted_in_full_and_kept_in_part(rig: Rig) -> None:
    """Raw copies are limited, for the spool holds them all; the count is not."""
    burst = receive(rig, Alive())
    burst.poison += [Poison(0, "invalid_json", b"x")] * (QUARANTINE_PER_BURST + 5)
    to = prepare(rig, burst)
    ((_, kept),) = to.flush.statements
    assert len(kept) == QUARANTINE_PER_BURST
    assert to.tally.quarantined == {(SOURCE, "invalid_json"): QUARANTINE_PER_BURST + 5}


# --- what the database refuses ---------------------------------------------------------------------------------------


def withdrawn(rig: Rig, first: int | None, last: int | None, channel: str = "trades") -> Withdrawn:
    return Withdrawn(channel, rig.streams.number(Stream(SOURCE, channel, "A")), rig.time.now_us(), first, last)


@pytest.mark.parametrize(
    ("channel", "first", "last", "expected"),
    [
        ("trades", 5, 5, (5, 5, 1)),
        ("trades", 5, 9, (5, 9, 5)),
        ("trades", 0, 0, (0, 0, 1)),
        ("trades", None, None, (None, None, None)),
        ("books", 4, 5, (None, None, None)),
        ("candles", 60_000_000, 1, (None, None, None)),
    ],
)
def test_a_refused_record_is_a_gap(
    rig: Rig, channel: str, first: int | None, last: int | None, expected: tuple[int | None, ...]
) -> None:
    """Continuity took it for stored, so a row must say that it is not: with its ids where ids say anything."""
    row = withdrawn(rig, first, last, channel)
    ((name, gaps),) = rig.preparer.aside([Quarantined(FEED, "1-a", 3, "22P02", (row,))])
    now = moment(rig.time.now_us())
    assert name == "insert_gap"
    assert gaps == [(SOURCE, channel, "A", now, now, *expected, "quarantined", "open", now, now)]


def test_a_refused_frame_without_rows_is_no_gap(rig: Rig) -> None:
    """A statement that the database refused costs no record."""
    assert rig.preparer.aside([Quarantined(FEED, "insert_event", -1, "22021")]) == []


def test_what_was_set_aside_is_not_counted_as_stored(rig: Rig) -> None:
    """The counters tell rows committed, without those withdrawn, and the gaps that they leave."""
    to = prepare(rig, receive(rig, trade(1), trade(2), trade(3)))
    row = withdrawn(rig, 2, 2)
    to.tally.aside(SOURCE, Quarantined(FEED, "1-a", 1, "22P02", (row,)))
    to.tally.publish(rig.metrics, Recent())
    assert rig.count("recorder_rows_committed_total", table="trades") == 2
    assert rig.count("recorder_quarantined_total", source=SOURCE, reason="database") == 1
    assert rig.count("recorder_gaps_total", source=SOURCE, cause="quarantined") == 1


# --- what is counted -------------------------------------------------------------------------------------------------


def test_preparing_counts_nothing(rig: Rig) -> None:
    """Metrics tell what is committed: a flush that is still being tried has changed none of them."""
    prepare(rig, receive(rig, trade(1)), receive(rig, trade(5)), receive(rig, trade(5)))
    to = prepare(rig, receive(rig, trade(6), after=GRACE / 1e6))
    assert to.tally.gaps
    text = {sample.name: sample.value for family in rig.metrics.registry.collect() for sample in family.samples}
    assert text["recorder_rows_committed_total"] == text["recorder_duplicates_total"] == 0
    assert rig.count("recorder_gaps_total", source=SOURCE, cause="sequence") == 0


def test_gaps_are_shown_when_they_are_committed(rig: Rig) -> None:
    """Not before; and one that a late record splits is shown as what is left of it."""
    recent = Recent()
    prepare(rig, receive(rig, trade(1)), receive(rig, trade(5)))
    to = prepare(rig, receive(rig, trade(6), after=GRACE / 1e6))
    assert recent.holes() == []
    to.tally.publish(rig.metrics, recent)
    (gap,) = recent.holes()
    assert (gap.source, gap.channel, gap.symbol, gap.cause, gap.missing) == (SOURCE, "trades", "A", "sequence", 3)
    prepare(rig, receive(rig, trade(3))).tally.publish(rig.metrics, recent)
    assert sum(each.missing or 0 for each in recent.holes()) == 2


def test_a_tally_is_published_by_its_labels(rig: Rig) -> None:
    """Rows by table, the rest by source and channel, cause or reason; fractions of seconds add up."""
    tally = Tally()
    tally.rows["trades"] += 3
    tally.duplicates[SOURCE, "trades"] += 2
    tally.gaps[SOURCE, "sequence"] += 1
    tally.gap_seconds[SOURCE, "sequence"] += 0.25  # type: ignore[assignment]
    tally.quarantined[SOURCE, "too_deep"] += 1
    tally.publish(rig.metrics, Recent())
    tally.publish(rig.metrics, Recent())
    assert rig.count("recorder_rows_committed_total", table="trades") == 6
    assert rig.count("recorder_duplicates_total", source=SOURCE, channel="trades") == 4
    assert rig.count("recorder_gaps_total", source=SOURCE, cause="sequence") == 2
    assert rig.count("recorder_gap_seconds_total", source=SOURCE, cause="sequence") == 0.5
    assert rig.count("recorder_quarantined_total", source=SOURCE, reason="too_deep") == 2


# --- checkpoints -----------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_what_continuity_knows_at_the_cursor(rig: Rig) -> None:
    """It travels with the flush, and the lane remembers for which place it was made."""
    side = rig.sides[0]
    side.lane.seek(side.run, 2)
    to = prepare(rig, receive(rig, trade(1), trade(2)))
    rig.preparer.checkpoint(to, side.lane)
    state = rig.preparer.continuity.dump(FEED)
    assert to.flush.statements[-1] == ("upsert_checkpoint", [(RECORDER, FEED, side.run, 2, state)])
    assert side.lane.checkpointed == (side.run, 2)
    assert side.lane.safe is None
