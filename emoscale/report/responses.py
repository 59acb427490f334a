"""What single neurons respond to: the concepts and the texts in which they are most and least active."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.errors import StageError
from emoscale.run.extremes import Extremes, Inputs, find_extremes, values_by_token
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_extraction
from emoscale.schema import MOMENTS

Values = dict[str, Any]
Spell = Callable[[Sequence[int], bool], list[str]]
"""From token ids, and whether to keep special tokens, to a piece of text for each."""

_TOKENS = 48
"""Of a text that is shown; of a longer one, those around the token where the neuron is most active."""
_LEVELS = 5
"""Shades of a token."""
_ENDS = 4
"""Concepts that are named at each end."""


class Responses:
    """What some neurons respond to, as far as a run has it.

    Parameters
    ----------
    folder : RunFolder
    neurons : ndarray of int
        Their numbers.
    spell : callable, optional
        Writes token ids as text; without it texts are not shown.
    texts : int
        How many at each end.
    """

    def __init__(self, folder: RunFolder, neurons: NDArray[np.integer], spell: Spell | None, texts: int) -> None:
        self._spell = spell
        try:
            self._store = open_extraction(folder)
        except StageError:  # its activations were removed, or are those of another study
            self._found, self._inputs = Extremes(), None
            return
        self._found = find_extremes(folder, neurons, texts)
        rows_are_kept = self._store.schema.kind != MOMENTS.kind
        self._inputs = Inputs(folder) if spell and rows_are_kept and folder.inputs.exists() else None

    def of(self, neuron: int) -> Values:
        """Return what one of the neurons responds to.

        Returns
        -------
        dict
            ``means``, Series of the mean activation by concept, ascending; ``most`` and ``least``, pairs of concept
            and mean; ``highest`` and ``lowest``, the inputs: each with ``value``, ``concept``, ``replicate`` and
            ``pieces``, pairs of a shade (see `_shaded`) and text, none where the text is not known; ``has_tokens``,
            whether the shades say something.
        """
        found = self._found
        means = (
            found.means[neuron].dropna().sort_values(kind="stable") if neuron in found.means else pd.Series(dtype=float)
        )
        rows = found.rows[found.rows["neuron"] == neuron]
        ends = min(_ENDS, len(means) // 2)
        shown = [
            (bool(row["is_highest"]), self._row(neuron, row))
            for row in rows.sort_values(["is_highest", "place"]).to_dict("records")
        ]
        top = max((abs(v) for _, row in shown for v in row["values"] if v is not None), default=0.0)
        for _, row in shown:
            row["pieces"] = _shaded(row["pieces"], row.pop("values"), top)
        return {
            "means": means,
            "most": list(means.iloc[::-1][:ends].items()),
            "least": list(means.iloc[:ends].items()),
            "highest": [row for is_highest, row in shown if is_highest],
            "lowest": [row for is_highest, row in shown if not is_highest],
            "has_tokens": any(row["has_tokens"] for _, row in shown),
        }

    def _row(self, neuron: int, row: dict[Any, Any]) -> Values:
        pieces, values = self._text(neuron, row)
        known = sum(value is not None for value in values)
        return {
            "value": float(row["value"]),
            "concept": row["concept"],
            "replicate": row["replicate"],
            "pieces": pieces,
            "values": values,
            "has_tokens": known > 0,
        }

    def _text(self, neuron: int, row: dict[Any, Any]) -> tuple[list[str], list[float | None]]:
        """Return an input's pieces of text, and what the neuron is at each where that is known."""
        if self._inputs is None or self._spell is None:
            return [], []
        ids = self._inputs.token_ids(int(row["item"]))
        known = values_by_token(self._store, neuron, int(row["observation"]), len(ids))
        if known:
            extreme = max if row["is_highest"] else min
            centre = extreme(known, key=lambda token: known[token])
        else:
            centre = 0
        start = max(0, min(centre - _TOKENS // 2, len(ids) - _TOKENS))
        window = range(start, min(start + _TOKENS, len(ids)))
        pieces = self._spell([ids[token] for token in window], len(known) > 1)
        if not any(piece.strip() for piece in pieces):
            return [], []
        values = [known.get(token) for token in window]
        before, after = ["… "] * (start > 0), [" …"] * (window.stop < len(ids))
        return [*before, *pieces, *after], [*[None] * len(before), *values, *[None] * len(after)]


def _shaded(pieces: Sequence[str], values: Sequence[float | None], top: float) -> list[tuple[int, str]]:
    """Give each piece its shade, from minus to plus `_LEVELS`, and join neighbours of one shade."""
    joined: list[tuple[int, str]] = []
    for piece, value in zip(pieces, values, strict=True):
        level = 0 if value is None or not np.isfinite(value) or not top else round(_LEVELS * value / top)
        if joined and joined[-1][0] == level:
            joined[-1] = level, joined[-1][1] + piece
        elif piece:
            joined.append((level, piece))
    return joined
