"""The configuration as the rest of the recorder sees it: one frozen tree, complete and valid.

Owns the tree and its defaults. Never reads a file or the environment (that is `recorder.configfile`).
"""

from __future__ import annotations

from pathlib import Path

import msgspec


class Secret(str):
    """A string that shows itself nowhere but where it is used: its repr is masked, `str.__str__` is the value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Recorder(msgspec.Struct, frozen=True, kw_only=True):
    """[recorder]"""

    data_dir: Path = Path("/var/lib/recorder")
    instance: str = ""
    listen: str = "127.0.0.1:9464"


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """[database]. `url` is None when a local database under data_dir is wanted. Seconds, rows."""

    url: Secret | None = None
    flush_age: float = 0.1
    flush_rows: int = 20_000


class SpoolConfig(msgspec.Struct, frozen=True, kw_only=True):
    """[spool]. Bytes, seconds."""

    max_size: int = 20 << 30
    min_free: int = 5 << 30
    sync: float = 0.1
    keep: float = 6 * 3600.0
    priority: tuple[str, ...] = ("trades", "candles", "quotes", "tickers", "books")


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """[books]"""

    snapshot_every: float = 600.0


class Refill(msgspec.Struct, frozen=True, kw_only=True):
    """[refill]"""

    enabled: bool = True


class Compression(msgspec.Struct, frozen=True, kw_only=True):
    """[compression]. Seconds; 0 is off."""

    after: float = 0.0


class Subscribe(msgspec.Struct, frozen=True, kw_only=True):
    """[[source.subscribe]]"""

    channels: tuple[str, ...]
    symbols: tuple[str, ...] = ()


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """[[source]]. `options` holds the keys that only this venue knows; secret ones as `Secret`."""

    name: str
    venue: str
    endpoints: tuple[str, ...]
    rest: str
    proxy: Secret | None = None
    connections: int = 1
    coalesce: float = 0.002
    refill: bool = True
    limits: dict[str, int] = {}
    sessions: str = ""
    options: dict[str, str] = {}
    subscribe: tuple[Subscribe, ...] = ()


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file. `retention`: table -> seconds, 0 keeps for ever. `notes`: accepted, but not yet effective, or
    doubtful."""

    recorder: Recorder = Recorder()
    database: Database = Database()
    spool: SpoolConfig = SpoolConfig()
    books: Books = Books()
    refill: Refill = Refill()
    compression: Compression = Compression()
    retention: dict[str, float] = {}
    sources: tuple[Source, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def home(self) -> Path:
        """Where this recorder's identity and spool live."""
        return self.recorder.data_dir / self.recorder.instance if self.recorder.instance else self.recorder.data_dir
