"""Which concept does a text show: each concept's name as the text's continuation, the likeliest is the answer."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.errors import InputError
from emoscale.models.loading import LanguageModel
from emoscale.models.outline import ModelOutline
from emoscale.tasks.continuations import Continuations, quickest
from emoscale.tasks.reading import RowReader
from emoscale.tasks.templates import check_lengths, check_templates, cut_texts, tokenise

CHOICE_TEMPLATES = ("{text}\nThe writer feels",)
"""What a text is put into when the user says nothing."""

_ALIKE, _ALIKE_IN_HALF = 1e-3, 2e-2
"""Log probabilities computed in two ways differ by rounding: some 1e-6 of their size, or 1e-2 in 16 bits."""
_SHOWN = 30
"""Characters of a sentence in a message."""


@dataclass(frozen=True)
class ChoiceQuestions:
    """Texts to be continued by one of several names.

    Attributes
    ----------
    table : DataFrame
        See `Task`; ``tokens`` are those of the row with all names.
    rows : list of list of int
        Tokens of each question's text in its template.
    options : tuple of str
        The names.
    continuations : list of list of int
        Tokens of each name after a space.
    """

    table: pd.DataFrame
    rows: list[list[int]]
    options: tuple[str, ...]
    continuations: list[list[int]]


def draw_single(
    texts: pd.DataFrame, concepts: Sequence[str], limit: int | None = None, seed: int = 0
) -> list[NDArray[np.int64]]:
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
            f"ablation.task 'choice': no dev text shows {', '.join(map(repr, lacking))} and no other concept; label "
            "some, or leave the concept out (concepts.names)"
        )
    drawn = []
    for concept, rows in single.items():
        chosen = np.array(rows, np.int64)
        if limit is not None and len(chosen) > limit:
            rng = np.random.default_rng([seed, zlib.crc32(concept.encode())])
            chosen = np.sort(rng.choice(chosen, limit, replace=False))
        drawn.append(chosen)
    return drawn


def choice_questions(
    outline: ModelOutline,
    texts: pd.DataFrame,
    concepts: Sequence[str],
    templates: Sequence[str] | None = None,
    max_tokens: int = 256,
    limit: int | None = None,
    seed: int = 0,
) -> ChoiceQuestions:
    """Put held-out texts that show a single concept into templates.

    Parameters
    ----------
    outline : ModelOutline
        Of a causal language model.
    texts : DataFrame
        As `load_texts` gives it.
    concepts : sequence of str
        What can be answered.
    templates : sequence of str, optional
        With ``{text}``; a name follows after a space. A template's number is the replicate.
    max_tokens : int
        Longer texts are cut.
    limit, seed
        See `draw_single`.

    Returns
    -------
    ChoiceQuestions

    Raises
    ------
    InputError
        If the model cannot continue a text, a concept has no texts, a template or name cannot be used, or a row is too
        long.
    """
    templates = CHOICE_TEMPLATES if templates is None else templates
    check_choice(outline, templates)
    drawn = draw_single(texts, concepts, limit, seed)
    row = np.concatenate(drawn)
    short = cut_texts(outline, texts["text"].iloc[row].tolist(), max_tokens)
    label = np.repeat(np.arange(len(concepts)), [len(rows) for rows in drawn])
    table = pd.concat(
        [
            pd.DataFrame({"concept": np.array(concepts, object)[label], "replicate": str(number), "label": label})
            for number in range(len(templates))
        ],
        ignore_index=True,
    )
    return ask(outline, [template.format(text=text) for template in templates for text in short], concepts, table)


def check_choice(outline: ModelOutline, templates: Sequence[str]) -> None:
    """Raise InputError if a model cannot continue a text, or a template cannot be used."""
    if outline.kind != "causal-lm":
        raise InputError(
            f"ablation.task 'choice': {outline.name} does not continue a text ({outline.kind}); give a causal language "
            "model, or set ablation.task to prompts" + (" or words" if outline.kind == "masked-lm" else "")
        )
    check_templates(templates, ("text",))
    if spaced := [template for template in templates if template != template.rstrip()]:
        raise InputError(
            f"ablation.templates {template!r}: ends with a space, and each name brings its own; leave it out"
            for template in spaced
        )


def ask(
    outline: ModelOutline, sentences: Sequence[str], options: Sequence[str], table: pd.DataFrame
) -> ChoiceQuestions:
    """Tokenise sentences and the names that may follow them.

    Parameters
    ----------
    outline : ModelOutline
    sentences : sequence of str
        One a question.
    options : sequence of str
    table : DataFrame
        Of the questions, without ``tokens``.

    Returns
    -------
    ChoiceQuestions

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
    return ChoiceQuestions(table.assign(tokens=tokens), rows, tuple(options), continuations)


def _continuations(
    outline: ModelOutline, sentences: Sequence[str], rows: Sequence[Sequence[int]], options: Sequence[str]
) -> list[list[int]]:
    """Tokenise names after a space; they must be the same tokens after every sentence."""
    if empty := [option for option in options if not option.strip()]:
        raise InputError(f"concept {empty[0]!r}: has no name to be answered; give it one")
    # After the first sentence every name, after each other one a single name: what merges depends on the border alone.
    pairs = [(0, option) for option in range(len(options))]
    pairs += [(question, question % len(options)) for question in range(1, len(sentences))]
    whole = tokenise(outline, [f"{sentences[question]} {options[option]}" for question, option in pairs], closed=False)
    found: dict[int, list[int]] = {}
    for (question, option), ids in zip(pairs, whole, strict=True):
        row = list(rows[question])
        tokens = ids[len(row) :]
        if ids[: len(row)] != row or not tokens or found.setdefault(option, tokens) != tokens:
            raise InputError(
                f"{outline.name} reads the end of {sentences[question][-_SHOWN:]!r} and {options[option]!r} as tokens "
                "of both; end it with a word (ablation.templates)"
            )
    names = [found[option] for option in range(len(options))]
    unknown = outline.tokenizer.unk_token_id
    if problems := [
        f"concept {option!r}: unknown to {outline.name}; leave it out (concepts.names)"
        for option, tokens in zip(options, names, strict=True)
        if unknown is not None and unknown in tokens
    ]:
        raise InputError(problems)
    return names


class ChoiceTask:
    """Texts answered with one of several names, scored by the names' log probability after the text.

    Parameters
    ----------
    model : LanguageModel
        A causal one.
    questions : ChoiceQuestions

    Notes
    -----
    A longer name is less likely whatever the text, so the log probability is also divided by the name's tokens or
    characters (Brown et al. 2020, section 2.4; Gao et al., Language Model Evaluation Harness, ``acc_norm``).
    """

    def __init__(self, model: LanguageModel, questions: ChoiceQuestions) -> None:
        reader = RowReader(model)
        names = Continuations(reader, questions.continuations)
        if names.nodes == 0:
            _ = reader.narrowed  # found out while no neuron is edited
        self._rows, self._device = questions.rows, model.device
        longest, shortest = (pick(self._rows, key=len) for pick in (max, min))
        alike = _ALIKE if model.module.dtype == torch.float32 else _ALIKE_IN_HALF
        self._score = quickest(names, [longest, shortest], alike)
        self.questions = questions.table
        self.options: Sequence[str] = questions.options
        self.divisors: Mapping[str, NDArray[np.float64]] = {
            "raw": np.ones(len(self.options)),
            "token": np.array([len(tokens) for tokens in questions.continuations], np.float64),
            "character": np.array([len(name) for name in self.options], np.float64),
        }

    def scores(self, questions: NDArray[np.int64]) -> Tensor:
        """Sum up the log probability of each name's tokens after each text."""
        distinct, which = np.unique(questions, return_inverse=True)
        take = torch.from_numpy(which).to(self._device)
        return self._score([self._rows[question] for question in distinct], take)
