"""The sections of the file that are not sources.

Owns their keys, bounds and defaults' exceptions, and the list of keys whose feature is not built yet. Never looks at
the machine: whether a directory can be written is found out by who writes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from recorder import config
from recorder.records import TABLES
from recorder.settings import addresses
from recorder.settings.tables import Table, boolean, count_of_bytes, did_you_mean, one_of, seconds, string, whole, word

YEAR = 366 * 86400.0

# Keys of the contract that change nothing yet, and the value that describes what happens without the feature.
# A feature that lands takes its line out here, and nothing else.
NOT_YET: Mapping[str, object] = {
    "books.snapshot_every": 0.0,
    "refill.enabled": False,
    "spool.priority": None,
    "source.connections": 1,
    "source.refill": False,
    "source.sessions": "",
}


def _instance(value: object) -> str:
    text = string(value)
    if text and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise ValueError('may hold letters, digits, "-", "_" and "." only: it names a directory')
    if text == "spool":
        raise ValueError("is what a recorder without instance calls its spool; choose another")
    return text


def recorder_section(table: Table, base: Path) -> config.Recorder:
    """[recorder]"""
    default = config.Recorder()

    def directory(value: object) -> Path:
        # Relative to the file, not to where the daemon was started: a second spool elsewhere is a lost one.
        return base / Path(word(value)).expanduser()

    found = config.Recorder(
        data_dir=table.take("data_dir", directory, default.data_dir),
        instance=table.take("instance", _instance, default.instance),
        listen=table.take("listen", addresses.listen, default.listen),
    )
    table.finish()
    return found


def database_section(table: Table) -> config.Database:
    """[database]"""
    default = config.Database()
    url = table.take("url", addresses.database, default.url, secret=True)
    password = table.take("password", string, "", secret=True)
    if password:
        table.report.secrets.append(password)
        url = _with_password(table, url, password)
    if url is not None:
        table.report.secrets += addresses.passwords(url)
    found = config.Database(
        url=url,
        flush_age=table.take("flush_age", seconds(0.001, 60), default.flush_age),
        flush_rows=table.take("flush_rows", whole(1, 1_000_000), default.flush_rows),
    )
    table.finish(lambda key: '; the address goes into one "url"' if key in _PIECES else "")
    return found


# What people write who know other recorders' files.
_PIECES = frozenset({"host", "port", "user", "username", "dbname", "database", "dsn", "name"})


def _with_password(table: Table, url: config.Secret | None, password: str) -> config.Secret | None:
    """The address with a password that was given beside it, as it is: @ : / and % need no care there."""
    if url is None:
        table.wrong("password", "belongs to an address; set database.url, or leave the password out")
    elif addresses.passwords(url):
        table.wrong("password", "stands in database.url as well; keep one of the two")
    else:
        return addresses.with_password(url, password)
    return url


def _priority(table: Table, default: tuple[str, ...]) -> tuple[str, ...]:
    known = one_of(TABLES, "table")
    found = table.each("priority", known, default, empty='leave it out for the usual order, which begins with "trades"')
    for name in dict.fromkeys(n for n in found if found.count(n) > 1):
        table.wrong("priority", f'"{name}" stands here twice')
    return found


def spool_section(table: Table) -> config.SpoolConfig:
    """[spool]"""
    default = config.SpoolConfig()
    found = config.SpoolConfig(
        max_size=table.take("max_size", count_of_bytes(1 << 20, 1 << 50), default.max_size),
        min_free=table.take("min_free", count_of_bytes(0, 1 << 50), default.min_free),
        sync=table.take("sync", seconds(0.001, 60), default.sync),
        keep=table.take("keep", seconds(0, YEAR), default.keep),
        priority=_priority(table, default.priority),
    )
    table.finish()
    return found


def books_section(table: Table) -> config.Books:
    """[books]"""
    default = config.Books()
    every = table.take("snapshot_every", seconds(1, 7 * 86400, off=True), default.snapshot_every)
    table.finish()
    return config.Books(snapshot_every=every)


def refill_section(table: Table) -> config.Refill:
    """[refill]"""
    enabled = table.take("enabled", boolean, config.Refill().enabled)
    table.finish()
    return config.Refill(enabled=enabled)


def compression_section(table: Table) -> config.Compression:
    """[compression]"""
    after = table.take("after", seconds(3600, 100 * YEAR, off=True), config.Compression().after)
    table.finish()
    return config.Compression(after=after)


def retention_section(table: Table) -> dict[str, float]:
    """[retention]: table -> seconds, 0 keeps for ever."""
    # Below an hour rows would go while the recorder may still be catching up with them.
    check = seconds(3600, 100 * YEAR, off=True)
    kept = {name: table.take(name, check, 0.0) for name in table.values if name in TABLES}
    for name in table.values.keys() - TABLES.keys():
        hint = did_you_mean(name, TABLES) or f"; tables are {', '.join(TABLES)}"
        table.wrong(name, f"is no table{hint}")
    return kept
