"""The ablation stage: work units of one concept's questions and some masks, each saved when it is done."""

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
from emoscale.ablation.masked_forward import Answers, answer
from emoscale.errors import StageError
from emoscale.models.loading import LanguageModel
from emoscale.run.folder import RunFolder
from emoscale.schema import MASKS
from emoscale.store import open_store
from emoscale.system.files import replacing
from emoscale.system.progress import Progress
from emoscale.system.ranks import Ranks
from emoscale.tasks.task import Task

_LABELS = 2
"""Of two answers the second best is the other."""


@dataclass(frozen=True)
class _Unit:
    number: int
    questions: NDArray[np.int64]
    masks: NDArray[np.int64]

    @property
    def rows(self) -> int:
        return len(self.questions) * len(self.masks)


def ablate(
    folder: RunFolder,
    model: LanguageModel,
    task: Task,
    *,
    edit: str = "zero",
    factor: float = 0.5,
    seed: int = 0,
    masks_per_unit: int = 64,
    tokens_per_pass: int | None = None,
    precision: str = "exact",
    ranks: Ranks,
    progress: Progress,
) -> dict[str, int]:
    """Count correct answers to every question under every mask. Units that are there already are kept.

    Parameters
    ----------
    folder : RunFolder
        Holds the masks; and the extraction, if `edit` needs it.
    model : LanguageModel
    task : Task
    edit, factor, seed
        What becomes of masked neurons, see `make_edit`.
    masks_per_unit : int
        A unit is one concept and replicate and so many masks. The ranks share the units out; the parts of one model do
        all of them together. Masks that are equal are evaluated once.
    tokens_per_pass : int, optional
        Tokens of one forward pass, padding included; found by trying if left out, and kept with the run.
    precision : {"auto", "exact", "bfloat16"}
    ranks : Ranks
    progress : Progress
        Counts rows (question, mask).

    Returns
    -------
    dict
        ``questions``, ``masks``, ``rows`` and ``tokens_per_pass``.

    Raises
    ------
    StageError
        If the masks are not finished, or passes need more memory than the device has.

    Notes
    -----
    The table has a line for each concept, replicate and mask: the mask's coordinates, ``correct``, ``total`` and
    ``options``, the number of possible answers. Where there are more than two: ``top3``, the same by other ways of
    scoring (``correct_token``, ``top3_token``, ...), and ``chosen``, how often each option was the answer.
    """
    table, masks = read_masks(folder)
    evaluated = _first_equal(masks.bits)
    distinct = np.unique(evaluated)
    units = _units(task, distinct, masks_per_unit)
    own = ranks.own(units)
    way = ForwardOptions(make_edit(folder, edit, factor, seed), precision)
    way = replace(way, shared=shared_maps(model, task, masks.off(distinct[[0, -1]]), way))
    is_given = tokens_per_pass is not None
    if tokens_per_pass is None:
        run = one_pass(model, task, masks.off(units[0].masks), way)
        most = max(int(task.questions["tokens"].iloc[unit.questions].sum()) * len(unit.masks) for unit in units)
        tokens_per_pass = kept_budget(folder.ablation / "budget.json", lambda: find_budget(run, most, ranks), ranks)
    way = replace(way, tokens_per_pass=tokens_per_pass)
    # A part that saw another folder would leave the others waiting for it in a unit that it leaves out.
    todo = ranks.agree([unit for unit in own if not _unit_file(folder, unit.number).exists()])
    total = sum(unit.rows for unit in own)
    progress.start(total, "rows", done=total - sum(unit.rows for unit in todo))
    for unit in todo:
        try:
            off = masks.off(unit.masks)
            answers = answer(model, task, unit.questions, off, unit.masks, way, progress.advance)
        except torch.OutOfMemoryError as error:
            raise _too_large(folder, way.tokens_per_pass, is_given) from error
        if ranks.saves:
            _save(folder, unit, task, answers)
    ranks.wait()
    if ranks.is_main:
        for left in folder.ablation.glob(".*"):  # by a process that was killed while it wrote
            left.unlink()
        answered = pd.concat([pd.read_parquet(_unit_file(folder, unit.number)) for unit in units], ignore_index=True)
        with replacing(folder.ablation_table) as unfinished:
            _for_every_mask(answered, table.assign(evaluated=evaluated)).to_parquet(unfinished, index=False)
    ranks.wait()
    count = len(task.questions)
    return {"questions": count, "masks": len(table), "rows": count * len(table), "tokens_per_pass": way.tokens_per_pass}


@dataclass(frozen=True)
class PackedMasks:
    """The run's masks, eight neurons a byte: of a large model's, only those of one unit fit into memory unpacked.

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
        The neurons of each mask.

    Raises
    ------
    StageError
        If the masks are not finished.
    """
    store = open_store(folder.masks, MASKS)
    if not store.complete:
        raise StageError(f"{folder.masks}: not finished; run emoscale mask first")
    table = pd.DataFrame({name: store.read(name) for name in ("kind", "attribute", "k", "draw")})
    table.insert(0, "mask", np.arange(len(table)))
    return table, PackedMasks(store.read("bits"), store.attributes["origin"]["neurons"])


def _first_equal(bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return, for each mask, the number of the first that is equal to it."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(row.tobytes(), number) for number, row in enumerate(bits)], np.int64)


def _units(task: Task, masks: NDArray[np.int64], masks_per_unit: int) -> list[_Unit]:
    groups = task.questions.groupby(["concept", "replicate"], sort=False).indices.values()
    # Of like size: were the last one small, and as many a group as there are ranks, one rank would get all small ones.
    shares = np.array_split(masks, -(-len(masks) // masks_per_unit))
    pairs = [(np.sort(group), share) for group in groups for share in shares]
    return [_Unit(number, questions, some) for number, (questions, some) in enumerate(pairs)]


def _too_large(folder: RunFolder, tokens: int, is_given: bool) -> StageError:
    mend = (
        "set ablation.tokens_per_pass to fewer, with --fresh"
        if is_given
        else f"put fewer into {folder.ablation / 'budget.json'} and run the stage again; finished units are kept"
    )
    return StageError(f"the device has not enough memory for passes of {tokens:,} tokens; {mend}")


def _unit_file(folder: RunFolder, unit: int) -> Path:
    return folder.ablation / f"part-{unit:06d}.parquet"


def _save(folder: RunFolder, unit: _Unit, task: Task, answers: Answers) -> None:
    asked = task.questions.iloc[unit.questions[0]]
    columns: dict[str, Any] = {"correct": answers.correct[0], "total": len(unit.questions)}
    options = len(task.options)
    if options > _LABELS:
        columns["top3"] = answers.top3[0]
        for number, name in enumerate(list(task.divisors)[1:], start=1):
            columns |= {f"correct_{name}": answers.correct[number], f"top3_{name}": answers.top3[number]}
        columns["chosen"] = list(answers.chosen)
    table = pd.DataFrame({"concept": asked["concept"], "replicate": asked["replicate"], "mask": unit.masks})
    with replacing(_unit_file(folder, unit.number)) as unfinished:
        table.assign(**columns, options=options).to_parquet(unfinished, index=False)


def _for_every_mask(answered: pd.DataFrame, masks: pd.DataFrame) -> pd.DataFrame:
    """Give equal masks, of which one was evaluated, the same answers."""
    names = ["concept", "replicate"]
    groups = answered[names].drop_duplicates()
    pairs = groups.merge(masks, how="cross")
    answers = answered.rename(columns={"mask": "evaluated"})
    return pairs.merge(answers, on=[*names, "evaluated"], how="left", validate="many_to_one").drop(columns="evaluated")
