"""The exceptions a user can meet. Each says what is wrong, where, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable


class EmoscaleError(Exception):
    """Base of every error that is told in a line instead of a traceback.

    Parameters
    ----------
    problems : str or iterable of str
        One line each: the thing, where it is, and the mend.
    """

    exit_code = 1

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class InputError(EmoscaleError):
    """What the user gave cannot be used. Nothing has been written."""

    exit_code = 2


class StageError(EmoscaleError):
    """A stage stopped while it ran, or finds its input missing."""


class StoreError(EmoscaleError):
    """A store on disk is damaged or incomplete."""


class PreemptedError(BaseException):
    """The process was told to end (SIGTERM); the run can be continued.

    Like `KeyboardInterrupt` no `Exception`, so that no library takes it for a failure of its own and goes on.
    """

    exit_code = 143
