"""Live push: who gets what, what a slow listener costs, and what is refused."""

from __future__ import annotations

import json

import pytest

from recorder.observe.events import BUFFER, LISTENERS, BadQuery, Events, Listener, Selection, TooMany, parse
from recorder.observe.metrics import Metrics
from recorder.records import Decoded, Rows, Stream, Streams

KNOWN = {"a": {"trades", "books"}, "b": {"tickers"}}
AT = "2026-11-21 09:30:00.123456+00"


class Rig:
    """Two sources, and bursts of them."""

    def __init__(self) -> None:
        self.streams = Streams()
        self.metrics = Metrics({"a": ["trades"]})
        self.events = Events(self.streams, self.metrics, lambda: KNOWN)
        self.frame = 0

    def burst(self, *symbols: str, source: str = "a", channel: str = "trades") -> Decoded:
        """A price of each symbol."""
        numbers = [self.streams.number(Stream(source, channel, symbol)) for symbol in symbols]
        lines = "".join(f"{AT}\t{AT}\t{source}\t{channel}\t{symbol}\tmark\t1.10\n" for symbol in symbols)
        first, self.frame = self.frame, self.frame + len(symbols)
        nothing = [None] * len(symbols)
        frames = list(range(first, self.frame))
        rows = Rows(lines.encode(), numbers, list(nothing), list(nothing), [0] * len(symbols), frames)
        return Decoded(f"{source}/public/0", "3-ab", first, self.frame, 0, {"reference_prices": rows})

    def metric(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(name)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def heard(listener: Listener) -> list[tuple[str, str, dict[str, str]]]:
    """What it has to read now: event, id, data."""
    text = b""
    while (item := listener.take(0)) is not None:
        text += listener.events(item)
    found = []
    for block in text.decode().removesuffix("\n\n").split("\n\n") if text else []:
        fields = dict(each.split(": ", 1) for each in block.split("\n"))
        found.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
    return found


def symbols(listener: Listener) -> list[str]:
    return [data["symbol"] for _, _, data in heard(listener)]


def test_an_event_is_a_record(rig: Rig) -> None:
    """Its name is the table, its id the frame, its data the columns."""
    listener = rig.events.open("")
    rig.events.passed(rig.burst("X"), True)
    rig.events.passed(rig.burst("Y", "Z"), True)
    at = "2026-11-21T09:30:00.123456Z"
    data = {
        "time": at,
        "received_at": at,
        "source": "a",
        "channel": "trades",
        "symbol": "X",
        "kind": "mark",
        "price": "1.10",
    }
    assert heard(listener) == [
        ("reference_prices", "3-ab/0", data),
        ("reference_prices", "3-ab/1", {**data, "symbol": "Y"}),
        ("reference_prices", "3-ab/2", {**data, "symbol": "Z"}),
    ]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", ["X", "Y", "B", "T"]),
        ("source=a", ["X", "Y", "B"]),
        ("source=a&source=b", ["X", "Y", "B", "T"]),
        ("channel=trades", ["X", "Y"]),
        ("channel=books,tickers", ["B", "T"]),
        ("symbol=X,T", ["X", "T"]),
        ("source=a&channel=trades&symbol=Y", ["Y"]),
        ("symbol=x", []),
        ("source=b&symbol=X", []),
    ],
)
def test_the_selection_is_exact(rig: Rig, query: str, wanted: list[str]) -> None:
    """Within a parameter any value will do, between parameters all must fit; nothing else passes."""
    listener = rig.events.open(query)
    rig.events.passed(rig.burst("X", "Y"), True)
    rig.events.passed(rig.burst("B", channel="books"), True)
    rig.events.passed(rig.burst("T", source="b", channel="tickers"), True)
    assert symbols(listener) == wanted


def test_a_symbol_may_need_quoting() -> None:
    """Percent signs and pluses are read as browsers write them."""
    assert parse("symbol=A%2FB&symbol=C%2BD", KNOWN) == Selection(symbol=frozenset({"A/B", "C+D"}))


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("source=c", "unknown source 'c': there is a, b"),
        ("source=b&channel=trades", "unknown channel 'trades': there is tickers"),
        ("channel=candles", "unknown channel 'candles': there is books, tickers, trades"),
        ("symbols=X", "unknown parameter 'symbols': there are source, channel and symbol"),
        ("symbol=", "symbol has an empty value: leave it out to get every symbol"),
        ("symbol=" + ",".join(map(str, range(2000))), "more than 1000 values"),
    ],
)
def test_a_bad_query_is_a_sentence(query: str, sentence: str) -> None:
    """What is wrong, and what there is."""
    with pytest.raises(BadQuery) as caught:
        parse(query, KNOWN)
    assert str(caught.value).startswith(sentence)


def test_behind_and_live_are_told_once(rig: Rig) -> None:
    """While a feed's records go by way of the spool none passes; the listener knows, also one that came in between."""
    first = rig.events.open("source=a")
    rig.events.passed(rig.burst("X"), False)
    rig.events.passed(rig.burst("X"), False)
    second, other = rig.events.open(""), rig.events.open("source=b")
    rig.events.passed(rig.burst("X"), False)
    rig.events.passed(rig.burst("Y"), True)
    rig.events.passed(rig.burst("Z"), True)
    told = {"source": "a", "feed": "a/public/0"}
    for listener in (first, second):
        behind, live, *rest = heard(listener)
        assert (behind, live) == (("behind", "", told), ("live", "", told))
        assert [data["symbol"] for _, _, data in rest] == ["Y", "Z"]
    assert heard(other) == []


def test_a_slow_listener_holds_no_more_than_its_buffer(rig: Rig) -> None:
    """At the limit it is dropped, what it held is let go, it is counted when it leaves, and the others miss nothing."""
    slow, quick = rig.events.open(""), rig.events.open("")
    most = bursts = 0
    while not slow.dropped:
        rig.events.passed(rig.burst(*"ABCDEFGH"), True)
        assert symbols(quick) == [*"ABCDEFGH"]
        most, bursts = max(most, slow.held), bursts + 1
    assert bursts > 1000
    assert BUFFER * 0.9 < most <= BUFFER
    assert (slow.held, slow.take(0)) == (0, None)
    rig.events.passed(rig.burst("X"), True)
    assert (slow.held, slow.take(0)) == (0, None)
    assert rig.metric("recorder_events_clients") == 2
    rig.events.leave(slow)
    rig.events.leave(quick)
    assert rig.metric("recorder_events_dropped_total") == 1
    assert rig.metric("recorder_events_clients") == 0


def test_nobody_listens_nothing_is_wanted(rig: Rig) -> None:
    """A feed hands nothing over while nobody listens."""
    seen = [rig.events.wanted]
    listener = rig.events.open("")
    seen.append(rig.events.wanted)
    rig.events.leave(listener)
    seen.append(rig.events.wanted)
    assert seen == [False, True, False]


def test_places_are_few(rig: Rig) -> None:
    """Beyond them nobody is let in, and a place that is left is free again."""
    listeners = [rig.events.open("") for _ in range(LISTENERS)]
    with pytest.raises(TooMany, match=f"already {LISTENERS} listeners"):
        rig.events.open("")
    rig.events.leave(listeners[0])
    rig.events.open("")


def test_an_end_wakes_whoever_waits(rig: Rig) -> None:
    """When the recorder stops nobody goes on waiting, and nobody new is let in."""
    listener = rig.events.open("")
    rig.events.close()
    assert listener.take(60) is None
    assert listener.closed
    with pytest.raises(TooMany):
        rig.events.open("")
