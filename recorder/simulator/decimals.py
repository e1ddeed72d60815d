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


def scientific(value: int, places: int) -> str:
    """The same with an exponent below a millionth, as Java's BigDecimal writes it: 1E-8, 7.3E-7."""
    magnitude = len(str(value)) - 1 - places
    if value <= 0 or magnitude >= -6:
        return plain(value, places)
    digits = str(value).rstrip("0")
    return f"{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}E{magnitude}"


def double(value: int, places: int) -> str:
    """The same as Java's double writes it, at least one place: 998.0, 999.49."""
    text = plain(value, places)
    return text if "." in text else f"{text}.0"
