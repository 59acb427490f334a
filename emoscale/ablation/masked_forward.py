"""One batch, many masks: every row's neurons are edited by its own mask (Li, Su et al. 2024)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.ablation.edits import RowEdit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.errors import StageError
from emoscale.models.loading import LanguageModel
from emoscale.models.masking import masking
from emoscale.models.packing import pack
from emoscale.models.prefix import Prefix
from emoscale.models.shortcuts import sharing
from emoscale.system.ranks import precision
from emoscale.tasks.task import SharesPrefix, Task


def score(
    model: LanguageModel,
    task: Task,
    items: NDArray[np.int64],
    off: NDArray[np.bool_],
    numbers: NDArray[np.int64],
    options: ForwardOptions,
    advance: Callable[[int], None],
) -> NDArray[np.float32]:
    """Score every option of some items under each mask.

    Parameters
    ----------
    model : LanguageModel
    task : Task
    items : ndarray of int64, shape (items,)
        Numbers of the task's items, ascending.
    off : ndarray of bool, shape (masks, neurons)
        What each mask edits.
    numbers : ndarray of int64, shape (masks,)
        Numbers of the masks, which seed what is drawn for them.
    options : ForwardOptions
    advance : callable
        Called with the number of rows (item, mask) of each pass.

    Returns
    -------
    ndarray of float32, shape (items, masks, options)

    Raises
    ------
    StageError
        If a score is not a finite number.
    """
    # On the device: copying them pass by pass would wait for every pass.
    scores = torch.empty(len(items), len(off), len(task.options), device=model.device)
    parts = task.parts(items) if isinstance(task, SharesPrefix) else [items]
    for one in itertools.chain.from_iterable(scored(model, task, part, off, numbers, options) for part in parts):
        item, mask = (torch.from_numpy(rows).to(model.device) for rows in (np.searchsorted(items, one.item), one.mask))
        scores[item, mask] = one.scores.float()
        advance(len(one.item))
    values: NDArray[np.float32] = scores.cpu().numpy()
    if not np.isfinite(values).all():
        raise StageError(
            "a score is not a finite number: the model overflowed; set ablation.precision to exact, or model.dtype to "
            "float32 or bfloat16"
        )
    return values


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
    """Score items under each mask, pass by pass; parameters as of `score`."""
    lengths = task.items["tokens"].to_numpy()[items]
    sites, edit = model.outline.sites, options.edit
    prefix = _prefix(model, task, items, edit)
    one_length = model.outline.padding_leaks
    every, bits = np.arange(len(off)), torch.from_numpy(off)
    # What all rows begin with is kept for as many masks as one pass computes.
    most = max(options.tokens_per_pass // prefix.length, 1) if prefix.length else max(len(off), 1)
    with (
        masking(model.module, sites, bits, model.tp_rank, model.tp_size, edit=edit.of_neurons) as masked,
        sharing(model.module, options.shared) as shared,
        prefix,
    ):
        for some in np.split(every, range(most, len(off), most)):
            if prefix.length:
                masked.expect(torch.from_numpy(some))
                shared.expect(torch.zeros(1, dtype=torch.int64), torch.zeros(len(some), dtype=torch.int64))
                with precision(options.precision, model.device):
                    prefix.compute(len(some))
            # By whole rows, though they may leave tokens out: attention and logits take as much memory for the others.
            for chosen, within in passes(lengths, len(some), options.tokens_per_pass, one_length=one_length):
                asked, mask = items[chosen], some[within]
                masked.expect(torch.from_numpy(mask), torch.from_numpy(edit.donors(asked, numbers[mask])))
                _, first, row = np.unique(asked, return_index=True, return_inverse=True)
                shared.expect(torch.from_numpy(first), torch.from_numpy(row))
                prefix.expect(torch.from_numpy(within))
                with precision(options.precision, model.device):
                    scores = task.scores(asked)
                yield Scored(asked, mask, scores)


def _prefix(model: LanguageModel, task: Task, items: NDArray[np.int64], edit: RowEdit) -> Prefix:
    """Return what all rows begin with and can be computed once for each mask; one of no tokens if there is nothing."""
    # The beginning of a row whose neurons take another item's values is its own.
    if edit.depends_on_item or not isinstance(task, SharesPrefix):
        return Prefix(model)
    return task.prefix(items) or Prefix(model)


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
