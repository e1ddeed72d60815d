"""The units of systemd: valid, confined, and the same but for their names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from recorder import configfile
from recorder.cli import app
from tests.fixtures.tools import tool

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"
ONE, MANY = UNITS / "recorder.service", UNITS / "recorder@.service"
PROGRAM = "/usr/local/bin/recorder"
BOUND = 1.2  # what `systemd-analyze security` may give at most; the units and docs/systemd.md state what it gives


def environ(units: Path, program: Path) -> dict[str, str]:
    """Where systemd looks for units: ours, and those that belong to the tool."""
    tree = program.resolve().parents[1]
    bases = [Path(p) / "systemd" / "system" for p in ("/usr/lib", "/lib", tree / "tree/usr/lib", tree / "tree/lib")]
    base = next((path for path in bases if (path / "sysinit.target").exists()), None)
    if base is None:
        pytest.skip("the units that every other one stands on are not on this machine")
    return {**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:{base}"}


@pytest.mark.parametrize("unit", ["recorder.service", "recorder@okx.service"])
def test_units_are_valid(tmp_path: Path, unit: str) -> None:
    """`systemd-analyze verify` has nothing to say, where the program is installed."""
    program = tmp_path / "recorder"
    program.symlink_to(sys.executable)
    for each in (ONE, MANY):
        (tmp_path / each.name).write_text(each.read_text().replace(PROGRAM, str(program)))
    analyze = tool("systemd-analyze")
    done = subprocess.run(
        [analyze, "verify", "--man=no", tmp_path / unit],
        env=environ(tmp_path, analyze),
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "recorder" in line]
    assert (done.returncode, ours) == (0, [])


def test_a_mistake_in_a_unit_is_found(tmp_path: Path) -> None:
    """What the rule above rests on: a setting that does not exist is complained about."""
    analyze = tool("systemd-analyze")
    (tmp_path / "recorder.service").write_text(ONE.read_text().replace("WatchdogSec", "WatchdogSecs"))
    done = subprocess.run(
        [analyze, "verify", "--man=no", tmp_path / "recorder.service"],
        env=environ(tmp_path, analyze),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "WatchdogSecs" in done.stderr


@pytest.mark.parametrize("unit", [ONE, MANY])
def test_units_are_confined(unit: Path) -> None:
    """The score is at most BOUND, and the one that the unit and the documentation state."""
    line = [str(tool("systemd-analyze")), "security", "--offline=true", "--no-pager", str(unit)]
    shown = subprocess.run(line, capture_output=True, text=True, check=False).stdout
    found = re.search(r"exposure level for \S+: ([\d.]+)", shown)
    assert found is not None, shown
    assert float(found[1]) <= BOUND
    stated = [re.search(r"gives (?:it|them) ([\d.]+)", text) for text in (unit.read_text(), _docs())]
    assert [each is not None and abs(float(each[1]) - float(found[1])) <= 0.1 for each in stated] == [True, True]


def test_the_documentation_can_be_followed(tmp_path: Path) -> None:
    """Its commands exist, its files are there, and what it puts into a configuration is right with the credential that
    it tells to make."""
    text = _docs()
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    shown = re.findall(r"(?m)^\s*recorder ([a-z]+)|`recorder ([a-z]+)", text)
    named = {word for words in shown for word in words if word}
    assert {"init", "check", "reload", "migrate"} <= named <= commands
    assert all((ROOT / name).is_file() for name in re.findall(r"deploy/systemd/\S+\.service", text))
    (directory,) = re.findall(r"install -d -m 0700 (\S+)", text)
    assert f"LoadCredential=recorder:{directory}/" in ONE.read_text()
    (name, secret) = re.findall(rf"{directory}/(\w+) <<'END'\n(.*?)\n", text)[0]
    (tmp_path / f"recorder_{name}").write_text(secret)
    (toml,) = re.findall(r"(?s)```toml\n(.*?)```", text)
    template = (ROOT / "deploy" / "recorder.toml").read_text(encoding="utf-8")
    table = re.compile(r"(?s)\[database\]\n.*?(?=\n\[)")
    whole = table.sub(lambda _: toml, template)
    found = configfile.parse(whole, {"CREDENTIALS_DIRECTORY": str(tmp_path)}, ROOT)
    assert str.__str__(found.database.url or "") == secret


def _docs() -> str:
    return (ROOT / "docs" / "systemd.md").read_text(encoding="utf-8")


def test_both_units_are_the_same_but_for_names() -> None:
    """A setting of one is a setting of the other: they differ in the instance, and in nothing that confines."""

    def lines(unit: Path) -> list[str]:
        text = unit.read_text().replace("/%i.toml", "/recorder.toml").replace(": %i\n", "\n")
        return [line for line in text.splitlines() if line and not line.startswith("#") and "%i" not in line]

    assert lines(ONE) == lines(MANY)
    assert "Environment=RECORDER_INSTANCE=%i" in MANY.read_text().splitlines()


@pytest.mark.parametrize(
    "setting",
    ["Type=notify", "Restart=always", "RestartPreventExitStatus=78", "KillMode=mixed", "WatchdogSec=60"],
)
def test_units_say_how_the_recorder_lives(setting: str) -> None:
    """What the daemon relies on."""
    for unit in (ONE, MANY):
        assert setting in unit.read_text().splitlines()


def test_an_instance_has_a_home_of_its_own() -> None:
    """The template that `recorder init` writes takes data_dir and instance from what the units set."""
    text = (ROOT / "deploy" / "recorder.toml").read_text(encoding="utf-8")
    given = {"RECORDER_DATA_DIR": "/var/lib/recorder", "RECORDER_INSTANCE": "asia"}
    assert configfile.parse(text, given, ROOT).home == Path("/var/lib/recorder/asia")
    assert configfile.parse(text, {}, ROOT).home == Path("/var/lib/recorder")
