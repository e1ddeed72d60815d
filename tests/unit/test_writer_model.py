"""The writer against everything at once: losses, late and repeated records, kills, restores, damage, a database that
comes and goes. Random, with the seed in the failure; every number is stored once or inside exactly one gap."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.quality.trackers import GRACE
from recorder.records import Alive, Closed, now_us
from tests.unit.writerrig import SECOND, Stage


class Play:
    """A stage, and what may happen on it. `late`: numbers that the venue has not sent yet, and perhaps never will."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.stage = Stage()
        self.stage.now = now_us()
        self.next = 1
        self.late: list[int] = []
        self.sent: list[int] = []
        self.backup = self.copy()

    def copy(self) -> dict[str, object]:
        bank = self.stage.bank
        return copy.deepcopy({key: getattr(bank, key) for key in ("held", "stored", "gaps", "states", "known")})

    def trades(self) -> None:
        """One to three new numbers, now and then one left out, one late, one repeated."""
        rng, ids = self.rng, []
        for _ in range(rng.randint(1, 3)):
            if rng.random() < 0.15:
                self.late.append(self.next)
                self.next += 1
            ids.append(self.next)
            self.next += 1
        if self.late and rng.random() < 0.3:
            ids.append(self.late.pop(rng.randrange(len(self.late))))
        if rng.random() < 0.2:
            ids.append(rng.choice(ids))
        self.sent += set(ids)
        self.stage.trades(*ids, after=rng.choice([0, SECOND // 2, GRACE]))

    def away(self) -> None:
        """The venue goes on numbering while nobody is connected; what was late will not come any more."""
        self.next += self.rng.randint(0, 2)
        self.late.clear()

    def disconnect(self) -> None:
        self.stage.note(Closed("eof"), after=0)
        self.next += self.rng.randint(0, 2)

    def turns(self) -> None:
        for _ in range(self.rng.randint(1, 4)):
            self.stage.writer.turn()

    def checkpoint(self) -> None:
        self.stage.writer._checkpoint_at = 0.0

    def trouble(self) -> None:
        self.stage.bank.script.append(self.rng.choice(["away", "lost reply"]))

    def overflow(self) -> None:
        self.stage.state.fall_behind()

    def kill(self) -> None:
        self.stage.restart()
        self.away()

    def stop(self) -> None:
        """SIGTERM; what is not committed then waits in the spool."""
        self.stage.writer.stop(5.0)
        self.stage.writer.run()
        assert self.stage.writer.fault is None
        self.stage.restart(clean=True)
        self.away()

    def save(self) -> None:
        self.backup = self.copy()

    def restore(self) -> None:
        """The database as it was."""
        for key, value in copy.deepcopy(self.backup).items():
            setattr(self.stage.bank, key, value)

    def damage(self) -> None:
        """A bit turns in what was received last, committed or not."""
        self.kill()
        if self.sent:
            n = self.sent.pop(-self.rng.randint(1, min(6, len(self.sent))))
            self.stage.damage(f"trades {n} {n} ")

    def steps(self) -> list[Callable[[], None]]:
        """What may happen, in proportion."""
        often = [self.trades] * 10 + [self.turns] * 4
        rare = [self.disconnect, self.checkpoint, self.trouble, self.overflow, self.kill, self.stop, self.damage]
        return [*often, *rare, self.save, self.restore]

    def end(self) -> None:
        """All is well again, and the grace passes."""
        self.stage.trades(self.next)
        for _ in range(2):
            self.stage.note(Alive(), after=2 * GRACE)
            self.stage.settle(60)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_every_number_is_stored_once_or_in_exactly_one_gap(seed: int) -> None:
    """Whatever happens to process, spool and database: nothing lost, nothing twice, no stored number in a gap."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recorder.store.writer.random.uniform", lambda low, high: 0.0)
        patch.setattr("recorder.store.writer.IDLE", 0.0)
        play = Play(seed)
        for _ in range(play.rng.randint(5, 40)):
            play.rng.choice(play.steps())()
        play.end()
    stored = play.stage.bank.ids()
    missing = [n for _, first, last, _ in play.stage.bank.holes() if first and last for n in range(first, last + 1)]
    assert len(stored) == len(set(stored))
    assert len(missing) == len(set(missing))
    assert not set(stored) & set(missing)
    assert set(range(min(stored), play.next + 1)) <= set(stored) | set(missing)
