"""What is steered: apart from what does it, so that the command line knows the defaults without importing libraries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emoscale.ablation.options import AblationOptions
from emoscale.errors import InputError


@dataclass(frozen=True)
class SteerOptions:
    """What is steered, and by which neurons.

    Attributes
    ----------
    texts : sequence of str
        To be continued; for masked models, with ``{mask}``.
    attribute : str
    k : int or float
        How many of the attribute's most selective neurons, or which share of all neurons.
    draws : int
        Masks of as many random neurons, with which the edit is compared.
    ablation : AblationOptions
        The edit, and what it uses; its seed is also that of the random masks.
    run : Path, optional
        Run folder that says how selective the model's neurons are. Without it that is computed from the built-in
        carrier sentences.
    keep : Path, optional
        Folder to keep what is computed in, and to find it the next time.
    """

    texts: Sequence[str]
    attribute: str
    k: int | float
    draws: int = 20
    ablation: AblationOptions = field(default_factory=AblationOptions)
    run: Path | None = None
    keep: Path | None = None


def read_texts(given: Sequence[str], file: Path | None) -> list[str]:
    """Return the texts given and those of a file, one a line.

    Raises
    ------
    InputError
        If there is none, or the file cannot be read.
    """
    if file is None:
        if not given:
            raise InputError("--text: none given; give --text TEXT, as often as you like, or --texts FILE")
        return list(given)
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--texts {file}: cannot be read ({error}); give a text file in UTF-8, one text a line"
        ) from error
    if not any(line.strip() for line in lines):
        raise InputError(f"--texts {file}: has no text; give one a line")
    return [*given, *(line for line in lines if line.strip())]
