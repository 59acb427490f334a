"""One batch, many masks: every row's neurons are edited by its own mask (Li, Su et al. 2024)."""

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
    correct, top3 : ndarray of int64, shape (normalizations, masks)
        Items whose right answer had the highest score, and one of the three highest.
    chosen : ndarray of int64, shape (masks, options)
        How often each option had the highest score, under the first normalization.
    """

    correct: NDArray[np.int64]
    top3: NDArray[np.int64]
    chosen: NDArray[np.int64]


def answer(
    model: LanguageModel,
    task: Task,
    items: NDArray[np.int64],
    off: NDArray[np.bool_],
    numbers: NDArray[np.int64],
    options: ForwardOptions,
    advance: Callable[[int], None],
) -> Answers:
    """Let a model answer items under each mask.

    Parameters
    ----------
    model : LanguageModel
    task : Task
    items : ndarray of int64, shape (items,)
        Numbers of the task's items.
    off : ndarray of bool, shape (masks, neurons)
        What each mask edits.
    numbers : ndarray of int64, shape (masks,)
        Numbers of the masks, which seed what is drawn for them.
    options : ForwardOptions
    advance : callable
        Called with the number of rows (item, mask) of each pass.

    Raises
    ------
    StageError
        If a score is not a finite number.
    """
    labels = task.items["label"].to_numpy()
    tally = _Tally(task, len(off), model.device)
    for one in scored(model, task, items, off, numbers, options):
        tally.add(one.scores, labels[one.item], one.mask)
        advance(len(one.item))
    return tally.answers()


class Scored(NamedTuple):
    """One forward pass: item and mask of each row, (rows,), and its scores (rows, options)."""

    item: NDArray[np.int64]
    mask: NDArray[np.int64]
    scores: Tensor


@torch.inference_mode()
def scored(
    model: LanguageModel,
    task: Task,
    items: NDArray[np.int64],
    off: NDArray[np.bool_],
    numbers: NDArray[np.int64],
    options: ForwardOptions,
) -> Iterator[Scored]:
    """Score items under each mask, pass by pass; parameters as of `answer`."""
    lengths = task.items["tokens"].to_numpy()[items]
    sites, edit = model.outline.sites, options.edit.of_neurons
    with (
        masking(model.module, sites, torch.from_numpy(off), model.tp_rank, model.tp_size, edit=edit) as masked,
        sharing(model.module, options.shared) as shared,
    ):
        one_length = model.outline.padding_leaks
        for chosen, mask in passes(lengths, len(off), options.tokens_per_pass, one_length=one_length):
            asked = items[chosen]
            masked.expect(torch.from_numpy(mask), torch.from_numpy(options.edit.donors(asked, numbers[mask])))
            _, first, row = np.unique(asked, return_index=True, return_inverse=True)
            shared.expect(torch.from_numpy(first), torch.from_numpy(row))
            with precision(options.precision, model.device):
                scores = task.scores(asked)
            yield Scored(asked, mask, scores)


def passes(
    lengths: NDArray[np.int64], masks: int, tokens_per_pass: int, *, one_length: bool = False
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pack rows (item, mask) into forward passes.

    All masks of an item are consecutive: what is the same for them can be computed once.

    Parameters
    ----------
    lengths : ndarray of int64, shape (items,)
        Tokens of each item.
    masks : int
    tokens_per_pass, one_length
        See `pack`.

    Yields
    ------
    item, mask : ndarray of int64, shape (rows,)
        Each pair of an item and a mask is in one pass.
    """
    for rows in pack(np.repeat(lengths, masks), tokens_per_pass, one_length=one_length):
        yield rows // masks, rows % masks


class _Tally:
    """Counts on the device; nothing is copied, which would wait for it, until all passes are made."""

    def __init__(self, task: Task, masks: int, device: torch.device) -> None:
        divisors = np.stack([np.asarray(divisor) for divisor in task.normalizations.values()])
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
        """Copy the counts from the device."""
        if not self._is_finite:
            raise StageError(
                "a score is not a finite number: the model overflowed; set ablation.precision to exact, or model.dtype "
                "to float32 or bfloat16"
            )
        return Answers(*(count.cpu().numpy() for count in (self._correct, self._top, self._chosen)))
