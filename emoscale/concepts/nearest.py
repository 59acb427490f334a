"""Guessing which known name an unknown one was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name is most like an unknown one, ready to be put at the end of a clause.

    Parameters
    ----------
    name : str
    known : iterable of str

    Returns
    -------
    str
        ``" (nearest: 'joy')"``, or an empty string when no known name is like it. Case does not count.
    """
    by_folded = {candidate.casefold(): candidate for candidate in known}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return f" (nearest: {by_folded[found[0]]!r})" if found else ""
