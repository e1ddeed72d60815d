"""A mail server on loopback: SMTP with STARTTLS, TLS and AUTH as in RFC 5321, 3207 and 4954.

Owns the socket, a thread per client and the mail that arrived. `says`: replies that are given in place of its own, by
command. Written without the recorder's code.
"""

from __future__ import annotations

import base64
import socketserver
import ssl
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import ClassVar

USER, PASSWORD = "mailer@example.com", "canary-mail-password"


@dataclass(frozen=True)
class Letter:
    """What was handed over, and how."""

    sender: str
    to: tuple[str, ...]
    data: bytes
    encrypted: bool
    user: str | None


class _Talk(socketserver.StreamRequestHandler):
    timeout = 60
    server: _Server

    def setup(self) -> None:
        """With TLS from the start where that is the manner."""
        owner = self.server.owner
        if owner.implicit:
            assert owner.tls is not None
            self.request = owner.tls.wrap_socket(self.request, server_side=True)
        super().setup()
        self.encrypted = owner.implicit
        self.user: str | None = None
        self.sender, self.to = "", list[str]()

    def handle(self) -> None:
        """Command by command until QUIT or the end."""
        self.reply("220 mail.test ESMTP")
        while line := self.rfile.readline(2048):
            words = line.decode().strip()
            verb = words.partition(" ")[0].upper()
            self.server.owner.heard.append(words)
            said = self.server.owner.says.get(verb)
            if said is not None:
                self.reply(said) if said else self.server.owner.over.wait(60)
            elif not self.command(verb, words):
                return

    def finish(self) -> None:
        """Close what TLS was put around."""
        super().finish()
        self.request.close()

    def command(self, verb: str, words: str) -> bool:
        """One command; False ends the talk."""
        if verb in ("EHLO", "HELO"):
            tls = self.server.owner.tls is not None and not self.encrypted
            offers = [
                "mail.test",
                "8BITMIME",
                *(["STARTTLS"] if tls else []),
                *(["AUTH PLAIN"] if self.encrypted else []),
            ]
            self.reply("\r\n".join(f"250{'-' if n < len(offers) else ' '}{o}" for n, o in enumerate(offers, 1)))
        elif verb == "STARTTLS":
            self.reply("220 go ahead")
            self.upgrade()
        elif verb == "AUTH":
            _, user, password = base64.b64decode(words.split()[2]).decode().split("\0")
            self.user = user if (user, password) == (USER, PASSWORD) else None
            self.reply("235 welcome" if self.user else "535 5.7.8 authentication failed")
        elif verb == "MAIL":
            self.sender, self.to = words.partition("<")[2].partition(">")[0], []
            self.reply("250 ok")
        elif verb == "RCPT":
            address = words.partition("<")[2].partition(">")[0]
            refused = address.startswith("nobody@")
            self.to += [] if refused else [address]
            self.reply("550 5.1.1 no such user" if refused else "250 ok")
        elif verb == "DATA":
            self.reply("354 send it")
            self.server.owner.take(Letter(self.sender, tuple(self.to), self.data(), self.encrypted, self.user))
            self.reply("250 queued")
        else:
            self.reply("221 bye" if verb == "QUIT" else "250 ok")
        return verb != "QUIT"

    def upgrade(self) -> None:
        """Go on encrypted."""
        context = self.server.owner.tls
        assert context is not None
        self.request = context.wrap_socket(self.request, server_side=True)
        self.rfile = self.request.makefile("rb")
        self.wfile = self.request.makefile("wb", 0)
        self.encrypted = True

    def data(self) -> bytes:
        """The mail up to the dot, dots unstuffed."""
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        return b"".join(lines)

    def reply(self, text: str) -> None:
        """Say something."""
        self.wfile.write(f"{text}\r\n".encode())


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads: ClassVar[bool] = True  # type: ignore[misc]
    allow_reuse_address = True

    def __init__(self, owner: MailServer) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Talk)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that ends a handshake or a talk in the middle."""


@dataclass
class MailServer:
    """Listens while the `with` block runs. `tls`: its certificate; `implicit`: encrypted from the first byte. An empty
    reply in `says` is none at all."""

    tls: ssl.SSLContext | None = None
    implicit: bool = False
    says: dict[str, str] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def take(self, letter: Letter) -> None:
        """One more."""
        self.letters.append(letter)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __enter__(self) -> MailServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
