"""A venue of the tests, whose frames are words.

Owns its channels, codes, requests and decoder; states no rule itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from recorder.config import Source
from recorder.decoding import parse_rest
from recorder.listing import Ask, Listing
from recorder.records import (
    ANSWER,
    Ack,
    Burst,
    Decoded,
    Header,
    Kind,
    Notice,
    Pong,
    Reaction,
    Refusal,
    Rows,
    Stream,
    Streams,
    decode_control,
)
from recorder.venues import Channel, Code, Decoder, Heartbeat, Limits, Line, Request, Subscription, Timekeeper
from recorder.venues import Continuity as Proof

CODES = (
    Code("drop", "no such instrument", Reaction.DROP),
    Code("again", "internal error", Reaction.RESUBSCRIBE),
    Code("slow", "too frequent", Reaction.SLOW_DOWN),
    Code("key", "bad key", Reaction.PARK),
    Code("leave", "internal error", Reaction.RETRY),
    Code("513", "no heartbeat", Reaction.RETRY, counts_as_heartbeat_timeout=True),
    Code("upgrade", "moving", Reaction.HAND_OVER),
    Code("close 4001", "login failed", Reaction.PARK),
    Code("close 4004", "no data in 30 s", Reaction.RETRY, counts_as_heartbeat_timeout=True),
)
_REACTIONS = {code.code: code.reaction for code in CODES}


class Toy:
    """A venue whose frames are words: `data CHANNEL SYMBOL PREVIOUS SEQUENCE`, `ok CHANNEL SYMBOL`,
    `no CODE CHANNEL SYMBOL`, `refuse CODE ID`, `notice CODE`, `pong`."""

    name = "toy"
    title = "A venue of the tests"
    endpoints: tuple[str, ...] = ()
    rest = ""
    channels: tuple[Channel, ...] = (
        Channel("trades", "trades", Proof.NUMBERED, "public"),
        Channel("books", "books", Proof.CHAINED, "public"),
        Channel("candles", "candles", Proof.BARS, "public"),
    )
    codes: tuple[Code, ...] = CODES
    facts: tuple[str, ...] = ()
    heartbeat = Heartbeat(b"ping", 20.0, 10.0, True)
    time: Timekeeper | None = None
    listing: Listing | None = None
    options: Mapping[str, str] = {}
    secrets: frozenset[str] = frozenset()

    def __init__(self, limits: Limits, over_rest: bool = False) -> None:
        self.limits = limits
        self.over_rest = over_rest

    def check(self, source: Source) -> list[str]:
        """All is well."""
        return []

    warnings = check

    def always_open(self, source: Source) -> bool:
        """Of crypto, where a source can be of something else."""
        return source.options.get("business", "crypto") == "crypto"

    def lines(self, source: Source, held: Sequence[Line] = ()) -> list[Line]:
        """Made by the tests."""
        return []

    def subscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """One request for all; its id is what it asks for."""
        return [self._request("sub", subscriptions)]

    def unsubscribe(self, subscriptions: Sequence[Subscription]) -> list[Request]:
        """One request for all."""
        return [self._request("unsub", subscriptions)]

    @staticmethod
    def _request(verb: str, subscriptions: Sequence[Subscription]) -> Request:
        words = ",".join(f"{s.channel}:{s.symbol}" for s in subscriptions)
        return Request(f"{verb} {words}".encode(), tuple(subscriptions), words)

    def book_request(self, subscription: Subscription) -> Ask | None:
        """Where there is REST: the answer is the number at which the book stands."""
        return Ask("/book", {"symbol": subscription.symbol}) if self.over_rest else None

    def decoder(self, header: Header, streams: Streams) -> Decoder:
        """Of words."""
        return Words(header, streams)

    def channel(self, name: str) -> Channel | None:
        """By its name."""
        return next((c for c in self.channels if c.name == name), None)

    def close_reason(self, code: int, text: str) -> str:
        """Two codes mean something."""
        return {4001: "auth", 4004: "heartbeat"}.get(code, "close")


class Words:
    """Reads the toy's frames."""

    def __init__(self, header: Header, streams: Streams) -> None:
        self.header = header
        self.streams = streams

    def decode(self, burst: Burst) -> Decoded:
        """By the kind of the burst."""
        out = Decoded(self.header.feed, self.header.run, burst.first, burst.next, burst.received_at)
        if burst.kind is Kind.CONTROL:
            out.control += [(n, decode_control(frame)) for n, frame in enumerate(burst.frames, burst.first)]
        elif burst.kind is Kind.REST:
            for n, frame in enumerate(burst.frames, burst.first):
                answer = parse_rest(frame)
                self._row(n, answer.channel, answer.symbol, (ANSWER, json.loads(bytes(answer.body))), out)
        else:
            self._messages(burst, out)
        return out

    def skim(self, burst: Burst) -> Decoded:
        """Without the trades, whose numbers a feed does not watch."""
        out = self.decode(burst)
        out.tables.pop("trades", None)
        return out

    def _messages(self, burst: Burst, out: Decoded) -> None:
        lines: dict[str, list[bytes]] = {}
        for n, frame in enumerate(burst.frames, burst.first):
            verb, *words = frame.decode().split(" ")
            if verb == "data":
                self._data(n, words, out)
                lines.setdefault(words[0], []).append(frame + b"\n")
            elif verb == "ok":
                out.replies.append(Ack(words[0], words[1]))
            elif verb == "no":
                out.replies.append(Refusal(words[0], "refused", _REACTIONS[words[0]], "", words[1], words[2]))
            elif verb == "refuse":
                out.replies.append(Refusal(words[0], "refused", _REACTIONS[words[0]], words[1]))
            elif verb == "notice":
                out.replies.append(Notice(words[0], "notice", _REACTIONS[words[0]]))
            elif verb == "pong":
                out.replies.append(Pong())
        for table, parts in lines.items():
            out.tables[table].data = b"".join(parts)

    def _data(self, n: int, words: list[str], out: Decoded) -> None:
        channel, symbol, previous, sequence = words
        self._row(n, channel, symbol, (int(previous), int(sequence)), out)
        out.messages[channel] = out.messages.get(channel, 0) + 1

    def _row(self, n: int, channel: str, symbol: str, ids: tuple[int, int], out: Decoded) -> None:
        rows = out.tables.setdefault(channel, Rows(b"", [], [], [], [], []))
        rows.streams.append(self.streams.number(Stream(self.header.source, channel, symbol)))
        rows.seq_from.append(ids[0])
        rows.seq_to.append(ids[1])
        rows.times.append(out.received_at - 5000)
        rows.frames.append(n)
