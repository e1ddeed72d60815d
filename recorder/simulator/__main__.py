"""`python -m recorder.simulator`: the oracle and the flat-out sender in a process of their own, for tests.

Owns its options only. Prints one JSON line as soon as it serves: {"ws": …, "http": …, "ca": …}; faults and the
ledger are at http …/_control. Ends when standard input does.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from recorder.simulator.clock import SystemClock
from recorder.simulator.infoway import venue as infoway
from recorder.simulator.infoway.oracle import numbered
from recorder.simulator.infoway.venue import InfowayVenue
from recorder.simulator.okex_v1 import oracle as okex_v1_oracle
from recorder.simulator.okex_v1 import venue as okex_v1
from recorder.simulator.okex_v3 import venue as okex_v3
from recorder.simulator.okex_v3.venue import OkexV3Venue
from recorder.simulator.okx.flood import FlatOut
from recorder.simulator.okx.listings import crowd
from recorder.simulator.okx.venue import NO_LIMITS, OkxVenue
from recorder.simulator.oracle import NumberedMarket
from recorder.simulator.server import Simulator, TickingVenue


def venue(options: argparse.Namespace) -> TickingVenue:
    """The venue that was asked for, without limits."""
    clock, rate = SystemClock(), options.rate
    if options.venue == "infoway":
        trades = numbered(options.symbol or ["BTCUSDT"], clock.wall_us(), rate=rate)
        return InfowayVenue(trades, rules=infoway.NO_LIMITS, clock=clock)
    if options.venue == "okex_v3":
        symbols = options.symbol or ["BTC-USDT"]
        market = NumberedMarket(symbols, clock.wall_us(), rate=rate, calm=options.calm)
        return OkexV3Venue(market, rules=okex_v3.NO_LIMITS, clock=clock)
    if options.venue == "okex_v1":
        trades = okex_v1_oracle.numbered(options.symbol or ["btc_usdt"], clock.wall_us(), rate=rate, calm=options.calm)
        return okex_v1.OkexV1Venue(trades, rules=okex_v1.NO_LIMITS, clock=clock)
    kind = FlatOut if options.flat_out else OkxVenue
    symbols = [*(options.symbol or ["BTC-USDT"]), *crowd(options.crowd)]
    rate = 0.0 if options.flat_out else rate
    market = NumberedMarket(symbols, clock.wall_us(), rate=rate, calm=options.calm)
    return kind(market, rules=NO_LIMITS, clock=clock)


def main(arguments: list[str]) -> int:
    """Serve numbered trades until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m recorder.simulator", description=__doc__)
    parser.add_argument("--venue", choices=("okx", "infoway", "okex_v1", "okex_v3"), default="okx")
    parser.add_argument("--symbol", action="append", help="may be repeated; bitcoin if there is none")
    parser.add_argument("--crowd", type=int, default=0, help="so many perpetuals (C000-USDT-SWAP …) besides")
    parser.add_argument("--calm", action="store_true", help="books that cost little, for hundreds of symbols")
    parser.add_argument("--rate", type=float, default=2_000.0, help="trades a second on each symbol")
    parser.add_argument("--flat-out", action="store_true", help="as fast as the client reads; --rate has no meaning")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", type=Path, help="directory for the certificate")
    options = parser.parse_args(arguments)
    with Simulator(venue(options), host=options.host, port=options.port, tls=options.tls) as simulator:
        ca = str(simulator.ca_file) if simulator.ca_file else None
        sys.stdout.write(json.dumps({"ws": simulator.ws_url, "http": simulator.http_url, "ca": ca}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
