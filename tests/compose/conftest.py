"""The stack, up once for all tests of it, and a cheap project for the ways in which it does not come up."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.engine import engine
from tests.compose.stack import IMAGE, Project, Stack, environment, standing
from tests.fault.process import ROOT


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose files the containers can read as users of their own."""
    made = tmp_path_factory.mktemp("compose")
    made.chmod(0o755)
    return made


@pytest.fixture(scope="session")
def image(home: Path) -> Iterator[str]:
    """The recorder's image as it is built from this working copy, on an engine that has the others."""
    with engine([ROOT / "docker-compose.yml"], environment()):
        project = Project("recorder-test-build", home, [ROOT / "docker-compose.yml"], environment())
        project.environ["RECORDER_IMAGE"] = IMAGE
        project.compose("build", "--quiet", "recorder", seconds=900)
        yield IMAGE


@pytest.fixture(scope="session")
def stack(image: str, home: Path) -> Iterator[Stack]:
    """The whole stack with the demo, up and well."""
    with standing(home, image) as up:
        yield up


@pytest.fixture
def well(stack: Stack) -> Stack:
    """The same at the beginning of a test, whatever the one before did to it."""
    stack.well()
    stack.all_connected()
    return stack


@pytest.fixture
def alone(image: str, tmp_path: Path) -> Iterator[Project]:
    """A project with the stack's images and nothing running, as it comes out of .env.example."""
    environ = environment() | {"RECORDER_IMAGE": image}
    project = Project(f"recorder-alone-{secrets.token_hex(3)}", tmp_path, [ROOT / "docker-compose.yml"], environ)
    yield project
    project.compose("down", "--volumes", "--timeout", "5", check=False)
