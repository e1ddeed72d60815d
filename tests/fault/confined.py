"""Runs a command under the seccomp filters that a systemd unit asks for, without systemd:
`python -m tests.fault.confined SPEC COMMAND …`.

Owns the translation of `SystemCallFilter`, `RestrictAddressFamilies` and `MemoryDenyWriteExecute` into filters, as
systemd itself makes them. Namespaces, capabilities and the view of the file system are systemd's to give.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import json
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EQ, GE, MASKED_EQ = 4, 5, 7  # libseccomp's comparisons
FAMILIES = 64  # more than there are
NO_NEW_PRIVILEGES = 38
SHM_EXEC = 0o100000


class Compare(ctypes.Structure):
    """A condition on an argument of a system call."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def settings(unit: Path) -> dict[str, list[str]]:
    """Every setting of a unit, with its values in order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def calls(tool: Path, filters: Iterable[str]) -> list[str]:
    """The system calls that the lines of `SystemCallFilter` leave."""
    left: set[str] = set()
    for line in filters:
        names = {call for word in line.lstrip("~").split() for call in _expanded(tool, word)}
        left = left - names if line.startswith("~") else left | names
    return sorted(left)


def _expanded(tool: Path, word: str) -> set[str]:
    """A set of system calls, and the sets in it."""
    if not word.startswith("@"):
        return {word}
    shown = subprocess.run([tool, "syscall-filter", word], capture_output=True, text=True, check=True).stdout
    lines = [line.strip() for line in shown.splitlines()[1:]]
    return {call for line in lines if line and not line.startswith("#") for call in _expanded(tool, line)}


def spec(tool: Path, unit: Path) -> str:
    """What to confine, for the command line."""
    said = settings(unit)
    assert said["MemoryDenyWriteExecute"] == ["yes"]
    families = [getattr(socket, name) for line in said["RestrictAddressFamilies"] for name in line.split()]
    return json.dumps({"calls": calls(tool, said["SystemCallFilter"]), "families": [int(f) for f in families]})


def available() -> bool:
    """Whether this machine has the library."""
    return ctypes.util.find_library("seccomp") is not None


class Filter:
    """A seccomp filter in the making."""

    def __init__(self, otherwise: int) -> None:
        self._lib = ctypes.CDLL(ctypes.util.find_library("seccomp"), use_errno=True)
        self._lib.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._lib.seccomp_init(ctypes.c_uint32(otherwise)))

    def rule(self, action: int, name: str, *conditions: Compare) -> None:
        """What becomes of a call; one that this machine does not have needs no rule."""
        number = self._lib.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            array = (Compare * len(conditions))(*conditions)
            code = self._lib.seccomp_rule_add_array(
                self._context, ctypes.c_uint32(action), number, len(conditions), array
            )
            assert code == 0, (name, code)

    def load(self) -> None:
        """From now on, for this process and its children."""
        assert self._lib.seccomp_load(self._context) == 0


def confine(names: list[str], families: list[int]) -> None:
    """Confine this process."""
    assert ctypes.CDLL(None).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    refused = Filter(ALLOW)
    for family in (n for n in range(FAMILIES) if n not in families):
        refused.rule(ERRNO | errno.EAFNOSUPPORT, "socket", Compare(0, EQ, family, 0))
    refused.rule(ERRNO | errno.EAFNOSUPPORT, "socket", Compare(0, GE, FAMILIES, 0))
    both = mmap.PROT_WRITE | mmap.PROT_EXEC
    refused.rule(ERRNO | errno.EPERM, "mmap", Compare(2, MASKED_EQ, both, both))
    for call in ("mprotect", "pkey_mprotect"):
        refused.rule(ERRNO | errno.EPERM, call, Compare(2, MASKED_EQ, mmap.PROT_EXEC, mmap.PROT_EXEC))
    refused.rule(ERRNO | errno.EPERM, "shmat", Compare(2, MASKED_EQ, SHM_EXEC, SHM_EXEC))
    allowed = Filter(ERRNO | errno.EPERM)
    for call in [*names, "seccomp"]:
        allowed.rule(ALLOW, call)
    refused.load()
    allowed.load()


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    confine(asked["calls"], asked["families"])
    os.execvp(sys.argv[2], sys.argv[2:])
