"""Infoway's calendar: sessions of currencies, metals, energy, futures and indices, and trading days of equities.

Owns the shapes, those of recorded answers. Holidays are none: every weekday is a trading day here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from recorder.simulator.infoway.listings import NAMES, SESSIONS, Hours
from recorder.simulator.market import Listing

DAYS_CN, DAYS_EN = "周日至周五", "Sunday-Friday"
SUMMER, WINTER = 4, 5  # hours from New York to GMT
MOST_DAYS = 3_660


def trading_days(begin: str, end: str) -> list[str]:
    """The weekdays from one day to another (YYYYMMDD); ValueError if one is no day, or there are too many."""
    first, last = (datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC) for day in (begin, end))
    count = (last - first).days + 1
    if count > MOST_DAYS:
        raise ValueError("too many days")
    days = (first + timedelta(days=number) for number in range(count))
    return [f"{day:%Y%m%d}" for day in days if day.weekday() < 5]


def schedule_row(listing: Listing) -> dict[str, object]:
    """When an instrument is traded, in New York's time and in GMT."""
    hours = SESSIONS.get(listing.kind, Hours())
    whole = hours.start == hours.end
    segment = {
        "days": DAYS_CN,
        "overnight": True,
        "gmt0": _gmt(hours.start, hours.end),
        "days_en": DAYS_EN,
        "continuous_24h": whole,
        "native": {"start": _clock(hours.start), "end": _clock(hours.end)},
    }
    pause = [] if whole else [{"days": DAYS_CN, "gmt0": _gmt(hours.end, hours.start)}]
    return {
        "symbol": listing.symbol,
        "type": listing.kind,
        "name": NAMES.get(listing.symbol, ("", "", listing.symbol))[2],
        "timezone": "America/New_York",
        "session": f"{hours.start:02d}00-{hours.end:02d}00",
        "holidays": {"summary": "", "dates": []},
        "is_24_7": False,
        "trading_hours": {"summary": _summary(hours), "segments": [segment], "is_dst": True},
        "break_time": {"summary": _pause(hours), "windows": pause},
    }


def _clock(hour: int) -> str:
    return f"{hour % 24:02d}:00"


def _gmt(start: int, end: int) -> dict[str, dict[str, str]]:
    ends = {"summer": SUMMER, "winter": WINTER}
    return {name: {"start": _clock(start + shift), "end": _clock(end + shift)} for name, shift in ends.items()}


def _spans(start: int, end: int) -> tuple[str, str]:
    summer, winter = (f"{_clock(start + shift)} - {_clock(end + shift)}" for shift in (SUMMER, WINTER))
    return summer, winter


def _summary(hours: Hours) -> str:
    if hours.start == hours.end:
        chinese, english = ("（连续 24 小时）",) * 2, (" (24h continuous)",) * 2
    else:
        summer, winter = _spans(hours.start, hours.end)
        chinese = english = (f" {summer}", f" {winter}")
    lines = (
        "（GMT 0）",
        f"夏令时（每年3月第2个周日开始）{DAYS_CN}{chinese[0]}",
        f"冬令时（每年11月第1个周日开始）{DAYS_CN}{chinese[1]}",
        f"Summer Time (from the 2nd Sunday of March) {DAYS_EN}{english[0]}",
        f"Winter Time (from the 1st Sunday of November) {DAYS_EN}{english[1]}",
    )
    return "\n".join(lines)


def _pause(hours: Hours) -> str:
    if hours.start == hours.end:
        return ""
    summer, winter = _spans(hours.end, hours.start)
    return f"夏令时 每天 {summer}\n冬令时 每天 {winter}\nSummer Time Daily {summer}\nWinter Time Daily {winter}"
