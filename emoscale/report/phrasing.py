"""Numbers and lists as a reader of psychology papers expects them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

DASH = "–"
"""In place of a number that is not defined."""


def number(value: float, digits: int = 2) -> str:
    """Write a number between -1 and 1 without its leading zero, with a true minus sign.

    Parameters
    ----------
    value : float
    digits : int
        After the point.

    Returns
    -------
    str
        ``.84``, ``−.03``, ``1.00``; a dash for NaN and infinity.
    """
    if not math.isfinite(value):
        return DASH
    text = f"{abs(value):.{digits}f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + text.removeprefix("0")


def signed(value: float, digits: int = 2) -> str:
    """Write a number like `number`, with a plus sign where it is positive."""
    text = number(value, digits)
    rounds_to_zero = not any(digit in text for digit in "123456789")
    return text if rounds_to_zero or value < 0 else f"+{text}"


def interval(low: float, high: float, digits: int = 2) -> str:
    """Write an interval as ``[.42, .52]``; a dash if it is not defined."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return DASH
    return f"[{number(low, digits)}, {number(high, digits)}]"


def named(name: str, value: float, low: float = math.nan, high: float = math.nan, digits: int = 3) -> str:
    """Write a value with its name, and its interval if it has one: ``valence: .120 [.050, .190]``."""
    limits = f" {interval(low, high, digits)}" if math.isfinite(low) and math.isfinite(high) else ""
    return f"{name}: {number(value, digits)}{limits}"


def probability(p: float) -> str:
    """Write a p-value as ``p = .012`` or ``p < .001``; a dash if it is not defined."""
    if not math.isfinite(p):
        return f"p {DASH}"
    return "p < .001" if p < 0.001 else f"p = {number(p, 3)}"


def small(p: float) -> str:
    """Write a p-value in a cell: ``.012``, or ``< .001``; a dash if it is not defined."""
    return "< .001" if p < 0.001 else number(p, 3)


def threshold(value: float) -> str:
    """Write a level of significance with the digits it has: ``.05``, ``.001``."""
    return f"{value:g}".removeprefix("0")


def statistic(value: float) -> str:
    """Write a test statistic with two digits and a true minus sign; a dash if it is not defined."""
    return f"{value:.2f}".replace("-", "−") if math.isfinite(value) else DASH


def count(value: int, noun: str, plural: str | None = None) -> str:
    """Write a count with its noun: ``1 neuron``, ``4,000 neurons``."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def listing(names: Sequence[str], most: int = 6) -> str:
    """Join names as ``a, b and c``; beyond `most`, the first few ``and 5 others``."""
    shown = list(names[:most])
    if len(names) > most:
        shown[-1:] = [f"{len(names) - most + 1} others"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def percent(value: float) -> str:
    """Write a share as ``52%``; a dash if it is not defined."""
    return f"{value:.0%}" if math.isfinite(value) else DASH


def percents(low: float, high: float) -> str:
    """Write an interval of shares as ``[36%, 68%]``; a dash if it is not defined."""
    return f"[{percent(low)}, {percent(high)}]" if math.isfinite(low) and math.isfinite(high) else DASH


def whole(value: float) -> str:
    """Write a whole number as ``1,938``; a dash if it is not defined."""
    return f"{value:,.0f}" if math.isfinite(value) else DASH


def activation(value: float) -> str:
    """Write a neuron's value, of any size, with three digits: ``0.0123``, ``2.10``, ``123``; a dash if it has none."""
    return f"{value:#,.3g}".rstrip(".").replace("-", "−") if math.isfinite(value) else DASH


FILTERS: dict[str, Callable[..., Any]] = {
    one.__name__: one
    for one in (
        *(number, signed, interval, probability, small, threshold, statistic, count, listing, percent, percents, whole),
        activation,
    )
}
"""What templates write numbers and names with."""
