"""The door to the configuration: finds the file, reads it whole, and either returns a complete tree or says everything
that is wrong with it.

Owns the search order and the top level of the file; the tables are read in `recorder.settings`. Every secret that it
reads is protected from output at once. Never starts anything and never opens a connection.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from recorder.config import Config
from recorder.errors import ConfigError
from recorder.redact import protect, redact
from recorder.settings import sections
from recorder.settings.sources import sources_section
from recorder.settings.tables import Report, Table
from recorder.venues import Venue, venues

DEFAULTS = (Path("recorder.toml"), Path("/etc/recorder/recorder.toml"))
_MOST = 16 << 20


def find(path: Path | None, environ: Mapping[str, str] | None = None) -> Path:
    """The file to read: the one named, else $RECORDER_CONFIG, ./recorder.toml, /etc/recorder/recorder.toml."""
    env = os.environ if environ is None else environ
    named = path if path is not None else Path(env["RECORDER_CONFIG"]) if env.get("RECORDER_CONFIG") else None
    if named is not None:
        return named
    for candidate in DEFAULTS:
        if candidate.exists():
            return candidate
    tried = ", ".join(str(candidate) for candidate in DEFAULTS)
    raise ConfigError([f"no configuration file found (tried $RECORDER_CONFIG, {tried}); `recorder init` writes one"])


def load(
    path: Path | None = None, environ: Mapping[str, str] | None = None, known: Mapping[str, Venue] | None = None
) -> Config:
    """The configuration, or a ConfigError that lists every mistake of the file. `known`: the venues there are."""
    env = os.environ if environ is None else environ
    file = find(path, env)
    try:
        return parse(_text(file), env, file.absolute().parent, known)
    except ConfigError as error:
        raise ConfigError([f"{file}: {problem}" for problem in error.problems]) from None


def home(file: Path, environ: Mapping[str, str] | None = None) -> Path:
    """Where the recorder of a file keeps its data, whatever else is wrong with the file."""
    try:
        values, base, report = _values(_text(file)), file.absolute().parent, Report()
        section = values.get("recorder", {})
        table = Table(
            "", "", {"recorder": section}, os.environ if environ is None else environ, report, sections.NOT_YET
        )
        found = Config(recorder=sections.recorder_section(table.table("recorder"), base)).home
        if report.problems:
            raise ConfigError([redact(problem) for problem in report.problems])
    except ConfigError as error:
        raise ConfigError([f"{file}: {problem}" for problem in error.problems]) from None
    return found


def parse(text: str, environ: Mapping[str, str], base: Path, known: Mapping[str, Venue] | None = None) -> Config:
    """The configuration in a text; relative paths in it are relative to `base`."""
    return read(_values(text), environ, base, known)


def read(
    values: dict[str, object], environ: Mapping[str, str], base: Path, known: Mapping[str, Venue] | None = None
) -> Config:
    """The configuration in the values of a file."""
    report = Report()
    root = Table("", "", values, environ, report, sections.NOT_YET)
    config = _config(root, base, venues() if known is None else known)
    protect(*report.secrets)
    if report.problems:
        raise ConfigError([redact(problem) for problem in report.problems])
    return config


def _config(root: Table, base: Path, known: Mapping[str, Venue]) -> Config:
    config = Config(
        recorder=sections.recorder_section(root.table("recorder"), base),
        database=sections.database_section(root.table("database")),
        spool=sections.spool_section(root.table("spool")),
        books=sections.books_section(root.table("books")),
        refill=sections.refill_section(root.table("refill")),
        compression=sections.compression_section(root.table("compression")),
        retention=sections.retention_section(root.table("retention")),
        sources=sources_section(root, known),
        notes=tuple(root.report.notes),
    )
    root.finish()
    return config


def _values(text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"is not TOML: {_sentence(str(error))}"]) from None


def _text(file: Path) -> str:
    """What the file holds; a ConfigError when it cannot be read."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(_MOST + 1)
    except OSError as error:
        raise ConfigError([f"cannot be read: {error.strerror}"]) from None
    if len(raw) > _MOST:
        raise ConfigError(["is larger than 16 MiB: that is no configuration"])
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError([f"is not UTF-8 text (line {line})"]) from None


def _sentence(error: str) -> str:
    """The parser's complaint; the commonest one explained."""
    if error.startswith("Invalid value"):
        return f"{error}; strings, durations and sizes stand in quotes"
    return error
