"""Named places where a test can make the process die, so that every one of them is tried on purpose.

`RECORDER_FAILPOINT=name:k` sends SIGKILL to the process at the k-th passage of `name` (k defaults to 1).
Without the variable a passage costs one comparison. Never does anything else.
"""

import os
import signal

_name, _, _count = os.environ.get("RECORDER_FAILPOINT", "").partition(":")
_left = int(_count or 1)

NAMES = (
    "after_append",
    "before_sync",
    "after_sync",
    "before_copy",
    "mid_copy",
    "before_commit",
    "after_commit",
    "mid_rotation",
    "during_catch_up",
)


def fail_point(name: str) -> None:
    """Die here, if the environment says so."""
    if name == _name:
        _strike()


def _strike() -> None:
    global _left
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
