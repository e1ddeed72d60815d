"""From Alertmanager's notification to a message for people: what it says, in which order, and what is left out.

Owns the reading of webhook JSON (version 4, https://prometheus.io/docs/alerting/latest/configuration/#webhook_config)
and the cutting of a message to a messenger's size. Never knows a messenger's markup: each turns the parts into its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import TypeVar

import msgspec

from recorder.alerting.words import Words
from recorder.redact import clean

T = TypeVar("T")

VERSION = "4"
ORDER = ("critical", "warning", "info")
MARKS = {"critical": "🔴", "warning": "🟠", "info": "🔵"}
OVER = "🟢"
TITLE = 120  # characters
NAMED = 3  # alerts that a title names
WIDTHS = (2000, 500, 150)  # characters of a line, tried until one alert at least finds room


class Alert(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One alert of a notification."""

    status: str
    starts_at: datetime
    ends_at: datetime
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

    @property
    def name(self) -> str:
        """Its rule's name."""
        return self.labels.get("alertname", "?")

    @property
    def firing(self) -> bool:
        """Not resolved."""
        return self.status != "resolved"

    @property
    def severity(self) -> str:
        """One of `ORDER`; an unknown one counts as a warning, as in Alertmanager's routes."""
        found = self.labels.get("severity", "")
        return found if found in ORDER else "warning"


class Notice(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What Alertmanager posts. `truncated_alerts`: how many it left out."""

    version: str
    alerts: list[Alert]
    truncated_alerts: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One alert. `head`: the heading that it is the first under."""

    head: str | None
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """A notification in words. `severity`: the worst that is firing, None where all is over. `left`: alerts that are
    not among the entries."""

    title: str
    severity: str | None
    entries: tuple[Entry, ...]
    left: int
    words: Words

    @property
    def more(self) -> str | None:
        """What says that something is left out."""
        return self.words.more.format(self.left) if self.left else None


def parse(raw: bytes) -> Notice:
    """Read a notification; ValueError with a sentence for anything else."""
    try:
        notice = msgspec.json.decode(raw, type=Notice)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a notification of Alertmanager: {error}") from None
    if notice.version != VERSION:
        raise ValueError(f'a notification of version "{notice.version}", only version {VERSION} is understood')
    return notice


def compose(notice: Notice, words: Words) -> Message:
    """Say it: what fires before what is over, the worst first, one heading for all alerts of a name."""
    alerts = sorted(notice.alerts, key=lambda a: (not a.firing, ORDER.index(a.severity), a.name, a.starts_at))
    firing = [alert for alert in alerts if alert.firing]
    return Message(
        _title(alerts, firing, words),
        firing[0].severity if firing else None,
        tuple(_entries(alerts, words)),
        notice.truncated_alerts,
        words,
    )


def _title(alerts: Sequence[Alert], firing: Sequence[Alert], words: Words) -> str:
    over = len(alerts) - len(firing)
    counts = [words.firing.format(len(firing))] if firing or not over else []
    counts += [words.resolved.format(over)] if over else []
    names = list(dict.fromkeys(words.title(_one_line(alert.name)) for alert in alerts))
    named = words.joint.join(names[:NAMED]) + (" …" if len(names) > NAMED else "")
    mark = MARKS[firing[0].severity] if firing else OVER
    return cut(f"{mark} [recorder] {words.joint.join(counts)}{words.colon}{named}", TITLE)


def _entries(alerts: Iterable[Alert], words: Words) -> Iterator[Entry]:
    for (firing, severity, name), group in groupby(alerts, key=lambda a: (a.firing, a.severity, a.name)):
        members = list(group)
        kind = words.severities[severity] if firing else words.over
        count = f" ×{len(members)}" if len(members) > 1 else ""
        head = f"{MARKS[severity] if firing else OVER} {kind} {words.title(_one_line(name))}{count}"
        for number, alert in enumerate(members):
            yield Entry(None if number else head, tuple(_lines(alert, words, first=not number)))


def _lines(alert: Alert, words: Words, *, first: bool) -> Iterator[str]:
    """What is wrong, where, since when, and, once for a rule, what to do about it."""
    told = [_one_line(alert.annotations.get(key, "")) for key in ("summary", "description")]
    yield from dict.fromkeys(text for text in told if text)
    where = [f"{key}={value}" for key, value in alert.labels.items() if key not in ("alertname", "severity")]
    if where:
        yield _one_line(" ".join(where))
    if not alert.firing:
        yield words.period.format(_moment(alert.starts_at), _moment(alert.ends_at))
        return
    yield words.since.format(_moment(alert.starts_at))
    if first and (runbook := _one_line(alert.annotations.get("runbook", ""))):
        yield words.runbook.format(runbook)


def _moment(time: datetime) -> str:
    return f"{time.astimezone(UTC) if time.tzinfo else time:%Y-%m-%d %H:%M:%S}"


def _one_line(text: str) -> str:
    """Text from elsewhere as it may stand in a line: no breaks, nothing that moves a cursor or turns the direction."""
    return clean(" ".join(text.split()))


def cut(text: str, length: int) -> str:
    """At most so many characters; what is cut off is marked."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def fitted(message: Message, build: Callable[[Message], T], fits: Callable[[T], bool]) -> T:
    """What `build` makes of as many alerts as fit, from the first on. Where not even one does, lines are shortened;
    the title alone always fits."""
    for width in WIDTHS:
        narrow = _narrowed(message, width)
        shown = _most(len(narrow.entries), lambda count, m=narrow: fits(build(_first(m, count))))  # type: ignore[misc]
        if shown or not narrow.entries:
            return build(_first(narrow, shown))
    return build(_first(message, 0))


def _narrowed(message: Message, width: int) -> Message:
    entries = (
        Entry(e.head and cut(e.head, width), tuple(cut(line, width) for line in e.lines)) for e in message.entries
    )
    return replace(message, entries=tuple(entries))


def _first(message: Message, count: int) -> Message:
    return replace(message, entries=message.entries[:count], left=message.left + len(message.entries) - count)


def _most(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `limit` that fits, by halves; a message grows with every alert."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def example(words: Words, now: datetime) -> bytes:
    """A notification that says that nothing is wrong, as Alertmanager would send it."""
    labels = {"alertname": "RecorderTest", "severity": "info"}
    annotations = {"summary": words.test_summary, "description": words.test_description}
    alert: Mapping[str, object] = {
        "status": "firing",
        "labels": labels,
        "annotations": annotations,
        "startsAt": now,
        "endsAt": datetime(1, 1, 1, tzinfo=UTC),
        "generatorURL": "",
        "fingerprint": "0000000000000000",
    }
    return msgspec.json.encode(
        {
            "version": VERSION,
            "groupKey": "{}:{test}",
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "test",
            "groupLabels": {},
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": "",
            "alerts": [alert],
        }
    )
