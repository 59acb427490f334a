"""Answering a task with neurons edited: work units of one concept's items and some masks, each saved when done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from emoscale.ablation.budget import find_budget, kept_budget, one_pass, shared_maps
from emoscale.ablation.edits import make_edit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import Answers, answer, normalizations
from emoscale.ablation.options import AblationOptions
from emoscale.errors import StageError
from emoscale.models.loading import LanguageModel
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import MASKS
from emoscale.system.files import replacing
from emoscale.system.progress import Progress
from emoscale.system.ranks import Ranks
from emoscale.tasks.normalization import column
from emoscale.tasks.task import Task

_LABELS = 2
"""Of two answers the second best is the other."""


@dataclass(frozen=True)
class _Unit:
    number: int
    items: NDArray[np.int64]
    masks: NDArray[np.int64]

    @property
    def rows(self) -> int:
        return len(self.items) * len(self.masks)


def ablate(
    folder: RunFolder,
    model: LanguageModel,
    task: Task,
    options: AblationOptions,
    *,
    ranks: Ranks,
    progress: Progress,
) -> dict[str, int]:
    """Count correct answers to every item under every mask. Finished units are kept.

    Parameters
    ----------
    folder : RunFolder
        Holds the masks; and the extraction, if the edit needs it.
    model : LanguageModel
    task : Task
    options : AblationOptions
        A unit is one concept and replicate and up to ``masks_per_unit`` masks. Masks that are equal are evaluated once.
        If ``tokens_per_pass`` is not given, it is measured and kept with the run.
    ranks : Ranks
        They share the units; the parts of one model do all of them together.
    progress : Progress
        Counts rows (item, mask).

    Returns
    -------
    dict
        ``items``, ``masks``, ``rows`` and ``tokens_per_pass``.

    Raises
    ------
    StageError
        If the masks are not finished, or passes need more memory than the device has.
    """
    table, masks = read_masks(folder)
    evaluated = _first_equal(masks.bits)
    units = _units(task, np.unique(evaluated), options.masks_per_unit)
    forward = _forward_options(folder, model, task, units, masks, options, ranks)
    own = ranks.own(units)
    # A part that saw another folder would leave the others waiting for it in a unit that it skips.
    todo = ranks.agree([unit for unit in own if not _unit_file(folder, unit.number).exists()])
    total = sum(unit.rows for unit in own)
    progress.start(total, "rows", done=total - sum(unit.rows for unit in todo))
    for unit in todo:
        try:
            answers = answer(model, task, unit.items, masks.off(unit.masks), unit.masks, forward, progress.advance)
        except torch.OutOfMemoryError as error:
            raise _too_large(folder, forward.tokens_per_pass, options.tokens_per_pass is not None) from error
        if ranks.saves:
            _save(folder, unit, task, answers)
    ranks.wait()
    if ranks.is_main:
        _write_table(folder, units, table.assign(evaluated=evaluated))
    ranks.wait()
    count = len(task.items)
    return {"items": count, "masks": len(table), "rows": count * len(table), "tokens_per_pass": forward.tokens_per_pass}


def _forward_options(
    folder: RunFolder,
    model: LanguageModel,
    task: Task,
    units: list[_Unit],
    masks: PackedMasks,
    options: AblationOptions,
    ranks: Ranks,
) -> ForwardOptions:
    """Make the edit, and find out how the model is run best."""
    forward = ForwardOptions(make_edit(folder, options), options.precision)
    ends = np.unique(np.concatenate([unit.masks for unit in units]))[[0, -1]]
    forward = replace(forward, shared=shared_maps(model, task, masks.off(ends), forward))
    tokens = options.tokens_per_pass
    if tokens is None:
        run = one_pass(model, task, masks.off(units[0].masks), forward)
        most = max(int(task.items["tokens"].iloc[unit.items].sum()) * len(unit.masks) for unit in units)
        tokens = kept_budget(folder.ablation / "budget.json", lambda: find_budget(run, most, ranks), ranks)
    return replace(forward, tokens_per_pass=tokens)


@dataclass(frozen=True)
class PackedMasks:
    """The run's masks, eight neurons a byte: of a large model, only those of one unit fit into memory unpacked.

    Attributes
    ----------
    bits : ndarray of uint8, shape (masks, bytes)
        The first neuron in the highest bit.
    neurons : int
    """

    bits: NDArray[np.uint8]
    neurons: int

    def off(self, masks: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Unpack some masks: bool, shape (masks, neurons)."""
        return np.unpackbits(self.bits[masks], axis=1, count=self.neurons).view(np.bool_)


def read_masks(folder: RunFolder) -> tuple[pd.DataFrame, PackedMasks]:
    """Read the run's masks.

    Returns
    -------
    DataFrame
        Columns mask, kind, attribute, k, draw; one row a mask.
    PackedMasks

    Raises
    ------
    StageError
        If the masks are not finished.
    """
    store = open_finished(folder.masks, MASKS)
    table = pd.DataFrame({name: store.read(name) for name in ("kind", "attribute", "k", "draw")})
    table.insert(0, "mask", np.arange(len(table)))
    return table, PackedMasks(store.read("bits"), store.attributes["origin"]["neurons"])


def _first_equal(bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return, for each mask, the number of the first that is equal to it."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(row.tobytes(), number) for number, row in enumerate(bits)], np.int64)


def _units(task: Task, masks: NDArray[np.int64], masks_per_unit: int) -> list[_Unit]:
    groups = task.items.groupby(["concept", "replicate"], sort=False).indices.values()
    # Of about equal size: with a small last one, and as many a group as ranks, one rank would get all small ones.
    shares = np.array_split(masks, -(-len(masks) // masks_per_unit))
    pairs = [(np.sort(group), share) for group in groups for share in shares]
    return [_Unit(number, items, some) for number, (items, some) in enumerate(pairs)]


def _too_large(folder: RunFolder, tokens: int, is_given: bool) -> StageError:
    fix = (
        "set ablation.tokens_per_pass to fewer, with --fresh"
        if is_given
        else f"put fewer into {folder.ablation / 'budget.json'} and rerun the same command; finished units are kept"
    )
    return StageError(f"the device has not enough memory for passes of {tokens:,} tokens; {fix}")


def _unit_file(folder: RunFolder, unit: int) -> Path:
    return folder.ablation / f"part-{unit:06d}.parquet"


def _save(folder: RunFolder, unit: _Unit, task: Task, answers: Answers) -> None:
    asked = task.items.iloc[unit.items[0]]
    columns: dict[str, Any] = {"correct": answers.correct[0], "total": len(unit.items)}
    options = len(task.options)
    if options > _LABELS:
        columns["top3"] = answers.top3[0]
        for number, name in enumerate(list(normalizations(task))[1:], start=1):
            columns[column("correct", name)] = answers.correct[number]
            columns[column("top3", name)] = answers.top3[number]
        columns["chosen"] = list(answers.chosen)
    table = pd.DataFrame({"concept": asked["concept"], "replicate": asked["replicate"], "mask": unit.masks})
    with replacing(_unit_file(folder, unit.number)) as unfinished:
        table.assign(**columns, options=options).to_parquet(unfinished, index=False)


def _write_table(folder: RunFolder, units: list[_Unit], masks: pd.DataFrame) -> None:
    """Write a line for each concept, replicate and mask.

    It has the mask's coordinates, ``correct``, ``total`` and ``options``, the number of possible answers. Where there
    are more than two: ``top3``, both under other normalizations (``correct_per_token``, ``top3_per_token``, ...), and
    ``chosen``, how often each option was the answer.
    """
    for left in folder.ablation.glob(".*"):  # by a process that was killed while it wrote
        left.unlink()
    answered = pd.concat([pd.read_parquet(_unit_file(folder, unit.number)) for unit in units], ignore_index=True)
    with replacing(folder.ablation_table) as unfinished:
        _for_every_mask(answered, masks).to_parquet(unfinished, index=False)


def _for_every_mask(answered: pd.DataFrame, masks: pd.DataFrame) -> pd.DataFrame:
    """Give equal masks, of which one was evaluated, the same answers."""
    names = ["concept", "replicate"]
    groups = answered[names].drop_duplicates()
    pairs = groups.merge(masks, how="cross")
    answers = answered.rename(columns={"mask": "evaluated"})
    return pairs.merge(answers, on=[*names, "evaluated"], how="left", validate="many_to_one").drop(columns="evaluated")
