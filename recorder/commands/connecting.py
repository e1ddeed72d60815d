"""What `check --connect` finds out: whether everything that the configuration names can be reached and used from here.

Owns the findings, a sentence each: per source DNS, proxy or connection, TLS, clock, what its patterns mean and one
subscription; the database; the disk. Each takes SECONDS at the most. Never writes anywhere, takes no lock, and stores
nothing of what comes, so it works beside a running recorder.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from recorder.capture.datadir import DataDir
from recorder.capture.proxy import connect
from recorder.capture.reach import Deadline, Target, resolve, secure, target, trust
from recorder.capture.rest import Rest
from recorder.capture.transport import Options, Transport
from recorder.config import Config, Source
from recorder.errors import ConnectionLost, Exit, PoisonMessage, RecorderError
from recorder.following import listed
from recorder.listing import Listing, has_patterns, is_pattern
from recorder.listing import resolve as resolve_patterns
from recorder.records import Ack, Burst, Decoded, Header, Notice, Reaction, Refusal, Streams, now_us
from recorder.redact import clean, redact
from recorder.settings.units import show_bytes
from recorder.venues import Line, Subscription, Timekeeper, Venue, venues

SECONDS = 10.0  # each single attempt
ANSWER_SECONDS = 10.0  # for a venue to say anything about a subscription
CLOCK_SECONDS = 1.0  # a clock that is off by more spoils latencies and, later, the order of venues


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `source` is empty for what all share; `ok` is None for what could not be looked
    at or needs no look, and `sentence` says why."""

    check: str
    source: str
    ok: bool | None
    sentence: str

    def __str__(self) -> str:
        word = {True: "ok  ", False: "FAIL", None: "-   "}[self.ok]
        return f"{word} {f'{self.source} ' if self.source else ''}{self.check}: {self.sentence}"

    def as_dict(self) -> dict[str, object]:
        """As `--json` gives it."""
        return {"check": self.check, "source": self.source or None, "ok": self.ok, "sentence": self.sentence}


def findings(config: Config) -> Iterator[Finding]:
    """Everything, as it is found out."""
    every = [_disk(config), _database(config), *(_source(source) for source in config.sources)]
    for each in every:
        for finding in each:
            yield replace(finding, sentence=clean(redact(finding.sentence)))


def exit_code(found: Iterable[Finding]) -> Exit:
    """69 when only the database is missing, 1 for anything else that is not well."""
    failed = {finding.check for finding in found if finding.ok is False}
    if not failed:
        return Exit.OK
    return Exit.DATABASE_UNAVAILABLE if failed == {"database"} else Exit.NEGATIVE


# --- a source --------------------------------------------------------------------------------------------------------


def _source(source: Source) -> Iterator[Finding]:
    """Its names, its addresses, its clock, and whether it gives what is asked of it."""
    venue = venues()[source.venue]
    yield from _names(source)
    goals = _goals(source)
    reached: set[str] = set()
    for base, goal in goals.items():
        steps = list(_goal(source, goal))
        yield from steps
        if steps[0].ok and steps[-1].ok is not False:
            reached.add(base)
    yield Finding("clock", source.name, *_clock(source, venue.time, source.rest in reached))
    if has_patterns(source) and venue.listing is not None:
        ok, sentence, symbols = _listed(source, venue.listing, source.rest in reached)
        yield Finding("instruments", source.name, ok, sentence)
        source = resolve_patterns(source, symbols)
    endpoint = next((each for each in source.endpoints if each in reached), None)
    yield Finding("subscription", source.name, *_subscription(source, venue, endpoint))


def _goals(source: Source) -> dict[str, Target]:
    """Where the source's connections go, by base URL."""
    goals = {each: target(each, "", {}, ("ws", "wss")) for each in source.endpoints}
    return goals | ({source.rest: target(source.rest, "", {}, ("http", "https"))} if source.rest else {})


def _names(source: Source) -> Iterator[Finding]:
    """Every name that is looked up on this machine; a proxy may have the others to itself."""
    proxy = urlsplit(_proxy(source) or "")
    hosts = [proxy.hostname] if proxy.hostname else []
    if proxy.scheme not in ("http", "socks5h"):
        hosts += [goal.host for goal in _goals(source).values()]
    for host in dict.fromkeys(hosts):
        try:
            addresses = {address[4][0] for address in resolve(host, 0, _deadline())}
        except ConnectionLost as lost:
            yield Finding("dns", source.name, False, lost.detail)
        else:
            count = len(addresses)
            yield Finding("dns", source.name, True, f"{host}: {count} address{'' if count == 1 else 'es'}")


def _goal(source: Source, goal: Target) -> Iterator[Finding]:
    """Connecting, and TLS over it."""
    proxy = _proxy(source)
    name = "proxy" if proxy else "connection"
    try:
        sock, seconds = connect(goal, _deadline(), proxy)
    except ConnectionLost as lost:
        known = lost.reason == "dns"  # said once already
        sentence = f"not checked: {goal.host} has no address here" if known else lost.detail
        yield Finding(name, source.name, None if known else False, sentence)
        return
    yield Finding(name, source.name, True, f"{goal.name} reached in {1000 * seconds:.0f} ms{_by(proxy)}")
    try:
        yield Finding("tls", source.name, *_tls(sock, goal))
    finally:
        sock.close()


def _by(proxy: str | None) -> str:
    if proxy is None:
        return ""
    parts = urlsplit(proxy)
    return f" through {parts.scheme}://{parts.hostname}:{parts.port}"


def _tls(sock: socket.socket, goal: Target) -> tuple[bool | None, str]:
    if not goal.tls:
        return None, f"{goal.public} is not encrypted"
    try:
        with secure(sock, goal, trust(), _deadline()) as safe:
            certificate = safe.getpeercert() or {}
            return True, f"{goal.name}: {safe.version()}, certificate good until {_until(certificate)}"
    except ConnectionLost as lost:
        return False, lost.detail


def _until(certificate: object) -> str:
    """The day on which a certificate ends."""
    ends = certificate.get("notAfter", "") if isinstance(certificate, dict) else ""
    return time.strftime("%Y-%m-%d", time.gmtime(ssl.cert_time_to_seconds(ends))) if ends else "?"


# --- its clock -------------------------------------------------------------------------------------------------------


def _clock(source: Source, keeper: Timekeeper | None, reached: bool) -> tuple[bool | None, str]:
    """This machine's clock against the venue's, less half the round trip."""
    if keeper is None:
        return None, "not checked: the venue tells no time"
    if not reached:
        return None, f"not checked: {source.rest or 'no REST address'} was not reached"
    rest = Rest(source.rest, _proxy(source), deadline=SECONDS)
    try:
        answer = rest.get(keeper.path)
    except ConnectionLost as lost:
        return False, lost.detail
    finally:
        rest.close()
    try:
        offset = answer.ahead_of(keeper.milliseconds(answer.body))
    except ValueError as error:
        return False, f"{answer.url}: HTTP {answer.status}: {error}"
    words = f"{abs(offset):.3f} s {'ahead of' if offset > 0 else 'behind'} the venue's"
    within = f"(round trip {1000 * answer.rtt:.0f} ms)"
    if abs(offset) - answer.rtt / 2 > CLOCK_SECONDS:
        return False, f"this machine's clock is {words} {within}; let it be set by NTP"
    return True, f"{words} {within}"


# --- what its patterns mean ------------------------------------------------------------------------------------------


def _listed(source: Source, listing: Listing, reached: bool) -> tuple[bool | None, str, list[str]]:
    """What the venue lists, and how much of it each pattern means. One that means nothing is most likely mistyped."""
    if not reached:
        return None, f"not checked: {source.rest or 'no REST address'} was not reached", []
    rest = Rest(source.rest, _proxy(source), deadline=SECONDS)
    try:
        symbols = listing.alive(listed(rest, listing))
    except ConnectionLost as lost:
        return False, lost.detail, []
    except PoisonMessage as poison:
        return False, f"{source.rest}: {poison}", []
    finally:
        rest.close()
    patterns = dict.fromkeys(each for block in source.subscribe for each in block.symbols if is_pattern(each))
    counts = {each: sum(fnmatchcase(symbol, each) for symbol in symbols) for each in patterns}
    matches = ", ".join(f"{count} match {each}" for each, count in counts.items())
    return all(counts.values()), f"{len(symbols)} listed, {matches}", symbols


# --- one subscription ------------------------------------------------------------------------------------------------


def _subscription(source: Source, venue: Venue, endpoint: str | None) -> tuple[bool | None, str]:
    """Ask for the first subscription, and wait for whatever the venue makes of it."""
    line = next((line for line in venue.lines(source) if line.subscriptions), None)
    if line is None:
        return None, "not checked: there is nothing to ask for"
    if endpoint is None:
        return None, "not checked: no endpoint was reached"
    first = line.subscriptions[0]
    options = Options(connect_timeout=SECONDS, proxy=_proxy(source))
    try:
        transport = Transport.connect(endpoint, replace(line, subscriptions=(first,)), options)
        try:
            login = [] if line.login is None else [line.login.request(now_us())]
            for request in (*login, *venue.subscribe([first])):
                transport.send(request.payload)
            return _verdict(transport, source, venue, line, first)
        finally:
            transport.close()
    except ConnectionLost as lost:
        return False, f"{_what(first)}: {lost.detail}"


def _verdict(
    transport: Transport, source: Source, venue: Venue, line: Line, asked: Subscription
) -> tuple[bool | None, str]:
    """Read until there is an answer."""
    public = {key: value for key, value in source.options.items() if key not in venue.secrets}
    decoder = venue.decoder(
        Header("", f"{source.name}/{line.name}", source.name, venue.name, line.path, public), Streams()
    )
    end, n = time.monotonic() + ANSWER_SECONDS, 0
    while time.monotonic() < end:
        for kind, frames in transport.read(0.5):
            decoded = decoder.decode(Burst(n, now_us(), kind, frames))
            n = decoded.next
            if answer := _answer(decoded, asked):
                return answer
    return False, f"{_what(asked)}: no answer in {ANSWER_SECONDS:.0f} s at {transport.endpoint}"


def _answer(decoded: Decoded, asked: Subscription) -> tuple[bool, str] | None:
    """What a burst says about the subscription, if anything. A refusal need not say whom it is for: it is for us."""
    for reply in decoded.replies:
        match reply:
            case Ack():
                return True, f"{_what(asked)} accepted"
            case Refusal() | Notice() if isinstance(reply, Refusal) or reply.reaction is not Reaction.NONE:
                return False, f"{_what(asked)}: the venue refuses with {reply.code}, {reply.message}"
    return (True, f"{_what(asked)} brings data") if decoded.messages else None


def _what(subscription: Subscription) -> str:
    return f"{subscription.channel} {subscription.symbol}".rstrip()


def _proxy(source: Source) -> str | None:
    return None if source.proxy is None else str.__str__(source.proxy)


def _deadline() -> Deadline:
    return Deadline(SECONDS, lambda: False)


# --- what all sources share ------------------------------------------------------------------------------------------


def _disk(config: Config) -> Iterator[Finding]:
    """Whether the spool can be kept where it should be, and grow as large as it may."""
    home, limits = config.home, config.spool
    place = next(each for each in (home, *home.parents) if each.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        yield Finding("disk", "", False, f"{place} cannot be written to by this user, but recorder.data_dir is {home}")
        return
    try:
        free, used = shutil.disk_usage(place).free, _size(DataDir(home).spool)
    except OSError as error:
        yield Finding("disk", "", False, f"{home} cannot be looked at: {error.strerror}")
        return
    room = free - limits.min_free
    has = f"{home} has {show_bytes(free)} free"
    if room < 0:
        sentence = f"{has}, less than spool.min_free ({show_bytes(limits.min_free)}): received data would be shed"
    elif room + used < limits.max_size:
        sentence = (
            f"{has}, so that the spool ends at {show_bytes(room + used)} and not at spool.max_size "
            f"({show_bytes(limits.max_size)}); make room, or lower max_size or min_free"
        )
    else:
        yield Finding("disk", "", True, f"{has}; the spool may take {show_bytes(limits.max_size)}")
        return
    yield Finding("disk", "", False, sentence)


def _size(folder: Path) -> int:
    """Bytes of all files; those that a running recorder removes meanwhile count as nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total


def _database(config: Config) -> Iterator[Finding]:
    """The writer's own way in: what it refuses is refused here, in the same words."""
    from recorder.commands.status import database_url
    from recorder.store.probe import probe

    try:
        url = database_url(config)
        if url is None:
            yield Finding(
                "database", "", None, "not checked: the local database does not run; `recorder run` starts it"
            )
            return
        yield Finding("database", "", True, probe(url, SECONDS))
    except RecorderError as error:
        yield Finding("database", "", False, str(error))


def summary(found: Sequence[Finding]) -> str:
    """One sentence for all."""
    failed = sum(finding.ok is False for finding in found)
    return f"{failed} of {len(found)} checks failed" if failed else "everything was reached"
