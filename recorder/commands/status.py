"""What `recorder status` finds out: from the recorder's own port, from the database, from the spool.

Owns the asking, each with a deadline, and a sentence for whatever could not be asked. Takes no lock, changes nothing,
and needs neither the recorder nor the database to be there.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recorder.config import Config
from recorder.errors import RecorderError
from recorder.redact import redact

if TYPE_CHECKING:
    import psycopg

ASK_SECONDS = 3.0
_MOST = 16 << 20
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what may stand in `listen`, and how to reach it


@dataclass(slots=True)
class Answer:
    """What was found out. A part that could not be asked is None, and `problems` says why."""

    recorder: dict[str, Any] | None = None
    database: dict[str, Any] | None = None
    spool: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Everything that is configured is being recorded into the database, as far as the recorder knows."""
        return self.recorder is not None and bool(self.recorder.get("ready"))

    def as_dict(self) -> dict[str, object]:
        """The answer as `--json` gives it."""
        parts = {"recorder": self.recorder, "database": self.database, "spool": self.spool}
        return {"ready": self.ready, "problems": self.problems, **parts}


def collect(config: Config) -> Answer:
    """Ask all three."""
    answer = Answer()
    answer.recorder = _recorder(config.recorder.listen, answer.problems)
    answer.spool = _spool(config.home, answer.problems)
    identity = answer.spool["identity"] if answer.spool is not None else None
    answer.database = _database(config, identity, answer.problems)
    return answer


# --- the recorder ----------------------------------------------------------------------------------------------------


def _recorder(listen: str, problems: list[str]) -> dict[str, Any] | None:
    """The running recorder's own report; its reasons for not being ready are problems too."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if int(port) == 0:
        problems.append("recorder: its port is chosen anew at every start (listen has port 0), so it cannot be asked")
        return None
    try:
        found = _get(_EVERYWHERE.get(host, host), int(port))
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        problems.append(f"recorder: nothing answers at http://{listen}/status ({reason}); is it running?")
        return None
    problems += [f"recorder: {reason}" for reason in [*found.get("unready", ()), *found.get("problems", ())]]
    return found


def _get(host: str, port: int) -> dict[str, Any]:
    """http.client, not the HTTP library: it follows no proxy of the environment, and this is our own machine."""
    connection = http.client.HTTPConnection(host, port, timeout=ASK_SECONDS)
    try:
        connection.request("GET", "/status", headers={"Accept": "application/json"})
        response = connection.getresponse()
        body = response.read(_MOST)
    finally:
        connection.close()
    found = json.loads(body) if response.status == 200 else None
    if not isinstance(found, dict) or "ready" not in found:
        raise ValueError(f"something else than a recorder answers there, status {response.status}")
    return found


# --- the spool -------------------------------------------------------------------------------------------------------


def _spool(home: Path, problems: list[str]) -> dict[str, Any] | None:
    from recorder.capture.datadir import DataDir
    from recorder.capture.inventory import SegmentReport, ls

    directory = DataDir(home)
    if not directory.spool.is_dir():
        problems.append(f"spool: there is none at {directory.spool}: nothing was recorded with this data_dir yet")
        return None
    try:
        identity = directory.identity
        segments: list[SegmentReport] = list(ls(directory.spool))
    except RecorderError as error:
        problems.append(f"spool: {error}")
        return None
    except OSError as error:
        problems.append(f"spool: {directory.spool} cannot be read: {error.strerror}")
        return None
    feeds: dict[str, list[SegmentReport]] = {}
    for segment in segments:
        feeds.setdefault(segment.feed, []).append(segment)
        problems += [f"spool: {segment.feed} {segment.file}: {problem}" for problem in segment.problems]
    return {
        "directory": str(directory.spool),
        "identity": identity,
        "bytes": sum(segment.stored_bytes for segment in segments),
        "feeds": [_feed(name, found) for name, found in feeds.items()],
    }


def _feed(name: str, segments: list[Any]) -> dict[str, Any]:
    """A feed's segments added up."""
    return {
        "feed": name,
        "segments": len(segments),
        "frames": sum(segment.frames for segment in segments),
        "bytes": sum(segment.stored_bytes for segment in segments),
        "from_time": _outermost(min, (segment.from_time for segment in segments)),
        "to_time": _outermost(max, (segment.to_time for segment in segments)),
    }


def _outermost(which: Any, times: Iterable[int | None]) -> str | None:
    from recorder.records import stamp

    known = [time for time in times if time is not None]
    return stamp(which(known)) if known else None


# --- the database ----------------------------------------------------------------------------------------------------


def database_url(config: Config) -> str | None:
    """Where the data goes: the configured server, or the local one if it runs."""
    if config.database.url is not None:
        return str.__str__(config.database.url)
    from recorder.store.local import LocalServer

    if not config.home.is_dir():  # looking must not make it
        return None
    server = LocalServer(config.home / "postgres", scram=True)
    return server.url if server.running() else None


def _database(config: Config, identity: str | None, problems: list[str]) -> dict[str, Any] | None:
    import psycopg

    from recorder.store.schema import schema_version

    try:
        url = database_url(config)
    except RecorderError as error:
        problems.append(f"database: {error}")
        return None
    if url is None:
        problems.append("database: the local database is not running; `recorder run` starts it")
        return None
    try:
        with psycopg.connect(url, connect_timeout=round(ASK_SECONDS), autocommit=True) as conn:
            version = schema_version(conn)
            if version.sentence:
                problems.append(f"database: {version.sentence}")
            found = {"schema": version.found, "expected": version.expected, "state": version.state.value}
            return found | (_facts(conn, identity) if version.found else {"positions": [], "gaps": []})
    except psycopg.Error as error:
        problems.append(f"database: {_refusal(error)}")
        return None


def _refusal(error: psycopg.Error) -> str:
    """The sentence that the recorder has for it, and the server's own words."""
    from recorder.store.sqlstate import classify, classify_connect

    rule = classify(error) if error.sqlstate else classify_connect(error)
    words = error.diag.message_primary or (str(error).strip().splitlines() or ["no reason given"])[0]
    return redact(f"{rule.sentence} ({words})")


_POSITION = ("recorder_id", "feed", "run", "next", "epoch", "committed_age_seconds", "watermark_age_seconds")
_GAPS = ("source", "cause", "count", "open", "last_detected_at")


def _facts(conn: Any, identity: str | None) -> dict[str, Any]:
    """Positions of this recorder (of all, where it has no identity yet), and how many holes there are."""
    from recorder.store.queries import queries

    conn.execute(queries()["status_session"])
    positions = conn.execute(queries()["status_positions"], (identity,)).fetchall()
    gaps = conn.execute(queries()["status_gaps"]).fetchall()
    return {
        "positions": [dict(zip(_POSITION, row, strict=True)) for row in positions],
        "gaps": [dict(zip(_GAPS, row, strict=True)) for row in gaps],
    }
