"""How recordings of Infoway are played: what came unasked, what is answered, which REST answers have which path.

Owns nothing else. A recorded acknowledgement bears the trace of another's request, so every request is acknowledged
live, too, and the recorded ones come along as they are.
"""

from __future__ import annotations

from recorder.simulator.infoway.ask import BadAsk, read
from recorder.simulator.infoway.text import GREETING, WELCOME, ack, error
from recorder.simulator.replay import Dialect

ANSWERS = {
    "basic_symbol_info.json": "/common/basic/symbols/info",
    "basic_trading_days.json": "/common/basic/markets/trading_days",
    "crypto_kline.json": "/crypto/v2/batch_kline",
    "stock_kline.json": "/stock/v2/batch_kline",
    **dict.fromkeys(("envelope_401.json", "envelope_rate_limit.json", "envelope_rfc7807_400.json"), ""),
    "envelope_v2_outer.json": "",
}


def hear(message: bytes) -> tuple[bytes, bool]:
    """A subscription begins, a heartbeat is only heard."""
    try:
        ask = read(message)
    except BadAsk as bad:
        return error(bad.code, str(bad), bad.trace), False
    return ack(ask.answer, ask.trace) if ask.answer else b"", ask.subscribe


REPLAYED = Dialect(hear, greets=lambda message: message in (GREETING, WELCOME), answers=ANSWERS)
