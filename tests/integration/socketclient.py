"""A simulated venue from outside: a client over websocket-client, and a process that serves one.

Owns that connection and process end with the test, however it ends. Never reads a message.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Self

import websocket


class SocketClient:
    """A connection to a simulated venue. `ca_file`: whom to trust."""

    def __init__(self, url: str, timeout: float = 10.0, ca_file: Path | None = None) -> None:
        options = {"ca_certs": str(ca_file)} if ca_file else None
        self.ws = websocket.create_connection(url, timeout=timeout, sslopt=options, skip_utf8_validation=True)

    @property
    def sock(self) -> socket.socket:
        """The socket underneath."""
        assert self.ws.sock is not None
        return self.ws.sock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Drop the connection: the library's own `close` leaves the socket open when the other side was first."""
        if self.ws.sock is not None:
            self.ws.sock.close()


def output(pipe: IO[str] | None) -> IO[str]:
    """A pipe that is there."""
    assert pipe is not None
    return pipe


@contextmanager
def program(*command: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A Python program with pipes for everything, and the first line that it prints."""
    root = Path(__file__).parents[2]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, *command], cwd=root, text=True, stdin=pipe, stdout=pipe, stderr=pipe
    ) as running:
        try:
            yield output(running.stdout).readline(), running
        finally:
            running.kill()
