"""What a reader of texts is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from emoscale.errors import InputError
from emoscale.system.option_types import OPTIONS, Count, Seed, Share


@dataclass(frozen=True)
class TextSettings:
    """Which texts to read; the fields are the arguments of `emoscale.stimuli.texts.load_texts`."""

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


@dataclass(frozen=True)
class StimuliOptions:
    """The texts prompts are trained and judged on."""

    __pydantic_config__ = OPTIONS

    source: Literal["scenarios", "goemotions", "file", "dataset"] = "scenarios"
    """``scenarios`` (built in), ``goemotions`` (its own tsv layout), ``file``, or ``dataset`` (a hub name)."""
    path: str | None = None
    """Folder, file or hub name, by source."""
    dev_path: str | None = None
    """File of held-out texts, when they have their own."""
    text_column: str = "text"
    label_column: str = "label"
    label_separator: str | None = None
    """What separates the labels in a cell, when a text may have several."""
    split_column: str | None = None
    """Column that says train or dev."""
    dev_fraction: Share = 0.2
    """Share of texts held out when the source does not say which."""
    seed: Seed = 0
    """Of the draw of held-out texts."""
    max_tokens: Count = 256
    """Texts are cut to so many tokens."""
    train_texts: Count | None = None
    """The most texts of a concept a prompt learns from; as many again do not show it."""
    dev_texts: Count | None = None
    """The most held-out texts of a concept; as many again do not show it."""
    negatives: Literal["others", "any"] = "others"
    """Texts that do not show the concept: drawn from the others, or, as published, from any."""
