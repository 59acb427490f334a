"""Texts, their labels, and templates, as the functions take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from emoscale.errors import InputError

_FIELD = "{concept}"


def as_texts(texts: Any, argument: str = "texts") -> list[str]:
    """Return texts as a list; a single one is a text, not letters.

    Raises
    ------
    InputError
        If there are none, or one is no text or empty.
    """
    if isinstance(texts, str):
        texts = [texts]
    try:
        given = list(texts)
    except TypeError:
        raise InputError(f"{argument}: {type(texts).__name__} given; give a list of texts") from None
    if not given:
        raise InputError(f"{argument}: none given; give at least one")
    for number, text in enumerate(given):
        if not isinstance(text, str):
            raise InputError(f"{argument}: number {number} is {text!r}, which is not a text; replace or remove it")
        if not text.strip():
            raise InputError(f"{argument}: number {number} is empty; remove it")
    return given


def as_labels(labels: Any, count: int, argument: str = "labels", of: str = "texts") -> list[str]:
    """Return a label for each text; empty where there is none.

    Raises
    ------
    InputError
        If there are not as many as texts.
    """
    if labels is None:
        return [""] * count
    given = [labels] if isinstance(labels, str) else list(labels)
    if len(given) != count:
        raise InputError(f"{argument}: {len(given)} given for {count} {of}; give one each")
    return ["" if _is_missing(label) else str(label) for label in given]


def _is_missing(label: Any) -> bool:
    return label is None or bool(np.ndim(label) == 0 and pd.isna(label))


def as_concepts(concepts: Any) -> list[str]:
    """Return concepts as a list of texts.

    Raises
    ------
    InputError
        If there are none, or one is there twice.
    """
    given = as_texts(concepts, "concepts")
    if doubled := sorted({name for name in given if given.count(name) > 1}):
        raise InputError(f"concepts: {', '.join(map(repr, doubled))} more than once; list each once")
    return given


def check_no_templates(texts: Sequence[str]) -> None:
    """Raise InputError if texts look like templates, and nothing says which concepts to put into them."""
    if any(_FIELD in text for text in texts):
        raise InputError(f"texts: some have {_FIELD} in them, as templates do; name concepts=[...] to put there")
