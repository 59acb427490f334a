"""Which concept a text shows: each concept's name as the text's continuation; the most likely one is the answer."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.errors import InputError
from emoscale.models.loading import LanguageModel
from emoscale.models.outline import ModelOutline
from emoscale.run.folder import RunFolder
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.samples import check_labels
from emoscale.tasks.continuations import Continuations, fastest
from emoscale.tasks.reading import RowReader
from emoscale.tasks.task import TaskContext
from emoscale.tasks.templates import check_lengths, check_templates, cut_texts, tokenise

MULTIPLE_CHOICE_TEMPLATES = ("{text}\nThe writer feels",)
"""Default templates."""

_SHOWN = 30
"""Characters of a sentence in a message."""


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
        Tokens of each name after a space.
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
    templates: Sequence[str] | None,
    stimuli: StimuliOptions,
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
    templates : sequence of str, optional
        With ``{text}``; a name follows after a space. A template's number is the replicate. By default
        `MULTIPLE_CHOICE_TEMPLATES`.
    stimuli : StimuliOptions
        Texts are cut to ``max_tokens``; ``dev_texts`` and ``seed`` are those of `draw_single`.

    Raises
    ------
    InputError
        If the model cannot continue a text, a concept has no texts, a template or name cannot be used, or a row is too
        long.
    """
    templates = MULTIPLE_CHOICE_TEMPLATES if templates is None else templates
    check_continues(outline, templates)
    drawn = draw_single(texts, concepts, stimuli.dev_texts, stimuli.seed)
    row = np.concatenate(drawn)
    short = cut_texts(outline, texts["text"].iloc[row].tolist(), stimuli.max_tokens)
    label = np.repeat(np.arange(len(concepts)), [len(rows) for rows in drawn])
    table = pd.concat(
        [
            pd.DataFrame(
                {"concept": np.array(concepts, object)[label], "replicate": str(number), "label": label, "text": row}
            )
            for number in range(len(templates))
        ],
        ignore_index=True,
    )
    return ask(outline, [template.format(text=text) for template in templates for text in short], concepts, table)


def check_continues(outline: ModelOutline, templates: Sequence[str]) -> None:
    """Raise InputError if a model cannot continue a text, or a template cannot be used."""
    if outline.kind != "causal-lm":
        others = "soft-prompt" + (" or yes-no" if outline.kind == "masked-lm" else "")
        raise InputError(
            f"ablation.task 'multiple-choice': {outline.name} does not continue a text ({outline.kind}); give a causal "
            f"language model, or set ablation.task to {others}"
        )
    check_templates(templates, ("text",))
    if spaced := [template for template in templates if template != template.rstrip()]:
        raise InputError(
            f"ablation.templates {template!r}: ends with a space, but names bring a space of their own; remove it"
            for template in spaced
        )


def ask(
    outline: ModelOutline, sentences: Sequence[str], options: Sequence[str], table: pd.DataFrame
) -> MultipleChoiceItems:
    """Tokenise sentences and the names that may follow them.

    Parameters
    ----------
    outline : ModelOutline
    sentences : sequence of str
        One an item.
    options : sequence of str
    table : DataFrame
        Of the items, without ``tokens``.

    Returns
    -------
    MultipleChoiceItems

    Raises
    ------
    InputError
        If a name is empty, unknown to the tokenizer or no tokens of its own after a sentence, or a row is too long.
    """
    rows = tokenise(outline, sentences, closed=False)
    continuations = _continuations(outline, sentences, rows, options)
    stems = {tuple(tokens[:end]) for tokens in continuations for end in range(1, len(tokens))}
    longest = max(map(len, rows))
    check_lengths(outline, longest + max(map(len, continuations)) - 1)
    tokens = np.array([len(row) for row in rows], np.int64) + len(stems)
    return MultipleChoiceItems(table.assign(tokens=tokens), rows, tuple(options), continuations)


def _continuations(
    outline: ModelOutline, sentences: Sequence[str], rows: Sequence[Sequence[int]], options: Sequence[str]
) -> list[list[int]]:
    """Tokenise names after a space; they must be the same tokens after every sentence."""
    if empty := [option for option in options if not option.strip()]:
        raise InputError(f"concept {empty[0]!r}: is empty, so it cannot be an answer; give it a name")
    # Every name after the first sentence, a single name after each other one: merging depends on the border alone.
    pairs = [(0, option) for option in range(len(options))]
    pairs += [(item, item % len(options)) for item in range(1, len(sentences))]
    complete = tokenise(outline, [f"{sentences[item]} {options[option]}" for item, option in pairs], closed=False)
    found: dict[int, list[int]] = {}
    for (item, option), ids in zip(pairs, complete, strict=True):
        row = list(rows[item])
        tokens = ids[len(row) :]
        if ids[: len(row)] != row or not tokens or found.setdefault(option, tokens) != tokens:
            raise InputError(
                f"{outline.name} reads the end of {sentences[item][-_SHOWN:]!r} and {options[option]!r} as tokens "
                "of both; end it with a word (ablation.templates)"
            )
    names = [found[option] for option in range(len(options))]
    unknown = outline.tokenizer.unk_token_id
    if problems := [
        f"concept {option!r}: unknown to {outline.name}; remove it (concepts.names)"
        for option, tokens in zip(options, names, strict=True)
        if unknown is not None and unknown in tokens
    ]:
        raise InputError(problems)
    return names


class MultipleChoiceTask:
    """Texts answered with one of several names, scored by the names' log probability after the text.

    Parameters
    ----------
    model : LanguageModel
        A causal one.
    items : MultipleChoiceItems

    Notes
    -----
    A longer name is less likely after any text, so the log probability is also divided by the name's tokens or
    characters (Brown et al. 2020, section 2.4; Gao et al., Language Model Evaluation Harness, ``acc_norm``).
    """

    def __init__(self, model: LanguageModel, items: MultipleChoiceItems) -> None:
        reader = RowReader(model)
        names = Continuations(reader, items.continuations)
        if names.nodes == 0:
            _ = reader.narrowed  # tried while no neuron is edited
        self._rows, self._device = items.rows, model.device
        self._score = fastest(names, self._rows)
        self.items = items.table
        self.options: Sequence[str] = items.options
        self.rows: Sequence[Sequence[int]] = items.rows
        self.option_ids: Sequence[Sequence[int]] = items.continuations

    def scores(self, items: NDArray[np.int64]) -> Tensor:
        """Sum up the log probability of each name's tokens after each text."""
        distinct, which = np.unique(items, return_inverse=True)
        take = torch.from_numpy(which).to(self._device)
        return self._score([self._rows[item] for item in distinct], take)


def _items(context: TaskContext) -> MultipleChoiceItems:
    settings, names = context.settings, context.concepts.names
    check_labels(context.texts, names)
    return multiple_choice_items(context.outline, context.texts, names, settings.ablation.templates, settings.stimuli)


def check(context: TaskContext) -> None:
    """Raise InputError if the items cannot be made."""
    context.once(_items)


def facts(context: TaskContext) -> dict[str, str]:
    """Describe the items in a line of the report."""
    items = context.once(_items)
    templates = context.settings.ablation.templates or MULTIPLE_CHOICE_TEMPLATES
    answers = f"answered by one of {len(items.options)} concepts"
    return {"Items": f"{len(items.table):,}, {answers}: {' · '.join(templates)}"}


def make_task(context: TaskContext, _folder: RunFolder) -> MultipleChoiceTask:
    """Make the task."""
    return MultipleChoiceTask(context.model, context.once(_items))
