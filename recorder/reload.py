"""A configuration that is read again: what of it takes effect while the recorder runs, and the verdict on it.

Owns the comparison of two configurations, in words, and the file that holds the last verdict for whoever asked. Never
starts or ends anything, and never shows a secret: of those it says that they have changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec.structs import replace

from recorder.capture.files import OsFiles, put_file
from recorder.config import Config, Source
from recorder.errors import ConfigError, RecorderError
from recorder.redact import redact
from recorder.scope import reconnects
from recorder.settings.effective import sections, source_section
from recorder.subscriptions import wanted
from recorder.venues import Subscription

FILE = "reload.json"
MOST = 3  # streams that are named; the others are counted

# What becomes of each key. Every key that a file can have is here: tests/unit/test_reloading.py holds it against them.
AT_ONCE = "at once"
RESTART = "with a restart"
MIGRATE = "with `recorder migrate`"
EFFECTS: dict[str, str] = {
    "recorder.data_dir": RESTART,
    "recorder.instance": RESTART,
    "recorder.listen": RESTART,
    "database.url": f"{AT_ONCE}; between a given and a local database {RESTART}",
    "database.flush_age": AT_ONCE,
    "database.flush_rows": AT_ONCE,
    "spool.max_size": AT_ONCE,
    "spool.min_free": AT_ONCE,
    "spool.sync": AT_ONCE,
    "spool.keep": AT_ONCE,
    "spool.priority": AT_ONCE,
    "books.snapshot_every": AT_ONCE,
    "refill.enabled": AT_ONCE,
    "compression.after": MIGRATE,
    "retention": f"{AT_ONCE}; a policy of TimescaleDB Community {MIGRATE}",
    "source": "a new one begins; one that is gone ends, and what its spool holds is still stored",
    "source.venue": f"{RESTART}; or give the source another name",
    "source.subscribe": "on the connection that stands; nothing else is touched",
    "source.refill": AT_ONCE,
    "source.sessions": AT_ONCE,
    "source.connections": AT_ONCE,
    "source.*": "by a second connection that takes over from the first; without one where max_connections forbids it",
}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a file. `begun`: monotonic nanoseconds, so that whoever asked knows whether it was before or
    after; `problems` if it was refused; `changes` what is different now, `waiting` what needs more than a reload."""

    begun: int
    at: str
    file: str
    problems: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """The file is in effect, as far as it can be without a restart."""
        return not self.problems

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know as long as it is the last one."""
        refused = (f"the configuration was refused at {self.at}, nothing has changed: {p}" for p in self.problems)
        return (*refused, *self.waiting)


# --- the two configurations ------------------------------------------------------------------------------------------


def merged(old: Config, new: Config) -> tuple[Config, tuple[str, ...]]:
    """The new configuration as far as it can take effect while we run, and a sentence for what cannot."""
    waiting = []
    for key in msgspec.structs.fields(new.recorder):
        if getattr(old.recorder, key.name) != getattr(new.recorder, key.name):
            waiting.append(
                f"recorder.{key.name} needs a restart: it stays {getattr(old.recorder, key.name)} until then"
            )
    database = new.database
    if (old.database.url is None) != (database.url is None):
        database = replace(database, url=old.database.url)
        waiting.append("database.url needs a restart: a local database is begun and left only then")
    if old.compression != new.compression:
        waiting.append("compression.after needs `recorder migrate`: the server does it")
    if old.retention != new.retention:
        waiting.append(
            "retention: where the server has a policy of its own (TimescaleDB Community), run `recorder migrate`"
        )
    before = {source.name: source for source in old.sources}
    sources = []
    for source in new.sources:
        known = before.get(source.name, source)
        if known.venue != source.venue:
            waiting.append(f"source {source.name}: venue needs a restart, or a name of its own; it stays as it was")
        sources.append(known if known.venue != source.venue else source)
    config = replace(new, recorder=old.recorder, database=database, sources=tuple(sources))
    return config, tuple(waiting)


def differences(old: Config, new: Config) -> tuple[str, ...]:
    """What is different, a sentence each. Both are in effect, one after the other."""
    return (*_keys(old, new), *_sources(old.sources, new.sources))


def _keys(old: Config, new: Config) -> Iterable[str]:
    before, after = sections(old), sections(new)
    if old.database.url is not None and old.database.url != new.database.url:
        yield "database.url has changed"
    for name, section in after.items():
        for key in dict.fromkeys((*before[name], *section)):
            was, now_is = before[name].get(key, "0s"), section.get(key, "0s")
            if was != now_is and (name, key) != ("database", "url"):
                yield f"{name}.{key}: {was} → {now_is}"


def _sources(old: Iterable[Source], new: Iterable[Source]) -> Iterable[str]:
    before, after = {source.name: source for source in old}, {source.name: source for source in new}
    for name in sorted(before.keys() - after.keys()):
        yield f"source {name} has ended; what its spool holds is still stored"
    for name, source in after.items():
        if name not in before:
            yield f"source {name} has begun: {_counted(wanted(source))}"
        elif source != before[name]:
            yield f"source {name}: {'; '.join(_parts(before[name], source))}"


def _parts(old: Source, new: Source) -> Iterable[str]:
    """What has changed of one source."""
    asked, asks = wanted(old), wanted(new)
    for word, streams in (("added", set(asks) - set(asked)), ("removed", set(asked) - set(asks))):
        if streams:
            yield f"{word} {_counted(sorted(streams, key=lambda s: (s.channel, s.symbol)))}"
    before, after = source_section(old), source_section(new)
    keys = [key for key in dict.fromkeys((*before, *after)) if _value(old, key) != _value(new, key)]
    if keys:
        yield f"{', '.join(keys)} changed" + (", by a new connection" if reconnects(old, new) else "")


def _value(source: Source, key: str) -> object:
    """A key's value, secret or not: only compared."""
    return source.options.get(key) if key in source.options else getattr(source, key, None)


def _counted(streams: Iterable[Subscription]) -> str:
    found = list(streams)
    names = ", ".join(f"{s.channel} {s.symbol}".strip() for s in found[:MOST])
    return f"{names} and {len(found) - MOST} more" if len(found) > MOST else names


# --- the verdict -----------------------------------------------------------------------------------------------------


def judge(file: Path, take_up: Callable[[Path], tuple[tuple[str, ...], tuple[str, ...]]]) -> Verdict:
    """Let a file be taken up (the answer: what is different, what has to wait), and say what became of it."""
    begun, at = time.monotonic_ns(), datetime.now(UTC).isoformat(timespec="seconds")
    problems, changes, waiting = _said(()), _said(()), _said(())
    try:
        changes, waiting = map(_said, take_up(file))
    except ConfigError as error:
        problems = _said(error.problems)
    except (RecorderError, OSError) as error:
        problems = _said([f"{file}: {error}"])
    return Verdict(begun=begun, at=at, file=str(file), problems=problems, changes=changes, waiting=waiting)


def _said(sentences: Iterable[str]) -> tuple[str, ...]:
    return tuple(redact(sentence) for sentence in sentences)


def keep(home: Path, verdict: Verdict) -> None:
    """Leave it where whoever asked finds it. Raises OSError."""
    put_file(OsFiles(), home / FILE, msgspec.json.encode(verdict))


def last(home: Path) -> Verdict | None:
    """The last verdict; None where there is none that can be read."""
    try:
        return msgspec.json.decode((home / FILE).read_bytes(), type=Verdict)
    except (OSError, msgspec.MsgspecError):
        return None
