"""OKEx v1's names, requests, answers and logins, and what it makes of a wrong configuration."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
from msgspec import structs
from typer.testing import CliRunner

from recorder import cli, configfile
from recorder.config import Secret, Source, Subscribe
from recorder.errors import ConfigError, Exit
from recorder.records import Ack, Reaction, Refusal
from recorder.venues import Subscription
from recorder.venues._login import KeyLogin
from recorder.venues._okex_v1_names import explain, parse
from recorder.venues.okex_v1 import venue
from tests.unit.okexv1frames import decode, push, refused

TICKER, TRADES = "ok_sub_spot_btc_usdt_ticker", "ok_sub_futureusd_btc_trade_quarter"

# --- names ----------------------------------------------------------------------------------------------------------

PERIODS: tuple[str, ...] = ("1min", "3min", "5min", "15min", "30min", "1hour", "2hour", "4hour", "6hour", "12hour")
PERIODS += ("day", "3day", "week")
WEEKS = ("this_week", "next_week", "quarter")


def grammar() -> dict[str, tuple[str, str]]:
    """Every name of two pairs and two coins, as the venue documents them: table and symbol."""
    found: dict[str, tuple[str, str]] = {}
    for pair in ("btc_usdt", "bt1_btc"):
        kinds = {"ticker": "tickers", "depth": "books", "deals": "trades"}
        kinds |= {f"depth_{n}": "books" for n in (5, 10, 20)} | {f"kline_{p}": "candles" for p in PERIODS}
        found |= {f"ok_sub_spot_{pair}_{kind}": (table, pair) for kind, table in kinds.items()}
    for coin, when in itertools.product(("btc", "eos"), WEEKS):
        kinds = {f"ticker_{when}": "tickers", f"depth_{when}": "books", f"trade_{when}": "trades"}
        kinds |= {f"depth_{when}_{n}": "books" for n in (5, 10, 20)} | {f"kline_{when}_{p}": "candles" for p in PERIODS}
        found |= {f"ok_sub_futureusd_{coin}_{kind}": (table, f"{coin}_usd_{when}") for kind, table in kinds.items()}
        found |= {f"ok_sub_futureusd_{coin}_index": ("reference_prices", f"{coin}_usd")}
        found |= {f"{coin}_forecast_price": ("reference_prices", f"{coin}_usd")}
    return found


def test_the_whole_grammar() -> None:
    """Every name has its table and its symbol, and a family in the table of channels; each family has a name."""
    families = set()
    for name, (table, symbol) in grammar().items():
        found = venue.channel(name)
        assert found is not None, name
        assert (found.table, Subscription(name, symbol)) == (table, subscribed(name))
        assert re.fullmatch(found.name.replace("*", "[a-z0-9_]+"), name)
        families.add(found)
    assert families == set(venue.channels)
    assert venue.check(source(*grammar())) == []


def source(*channels: str, symbols: tuple[str, ...] = (), **options: str) -> Source:
    """A source of this venue."""
    return Source(
        name="x",
        venue="okex_v1",
        endpoints=venue.endpoints,
        rest=venue.rest,
        options=options,
        subscribe=(Subscribe(channels=channels, symbols=symbols),),
    )


def subscribed(name: str) -> Subscription:
    """What a connection is asked for by a name."""
    (line,) = venue.lines(source(name))
    assert (line.name, line.path, line.login) == ("ws/0", "/ws/v1", None)
    (found,) = line.subscriptions
    return found


@pytest.mark.parametrize("name", [*grammar()][::7])
def test_a_name_with_a_slip_in_it_is_none(name: str) -> None:
    """More, less or other letters, and capitals; what was meant is found again."""
    assert parse(name.upper()) is parse(name + "_") is parse(name[:-1] + "?") is None
    slip = name.replace("ok_sub", "oksub", 1) if "forecast" in name else f"{name}x"
    assert parse(slip) is None
    if name.startswith("ok_sub"):
        assert f'did you mean "{name}"' in explain(slip)
        assert f'did you mean "{name}"' in explain(name.upper())


MEANT = {
    "ok_sub_spot_btc_usdt_trade": "ok_sub_spot_btc_usdt_deals",
    "ok_sub_spot_btc_usdt_trades": "ok_sub_spot_btc_usdt_deals",
    "ok_sub_spot_btc_usdt_tickers": "ok_sub_spot_btc_usdt_ticker",
    "ok_sub_spot_btc_usdt_candle_1min": "ok_sub_spot_btc_usdt_kline_1min",
    "ok_sub_spot_btc_usdt_kline_1m": "ok_sub_spot_btc_usdt_kline_1min",
    "ok_sub_spot_btc-usdt_ticker": "ok_sub_spot_btc_usdt_ticker",
    "ok_sub_futureusd_btc_deals_quarter": "ok_sub_futureusd_btc_trade_quarter",
    "ok_sub_futureusd_btc_quarter_ticker": "ok_sub_futureusd_btc_ticker_quarter",
    "ok_sub_futureusd_btc_depth_5_this_week": "ok_sub_futureusd_btc_depth_this_week_5",
    "ok_sub_futu_btc_ticker_this_week": "ok_sub_futureusd_btc_ticker_this_week",
}


@pytest.mark.parametrize(("name", "meant"), MEANT.items())
def test_a_wrong_name_gets_the_right_one(name: str, meant: str) -> None:
    """Kinds of the other market or of other protocols, words in another order, and the venue's own captured refusal."""
    assert explain(name) == f'there is no channel "{name}"; did you mean "{meant}"?'
    assert parse(meant)


@pytest.mark.parametrize(
    ("name", "spot", "futures"),
    [
        ("trades", "deals", "trade_quarter"),
        ("books", "depth", "depth_quarter"),
        ("tickers", "ticker", "ticker_quarter"),
        ("candle1m", "kline_1min", "kline_quarter_1min"),
        ("spot/trade", "deals", "trade_quarter"),
        ("futures/depth5", "depth", "depth_quarter"),
        ("ok_sub_spot_btc_ticker", "ticker", "ticker_quarter"),
        ("ok_sub_spot_*_ticker", "ticker", "ticker_quarter"),
        ("nonsense", "deals", "trade_quarter"),
    ],
)
def test_names_of_other_protocols_are_told_what_names_are(name: str, spot: str, futures: str) -> None:
    """With names of the kind that was probably meant, which are right."""
    names = f"ok_sub_spot_btc_usdt_{spot}", f"ok_sub_futureusd_btc_{futures}"
    assert explain(name) == f'there is no channel "{name}"; write a whole name, such as {names[0]} or {names[1]}'
    assert all(map(parse, names))


@pytest.mark.parametrize(
    "name",
    ["ok_spot_userinfo", "ok_sub_spot_btc_usdt_order", "ok_sub_spot_btc_usdt_balance", "ok_sub_futureusd_positions"],
)
def test_private_channels_are_refused(name: str) -> None:
    """As those of every venue."""
    assert explain(name) == f'"{name}" is a private channel; this recorder records market data only'


# --- the command line -----------------------------------------------------------------------------------------------


def check(directory: Path, *lines: str, channels: str = f'"{TICKER}"', more: str = "") -> tuple[int, str]:
    """Code and complaints of `recorder check`, without the place of the source."""
    file = directory / "recorder.toml"
    block = f"[[source.subscribe]]\nchannels = [{channels}]\n{more}\n"
    file.write_text("\n".join(['[[source]]\nvenue = "okex_v1"', *lines, block]))
    result = CliRunner().invoke(cli.app, ["check", "--config", str(file)])
    return result.exit_code, result.stderr.replace(f'{file}: source[0] "okex_v1".', "")


def test_the_tutorial_s_own_configuration(tmp_path: Path) -> None:
    """One of its two names is accepted, the other explained with the names that it might have meant."""
    assert check(tmp_path, channels='"ok_sub_spot_etc_usdt_ticker"')[0] == 0
    code, said = check(tmp_path, channels='"ok_sub_futureusd_btc_quarter", "ok_sub_spot_etc_usdt_ticker"')
    assert code == Exit.CONFIGURATION
    assert said == (
        'subscribe[0].channels[0]: there is no channel "ok_sub_futureusd_btc_quarter": it does not say which kind of '
        'data; did you mean "ok_sub_futureusd_btc_ticker_quarter", "ok_sub_futureusd_btc_trade_quarter" or '
        '"ok_sub_futureusd_btc_depth_quarter"?\n'
    )
    assert all(map(parse, re.findall(r"ok_sub_futureusd_btc_[a-z]+_quarter", said)))


@pytest.mark.parametrize(
    ("lines", "more", "sentence"),
    [
        ([], 'symbols = ["btc_usdt"]', f'subscribe[0].channels[0]: "{TICKER}" holds its symbol; leave out symbols'),
        (['api_key = "k"'], "", "secret_key: is missing; a login takes api_key and secret_key"),
        (['secret_key = "canary"'], "", "api_key: is missing; a login takes api_key and secret_key"),
        (
            ['endpoints = ["wss://real.okex.com:10441/ws/v1"]'],
            "",
            'endpoints[0]: "wss://real.okex.com:10441/ws/v1" holds a path that the recorder adds itself; did you mean '
            '"wss://real.okex.com:10441"?',
        ),
        (
            ['endpoints = ["wss://real.okex.com:10440/websocket/okexapi"]'],
            "",
            'endpoints[0]: "wss://real.okex.com:10440/websocket/okexapi" holds a path; did you mean '
            '"wss://real.okex.com:10440", and path = "/websocket/okexapi"?',
        ),
        (['path = "websocket"'], "", 'path: "websocket" is none; did you mean "/websocket"?'),
    ],
)
def test_one_mistake_one_sentence(tmp_path: Path, lines: list[str], more: str, sentence: str) -> None:
    """And nothing else, and no secret."""
    assert check(tmp_path, *lines, more=more) == (Exit.CONFIGURATION, sentence + "\n")


def test_hosts_that_are_gone_are_noted() -> None:
    """Possible, and probably not meant; another host is nobody's business."""
    one, other = venue.warnings(source(TICKER))
    assert one.startswith('endpoints[0]: "wss://real.okex.com:10441" has not answered this protocol for years')
    assert other.startswith('endpoints[1]: "wss://real.okex.com:10440"')
    assert venue.warnings(structs.replace(source(TICKER), endpoints=("wss://venue.example",))) == []


def test_a_name_is_recorded_once(tmp_path: Path) -> None:
    """Two blocks that want the same are a mistake."""
    block = f'[[source.subscribe]]\nchannels = ["{TICKER}"]\n'
    with pytest.raises(ConfigError, match=f'"{TICKER}" is already asked for'):
        configfile.parse(f'[[source]]\nvenue = "okex_v1"\n{block}{block}', {}, tmp_path)


# --- requests -------------------------------------------------------------------------------------------------------


def test_one_name_is_asked_for_alone_and_many_in_a_list() -> None:
    """As the venue's documents have both."""
    one, other = Subscription(TICKER, "btc_usdt"), Subscription(TRADES, "btc_usd_quarter")
    (request,) = venue.subscribe([one])
    assert json.loads(request.payload) == {"event": "addChannel", "channel": TICKER}
    assert (request.subscriptions, request.id) == ((one,), "")
    (request,) = venue.unsubscribe([one, other])
    asked = [{"event": "removeChannel", "channel": name} for name in (TICKER, TRADES)]
    assert json.loads(request.payload) == asked
    assert request.subscriptions == (one, other)


def test_the_heartbeat_comes_whatever_happens() -> None:
    """Every 30 s, never after more than 35, and it is answered."""
    beat = venue.heartbeat
    assert (json.loads(beat.payload), beat.idle_only) == ({"event": "ping"}, False)
    assert beat.interval == 30
    assert beat.reply_within is not None


# --- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "ended"), [("addChannel", False), ("removeChannel", True)])
def test_an_acknowledgement_gets_its_symbol(verb: str, ended: bool) -> None:
    """Subscriptions are kept by channel and symbol; the venue names only the one."""
    decoded = decode(push(verb, {"result": True, "channel": TRADES}))
    assert (decoded.replies, decoded.events) == ([Ack(TRADES, "btc_usd_quarter", ended)], [])


@pytest.mark.parametrize("code", [20116, "20116"])
def test_a_refusal_gets_its_symbol(code: object) -> None:
    """Codes are numbers or text, and the meaning stands before the venue's words."""
    (reply,) = decode(refused(TICKER, code, "param not match.")).replies
    meaning = "param not match: there is no channel of this name"
    assert reply == Refusal("20116", f"{meaning}: param not match.", Reaction.DROP, "", TICKER, "btc_usdt")
    named = push(
        "addChannel", {"result": False, "channel": TICKER, "error_code": code, "error_msg": "param not match."}
    )
    assert decode(named).replies == [reply]


def test_a_refusal_without_a_code() -> None:
    """Drops the subscription all the same; an unknown code is harmless."""
    (reply,) = decode(push(TICKER, {"result": "false"})).replies
    assert isinstance(reply, Refusal)
    assert (reply.code, reply.reaction, reply.channel) == ("refused", Reaction.DROP, TICKER)
    (reply,) = decode(refused(TICKER, 77777)).replies
    assert isinstance(reply, Refusal)
    assert reply.reaction is Reaction.NONE


REACTIONS = {
    Reaction.DROP: "20116 10015 10012 20028 10216 10000 20006 10001 10008 20007",
    Reaction.PARK: "10002 10005 10017 10100 20001 20002 20019 20020 20024 20026 20038",
    Reaction.SLOW_DOWN: "20049",
    Reaction.RETRY: "20014",
    Reaction.NONE: "10003 10004 10009 10010 10014 10016 10049",
}


def test_every_documented_code_has_its_reaction() -> None:
    """Those of the venue's tables, and no other but our own names for what has no code."""
    found = {code.code: code.reaction for code in venue.codes if re.fullmatch(r"\d+", code.code)}
    assert found == {code: reaction for reaction, some in REACTIONS.items() for code in some.split()}
    assert {code.code for code in venue.codes} - set(found) == {"login", "refused", "http 403"}


# --- logging in -----------------------------------------------------------------------------------------------------


def test_a_login_that_succeeds_says_nothing() -> None:
    """In a list or alone."""
    for message in (push("login", {"result": True}), {"channel": "login", "data": {"result": "true"}}):
        decoded = decode(message)
        assert (decoded.replies, decoded.events, decoded.poison) == ([], [], [])


@pytest.mark.parametrize("code", [None, 10005, "10017", 20024, 10001, 20049, 77777])
def test_a_login_that_fails_parks(code: object) -> None:
    """Whatever it says: it concerns no subscription, but the key."""
    (reply,) = decode(refused("login", code)).replies
    assert isinstance(reply, Refusal)
    assert (reply.reaction, reply.channel, reply.symbol) == (Reaction.PARK, "login", "")
    assert {each.code: each.label for each in venue.codes}[reply.code] == "auth"


def test_a_login_is_signed() -> None:
    """MD5 of the sorted parameters with the secret behind them, in capitals, of secrets as a configuration has them;
    computed by openssl."""
    key, secret = "c821db84-6fbd-11e4-a9e3-c86000d26d7c", "abcdef0123456789"
    login = KeyLogin(Secret(key), Secret(secret))
    said = json.loads(login.request(0).payload)
    sign = "CA47D1A5DA0B9BB3A8BFEDDB07A1A9FE"
    assert said == {"event": "login", "parameters": {"api_key": key, "sign": sign}}
    assert key not in repr(login)
    assert secret not in repr(login)


def test_another_path_is_taken_as_it_is() -> None:
    """Hosts served the protocol at several; a connection that is held is known at any of them."""
    elsewhere = source(TICKER, path="/websocket/okcoinapi")
    assert venue.check(elsewhere) == []
    (line,) = venue.lines(elsewhere)
    assert (line.name, line.path, line.login) == ("ws/0", "/websocket/okcoinapi", None)
    assert venue.lines(elsewhere, [line]) == [line]
    (emptied,) = venue.lines(structs.replace(elsewhere, subscribe=()), [line])
    assert (emptied.path, emptied.subscriptions) == (line.path, ())
    assert [each.path for each in venue.lines(source(TICKER))] == ["/ws/v1"]


def test_lines_log_in_where_there_is_a_key() -> None:
    """Equal keys are equal logins, so that a reload moves nothing."""
    keyed = source(TICKER, api_key=Secret("k"), secret_key=Secret("s"))
    (line,) = venue.lines(keyed)
    assert line.login == KeyLogin("k", "s") != KeyLogin("k", "t")
    assert venue.lines(keyed) == [line]
    assert "'s'" not in repr(line)
