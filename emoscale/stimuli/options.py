"""What a reader of texts is told."""

from __future__ import annotations

from dataclasses import dataclass

from emoscale.errors import InputError


@dataclass(frozen=True)
class TextSettings:
    """Which texts to read; the fields are the arguments of `emoscale.stimuli.load_texts`."""

    source: str
    path: str | None = None
    dev_path: str | None = None
    text_column: str = "text"
    label_column: str = "label"
    label_separator: str | None = None
    split_column: str | None = None

    def require_path(self, what: str) -> str:
        """Return the path.

        Raises
        ------
        InputError
            If there is none; it says `what` to give.
        """
        if not self.path:
            raise InputError(f"text source {self.source!r}: has no path; give {what}")
        return self.path

    def refuse(self, *names: str) -> None:
        """Refuse settings that the source would ignore.

        Raises
        ------
        InputError
            For each of the named settings that is given.
        """
        problems = [
            f"text source {self.source!r}: {name} means nothing to it; leave it out, or choose the source 'file'"
            for name in names
            if getattr(self, name) is not None
        ]
        if problems:
            raise InputError(problems)
