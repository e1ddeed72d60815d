"""How far this machine's clock is from each venue's: every time that the recorder stores depends on one of the two.

Owns the readings. Used by the chores' thread; whoever scrapes reads the last ones. Never corrects a clock or a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from recorder.capture.rest import Rest
from recorder.config import Source
from recorder.errors import ConnectionLost, RecorderError
from recorder.venues import Timekeeper, venues

EVERY_SECONDS = 60


class Unread(RecorderError):
    """A venue did not tell its time; the last reading is forgotten, and it is asked again."""


class ClockWatch:
    """`offsets`: source -> seconds that our clock is ahead of the venue's, less half the round trip."""

    def __init__(self, sources: Iterable[Source], ask: Callable[[Source], Rest]) -> None:
        self.offsets: dict[tuple[str, ...], float] = {}
        self._ask = ask
        self._wanted = self._sources = list(sources)
        self._asked = self._clients()

    def change(self, sources: Iterable[Source]) -> None:
        """From any thread: ask these from the next turn on."""
        self._wanted = list(sources)

    def _clients(self) -> list[tuple[str, Timekeeper, Rest]]:
        return [
            (source.name, keeper, self._ask(source))
            for source in self._sources
            if (keeper := venues()[source.venue].time) is not None and source.rest
        ]

    def _follow(self) -> None:
        """Take up what `change` left."""
        if self._wanted is not self._sources:
            self.close()
            self._sources = self._wanted
            self._asked = self._clients()
            names = {name for name, _, _ in self._asked}
            self.offsets = {key: offset for key, offset in self.offsets.items() if key[0] in names}

    def close(self) -> None:
        """Close the connections."""
        for _, _, rest in self._asked:
            rest.close()

    def turn(self) -> None:
        """Ask everyone once. Raises `Unread` when all were asked, if one of them did not say."""
        self._follow()
        troubles = []
        for name, keeper, rest in self._asked:
            try:
                answer = rest.get(keeper.path)
                self.offsets[(name,)] = answer.ahead_of(keeper.milliseconds(answer.body))
            except (ConnectionLost, ValueError) as trouble:
                self.offsets.pop((name,), None)
                troubles.append(f"{name}: {trouble}")
        if troubles:
            raise Unread("the venue's clock could not be read: " + "; ".join(troubles))
