"""OKEx v1's messages: the data of each channel, and the envelope around it.

Owns names and spelling, which follow captured frames and the documents' examples: of pairs every number is a string,
without the zeros that a decimal ends with; of contracts it is a string that Java's double made ("20.0"), in the ticker
a number. Never decides what is sent to whom.

Captured: deals, the bar of a contract, acks and failures, books with the highest price first on both sides, numbers
instead of strings from OKCoin. Documented: the other fields, prices with an exponent in books ("1E-8") and without one
in the ticker ("0.00000001"), a clock without a date. Our guess: that this clock is China's, as one author's stamps
suggest; that deals write small prices as books do; what open and close of a ticker are (24 hours ago, now); the sum of
contracts that are open; a contract's limits of price (3 % around its middle).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from time import gmtime, strftime

import msgspec

from recorder.simulator.bars import Bar
from recorder.simulator.book import Level
from recorder.simulator.decimals import double, plain, scientific
from recorder.simulator.market import Instrument, Listing, Match
from recorder.simulator.okex_v1.names import contract_id, midnight
from recorder.simulator.okex_v1.options import Manners, Switched
from recorder.simulator.okx.bars import UTC8

COINS = 4  # places of an amount of coins in books and trades, cut and not rounded: 20 * 100 / 996.72 is "2.0065"
PONG = b'{"event":"pong"}'
LOGGED_IN = b'"channel":"login","data":{"result":true}'
MESSAGES = {
    10000: "Required parameter is empty.",
    10001: "Illegal parameters.",
    10002: "Authentication failure.",
    10005: "api_key or sign is invalid.",
    10008: "Parameter error.",
    10015: "Channel subscription is not supported.",
    10017: "WebSocket authorization error.",
    20020: "The key does not exist.",
    20024: "The signature does not match.",
    20049: "Requests are too frequent.",
    20116: "param not match.",
}


def pushed(channel: str, data: str) -> bytes:
    """A message but for its envelope."""
    return f'"channel":"{channel}","data":{data}'.encode()


def forecast(channel: str, price: str, at_ms: int) -> bytes:
    """The price of delivery as it is estimated; the only stamp beside the data."""
    return f'"channel":"{channel}","timestamp":"{at_ms}","data":"{price}"'.encode()


def enveloped(body: bytes, binary: int | None, manners: Manners) -> bytes:
    """The whole message."""
    mark = b"" if binary is None or manners.unmarked else b'"binary":%d,' % binary
    return b"{%b%b}" % (mark, body) if manners.bare else b"[{%b%b}]" % (mark, body)


def accepted(event: str, channel: str) -> bytes:
    """An acknowledgement but for its envelope."""
    return pushed(event, f'{{"result":true,"channel":{msgspec.json.encode(channel).decode()}}}')


def failed(channel: str, code: str) -> bytes:
    """A failure but for its envelope. What is no number is sent as a string."""
    number = int(code) if code.isdecimal() else code
    words = MESSAGES.get(number, "Error.") if isinstance(number, int) else "Error."
    name = msgspec.json.encode(channel).decode()
    data = msgspec.json.encode({"result": False, "error_msg": words, "error_code": number}).decode()
    return f'"channel":{name},"data":{data}'.encode()


def clock(at_ms: int) -> str:
    """The time of day in China."""
    return strftime("%H:%M:%S", gmtime((at_ms + UTC8) // 1000))


class Text:
    """The messages of one pair or contract."""

    def __init__(self, listing: Listing, switched: Switched) -> None:
        self.listing = listing
        self._switched = switched
        self._price, self._size = listing.price_places, listing.size_places
        self._worth = int(listing.contract or 0)

    # --- trades -------------------------------------------------------------------------------------------------------

    def trades(self, rows: Iterable[tuple[int, Match]]) -> str:
        """Trades with their ids."""
        return f"[{','.join(self._trade(trade_id, match) for trade_id, match in rows)}]"

    def _trade(self, trade_id: int, match: Match) -> str:
        _, price, lots, buy, ts = match
        side = "bid" if buy else "ask"
        if not self._worth:
            return (
                f'["{trade_id}","{scientific(price, self._price)}","{plain(lots, self._size)}","{clock(ts)}","{side}"]'
            )
        coins = "" if self._switched.manners.five else f',"{self._coins(price, lots)}"'
        return f'["{trade_id}","{double(price, self._price)}","{double(lots, 0)}","{clock(ts)}","{side}"{coins}]'

    def _coins(self, price: int, lots: int) -> str:
        return plain(self._cut(price, lots), COINS)

    def _cut(self, price: int, lots: int) -> int:
        """Coins in so many contracts, in the last place that is shown."""
        return lots * self._worth * int(10 ** (self._price + COINS)) // price

    # --- books --------------------------------------------------------------------------------------------------------

    def book(self, instrument: Instrument, sides: tuple[Sequence[Level], Sequence[Level]], at_ms: int) -> str:
        """Bids and asks (best first) as a message has them; with a contract's levels go the sums down to them."""
        book = instrument.book
        bids = ",".join(self._levels(sides[0], book.bids.top(book.depth)))
        asks = ",".join(reversed(self._levels(sides[1], book.asks.top(book.depth))))
        stamp = str(at_ms)
        if self._switched.manners.numbers:
            bids, asks, stamp = bids.replace('"', ""), asks.replace('"', ""), f'"{at_ms}"'
        return f'{{"asks":[{asks}],"bids":[{bids}],"timestamp":{stamp}}}'

    def _levels(self, levels: Sequence[Level], side: Sequence[Level]) -> list[str]:
        if not self._worth:
            return [f'["{scientific(price, self._price)}","{plain(lots, self._size)}"]' for price, lots, _ in levels]
        coins = accumulate(self._cut(price, lots) for price, lots, _ in side)
        contracts = accumulate(lots for _, lots, _ in side)
        sums = {level[0]: both for level, both in zip(side, zip(coins, contracts, strict=True), strict=True)}
        return [
            f'["{double(price, self._price)}","{double(lots, 0)}","{self._coins(price, lots)}",'
            f'"{plain(sums.get(price, (0, 0))[0], COINS)}","{double(sums.get(price, (0, 0))[1], 0)}"]'
            for price, lots, _ in levels
        ]

    # --- prices -------------------------------------------------------------------------------------------------------

    def ticker(self, instrument: Instrument) -> str:
        """The last 24 hours and the best of both sides; a pair's without its stamp and the end."""
        day, book = instrument.day.bar(), instrument.book
        return (self._of_contract if self._worth else self._of_pair)(instrument, day, (book.bids.best, book.asks.best))

    def _of_pair(self, instrument: Instrument, day: Bar, best: tuple[int, int]) -> str:
        minutes = instrument.minutes
        today = minutes.merge(midnight(instrument.now_us // 1000), minutes.running + minutes.step) or day
        fields = {
            "high": day.high,
            "last": day.close,
            "low": day.low,
            "buy": best[0],
            "change": day.close - day.open,
            "sell": best[1],
            "dayLow": today.low,
            "close": day.close,
            "dayHigh": today.high,
            "open": day.open,
        }
        prices = ",".join(f'"{name}":"{plain(value, self._price)}"' for name, value in fields.items())
        return f'{{"vol":"{plain(day.lots, self._size)}",{prices}'

    def _of_contract(self, instrument: Instrument, day: Bar, best: tuple[int, int]) -> str:
        middle = sum(best) // 2
        prices = {"last": day.close, "sell": best[1], "buy": best[0], "high": day.high, "low": day.low}
        numbers = {name: double(value, self._price) for name, value in prices.items()}
        numbers |= {"vol": str(day.lots), "unitAmount": self.listing.contract}
        numbers["hold_amount"] = str(180_000 + instrument.tape.last % 1_000)
        numbers["contractId"] = str(contract_id(self.listing.symbol, instrument.now_us // 1000))
        limits = {"limitHigh": middle * 103 // 100, "limitLow": middle * 97 // 100}
        quote = '"' if self._switched.manners.strings else ""
        shown = [f'"{name}":{quote}{value}{quote}' for name, value in numbers.items()]
        shown += [f'"{name}":"{double(value, self._price)}"' for name, value in limits.items()]
        return f"{{{','.join(shown)}"

    def stamped(self, ticker: str, at_ms: int) -> str:
        """A ticker with its stamp, if it has one: a contract's has none."""
        return f"{ticker}}}" if self._worth else f'{ticker},"timestamp":{at_ms}}}'

    def bar(self, bar: Bar) -> str:
        """One bar: open time, four prices, volume; a contract's volume once more in coins, at the mean price."""
        prices = (bar.open, bar.high, bar.low, bar.close)
        if not self._worth:
            row = [str(bar.at), *(plain(price, self._price) for price in prices), plain(bar.lots, self._size)]
        else:
            coins = self._worth * 10**self._price * bar.lots**2 / bar.turnover if bar.turnover else 0.0
            row = [str(bar.at), *(double(price, self._price) for price in prices), double(bar.lots, 0), str(coins)]
        text = '","'.join(row)
        return f'["{text}"]'


def index(price: int, places: int, at_ms: int) -> tuple[str, str]:
    """An index: what it is, and the message's data."""
    text = double(price, places)
    return text, f'{{"timestamp":"{at_ms}","futureIndex":"{text}"}}'
