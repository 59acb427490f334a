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
from emoscale.models.prefix import Prefix
from emoscale.models.readouts import verbaliser_tokens
from emoscale.run.folder import RunFolder
from emoscale.stimuli.prompt_texts import AskedTexts
from emoscale.tasks.beginnings import Beginnings
from emoscale.tasks.reading import RowReader
from emoscale.tasks.task import TaskContext
from emoscale.tasks.templates import check_lengths, check_templates, cut_texts
from emoscale.tasks.wording import Asked, Wording, check_wording, continuations, put, wording_of

YES_NO_TEMPLATES = {
    "causal-lm": ("Text: {text}\nQuestion: Does the writer feel {concept}? Answer:",),
    "masked-lm": ("{text} Does the writer feel {concept}? {mask}.",),
}
"""Default templates, by kind of model."""

YES_NO_MESSAGES = ("Text: {text}\n\nDoes the writer feel {concept}? Answer with one word.",)
"""Default templates in a chat."""


@dataclass(frozen=True)
class YesNoItems:
    """Items as rows of tokens.

    Attributes
    ----------
    table : DataFrame
        See `Task`.
    asked : Asked
        Different rows.
    row : ndarray of int64, shape (items,)
        The row of each item; other seeds ask about the same texts again.
    read : ndarray of int64, shape (rows,)
        Where each row is read.
    """

    table: pd.DataFrame
    asked: Asked
    row: NDArray[np.int64]
    read: NDArray[np.int64]

    @property
    def rows(self) -> list[list[int]]:
        """Different rows of tokens."""
        return self.asked.rows


def yes_no_items(
    outline: ModelOutline,
    texts: Sequence[str],
    prompts: Sequence[AskedTexts],
    wording: Wording,
    max_tokens: int,
) -> YesNoItems:
    """Put held-out texts and concepts into templates.

    Parameters
    ----------
    outline : ModelOutline
        Of a masked or causal language model.
    texts : sequence of str
    prompts : sequence of AskedTexts
        Their held-out texts are asked about; the seed is the replicate, with the template's number after it if there
        are several.
    wording : Wording
        Its templates have ``{text}`` and ``{concept}``, and for masked models ``{mask}``, which is read; causal models
        are read at the end.
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
    check_wording(outline, wording)
    templates = templates_of(outline, wording)
    check_templates(templates, ("text", "concept", *(["mask"] if is_masked else [])))
    used = sorted({int(text) for prompt in prompts for text in prompt.dev.rows})
    short = dict(zip(used, cut_texts(outline, [texts[text] for text in used], max_tokens), strict=True))
    asked, tables = [], []
    for number, template in enumerate(templates):
        for prompt in prompts:
            replicate = str(prompt.seed) if len(templates) == 1 else f"{prompt.seed}-{number}"
            asked += [(template, prompt.concept, text) for text in prompt.dev.rows.tolist()]
            own = {"replicate": replicate, "label": prompt.dev.labels, "text": prompt.dev.rows}
            tables.append(pd.DataFrame({"concept": prompt.concept, **own}))
    distinct = {key: row for row, key in enumerate(dict.fromkeys(asked))}
    mask = {"mask": outline.tokenizer.mask_token} if is_masked else {}
    sentences = [template.format(text=short[text], concept=concept, **mask) for template, concept, text in distinct]
    put_so = put(outline, sentences, wording, closed=is_masked)
    rows = put_so.rows
    row = np.array([distinct[key] for key in asked], np.int64)
    lengths = np.array([len(ids) for ids in rows], np.int64)
    check_lengths(outline, int(lengths.max()))
    read = lengths - 1
    if is_masked:
        of_template = [_mask_comes_first(template) for template, *_ in distinct]
        read = np.array([_mask(ids, outline, first) for ids, first in zip(rows, of_template, strict=True)], np.int64)
    table = pd.concat(tables, ignore_index=True).assign(tokens=lengths[row])
    return YesNoItems(table, put_so, row, read)


def templates_of(outline: ModelOutline, wording: Wording) -> Sequence[str]:
    """Return the templates given, or the default ones."""
    default = YES_NO_MESSAGES if wording.chat else YES_NO_TEMPLATES[outline.kind]
    return default if wording.templates is None else wording.templates


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
        self.rows = [items.rows[row] for row in items.row]
        self.option_ids = [[word] for word in words]
        self._beginnings = Beginnings(self._reader, self.rows, items.table["replicate"].tolist(), self._at_end)

    def parts(self, items: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Leave them together."""
        return [items]

    def prefix(self, items: NDArray[np.int64]) -> Prefix | None:
        """Return the tokens that some items begin with."""
        return self._beginnings.of(items)

    def scores(self, items: NDArray[np.int64]) -> Tensor:
        """Score "does not show the concept" and "shows it"."""
        distinct, which = np.unique(self._asked.row[items], return_inverse=True)
        read = torch.from_numpy(self._asked.read[distinct])
        return self._at([self._asked.rows[row] for row in distinct], torch.from_numpy(which), read)

    def _at_end(self, rows: Sequence[Sequence[int]], take: Tensor) -> Tensor:
        return self._at(rows, take, torch.tensor([len(row) - 1 for row in rows]))

    def _at(self, rows: Sequence[Sequence[int]], take: Tensor, read: Tensor) -> Tensor:
        ids, attention = self._reader.pad(rows)
        take, read = take.to(ids.device), read.to(ids.device)
        narrowed = self._reader.narrowed
        logits = self._reader.logits(ids[take], attention[take], read[take, None], words=self._words, narrowed=narrowed)
        return logits[:, 0].float()


def _items(context: TaskContext) -> YesNoItems:
    settings = context.settings
    return yes_no_items(
        context.outline,
        context.texts["text"].tolist(),
        context.asked_texts,
        wording_of(settings.ablation),
        settings.stimuli.max_tokens,
    )


def _words(context: TaskContext) -> list[int]:
    """Return the tokens of the two answers."""
    words = context.settings.ablation.words
    if not all(word.strip() for word in words):
        raise InputError(f"ablation.words {words}: one is empty; give two words")
    if wording_of(context.settings.ablation).chat:
        return _first_words(context.outline, context.once(_items).asked, words)
    try:
        return verbaliser_tokens(context.outline, words)
    except InputError as error:
        problems = (problem.replace("tuning.verbaliser", "ablation.words", 1) for problem in error.problems)
        raise InputError(problems) from error


def _first_words(outline: ModelOutline, asked: Asked, words: Sequence[str]) -> list[int]:
    """Return the tokens of words that follow sentences, each of one."""
    tokens = continuations(outline, asked, words, "ablation.words")
    problems = [
        f"ablation.words {word!r}: {len(ids)} tokens in {outline.name} in an answer; choose a word of one token"
        for word, ids in zip(words, tokens, strict=True)
        if len(ids) > 1
    ]
    if not problems and tokens[0] == tokens[1]:
        problems = [f"ablation.words {list(words)}: the same token in {outline.name}; choose two words"]
    if problems:
        raise InputError(problems)
    return [token for (token,) in tokens]


def check(context: TaskContext) -> None:
    """Raise InputError if the items cannot be made, or an answer is not one token of the model."""
    checks: list[Callable[[], object]] = [lambda: context.once(_items)]
    if context.outline.kind in YES_NO_TEMPLATES:
        checks.append(lambda: _words(context))
    collect_problems(checks)


def facts(context: TaskContext) -> dict[str, str]:
    """Describe the items in a line of the report."""
    asked, count = context.settings.ablation, len(context.once(_items).table)
    wording = wording_of(asked)
    answers = f"answered “{asked.words[0]}” or “{asked.words[1]}”"
    return {"Items": f"{count:,}{wording.described}, {answers}: {' · '.join(templates_of(context.outline, wording))}"}


def make_task(context: TaskContext, _folder: RunFolder) -> YesNoTask:
    """Make the task."""
    return YesNoTask(context.model, context.once(_items), _words(context))
