"""How a venue spells what we have a name for.

Owns the way from our names of fields to a struct that reads the venue's. Never knows either.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar, cast

import msgspec


class Shape(msgspec.Struct, gc=False):
    """What all records have. `symbol` only where a message does not say it once for all of its records; `sent`: the
    names of everything that a venue sends of it, as far as we know."""

    sent: ClassVar[frozenset[str]] = frozenset()
    time: str = ""
    symbol: str = ""


S = TypeVar("S", bound=Shape)


def spelled(shape: type[S], names: str, also: str = "") -> type[S]:
    """The shape as a venue spells it: `trade_id=tradeId side …`, our name of each field that it sends and the venue's
    (one name where both are the same), in the order of the wire: looked for in order, fields are found at once.
    `also`: what it is known to send besides."""
    known = {each.name: each for each in msgspec.structs.fields(shape)}
    theirs = dict((each + f"={each}").split("=")[:2] for each in names.split())
    sent = frozenset({*theirs.values(), *also.split()})
    theirs |= {each: f"not sent: {each}" for each in known if each not in theirs}  # no field of theirs by our name
    fields = [(n, known[n].type, msgspec.field(default=known[n].default, name=theirs[n])) for n in theirs]
    made = msgspec.defstruct(shape.__name__, fields, bases=(shape,), namespace={"sent": sent}, gc=False)
    return cast(type[S], made)
