"""What feeds and venues said of themselves, as rows of connections, subscriptions, venue_events and open gaps.

Owns which statement each control record becomes, and which codes and refusals were told already. Never judges
records, and never touches the database.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from recorder.quality.continuity import Continuity
from recorder.records import (
    Acknowledged,
    Alive,
    Closed,
    Control,
    Decoded,
    Ended,
    Failed,
    Heard,
    Opened,
    Rejected,
    Shed,
    Silent,
    Stream,
    Streams,
    Subscribed,
)
from recorder.store.flush import clean, moment

MOST_CODES = 100  # that are remembered of a connection
OUTCOMES = {
    Acknowledged: "accepted",
    Silent: "silent",
    Heard: "accepted",
    Rejected: "rejected",
    Ended: "ended",
}  # of a subscription


class Saying(Protocol):
    """Where statements go."""

    def say(self, query: str, *params: Any) -> None:
        """Add a row to a statement."""
        ...


def key(stream: Stream) -> tuple[str, str, str]:
    """A stream as parameters."""
    return stream.source, stream.channel, stream.symbol


class Chronicle:
    """Writes down what every burst says beside its records."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._served: set[Stream] = set()  # surely no open gap: the venue has agreed since it last refused
        self.refused: set[Stream] = set()  # those with an open gap, as far as this process has heard
        self._said: dict[str, set[str]] = {}  # feed -> codes that stand in venue_events since it connected

    def write(self, to: Saying, continuity: Continuity, source: str, decoded: Decoded) -> list[Stream]:
        """Rows of a burst; the streams that the venue has refused in it."""
        refused = []
        for _, control in decoded.control:
            if isinstance(control, Acknowledged | Rejected | Ended | Silent | Heard):
                stream = Stream(source, control.channel, control.symbol)
                self._subscription(to, stream, control, decoded.received_at)
                refused += [stream] if isinstance(control, Rejected) else []
            else:
                self._connection(to, source, decoded, control)
        for _, control in decoded.control:  # by themselves, for equal neighbours are sent together
            if isinstance(control, Acknowledged | Rejected | Ended):
                stream = Stream(source, control.channel, control.symbol)
                self._gap(to, continuity, stream, control, decoded.received_at)
        said = self._said.setdefault(decoded.feed, set()) if decoded.events else set()
        for event in decoded.events:
            at = moment(decoded.received_at)
            to.say("insert_event", at, source, decoded.feed, event.code, event.action, clean(event.message))
            if len(said) < MOST_CODES:
                said.add(event.code)
        return refused

    def _connection(self, to: Saying, source: str, decoded: Decoded, control: Control) -> None:
        at, feed = moment(decoded.received_at), decoded.feed
        match control:
            case Opened():
                to.say("abandon_connections", at, feed)  # what a killed process left open
                to.say("end_feed_subscriptions", at, source, feed)
                to.say("open_connection", source, feed, control.endpoint, at)
                self._said.pop(feed, None)
            case Closed():
                code, frames, rtt = control.code, control.frames, control.rtt_ms
                to.say("close_connection", at, control.reason, code, frames, rtt, source, feed)
                to.say("end_feed_subscriptions", at, source, feed)
                if control.reason != "shutdown" and code not in self._said.get(feed, ()):
                    self._event(to, decoded, source, code or control.reason, control.message)
            case Failed():
                self._event(to, decoded, source, control.code or control.reason, control.message)
            case Subscribed():
                for channel, symbol in control.streams:
                    to.say("open_subscription", source, feed, channel, symbol, at)
            case Shed():
                message = f"{control.frames} frames were shed: the spool had no room"
                to.say("insert_event", at, source, feed, "spool", "shed", message)
            case Alive():
                pass

    @staticmethod
    def _subscription(to: Saying, stream: Stream, control: Control, received_at: int) -> None:
        at, outcome = moment(received_at), OUTCOMES[type(control)]
        if isinstance(control, Rejected | Ended):
            to.say("end_subscription", outcome, at, *key(stream))
        else:
            to.say("set_subscription", outcome, *key(stream))

    def _gap(self, to: Saying, continuity: Continuity, stream: Stream, control: Control, received_at: int) -> None:
        """While the venue refuses a stream, it has a hole that goes on."""
        at = moment(received_at)
        if isinstance(control, Rejected):
            last = continuity.reject(self._streams.number(stream))
            since = at if last is None else moment(min(last, received_at))
            to.say("open_gap", *key(stream), since, "rejected", at, *key(stream), "rejected")
            self._served.discard(stream)
            self.refused.add(stream)
        elif stream not in self._served:
            self.refused.discard(stream)
            self._end_gap(to, continuity, stream, at)

    def _end_gap(self, to: Saying, continuity: Continuity, stream: Stream, at: datetime) -> None:
        """The venue serves a stream again, or nobody wants it. Where it has records, the next one tells what the
        refusal has cost; if none ever comes, nobody knows."""
        self._served.add(stream)
        if continuity.refused(self._streams.number(stream)):
            to.say("drop_open_gap", *key(stream), "rejected")
        else:
            to.say("close_gap", at, at, *key(stream), "rejected")

    @staticmethod
    def _event(to: Saying, decoded: Decoded, source: str, code: str, message: str) -> None:
        to.say("insert_event", moment(decoded.received_at), source, decoded.feed, code, "retry", clean(message))
