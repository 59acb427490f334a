"""The exceptions a user can meet. Each says what is wrong, where, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence

from emoscale.names import canonical, difference

_LONGEST, _BEGINNING = 1200, 800
"""Letters of a line, and how many are kept of the beginning of one that is longer: it may quote a whole file."""


def _as_line(problem: str) -> str:
    """Return a problem without line breaks and without the middle of what is very long."""
    line = " ".join(problem.split("\n")).strip()
    return line if len(line) <= _LONGEST else f"{line[:_BEGINNING]} … {line[_BEGINNING - _LONGEST :]}"


class EmoscaleError(Exception):
    """Base of every error that is reported in a line instead of a traceback.

    Parameters
    ----------
    problems : str or iterable of str
        One line each: the thing, where it is, and the fix.
    """

    exit_code = 1

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = list(map(_as_line, [problems] if isinstance(problems, str) else problems))
        super().__init__("\n".join(self.problems))


class InputError(EmoscaleError):
    """What the user gave cannot be used. Nothing has been written."""

    exit_code = 2


class StageError(EmoscaleError):
    """A stage stopped while it ran, or finds its input missing."""


class StoreError(EmoscaleError):
    """A store on disk is damaged or incomplete."""


class PreemptedError(BaseException):
    """The process was asked to end (SIGTERM); the run can be continued.

    Like `KeyboardInterrupt` no `Exception`, so that no library takes it for a failure of its own and goes on.
    """

    exit_code = 143


def suggest(name: str, known: Iterable[str]) -> str:
    """Say which known name is most like an unknown one, ready to be put at the end of a clause.

    Parameters
    ----------
    name : str
    known : iterable of str

    Returns
    -------
    str
        ``" (nearest: 'joy')"``, or an empty string when no known name is like it. What a reader may take for the same
        name is said to be so.

    Examples
    --------
    >>> suggest("Joi", ["joy", "fear"])
    " (nearest: 'joy')"
    >>> suggest("Self-relevance", ["self relevance"])
    " (nearest: 'self relevance', which differs in spaces, hyphens or underscores)"
    """
    by_form = {canonical(candidate): candidate for candidate in known}
    found = difflib.get_close_matches(canonical(name), by_form, n=1)
    if not found:
        return ""
    nearest = by_form[found[0]]
    what = difference(name, nearest)
    return f" (nearest: {nearest!r}{f', which differs in {what}' if what else ''})"


def collect_problems(checks: Iterable[Callable[[], object]]) -> None:
    """Make all checks, and raise what they found together.

    Parameters
    ----------
    checks : iterable of callable
        Each raises `InputError` if it finds something.

    Raises
    ------
    InputError
        With every problem, each once: a check that depends on another one repeats its problem.
    """
    problems: dict[str, None] = {}
    for check in checks:
        try:
            check()
        except InputError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise InputError(problems)


def shortened(problems: Sequence[str], most: int = 20) -> list[str]:
    """Return problems to be shown: the first ones of each file or setting, and how many more it has.

    Parameters
    ----------
    problems : sequence of str
        One line each, which begins with the place.
    most : int
        Of a place.

    Returns
    -------
    list of str
        As they are, where no place has more.

    Examples
    --------
    >>> shortened([f"r.csv, line {line}: is empty; fill it in" for line in range(5)] + ["k: 0"], most=2)
    ['r.csv, line 0: is empty; fill it in', 'r.csv, line 1: is empty; fill it in', 'r.csv: and 3 more', 'k: 0']
    """
    by_place: dict[str, list[str]] = {}
    for problem in problems:
        by_place.setdefault(_place(problem), []).append(problem)
    return [
        line
        for place, found in by_place.items()
        for line in (found if len(found) <= most + 1 else [*found[:most], f"{place}: and {len(found) - most} more"])
    ]


def _place(problem: str) -> str:
    """Return the file or setting that a problem begins with."""
    place, _, _ = problem.partition(": ")
    return place.partition(", line ")[0].partition(", column ")[0]


def first_lines(error: BaseException) -> str:
    """Return the first two lines of a library's message as one, with the error's kind where they say little alone."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kind = type(error).__name__
    if not lines:
        return kind
    says_little = isinstance(error, (LookupError, AttributeError, TypeError, SystemExit))
    return " ".join([f"{kind}:", *lines[:2]] if says_little else lines[:2])
