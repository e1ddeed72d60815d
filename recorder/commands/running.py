"""The commands that start something: the recorder itself, migration, demo, simulator, benchmark.

Owns what is checked before they start. What they start is in its own module, imported only here and only then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from loguru import logger

from recorder import configfile, log
from recorder.config import Config
from recorder.errors import Exit, RecorderError
from recorder.redact import clean
from recorder.settings.tables import did_you_mean


class Usage(RecorderError):
    """The user called a command with something it cannot use."""

    exit_code = Exit.USAGE


def _known(asked: tuple[str, ...], known: list[str], kind: str) -> None:
    for name in asked:
        if name not in known:
            hint = did_you_mean(name, known) or f"; there is {', '.join(known) or 'none'}"
            raise Usage(f'"{name}" is no {kind}{hint}')


def _started(file: Path | None) -> Config:
    """The configuration, with the log set up and told what to look at."""
    config = configfile.load(file)
    log.setup()
    for note in config.notes:
        logger.bind(event="config.note").warning("{}", note)
    return config


def run(path: Path | None, only: tuple[str, ...]) -> int:
    """Record until told to stop."""
    file = configfile.find(path)
    config = _started(file)
    _known(only, [source.name for source in config.sources], "source of the configuration")
    from recorder import daemon

    return daemon.run(config, file.absolute(), only)


def migrate(path: Path | None) -> int:
    """Bring the schema to this version, and say what was done."""
    config = _started(path)
    with _owner_url(config) as url:
        from recorder.store.ground import options
        from recorder.store.migrate import migrate_url

        report = migrate_url(url, options(config), say=lambda sentence: typer.echo(clean(sentence), err=True))
    for note in report.notes:
        typer.echo(clean(f"note: {note}"), err=True)
    if not report.applied and not report.changed:
        typer.echo("nothing had to be done", err=True)
    typer.echo(f"{report.server}: schema {report.number}")
    return Exit.OK


@contextmanager
def _owner_url(config: Config) -> Iterator[str]:
    """Who may change tables; a local server is started for it, unless it runs, and then stopped again."""
    if config.database.url is not None:
        yield str.__str__(config.database.url)
        return
    from recorder.store.local import LocalServer

    server = LocalServer(config.home / "postgres", scram=True, say=lambda sentence: typer.echo(sentence, err=True))
    server.start()
    try:
        yield server.owner_url
    finally:
        server.stop()


def demo(seconds: float, keep: bool) -> int:
    """Record simulated venues into a local database."""
    log.setup()
    from recorder import demo as show

    return show.main(seconds, keep)


def simulate(names: tuple[str, ...], host: str, port: int, tls: bool, rate: float, replay: tuple[Path, ...]) -> int:
    """Serve simulated venues until told to stop."""
    for file in replay:
        if not file.is_file():
            raise Usage(f"{file} is no file of recorded frames")
    log.setup()
    try:
        from recorder.simulator import server
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("recorder"):
            raise
        raise Usage(f"the simulator needs the package {error.name}: pip install 'recorder[simulator]'") from None
    return server.serve(list(names), host, port, tls, rate, list(replay))


def bench(arguments: list[str]) -> int:
    """Measure this machine."""
    from recorder import bench as measure

    return measure.main(arguments)
