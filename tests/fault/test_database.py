"""The sink while the way to its server, or the server itself, fails: bounded waiting, and every row exactly once."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from recorder.errors import SinkUnavailable
from recorder.store.connection import CONNECT_SECONDS, Backend, Watchdog
from recorder.store.sink import Sink, SinkParked
from tests.fault.pooler import Pooler
from tests.fault.proxy import Proxy, proxied
from tests.integration.flushes import FEED, RECORDER, RUN, Own, ask, owners, position, sink, stored, trades

DEADLINE = 1.0
SLACK = 2.0  # a busy machine; the waiting that is bounded here had no end without a deadline
HALF = 300_000  # bytes: the middle of the COPY of trades(0, 5000)


@pytest.fixture
def own(database: str) -> Iterator[Own]:
    """Makes sinks that own their positions, and closes them."""
    with owners(database) as make:
        yield make


def _target(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 5432


@pytest.fixture
def proxy(database: str) -> Iterator[Proxy]:
    """A proxy before the test's database."""
    with proxied(*_target(database)) as made:
        yield made


def _until_stored(one: Sink, attempts: int = 5) -> None:
    """The same flush again and again, as the writer does."""
    flush = trades(0, 5000)
    for _ in range(attempts):
        try:
            one.commit(flush)
        except SinkUnavailable:
            continue
        return
    raise AssertionError("the flush was never committed")


def test_a_swallowed_commit_reply_is_settled_by_the_position(own: Own, proxy: Proxy, database: str) -> None:
    """COMMIT happened, its reply was lost: the position says so, and the call returns as if nothing had been."""
    one = own(through=proxy.url(database))
    proxy.swallow_commit_reply()
    assert one.commit(trades(0, 5000)) == []
    assert proxy.swallowed.is_set()
    assert stored(database) == list(range(5000))
    one.commit(trades(5000, 5010))
    assert stored(database) == list(range(5010))


def test_what_was_set_aside_is_told_after_a_swallowed_reply(own: Own, proxy: Proxy, database: str) -> None:
    """The frames that a commit of unclear outcome had set aside are told when it is found committed."""
    one = own(through=proxy.url(database))
    proxy.swallow_commit_reply()
    assert [frame.n for frame in one.commit(trades(0, 50, {7}))] == [7]
    assert proxy.swallowed.is_set()
    assert len(stored(database)) == 49
    assert ask(database, "SELECT count(*) FROM quarantine") == [(1,)]


def test_a_swallowed_reply_and_then_no_server(own: Own, proxy: Proxy, database: str) -> None:
    """No server to ask whether COMMIT happened: the flush is handed back, and found committed when it returns."""
    one = own(through=proxy.url(database))
    proxy.swallow_commit_reply()

    def stop() -> None:
        assert proxy.swallowed.wait(10)
        proxy.stop()

    stopper = threading.Thread(target=stop)
    original = one._again

    def wait_for_stop(*args: object) -> object:
        stopper.join()
        return original(*args)  # type: ignore[arg-type]

    one._again = wait_for_stop  # type: ignore[assignment, method-assign]
    stopper.start()
    flush = trades(0, 5000)
    with pytest.raises(SinkUnavailable, match="no database server listens there"):
        one.commit(flush)
    proxy.start()
    assert one.commit(flush) == []
    assert stored(database) == list(range(5000))


def test_a_swallowed_take_over_does_not_fence_ourselves(own: Own, proxy: Proxy, database: str) -> None:
    """A take-over that happened though its reply was lost is ours: the next one succeeds."""
    one = own(through=proxy.url(database))
    proxy.swallow_commit_reply()
    with pytest.raises(SinkUnavailable):
        one.take_over({})
    assert proxy.swallowed.is_set()
    one.take_over({})
    one.commit(trades(0, 10))
    assert stored(database) == list(range(10))


FLUSH = """
import sys
from tests.integration.flushes import FEED, RUN, candle, part, sink, trades
one = sink(sys.argv[1])
one.take_over({FEED: (RUN, 0)})
flush = trades(0, 5000)
flush.parts["candles"] = [part([candle(n, "1.5", "f", bar=n) for n in range(10)], range(10))]
one.commit(flush)
"""


@pytest.mark.parametrize(
    ("point", "done"),
    [("before_copy", 0), ("mid_copy", 0), ("mid_copy:2", 0), ("before_commit", 0), ("after_commit", 5000)],
)
def test_killed_at_a_failpoint(own: Own, database: str, point: str, done: int) -> None:
    """SIGKILL at each named point of a commit: all or nothing is stored, and the position tells which."""
    env = {**os.environ, "RECORDER_FAILPOINT": point}
    command = [sys.executable, "-c", FLUSH, database]
    died = subprocess.run(command, env=env, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60)
    assert died.returncode == -signal.SIGKILL, died.stderr
    one = own()
    assert one.positions()[FEED].next == done
    assert len(stored(database)) == done
    if not done:
        _until_stored(one)
    assert stored(database) == list(range(5000))


def _stall(proxy: Proxy) -> None:
    proxy.stall_after(HALF)


def _black_hole(proxy: Proxy) -> None:
    proxy.black_hole()


@pytest.mark.parametrize("fault", [_stall, _black_hole])
def test_silence_ends_at_the_deadline(own: Own, proxy: Proxy, database: str, fault: Callable[[Proxy], None]) -> None:
    """A route that swallows everything, or stops mid-COPY: the call returns at its deadline with a sentence; when
    the route is back the transaction that still holds the lock is ended, and every row is stored once."""
    one = own(through=proxy.url(database), deadline=DEADLINE)
    fault(proxy)
    started = time.monotonic()
    with pytest.raises(SinkUnavailable, match="did not answer within 1 s"):
        one.commit(trades(0, 5000))
    assert time.monotonic() - started < DEADLINE + SLACK
    proxy.resume()
    _until_stored(one)
    assert stored(database) == list(range(5000))


@pytest.mark.parametrize("bytes_passed", [0, 200, 2_000, HALF, 600_000])
def test_a_connection_cut_anywhere_stores_all_or_nothing(
    own: Own, proxy: Proxy, database: str, bytes_passed: int
) -> None:
    """Wherever the connection is cut, the flush is stored whole or not at all, and once when it is brought again."""
    one = own(through=proxy.url(database))
    proxy.cut_after(bytes_passed)
    flush = trades(0, 5000)
    try:
        one.commit(flush)
    except SinkUnavailable:
        assert stored(database) == []
        assert position(database) == (RUN, 0)
    _until_stored(one)
    assert stored(database) == list(range(5000))


def test_reset_connections_are_replaced(own: Own, proxy: Proxy, database: str) -> None:
    """A connection that was reset between two flushes costs one attempt."""
    one = own(through=proxy.url(database))
    one.commit(trades(0, 10))
    proxy.reset()
    flush = trades(10, 20)
    with pytest.raises(SinkUnavailable, match="connection to the database was lost"):
        one.commit(flush)
    one.commit(flush)
    assert stored(database) == list(range(20))


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    if not Path(f"/proc/{pid}").exists():
        pytest.skip("the server runs on another machine: its process cannot be stopped")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def _lost(url: str, name: str) -> Iterator[Backend]:
    """A session that holds the lock on all positions, as one of ours would whose connection was lost."""
    with psycopg.connect(url, application_name=name) as conn:
        found = conn.execute("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()").fetchone()
        conn.execute("SELECT * FROM positions FOR UPDATE")
        assert found is not None
        yield Backend(*found)
        conn.close()


def test_a_stopped_process_with_our_lock_does_not_stop_us(own: Own, database: str) -> None:
    """A lost process of ours that is stopped with our lock held: every call returns in bounded time; once it goes on
    it is ended, and every row is stored once."""
    one = own(deadline=DEADLINE)
    with _lost(database, f"recorder/{RECORDER[:8]}") as backend:
        one._ghosts = [backend]
        with _stopped(backend.pid):
            started = time.monotonic()
            with pytest.raises(SinkUnavailable):
                one.commit(trades(0, 5000))
            assert time.monotonic() - started < 3 * DEADLINE + SLACK
        _until_stored(one)
    assert stored(database) == list(range(5000))


@pytest.mark.parametrize("what", ["name", "start"])
def test_only_a_process_that_is_surely_ours_is_ended(own: Own, database: str, what: str) -> None:
    """A process number that belongs to another application by now, or began later, is left alone."""
    one = own(deadline=DEADLINE)
    ours = f"recorder/{RECORDER[:8]}"
    with _lost(database, "other" if what == "name" else ours) as backend:
        late = timedelta(seconds=1) if what == "start" else timedelta(0)
        one._ghosts = [Backend(backend.pid, backend.started - late)]
        with pytest.raises(SinkUnavailable, match="holds a lock"):
            one.commit(trades(0, 10))
        assert ask(database, "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", backend.pid) == [(1,)]
    one.commit(trades(0, 10))
    assert stored(database) == list(range(10))


def test_a_server_stopped_mid_statement_does_not_stop_us(own: Own, database: str) -> None:
    """The process that serves us stops for good: the deadline ends the call, not the server's own timeout."""
    one = own(deadline=DEADLINE)
    assert one._session is not None
    with _stopped(one._session.backend.pid):
        started = time.monotonic()
        with pytest.raises(SinkUnavailable, match="did not answer within 1 s"):
            one.commit(trades(0, 5000))
        assert time.monotonic() - started < DEADLINE + SLACK
    _until_stored(one)
    assert stored(database) == list(range(5000))


def test_interrupt_ends_a_waiting_call_at_once(own: Own, proxy: Proxy, database: str) -> None:
    """When the recorder stops, whatever waits for the database returns, long before its deadline, and stays out."""
    one = own(through=proxy.url(database), deadline=60.0)
    proxy.stall_after(HALF)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(one.commit, trades(0, 5000))
        assert proxy.spent.wait(10)
        one.interrupt()
        with pytest.raises(SinkUnavailable):
            running.result(timeout=10)
    with pytest.raises(SinkUnavailable, match="stopping"):
        one.connect()


def test_a_deaf_server_costs_the_connect_timeout(proxy: Proxy, database: str) -> None:
    """A server that accepts and says nothing is given up within the time for connecting."""
    proxy.deaf()
    one = sink(proxy.url(database) + "&connect_timeout=2")
    started = time.monotonic()
    with pytest.raises(SinkUnavailable, match="does not answer"):
        one.connect()
    assert time.monotonic() - started < 2 + SLACK < CONNECT_SECONDS
    one.close()


# --- poolers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False], ids=["transaction", "session"])
def test_only_a_pooler_in_transaction_mode_is_refused(database: str, shared: bool) -> None:
    """Transactions of one session on changing server processes: refused with a sentence. A pool of sessions is fine."""
    with Pooler(*_target(database), shared=shared) as pooler:
        one = sink(pooler.url(database))
        if shared:
            with pytest.raises(SinkParked, match="pooler in transaction mode"):
                one.connect()
        else:
            one.connect()
            one.take_over({})
        one.close()


# --- what a server says when it lets nobody in -----------------------------------------------------------------------


def _refusing(listener: socket.socket, state: str, message: str) -> None:
    """A server that asks for a password and then says no."""
    conn, _ = listener.accept()
    with conn:
        while True:
            (size,) = struct.unpack("!I", conn.recv(4, socket.MSG_WAITALL))
            (code,) = struct.unpack("!I", conn.recv(size - 4, socket.MSG_WAITALL)[:4])
            if code == 196608:
                break
            conn.sendall(b"N")  # no TLS, no GSSAPI
        conn.sendall(b"R" + struct.pack("!II", 8, 3))
        head = conn.recv(5, socket.MSG_WAITALL)
        conn.recv(struct.unpack("!I", head[1:])[0] - 4, socket.MSG_WAITALL)
        fields = b"SFATAL\0VFATAL\0" + f"C{state}\0M{message}\0\0".encode()
        conn.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)


REFUSALS = [
    ("28P01", 'password authentication failed for user "recorder"', True, "refuses the password"),
    ("3D000", 'database "market" does not exist', True, "the database does not exist"),
    ("28000", 'role "recorder" does not exist', True, "the database user does not exist"),
    ("28000", 'no pg_hba.conf entry for host "10.0.0.1", user "recorder"', True, "accepts no connection of this user"),
    ("53300", "sorry, too many clients already", False, "too many connections"),
    ("53300", 'too many connections for role "recorder"', False, "too many connections"),
    ("57P03", "the database system is starting up", False, "starting up"),
    ("57P03", "the database system is shutting down", False, "shutting down"),
    ("57P03", "the database system is in recovery mode", False, "recovering"),
    ("57P03", "the database system is not accepting connections", False, "lets nobody in"),
]


@pytest.mark.parametrize(("state", "message", "parks", "words"), REFUSALS, ids=[r[1][:30] for r in REFUSALS])
def test_refusals_become_one_sentence_without_the_password(state: str, message: str, parks: bool, words: str) -> None:
    """Whatever the server answers to a connection: one line, parked or retried as it should be, and no password."""
    canary = "canary-%2F-7f3a"
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        served = pool.submit(_refusing, listener, state, message)
        one = sink(f"postgresql://recorder:{canary}@127.0.0.1:{listener.getsockname()[1]}/market")
        with pytest.raises(SinkUnavailable) as caught:
            one.connect()
        served.result(timeout=10)
    one.close()
    sentence = str(caught.value)
    assert words in sentence
    assert isinstance(caught.value, SinkParked) == parks
    assert "\n" not in sentence
    assert "7f3a" not in sentence + repr(caught.value) + repr(caught.value.__cause__)


@pytest.mark.parametrize("url", ["host=a password=canary=x y", "canary"])
def test_a_broken_url_is_not_repeated(url: str) -> None:
    """libpq quotes a connection string that it cannot read; the recorder does not."""
    with pytest.raises(SinkParked, match=r"database\.url") as caught:
        sink(url).connect()
    assert "canary" not in str(caught.value) + repr(caught.value.__cause__)


# --- the watchdog itself ---------------------------------------------------------------------------------------------


def test_the_watchdog_cuts_only_what_is_late() -> None:
    """A guarded socket is shut down when its time is over, not before and not after the block; renewing postpones."""
    watchdog = Watchdog()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with watchdog.guard(ours, 30):
            pass
        with watchdog.guard(ours, 0.01):
            watchdog.renew(30)
            theirs.sendall(b"x")
            assert ours.recv(1) == b"x"
        fired = [watchdog.fired]
        with watchdog.guard(ours, 0.01):
            assert ours.recv(1) == b""
        fired.append(watchdog.fired)
    watchdog.stop()
    assert fired == [False, True]
