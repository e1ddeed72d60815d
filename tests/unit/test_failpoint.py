"""Failpoints: they strike where and when they are told to, and nowhere else."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recorder.failpoint import NAMES

PACKAGE = Path(__file__).parents[2] / "recorder"
PASS = "import sys; from recorder.failpoint import fail_point\nfor n in range(4): print(n, flush=True); fail_point(%r)"


def run(passing: str, wanted: str) -> tuple[int, str]:
    """Pass a failpoint four times in a process of its own; its end and how far it came."""
    env = {**os.environ, "RECORDER_FAILPOINT": wanted}
    done = subprocess.run([sys.executable, "-c", PASS % passing], env=env, capture_output=True, text=True, check=False)
    return done.returncode, "".join(done.stdout.split())


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("before_copy", (-signal.SIGKILL, "0")),
        ("before_copy:3", (-signal.SIGKILL, "012")),
        ("before_copy:9", (0, "0123")),
        ("mid_copy", (0, "0123")),
        ("", (0, "0123")),
    ],
)
def test_a_failpoint_strikes_at_the_passage_that_was_named(wanted: str, expected: tuple[int, str]) -> None:
    """The process dies as by kill -9 at the k-th passage of that name, the first if no k is given."""
    assert run("before_copy", wanted) == expected


def test_the_failpoints_that_stand_in_the_code_are_those_that_are_named() -> None:
    """A test that asks for a point which nobody passes would prove nothing."""
    passed = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "fail_point":
                (argument,) = node.args
                assert isinstance(argument, ast.Constant), path
                passed.add(argument.value)
    assert passed == set(NAMES)
