"""Whether a text shows the concept, asked in plain words: the task for models without tuned prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.errors import InputError, collect_problems
from emoscale.models.loading import LanguageModel
from emoscale.models.outline import ModelOutline
from emoscale.models.readouts import verbaliser_tokens
from emoscale.run.folder import RunFolder
from emoscale.stimuli.prompt_texts import PromptTexts
from emoscale.tasks.reading import RowReader
from emoscale.tasks.task import TaskContext
from emoscale.tasks.templates import check_lengths, check_templates, cut_texts, tokenise

YES_NO_TEMPLATES = {
    "causal-lm": ("Text: {text}\nQuestion: Does the writer feel {concept}? Answer:",),
    "masked-lm": ("{text} Does the writer feel {concept}? {mask}.",),
}
"""Default templates, by kind of model."""


@dataclass(frozen=True)
class YesNoItems:
    """Items as rows of tokens.

    Attributes
    ----------
    table : DataFrame
        See `Task`.
    rows : list of list of int
        Different rows of tokens.
    row : ndarray of int64, shape (items,)
        The row of each item; other seeds ask about the same texts again.
    read : ndarray of int64, shape (rows,)
        Where each row is read.
    """

    table: pd.DataFrame
    rows: list[list[int]]
    row: NDArray[np.int64]
    read: NDArray[np.int64]


def yes_no_items(
    outline: ModelOutline,
    texts: Sequence[str],
    prompts: Sequence[PromptTexts],
    templates: Sequence[str] | None,
    max_tokens: int,
) -> YesNoItems:
    """Put held-out texts and concepts into templates.

    Parameters
    ----------
    outline : ModelOutline
        Of a masked or causal language model.
    texts : sequence of str
    prompts : sequence of PromptTexts
        Their held-out texts are asked about; the seed is the replicate, with the template's number after it if there
        are several.
    templates : sequence of str, optional
        With ``{text}`` and ``{concept}``, and for masked models ``{mask}``, which is read; causal models are read at
        the end. By default `YES_NO_TEMPLATES`.
    max_tokens : int
        Longer texts are cut.

    Raises
    ------
    InputError
        If the model predicts no words, a template cannot be used, or a row is too long.
    """
    if outline.kind not in YES_NO_TEMPLATES:
        raise InputError(
            f"ablation.task 'yes-no': {outline.name} predicts no words ({outline.kind}); give a masked or causal "
            "language model, or set ablation.task to soft-prompt"
        )
    is_masked = outline.kind == "masked-lm"
    templates = YES_NO_TEMPLATES[outline.kind] if templates is None else templates
    check_templates(templates, ("text", "concept", *(["mask"] if is_masked else [])))
    used = sorted({int(text) for prompt in prompts for text in prompt.dev.rows})
    short = dict(zip(used, cut_texts(outline, [texts[text] for text in used], max_tokens), strict=True))
    asked, tables = [], []
    for number, template in enumerate(templates):
        for prompt in prompts:
            replicate = str(prompt.seed) if len(templates) == 1 else f"{prompt.seed}-{number}"
            asked += [(template, prompt.concept, text) for text in prompt.dev.rows.tolist()]
            asked_of = {"label": prompt.dev.labels, "text": prompt.dev.rows}
            tables.append(pd.DataFrame({"concept": prompt.concept, "replicate": replicate, **asked_of}))
    distinct = {key: row for row, key in enumerate(dict.fromkeys(asked))}
    mask = {"mask": outline.tokenizer.mask_token} if is_masked else {}
    sentences = [template.format(text=short[text], concept=concept, **mask) for template, concept, text in distinct]
    rows = tokenise(outline, sentences, closed=is_masked)
    row = np.array([distinct[key] for key in asked], np.int64)
    lengths = np.array([len(ids) for ids in rows], np.int64)
    check_lengths(outline, int(lengths.max()))
    read = lengths - 1
    if is_masked:
        of_template = [_mask_comes_first(template) for template, *_ in distinct]
        read = np.array([_mask(ids, outline, first) for ids, first in zip(rows, of_template, strict=True)], np.int64)
    table = pd.concat(tables, ignore_index=True).assign(tokens=lengths[row])
    return YesNoItems(table, rows, row, read)


def _mask_comes_first(template: str) -> bool:
    return template.index("{mask}") < template.index("{text}")


def _mask(ids: list[int], outline: ModelOutline, first: bool) -> int:
    """Find the template's own mask: a text may spell out another."""
    masks = [place for place, token in enumerate(ids) if token == outline.tokenizer.mask_token_id]
    return masks[0 if first else -1]


class YesNoTask:
    """Held-out texts judged by the logits of two words, after a question in plain language.

    Parameters
    ----------
    model : LanguageModel
        Masked or causal.
    items : YesNoItems
    words : sequence of int
        Tokens for "does not show the concept" and "shows it".
    """

    options: Sequence[str] = ("other", "concept")

    def __init__(self, model: LanguageModel, items: YesNoItems, words: Sequence[int]) -> None:
        self._reader = RowReader(model)
        _ = self._reader.narrowed  # tried while no neuron is edited
        self._asked, self._words = items, words
        self.items = items.table
        self.rows: Sequence[Sequence[int]] = [items.rows[row] for row in items.row]
        self.option_ids: Sequence[Sequence[int]] = [[word] for word in words]

    def scores(self, items: NDArray[np.int64]) -> Tensor:
        """Score "does not show the concept" and "shows it"."""
        distinct, which = np.unique(self._asked.row[items], return_inverse=True)
        ids, attention = self._reader.pad([self._asked.rows[row] for row in distinct])
        take = torch.from_numpy(which).to(ids.device)
        read = torch.from_numpy(self._asked.read[distinct]).to(ids.device)[take, None]
        logits = self._reader.logits(
            ids[take], attention[take], read, words=self._words, narrowed=self._reader.narrowed
        )
        return logits[:, 0].float()


def _items(context: TaskContext) -> YesNoItems:
    settings = context.settings
    return yes_no_items(
        context.outline,
        context.texts["text"].tolist(),
        context.prompt_texts,
        settings.ablation.templates,
        settings.stimuli.max_tokens,
    )


def _words(context: TaskContext) -> list[int]:
    """Return the tokens of the two answers."""
    words = context.settings.ablation.words
    if not all(word.strip() for word in words):
        raise InputError(f"ablation.words {words}: one is empty; give two words")
    try:
        return verbaliser_tokens(context.outline, words)
    except InputError as error:
        problems = (problem.replace("tuning.verbaliser", "ablation.words", 1) for problem in error.problems)
        raise InputError(problems) from error


def check(context: TaskContext) -> None:
    """Raise InputError if the items cannot be made, or an answer is not one token of the model."""
    checks: list[Callable[[], object]] = [lambda: context.once(_items)]
    if context.outline.kind in YES_NO_TEMPLATES:
        checks.append(lambda: _words(context))
    collect_problems(checks)


def facts(context: TaskContext) -> dict[str, str]:
    """Describe the items in a line of the report."""
    asked, count = context.settings.ablation, len(context.once(_items).table)
    templates = asked.templates or YES_NO_TEMPLATES[context.outline.kind]
    answers = f"answered “{asked.words[0]}” or “{asked.words[1]}”"
    return {"Items": f"{count:,}, {answers}: {' · '.join(templates)}"}


def make_task(context: TaskContext, _folder: RunFolder) -> YesNoTask:
    """Make the task."""
    return YesNoTask(context.model, context.once(_items), _words(context))
