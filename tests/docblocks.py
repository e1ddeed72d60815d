"""What the documents show: their blocks of code, links, headings and tables, found by reading our kind of Markdown.

Owns finding; judges nothing. Every `README*.md` and everything in `docs/` is a document.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = tuple(sorted([*ROOT.glob("README*.md"), *(ROOT / "docs").glob("*.md")]))

_FENCE = re.compile(r"^(`{3,})(.*)$")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code. `language` and `mark` are the words after the fence, `line` that of the fence."""

    document: Path
    line: int
    language: str
    mark: str
    text: str

    @property
    def name(self) -> str:
        """Where it stands, for messages and the names of tests."""
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(document: Path) -> list[Block]:
    """Every block of a document, in order."""
    found: list[Block] = []
    opened: tuple[int, str, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None and fence:
            opened, lines = (number, fence[1], fence[2].strip()), []
        elif opened is not None and fence and fence[1] == opened[1] and not fence[2].strip():
            language, _, mark = opened[2].partition(" ")
            found.append(Block(document, opened[0], language, mark, "".join(f"{each}\n" for each in lines)))
            opened = None
        else:
            lines.append(line)
    assert opened is None, f"{document}:{opened and opened[0]}: the block never ends"
    return found


def every_block(*languages: str) -> list[Block]:
    """The blocks of all documents; of these languages only, if any are named."""
    return [each for document in DOCUMENTS for each in blocks(document) if not languages or each.language in languages]


def prose(document: Path) -> str:
    """A document without its blocks, their lines left empty."""
    inside, kept = False, []
    for line in document.read_text(encoding="utf-8").splitlines():
        fence = _FENCE.match(line)
        kept.append("" if inside or fence else line)
        inside = inside != bool(fence)
    return "\n".join(kept)


def links(document: Path) -> list[str]:
    """Where its links lead."""
    return re.findall(r"\]\(([^()\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(document)))


def headings(document: Path) -> list[tuple[int, str]]:
    """Level and words of every heading."""
    return [(len(m[1]), m[2].strip()) for m in re.finditer(r"(?m)^(#{1,6}) (.+)$", prose(document))]


def anchors(document: Path) -> set[str]:
    """The anchors that a reader's browser finds: GitHub's spelling of the headings, and explicit ones."""
    seen: Counter[str] = Counter()
    found = set(re.findall(r'<a (?:id|name)="([^"]+)">', prose(document)))
    for _, words in headings(document):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", words).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def tables(document: Path) -> list[list[list[str]]]:
    """Every table as rows of cells, the row of dashes left out."""
    found: list[list[list[str]]] = []
    before = ""
    for line in prose(document).splitlines():
        if line.startswith("|"):
            cells = [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            if not before.startswith("|"):
                found.append([])
            if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                found[-1].append(cells)
        before = line
    return found


def commands(script: str) -> Iterator[list[str]]:
    """The simple commands of a shell script as words; comments, redirections and here-documents left out."""
    bare = re.sub(r"(?ms)<<-?\s*'?(\w+)'?([^\n]*)\n.*?^\1$", r"\2", script).replace("\\\n", " ")
    for line in bare.splitlines():
        yield from _commands(line)


def _commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    redirected = False
    for word in lexer:
        if set(word) <= set(";&|()"):
            yield from [words] if words else []
            words = []
        elif set(word) <= set("<>&"):
            redirected = True
            if words and words[-1].isdecimal():  # 2>file
                words.pop()
        elif redirected:
            redirected = False
        else:
            words.append(word)
    yield from [words] if words else []
