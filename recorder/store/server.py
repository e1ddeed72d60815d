"""Which of the three kinds of server a database is on.

Owns the detection, from what the server says of itself. Never changes anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from recorder.store.schema import Conn, one, statements

OLDEST = 150000


class Edition(Enum):
    """What the recorder can use."""

    PLAIN = "plain"
    APACHE = "Apache"
    COMMUNITY = "Community"


@dataclass(frozen=True, slots=True)
class Server:
    """A database's server: numbers, extension, and the schemas where tables and extension live."""

    number: int
    extension: str | None
    available: bool
    loaded: bool
    licence: str | None
    schema: str
    extension_schema: str

    @property
    def edition(self) -> Edition:
        """By licence, not by trying: that is what decides which functions refuse to work."""
        if self.extension is None:
            return Edition.PLAIN
        return Edition.COMMUNITY if self.licence == "timescale" else Edition.APACHE

    def __str__(self) -> str:
        if self.extension is None:
            return f"plain PostgreSQL {self.number // 10000}"
        return f"TimescaleDB {self.extension} ({self.edition.value} edition) on PostgreSQL {self.number // 10000}"


def server(conn: Conn) -> Server:
    """Ask a connection what it is connected to."""
    # The extension's settings exist only after its library was loaded, which the first statement of a session does.
    one(conn, statements("common")["server"])
    return Server(*one(conn, statements("common")["server"]))
