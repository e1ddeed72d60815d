"""What the recorder says about itself to people and to orchestrators: `/status` and `/readyz`.

Owns the shape of the report and the rule that tells ready from not ready. Never gathers facts (the daemon does)
and holds no field that could carry a credential.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import msgspec


@dataclass(frozen=True, slots=True)
class FeedReport:
    """One connection. `run`, `head`: the number after the last frame received; `position_run`, `position`: the next
    frame to commit, None until the database told. `trouble` says in a sentence why it is not connected,
    `shedding` why what it receives is not kept."""

    feed: str
    source: str
    connected: bool
    parked: bool = False
    live: bool = False
    draining: bool = False  # no longer configured: only its spool is still being stored
    run: str = ""
    head: int = 0
    position_run: str | None = None
    position: int | None = None
    lag_seconds: float | None = None
    last_message_age_seconds: float | None = None
    silent_streams: int = 0  # accepted by the venue, but nothing ever came
    queued_bytes: int = 0
    spool_bytes: int = 0
    endpoint: str = ""
    trouble: str = ""
    shedding: str = ""


@dataclass(frozen=True, slots=True)
class ChannelReport:
    """A channel of a source: data messages since the start of the process, and a second over the last ten."""

    source: str
    channel: str
    messages: int = 0
    messages_per_second: float = 0.0
    last_message_age_seconds: float | None = None
    silent_streams: int = 0


@dataclass(frozen=True, slots=True)
class SourceReport:
    """A source. `history`: messages a second in each second of the last minute, the newest last; the counts are since
    the start of the process, by reason or cause."""

    source: str
    lag_seconds: float = 0.0
    messages_per_second: float = 0.0
    history: tuple[float, ...] = ()
    reconnects: dict[str, int] = field(default_factory=dict)
    gaps: dict[str, int] = field(default_factory=dict)
    gap_seconds: float = 0.0
    shed_messages: int = 0


@dataclass(frozen=True, slots=True)
class GapReport:
    """Gaps of one channel and one cause that were found together: `count` of them, of which `symbol` is one. Times
    are ISO 8601; `to_time` None while it goes on, `missing` None where nobody can know."""

    source: str
    channel: str
    symbol: str
    cause: str
    from_time: str
    to_time: str | None
    seconds: float
    missing: int | None
    count: int
    age_seconds: float  # since it was found


@dataclass(frozen=True, slots=True)
class EventReport:
    """What a feed met with, `count` times in a row; see `recent.Happening`."""

    time: str
    age_seconds: float
    source: str
    feed: str
    kind: str
    code: str
    message: str
    count: int


@dataclass(frozen=True, slots=True)
class SpoolReport:
    """The spool and its disk. `growth`: bytes a second over the last minute. `full_in_seconds`: until `max_bytes` or
    the disk's `min_free_bytes` are reached at this rate; None while it does not grow, or only for what is committed
    already, which makes room by itself."""

    bytes: int = 0
    max_bytes: int = 0
    growth: float | None = None
    full_in_seconds: float | None = None
    disk_free_bytes: int | None = None
    disk_total_bytes: int | None = None
    min_free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """The whole recorder. `database` and `fenced` hold the sentence that says why not, empty when all is well;
    `problems` whatever else a person should look at, `notes` what the configuration asks for in vain. `gaps`,
    `open_gaps` and `events` are the last ones since the start of the process, the newest first."""

    version: str
    recorder_id: str = ""
    instance: str = ""
    started_at: str = ""
    now: str = ""
    uptime_seconds: float = 0.0
    database: str = ""
    fenced: str = ""
    stopping: bool = False
    committed_age_seconds: float | None = None
    queue_bytes: int = 0
    spool_bytes: int = 0
    spool_max_bytes: int = 0
    disk_free_bytes: int | None = None
    feeds: tuple[FeedReport, ...] = ()
    sources: tuple[SourceReport, ...] = ()
    channels: tuple[ChannelReport, ...] = ()
    spool: SpoolReport = field(default_factory=SpoolReport)
    gaps: tuple[GapReport, ...] = ()
    open_gaps: tuple[GapReport, ...] = ()
    events: tuple[EventReport, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def unready(self) -> list[str]:
        """Why not everything that was configured is being recorded into the database; empty when it is."""
        reasons = ["the recorder is stopping"] if self.stopping else []
        reasons += [f"database: {self.database}"] if self.database else []
        reasons += [f"fenced: {self.fenced}"] if self.fenced else []
        reasons += [f"feed {feed.feed}: {feed.shedding}" for feed in self.feeds if feed.shedding]
        return reasons + [_unready(feed) for feed in self.feeds if not feed.connected and not feed.draining]

    def json(self) -> bytes:
        """The report as `/status` gives it, with the answer of `/readyz` in it."""
        fields: dict[str, object] = msgspec.to_builtins(self)
        return msgspec.json.encode({"ready": not self.unready(), "unready": self.unready(), **fields})


def _unready(feed: FeedReport) -> str:
    state = "parked, probing from time to time" if feed.parked else "not connected"
    return f"feed {feed.feed}: {state}" + (f" ({feed.trouble})" if feed.trouble else "")


class Status(Protocol):
    """What the HTTP server asks the daemon for. Called in the client's thread: it must not wait for a lock that
    a stuck thread may hold."""

    def report(self) -> Report:
        """The recorder as it is now."""
        ...
