"""The files of the box, as far as they can be judged without starting it: Dockerfile, docker-compose.yml, .env.example.

`make compose-test` starts it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recorder import configfile
from recorder.alerting.settings import NAMES
from tests.fault.process import ROOT

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PASSWORDS = ("POSTGRES_PASSWORD", "RECORDER_DATABASE_PASSWORD", "GRAFANA_DATABASE_PASSWORD", "GRAFANA_PASSWORD")
MOST = 3584 << 20


def config(env_file: Path, *profiles: str) -> subprocess.CompletedProcess[str]:
    """`docker compose config` as JSON; skips the test where there is no Compose. It needs no engine."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("no docker compose here")
    options = [part for profile in profiles for part in ("--profile", profile)]
    return subprocess.run(
        [docker, "compose", "--env-file", str(env_file), *options, "config", "--format", "json"],
        cwd=ROOT,
        env={"PATH": str(Path(docker).parent), "HOME": str(env_file.parent)},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """Every service as it is with .env.example unedited, the demo's included."""
    run = config(ROOT / ".env.example", "demo")
    assert run.returncode == 0, run.stderr
    found: dict[str, dict[str, Any]] = json.loads(run.stdout)["services"]
    return found


def test_the_compose_file_is_good_with_the_example_unedited(services: dict[str, dict[str, Any]]) -> None:
    """`cp .env.example .env` is all that has to be done, and nothing is said about it."""
    assert config(ROOT / ".env.example", "demo").stderr == ""
    without = config(ROOT / ".env.example")
    demo = {"venues", "demo-database", "demo-migrate", "demo-recorder"}
    assert json.loads(without.stdout)["services"].keys() == services.keys() - demo


@pytest.mark.parametrize("missing", PASSWORDS)
def test_without_its_passwords_it_stops_with_a_sentence(missing: str, tmp_path: Path) -> None:
    """A password that nobody set stops everything, and the sentence says which one and what to do."""
    lines = (ROOT / ".env.example").read_text().splitlines(keepends=True)
    (tmp_path / "env").write_text("".join(line for line in lines if not line.startswith(f"{missing}=")))
    run = config(tmp_path / "env")
    assert run.returncode != 0
    assert len(run.stderr.strip().splitlines()) == 1
    assert f"required variable {missing} is missing a value: " in run.stderr
    assert ".env.example" in run.stderr


def test_without_an_env_file_it_says_what_to_do(tmp_path: Path) -> None:
    """The first thing that somebody sees who forgot the .env."""
    (tmp_path / "env").write_text("")
    sentence = 'run "cp .env.example .env", or copy its line into the .env you have, and make the password your own'
    assert config(tmp_path / "env").stderr.strip().endswith(sentence)


def test_only_what_is_meant_to_be_is_published(services: dict[str, dict[str, Any]]) -> None:
    """Grafana, Prometheus and the recorder's page; out of the example, none of them beyond loopback."""
    found = {
        name: [(port["host_ip"], port["published"], port["target"]) for port in service["ports"]]
        for name, service in services.items()
        if service.get("ports")
    }
    assert found == {
        "grafana": [("127.0.0.1", "3000", 3000)],
        "prometheus": [("127.0.0.1", "9090", 9090)],
        "recorder": [("127.0.0.1", "9464", 9464)],
    }


def test_memory_limits_fit(services: dict[str, dict[str, Any]]) -> None:
    """Every service has a limit, all together at most 3.5 GiB, and the file's first lines tell the two sums."""
    limits = {name: int(service["mem_limit"]) for name, service in services.items()}
    profiles = {name for name, service in services.items() if service.get("profiles")}
    everything = sum(limits.values())
    usual = everything - sum(limits[name] for name in profiles)
    assert everything <= MOST
    told = f"The memory limits are {usual >> 20} MiB in all, the demo included {everything >> 20} MiB"
    assert told in (ROOT / "docker-compose.yml").read_text()


def test_every_service_is_looked_after(services: dict[str, dict[str, Any]]) -> None:
    """What lasts is restarted and given time to stop; every log is rotated; every image is pinned."""
    for name, service in services.items():
        assert service["logging"]["options"] == {"max-size": "20m", "max-file": "5"}, name
        if service["restart"] != "no":
            assert service["restart"] == "unless-stopped", name
            assert service["stop_grace_period"], name
        assert re.fullmatch(r"recorder:local|[\w/]+:v?\d+\.\d+\.\d+(-pg\d+)?", service["image"]), name


def test_the_relay_is_given_every_setting(services: dict[str, dict[str, Any]]) -> None:
    """What the relay can be told stands in .env: no setting of it is lost on the way into its container."""
    assert {f"ALERT_{name}" for name in NAMES} <= services["relay"]["environment"].keys()


def test_a_proxy_on_the_machine_itself_can_be_named(tmp_path: Path) -> None:
    """PROXY of .env reaches the recorder and the relay, and both know the machine as host.docker.internal."""
    proxy = "socks5h://host.docker.internal:1080"
    (tmp_path / "env").write_text((ROOT / ".env.example").read_text() + f"PROXY={proxy}\n")
    found = json.loads(config(tmp_path / "env").stdout)["services"]
    for name in ("recorder", "relay"):
        assert found[name]["environment"]["PROXY"] == proxy, name
        assert any("host.docker.internal" in host and "host-gateway" in host for host in found[name]["extra_hosts"]), (
            name
        )


def test_mirrors_are_a_variable(tmp_path: Path) -> None:
    """Whoever sits behind mirrors changes .env only: every image and the base image have the prefix."""
    (tmp_path / "env").write_text((ROOT / ".env.example").read_text() + "IMAGE_PREFIX=mirror.example.com/\n")
    found = json.loads(config(tmp_path / "env", "demo").stdout)["services"]
    built = {name for name, service in found.items() if "build" in service}
    for name, service in found.items():
        image = service["build"]["args"]["PYTHON_IMAGE"] if name in built else service["image"]
        assert image.startswith("mirror.example.com/"), name


def test_the_dockerfile_has_no_faults() -> None:
    """hadolint finds nothing; no line has to be fetched before the build begins."""
    hadolint = Path(sys.executable).with_name("hadolint")
    run = subprocess.run([hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, ""), run.stdout + run.stderr
    assert not re.search(r"(?m)^#\s*syntax\s*=", DOCKERFILE.read_text())


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    """The judge of the test above can say no."""
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN apt-get install x\n")
    hadolint = Path(sys.executable).with_name("hadolint")
    assert subprocess.run([hadolint, tmp_path / "Dockerfile"], capture_output=True).returncode == 1


@pytest.mark.parametrize("file", ["recorder.toml", "demo.toml"])
def test_configurations_are_valid_in_the_containers(file: str) -> None:
    """What the containers are configured with is valid with the variables that they are given."""
    environ = {
        "RECORDER_DATABASE_URL": "postgresql://recorder@database:5432/market",
        "RECORDER_DATABASE_PASSWORD": "p@ss:w/or%64",
        "PROXY": "socks5h://host.docker.internal:1080",
    }
    found = configfile.load(ROOT / "deploy" / file, environ)
    assert found.database.url == "postgresql://recorder@database:5432/market?password=p%40ss%3Aw%2For%2564"
    proxies = {None if source.proxy is None else str.__str__(source.proxy) for source in found.sources}
    if file == "demo.toml":
        assert [source.name for source in found.sources] == ["sim-okx", "sim-infoway"]
        assert proxies == {None}
    else:
        assert proxies == {environ["PROXY"]}
