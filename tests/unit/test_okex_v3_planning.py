"""OKEx v3: which channels a source may ask for, how it asks, and how it logs in."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from recorder.config import Secret, Source, Subscribe
from recorder.venues import Continuity, Subscription
from recorder.venues._login import Credentials
from recorder.venues.okex_v3 import venue

HOST = "wss://v3.example:8443"
NOTHING: Mapping[str, str] = {}
KEYS = {"api_key": "key-canary", "secret_key": "open-sesame", "passphrase": "pass-canary"}


def source(
    channels: tuple[str, ...] = ("spot/trade",),
    symbols: tuple[str, ...] = ("BTC-USDT",),
    endpoints: tuple[str, ...] = (HOST,),
    options: Mapping[str, str] = NOTHING,
) -> Source:
    """A source of this venue."""
    secrets: dict[str, str] = {name: Secret(value) for name, value in options.items()}
    asked = (Subscribe(channels=channels, symbols=symbols),)
    return Source(name="v3", venue="okex_v3", endpoints=endpoints, rest="", options=secrets, subscribe=asked)


# --- asking ---------------------------------------------------------------------------------------------------------


def test_requests_are_what_the_venue_reads() -> None:
    """Channel and symbol in one string, no id; a channel about nothing stands alone."""
    some = [Subscription("spot/trade", "BTC-USDT"), Subscription("futures/instruments", "")]
    (request,) = venue.subscribe(some)
    assert request.payload == b'{"op":"subscribe","args":["spot/trade:BTC-USDT","futures/instruments"]}'
    assert (request.subscriptions, request.id) == (tuple(some), "")
    (request,) = venue.unsubscribe(some[:1])
    assert request.payload == b'{"op":"unsubscribe","args":["spot/trade:BTC-USDT"]}'
    assert venue.subscribe([]) == []


def test_requests_fill_what_the_venue_allows() -> None:
    """4096 bytes: none is longer, and none but the last could have held one more."""
    many = [Subscription("futures/depth_l2_tbt", f"C{n}-USD-190628") for n in range(1000)]
    requests = venue.subscribe(many)
    assert [s for request in requests for s in request.subscriptions] == many
    lengths = [len(request.payload) for request in requests]
    longest = max(len(arg) for request in requests for arg in json.loads(request.payload)["args"])
    assert max(lengths) <= venue.limits.request_bytes == 4096
    assert min(lengths[:-1]) > 4096 - longest - 3


def test_heartbeats_and_limits() -> None:
    """Before the venue's 30 s of silence; its old allowance of connections and subscriptions."""
    beat, limits = venue.heartbeat, venue.limits
    assert (beat.payload, beat.idle_only) == (b"ping", True)
    assert beat.interval + (beat.reply_within or 0) < 30
    assert (limits.connects_per_second, limits.operations_per_hour) == (1, 240)
    assert venue.always_open(source())


@pytest.mark.parametrize(
    ("channel", "proof"),
    [
        ("spot/trade", Continuity.NUMBERED),
        ("futures/trade", Continuity.ORDERED),
        ("swap/trade", Continuity.ORDERED),
        ("option/trade", Continuity.ORDERED),
        ("spot/depth", Continuity.CHAINED),
        ("option/depth_l2_tbt", Continuity.CHAINED),
        ("swap/depth5", Continuity.NONE),
        ("index/candle60s", Continuity.BARS),
    ],
)
def test_what_channels_prove(channel: str, proof: Continuity) -> None:
    """Only trades of spot are known to be counted without holes."""
    found = venue.channel(channel)
    assert found is not None
    assert found.continuity is proof


def test_ids_of_derivatives_were_made_of_the_time() -> None:
    """Why they are only ordered: two trades of a single millisecond, published with their times, have the milliseconds
    since 2018 began in China in front of a counter of 16 bits; the next millisecond's ids are 65 536 further on."""
    begun = 1_514_736_000_000  # 2018-01-01T00:00:00+08:00
    ids = (2_578_238_628_528_131, 2_578_238_628_528_132)
    assert {begun + (n >> 16) for n in ids} == {1_554_076_799_385}  # 2019-03-31T23:59:59.385Z; they were sent at .388


# --- checking -------------------------------------------------------------------------------------------------------

RIGHT = [
    ("spot/trade", "BTC-USDT"),
    ("futures/price_range", "BTC-USD-190628"),
    ("swap/funding_rate", "BTC-USD-SWAP"),
    ("option/depth", "BTC-USD-210604-30000-P"),
    ("option/trade", "BTC-USD-210604-0.5-C"),
    ("option/summary", "BTC-USD"),
    ("option/instruments", "BTC-USD"),
    ("index/ticker", "BTC-USD"),
    ("spot/candle604800s", "BTC-USDT"),
]


@pytest.mark.parametrize(("channel", "symbol"), RIGHT)
def test_what_can_be_asked_for(channel: str, symbol: str) -> None:
    """Nothing is said against it."""
    assert venue.check(source((channel,), (symbol,))) == []


@pytest.mark.parametrize("channel", ["futures/instruments", "system/status"])
def test_channels_about_nothing(channel: str) -> None:
    """They take no symbols."""
    assert venue.check(source((channel,), ())) == []
    (problem,) = venue.check(source((channel,), ("BTC-USD",)))
    assert problem.startswith(f'subscribe[0].channels[0]: "{channel}" takes no symbols')


@pytest.mark.parametrize(
    ("channel", "symbol", "sentence"),
    [
        ("spot/trade", "btc_usdt", '"btc_usdt" is no spot instrument of this venue; did you mean "BTC-USDT"?'),
        ("spot/trade", "BTC-USD-SWAP", '"BTC-USD-SWAP" is no spot instrument of this venue; it looks like BTC-USDT'),
        ("swap/trade", "BTC-USDT", '"BTC-USDT" is no swap instrument of this venue; it looks like BTC-USD-SWAP'),
        ("futures/trade", "BTC-USD", '"BTC-USD" is no futures instrument of this venue; it looks like BTC-USD-190628'),
        (
            "option/ticker",
            "btc-usd-210604-30000-p",
            '"btc-usd-210604-30000-p" is no option instrument of this venue; did you mean "BTC-USD-210604-30000-P"?',
        ),
        (
            "spot/trade",
            "*-USDT",
            '"*-USDT" is a pattern, but the venue gives no list for spot/trade; write out what you want',
        ),
    ],
)
def test_a_wrong_symbol_is_explained(channel: str, symbol: str, sentence: str) -> None:
    """By the kind of the channel."""
    assert venue.check(source((channel,), (symbol,))) == [f"subscribe[0].symbols[0]: {sentence}"]


@pytest.mark.parametrize(
    ("channel", "symbol", "meant"),
    [
        ("trades", "BTC-USDT", "spot/trade"),
        ("trades", "BTC-USD-SWAP", "swap/trade"),
        ("books", "BTC-USD-190628", "futures/depth"),
        ("books5", "BTC-USDT", "spot/depth5"),
        ("books-l2-tbt", "BTC-USD-210604-30000-P", "option/depth_l2_tbt"),
        ("candle1m", "BTC-USDT", "spot/candle60s"),
        ("candle4H", "BTC-USD-SWAP", "swap/candle14400s"),
        ("trade", "BTC-USDT", "spot/trade"),
        ("price-limit", "BTC-USD-190628", "futures/price_range"),
        ("funding-rate", "BTC-USD-SWAP", "swap/funding_rate"),
        ("opt-summary", "BTC-USD", "option/summary"),
        ("spot/trades", "BTC-USDT", "spot/trade"),
        ("spot/depth400", "BTC-USDT", "spot/depth"),
        ("Spot/Ticker", "BTC-USDT", "spot/ticker"),
    ],
)
def test_names_of_v5_are_known(channel: str, symbol: str, meant: str) -> None:
    """The channel of this version that fits the symbols."""
    (problem,) = venue.check(source((channel,), (symbol,)))
    assert problem == f'subscribe[0].channels[0]: there is no channel "{channel}"; did you mean "{meant}"?'


def test_private_channels_are_refused() -> None:
    """Accounts and orders are no market data."""
    (problem,) = venue.check(source(("spot/order",)))
    assert problem.endswith('"spot/order" is a private channel; this recorder records market data only')


def test_hosts_that_are_gone_are_noted() -> None:
    """Possible, and probably not meant."""
    assert venue.warnings(source()) == []
    (note,) = venue.warnings(source(endpoints=(HOST, *venue.endpoints)))
    assert note.startswith('endpoints[1]: "wss://real.okex.com:8443" has not answered this protocol for years')


# --- logging in -----------------------------------------------------------------------------------------------------


def test_the_login_is_signed_as_the_venue_wants_it() -> None:
    """The signature is openssl's: printf '1538054050GET/users/self/verify' | openssl dgst -sha256 -hmac open-sesame
    -binary | base64."""
    (line,) = venue.lines(source(options=KEYS))
    assert line.login is not None
    request = line.login.request(1_538_054_050_999_999)
    signature = "i/uyjARUJAokBRe88h44A1uA55rr8WEHacTxn2E5Mzk="
    said = {"op": "login", "args": ["key-canary", "pass-canary", "1538054050", signature]}
    assert json.loads(request.payload) == said
    assert (request.subscriptions, request.id) == ((), "")
    assert line.login.request(1_538_054_051_000_000).payload != request.payload


def test_a_login_compares_by_its_keys_and_shows_none() -> None:
    """So that a reload tells whether it is another, and no log does."""
    (line,), (same,) = venue.lines(source(options=KEYS)), venue.lines(source(options=KEYS))
    (other,) = venue.lines(source(options={**KEYS, "passphrase": "another"}))
    assert line == same != other
    assert isinstance(line.login, Credentials)
    said = repr((line, line.login, line.login.request(0), venue.check(source(options=KEYS))))
    assert not any(value in said for value in KEYS.values())
    assert venue.secrets == set(KEYS) == set(venue.options)


def test_a_login_is_whole_or_none() -> None:
    """What is missing is said; without any part of it nobody logs in."""
    assert [line.login for line in venue.lines(source())] == [None]
    assert venue.check(source(options=KEYS)) == []
    assert venue.check(source(options={"api_key": "a", "passphrase": "b"})) == [
        "secret_key: is missing; a login needs api_key, secret_key, passphrase: all of them, or none"
    ]
    problems = venue.check(source(options={"secret_key": "a", "api_key": ""}))
    assert [problem.partition(":")[0] for problem in problems] == ["api_key", "passphrase"]
