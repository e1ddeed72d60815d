"""Reading one table of the file: every key taken by name, every mistake collected with its place.

Owns the form of a complaint (`place: value reason; did you mean …?`) and the checks of single values. Knows no key by
name, and never stops at the first mistake.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from recorder.settings.references import resolve, written
from recorder.settings.units import duration, show_duration, show_size, size

T = TypeVar("T")
Check = Callable[[object], T]

_NOTHING: Any = object()


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint at the nearest known word, or nothing."""
    candidates = {k.lower(): k for k in known}
    near = difflib.get_close_matches(word.lower(), candidates, n=1, cutoff=0.6)
    return f'; did you mean "{candidates[near[0]]}"?' if near else ""


@dataclass(slots=True)
class Report:
    """What reading has found so far. `notes`: accepted, but to be looked at."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)

    def wrong(self, place: str, reason: str) -> None:
        """One mistake."""
        self.problems.append(f"{place}: {reason}" if place else reason)


@dataclass(slots=True)
class Table:
    """One table of the file. `place` is where it stands, `path` its dotted name without numbers."""

    place: str
    path: str
    values: dict[str, object]
    environ: Mapping[str, str]
    report: Report
    already: Mapping[str, object]  # dotted keys not built yet -> the value that describes what happens anyway
    taken: set[str] = field(default_factory=set)

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def where(self, key: str) -> str:
        """The place of a key."""
        return f"{self.place}.{key}" if self.place else key

    def wrong(self, key: str, reason: str) -> None:
        """A mistake at a key."""
        self.report.wrong(self.where(key), reason)

    def take(self, key: str, check: Check[T], default: T, *, secret: bool = False) -> T:
        """The checked value of a key; the default when it is absent or wrong. `secret`: never quote it."""
        self.taken.add(key)
        if key not in self.values:
            return default
        value = self._checked(self.where(key), self.values[key], check, secret)
        if value is _NOTHING:
            return default
        self._note(key, value)
        return value

    def each(self, key: str, check: Check[T], default: tuple[T, ...], *, empty: str = "") -> tuple[T, ...]:
        """The checked items of a list, those that are right. `empty`: what an empty list means, if it is a mistake."""
        self.taken.add(key)
        if key not in self.values:
            return default
        items = self.values[key]
        if not isinstance(items, list):
            hint = f"; write {key} = [{written(items)}]" if isinstance(items, str) else ""
            self.wrong(key, f"{written(items)} must be a list{hint}")
            return default
        if not items and empty:
            self.wrong(key, f"is empty: {empty}")
            return default
        found = (self._checked(f"{self.where(key)}[{i}]", item, check, False) for i, item in enumerate(items))
        kept = tuple(item for item in found if item is not _NOTHING)
        self._note(key, kept)
        return kept

    def table(self, key: str) -> Table:
        """A table inside this one; empty when it is absent or something else."""
        self.taken.add(key)
        found = self.values.get(key, {})
        if isinstance(found, list):
            self.wrong(key, f"is a list of tables; write [{self._dotted(key)}], once")
        elif not isinstance(found, dict):
            self.wrong(key, f"{written(found)} must be a table")
        inside = found if isinstance(found, dict) else {}
        return self._inside(self.where(key), key, inside)

    def tables(self, key: str, label: Callable[[dict[str, object]], str]) -> list[Table]:
        """The tables of a list (`[[key]]`), each labelled for messages."""
        self.taken.add(key)
        found = self.values.get(key, [])
        if isinstance(found, dict):
            self.wrong(key, f"is one table, and there can be several; write [[{self._dotted(key)}]]")
            found = [found]
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            self.wrong(key, f"must be tables; write [[{self._dotted(key)}]]")
            return []
        return [self._inside(f"{self.where(key)}[{i}]{label(item)}", key, item) for i, item in enumerate(found)]

    def finish(self, hint: Callable[[str], str] | None = None) -> None:
        """Complain about every key that nobody took."""
        for key in [k for k in self.values if k not in self.taken]:
            near = did_you_mean(key, self.taken) or (hint(key) if hint is not None else "")
            known = "" if near else f"; known here: {', '.join(sorted(self.taken))}"
            self.wrong(key, f"unknown key{near}{known}")

    def _dotted(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _inside(self, place: str, key: str, values: dict[str, object]) -> Table:
        return Table(place, self._dotted(key), values, self.environ, self.report, self.already)

    def _checked(self, place: str, raw: object, check: Check[T], secret: bool) -> T:
        """One value through its references and its check; _NOTHING when it is wrong."""
        try:
            value = resolve(raw, self.environ) if isinstance(raw, str) else raw
        except ValueError as error:
            self.report.wrong(place, str(error))
            return _NOTHING  # type: ignore[no-any-return]
        try:
            return check(value)
        except ValueError as error:
            self.report.wrong(place, str(error) if secret else f"{written(value)} {error}")
            return _NOTHING  # type: ignore[no-any-return]

    def _note(self, key: str, value: object) -> None:
        dotted = self._dotted(key)
        if dotted in self.already and value != self.already[dotted]:
            self.report.notes.append(f"{self.where(key)} is not yet effective")


# --- checks of single values -----------------------------------------------------------------------------------------


def string(value: object) -> str:
    """Any text that a line of configuration can hold."""
    if not isinstance(value, str):
        raise ValueError('must be a string in quotes ("…")')
    if "\x00" in value:
        raise ValueError("must not contain a NUL character")
    return str(value)


def word(value: object) -> str:
    """A text that says something."""
    text = string(value)
    if not text.strip():
        raise ValueError("must not be empty")
    if text != text.strip():
        raise ValueError("must not begin or end with a space")
    return text


def boolean(value: object) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false, without quotes")
    return value


def whole(low: int, high: int) -> Check[int]:
    """A whole number between two bounds."""

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("must be a whole number, without quotes")
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high}")
        return value

    return check


def seconds(low: float, high: float, off: bool = False) -> Check[float]:
    """A duration between two bounds; `off`: "0s" is right as well."""

    def check(value: object) -> float:
        if not isinstance(value, str):
            raise ValueError('must be a duration in quotes, like "250ms", "10s" or "7d"')
        found = duration(value)
        if not low <= found <= high and not (off and found == 0):
            zero = ', or "0s" for off' if off and low > 0 else ""
            raise ValueError(f"must be from {show_duration(low)} to {show_duration(high)}{zero}")
        return found

    return check


def count_of_bytes(low: int, high: int) -> Check[int]:
    """A size between two bounds."""

    def check(value: object) -> int:
        if not isinstance(value, str):
            raise ValueError('must be a size in quotes, like "64MiB" or "20GiB"')
        found = size(value)
        if not low <= found <= high:
            raise ValueError(f"must be from {show_size(low)} to {show_size(high)}")
        return found

    return check


def one_of(known: Iterable[str], kind: str) -> Check[str]:
    """One word of a closed set."""
    words = tuple(known)

    def check(value: object) -> str:
        text = string(value)
        if text not in words:
            raise ValueError(f"is no {kind}{did_you_mean(text, words) or '; known: ' + ', '.join(words)}")
        return text

    return check
