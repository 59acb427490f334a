"""Errors that name the argument of a function, where the code below names the setting of a run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from emoscale.errors import EmoscaleError


@contextmanager
def naming(arguments: Mapping[str, str]) -> Iterator[None]:
    """Rename settings in the messages of errors that the block raises.

    Parameters
    ----------
    arguments : mapping of str to str
        Names of arguments by those of settings.

    Examples
    --------
    >>> with naming({"model.site": "site"}):
    ...     raise InputError("model.site 'ffm': no kind of unit; set model.site to ffn")
    Traceback (most recent call last):
        ...
    emoscale.errors.InputError: site 'ffm': no kind of unit; set site to ffn
    """
    try:
        yield
    except EmoscaleError as error:
        names = "|".join(re.escape(name) for name in sorted(arguments, key=len, reverse=True))
        pattern = re.compile(rf"(?<![\w.])({names})(?!\w)")
        renamed = [pattern.sub(lambda found: arguments[found[1]], problem) for problem in error.problems]
        if renamed == error.problems:
            raise
        raise type(error)(renamed) from error
