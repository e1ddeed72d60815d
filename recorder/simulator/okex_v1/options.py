"""Ways in which OKEx v1 was seen to differ from one frame to another, for its simulation to follow.

Owns what is switched on, and nothing that does it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from recorder.simulator.faults import Faults


@dataclass(frozen=True, slots=True)
class Manners:
    """`bare`: the message without the array around it (one client saw that); `unmarked`: without `binary` (as in 2017);
    `numbers`: books of numbers, with a stamp that is a string (OKCoin); `strings`: a contract's ticker of strings;
    `five`: a contract's trades without their amount of coins."""

    bare: bool = False
    unmarked: bool = False
    numbers: bool = False
    strings: bool = False
    five: bool = False


@dataclass(slots=True)
class Switched(Faults):
    """The faults of any venue, and these."""

    manners: Manners = field(default_factory=Manners)

    def clear(self) -> None:
        """Switch everything off."""
        Faults.clear(self)
        self.manners = Manners()
