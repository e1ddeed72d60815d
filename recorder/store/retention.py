"""Takes away what is older than the configuration wants to keep, where no policy of the server does it.

Owns the two ways: chunks dropped whole, or rows deleted in small transactions. Never runs by itself (a chore calls
it), and never holds a lock longer than one chunk or one batch needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from recorder.records import TABLES, now_us
from recorder.store.schema import Conn, Patience, fill, one, statements
from recorder.store.server import Edition, server

BATCH = 10_000


def retain(
    conn: Conn, retention: Mapping[str, float], *, now: int | None = None, patience: Patience | None = None
) -> dict[str, int]:
    """Apply `retention` (table -> seconds, 0 keeps for ever). Answers what went: chunks, or rows on a plain server.

    `conn` is in autocommit; the writing role suffices. Tables that have a policy of that age are left to it.
    """
    if not conn.autocommit:
        raise ValueError("retain needs a connection in autocommit")
    if unknown := set(retention) - set(TABLES):
        raise ValueError(f"no data tables: {', '.join(sorted(unknown))}")
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now_us() if now is None else now)
    edition = server(conn).edition
    done = _policies(conn) if edition is Edition.COMMUNITY else {}
    gone = {}
    for table, keep in sorted(retention.items()):
        if keep > 0 and done.get(table) != keep:
            act = _delete if edition is Edition.PLAIN else _drop_chunks
            gone[table] = act(conn, table, at - timedelta(seconds=keep), patience or Patience())
    return gone


def _policies(conn: Conn) -> dict[str, float]:
    rows = conn.execute(statements("community")["policies"], {"kind": "policy_retention", "key": "drop_after"})
    return {str(table): float(seconds) for table, seconds in rows}


def _drop_chunks(conn: Conn, table: str, before: datetime, patience: Patience) -> int:
    dropped = 0

    def drop() -> None:
        nonlocal dropped
        (dropped,) = one(conn, statements("timescale")["drop_chunks"], (table, before))

    patience.run(conn, f"retention of {table}", drop)
    return dropped


def _delete(conn: Conn, table: str, before: datetime, patience: Patience) -> int:
    """Symbol by symbol through the one index there is; without it every batch would read the table from its start."""
    deleted = 0
    plain = statements("plain")
    symbols = [symbol for (symbol,) in conn.execute(fill(plain["symbols_before"], table=table), (before,))]
    for symbol in symbols:
        while True:
            count = 0

            def batch(symbol: str = symbol) -> None:
                nonlocal count
                count = conn.execute(fill(plain["delete_before"], table=table), (symbol, before, BATCH)).rowcount

            patience.run(conn, f"retention of {table}", batch)
            deleted += count
            if count < BATCH:
                break
    return deleted
