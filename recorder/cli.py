"""The command line: which commands there are, their options, and how an outcome becomes an exit code.

Owns the options and the exit codes. What a command does is in `recorder.commands` and in the parts it calls, all
imported only when the command runs. A user's mistake is a sentence on stderr, never a traceback.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

from recorder import __version__
from recorder.errors import ConfigError, Exit, RecorderError

P = ParamSpec("P")

app = typer.Typer(
    name="recorder",
    help="Records market data from WebSocket venues into TimescaleDB: nothing received is lost, nothing is stored "
    "twice, every hole has a row.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables, and those hold credentials
)
spool_app = typer.Typer(no_args_is_help=True, help="Read the spool: what was received, as it was received.")
app.add_typer(spool_app, name="spool")

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        readable=False,  # whoever opens it says why it cannot be read, and with which exit code
        help="The configuration; else $RECORDER_CONFIG, ./recorder.toml, /etc/recorder/recorder.toml.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


def say(sentence: str) -> None:
    """A sentence on stderr, without secrets and control characters."""
    from recorder.redact import clean, redact

    typer.echo(clean(redact(sentence)), err=True)


def _failed(error: RecorderError) -> int:
    """Say what went wrong; the exit code."""
    for problem in error.problems if isinstance(error, ConfigError) else [str(error)]:
        say(problem)
    return int(error.exit_code)


def outcome(command: Callable[P, int]) -> Callable[P, None]:
    """Make a command's number, or the error it raises, the exit code of the process."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = command(*args, **kwargs)
        except RecorderError as error:
            code = _failed(error)
        raise typer.Exit(int(code))

    return run


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"recorder {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    ctx: typer.Context,
    config: ConfigFile = None,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Say the version and end.")
    ] = False,
) -> None:
    """Options before the command."""
    ctx.obj = config


@app.command()
@outcome
def init(
    ctx: typer.Context,
    config: ConfigFile = None,
    stdout: Annotated[bool, typer.Option("--stdout", help="Print it instead of writing a file.")] = False,
) -> int:
    """Write a commented configuration file (recorder.toml) that records at once."""
    from recorder.commands import files

    return files.init(config or ctx.obj or Path("recorder.toml"), stdout)


@app.command()
@outcome
def run(
    ctx: typer.Context,
    config: ConfigFile = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="SOURCE", help="Only this source; again for more.")
    ] = None,
) -> int:
    """Record until told to stop."""
    from recorder.commands import running

    return running.run(config or ctx.obj, tuple(only or ()))


@app.command()
@outcome
def check(
    ctx: typer.Context,
    config: ConfigFile = None,
    json: Json = False,
    connect: Annotated[
        bool,
        typer.Option(
            "--connect", help="Also reach everything it names: DNS, proxy, TLS, clock, a subscription, database, disk."
        ),
    ] = False,
) -> int:
    """Validate the configuration and print what is in effect, without secrets. With --connect, code 1: something
    cannot be reached or used; 69: only the database."""
    from recorder.commands import files

    return files.check(config or ctx.obj, json, say, connect)


@app.command()
@outcome
def migrate(ctx: typer.Context, config: ConfigFile = None) -> int:
    """Bring the database's schema to this version."""
    from recorder.commands import running

    return running.migrate(config or ctx.obj)


@app.command()
@outcome
def reload(ctx: typer.Context, config: ConfigFile = None) -> int:
    """Have the running recorder read its configuration again and change only what is different. Code 78: the file is
    wrong and nothing has changed; 1: no recorder runs."""
    from recorder.commands import reloading

    return reloading.reload(config or ctx.obj, say)


@app.command()
@outcome
def demo(
    seconds: Annotated[float, typer.Option(min=1, help="How long to record.")] = 20,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the database up at the end.")] = False,
) -> int:
    """Record simulated venues into a local database, without Docker and without the internet."""
    from recorder.commands import running

    return running.demo(seconds, keep)


@app.command()
@outcome
def simulate(
    venue: Annotated[
        list[str] | None, typer.Option("--venue", metavar="NAME", help="Serve this venue; again for more.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to serve on; 0: a free one.")] = 0,
    tls: Annotated[bool, typer.Option("--tls", help="Serve wss:// and https://.")] = False,
    rate: Annotated[float, typer.Option(min=0, help="Trades a second, all symbols together.")] = 100,
    replay: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", readable=False, help="Serve recorded frames; again for more.")
    ] = None,
) -> int:
    """Serve simulated venues: their real protocols, moving markets."""
    from recorder.commands import running

    return running.simulate(tuple(venue or ()), host, port, tls, rate, tuple(replay or ()))


@app.command()
@outcome
def status(ctx: typer.Context, config: ConfigFile = None, json: Json = False) -> int:
    """Say what the recorder, its database and its spool are doing. Code 1: not everything is being recorded."""
    from recorder.commands import looking

    return looking.status(config or ctx.obj, json)


@app.command()
@outcome
def relay(
    receiver: Annotated[str | None, typer.Argument(help="With --test: only this one.")] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to listen; else $ALERT_LISTEN, 127.0.0.1:9465.")
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="Send a test message to each receiver, and end.")] = False,
) -> int:
    """Pass Alertmanager's notifications on to people: webhook, e-mail, Telegram, DingTalk, Feishu, WeCom, whichever
    the environment configures (docs/alerting.md)."""
    from recorder.commands import alerting

    if receiver is not None and not test:
        raise typer.BadParameter("a receiver is only named with --test")
    return alerting.test(receiver) if test else alerting.relay(listen)


@app.command()
@outcome
def venues(
    json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="All that is known of them, as docs/venues.md.")] = False,
) -> int:
    """List the venues, their channels, and where each channel's records go."""
    from recorder.commands import looking

    return looking.show_venues(json, markdown)


@spool_app.command("ls")
@outcome
def spool_ls(ctx: typer.Context, config: ConfigFile = None, json: Json = False) -> int:
    """List what the spool holds."""
    from recorder.commands import looking

    return looking.spool_ls(config or ctx.obj, json)


@spool_app.command("verify")
@outcome
def spool_verify(ctx: typer.Context, config: ConfigFile = None, json: Json = False) -> int:
    """Read every record of the spool and check it. Code 1: something is damaged."""
    from recorder.commands import looking

    return looking.spool_verify(config or ctx.obj, json)


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []})
@outcome
def bench(ctx: typer.Context) -> int:
    """Measure this machine: the share of the COPY ceiling, stages, latency (`bench --help`)."""
    from recorder.commands import running

    return running.bench(ctx.args)


def main() -> None:
    """The entry point. What nobody foresaw is an internal error: code 70, and a traceback without secrets."""
    try:
        app()
    except Exception:  # noqa: BLE001 - the top of the main thread
        import traceback

        from recorder.redact import redact

        typer.echo(redact(traceback.format_exc()), err=True)
        say("internal error; the traceback above is a bug report")
        sys.exit(int(Exit.INTERNAL))
