"""What columns of ratings are called."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from emoscale.system.user_tables import UserTable, bare

CONCEPT = ("concept", "emotion", "label")
RATER = ("rater", "participant", "subject")
RATER_IDS = ("rater id", "participant id", "subject id", "response id", "prolific id", "prolific pid")
ATTRIBUTE = ("attribute", "scale", "item")
RATING = ("rating", "score", "value")
EVENT = ("event",)

NAMES = (*CONCEPT, *RATER, *RATER_IDS, *ATTRIBUTE, *EVENT, "concept 1", "concept 2")
"""Columns that hold names and not numbers."""


def is_one_of(name: str, names: Collection[str]) -> bool:
    """Whether a column's name is one of some names; capitals, spaces, hyphens and underscores do not count."""
    return bare(name) in {bare(one) for one in names}


def find(header: Sequence[str], names: Collection[str]) -> list[int]:
    """Return the indices of the columns that have one of these names."""
    return [i for i, name in enumerate(header) if is_one_of(name, names)]


def one_column(table: UserTable, names: Sequence[str]) -> int | None:
    """Return the index of the column that has one of some names, None if there is none.

    Raises
    ------
    InputError
        If there are several.
    """
    return table.column(*names) if table.find(*names) else None
