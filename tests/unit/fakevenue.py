"""A venue that exists only for tests of the configuration: two channels, one secret option. Never in the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recorder.config import Source
from recorder.listing import Ask, Listing
from recorder.records import Header, Streams
from recorder.venues import (
    Channel,
    Code,
    Continuity,
    Decoder,
    Heartbeat,
    Limits,
    Line,
    Request,
    Subscription,
    Timekeeper,
    Venue,
)


class Fake:
    """Checks channels by name, and wants its key."""

    name = "fake"
    title = "A venue of the tests"
    endpoints: tuple[str, ...] = ("wss://ws.example.com",)
    rest = "https://rest.example.com"
    channels: tuple[Channel, ...] = (
        Channel("trades", "trades", Continuity.NUMBERED, "public"),
        Channel("books", "books", Continuity.CHAINED, "public", "400 levels"),
    )
    codes: tuple[Code, ...] = ()
    facts: tuple[str, ...] = ()
    heartbeat = Heartbeat(b"ping", 20, 10, True)
    time: Timekeeper | None = None
    listing: Listing | None = None
    limits = Limits()
    options: Mapping[str, str] = {"api_key": "your key", "business": "stock or crypto"}
    secrets = frozenset({"api_key"})

    def check(self, source: Source) -> list[str]:
        """Names places the way venues do."""
        problems = [
            f'subscribe[{b}].channels[{c}]: unknown channel "{channel}"'
            for b, block in enumerate(source.subscribe)
            for c, channel in enumerate(block.channels)
            if self.channel(channel) is None
        ]
        return problems if "api_key" in source.options else ["api_key: is missing", *problems]

    def always_open(self, source: Source) -> bool:
        """Nothing is traded here."""
        return False

    def warnings(self, source: Source) -> list[str]:
        """Nothing is doubtful."""
        return []

    def lines(self, source: Source, held: Sequence[Line] = ()) -> list[Line]:
        """One connection for all."""
        return [Line("public/0", "/ws", ())]

    def subscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """Nothing is ever sent."""
        return []

    unsubscribe = subscribe

    def book_request(self, subscription: Subscription) -> Ask | None:
        """There is no REST."""
        return None

    def decoder(self, header: Header, streams: Streams) -> Decoder:
        """There is none."""
        raise NotImplementedError

    def channel(self, name: str) -> Channel | None:
        """By its exact name."""
        return next((c for c in self.channels if c.name == name), None)

    def close_reason(self, code: int, text: str) -> str:
        """Always the same."""
        return "close"


class Open(Fake):
    """The same without a key."""

    name = "open"
    endpoints: tuple[str, ...] = ("wss://open.example.com", "wss://open2.example.com")
    options: Mapping[str, str] = {}
    secrets: frozenset[str] = frozenset()

    def check(self, source: Source) -> list[str]:
        """Only channels."""
        return [p for p in super().check(source) if p.startswith("subscribe")]


VENUES: Mapping[str, Venue] = {"fake": Fake(), "open": Open()}
