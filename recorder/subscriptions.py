"""Which subscription goes where: checked, spread over connections, packed into requests, within a venue's limits.

Owns what every venue's planning has in common. Never knows a venue's names, and never sends anything.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from urllib.parse import urlsplit
from zlib import crc32

from recorder.config import Source
from recorder.listing import Ask, Listing, is_pattern
from recorder.venues import Channel, Code, Heartbeat, Limits, Line, Request, Subscription, Timekeeper


def wanted(source: Source) -> list[Subscription]:
    """Every (channel, symbol) that a source's blocks ask for, once, in the order of the file. A block without
    symbols asks for the channel as a whole."""
    pairs = (
        Subscription(channel, symbol)
        for block in source.subscribe
        for channel in block.channels
        for symbol in block.symbols or ("",)
    )
    return list(dict.fromkeys(pairs))


def limits_of(source: Source, default: Limits) -> Limits:
    """The venue's limits with what the source overrides."""
    known = {each.name for each in fields(Limits)}
    return replace(default, **{key: value for key, value in source.limits.items() if key in known})


def find(name: str, channels: Iterable[Channel]) -> Channel | None:
    """The channel of this name; `candle*` stands for every name that begins with `candle` and goes on."""
    for channel in channels:
        family = channel.name.removesuffix("*")
        if channel.name == family == name or (channel.name != family and name.startswith(family) and name > family):
            return None if "*" in name else channel
    return None


def members(channel: Channel, names: Iterable[str]) -> list[str]:
    """Those of `names` that a channel stands for; of one that is no family, its own name."""
    family = channel.name.removesuffix("*")
    return [each for each in names if each.startswith(family)] if family != channel.name else [family]


# --- checking -------------------------------------------------------------------------------------------------------


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "trades"?`, or nothing if nothing comes close."""
    names = list(known)
    folded = {name.lower(): name for name in names}
    same = [name for name in names if name.lower() == word.lower()]  # candle1h; of candle1M and candle1m neither
    exact = same if len(same) == 1 else difflib.get_close_matches(word, names, n=1, cutoff=0.8)
    close = exact or [folded[each] for each in difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)]
    return f'; did you mean "{close[0]}"?' if close else ""


# --- connections and requests ---------------------------------------------------------------------------------------


def spread(
    subscriptions: Sequence[Subscription],
    symbols: int,
    heavy: Callable[[Subscription], bool],
    heavies: int,
    held: Sequence[Sequence[Subscription]] = (),
) -> list[list[Subscription]]:
    """Connections with at most `symbols` symbols and `heavies` heavy channels each (0: no limit). The channels of a
    symbol stay together, and what a connection has `held` it keeps; the rest goes to the first that has room. So the
    same configuration always gives the same connections."""
    by_symbol: dict[str, list[Subscription]] = {}
    for subscription in subscriptions:
        by_symbol.setdefault(subscription.symbol, []).append(subscription)
    homes = {s.symbol: n for n, group in reversed([*enumerate(held)]) for s in group if s.symbol in by_symbol}
    groups: list[list[Subscription]] = [[] for _ in held]
    counts, weights = [0] * len(held), [0] * len(held)
    for symbol in sorted(by_symbol, key=lambda symbol: symbol not in homes):  # who is at home stays, then the others
        added = sum(map(heavy, by_symbol[symbol]))
        room = (
            n
            for n in range(len(groups))
            if not (symbols and counts[n] >= symbols)
            and not (heavies and added and weights[n] and weights[n] + added > heavies)
        )
        n = homes[symbol] if symbol in homes else next(room, len(groups))
        if n == len(groups):
            groups, counts, weights = [*groups, []], [*counts, 0], [*weights, 0]
        groups[n] += by_symbol[symbol]
        counts[n], weights[n] = counts[n] + 1, weights[n] + added
    return groups


def requests(
    op: str,
    subscriptions: Sequence[Subscription],
    arg: Callable[[Subscription], Mapping[str, str] | str],
    limit: int,
    numbered: bool = True,
) -> list[Request]:
    """`{"id":…,"op":…,"args":[…]}` frames of at most `limit` bytes; not `numbered`, without ids. An id follows from the
    content, so that equal requests are equal frames."""
    groups: list[dict[Subscription, bytes]] = []
    used, empty = limit, f'{{"id":"x12345678","op":"{op}","args":[]}}' if numbered else f'{{"op":"{op}","args":[]}}'
    for subscription in subscriptions:
        encoded = json.dumps(arg(subscription), separators=(",", ":")).encode()
        if not groups or used + len(encoded) + 1 > limit:
            groups.append({})
            used = len(empty)
        groups[-1][subscription] = encoded
        used += len(encoded) + 1
    found = []
    for group in groups:
        joined = b",".join(group.values())
        number = f"{op[0]}{crc32(joined):08x}" if numbered else ""
        head = b'"id":"%b",' % number.encode() if numbered else b""
        body = b'{%b"op":"%b","args":[%b]}' % (head, op.encode(), joined)
        found.append(Request(body, tuple(group), number))
    return found


# --- the venue that others start from -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Key:
    """A way to name what a channel is about: how such a name looks."""

    name: str
    shape: str  # regular expression
    example: str
    listed: bool = False  # the venue's list of instruments says which there are

    def problem(self, symbol: str) -> str:
        """What is wrong with a symbol, "" nothing."""
        if re.fullmatch(self.shape, symbol):
            return ""
        better = re.sub(r"[/_:]", "-", symbol.upper())
        better = re.sub(r"^([A-Z0-9]+?)(USDT|USDC|USD)\b", r"\1-\2", better)
        hint = f'did you mean "{better}"?' if re.fullmatch(self.shape, better) else f"it looks like {self.example}"
        return f'"{symbol}" is no {self.name} of this venue; {hint}'


class BaseVenue(ABC):
    """Planning for a venue that serves channels on paths."""

    name: str
    channels: tuple[Channel, ...]
    codes: tuple[Code, ...]
    heartbeat: Heartbeat
    limits: Limits
    time: Timekeeper | None = None
    listing: Listing | None = None
    options: Mapping[str, str] = {}
    secrets: frozenset[str] = frozenset()
    required: Mapping[str, Sequence[str]] = {}  # options that a source must have, and what they may be; (): anything
    paths: Mapping[str, str]
    private: frozenset[str] = frozenset()  # channels that are no market data
    families: Collection[str] = ()  # the members of all channels named with a `*`
    conflicts: Sequence[tuple[str, str]] = ()  # channels that exclude each other for the same symbol
    always: Mapping[str, str] | None = None  # options of sources whose market never closes; None: of no source
    heavy: tuple[frozenset[str], int] = (frozenset(), 0)  # channels of which a connection should carry few, and how few

    @abstractmethod
    def key(self, channel: str) -> Key | None:
        """How a channel names what it is about; None where it takes no symbol."""

    @abstractmethod
    def subscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """Requests for these."""

    @abstractmethod
    def unsubscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """Requests to end these."""

    def channel(self, name: str) -> Channel | None:
        """The channel that a name belongs to; of a family only members that exist."""
        found = find(name, self.channels)
        return None if found is not None and "*" in found.name and name not in self.families else found

    def always_open(self, source: Source) -> bool:
        """Whether its market never closes."""
        return self.always is not None and self.always.items() <= source.options.items()

    def check(self, source: Source) -> list[str]:
        """Everything wrong with a source, one sentence each, with its place."""
        problems = [*self._check_addresses(source), *self._check_options(source), *self._check_limits(source)]
        for b, block in enumerate(source.subscribe):
            for n, channel in enumerate(block.channels):
                if problem := self._check_channel(channel, block.symbols):
                    problems.append(f"subscribe[{b}].channels[{n}]: {problem}")
            for n, symbol in enumerate(block.symbols):
                if problem := self._check_symbol(symbol, block.channels):
                    problems.append(f"subscribe[{b}].symbols[{n}]: {problem}")
        asked = wanted(source)
        problems += [
            f'"{s.symbol}" cannot have both {one} and {other}: the venue refuses one of them'
            for one, other in self.conflicts
            for s in asked
            if s.channel == one and Subscription(other, s.symbol) in asked
        ]
        needed, allowed = len(self.lines(source)), limits_of(source, self.limits).max_connections
        if allowed and needed > allowed:
            problems.append(f"needs {needed} connections, but limits allow {allowed}; subscribe to less")
        return problems

    def _check_addresses(self, source: Source) -> Iterator[str]:
        added = f"/{self.time.path.strip('/').partition('/')[0]}/" if self.time else ""
        addresses = [(f"endpoints[{n}]", url, tuple(self.paths.values())) for n, url in enumerate(source.endpoints)]
        for place, url, paths in [*addresses, ("rest", source.rest, (added,) if added else ())]:
            there = urlsplit(url).path
            path = next((p for p in paths if p in f"{there}/"), None)
            if path:
                better = url[: len(url) - len(there)] + there[: f"{there}/".index(path)]
                yield f'{place}: "{url}" holds a path that the recorder adds itself; did you mean "{better}"?'

    def _check_options(self, source: Source) -> Iterator[str]:
        for option, words in self.required.items():
            found = source.options.get(option, "")
            if not found or (words and found not in words):
                hint = suggest(found, words) or f"; one of {', '.join(words)}"
                variable = f"{self.name}_{option}".upper()
                hint = hint if words else f'; write {option} = "${{{variable}:?set {variable}}}"'
                yield f"{option}: " + (f'"{found}" is no {option} of this venue' if found else "is missing") + hint

    def _check_limits(self, source: Source) -> Iterator[str]:
        frames, beats = source.limits.get("frames_per_minute", 0), math.ceil(60 / self.heartbeat.interval)
        if 0 < frames <= beats:
            yield (
                f"limits.frames_per_minute: {frames} leaves nothing to subscribe with: heartbeats alone are {beats} "
                "a minute; 0 is no limit"
            )

    def _check_channel(self, channel: str, symbols: Sequence[str]) -> str:
        if channel in self.private:
            return f'"{channel}" is a private channel; this recorder records market data only'
        if self.channel(channel) is None:
            names = [c.name for c in self.channels if "*" not in c.name]
            hint = suggest(channel, [*names, *self.families]) or "; `recorder venues` lists those that there are"
            return f'there is no channel "{channel}"{hint}'
        key = self.key(channel)
        if symbols and key is None:
            return f'"{channel}" takes no symbols; give it a block of its own without any'
        if not symbols and key is not None:
            return f'"{channel}" needs symbols, such as {key.example}'
        return ""

    def _check_symbol(self, symbol: str, channels: Sequence[str]) -> str:
        """What the first of a block's channels that minds it has against a symbol."""
        if is_pattern(symbol):
            listless = next((c for c in channels if self.listing is None or not self._listed(c)), "")
            reason = f'"{symbol}" is a pattern, but the venue gives no list for {listless}; write out what you want'
            return reason if listless else ""
        keys = dict.fromkeys(self.key(channel) for channel in channels if self.channel(channel))
        return next((problem for key in keys if key and (problem := key.problem(symbol))), "")

    def _listed(self, channel: str) -> bool:
        """Whether a channel is about what the venue lists: then patterns mean something."""
        key = self.key(channel)
        return key is not None and key.listed

    def lines(self, source: Source, held: Sequence[Line] = ()) -> list[Line]:
        """Connections of each path, named `<path>/<number>`. The advice about heavy channels gives way to a limit
        on connections."""
        before = {path: [line.subscriptions for line in held if line.path == self.paths[path]] for path in self.paths}
        limits, asked, (heavy, few) = limits_of(source, self.limits), wanted(source), self.heavy
        split = {path: [s for s in asked if (c := self.channel(s.channel)) and c.path == path] for path in self.paths}
        for most in (few, 0):
            groups = {
                path: spread(each, limits.symbols_per_connection, lambda s: s.channel in heavy, most, before[path])
                for path, each in split.items()
            }
            if not limits.max_connections or sum(map(len, groups.values())) <= limits.max_connections:
                break
        return [Line(f"{p}/{n}", self.paths[p], tuple(g)) for p, each in groups.items() for n, g in enumerate(each)]

    def book_request(self, subscription: Subscription) -> Ask | None:
        """No book over REST."""
        return None

    def close_reason(self, code: int, text: str) -> str:
        """The label of `recorder_reconnects_total`, as the table of codes has it."""
        return next((c.label for c in self.codes if c.code == f"close {code}"), "close")

    def warnings(self, source: Source) -> list[str]:
        """Doubtful symbols, a sentence for each kind of doubt in each block."""
        found = []
        for b, block in enumerate(source.subscribe):
            doubts: dict[str, list[int]] = {}
            for n, symbol in enumerate(block.symbols):
                doubts.setdefault("" if is_pattern(symbol) else self.doubt(symbol, source), []).append(n)
            doubts.pop("", None)
            for doubt, at in doubts.items():
                more = f" (and {len(at) - 1} more)" if len(at) > 1 else ""
                found.append(f'subscribe[{b}].symbols[{at[0]}]: "{block.symbols[at[0]]}"{more} {doubt}')
        return found

    def doubt(self, symbol: str, source: Source) -> str:
        """What is doubtful about a symbol that can be asked for, "" nothing."""
        return ""


class OpVenue(BaseVenue):
    """The same for a venue that takes `{"id","op","args"}` requests, or, not `numbered`, `{"op","args"}`."""

    numbered: bool = True

    @abstractmethod
    def arg(self, subscription: Subscription) -> Mapping[str, str] | str:
        """An element of `args`."""

    def subscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """Requests for these."""
        return requests("subscribe", subscriptions, self.arg, self.limits.request_bytes, self.numbered)

    def unsubscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """Requests to end these."""
        return requests("unsubscribe", subscriptions, self.arg, self.limits.request_bytes, self.numbered)
