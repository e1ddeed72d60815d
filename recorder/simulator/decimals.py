"""Ticks and lots as the decimals that venues write.

Owns the conversion. Never rounds: an integer of 10^-places is written as it is.
"""

from __future__ import annotations


def fixed(value: int, places: int) -> str:
    """An integer of 10^-places as a decimal with all its places."""
    if not places:
        return str(value)
    sign, digits = ("-" if value < 0 else ""), str(abs(value)).rjust(places + 1, "0")
    return f"{sign}{digits[:-places]}.{digits[-places:]}"


def plain(value: int, places: int) -> str:
    """The same without trailing zeros."""
    text = fixed(value, places)
    return text.rstrip("0").rstrip(".") if "." in text else text
