"""One batch, many masks: every row's neurons are edited by its own (Li, Su et al. 2024, neuron manipulation)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.ablation.forward_options import ForwardOptions
from emoscale.errors import StageError
from emoscale.models.loading import LanguageModel
from emoscale.models.masking import masking
from emoscale.models.packing import pack
from emoscale.models.shortcuts import sharing
from emoscale.system.ranks import precision
from emoscale.tasks.task import Task

_TOP = 3


class Answers(NamedTuple):
    """How the model answered, mask by mask.

    Attributes
    ----------
    correct, top3 : ndarray of int64, shape (scorings, masks)
        Questions whose right answer had the highest score, and one of the three highest.
    chosen : ndarray of int64, shape (masks, options)
        How often each option had the highest score, by the first scoring.
    """

    correct: NDArray[np.int64]
    top3: NDArray[np.int64]
    chosen: NDArray[np.int64]


def answer(
    model: LanguageModel,
    task: Task,
    questions: NDArray[np.int64],
    off: NDArray[np.bool_],
    numbers: NDArray[np.int64],
    way: ForwardOptions,
    advance: Callable[[int], None],
) -> Answers:
    """Let a model answer questions under each mask.

    Parameters
    ----------
    model : LanguageModel
    task : Task
    questions : ndarray of int64, shape (questions,)
        Numbers of the task's questions.
    off : ndarray of bool, shape (masks, neurons)
        What each mask edits.
    numbers : ndarray of int64, shape (masks,)
        Numbers of the masks, which seed what is drawn for them.
    way : ForwardOptions
    advance : callable
        Told the number of rows (question, mask) of each pass.

    Returns
    -------
    Answers

    Raises
    ------
    StageError
        If a score is not a finite number.
    """
    labels = task.questions["label"].to_numpy()
    tally = _Tally(task, len(off), model.device)
    for one in scored(model, task, questions, off, numbers, way):
        tally.add(one.scores, labels[one.question], one.mask)
        advance(len(one.question))
    return tally.answers()


class Scored(NamedTuple):
    """One forward pass: which question and which mask each row has, (rows,), and its scores (rows, options)."""

    question: NDArray[np.int64]
    mask: NDArray[np.int64]
    scores: Tensor


@torch.inference_mode()
def scored(
    model: LanguageModel,
    task: Task,
    questions: NDArray[np.int64],
    off: NDArray[np.bool_],
    numbers: NDArray[np.int64],
    way: ForwardOptions,
) -> Iterator[Scored]:
    """Score questions under each mask, pass by pass; parameters as of `answer`."""
    lengths = task.questions["tokens"].to_numpy()[questions]
    sites, edit = model.outline.sites, way.edit.of_neurons
    with (
        masking(model.module, sites, torch.from_numpy(off), model.tp_rank, model.tp_size, edit=edit) as masked,
        sharing(model.module, way.shared) as shared,
    ):
        for chosen, mask in passes(lengths, len(off), way.tokens_per_pass):
            asked = questions[chosen]
            masked.expect(torch.from_numpy(mask), torch.from_numpy(way.edit.donors(asked, numbers[mask])))
            _, first, row = np.unique(asked, return_index=True, return_inverse=True)
            shared.expect(torch.from_numpy(first), torch.from_numpy(row))
            with precision(way.precision, model.device):
                scores = task.scores(asked)
            yield Scored(asked, mask, scores)


def passes(
    lengths: NDArray[np.int64], masks: int, tokens_per_pass: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pack rows (question, mask) into forward passes.

    All masks of a question stand together: what is the same for them can be computed once.

    Parameters
    ----------
    lengths : ndarray of int64, shape (questions,)
        Tokens of each question.
    masks : int
    tokens_per_pass : int
        See `pack`.

    Yields
    ------
    question, mask : ndarray of int64, shape (rows,)
        Each pair of a question and a mask is in one pass.
    """
    for rows in pack(np.repeat(lengths, masks), tokens_per_pass):
        yield rows // masks, rows % masks


class _Tally:
    """Counts on the device; nothing is fetched, which would wait for it, until all passes are made."""

    def __init__(self, task: Task, masks: int, device: torch.device) -> None:
        divisors = np.stack([np.asarray(divisor) for divisor in task.divisors.values()])
        self._divisors = torch.from_numpy(divisors).to(device, torch.float32)[:, None]
        count = len(self._divisors), masks
        self._correct, self._top = (torch.zeros(count, dtype=torch.int64, device=device) for _ in range(2))
        self._chosen = torch.zeros(masks, len(task.options), dtype=torch.int64, device=device)
        self._is_finite = torch.ones((), dtype=torch.bool, device=device)

    def add(self, scores: Tensor, label: NDArray[np.int64], mask: NDArray[np.int64]) -> None:
        """Count the answers of one pass: scores (rows, options), right answers and masks (rows,)."""
        device = scores.device
        right, masks = torch.from_numpy(label).to(device), torch.from_numpy(mask).to(device)
        scaled = scores / self._divisors
        answers = scaled.argmax(dim=2)
        of_right = scaled.gather(2, right.expand(len(scaled), -1)[:, :, None])
        above = (scaled > of_right).sum(dim=2)
        self._correct.index_add_(1, masks, (answers == right).long())
        self._top.index_add_(1, masks, (above < _TOP).long())
        self._chosen.index_put_((masks, answers[0]), torch.ones_like(masks), accumulate=True)
        self._is_finite &= scores.isfinite().all()

    def answers(self) -> Answers:
        """Fetch the counts."""
        if not self._is_finite:
            raise StageError(
                "a score is not a finite number: the model overflowed; set ablation.precision to exact, or model.dtype "
                "to float32 or bfloat16"
            )
        return Answers(*(count.cpu().numpy() for count in (self._correct, self._top, self._chosen)))
