"""Which concept a text shows: each concept's name as the text's continuation; the most likely one is the answer."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.errors import InputError
from emoscale.models.loading import LanguageModel
from emoscale.models.outline import ModelOutline
from emoscale.models.prefix import Prefix
from emoscale.run.folder import RunFolder
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.samples import check_labels
from emoscale.tasks.beginnings import Beginnings
from emoscale.tasks.continuations import Continuations, fastest
from emoscale.tasks.reading import RowReader
from emoscale.tasks.task import TaskContext
from emoscale.tasks.templates import check_lengths, check_templates, cut_texts
from emoscale.tasks.wording import Asked, Wording, check_wording, continuations, put, wording_of

MULTIPLE_CHOICE_TEMPLATES = ("{text}\nQuestion: Which emotion does the writer feel?\nAnswer: The writer feels",)
"""Default templates."""

MULTIPLE_CHOICE_MESSAGES = ("{text}\n\nWhich emotion does the writer feel?",)
"""Default templates in a chat."""

Scoring = Literal["name", "first-token"]
"""What of a name is scored."""


@dataclass(frozen=True)
class MultipleChoiceItems:
    """Texts to be continued by one of several names.

    Attributes
    ----------
    table : DataFrame
        See `Task`; ``tokens`` are those of the row with all names.
    rows : list of list of int
        Tokens of each item's text in its template.
    options : tuple of str
        The names.
    continuations : list of list of int
        What is scored of each name: tokens.
    """

    table: pd.DataFrame
    rows: list[list[int]]
    options: tuple[str, ...]
    continuations: list[list[int]]


def draw_single(texts: pd.DataFrame, concepts: Sequence[str], limit: int | None, seed: int) -> list[NDArray[np.int64]]:
    """Draw held-out texts that show one of the concepts and no other.

    Parameters
    ----------
    texts : DataFrame
        As `load_texts` gives it.
    concepts : sequence of str
    limit : int, optional
        The most texts of a concept.
    seed : int
        What is drawn of a concept depends on it, the concept and the texts alone.

    Returns
    -------
    list of ndarray of int64
        Rows of `texts`, ascending, for each concept.

    Raises
    ------
    InputError
        Names every concept without such a text.
    """
    known = set(concepts)
    shown = [known.intersection(labels) for labels in texts["labels"]]
    is_single = np.array([len(some) == 1 for some in shown]) & (texts["split"] == "dev").to_numpy()
    single = {concept: [row for row in np.flatnonzero(is_single) if concept in shown[row]] for concept in concepts}
    if lacking := [concept for concept, rows in single.items() if not rows]:
        raise InputError(
            f"ablation.task 'multiple-choice': no dev text shows {', '.join(map(repr, lacking))} and no other concept; "
            "label some, or remove the concept (concepts.names)"
        )
    drawn = []
    for concept, rows in single.items():
        chosen = np.array(rows, np.int64)
        if limit is not None and len(chosen) > limit:
            rng = np.random.default_rng([seed, zlib.crc32(concept.encode())])
            chosen = np.sort(rng.choice(chosen, limit, replace=False))
        drawn.append(chosen)
    return drawn


def multiple_choice_items(
    outline: ModelOutline,
    texts: pd.DataFrame,
    concepts: Sequence[str],
    wording: Wording,
    stimuli: StimuliOptions,
    scoring: Scoring = "name",
) -> MultipleChoiceItems:
    """Put held-out texts that show a single concept into templates.

    Parameters
    ----------
    outline : ModelOutline
        Of a causal language model.
    texts : DataFrame
        As `load_texts` gives it.
    concepts : sequence of str
        The possible answers.
    wording : Wording
        Its templates have ``{text}``; a name follows after a space, or begins the answer. A template's number is the
        replicate.
    stimuli : StimuliOptions
        Texts are cut to ``max_tokens``; ``dev_texts`` and ``seed`` are those of `draw_single`.
    scoring : {"name", "first-token"}
        See `ask`.

    Raises
    ------
    InputError
        If the model cannot continue a text, a concept has no texts, a template or name cannot be used, or a row is too
        long.
    """
    templates = templates_of(wording)
    check_continues(outline, templates, wording)
    drawn = draw_single(texts, concepts, stimuli.dev_texts, stimuli.seed)
    row = np.concatenate(drawn)
    short = cut_texts(outline, texts["text"].iloc[row].tolist(), stimuli.max_tokens)
    label = np.repeat(np.arange(len(concepts)), [len(rows) for rows in drawn])
    of_template = pd.DataFrame({"concept": np.array(concepts, object)[label], "label": label, "text": row})
    table = pd.concat(
        [of_template.assign(replicate=str(number)) for number in range(len(templates))], ignore_index=True
    )
    filled = [template.format(text=text) for template in templates for text in short]
    return ask(outline, put(outline, filled, wording), concepts, table, scoring)


def templates_of(wording: Wording) -> Sequence[str]:
    """Return the templates given, or the default ones."""
    default = MULTIPLE_CHOICE_MESSAGES if wording.chat else MULTIPLE_CHOICE_TEMPLATES
    return default if wording.templates is None else wording.templates


def check_continues(outline: ModelOutline, templates: Sequence[str], wording: Wording) -> None:
    """Raise InputError if a model cannot continue a text, or a template cannot be used."""
    if outline.kind != "causal-lm":
        others = "soft-prompt" + (" or yes-no" if outline.kind == "masked-lm" else "")
        raise InputError(
            f"ablation.task 'multiple-choice': {outline.name} does not continue a text ({outline.kind}); give a causal "
            f"language model, or set ablation.task to {others}"
        )
    check_wording(outline, wording)
    check_templates(templates, ("text",))
    spaced = [template for template in templates if template != template.rstrip()]
    if spaced and not wording.chat:
        raise InputError(
            f"ablation.templates {template!r}: ends with a space, but names bring a space of their own; remove it"
            for template in spaced
        )


def ask(
    outline: ModelOutline, asked: Asked, options: Sequence[str], table: pd.DataFrame, scoring: Scoring = "name"
) -> MultipleChoiceItems:
    """Make items of sentences and the names that may follow them.

    Parameters
    ----------
    outline : ModelOutline
    asked : Asked
        One sentence an item.
    options : sequence of str
    table : DataFrame
        Of the items, without ``tokens``.
    scoring : {"name", "first-token"}
        Whether all of a name's tokens are scored, or the first one only: then a row holds its text alone.

    Raises
    ------
    InputError
        If a name cannot follow a sentence (see `continuations`), names cannot be told apart by their first tokens, or a
        row is too long.
    """
    names = continuations(outline, asked, options, "concepts.names")
    if scoring == "first-token":
        names = [tokens[:1] for tokens in names]
        _check_first(outline, asked, options, names)
    stems = {tuple(tokens[:end]) for tokens in names for end in range(1, len(tokens))}
    lengths = np.array([len(row) for row in asked.rows], np.int64)
    check_lengths(outline, int(lengths.max()) + max(map(len, names)) - 1)
    return MultipleChoiceItems(table.assign(tokens=lengths + len(stems)), asked.rows, tuple(options), names)


def _check_first(outline: ModelOutline, asked: Asked, options: Sequence[str], first: Sequence[list[int]]) -> None:
    # Without a space before them, which they have after other words, fewer names are tokens of their own.
    other_way = "" if asked.gap else ", or ablation.answer to words that they follow"
    of_token: dict[int, str] = {}
    for option, (token,) in zip(options, first, strict=True):
        if (other := of_token.setdefault(token, option)) != option:
            raise InputError(
                f"ablation.scoring 'first-token': {other!r} and {option!r} begin with the same token in "
                f"{outline.name}; set ablation.scoring to name{other_way}"
            )


class MultipleChoiceTask:
    """Texts answered with one of several names, scored by the names' log probability after the text.

    Parameters
    ----------
    model : LanguageModel
        A causal one.
    items : MultipleChoiceItems

    Notes
    -----
    A longer name is less likely after any text; `option_ids` and the names say how long each is.
    """

    def __init__(self, model: LanguageModel, items: MultipleChoiceItems) -> None:
        reader = RowReader(model)
        names = Continuations(reader, items.continuations)
        if names.nodes == 0:
            _ = reader.narrowed  # tried while no neuron is edited
        self.rows, self._device = items.rows, model.device
        self._score = fastest(names, self.rows)
        self.items = items.table
        self.options: Sequence[str] = items.options
        self.option_ids = items.continuations
        self._beginnings = Beginnings(reader, self.rows, items.table["replicate"].tolist(), self._score)

    def parts(self, items: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Leave them together."""
        return [items]

    def prefix(self, items: NDArray[np.int64]) -> Prefix | None:
        """Return the tokens that some items begin with."""
        return self._beginnings.of(items)

    def scores(self, items: NDArray[np.int64]) -> Tensor:
        """Sum up the log probability of each name's tokens after each text."""
        distinct, which = np.unique(items, return_inverse=True)
        take = torch.from_numpy(which).to(self._device)
        return self._score([self.rows[item] for item in distinct], take)


def _items(context: TaskContext) -> MultipleChoiceItems:
    settings, names = context.settings, context.concepts.names
    check_labels(context.texts, names, ["dev"])
    asked = settings.ablation
    return multiple_choice_items(
        context.outline, context.texts, names, wording_of(asked), settings.stimuli, asked.scoring
    )


def check(context: TaskContext) -> None:
    """Raise InputError if the items cannot be made."""
    context.once(_items)


def facts(context: TaskContext) -> dict[str, str]:
    """Describe the items in a line of the report."""
    items, asked = context.once(_items), context.settings.ablation
    wording = wording_of(asked)
    by = ", by the first token of its name" if asked.scoring == "first-token" else ""
    answers = f"answered by one of {len(items.options)} concepts{by}"
    return {"Items": f"{len(items.table):,}{wording.described}, {answers}: {' · '.join(templates_of(wording))}"}


def make_task(context: TaskContext, _folder: RunFolder) -> MultipleChoiceTask:
    """Make the task."""
    return MultipleChoiceTask(context.model, context.once(_items))
