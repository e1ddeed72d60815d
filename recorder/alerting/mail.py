"""Mail: the message as plain text, handed to a mail server.

Owns the mail's form and the talk with the server (smtplib), its deadline, and what its replies mean: 4xx is tried
again, 5xx is not (RFC 5321, 4.2.1). Never sends a password over a line that is not encrypted.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from loguru import logger

from recorder.alerting.message import Message, fitted
from recorder.alerting.settings import Email, Security
from recorder.alerting.verdict import DELIVERED, Verdict, again, never
from recorder.capture.reach import Deadline, secure, target, tcp, trust
from recorder.errors import ConnectionLost

SECONDS = 30.0  # for everything, from the name to the last reply; Alertmanager waits 40 s
BYTES = 100_000


@dataclass(frozen=True, slots=True)
class Mail:
    """Sends mail."""

    to: Email
    seconds: float = SECONDS
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def __call__(self, message: Message, now: float) -> Verdict:
        """Send it to everybody. `now`: seconds since 1970."""
        mail = letter(message, self.to, datetime.fromtimestamp(now, UTC))
        try:
            with self._server() as server:
                refused = server.send_message(mail, self.to.sender, list(self.to.to))
        except smtplib.SMTPRecipientsRefused as error:
            return _replied(*max(error.recipients.values(), key=lambda reply: reply[0] < 500))
        except smtplib.SMTPResponseException as error:
            return _replied(error.smtp_code, error.smtp_error)
        except smtplib.SMTPNotSupportedError as error:
            return never(f"the mail server cannot do that: {error}; see ALERT_SMTP_SECURITY and ALERT_SMTP_USER")
        except ssl.SSLCertVerificationError as error:
            return again(f"TLS with {self.to.host}: {error.verify_message}")
        except ConnectionLost as lost:
            return again(lost.detail)
        except (OSError, smtplib.SMTPException) as error:  # a broken line; its words may quote what was sent
            return again(f"{self.to.host}:{self.to.port}: {_words(error)}")
        if refused:  # for somebody it was delivered: trying again would tell those twice
            logger.bind(event="relay.email").warning("{} of {} addresses were refused", len(refused), len(self.to.to))
        return DELIVERED

    @contextmanager
    def _server(self) -> Iterator[smtplib.SMTP]:
        """Connected, encrypted, logged in; whatever is still going on at the deadline finds its line cut."""
        context = self.tls or trust()
        server = _Server(self.to, Deadline(self.seconds, lambda: False), context)
        watch = threading.Timer(self.seconds, server.cut)
        watch.daemon = True
        watch.start()
        try:
            server.connect(self.to.host, self.to.port)
            if self.to.security is Security.STARTTLS:
                server.starttls(context=context)
            if self.to.user is not None and self.to.password is not None:
                server.login(self.to.user, str.__str__(self.to.password))
            yield server
        finally:
            watch.cancel()
            server.close()


class _Server(smtplib.SMTP):
    """A mail server, reached within a deadline. There is no `QUIT`: its reply is nothing to wait for."""

    def __init__(self, to: Email, deadline: Deadline, context: ssl.SSLContext) -> None:
        self._to = to
        self._deadline = deadline
        self._tls = context
        # A name is given, or smtplib looks one up, for as long as DNS likes.
        super().__init__(local_hostname="localhost")
        self._host = to.host  # whose certificate STARTTLS expects; smtplib remembers it only where it connects at once

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        """smtplib's hook for how a connection is made."""
        sock, _ = tcp(host, port, self._deadline)
        if self._to.security is Security.TLS:
            goal = target(f"https://{host}:{port}" if ":" not in host else f"https://[{host}]:{port}", "", {}, _SCHEMES)
            sock = secure(sock, goal, self._tls, self._deadline)
        sock.settimeout(self._deadline.left())
        # How somebody without a name in DNS says hello (RFC 5321, 4.1.4): many servers refuse a name without dots.
        address = str(sock.getsockname()[0])
        self.local_hostname = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
        return sock

    def cut(self) -> None:
        """End whatever waits on the line."""
        sock = self.sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return


_SCHEMES = ("http", "https")


def letter(message: Message, to: Email, now: datetime) -> EmailMessage:
    """The mail. Its headers come from checked settings and from a title of one line, so none can be smuggled in."""
    mail = EmailMessage()
    mail["Subject"] = message.title
    mail["From"] = to.sender
    mail["To"] = ", ".join(to.to)
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = make_msgid(domain=to.sender.partition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(fitted(message, _text, lambda text: len(text.encode()) <= BYTES))
    return mail


def _text(message: Message) -> str:
    blocks = ["\n".join([*([e.head] if e.head else []), *(f"  {line}" for line in e.lines)]) for e in message.entries]
    return "\n\n".join([message.title, *blocks, *([message.more] if message.more else [])]) + "\n"


def _replied(code: int, said: bytes | str) -> Verdict:
    """A refusal in the server's own words."""
    words = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    why = f"the mail server says {code} {' '.join(words.split())}"
    if 400 <= code < 500 or code < 0:
        return again(why)
    return never(f"{why}; are ALERT_SMTP_USER and ALERT_SMTP_PASSWORD right?" if code in (530, 534, 535) else why)


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return {"SMTPServerDisconnected": "the connection was ended"}.get(type(error).__name__, type(error).__name__)
