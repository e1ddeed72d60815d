"""What a message says: order, headings, times, languages, and what is left out when it is too long."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.alerting.message import Message, compose, cut, example, fitted, parse
from recorder.alerting.words import CHINESE, ENGLISH, HEADINGS_ZH, LANGUAGES
from tests.unit.notices import NOON, alert, message, notification

ROOT = Path(__file__).parents[2]


def flat(one: Message) -> str:
    """All of it as text."""
    lines = [line for entry in one.entries for line in (*([entry.head] if entry.head else []), *entry.lines)]
    return "\n".join([one.title, *lines, *([one.more] if one.more else [])])


def test_a_message_says_what_where_since_when_and_what_to_do() -> None:
    """Severity, name, summary, labels, beginning in UTC and the runbook; what the heading holds is not repeated."""
    found = message(alert("RecorderLag", "critical", source="okx"))
    assert flat(found).splitlines() == [
        "🔴 [recorder] 1 firing: RecorderLag",
        "🔴 CRITICAL RecorderLag",
        "RecorderLag of okx",
        "source=okx",
        "since 2026-01-01 12:00:00 UTC",
        "runbook: docs/runbook.md#RecorderLag",
    ]
    assert found.severity == "critical"


def test_what_is_over_says_so() -> None:
    """A resolved alert has its beginning and end, both in UTC, and no runbook; its message is green."""
    found = message(alert("RecorderLag", "critical", "resolved"))
    assert found.title == "🟢 [recorder] 1 resolved: RecorderLag"
    assert found.entries[0].head == "🟢 RESOLVED RecorderLag"
    assert found.entries[0].lines[-1] == "from 2026-01-01 12:00:00 to 2026-01-01 12:30:00 UTC"
    assert found.severity is None


def test_the_worst_comes_first() -> None:
    """What fires comes before what is over, critical before warning before info; an unknown severity is a warning."""
    alerts = (alert("D", "critical", "resolved"), alert("C", "info"), alert("B", "page"), alert("A", "critical"))
    found = message(*alerts)
    assert [entry.head for entry in found.entries] == ["🔴 CRITICAL A", "🟠 WARNING B", "🔵 INFO C", "🟢 RESOLVED D"]
    assert found.title == "🔴 [recorder] 3 firing, 1 resolved: A, B, C …"


def test_twenty_feeds_are_one_heading() -> None:
    """Alerts of one name stand under one heading with their number, and name their runbook once."""
    found = message(*(alert("RecorderFeedWithoutData", source=f"s{n:02}") for n in range(20)))
    assert [entry.head for entry in found.entries if entry.head] == ["🟠 WARNING RecorderFeedWithoutData ×20"]
    assert flat(found).count("runbook: ") == 1
    assert [entry.lines[1] for entry in found.entries] == [f"source=s{n:02}" for n in range(20)]


def test_text_from_outside_stays_in_its_line() -> None:
    """Line breaks become spaces; what moves a cursor or turns the direction of text is shown as an escape."""
    nasty = alert("RecorderLag", source="a\nb\u202e")
    nasty["annotations"] = {"summary": "one\r\n\ttwo\x1b[2J\u2028"}
    found = message(nasty)
    assert found.entries[0].lines[:2] == ("one two\\x1b[2J", "source=a b\\u202e")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not a notification of Alertmanager"),
        (b"\xff", "not a notification of Alertmanager"),
        (b"[]", "not a notification of Alertmanager"),
        (b'{"version":"4"}', "missing required field `alerts`"),
        (b'{"version":"3","alerts":[]}', 'a notification of version "3", only version 4 is understood'),
    ],
)
def test_what_is_no_notification_is_refused(raw: bytes, words: str) -> None:
    """Anything that is not version 4 of the webhook's JSON is a sentence, never another error."""
    with pytest.raises(ValueError, match=re.escape(words)):
        parse(raw)


def test_alerts_that_alertmanager_left_out_are_counted() -> None:
    """`truncatedAlerts` are named as left out."""
    assert message(alert("RecorderLag"), truncatedAlerts=7).more == "… and 7 more"


def test_a_long_message_ends_with_how_many_more() -> None:
    """As many alerts as fit, from the first on, and the number of the others."""
    found = message(*(alert("RecorderLag", source=f"s{n:02}") for n in range(20)))
    text = fitted(found, flat, lambda text: len(text) <= 1000)
    assert 800 < len(text) <= 1000
    shown = text.count("source=")
    assert text.endswith(f"… and {20 - shown} more")
    assert 0 < shown < 20


def test_a_long_line_is_cut_on_a_character() -> None:
    """Where not even one alert fits its lines are cut, marked, and never inside a character."""
    long = alert("RecorderLag")
    long["annotations"] = {"summary": "价" * 5000}
    text = fitted(message(long), flat, lambda text: len(text.encode()) <= 1024)
    assert len(text.encode()) <= 1024
    assert re.search(r"价{149}…\n", text)


@given(st.text(min_size=1, max_size=50), st.integers(1, 60))
def test_cutting(text: str, length: int) -> None:
    """What is cut is never longer than allowed, begins as before, and is marked; what fits is untouched."""
    found = cut(text, length)
    assert len(found) <= length
    assert found == text if len(text) <= length else (found.endswith("…") and text.startswith(found[:-1]))


@given(st.integers(0, 30), st.integers(60, 3000))
def test_nothing_is_left_out_unsaid(count: int, room: int) -> None:
    """Whatever the room: what is shown and what is left out add up, and it fits unless the title does not."""
    found = message(*(alert("RecorderLag", source=f"s{n}") for n in range(count)))
    cutting = fitted(found, lambda m: m, lambda m: len(flat(m)) <= room)
    assert len(cutting.entries) + cutting.left == count
    assert len(flat(cutting)) <= room or not cutting.entries


def test_chinese() -> None:
    """In Chinese the heading is the alert's name in both; the rules' own texts stay as they are."""
    found = message(alert("RecorderDatabaseDown", "critical"), alert("Other", status="resolved"), words=CHINESE)
    assert found.title == "🔴 [recorder] 1 条告警，1 条已恢复：数据库不可用（RecorderDatabaseDown），Other"
    assert found.entries[0].head == "🔴 严重 数据库不可用（RecorderDatabaseDown）"
    assert "自 2026-01-01 12:00:00 UTC 起" in found.entries[0].lines
    assert found.entries[1].lines[-1] == "2026-01-01 12:00:00 至 2026-01-01 12:30:00 UTC"


def test_every_alert_has_a_chinese_heading() -> None:
    """No alert of the rules, and none that Alertmanager's configuration names, is without a heading in Chinese."""
    named = set(re.findall(r"Recorder[A-Z]\w+", (ROOT / "deploy/alertmanager/alertmanager.yml").read_text()))
    rules = ROOT / "deploy/prometheus/alerts.yml"
    if rules.exists():
        named |= set(re.findall(r"- alert:\s*(\w+)", rules.read_text()))
    assert "RecorderDatabaseDown" in named
    assert named - set(HEADINGS_ZH) == set()


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_the_test_message_is_a_notification(language: str) -> None:
    """What `--test` sends is read like anything of Alertmanager's."""
    found = compose(parse(example(LANGUAGES[language], NOON)), LANGUAGES[language])
    assert "RecorderTest" in found.title
    assert found.entries[0].lines[0] == LANGUAGES[language].test_summary


def test_every_message_holds_the_keyword() -> None:
    """Robots that ask for a keyword are given `recorder`: every title holds it, however long the names are."""
    for words in (ENGLISH, CHINESE):
        assert "recorder" in compose(parse(notification(alert("X" * 500))), words).title
        assert "recorder" in compose(parse(notification()), words).title
