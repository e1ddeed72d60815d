"""What the writer stands on: the database that the configuration names, or one of our own under data_dir.

Owns the thread that keeps a local server up, and the rule which databases the recorder migrates by itself (an empty
one, or its own). Never writes a record.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import psycopg
from loguru import logger

from recorder.config import Config
from recorder.errors import SinkUnavailable
from recorder.store.local import LocalServer
from recorder.store.migrate import Options, State, migrate_url, schema_version

LOOK_SECONDS = 5.0
STOP_SECONDS = 2.0  # of the ten that a recorder has to end in


class Ground(Protocol):
    """Where to write."""

    def url(self) -> str:
        """The database's URL; raises SinkUnavailable while there is none yet."""
        ...

    def adopt(self) -> bool:
        """Make or bring up to date the tables, if that is ours to do; True if it was done."""
        ...

    def start(self) -> None:
        """Begin."""
        ...

    def change(self, config: Config) -> bool:
        """What the configuration says now; True if the database is somewhere else than before. From one that is given
        to our own, or back, it cannot change while we run: whoever calls sees to it."""
        ...

    def stop(self) -> None:
        """End what `start` began."""
        ...


def options(config: Config) -> Options:
    """What the configuration decides about the schema."""
    return Options(compression_after=config.compression.after, retention=config.retention)


class Given:
    """A database that somebody else runs."""

    def __init__(self, url: str, wanted: Options) -> None:
        self._url = url
        self._options = wanted

    def url(self) -> str:
        """As configured."""
        return self._url

    def adopt(self) -> bool:
        """Only where there is nothing at all: anything else is `recorder migrate`'s."""
        try:
            with psycopg.connect(self._url, autocommit=True, connect_timeout=10) as conn:
                version = schema_version(conn)
        except psycopg.Error:
            return False  # the sink says in a sentence what is wrong
        if version.state is not State.ABSENT or not version.empty:
            return False
        _migrate(self._url, self._options)
        return True

    def change(self, config: Config) -> bool:
        """Another URL, other options."""
        before, self._url = self._url, str.__str__(config.database.url or self._url)
        self._options = options(config)
        return self._url != before

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to stop."""


class Local:
    """A server of our own, kept up by a thread: started when it is not there, attached to when it is."""

    def __init__(self, directory: Path, wanted: Options, beat: Callable[[str], None]) -> None:
        self._options = wanted
        self._beat = beat
        self._stopping = threading.Event()
        self._state = "the local database is being started"
        self._server = LocalServer(directory, scram=True, say=self._say, sleep=self._sleep)
        self._ready: str | None = None
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="local-database", daemon=True)

    def url(self) -> str:
        """Its URL as soon as it answers."""
        if self._ready is None:
            raise SinkUnavailable(self._state)
        return self._ready

    def adopt(self) -> bool:
        """It is ours: absent or older tables are brought up to date."""
        _migrate(self._server.owner_url, self._options)
        return True

    def change(self, config: Config) -> bool:
        """Other options."""
        self._options = options(config)
        return False

    def start(self) -> None:
        """Begin to keep it up."""
        self._thread.start()

    def stop(self) -> None:
        """Stop it, if we started it. What takes longer than STOP_SECONDS is left to itself: the server was told."""
        self._stopping.set()
        self._thread.join(STOP_SECONDS)

    def _say(self, sentence: str) -> None:
        self._state = sentence
        logger.bind(event="database.local").info("{}", sentence)

    def _sleep(self, seconds: float) -> None:
        self._beat("local-database")
        if self._ending:
            time.sleep(seconds)
        elif self._stopping.wait(seconds):
            raise SinkUnavailable("the recorder is stopping")

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._beat("local-database")
            try:
                self._server.start()
                self._ready = self._server.url
            except Exception as error:  # noqa: BLE001 - a thread's top: without it the writer waits for ever, unseen
                self._state = str(error)
                logger.bind(event="database.local").warning("{}", error)
            self._stopping.wait(LOOK_SECONDS)
        self._ending = True
        self._server.stop()


def _migrate(url: str, wanted: Options) -> None:
    report = migrate_url(url, wanted)
    logger.bind(event="database.migrated").info("{}: schema {}", report.server, report.number)


def ground(config: Config, beat: Callable[[str], None]) -> Ground:
    """What the configuration asks for."""
    if config.database.url is not None:
        return Given(str.__str__(config.database.url), options(config))
    return Local(config.home / "postgres", options(config), beat)
