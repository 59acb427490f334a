"""Carrier sentences that name a concept."""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter

import pandas as pd

from emoscale.errors import InputError

_FIELD = "concept"

# What the sentence says of a feeling comes before the concept: a causal model reads nothing else.
DEFAULT_TEMPLATES = (
    "At that moment she felt {concept}.",
    "His voice was full of {concept}.",
    "They could not hide their {concept}.",
    "The news filled me with {concept}.",
    "There was a look of {concept} on her face.",
    "The feeling that came over him was {concept}.",
)


def render_templates(templates: Sequence[str], concepts: Sequence[str]) -> pd.DataFrame:
    """Name every concept in every carrier sentence.

    Parameters
    ----------
    templates : sequence of str
        Each with the field ``{concept}`` once. Braces that belong to the sentence are doubled.
    concepts : sequence of str

    Returns
    -------
    DataFrame
        One row a concept and template, templates varying fastest: `concept`, `template` (as given), `text`, `start`
        and `end` (int64, characters of `text` that are the concept, half-open).

    Raises
    ------
    InputError
        If there are no templates, one is there twice, has no ``{concept}``, several, another field, or a single brace.
    """
    if not templates:
        raise InputError("templates: there are none; give at least one sentence with {concept} in it")
    problems: list[str] = []
    frames = {template: _split_template(template, problems) for template in templates}
    problems += [
        f"template {t!r}: is there {templates.count(t)} times; keep one" for t in frames if templates.count(t) > 1
    ]
    if problems:
        raise InputError(problems)
    rows = [
        (concept, template, before + concept + after, len(before), len(before) + len(concept))
        for concept in concepts
        for template, (before, after) in frames.items()
    ]
    return pd.DataFrame(rows, columns=["concept", "template", "text", "start", "end"])


def _split_template(template: str, problems: list[str]) -> tuple[str, str]:
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        problems.append(f"template {template!r}: {error}; double a brace that belongs to the sentence")
        return "", ""
    literals = [literal for literal, *_ in parts]
    holders = [i for i, (_, field, *_) in enumerate(parts) if field is not None]
    fields = [_spell(*parts[i][1:]) for i in holders]
    if fields != [_FIELD]:
        found = " and ".join(f"{{{field}}}" for field in fields) or "no field"
        problems.append(f"template {template!r}: has {found}; it must have {{{_FIELD}}}, once, and no other")
        return "", ""
    cut = holders[0] + 1
    return "".join(literals[:cut]), "".join(literals[cut:])


def _spell(field: str | None, spec: str | None, conversion: str | None) -> str:
    return (field or "") + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
