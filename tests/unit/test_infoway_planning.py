"""Infoway's connections and requests, and what it makes of a wrong or doubtful configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recorder import configfile
from recorder.capture.backoff import Allowance
from recorder.capture.heartbeat import Pulse
from recorder.capture.subscriptions import Subscriptions
from recorder.errors import ConfigError
from recorder.records import Ack
from recorder.venues import Request, Subscription
from recorder.venues.infoway import BUSINESSES, venue
from tests.unit.infowayframes import KEY, decode, source


def sent(requests: list[Request]) -> list[tuple[int, Any]]:
    """Code and data of each frame; its trace is the request's id."""
    found = [json.loads(request.payload) for request in requests]
    assert [each["trace"] for each in found] == [request.id for request in requests]
    return [(each["code"], each["data"]) for each in found]


def of(channels: str, symbols: str) -> list[Subscription]:
    """Every channel of every symbol."""
    return [Subscription(channel, symbol) for symbol in symbols.split() for channel in channels.split()]


# --- requests -------------------------------------------------------------------------------------------------------


def test_symbols_share_a_request() -> None:
    """Frames are what the venue counts: one for trades, one for books, one for klines of all intervals."""
    asked = of("trade depth kline_1m kline_1d", "BTCUSDT ETHUSDT")
    requests = venue.subscribe(asked)
    assert sent(requests) == [
        (10000, {"codes": "BTCUSDT,ETHUSDT"}),
        (10003, {"codes": "BTCUSDT,ETHUSDT"}),
        (10006, {"arr": [{"type": 1, "codes": "BTCUSDT,ETHUSDT"}, {"type": 8, "codes": "BTCUSDT,ETHUSDT"}]}),
    ]
    assert sorted(s for request in requests for s in request.subscriptions) == sorted(asked)


def test_an_end_ends_only_what_it_names() -> None:
    """Without symbols everything would end, without types all klines of a symbol: each interval has its own frame."""
    asked = [*of("trade depth kline_1m", "BTCUSDT ETHUSDT"), *of("kline_1q", "BTCUSDT")]
    assert sent(venue.unsubscribe(asked)) == [
        (11000, {"codes": "BTCUSDT,ETHUSDT"}),
        (11001, {"codes": "BTCUSDT,ETHUSDT"}),
        (11002, {"codes": "BTCUSDT,ETHUSDT", "klineTypes": "1"}),
        (11002, {"codes": "BTCUSDT", "klineTypes": "11"}),
    ]


def test_no_request_has_more_symbols_than_the_venue_takes() -> None:
    """600 in one; the klines of all intervals count together."""
    many = " ".join(f"A{n}" for n in range(1500))
    for request in (*venue.subscribe(of("trade", many)), *venue.unsubscribe(of("trade", many))):
        assert len(json.loads(request.payload)["data"]["codes"].split(",")) <= 600
    requests = venue.subscribe(of("kline_1m kline_5m", many))
    sizes = [sum(len(each["codes"].split(",")) for each in data["arr"]) for _, data in sent(requests)]
    assert sizes == [600] * 5


def test_a_trace_follows_from_what_is_asked() -> None:
    """Equal requests are equal frames, others have other traces."""
    first, same, other = (venue.subscribe(of("trade", s))[0] for s in ("BTCUSDT", "BTCUSDT", "ETHUSDT"))
    (ended,) = venue.unsubscribe(of("trade", "BTCUSDT"))
    assert first == same
    assert len({first.id, other.id, ended.id}) == 3


def test_an_acknowledgement_is_for_all_of_its_request() -> None:
    """Its trace leads to the request; what another request asked for is not accepted by it."""
    asked = of("trade depth", "BTCUSDT ETHUSDT")
    subscriptions = Subscriptions(asked, venue)
    subscriptions.begin()
    trades, books = list(subscriptions.queue)
    for outgoing in (trades, books):
        subscriptions.sent(outgoing, 0.0)
    (ack,) = decode({"code": 10001, "trace": trades.request.id, "msg": "ok"}).replies
    assert isinstance(ack, Ack)
    assert subscriptions.acknowledged(ack) == of("trade", "BTCUSDT ETHUSDT")
    assert subscriptions.acknowledged(ack) == []
    assert subscriptions.accepted() == of("trade", "BTCUSDT ETHUSDT")
    (ended,) = decode({"code": 11010, "trace": books.request.id, "msg": "ok"}).replies
    (stranger,) = decode({"code": 10004, "trace": "x", "msg": "ok"}).replies
    for other in (ended, stranger):
        assert isinstance(other, Ack)
        assert subscriptions.acknowledged(other) == []


# --- keeping alive --------------------------------------------------------------------------------------------------


class Mute:
    """A connection on which nothing ever comes back."""

    def __init__(self) -> None:
        self.last_received = 0.0
        self.sent: list[tuple[float, Any]] = []
        self.aborted: list[str] = []
        self.now = 0.0

    def send(self, payload: bytes) -> None:
        """Write it down."""
        self.sent.append((self.now, json.loads(payload)))

    def heard_since(self, moment: float) -> bool:
        """Never."""
        return False

    def abort(self, reason: str, detail: str = "") -> None:
        """Write it down."""
        self.aborted.append(reason)


def test_a_heartbeat_that_is_never_answered_is_no_time_out() -> None:
    """Every 30 s, whatever comes or does not; the venue answers none."""
    connection = Mute()
    pulse = Pulse(connection, venue.heartbeat, 0.0)
    while connection.now < 3600:
        connection.now = max(pulse.due, connection.now + 0.001)
        connection.last_received = connection.now
        assert pulse.turn(connection.now)
    assert connection.aborted == []
    assert [round(at) for at, _ in connection.sent[:4]] == [30, 60, 90, 120]
    assert all(payload["code"] == 10010 for _, payload in connection.sent)


def test_requests_and_heartbeats_together_keep_the_limit() -> None:
    """60 frames a minute on a connection, heartbeats among them: a 61st would cost the connection, and then the key."""
    allowance = Allowance.of(venue.limits, venue.heartbeat)
    now, times = 0.0, []
    while now < 300:
        if allowance.wait(Request(b""), now) == 0:
            allowance.take(Request(b""), now)
            times.append(now)
        now += 0.25
    times += [float(n) for n in range(0, 300, 30)]
    assert max(sum(t <= other < t + 60 for other in times) for t in times) <= 60
    assert len(times) > 200


# --- connections ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("business", BUSINESSES)
def test_a_connection_serves_one_business(business: str) -> None:
    """It is named after it, and both business and key travel in the query, which nothing shows."""
    (line,) = venue.lines(source(business=business))
    assert (line.name, line.path, dict(line.query)) == (f"{business}/0", "/ws", {"business": business, "apikey": KEY})
    assert KEY not in repr(line) + str(line) + repr(venue.check(source(business=business)))


def test_symbols_are_spread_over_connections() -> None:
    """By the plan's limits where they are told, else by what the venue takes at most."""
    many = tuple(f"A{n}USDT" for n in range(1300))
    assert [len(line.subscriptions) for line in venue.lines(source(symbols=many))] == [600, 600, 100]
    small, large = (source(symbols=many[:n], max_connections=2, symbols_per_connection=100) for n in (150, 250))
    assert [line.name for line in venue.lines(small)] == ["crypto/0", "crypto/1"]
    (problem,) = venue.check(large)
    assert problem == "needs 3 connections, but limits allow 2; subscribe to less"


# --- mistakes and doubts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("business", "problem"),
    [
        ("", "business: is missing; one of stock, crypto, common, japan, india, korea, taiwan"),
        ("cripto", 'business: "cripto" is no business of this venue; did you mean "crypto"?'),
        ("us", 'business: "us" is no business of this venue; one of stock, '),
    ],
)
def test_a_wrong_business_is_explained(business: str, problem: str) -> None:
    """The venue itself would answer with 404, or with silence."""
    (found,) = venue.check(source(business=business))
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("channel", "symbol", "problem"),
    [
        ("trades", "BTCUSDT", 'subscribe[0].channels[0]: there is no channel "trades"; did you mean "trade"?'),
        ("kline_3m", "BTCUSDT", 'subscribe[0].channels[0]: there is no channel "kline_3m"; did you mean "kline_'),
        ("trade", "BTCUSDT,ETHUSDT", 'subscribe[0].symbols[0]: "BTCUSDT,ETHUSDT" is no symbol of this venue'),
        ("trade", "*USDT", "is a pattern"),
    ],
)
def test_mistakes_are_explained(channel: str, symbol: str, problem: str) -> None:
    """One sentence for each: where, what, and what was probably meant."""
    (found,) = venue.check(source((channel,), (symbol,)))
    assert problem in found


@pytest.mark.parametrize(
    ("business", "symbol", "doubt"),
    [
        ("stock", "IF2401.CFE", "is of no market that this venue is known to list"),
        ("crypto", "AAPL.US", "is of business stock, not crypto"),
        ("japan", "005930.KS", "is of business korea, not japan"),
        ("common", "BTCUSDT", "is of business crypto, not common"),
        ("stock", "AAPL", "lacks the suffix of its market (US, HK, SH, SZ)"),
        ("crypto", "btcusdt", "is not spelled as the venue does it"),
        ("crypto", "BTC-USDT", "is not spelled as the venue does it"),
        *[(b, s, "") for b, s in (("stock", "00700.HK"), ("stock", "600519.SH"), ("crypto", "ETHUSDC"))],
        *[(b, s, "") for b, s in (("common", "USOIL"), ("common", "EURUSD"), ("taiwan", "2330.TW"))],
        *[(b, s, "") for b, s in (("korea", "005930.KS"), ("india", "RELIANCE.IN"), ("japan", "7203.JP"))],
    ],
)
def test_doubtful_symbols_are_warned_about_and_not_refused(business: str, symbol: str, doubt: str) -> None:
    """The venue accepts what it does not have and stays silent; only it knows its list."""
    asked = source(symbols=(symbol,), business=business)
    assert venue.check(asked) == []
    warnings = venue.warnings(asked)
    assert [f'subscribe[0].symbols[0]: "{symbol}" {doubt}' in each for each in warnings] == ([True] if doubt else [])
    assert all(each.endswith("the venue accepts what it does not have, and stays silent") for each in warnings)


def test_many_doubts_are_one_sentence() -> None:
    """A wrong business makes every symbol doubtful."""
    (warning,) = venue.warnings(source(symbols=("XUSDT", "A.US", "B.US", "C.US")))
    assert warning.startswith('subscribe[0].symbols[1]: "A.US" (and 2 more) is of business stock')


def test_more_than_the_free_plan_is_a_question() -> None:
    """Only its owner knows the plan: nothing is refused, and whoever has told it is not asked."""
    many = tuple(f"A{n}USDT" for n in range(11))
    (warning,) = venue.warnings(source(symbols=many))
    assert warning.startswith("limits: 11 symbols are more than the Free plan allows (10 on 1 connection)")
    assert venue.warnings(source(symbols=many, symbols_per_connection=100)) == []
    assert venue.warnings(source(symbols=many[:10])) == []


@pytest.mark.parametrize("business", BUSINESSES)
def test_only_crypto_never_closes(business: str) -> None:
    """All other markets have their nights and weekends, in which nothing comes."""
    assert venue.always_open(source(business=business)) == (business == "crypto")


FILE = """
[[source]]
venue = "infoway"
business = "stock"
api_key = "${KEY:?set KEY}"
[[source.subscribe]]
channels = ["trade", "kline_1m"]
symbols = ["AAPL.US", "IF2401.CFE"]
"""


def test_a_configuration_says_its_doubts_as_notes() -> None:
    """Accepted, with a sentence that names the place; and without the key nothing starts."""
    config = configfile.parse(FILE, {"KEY": KEY}, Path())
    (note,) = config.notes
    assert note.startswith('source[0] "infoway".subscribe[0].symbols[1]: "IF2401.CFE" is of no market')
    assert KEY not in repr(config)
    with pytest.raises(ConfigError) as caught:
        configfile.parse(FILE.replace('api_key = "${KEY:?set KEY}"\n', ""), {}, Path())
    (problem,) = caught.value.problems
    assert problem.startswith('source[0] "infoway".api_key: is missing; write api_key = "${INFOWAY_API_KEY:?')
