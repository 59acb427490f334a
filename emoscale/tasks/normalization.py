"""How the scores of options of unequal length are compared, and the names that this has in tables."""

from __future__ import annotations

from collections.abc import Iterable

NONE, PER_TOKEN, PER_CHARACTER = "none", "per-token", "per-character"


def column(count: str, normalization: str) -> str:
    """Name the column of a count under a normalization.

    Examples
    --------
    >>> column("correct", NONE), column("correct", PER_TOKEN)
    ('correct', 'correct_per_token')
    """
    return count if normalization == NONE else f"{count}_{normalization.replace('-', '_')}"


def normalizations_of(columns: Iterable[str], count: str) -> list[str]:
    """Return the normalizations under which a table has a count, in the order of its columns.

    Examples
    --------
    >>> normalizations_of(["concept", "correct", "top3", "correct_per_token"], "correct")
    ['none', 'per-token']
    """
    found = [name for name in columns if name == count or name.startswith(f"{count}_")]
    return [NONE if name == count else name.removeprefix(f"{count}_").replace("_", "-") for name in found]
