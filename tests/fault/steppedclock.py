"""`python -m tests.fault.steppedclock SOCKET PYTHON -m recorder …`: the real recorder on a clock that a test moves.

Owns the time of the process it runs in: what `time` says, and every wait that has an end (conditions, events and
queues, `sleep`, `select.poll`). A wait ends when what it waits for is there, or when the clock was moved past its end;
by itself the clock never moves. So a day can pass in minutes, and a busy machine makes nothing late: the clock moves
on only when every thread waits. Sockets with a timeout of their own (REST, the database) keep real time, and the
clock stands while somebody is in one of those calls. Threads of the HTTP port are not looked at: who scrapes does it
between two moves. Changes nothing in the recorder: what it patches is the standard library below it.

The protocol on the unix socket: `moment thread,thread\n` (seconds since 1970; threads that are not looked at) comes in,
`\n` goes out as soon as all other threads wait again. When the other side has gone, time goes on at its own pace, so
that the process can end.
"""

from __future__ import annotations

import _thread
import datetime as real_datetime
import os
import queue
import runpy
import select
import selectors
import socket
import socketserver
import sys
import threading
import time
import traceback
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

# These keep the real functions: they were imported before anything is replaced.
REAL = (selectors, socketserver)
UNSEEN = ("http", "Thread-", "rest_")  # the HTTP port's threads and those of REST requests, by their first letters
LOOK, PATIENCE = 0.002, 5_000  # seconds between two looks, and after how many something must be wrong
_real_poll = select.poll


class Wake(Protocol):
    """How a thread that waits is woken, and whether it is awake already."""

    def wake(self) -> None: ...
    def awake(self) -> bool: ...


@dataclass(slots=True)
class Wait:
    """A thread that waits until `end` at the latest."""

    end: float
    by: Wake
    over: bool = False  # its end has come


@dataclass(slots=True)
class World:
    """The time, and who waits for it. Seconds since 1970; `monotonic` counts from the first moment."""

    now: float
    start: float = 0.0
    waits: dict[int, Wait] = field(default_factory=dict)
    # Raw locks: everything else in `threading` is what is being replaced.
    guard: _thread.LockType = field(default_factory=_thread.allocate_lock)
    changed: _thread.LockType = field(default_factory=_thread.allocate_lock)

    def monotonic(self) -> float:
        """Seconds since the process began; never 0, which some take for never."""
        return self.now - self.start + 1000.0

    def wait(self, seconds: float | None, by: Wake, block: Any) -> bool:
        """Block until woken (True) or until the time is over (False)."""
        one = Wait(float("inf") if seconds is None else self.now + max(0.0, seconds), by)
        me = _thread.get_ident()
        with self.guard:
            self.waits[me] = one
        _signal(self.changed)
        try:
            block()
        finally:
            with self.guard:
                self.waits.pop(me, None)
        return not one.over

    def move(self, moment: float) -> None:
        """Let the time be this late, and wake whoever waited for it."""
        self.now = max(self.now, moment)
        with self.guard:
            for one in self.waits.values():
                if one.end <= self.now and not one.over:
                    one.over = True
                    one.by.wake()

    def settle(self, unseen: tuple[str, ...]) -> None:
        """Until every thread waits for something that is not there yet; but for these, by the beginning of the name."""
        looks = 0
        while self._awake(unseen) is not None:
            self.changed.acquire(True, LOOK)
            looks += 1
            if looks == PATIENCE:
                _tell(self._awake(unseen))

    def _awake(self, unseen: tuple[str, ...]) -> threading.Thread | None:
        """A thread that does not wait. Who waits in `poll` is asked last: that costs a call to the kernel each."""
        watched = [thread for thread in threading.enumerate() if not thread.name.startswith(unseen)]
        with self.guard:
            waits = [self.waits.get(thread.ident or 0) for thread in watched]
            for thread, one in zip(watched, waits, strict=True):
                if one is None or one.over:
                    return thread
            return next((t for t, one in zip(watched, waits, strict=True) if one is not None and one.by.awake()), None)


def _tell(thread: threading.Thread | None) -> None:
    """Where the thread is that the clock waits for, into the log of a test that will fail."""
    if thread is not None:
        where = "".join(traceback.format_stack(sys._current_frames().get(thread.ident or 0)))
        sys.stderr.write(f"the clock waits for {thread.name} at\n{where}\n")
        sys.stderr.flush()


def _signal(lock: _thread.LockType) -> None:
    try:
        lock.release()
    except RuntimeError:
        return  # it was signalled already


WORLD = World(0.0)


# --- the waits -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Locked:
    """Woken by a lock that is let go."""

    lock: _thread.LockType

    def wake(self) -> None:
        """Let go, unless somebody has."""
        _signal(self.lock)

    def awake(self) -> bool:
        """Whether somebody has."""
        return not self.lock.locked()


def condition_wait(self: Any, timeout: float | None = None) -> bool:
    """`threading.Condition.wait`, as the standard library has it but for the clock."""
    if not self._is_owned():
        raise RuntimeError("cannot wait on un-acquired lock")
    waiter = _thread.allocate_lock()
    waiter.acquire()
    self._waiters.append(waiter)
    saved = self._release_save()
    got = False
    try:
        got = WORLD.wait(timeout, Locked(waiter), waiter.acquire)
        return got
    finally:
        self._acquire_restore(saved)
        if not got and waiter in self._waiters:
            self._waiters.remove(waiter)


def sleep(seconds: float) -> None:
    """`time.sleep`."""
    lock = _thread.allocate_lock()
    lock.acquire()
    WORLD.wait(seconds, Locked(lock), lock.acquire)


_own = threading.local()


class Poll:
    """`select.poll`, with one more file to be woken by."""

    def __init__(self) -> None:
        self._poll = _real_poll()
        self._masks: dict[int, int] = {}

    def register(self, file: Any, mask: int = select.POLLIN | select.POLLPRI | select.POLLOUT) -> None:
        """As the real one."""
        number = file if isinstance(file, int) else file.fileno()
        self._masks[number] = mask
        self._poll.register(number, mask)

    modify = register

    def unregister(self, file: Any) -> None:
        """As the real one."""
        number = file if isinstance(file, int) else file.fileno()
        del self._masks[number]
        self._poll.unregister(number)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """As the real one; `timeout` in milliseconds of the clock that is moved."""
        found = self._poll.poll(0)
        if found or timeout == 0:
            return found
        if not hasattr(_own, "wake"):
            _own.wake = os.eventfd(0, os.EFD_NONBLOCK)
        self._poll.register(_own.wake, select.POLLIN)
        try:
            seconds = None if timeout is None or timeout < 0 else timeout / 1000
            WORLD.wait(seconds, Polled(_own.wake, dict(self._masks)), lambda: found.extend(self._poll.poll()))
        finally:
            self._poll.unregister(_own.wake)
        if any(number == _own.wake for number, _ in found):
            os.eventfd_read(_own.wake)
        return [one for one in found if one[0] != _own.wake]


@dataclass(slots=True)
class Polled:
    """Woken by a file of its own, or by those that it waits for."""

    file: int
    masks: dict[int, int]

    def wake(self) -> None:
        """Make its own file readable."""
        os.eventfd_write(self.file, 1)

    def awake(self) -> bool:
        """Whether one of the files is ready."""
        look = _real_poll()
        for number, mask in ({self.file: select.POLLIN} | self.masks).items():
            look.register(number, mask)
        return bool(look.poll(0))


# --- the clocks ------------------------------------------------------------------------------------------------------


class _Kind(type):
    """Real moments are moments, too."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, real_datetime.datetime)


class Moment(real_datetime.datetime, metaclass=_Kind):
    """`datetime.datetime`, which asks the clock that is moved."""

    @classmethod
    def now(cls, tz: real_datetime.tzinfo | None = None) -> Any:
        """The time."""
        return real_datetime.datetime.fromtimestamp(WORLD.now, tz)


def replace() -> None:
    """From now on this process has the clock that is moved."""
    time.time = lambda: WORLD.now
    time.time_ns = lambda: round(WORLD.now * 1e6) * 1000
    time.monotonic = WORLD.monotonic
    time.monotonic_ns = lambda: round(WORLD.monotonic() * 1e9)
    time.sleep = sleep  # type: ignore[assignment]
    threading.Condition.wait = condition_wait  # type: ignore[method-assign]
    threading._time = WORLD.monotonic  # type: ignore[attr-defined]
    queue.time = WORLD.monotonic  # type: ignore[attr-defined]
    select.poll = Poll  # type: ignore[misc,assignment]


def replace_dates() -> None:
    """The same for those who ask the date: `schedule`, and modules that import the class by its name."""
    import schedule  # after `replace`

    shim = types.ModuleType("datetime")
    shim.__dict__.update(vars(real_datetime) | {"datetime": Moment})
    schedule.datetime = shim  # type: ignore[attr-defined]
    for name, module in list(sys.modules.items()):
        if name.startswith("recorder.") and getattr(module, "datetime", None) is real_datetime.datetime:
            module.datetime = Moment  # type: ignore[attr-defined]


def replace_boot(ago: float) -> None:
    """The kernel's clock, too, stood `ago` seconds earlier: when the process was started is told from it."""
    from prometheus_client import ProcessCollector  # after `replace`

    boot = ProcessCollector._boot_time
    ProcessCollector._boot_time = lambda self: boot(self) - ago  # type: ignore[method-assign,no-untyped-call]


# --- the process -----------------------------------------------------------------------------------------------------


def obey(commands: socket.socket, lines: Iterable[str]) -> None:
    """Move the clock as told; when nobody tells any more, let it run."""
    for line in lines:
        moment, _, unseen = line.strip().partition(" ")
        WORLD.move(float(moment))
        WORLD.settle((*UNSEEN, *filter(None, unseen.split(","))))
        try:
            commands.sendall(b"\n")
        except OSError:
            break
    while True:
        REAL_SLEEP(0.01)
        WORLD.move(WORLD.now + 0.01)


REAL_SLEEP = time.sleep


def main(arguments: list[str]) -> None:
    """Connect, wait for the first moment, and become the recorder."""
    commands = socket.socket(socket.AF_UNIX)
    commands.connect(arguments[0])
    lines = commands.makefile("r")
    WORLD.now = WORLD.start = float(lines.readline().split()[0])
    ago = time.time() - WORLD.now
    replace()
    import recorder.daemon  # with everything below it, on the clock that is moved

    assert recorder.daemon
    replace_dates()
    replace_boot(ago)
    _thread.start_new_thread(obey, (commands, lines))
    sys.argv = ["recorder", *arguments[4:]]
    runpy.run_module("recorder", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    # Imported under its own name: the module that is run and the one that is patched must be one.
    from tests.fault import steppedclock

    steppedclock.main(sys.argv[1:])
