"""The table of wrong configurations of the venues that there are: what stands in the file, and the whole sentence that
it must give. Holds no test.
"""

from __future__ import annotations

INFOWAY_KEY = "canary-0f3a"


def okx(keys: str = "", channels: str = '"trades"', symbols: str = '"BTC-USDT"') -> str:
    """A source of OKX with more keys; without symbols if there are none."""
    return _source(f'venue = "okx"\n{keys}', channels, symbols)


def infoway(keys: str = "", channels: str = '"trade"', symbols: str = '"BTCUSDT"') -> str:
    """The same of Infoway, with a business and a key."""
    return _source(f'venue = "infoway"\nbusiness = "crypto"\napi_key = "{INFOWAY_KEY}"\n{keys}', channels, symbols)


def _source(keys: str, channels: str, symbols: str) -> str:
    block = f"channels = [{channels}]" + (f"\nsymbols = [{symbols}]" if symbols else "")
    return f"[[source]]\n{keys}\n[[source.subscribe]]\n{block}\n"


def keyless(line: str) -> str:
    """A source of Infoway whose key stands in this line."""
    return infoway().replace(f'api_key = "{INFOWAY_KEY}"', line)


def business(line: str) -> str:
    """A source of Infoway whose business stands in this line."""
    return infoway().replace('business = "crypto"', line)


_O, _I = 'source[0] "okx"', 'source[0] "infoway"'
_CHANNEL, _SYMBOL = "subscribe[0].channels[0]", "subscribe[0].symbols[0]"
_LISTLESS = "is a pattern, but the venue gives no list for"
_PATH = "holds a path that the recorder adds itself; did you mean"
_NO_PORT = "has a port that is no number from 1 to 65535"
_PROXY = "must be a proxy URL: http, socks4, socks5 or socks5h://host:port"
_BUSINESSES = "one of stock, crypto, common, japan, india, korea, taiwan"
_WITHIN = 'must end before "?" and "#": paths and queries are added by the venue'

_OKX = [
    # channels
    (okx(channels='"trade"'), f'{_O}.{_CHANNEL}: there is no channel "trade"; did you mean "trades"?'),
    (okx(channels='"Trades"'), f'{_O}.{_CHANNEL}: there is no channel "Trades"; did you mean "trades"?'),
    (
        okx(channels='"depth"'),
        f'{_O}.{_CHANNEL}: there is no channel "depth"; `recorder venues` lists those that there are',
    ),
    (okx(channels='"candle1min"'), f'{_O}.{_CHANNEL}: there is no channel "candle1min"; did you mean "candle1m"?'),
    (okx(channels='"candle1h"'), f'{_O}.{_CHANNEL}: there is no channel "candle1h"; did you mean "candle1H"?'),
    (
        okx(channels='"orders"'),
        f'{_O}.{_CHANNEL}: "orders" is a private channel; this recorder records market data only',
    ),
    (
        okx(channels='"status"'),
        f'{_O}.{_CHANNEL}: "status" takes no symbols; give it a block of its own without any',
    ),
    (okx(symbols=""), f'{_O}.{_CHANNEL}: "trades" needs symbols, such as BTC-USDT or BTC-USDT-SWAP'),
    (
        okx(channels='"books-l2-tbt", "books"'),
        f'{_O}: "BTC-USDT" cannot have both books-l2-tbt and books: the venue refuses one of them',
    ),
    # symbols
    (okx(symbols='"BTCUSDT"'), f'{_O}.{_SYMBOL}: "BTCUSDT" is no instId of this venue; did you mean "BTC-USDT"?'),
    (okx(symbols='"btc-usdt"'), f'{_O}.{_SYMBOL}: "btc-usdt" is no instId of this venue; did you mean "BTC-USDT"?'),
    (okx(symbols='"BTC/USDT"'), f'{_O}.{_SYMBOL}: "BTC/USDT" is no instId of this venue; did you mean "BTC-USDT"?'),
    (
        okx(symbols='"BTC"'),
        f'{_O}.{_SYMBOL}: "BTC" is no instId of this venue; it looks like BTC-USDT or BTC-USDT-SWAP',
    ),
    (
        okx(channels='"liquidation-orders"', symbols='"BTC-USDT-SWAP"'),
        f'{_O}.{_SYMBOL}: "BTC-USDT-SWAP" is no instType of this venue; it looks like SPOT, MARGIN, SWAP, FUTURES or '
        "OPTION",
    ),
    (
        okx(channels='"liquidation-orders"', symbols='"S*"'),
        f'{_O}.{_SYMBOL}: "S*" {_LISTLESS} liquidation-orders; write out what you want',
    ),
    (
        okx(channels='"sprd-tickers"', symbols='"*"'),
        f'{_O}.{_SYMBOL}: "*" {_LISTLESS} sprd-tickers; write out what you want',
    ),
    (
        okx(channels='"trades", "opt-summary"', symbols='"BTC-*"'),
        f'{_O}.{_SYMBOL}: "BTC-*" {_LISTLESS} opt-summary; write out what you want',
    ),
    # addresses
    (
        okx('endpoints = ["wss://ws.okx.com:8443/ws/v5/public"]'),
        f'{_O}.endpoints[0]: "wss://ws.okx.com:8443/ws/v5/public" {_PATH} "wss://ws.okx.com:8443"?',
    ),
    (
        okx('endpoints = ["wss://ws.okx.com:8443", "https://www.okx.com"]'),
        f'{_O}.endpoints[1]: "https://www.okx.com" must begin with wss:// or ws://',
    ),
    (
        okx('rest = "https://www.okx.com/api/v5"'),
        f'{_O}.rest: "https://www.okx.com/api/v5" {_PATH} "https://www.okx.com"?',
    ),
    (
        okx('rest = "https://www.okx.com/?instId=BTC-USDT"'),
        f'{_O}.rest: "https://www.okx.com/?instId=BTC-USDT" {_WITHIN}',
    ),
    # proxies
    (okx('proxy = "127.0.0.1:1080"'), f"{_O}.proxy: {_PROXY}"),
    (okx('proxy = "https://user:canary-1@127.0.0.1:8080"'), f"{_O}.proxy: {_PROXY}"),
    (okx('proxy = "socks5h://127.0.0.1"'), f"{_O}.proxy: names no port; write socks5h://host:port"),
    (okx('proxy = "socks5h://:1080"'), f"{_O}.proxy: is no URL with a host"),
    (okx('proxy = "socks5://127.0.0.1:70000"'), f"{_O}.proxy: {_NO_PORT}"),
    (okx('proxy = "http://127.0.0.1:0"'), f"{_O}.proxy: {_NO_PORT}"),
    (
        okx('proxy = "http://user:canary-2/x@127.0.0.1:8080"'),
        f"{_O}.proxy: {_NO_PORT}; / ? and # in user or password must be percent-encoded (/ is %2F)",
    ),
    (
        okx('proxy = "${PROXY:?set PROXY, or leave the line out}"'),
        f"{_O}.proxy: needs the environment variable PROXY: set PROXY, or leave the line out",
    ),
    # limits
    (
        okx("limits = { max_connections = 1 }", channels='"trades", "candle1m"'),
        f"{_O}: needs 2 connections, but limits allow 1; subscribe to less",
    ),
    (
        okx("limits = { frames_per_minute = 4 }"),
        f"{_O}.limits.frames_per_minute: 4 leaves nothing to subscribe with: heartbeats alone are 4 a minute; 0 is no "
        "limit",
    ),
    (
        okx("limits = { max_connections = -1 }"),
        f"{_O}.limits.max_connections: -1 must be from 0 to 1000000000",
    ),
    (
        okx("limits = { symbols_per_connection = 0.5 }"),
        f"{_O}.limits.symbols_per_connection: 0.5 must be a whole number, without quotes",
    ),
    # keys of others
    (
        okx(f'api_key = "{INFOWAY_KEY}"'),
        f"{_O}.api_key: unknown key; it belongs to venue infoway or okex_v1 or okex_v3, this one is okx",
    ),
    (
        okx() + okx('name = "again"'),
        f'source[1] "again".subscribe: "trades BTC-USDT" is already recorded by {_O}; connections = 2 makes it '
        "redundant",
    ),
    (
        okx() + infoway('name = "okx"'),
        f'source[1] "okx".name: "okx" is already the name of {_O}; give each its own name',
    ),
    (okx().replace('"okx"', '"okex"'), 'source[0] "okex".venue: "okex" is no venue; did you mean "okx"?'),
]

_INFOWAY = [
    # the business
    (business(""), f"{_I}.business: is missing; {_BUSINESSES}"),
    (business('business = "us"'), f'{_I}.business: "us" is no business of this venue; {_BUSINESSES}'),
    (business('business = "cripto"'), f'{_I}.business: "cripto" is no business of this venue; did you mean "crypto"?'),
    (business('business = "Stock"'), f'{_I}.business: "Stock" is no business of this venue; did you mean "stock"?'),
    (business('business = ["crypto"]'), f'{_I}.business: a list must be a string in quotes ("…")'),
    # the key
    (keyless(""), f'{_I}.api_key: is missing; write api_key = "${{INFOWAY_API_KEY:?set INFOWAY_API_KEY}}"'),
    (
        keyless('api_key = "${INFOWAY_API_KEY:?set INFOWAY_API_KEY}"'),
        f"{_I}.api_key: needs the environment variable INFOWAY_API_KEY: set INFOWAY_API_KEY",
    ),
    (
        keyless('api_key = "${INFOWAY_API_KEY}"'),
        f"{_I}.api_key: needs the environment variable INFOWAY_API_KEY, which is not set",
    ),
    (keyless('api_key = ""'), f"{_I}.api_key: must not be empty"),
    (keyless('api_key = "canary-3\\ncanary-4"'), f"{_I}.api_key: must be printable and at most 200 characters long"),
    (
        keyless('api_key = "file:/nowhere/infoway.key"'),
        f"{_I}.api_key: names the file /nowhere/infoway.key, which cannot be read: No such file or directory",
    ),
    (keyless('api_key = "file:/"'), f"{_I}.api_key: names the file /, which cannot be read: Is a directory"),
    # channels and symbols
    (infoway(channels='"trades"'), f'{_I}.{_CHANNEL}: there is no channel "trades"; did you mean "trade"?'),
    (infoway(channels='"kline_1min"'), f'{_I}.{_CHANNEL}: there is no channel "kline_1min"; did you mean "kline_1m"?'),
    (
        infoway(channels='"books"'),
        f'{_I}.{_CHANNEL}: there is no channel "books"; `recorder venues` lists those that there are',
    ),
    (infoway(symbols=""), f'{_I}.{_CHANNEL}: "trade" needs symbols, such as BTCUSDT, AAPL.US or USOIL'),
    (infoway(symbols='"*USDT"'), f'{_I}.{_SYMBOL}: "*USDT" {_LISTLESS} trade; write out what you want'),
    (
        infoway(symbols='"BTCUSDT,ETHUSDT"'),
        f'{_I}.{_SYMBOL}: "BTCUSDT,ETHUSDT" is no symbol of this venue; it looks like BTCUSDT, AAPL.US or USOIL',
    ),
    # addresses and limits
    (
        infoway('endpoints = ["wss://data.infoway.io/ws"]'),
        f'{_I}.endpoints[0]: "wss://data.infoway.io/ws" {_PATH} "wss://data.infoway.io"?',
    ),
    (
        infoway(f'endpoints = ["wss://data.infoway.io/ws?business=crypto&apikey={INFOWAY_KEY}"]'),
        f'{_I}.endpoints[0]: "wss://data.infoway.io/ws?business=crypto&apikey=***" {_WITHIN}',
    ),
    (
        infoway("limits = { max_connections = 1, symbols_per_connection = 2 }", symbols='"A.US", "B.US", "C.US"'),
        f"{_I}: needs 2 connections, but limits allow 1; subscribe to less",
    ),
    (
        infoway("limits = { frames_per_minute = 2 }"),
        f"{_I}.limits.frames_per_minute: 2 leaves nothing to subscribe with: heartbeats alone are 2 a minute; 0 is no "
        "limit",
    ),
    (
        infoway("limits = { max_symbols = 10 }"),
        f"{_I}.limits.max_symbols: unknown key; known here: book_requests_per_second, connects_per_second, "
        "frames_per_minute, max_connections, operations_per_hour, request_bytes, symbols_per_connection",
    ),
    # units
    (infoway('coalesce = "2"'), f'{_I}.coalesce: "2" has no unit; write a duration like "250ms", "10s" or "7d"'),
    (
        infoway('coalesce = "2MiB"'),
        f'{_I}.coalesce: "2MiB" has the unknown unit "MiB"; units are us, ms, s, m, h, d, w',
    ),
    (
        '[spool]\nmax_size = "20s"\n' + infoway(),
        'spool.max_size: "20s" has the unknown unit "s"; units are B, KiB, MiB, GiB, TiB, kB, MB, GB, TB',
    ),
]

VENUE_MISTAKES: list[tuple[str, str]] = _OKX + _INFOWAY
