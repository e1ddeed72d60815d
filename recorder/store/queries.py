"""The recorder's SQL by name, as `queries.sql` has it.

Owns the reading of that file and the type `Statement`, which is the only thing that the store executes: text built
at run time is no `Statement`, so mypy refuses it. Never connects, and never puts a value into a statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import NewType

Statement = NewType("Statement", bytes)

_HEAD = re.compile(r"^-- name: (?P<name>[a-z_0-9]+)\n-- (?P<about>.+)\n", re.MULTILINE)


class Queries(Mapping[str, Statement]):
    """Named statements. `about` tells what each is for and which parameters it takes, in their order."""

    def __init__(self, sql: str) -> None:
        self.about: dict[str, str] = {}
        self._statements: dict[str, Statement] = {}
        heads = list(_HEAD.finditer(sql))
        if len(heads) != len(re.findall(r"^-- name:", sql, re.MULTILINE)):
            raise ValueError("a statement lacks its name or its one line of description")
        ends = [head.start() for head in heads[1:]] + [len(sql)]
        for head, end in zip(heads, ends, strict=True):
            self._add(head["name"], head["about"], sql[head.end() : end].strip())

    def _add(self, name: str, about: str, text: str) -> None:
        if name in self._statements:
            raise ValueError(f"two statements are named {name}")
        if not text.endswith(";"):
            raise ValueError(f"statement {name} does not end with a semicolon")
        self.about[name] = about
        self._statements[name] = Statement(text[:-1].encode())

    def __getitem__(self, name: str) -> Statement:
        return self._statements[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


@cache
def queries() -> Queries:
    """The statements of `queries.sql`, read once."""
    return Queries(files("recorder.store").joinpath("queries.sql").read_text(encoding="utf-8"))
