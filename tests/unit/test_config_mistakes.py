"""Wrong configurations, and the one sentence that each gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder import configfile
from recorder.errors import ConfigError, Exit
from tests.unit.fakevenue import VENUES
from tests.unit.mistakes import MISTAKES, source


def problems(text: str, **environ: str) -> list[str]:
    """Everything wrong with a file."""
    with pytest.raises(ConfigError) as caught:
        configfile.parse(text, environ, Path("/etc"), VENUES)
    assert caught.value.exit_code == Exit.CONFIGURATION
    return caught.value.problems


@pytest.mark.parametrize(("text", "sentence"), MISTAKES, ids=[sentence[:60] for _, sentence in MISTAKES])
def test_one_mistake_one_sentence(text: str, sentence: str) -> None:
    """A mistake gives exactly one sentence: where, what, and what to write instead."""
    found = problems(text)
    assert found == [sentence]


def test_the_table_is_long_enough() -> None:
    """At least forty different mistakes are tried."""
    assert len({sentence for _, sentence in MISTAKES}) >= 40


def test_all_mistakes_at_once() -> None:
    """Every mistake of a file is listed, in whatever sections they are; the venue is asked as well."""
    found = problems(
        """
        [recorder]
        listen = "x"
        [spool]
        sync = "1"
        [[source]]
        venue = "open"
        connections = 9
        [[source.subscribe]]
        channels = []
        [[source.subscribe]]
        channels = ["trades", "trads"]
        symbols = ["A"]
        [[source]]
        venue = "fake"
        api_key = "${KEY:?set KEY}"
        [[source.subscribe]]
        channels = ["books"]
        [oops]
        """
    )
    places = [problem.partition(": ")[0] for problem in found]
    assert places == [
        "recorder.listen",
        "spool.sync",
        'source[0] "open".connections',
        'source[0] "open".subscribe[0].channels',
        'source[0] "open".subscribe[1].channels[1]',
        'source[1] "fake".api_key',
        "oops",
    ]


def test_mistakes_never_quote_secrets() -> None:
    """A wrong value that came from a variable or belongs to a secret key is not repeated."""
    found = problems(
        """
        [recorder]
        listen = "${LISTEN}"
        [database]
        url = "postgresql://u:canary-1@h:port/db"
        [[source]]
        venue = "fake"
        api_key = " canary-2"
        proxy = "canary-3"
        rest = "https://u:canary-4@h"
        [[source.subscribe]]
        channels = ["${KEY}"]
        symbols = ["A", "A"]
        """,
        LISTEN="canary-5",
        KEY="canary-6 ",
    )
    assert len(found) == 7
    assert "canary" not in "\n".join(found)
    assert any('"${LISTEN}" is no address' in problem for problem in found)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """An absent file, a directory and bytes that are no text are one sentence each, with the file's name."""
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# fine\n# caf\xe9\n")
    for path, sentence in (
        (tmp_path / "absent.toml", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
        (latin, "is not UTF-8 text (line 2)"),
    ):
        with pytest.raises(ConfigError) as caught:
            configfile.load(path, {}, VENUES)
        assert caught.value.problems == [f"{path}: {sentence}"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"\xff", "not UTF-8 text"), (b"\n", "is empty"), (b"x" * 70_000, "larger than 64 KiB")],
)
def test_file_references_that_lead_nowhere_good(tmp_path: Path, content: bytes, sentence: str) -> None:
    """A secret's file must hold a short text."""
    (tmp_path / "secret").write_bytes(content)
    (found,) = problems(source(f'sessions = "file:{tmp_path}/secret"'))
    assert sentence in found


_TOML_VALUES = st.recursive(
    st.integers() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
_PATHS = [
    ("recorder",), ("recorder", "listen"), ("recorder", "data_dir"), ("database", "url"), ("database", "flush_age"),
    ("spool", "priority"), ("spool", "max_size"), ("retention",), ("source",), ("source", 0), ("source", 0, "venue"),
    ("source", 0, "name"), ("source", 0, "endpoints"), ("source", 0, "rest"), ("source", 0, "proxy"),
    ("source", 0, "limits"), ("source", 0, "api_key"), ("source", 0, "subscribe"),
    ("source", 0, "subscribe", 0, "channels"), ("source", 0, "subscribe", 0, "symbols"),
]  # fmt: skip


@given(path=st.sampled_from(_PATHS), value=_TOML_VALUES)
def test_any_value_anywhere_is_read_or_refused(path: tuple[str | int, ...], value: object) -> None:
    """Whatever stands at a key, reading ends with a configuration or with sentences, never with another exception."""
    tree: dict[str, object] = {
        "recorder": {},
        "database": {},
        "spool": {},
        "source": [{"venue": "fake", "api_key": "k-e-y", "subscribe": [{"channels": ["trades"], "symbols": ["A"]}]}],
    }
    holder: object = tree
    for step in path[:-1]:
        holder = holder[step]  # type: ignore[index]
    holder[path[-1]] = value  # type: ignore[index]
    try:
        assert configfile.read(tree, {}, Path("/etc"), VENUES).sources
    except ConfigError as error:
        assert error.problems
        assert all(isinstance(problem, str) and problem for problem in error.problems)
