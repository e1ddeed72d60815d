"""What does not come up says why, in one sentence that also says what to do."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.compose.stack import HARD, Project, Stack, docker

pytestmark = pytest.mark.timeout(600)


def _run(project: Project, service: str, *options: str) -> tuple[int, list[str]]:
    """One container of a service without what it depends on: its exit code, and the lines that it says."""
    run = project.compose("run", "--rm", "--no-deps", "--no-TTY", *options, service, check=False, seconds=120)
    said = [
        line for line in run.stderr.splitlines() if not line.lstrip().startswith(("Network", "Volume", "Container"))
    ]
    return run.returncode, said


def _secret(folder: Path, text: str, mode: int = 0o644) -> str:
    """A file that holds a password, where containers can get at it."""
    folder.chmod(0o755)
    file = folder / "secret"
    file.write_text(text)
    file.chmod(mode)
    return str(file)


def test_a_taken_port_is_named(alone: Project) -> None:
    """A port that somebody else has is Docker's own sentence, with the address in it, and nothing of ours hides it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        alone.environ["PROMETHEUS_PORT"] = str(port)
        run = alone.compose("up", "--detach", "--no-deps", "prometheus", check=False)
    assert run.returncode != 0
    assert f"127.0.0.1:{port}" in run.stderr.splitlines()[-1]
    assert "already" in run.stderr.splitlines()[-1]


def test_a_volume_of_somebody_else(alone: Project, tmp_path: Path) -> None:
    """A spool that the recorder's user does not own ends it with 78 and one sentence."""
    tmp_path.chmod(0o755)
    code, said = _run(alone, "recorder", "--volume", f"{tmp_path}:/var/lib/recorder")
    assert (code, said) == (
        78,
        ["data_dir /var/lib/recorder belongs to uid 0, not to uid 10001: run it as its owner"],
    )


def test_a_volume_that_cannot_be_written(alone: Project) -> None:
    """A spool on a volume that is mounted for reading only ends it with 78 and one sentence."""
    code, said = _run(alone, "recorder", "--volume", "recorder:/var/lib/recorder:ro")
    assert code == 78, said
    assert len(said) == 1
    assert said[0].startswith("data_dir /var/lib/recorder cannot be used: Read-only file system")
    assert said[0].endswith("; choose another one, or have it mounted for writing")


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [("", 0o644, "is empty"), ("secret", 0o600, "cannot be read: Permission denied")],
    ids=["empty", "unreadable"],
)
def test_a_password_file_that_is_no_use_to_the_recorder(
    alone: Project, tmp_path: Path, text: str, mode: int, reason: str
) -> None:
    """The recorder says which key names which file, and what is wrong with it, and ends with 78."""
    alone.environ |= {
        "RECORDER_DATABASE_PASSWORD": "",
        "RECORDER_DATABASE_PASSWORD_FILE": _secret(tmp_path, text, mode),
    }
    code, said = _run(alone, "recorder")
    where = "/etc/recorder/recorder.toml: database.password: names the file /run/secrets/recorder_password"
    assert (code, said) == (78, [f"{where}, which {reason}"])


@pytest.mark.parametrize(
    ("text", "mode", "sentence"),
    [
        ("", 0o644, "GRAFANA_DATABASE_PASSWORD is empty: put a password into .env, or into the file that"),
        ("secret", 0o600, "the file of GRAFANA_DATABASE_PASSWORD_FILE cannot be read in the container by uid"),
    ],
    ids=["empty", "unreadable"],
)
def test_a_password_file_that_is_no_use_to_the_logins(
    alone: Project, tmp_path: Path, text: str, mode: int, sentence: str
) -> None:
    """The step that makes the logins says which password it lacks, before it asks the database anything."""
    alone.environ |= {"GRAFANA_DATABASE_PASSWORD": "", "GRAFANA_DATABASE_PASSWORD_FILE": _secret(tmp_path, text, mode)}
    code, said = _run(alone, "users")
    assert (code, len(said)) == (78, 1), said
    assert said[0].startswith(sentence)


def test_a_password_file_that_is_not_there(alone: Project, tmp_path: Path) -> None:
    """A file that does not exist is Docker's own sentence, with the path in it."""
    missing = tmp_path / "nowhere"
    alone.environ |= {"POSTGRES_PASSWORD": "", "POSTGRES_PASSWORD_FILE": str(missing)}
    run = alone.compose("up", "--detach", "--no-deps", "database", check=False)
    assert run.returncode != 0
    assert str(missing) in run.stderr.splitlines()[-1]


def test_another_password_than_the_databases(stack: Stack) -> None:
    """A password that the database was not made with: one sentence that says so, and how it is changed."""
    code, said = _run(stack.box, "users", "--env", "POSTGRES_PASSWORD=another")
    assert (code, len(said)) == (78, 1), said
    assert said[0].startswith(
        "the database does not know this POSTGRES_PASSWORD: it keeps the one that it was made with;"
    )
    assert "docker compose exec database psql -U postgres -c '\\password'" in said[0]


def test_migrate_with_a_wrong_password(stack: Stack) -> None:
    """`recorder migrate` with a wrong password: 69 and one sentence, without any password in it."""
    code, said = _run(stack.box, "migrate", "--env", "RECORDER_DATABASE_PASSWORD=hunter2 is wrong")
    assert (code, len(said)) == (69, 1), said
    assert said[0].startswith("the database refuses the password; check the one in [database]")
    assert "hunter2" not in said[0]


def test_passwords_in_files(alone: Project, tmp_path: Path) -> None:
    """With every password in a file, whatever characters it has, logins are made and the schema is migrated."""
    tmp_path.chmod(0o755)
    for name in ("POSTGRES_PASSWORD", "RECORDER_DATABASE_PASSWORD", "GRAFANA_DATABASE_PASSWORD", "GRAFANA_PASSWORD"):
        file = tmp_path / name
        file.write_text(f"{HARD}{name}\n")
        file.chmod(0o644)
        alone.environ |= {name: "", f"{name}_FILE": str(file)}
    alone.compose("up", "--detach", "migrate")
    containers = alone.containers()
    code = docker(["docker", "wait", containers["migrate"]["Id"]]).stdout.strip()
    assert code == "0", alone.logs("migrate")
    run = alone.compose("run", "--rm", "--no-deps", "--no-TTY", "recorder", "check", "--connect", check=False)
    assert "ok   database: " in run.stdout, run.stdout
