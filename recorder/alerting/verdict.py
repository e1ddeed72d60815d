"""What became of a message: delivered, to be tried again, or never.

Owns the three outcomes and what HTTP's status codes mean for them. Alertmanager tries again what is answered with 5xx
or not at all, and gives up a notification that is answered with 4xx (until its group's next interval).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

from recorder.redact import clean, redact

LENGTH = 300  # characters of what a messenger says about a failure
PAUSE = 60.0  # seconds, after a complaint about how often we come that names no time
LONGEST = 3600.0


class Outcome(Enum):
    """What Alertmanager is told; the value is the status of the answer."""

    DELIVERED = HTTPStatus.OK
    AGAIN = HTTPStatus.SERVICE_UNAVAILABLE
    NEVER = HTTPStatus.UNPROCESSABLE_ENTITY


@dataclass(frozen=True, slots=True)
class Verdict:
    """`why`: a sentence, without secrets. `wait`: seconds in which the messenger wants to hear nothing."""

    outcome: Outcome
    why: str = ""
    wait: float = 0.0


DELIVERED = Verdict(Outcome.DELIVERED)


def again(why: str, wait: float = 0.0) -> Verdict:
    """It may go through later."""
    return Verdict(Outcome.AGAIN, _public(why), min(max(wait, 0.0), LONGEST))


def never(why: str) -> Verdict:
    """Somebody has to change something first."""
    return Verdict(Outcome.NEVER, _public(why))


def _public(why: str) -> str:
    text = clean(redact(why))
    return text if len(text) <= LENGTH else text[: LENGTH - 1] + "…"


def by_status(status: int, retry_after: str | None) -> Verdict:
    """What HTTP alone says."""
    if 200 <= status < 300:
        return DELIVERED
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdecimal() else PAUSE
        return again("HTTP 429: too many messages", wait)
    if status >= 500 or status == HTTPStatus.REQUEST_TIMEOUT:
        return again(f"HTTP {status}")
    if 300 <= status < 400:
        return never(f"HTTP {status}: redirects are not followed, use the address that it leads to")
    return never(f"HTTP {status}: is the address right?")
