"""What an error of the database asks of us: try again, wait for somebody, or set a frame aside.

Owns the one table of SQLSTATEs and its sentences. Never touches a connection. Two rules stand above the table:
what is not in it is tried again (never dropped), and no sentence ever repeats what a connection string holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import psycopg


class Action(Enum):
    """Who acts."""

    RETRY = "retry"  # it passes: the same flush again
    PARK = "park"  # somebody must change something: look again every minute
    ISOLATE = "isolate"  # a row is at fault: find its frame and set it aside
    UNKNOWN = "unknown"  # retry; after ten identical failures, isolate


@dataclass(frozen=True, slots=True)
class Rule:
    """SQLSTATEs that begin with `prefix`, or errors without one whose text holds `prefix`."""

    prefix: str
    action: Action
    sentence: str


# Longest prefix wins. Where Telegraf drops what it does not know, we try it again (reliability.md, "SQLSTATE policy").
POLICY: tuple[Rule, ...] = (
    Rule("08", Action.RETRY, "the connection to the database was lost"),
    Rule("0A", Action.PARK, "the database does not support what the recorder asked for"),
    Rule("21", Action.ISOLATE, "one statement touched a row twice"),
    Rule("22", Action.ISOLATE, "a value does not fit its column"),
    Rule("23", Action.ISOLATE, "a row breaks a constraint"),
    Rule("25006", Action.RETRY, "the database is read-only (a standby, or read-only mode)"),
    Rule("25P02", Action.RETRY, "the transaction had failed already"),
    Rule("25P03", Action.RETRY, "the server ended a transaction that had been idle too long"),
    Rule("25P04", Action.RETRY, "the server ended a transaction that had run too long"),
    Rule("28", Action.PARK, "the database refuses the user or the password; check database.url"),
    Rule("3D000", Action.PARK, "the database does not exist; create it or check database.url"),
    Rule("40", Action.RETRY, "the transaction lost against another one"),
    Rule("42", Action.PARK, "the tables are not as this recorder expects; run `recorder migrate`"),
    Rule("42501", Action.PARK, "the database user may not do this; run `recorder migrate` as the tables' owner"),
    Rule("53", Action.RETRY, "the database server is short of resources"),
    Rule("53100", Action.RETRY, "the database server's disk is full"),
    Rule("53200", Action.RETRY, "the database server is out of memory"),
    Rule("53300", Action.RETRY, "the database server has too many connections already"),
    Rule("55P03", Action.RETRY, "another session holds a lock that the recorder needs"),
    Rule("57", Action.RETRY, "the database server was interrupted"),
    Rule("57014", Action.RETRY, "the statement was cancelled or took too long"),
    Rule("57P01", Action.RETRY, "the database server is shutting down"),
    Rule("57P03", Action.RETRY, "the database server is starting up"),
    Rule("XX", Action.RETRY, "the database server reports an internal error"),
)

# libpq does not hand out the SQLSTATE of a refused connection, only its text.
TEXTS: tuple[Rule, ...] = (
    Rule(
        "password authentication failed", Action.PARK, "the database refuses the password; check the one in [database]"
    ),
    Rule("no password supplied", Action.PARK, "the database wants a password and database.url has none"),
    Rule("no pg_hba.conf entry", Action.PARK, "the database server accepts no connection of this user from here"),
    Rule("authentication failed", Action.PARK, "the database refuses the user; check database.url"),
    Rule("is not permitted to log in", Action.PARK, "the database user may not log in"),
    Rule("permission denied for database", Action.PARK, "the database user may not connect to this database"),
    Rule("too many clients", Action.RETRY, "the database server has too many connections already"),
    Rule("too many connections", Action.RETRY, "the database server has too many connections already"),
    Rule("connection slots are reserved", Action.RETRY, "the database server has too many connections already"),
    Rule("no more connections allowed", Action.RETRY, "the connection pooler has too many connections already"),
    Rule("starting up", Action.RETRY, "the database server is starting up"),
    Rule("shutting down", Action.RETRY, "the database server is shutting down"),
    Rule("in recovery mode", Action.RETRY, "the database server is recovering from a crash"),
    Rule("accepting connections", Action.RETRY, "the database server lets nobody in yet"),
    Rule("hot standby", Action.RETRY, "the database is a standby that does not accept connections yet"),
    Rule("read-only", Action.RETRY, "the database is read-only (a standby, or read-only mode)"),
    Rule('FATAL:  role "', Action.PARK, "the database user does not exist; check database.url"),
    Rule('FATAL:  database "', Action.PARK, "the database does not exist; create it or check database.url"),
    Rule("translate host name", Action.RETRY, "the database's host name cannot be resolved"),
    Rule("failed to resolve host", Action.RETRY, "the database's host name cannot be resolved"),
    Rule("Connection refused", Action.RETRY, "no database server listens there"),
    Rule("No such file or directory", Action.RETRY, "no database server listens on that socket"),
    Rule("timeout expired", Action.RETRY, "the database server does not answer"),
    Rule("does not support SSL", Action.PARK, "the database server offers no TLS and database.url demands it"),
    Rule("certificate", Action.PARK, "the database server's certificate is not to be trusted"),
    Rule("closed the connection unexpectedly", Action.RETRY, "the database server hung up"),
)

_LOST = Rule("", Action.RETRY, "the connection to the database was lost")
_NONE = Rule("", Action.RETRY, "there is no connection to the database")
_CLIENT = Rule("", Action.ISOLATE, "a value cannot be sent to the database")
_UNKNOWN = Rule("", Action.UNKNOWN, "the database reports an error that the recorder does not know")


def classify(error: psycopg.Error | UnicodeError) -> Rule:
    """The rule for an error inside a session."""
    if isinstance(error, UnicodeError):
        return _CLIENT
    if error.sqlstate:
        return _longest(error.sqlstate)
    if isinstance(error, psycopg.DataError):
        return _CLIENT
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return _LOST
    return _UNKNOWN


def classify_connect(error: psycopg.Error) -> Rule:
    """The rule for a connection that did not come about."""
    if error.sqlstate:
        return _longest(error.sqlstate)
    text = str(error)
    return next((rule for rule in TEXTS if rule.prefix in text), _NONE)


def _longest(state: str) -> Rule:
    matching = [rule for rule in POLICY if state.startswith(rule.prefix)]
    return max(matching, key=lambda rule: len(rule.prefix), default=_UNKNOWN)
