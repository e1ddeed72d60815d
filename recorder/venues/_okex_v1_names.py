"""The names of OKEx v1's channels: each holds its kind of data, and the symbol that it is about.

Owns the grammar of the names, what each says, and what was probably meant by a wrong one. Never knows a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from recorder.subscriptions import suggest
from recorder.venues import Channel, Continuity, verified

_PERIODS = {f"{n}min": f"{n}m" for n in (1, 3, 5, 15, 30)} | {f"{n}hour": f"{n}h" for n in (1, 2, 4, 6, 12)}
_PERIODS |= {"day": "1d", "3day": "3d", "week": "1w"}
_WORDS = {
    "pair": "[a-z0-9]+_[a-z0-9]+",
    "coin": "[a-z0-9]+",
    "when": "this_week|next_week|quarter",
    "levels": "5|10|20",
    "period": "|".join(_PERIODS),
}
_NONE, _ORDERED, _BARRED = Continuity.NONE, Continuity.ORDERED, Continuity.BARS
_PART = "whole at first, then changes; a snapshot is what has 20 levels or more on both sides, none of size 0"
_FULL = "5, 10 or 20 levels in full"
_CLOCK = "a time of day, dated by the receipt; the clock is taken for UTC+8"
_SPOT, _FUTURES = "ok_sub_spot_{pair}_", "ok_sub_futureusd_{coin}_"
# The forms of names; where one can end in two ways, fullmatch decides.
_FORMS: dict[str, tuple[str, Continuity, str]] = {
    _SPOT + "ticker": ("tickers", _NONE, "of a pair, such as btc_usdt"),
    _SPOT + "depth": ("books", _NONE, _PART),
    _SPOT + "depth_{levels}": ("books", _NONE, _FULL),
    _SPOT + "deals": ("trades", _ORDERED, _CLOCK),
    _SPOT + "kline_{period}": ("candles", _BARRED, f"{' '.join(_PERIODS)}; never marked as closed"),
    _FUTURES + "ticker_{when}": ("tickers", _NONE, "of a coin, such as btc; this_week next_week quarter"),
    _FUTURES + "depth_{when}": ("books", _NONE, f"200 levels, {_PART}"),
    _FUTURES + "depth_{when}_{levels}": ("books", _NONE, _FULL),
    _FUTURES + "trade_{when}": ("trades", _ORDERED, f"in contracts; {_CLOCK}"),
    _FUTURES + "kline_{when}_{period}": ("candles", _BARRED, "volume in contracts, turnover in coins"),
    _FUTURES + "index": ("reference_prices", _NONE, "symbol btc_usd"),
    "{coin}_forecast_price": ("reference_prices", _NONE, "in the hour before delivery, even if not asked for"),
}
_CAPTURED = "ok_sub_spot_*_depth ok_sub_spot_*_deals ok_sub_futureusd_*_kline_*_*"
CHANNELS = verified(
    (
        Channel(re.sub(r"{\w+}", "*", form), table, proof, "ws", about, None if "forecast" in form else 90.0)
        for form, (table, proof, about) in _FORMS.items()
    ),
    captured=_CAPTURED,
)
_GROUPS = {word: f"(?P<{word}>{what})" for word, what in _WORDS.items()}
_GRAMMAR = [(re.compile(form.format_map(_GROUPS)), each) for form, each in zip(_FORMS, CHANNELS, strict=True)]


@dataclass(frozen=True, slots=True)
class Name:
    """What the name of a channel says. `full`: of a book that always comes whole."""

    family: Channel
    symbol: str
    full: bool
    interval: str


@lru_cache(maxsize=4096)
def parse(channel: str) -> Name | None:
    """What a name says, None where it is none."""
    for pattern, family in _GRAMMAR:
        if match := pattern.fullmatch(channel):
            said = match.groupdict("")
            symbol = said.get("pair") or "_".join(filter(None, (said["coin"], "usd", said.get("when"))))
            return Name(family, symbol, "levels" in said, _PERIODS.get(said.get("period", ""), ""))
    return None


def symbol_of(channel: str) -> str:
    """The symbol that a name says, "" if it is none."""
    known = parse(channel)
    return known.symbol if known else ""


# --- what was meant by a wrong name ---------------------------------------------------------------------------------

_PRIVATE = r"ok_(spot|futureusd)_.+|ok_sub_spot_.+_(order|balance)|ok_sub_futureusd_(trades|userinfo|positions)"
# How a kind of data begins, here and in newer protocols: how names of spot end, and those of futures.
_KINDS = {"ticker": ("ticker", "ticker_quarter")}
_KINDS |= dict.fromkeys(("trade", "deal"), ("deals", "trade_quarter"))
_KINDS |= dict.fromkeys(("depth", "book"), ("depth", "depth_quarter"))
_KINDS |= dict.fromkeys(("kline", "candle"), ("kline_1min", "kline_quarter_1min"))


def explain(channel: str) -> str:
    """What is wrong with a name, and what is right; "" nothing is wrong."""
    if parse(channel):
        return ""
    if re.fullmatch(_PRIVATE, channel):
        return f'"{channel}" is a private channel; this recorder records market data only'
    words = re.split(r"[-_/ ]", channel.lower())
    futures = len(words) > 3 and words[2].startswith("fut")
    begin = 4 if futures else 5  # where the kind of data stands
    if words[:2] != ["ok", "sub"] or "*" in channel or len(words) < begin or words[begin - 1].startswith((*_KINDS,)):
        spot, future = next((ends for kind, ends in _KINDS.items() if kind in channel.lower()), _KINDS["trade"])
        hint = f"; write a whole name, such as ok_sub_spot_btc_usdt_{spot} or ok_sub_futureusd_btc_{future}"
    else:
        hint = _hint("_".join(words[3:begin]), words[begin:], futures)
    return f'there is no channel "{channel}"{hint}'


def _hint(about: str, rest: Sequence[str], futures: bool) -> str:
    """Which name of a coin or pair was meant, by what stands behind that."""
    start = (_FUTURES if futures else _SPOT).format(coin=about, pair=about)
    kinds = [*dict.fromkeys(ends[futures].partition("_")[0] for ends in _KINDS.values())][:3]
    if not rest or (futures and "_".join(rest) in _WORDS["when"].split("|")):
        meant = [f'"{"_".join([start + kind, *(rest or ["quarter"] * futures)])}"' for kind in kinds]
        return f": it does not say which kind of data; did you mean {', '.join(meant[:-1])} or {meant[-1]}?"
    ours = {kind: ends[futures].partition("_")[0] for kind, ends in _KINDS.items()}
    better = start + "_".join(next((ours[k] for k in ours if word.startswith(k)), word) for word in rest)
    known = list(_names(_FUTURES if futures else _SPOT, about))
    same = [each for each in known if sorted(each.split("_")) == sorted(better.split("_"))]
    return suggest(same[0] if same else better, known) or f"; names about {about} begin with {start}{kinds[0]}"


def _names(start: str, about: str) -> Iterator[str]:
    """Every name there is about a coin or pair."""
    for form in (form for form in _FORMS if form.startswith(start)):
        _, *holes = re.findall(r"{(\w+)}", form)
        for some in product(*(_WORDS[hole].split("|") for hole in holes)):
            yield form.format(coin=about, pair=about, **dict(zip(holes, some, strict=True)))
