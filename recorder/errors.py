"""The few ways things go wrong here. Each class answers one question: who acts?

Owns the exception classes and the exit codes of the command line. Never catches anything.
"""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command line (documented in the README)."""

    OK = 0
    NEGATIVE = 1
    USAGE = 2
    UNVERIFIABLE = 3
    DATABASE_UNAVAILABLE = 69
    INTERNAL = 70
    LOCKED = 73
    TEMPORARY = 75
    CONFIGURATION = 78


class RecorderError(Exception):
    """Something went wrong; the message says what, where and what to do."""

    exit_code = Exit.INTERNAL


class ConfigError(RecorderError):
    """The user mends the configuration. `problems` holds every mistake found, one sentence each."""

    exit_code = Exit.CONFIGURATION

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class AlreadyRunning(RecorderError):
    """The user stops the other recorder that holds this data directory or identity."""

    exit_code = Exit.LOCKED


class SinkUnavailable(RecorderError):
    """The writer retries for ever; feeds go on spooling. The message says why the database is not usable."""

    exit_code = Exit.DATABASE_UNAVAILABLE


class SpoolFault(RecorderError):
    """The disk or the spool refuses twice: the supervisor stops the process and systemd restarts it."""

    exit_code = Exit.TEMPORARY


class ConnectionLost(RecorderError):
    """The feed reconnects after its backoff. `reason` is a label of `recorder_reconnects_total`."""

    def __init__(self, reason: str, detail: str = "", code: str | None = None) -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail
        self.code = code


class PoisonMessage(RecorderError):
    """One frame cannot be decoded: it goes to quarantine and costs only itself."""
