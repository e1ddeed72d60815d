"""Infoway's instruments and what follows from their kind: business, depth, sessions, names.

Owns the facts only. Kinds are the `type` of `/common/basic/symbols`; levels a side are those that were recorded
(crypto 5, US 1) or documented (HK 10, CN 5). Of `common` and the other Asian markets nothing is known: one level.
"""

from __future__ import annotations

from dataclasses import dataclass

from recorder.simulator.market import Listing

BUSINESSES = {
    "stock": ("STOCK_US", "STOCK_HK", "STOCK_CN"),
    "crypto": ("CRYPTO",),
    "common": ("FOREX", "FUTURES", "ENERGY", "METAL", "INDICES"),
    "japan": ("STOCK_JP",),
    "india": ("STOCK_IN",),
    "korea": ("STOCK_KS",),
    "taiwan": ("STOCK_TW",),
}
HOMES = {kind: business for business, kinds in BUSINESSES.items() for kind in kinds}
SCHEDULED = BUSINESSES["common"]  # the kinds that trading_schedule tells of
MARKETS = ("US", "HK", "CN", "JP", "KS", "TW", "IN")  # those of trading_days
LEVELS = {"CRYPTO": 5, "STOCK_HK": 10, "STOCK_CN": 5}
SIDED = frozenset({"CRYPTO"})  # the others' trades were only seen with td 0, "default"

LISTINGS = (
    Listing("BTCUSDT", "CRYPTO", 6_303_900, 2, 5, 300_000, spacing=24),
    Listing("ETHUSDT", "CRYPTO", 188_054, 2, 4, 500_000, spacing=6),
    Listing("USOIL", "ENERGY", 78_125, 3, 0, 40, spacing=4),
    Listing("NGAS", "ENERGY", 31_240, 4, 0, 40, spacing=4),
    Listing("XAUUSD", "METAL", 241_237, 2, 0, 60, spacing=6),
    Listing("EURUSD", "FOREX", 108_512, 5, 0, 2_000),
    Listing("AAPL.US", "STOCK_US", 305_930, 3, 0, 400, spacing=10),
    Listing("00700.HK", "STOCK_HK", 561_500, 3, 0, 900, spacing=20),
    Listing("600519.SH", "STOCK_CN", 1_431_020, 3, 0, 300, spacing=20),
    Listing(".DJI.US", "STOCK_US", 44_123_450, 3, 0, 300, spacing=30),
    Listing("7203.JP", "STOCK_JP", 2_871_000, 3, 0, 800, spacing=20),
    Listing("005930.KS", "STOCK_KS", 71_400_000, 3, 0, 800, spacing=30),
    Listing("RELIANCE.IN", "STOCK_IN", 1_412_300, 3, 0, 800, spacing=20),
    Listing("2330.TW", "STOCK_TW", 1_175_000, 3, 0, 800, spacing=20),
)

NAMES = {  # simplified, traditional, English
    "BTCUSDT": ("比特币", "比特幣", "Bitcoin"),
    "ETHUSDT": ("以太坊", "以太坊", "Ethereum"),
    "USOIL": ("美国原油", "美國原油", "US Crude Oil"),
    "NGAS": ("天然气", "天然氣", "Natural Gas"),
    "XAUUSD": ("现货黄金", "現貨黃金", "Gold Spot / U.S. Dollar"),
    "EURUSD": ("欧元美元", "歐元美元", "Euro / U.S. Dollar"),
    "AAPL.US": ("苹果", "蘋果", "Apple"),
    "00700.HK": ("腾讯控股", "騰訊控股", "TENCENT"),
    "600519.SH": ("贵州茅台", "貴州茅台", "Kweichow Moutai"),
    ".DJI.US": ("道琼斯指数", "道瓊斯指數", "Dow Jones Industrial Average"),
}


@dataclass(frozen=True, slots=True)
class Hours:
    """Sessions of a kind in New York's time; equal ends mean without a break from Sunday to Friday."""

    start: int = 17
    end: int = 17


SESSIONS = {"ENERGY": Hours(18, 17), "FUTURES": Hours(18, 17), "INDICES": Hours(18, 17)}


def levels(listing: Listing) -> int:
    """How many levels a side are shown; 0 for what has no book."""
    return 0 if is_index(listing) else LEVELS.get(listing.kind, 1)


def is_index(listing: Listing) -> bool:
    """Whether it is a number only, which nobody can trade."""
    return listing.symbol.startswith(".") or listing.kind == "INDICES"


def business(listing: Listing) -> str:
    """The WebSocket channel that serves it, and the first part of its REST paths."""
    return HOMES[listing.kind]
