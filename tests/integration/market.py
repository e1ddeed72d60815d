"""Two hours of a small market, ending now: rows of every table, for queries that are to find something.

Owns the rows only: one a minute, so that every example of the documents has an answer.
"""

from __future__ import annotations

_STREAM = "m, m + interval '20 ms', 'okx', '{channel}', '{symbol}'"
_MINUTES = "FROM generate_series(now() - interval '2 hours', now(), interval '1 minute') m"


def _rows(table: str, columns: str, channel: str, values: str, symbol: str = "BTC-USDT") -> str:
    stream = _STREAM.format(channel=channel, symbol=symbol)
    into = f"{table} (time, received_at, source, channel, symbol, {columns})"
    return f"INSERT INTO {into} SELECT {stream}, {values} {_MINUTES}"


SEED = (
    *(
        _rows(
            "trades",
            "price, size, side, trade_id, count, origin",
            "trades",
            "65000 + 10 * sin(extract(epoch FROM m) / 600)::numeric(9, 4), 0.01, "
            f"'{side}', extract(epoch FROM m)::bigint * 2 + {number}, 1, 'stream'",
        )
        for number, side in enumerate(("buy", "sell"))
    ),
    _rows(
        "trades", "price, size, side, trade_id, count, origin", "trades", "3000, 1, 'buy', 1, 1, 'stream'", "ETH-USDT"
    ),
    _rows("quotes", "bid_price, bid_size, ask_price, ask_size, seq", "bbo-tbt", "64999, 1, 65001, 2, 1"),
    _rows("tickers", "last_price, bid_price, ask_price, volume_24h", "tickers", "65000, 64999, 65001, 1000"),
    _rows(
        "books",
        "kind, seq, prev_seq, bids, asks, integrity, origin",
        "books",
        "'snapshot', 1, -1, '{{64999,1,0,2},{64998,2,0,1}}', '{{65001,2,0,1},{65002,1,0,3}}', 'verified', 'stream'",
    ),
    _rows(
        "candles",
        "interval, open, high, low, close, volume, closed, origin",
        "candle1m",
        "'1m', 65000, 65010, 64990, 65005, 3, true, 'stream'",
    ),
    _rows("funding_rates", "rate, funding_time", "funding-rate", "0.0001, m + interval '4 hours'", "BTC-USDT-SWAP"),
    _rows("open_interest", "contracts, amount, value_usd", "open-interest", "1000, 10, 650000", "BTC-USDT-SWAP"),
    _rows("reference_prices", "kind, price", "mark-price", "'mark', 65000.5", "BTC-USDT-SWAP"),
    _rows(
        "liquidations",
        "side, position_side, price, size",
        "liquidation-orders",
        "'sell', 'long', 64000, 3",
        "BTC-USDT-SWAP",
    ),
    _rows("messages", "payload", "opt-summary", '\'{"delta": "0.5"}\'', "BTC-USD"),
    _rows(
        "instruments",
        "type, base, quote, tick_size, lot_size, state",
        "instruments",
        "'SPOT', 'BTC', 'USDT', 0.1, 0.00000001, 'live'",
    ),
    "INSERT INTO streams (source, channel, symbol, first_time) VALUES "
    "('okx', 'trades', 'BTC-USDT', now() - interval '2 hours')",
    "INSERT INTO connections (feed, endpoint, opened_at, closed_at, reason, frames, rtt_ms) VALUES "
    "('okx/public/0', 'wss://ws.okx.com:8443', now() - interval '2 hours', now() - interval '1 hour', 'eof', 900, 31)",
    "INSERT INTO subscriptions (source, channel, symbol, from_time, outcome, feed) VALUES "
    "('okx', 'trades', 'BTC-USDT', now() - interval '2 hours', 'accepted', 'okx/public/0'), "
    "('okx', 'trades', 'DOGE-USDT', now() - interval '2 hours', 'rejected', 'okx/public/0')",
    "INSERT INTO gaps (source, channel, symbol, from_time, to_time, missing, cause, closed_at) VALUES "
    "('okx', 'trades', 'BTC-USDT', now() - interval '9 min', now() - interval '8 min', 120, 'recorder_down', now())",
    "INSERT INTO venue_events (time, source, feed, code, action, message) VALUES "
    "(now() - interval '1 hour', 'okx', 'okx/public/0', '64008', 'hand_over', 'upgrade soon')",
    "INSERT INTO quarantine (received_at, source, feed, frame, reason, raw) VALUES "
    "(now() - interval '1 hour', 'okx', 'okx/public/0', '1-00000000/7', 'not_json', '\\x7b')",
    "INSERT INTO positions (recorder_id, feed, run, next, watermark) VALUES "
    "(gen_random_uuid(), 'okx/public/0', '1-00000000', 9000, now())",
    "INSERT INTO sessions (source, symbol, opens_at, closes_at) VALUES "
    "('infoway', 'USOIL', now() - interval '8 hours', now() + interval '8 hours')",
)
