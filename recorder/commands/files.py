"""The commands about the configuration file: writing one, checking one.

Owns where the template is found and what `init` puts into it. Never overwrites a file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path

import typer

from recorder import configfile
from recorder.config import Config
from recorder.errors import ConfigError, Exit, RecorderError
from recorder.settings.effective import as_dict, effective

_DATA_DIR = "/var/lib/recorder"


class Refused(RecorderError):
    """The user asked for something that would destroy something."""

    exit_code = Exit.USAGE


def template() -> str:
    """The commented file: in the installed package, else in the repository beside it."""
    packaged = files("recorder").joinpath("recorder.toml")
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).parents[2] / "deploy" / "recorder.toml").read_text(encoding="utf-8")


def data_dir(environ: Mapping[str, str], is_root: bool) -> str:
    """Where this user can keep data: the system's place for root, the user's own for everybody else."""
    if is_root:
        return _DATA_DIR
    home = environ.get("XDG_DATA_HOME") or str(Path(environ.get("HOME") or "~").expanduser() / ".local" / "share")
    return str(Path(home) / "recorder")


def init(path: Path, stdout: bool) -> int:
    """Write a commented configuration that records at once."""
    text = template().replace(_DATA_DIR, data_dir(os.environ, os.geteuid() == 0))
    if stdout:
        typer.echo(text, nl=False)
        return Exit.OK
    try:
        # Only for its owner: sooner or later there is a credential in it.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Refused(
            f"{path} exists already and is left as it is; `recorder init --stdout` prints a new one"
        ) from None
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    typer.echo(f"{path} written. Next: `recorder check`, then `recorder run`.")
    return Exit.OK


def check(path: Path | None, as_json: bool, say: Callable[[str], None], connect: bool = False) -> int:
    """Print the effective configuration, or everything that is wrong with it; with `connect` also what can be reached
    and used from here."""
    file = configfile.find(path)
    try:
        config = configfile.load(file)
    except ConfigError as error:
        if as_json:
            problems = [problem.removeprefix(f"{file}: ") for problem in error.problems]
            typer.echo(json.dumps({"ok": False, "file": str(file), "problems": problems}, indent=2))
            return error.exit_code
        raise
    if as_json:
        return _answer(config, file, connect)
    typer.echo(effective(config), nl=False)
    for note in config.notes:
        say(f"note: {note}")
    say(f"{file} is right")
    return _connect(config, say) if connect else Exit.OK


def _answer(config: Config, file: Path, connect: bool) -> int:
    """All of it as JSON."""
    answer = {"ok": True, "file": str(file), "notes": list(config.notes), "effective": as_dict(config)}
    code = Exit.OK
    if connect:
        from recorder.commands import connecting

        found = list(connecting.findings(config))
        code = connecting.exit_code(found)
        answer |= {"ok": code is Exit.OK, "checks": [finding.as_dict() for finding in found]}
    typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    return code


def _connect(config: Config, say: Callable[[str], None]) -> int:
    """A line for each thing that was looked at, as soon as it was."""
    from recorder.commands import connecting

    found = []
    for finding in connecting.findings(config):
        typer.echo(str(finding))
        found.append(finding)
    say(connecting.summary(found))
    return connecting.exit_code(found)
