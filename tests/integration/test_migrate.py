"""Migrations and the reconcile step on a real server."""

from __future__ import annotations

import psycopg
import pytest

from recorder.store.migrate import migrate_url


def test_twice_changes_nothing(database: str) -> None:
    """A database that is as it should be stays untouched."""
    report = migrate_url(database)
    assert (report.applied, report.changed, report.notes) == ((), (), ())
