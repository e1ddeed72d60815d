"""The table of SQLSTATEs, row by row, and what a position that did not match means."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from recorder.store.flush import Move, Position
from recorder.store.sqlstate import POLICY, Action, classify, classify_connect
from recorder.store.verdict import Fenced, PositionMoved, settle

RETRY, PARK, ISOLATE, UNKNOWN = Action.RETRY, Action.PARK, Action.ISOLATE, Action.UNKNOWN

EXPECTED = [
    ("08000", RETRY),
    ("08006", RETRY),
    ("0A000", PARK),
    ("21000", ISOLATE),
    ("22001", ISOLATE),
    ("22P02", ISOLATE),
    ("22P04", ISOLATE),
    ("22021", ISOLATE),
    ("23502", ISOLATE),
    ("23505", ISOLATE),
    ("23514", ISOLATE),
    ("25006", RETRY),
    ("25P02", RETRY),
    ("25P03", RETRY),
    ("25P04", RETRY),
    ("25001", UNKNOWN),
    ("28000", PARK),
    ("28P01", PARK),
    ("3D000", PARK),
    ("3F000", UNKNOWN),
    ("40001", RETRY),
    ("40P01", RETRY),
    ("42501", PARK),
    ("42703", PARK),
    ("42P01", PARK),
    ("53100", RETRY),
    ("53200", RETRY),
    ("53300", RETRY),
    ("53400", RETRY),
    ("55P03", RETRY),
    ("55000", UNKNOWN),
    ("57014", RETRY),
    ("57P01", RETRY),
    ("57P02", RETRY),
    ("57P03", RETRY),
    ("P0001", UNKNOWN),
    ("TS103", UNKNOWN),
    ("XX000", RETRY),
    ("XX001", RETRY),
]


def _error(state: str | None, kind: type[psycopg.Error] = psycopg.DatabaseError, text: str = "words") -> psycopg.Error:
    error = kind(text)
    error.sqlstate = state
    return error


@pytest.mark.parametrize(("state", "action"), EXPECTED)
def test_every_class_has_its_action(state: str, action: Action) -> None:
    """Each SQLSTATE asks for exactly what reliability's policy says, and what is in no table is unknown."""
    assert classify(_error(state)).action is action


def test_every_row_of_the_table_is_met() -> None:
    """No row of the policy is shadowed by another one or goes untested."""
    met = {classify(_error(state)).prefix for state, _ in EXPECTED}
    assert {rule.prefix for rule in POLICY} <= met


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (psycopg.OperationalError("server closed the connection unexpectedly"), RETRY),
        (psycopg.InterfaceError("the connection is closed"), RETRY),
        (psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"), ISOLATE),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), ISOLATE),
        (psycopg.NotSupportedError("?"), UNKNOWN),
        (psycopg.ProgrammingError("?"), UNKNOWN),
    ],
)
def test_errors_without_a_state(error: psycopg.Error | UnicodeError, action: Action) -> None:
    """A broken connection is retried, what cannot be sent is isolated, everything else is unknown, never dropped."""
    assert classify(error).action is action


def test_a_connection_error_with_a_state_uses_it() -> None:
    """Where the server's SQLSTATE is known, its words do not matter: they may be in any language."""
    assert classify_connect(_error("28P01", errors.InvalidPassword, "Passwort falsch")).action is PARK


def test_words_that_nobody_knows_are_retried() -> None:
    """An unknown reason for having no connection is tried again."""
    assert classify_connect(_error(None, psycopg.OperationalError, "eine Störung")).action is RETRY


# --- positions -------------------------------------------------------------------------------------------------------

MOVE = Move("f", "3-aaaa", 10, "3-aaaa", 20, 0)


@pytest.mark.parametrize(
    ("found", "restored"),
    [
        (None, True),
        (Position("f", "3-aaaa", 9, 5), True),
        (Position("f", "3-aaaa", 10, 4), True),
        (Position("f", "2-bbbb", 99, 5), True),
        (Position("f", "3-aaaa", 15, 5), False),
        (Position("f", "3-aaaa", 21, 5), False),
        (Position("f", "4-cccc", 0, 5), False),
    ],
)
def test_a_position_elsewhere_is_an_older_copy_or_somebody_elses_doing(found: Position | None, restored: bool) -> None:
    """Behind us or under a lower epoch: a restored database. Ahead of us under our epoch: not."""
    with pytest.raises(PositionMoved) as caught:
        settle([MOVE], {"f": found} if found else {}, {"f": 5})
    assert caught.value.restored == restored


@pytest.mark.parametrize("position", [9, 10, 20])
def test_a_higher_epoch_is_fenced_wherever_it_stands(position: int) -> None:
    """Whoever owns the position under a higher epoch decides; even our own end is not ours to tell any more."""
    with pytest.raises(Fenced):
        settle([MOVE], {"f": Position("f", "3-aaaa", position, 6)}, {"f": 5})


def test_only_all_moves_together_are_committed() -> None:
    """One flush is one transaction: one feed at its end and another at its start cannot be that flush."""
    other = Move("g", "1-dddd", 0, "1-dddd", 5, 0)
    there = {"f": Position("f", "3-aaaa", 20, 5), "g": Position("g", "1-dddd", 5, 1)}
    settle([MOVE, other], there, {"f": 5, "g": 1})
    with pytest.raises(PositionMoved, match="position of f"):
        settle([MOVE, other], {**there, "g": Position("g", "1-dddd", 0, 1)}, {"f": 5, "g": 1})
