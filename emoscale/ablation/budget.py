"""Using the machine well: how many tokens a forward pass gets, and what is computed once for all masks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoscale.ablation.forward_options import SMALLEST_PASS, ForwardOptions
from emoscale.ablation.masked_forward import scored
from emoscale.models.loading import LanguageModel
from emoscale.models.shortcuts import confirmed, shareable
from emoscale.system.files import write_text
from emoscale.system.ranks import Ranks
from emoscale.tasks.task import Task

_LARGEST = 2**20
_GAIN = 1.05
"""Factor by which twice the tokens must raise the rate to be worth their memory."""
_PATIENCE_S = 5.0


def find_budget(run: Callable[[int], None], most: int, ranks: Ranks) -> int:
    """Double the tokens of a pass as long as that raises the tokens per second.

    Parameters
    ----------
    run : callable
        Makes forward passes of about that many tokens, and waits for their end.
    most : int
        Tokens of all rows together.
    ranks : Ranks
        The parts of one model make the same passes.
    """
    if most <= SMALLEST_PASS:
        return SMALLEST_PASS
    run(SMALLEST_PASS)  # the first pass is slower
    best, best_rate, tokens = SMALLEST_PASS, 0.0, SMALLEST_PASS
    is_worth_it = True
    while is_worth_it and tokens <= min(most, _LARGEST):
        start = time.perf_counter()
        try:
            run(tokens)
        except torch.OutOfMemoryError:
            # What fits now may not fit with other rows of the same size.
            return max(best // 2, SMALLEST_PASS)
        took = time.perf_counter() - start
        is_better = tokens / took > best_rate * _GAIN
        if is_better:
            best, best_rate = tokens, tokens / took
        tokens *= 2
        is_worth_it = ranks.agree(is_better and took < _PATIENCE_S)
    return ranks.agree(best)


def kept_budget(file: Path, find: Callable[[], int], ranks: Ranks) -> int:
    """Return the budget that a file holds; if there is none, find and write it.

    A run keeps its budget through interruptions: the same passes give the same numbers to the last bit.

    Parameters
    ----------
    file : Path
    find : callable
    ranks : Ranks
        The first finds it, all take it.
    """
    return int(kept_number(file, "tokens_per_pass", find, ranks))


def kept_number(file: Path, name: str, find: Callable[[], float], ranks: Ranks) -> float:
    """Return a number from a JSON file, or find it and write it there; see `kept_budget`."""
    exists = ranks.agree(file.exists())
    ranks.wait()  # all have looked before one writes
    if not exists and ranks.rank == 0:
        found = find()
        if ranks.saves:
            write_text(file, json.dumps({name: found}) + "\n")
    ranks.wait()
    return float(json.loads(file.read_text(encoding="utf-8"))[name])


def one_pass(
    model: LanguageModel, task: Task, off: NDArray[np.bool_], options: ForwardOptions
) -> Callable[[int], None]:
    """Return a function that makes forward passes of a number of tokens, over the longest and over the shortest item.

    The longest takes most memory for attention; the shortest has most rows, and so most scores, in as many tokens.

    Parameters
    ----------
    model : LanguageModel
    task : Task
    off : ndarray of bool, shape (masks, neurons)
    options : ForwardOptions
    """
    lengths = task.items["tokens"].to_numpy()

    def run(budget: int) -> None:
        for item in dict.fromkeys((int(lengths.argmax()), int(lengths.argmin()))):
            items = np.full(-(-budget // (int(lengths[item]) * len(off))), item)
            first = next(scored(model, task, items, off, np.arange(len(off)), replace(options, tokens_per_pass=budget)))
            first.scores.cpu()

    return run


def shared_maps(model: LanguageModel, task: Task, off: NDArray[np.bool_], options: ForwardOptions) -> tuple[str, ...]:
    """Name the maps to be computed once for all masks, if the scores under the first and last mask stay the same.

    Parameters
    ----------
    model : LanguageModel
    task : Task
    off : ndarray of bool, shape (masks, neurons)
    options : ForwardOptions

    Returns
    -------
    tuple of str
    """
    if model.tp_size > 1:  # the processes would have to agree
        return ()
    tokens = 2 * int(task.items["tokens"].iloc[0])
    both = replace(options, precision="exact", tokens_per_pass=tokens)

    def run(shared: Sequence[str]) -> Tensor:
        one = replace(both, shared=tuple(shared))
        return next(scored(model, task, np.zeros(1, np.int64), off[[0, -1]], np.arange(2), one)).scores

    return confirmed(shareable(model.module, model.outline.sites), run)
