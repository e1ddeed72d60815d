"""What a PromQL expression asks for: its series, their labels, and the values that labels are held against.

Owns reading an expression as far as that needs, and holding it against a scrape. Not a parser: whether an expression is
PromQL at all, Prometheus itself says. Variables of a dashboard (`$source`) stand for any value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<range>\[[^\]]*\])
      | (?P<variable>\$\{?\w+(?::\w+)?\}?)
      | (?P<number>\d[\w.]*)
      | (?P<name>[a-zA-Z_:][\w:]*)
      | (?P<sign>=~|!~|!=|==|>=|<=|[^\s\w])""",
    re.VERBOSE,
)
LISTS = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
WORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan", "start", "end", "atan2"})
# Given to every series by whoever scrapes it; and the series that are there for every target.
SCRAPED = frozenset({"job", "instance"})
OWN = {"up": SCRAPED}
PLAIN = re.compile(r"[\w./ :-]*")


@dataclass(frozen=True, slots=True)
class Matcher:
    """`label op value`, such as `reason!~"line|config"`."""

    label: str
    op: str
    value: str

    @property
    def values(self) -> list[str]:
        """The values that it names; none where a variable or a pattern stands for them."""
        values = self.value.split("|") if "~" in self.op else [self.value]
        return [value for value in values if value and PLAIN.fullmatch(value) and not value.endswith(".*")]


@dataclass(frozen=True, slots=True)
class Selector:
    """The series of one name that an expression asks for."""

    name: str
    matchers: tuple[Matcher, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """All that an expression asks for. `labels`: those by which it groups and joins."""

    selectors: tuple[Selector, ...]
    labels: frozenset[str]


def tokens(expression: str) -> list[tuple[str, str]]:
    """Kind and text, ranges left out; `label_values(metric, label)` of a dashboard is read like a function."""
    found = [(m.lastgroup or "", m[0]) for m in TOKEN.finditer(re.sub(r"(?m)#.*$", "", expression))]
    return [(kind, text) for kind, text in found if kind != "range"]


def read(expression: str) -> Asked:
    """What an expression asks for."""
    words = tokens(expression)
    selectors: list[Selector] = []
    labels: set[str] = set()
    at = 0
    while at < len(words):
        kind, text = words[at]
        following = words[at + 1][1] if at + 1 < len(words) else ""
        at += 1
        if kind != "name" or text.lower() in WORDS:
            continue
        if text in LISTS and following == "(":
            end = at + [word for _, word in words[at:]].index(")")
            labels |= {word for kind, word in words[at:end] if kind == "name"}
            at = end + 1
        elif following == "{":
            end = at + [word for _, word in words[at:]].index("}")
            selectors.append(Selector(text, tuple(_matchers(words[at + 1 : end]))))
            at = end + 1
        elif following not in ("(",) and following not in LISTS:
            selectors.append(Selector(text))
    return Asked(tuple(selectors), frozenset(labels))


def _matchers(words: list[tuple[str, str]]) -> Iterator[Matcher]:
    for n in range(0, len(words), 4):
        (_, label), (_, op), (_, value) = words[n : n + 3]
        yield Matcher(label, op, value[1:-1])


class Scrape:
    """What a target answered. `jobs`: those that a label `job` may name."""

    def __init__(self, text: str, jobs: Iterable[str] = ()) -> None:
        self._labels: dict[str, set[str]] = {name: set(labels) for name, labels in OWN.items()}
        self._values: dict[tuple[str, str], set[str]] = {}
        self._everywhere: dict[str, set[str]] = {"job": set(jobs)}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._labels.setdefault(sample.name, set(SCRAPED)).update(sample.labels)
                for label, value in sample.labels.items():
                    self._values.setdefault((sample.name, label), set()).add(value)
                    self._everywhere.setdefault(label, set()).add(value)

    def learn(self, records: Mapping[str, str]) -> None:
        """Recording rules: name -> expression, in an order in which each only needs what stands before it."""
        for name, expression in records.items():
            self._labels[name] = set(self.result(expression))

    def result(self, expression: str) -> frozenset[str]:
        """The labels that a result may have: those that an aggregation keeps, else those of its series."""
        kept = re.findall(r"\bby \(([^)]*)\)", expression)
        if kept:
            return frozenset(label.strip() for some in kept for label in some.split(",")) - {"le"}
        return frozenset(label for s in read(expression).selectors for label in self._labels.get(s.name, ()))

    def wrong(self, expression: str) -> list[str]:
        """What an expression asks for that nobody has."""
        asked = read(expression)
        found = [problem for selector in asked.selectors for problem in self._wrong(selector)]
        there = {label for s in asked.selectors for label in self._labels.get(s.name, ())}
        return found + [f"no series has the label {label}" for label in sorted(asked.labels - there)]

    def _wrong(self, selector: Selector) -> Iterator[str]:
        labels = self._labels.get(selector.name)
        if labels is None:
            yield f"no series {selector.name}"
            return
        for matcher in selector.matchers:
            if matcher.label not in labels:
                yield f"{selector.name} has no label {matcher.label}"
                continue
            known = self._values.get((selector.name, matcher.label)) or self._everywhere.get(matcher.label, set())
            for value in matcher.values:
                if value not in known:
                    yield f'{selector.name} never has {matcher.label}="{value}"'
