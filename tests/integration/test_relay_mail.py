"""Mail against a mail server on loopback: form, encryption, login, refusals, deadlines."""

from __future__ import annotations

import email
import email.policy
import ssl
import time
from dataclasses import replace

import pytest

from recorder.alerting.mail import Mail
from recorder.alerting.settings import Email, Security
from recorder.alerting.verdict import Outcome, Verdict
from recorder.alerting.words import CHINESE, ENGLISH
from recorder.config import Secret
from recorder.redact import protect
from tests.fault.wire import authority, serving
from tests.integration.mailserver import PASSWORD, USER, Letter, MailServer
from tests.integration.relaying import free_port
from tests.unit.notices import alert, message

NOW = 1_767_268_800.0  # 2026-01-01 12:00 UTC
TO = Email(("ops@example.com", "dev@example.com"), "recorder@example.com", "localhost", 0, Security.NONE)
LOGIN = replace(TO, user=USER, password=Secret(PASSWORD))


def trusting() -> ssl.SSLContext:
    """A client that trusts the test's authority."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


def send(server: MailServer, to: Email = TO, seconds: float = 30.0) -> Verdict:
    """One message to that server."""
    protect(PASSWORD)
    nasty = alert("RecorderLag", "critical", source="价\r\nBcc: all@example.com")
    mail = Mail(replace(to, port=server.port), seconds, trusting())
    return mail(message(nasty, words=CHINESE), NOW)


def parsed(letter: Letter) -> email.message.EmailMessage:
    """As a reader of mail sees it."""
    found = email.message_from_bytes(letter.data, policy=email.policy.default)
    assert isinstance(found, email.message.EmailMessage)
    return found


def test_a_mail_is_plain_text_with_a_subject() -> None:
    """The title is the subject, the message the text, in UTF-8; text of an alert adds no header and no addressee."""
    with MailServer() as server:
        assert send(server).outcome is Outcome.DELIVERED
    (letter,) = server.letters
    assert (letter.sender, letter.to) == ("recorder@example.com", ("ops@example.com", "dev@example.com"))
    found = parsed(letter)
    assert found["Subject"] == "🔴 [recorder] 1 条告警：入库滞后（RecorderLag）"
    assert (found["From"], found["To"]) == ("recorder@example.com", "ops@example.com, dev@example.com")
    assert found["Date"] == "Thu, 01 Jan 2026 12:00:00 +0000"
    assert found["Auto-Submitted"] == "auto-generated"
    assert found["Bcc"] is None
    assert found["Message-ID"].endswith("@example.com>")
    assert server.heard[0] == "ehlo [127.0.0.1]"
    assert found.get_content_type() == "text/plain"
    assert "  source=价 Bcc: all@example.com\n" in found.get_content().replace("\r\n", "\n")


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_the_password_travels_encrypted(security: Security) -> None:
    """With STARTTLS and with TLS the certificate is checked, and only then the login is sent."""
    with MailServer(serving(), security is Security.TLS) as server:
        assert send(server, replace(LOGIN, security=security)).outcome is Outcome.DELIVERED
    (letter,) = server.letters
    assert (letter.encrypted, letter.user) == (True, USER)


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_a_foreign_certificate_gets_no_password(security: Security) -> None:
    """A certificate of another name ends the talk before the login."""
    with MailServer(serving("elsewhere.test"), security is Security.TLS) as server:
        verdict = send(server, replace(LOGIN, security=security))
    assert (verdict.outcome, server.letters) == (Outcome.AGAIN, [])
    assert "TLS with localhost" in verdict.why
    assert not any(line.startswith("AUTH") for line in server.heard)


def test_a_server_without_starttls_gets_no_password() -> None:
    """Where STARTTLS was asked for and is not offered nothing is sent, and it is never tried again."""
    with MailServer() as server:
        verdict = send(server, replace(LOGIN, security=Security.STARTTLS))
    assert (verdict.outcome, server.letters) == (Outcome.NEVER, [])
    assert "ALERT_SMTP_SECURITY" in verdict.why


def test_a_wrong_password() -> None:
    """A refused login is never tried again; neither password shows, not even encoded."""
    with MailServer(serving()) as server:
        wrong = replace(LOGIN, password=Secret("canary-other"), security=Security.STARTTLS)
        verdict = send(server, wrong)
    assert verdict.outcome is Outcome.NEVER
    assert verdict.why.startswith("the mail server says 535 5.7.8 authentication failed; are ALERT_SMTP_USER")
    assert "canary" not in verdict.why + repr(wrong) + repr(Mail(wrong))


@pytest.mark.parametrize(
    ("says", "outcome", "words"),
    [
        ({"MAIL": "451 4.3.0 try later"}, Outcome.AGAIN, "451 4.3.0 try later"),
        ({"MAIL": "553 5.7.1 not your address"}, Outcome.NEVER, "553 5.7.1 not your address"),
        ({"RCPT": "450 4.2.1 greylisted"}, Outcome.AGAIN, "450 4.2.1 greylisted"),
        ({"RCPT": "550 5.1.1 no such user"}, Outcome.NEVER, "550 5.1.1 no such user"),
        ({"DATA": "554 5.7.1 spam"}, Outcome.NEVER, "554 5.7.1 spam"),
        ({"DATA": "421 4.3.2 closing down"}, Outcome.AGAIN, "421 4.3.2 closing down"),
        ({"EHLO": "502 what", "HELO": "502 what"}, Outcome.NEVER, "502 what"),
    ],
)
def test_what_a_reply_means(says: dict[str, str], outcome: Outcome, words: str) -> None:
    """4xx passes and is tried again, 5xx is not (RFC 5321, 4.2.1)."""
    with MailServer(says=says) as server:
        verdict = send(server)
    assert (verdict.outcome, server.letters) == (outcome, [])
    assert words in verdict.why


def test_one_refused_address_of_two_is_a_delivery() -> None:
    """Who can be reached is told once: trying again for the others would tell them twice."""
    with MailServer() as server:
        assert send(server, replace(TO, to=("nobody@example.com", "ops@example.com"))).outcome is Outcome.DELIVERED
    assert [letter.to for letter in server.letters] == [("ops@example.com",)]


@pytest.mark.parametrize("silent", ["EHLO", "MAIL", "DATA"])
def test_a_silent_server_has_a_deadline(silent: str) -> None:
    """A server that says nothing more costs no longer than the deadline, wherever it falls silent."""
    start = time.monotonic()
    with MailServer(says={silent: ""}) as server:
        verdict = send(server, seconds=1.0)
    assert verdict.outcome is Outcome.AGAIN
    assert time.monotonic() - start < 30


def test_no_server_at_all() -> None:
    """Nobody there is tried again."""
    verdict = Mail(replace(TO, port=free_port()))(message(alert("A"), words=ENGLISH), NOW)
    assert verdict.outcome is Outcome.AGAIN
    assert "Connection refused" in verdict.why


def test_a_long_mail_is_cut() -> None:
    """Ten thousand alerts are a mail of at most 100 kB that says how many more there are."""
    many = message(*(alert("RecorderLag", source=f"s{n}") for n in range(10_000)))
    with MailServer() as server:
        assert Mail(replace(TO, port=server.port))(many, NOW).outcome is Outcome.DELIVERED
    text = parsed(server.letters[0]).get_content().replace("\r\n", "\n")
    assert len(text.encode()) <= 100_000
    assert text.rstrip().endswith(" more")
