"""When two names that people wrote are the same name."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable

_INVISIBLE = {"Cc", "Cf"}
"""Unicode categories of control and format characters: zero-width spaces, soft hyphens, byte order marks."""
_DIVIDERS = str.maketrans("", "", " -_.")


def canonical(name: str) -> str:
    """Return the form by which names are compared: equal for names that differ in nothing a reader would mean.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
        In Unicode's composed form (NFC), without invisible characters, case-folded, with single spaces between words
        and none at the ends.

    Examples
    --------
    >>> canonical(" Joy") == canonical("joy\\u200b")
    True
    >>> canonical("A\\u0308rger") == canonical("ärger")
    True
    """
    return _changed(name, _STEPS.values())


def visible(name: str) -> str:
    """Return a name as a reader sees it: in composed form, without invisible characters, with single spaces.

    Examples
    --------
    >>> visible("self\\u00a0 relevance\\u200b ")
    'self relevance'
    """
    return _changed(name, (step for what, step in _STEPS.items() if what != "capitals"))


def difference(a: str, b: str) -> str:
    """Say in what two names differ that a reader may take for one.

    Parameters
    ----------
    a, b : str

    Returns
    -------
    str
        E.g. ``"capitals"`` or ``"capitals and spaces"``; empty if they are equal, or differ in letters.

    Examples
    --------
    >>> difference("Joy", "joy ")
    'capitals and spaces'
    >>> difference("self_relevance", "self relevance")
    'spaces, hyphens or underscores'
    """
    if canonical(a) == canonical(b):
        return " and ".join(what for what in _STEPS if _without(what, a) != _without(what, b))
    if _without_dividers(a) == _without_dividers(b):
        return "spaces, hyphens or underscores"
    if _without_accents(a) == _without_accents(b):
        return "accents or the form of letters"
    return ""


def join(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Give every form of a name the name that it is a form of.

    Parameters
    ----------
    names : iterable of str
        In any order, each as often as it was written.

    Returns
    -------
    first : dict of str to str
        For each form of `names`, in the order in which they come, the first that is the same name, as a reader sees it.
    joined : list of str
        One clause for each form that was joined with another one, e.g. ``"'Joy' as 'joy' (capitals)"``.

    Examples
    --------
    >>> join(["joy", "fear", "Joy"])
    ({'joy': 'joy', 'fear': 'fear', 'Joy': 'joy'}, ["'Joy' as 'joy' (capitals)"])
    """
    written: dict[str, str] = {}
    first: dict[str, str] = {}
    joined = []
    for name in names:
        if name in first:
            continue
        first[name] = of = written.setdefault(canonical(name), visible(name))
        # A space at an end is lost in any table, and not worth a word.
        if what := difference(name.strip(), of):
            joined.append(f"{name!a} as {of!r} ({what})" if name != visible(name) else f"{name!r} as {of!r} ({what})")
    return first, joined


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _without_invisible(name: str) -> str:
    if name.isprintable():  # the usual case, and many times faster
        return name
    return "".join(c for c in name if c.isspace() or unicodedata.category(c) not in _INVISIBLE)


_STEPS: dict[str, Callable[[str], str]] = {
    "capitals": str.casefold,
    "invisible characters": _without_invisible,
    "spaces": lambda name: " ".join(name.split()),
    "Unicode form": _composed,
}
"""What names may differ in and be the same, and what removes it. The composed form comes last: folding can leave it."""


def _changed(name: str, steps: Iterable[Callable[[str], str]]) -> str:
    name = _composed(name)
    for step in steps:
        name = step(name)
    return name


def _without(what: str, name: str) -> str:
    """Return the canonical form but for one thing, so that names which still differ do so in it."""
    for other, step in _STEPS.items():
        if other != what:
            name = step(name)
    return name


def _without_dividers(name: str) -> str:
    return canonical(name).translate(_DIVIDERS)


def _without_accents(name: str) -> str:
    letters = unicodedata.normalize("NFKD", canonical(name))
    return "".join(c for c in letters if not unicodedata.combining(c)).casefold()
