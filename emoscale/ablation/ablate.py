"""Scoring a task's options with neurons edited: units of some items and some masks, each committed when done."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from emoscale.ablation.budget import find_budget, kept_budget, kept_number, one_pass, shared_maps
from emoscale.ablation.edits import make_edit
from emoscale.ablation.exact_share import draw_share, find_share, warn_of_slow_bfloat16
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.looks import Judge, Looks
from emoscale.ablation.masked_forward import score
from emoscale.ablation.options import TWO_LEVEL, AblationOptions
from emoscale.ablation.packed_masks import PackedMasks, read_masks
from emoscale.ablation.units import Unit, make_units
from emoscale.errors import InputError, StageError
from emoscale.models.loading import LanguageModel
from emoscale.run.folder import RunFolder
from emoscale.schema import SCORES
from emoscale.store import CommitLog, Store, create_store, open_store
from emoscale.system.progress import Progress
from emoscale.system.ranks import Ranks
from emoscale.tasks.item_scores import count_asked
from emoscale.tasks.outcomes import Design, read_design
from emoscale.tasks.task import Task

_TOKENS_A_CHUNK = 2**20


def ablate(
    folder: RunFolder,
    model: LanguageModel,
    task: Task,
    options: AblationOptions,
    *,
    origin: Mapping[str, Any] | None = None,
    judge: Callable[[Design], Judge] | None = None,
    ranks: Ranks,
    progress: Progress,
) -> dict[str, float]:
    """Score every option of every item under every mask, and write ``scores.zarr``. Finished units are kept.

    Parameters
    ----------
    folder : RunFolder
        Holds the masks; and the extraction, if the edit needs it.
    model : LanguageModel
    task : Task
    options : AblationOptions
        A unit is up to ``items_per_unit`` items and ``masks_per_unit`` masks. If ``tokens_per_pass`` is not given, it
        is measured and kept until the stage is done.
    origin : mapping, optional
        Where the scores come from, as plain JSON values; scores of another origin are replaced.
    judge : callable, optional
        Makes of what is asked the judge that says after a share of the items which masks need no more; the scores of
        the others under them are NaN.
    ranks : Ranks
        They share the units; the parts of one model do all of them together.
    progress : Progress
        Counts rows (item, mask).

    Returns
    -------
    dict
        ``items``, ``masks``, ``rows`` and ``tokens_per_pass``; in two precisions also ``exact_share``.

    Raises
    ------
    StageError
        If the masks are not finished, a score is not a finite number, or passes need more memory than the device has.
    """
    table, masks = read_masks(folder)
    units = make_units(len(task.items), len(table), options)
    forward = _forward_options(folder, model, task, units, masks, options, ranks)
    share = _exact_share(folder, model, task, masks, forward, options, ranks)
    if ranks.is_main:
        _create(folder, task, table, units, dict(origin or {}), share is not None)
    ranks.wait()
    store, log = open_store(folder.scores, SCORES, mode="r+"), CommitLog(folder.commits(folder.scores), ranks.rank)
    scorer = _Scorer(folder, model, task, masks, forward, options.tokens_per_pass is not None, progress.advance)
    if judge is not None:
        looks = Looks(log.folder, task.items, len(table), len(task.options), units, options.seed)
        if not store.complete:
            looks.score(scorer.score, judge(read_design(store)), ranks, progress)
        _write_units(store, log, units, lambda unit: {"scores": looks.scores(unit)}, ranks, None)
    else:
        is_exact = None if share is None else draw_share(task.items, share, options.seed)
        _write_units(store, log, units, partial(scorer.levels, is_exact=is_exact), ranks, progress)
    if ranks.is_main:
        if not store.complete:
            store.mark_complete()
        shutil.rmtree(folder.commits(folder.scores), ignore_errors=True)
    ranks.wait()
    items, rows = len(task.items), len(task.items) * len(table) if judge is None else int(count_asked(store).sum())
    found = {"items": items, "masks": len(table), "rows": rows}
    chosen = {} if share is None else {"exact_share": share}
    return {**found, "tokens_per_pass": forward.tokens_per_pass, **chosen}


@dataclass(frozen=True)
class _Scorer:
    """Scores items under masks, in one precision or two.

    Attributes
    ----------
    folder : RunFolder
    model : LanguageModel
    task : Task
    masks : PackedMasks
    forward : ForwardOptions
    is_given : bool
        Whether the user set the tokens of a pass.
    advance : callable
        Told how many rows were scored; rows in two precisions count once.
    """

    folder: RunFolder
    model: LanguageModel
    task: Task
    masks: PackedMasks
    forward: ForwardOptions
    is_given: bool
    advance: Callable[[int], None]

    def score(self, items: NDArray[np.int64], masks: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score items under masks: (items, masks, options)."""
        return self._score(items, masks, self.forward, self.advance)

    def levels(self, unit: Unit, is_exact: NDArray[np.bool_] | None) -> dict[str, NDArray[np.float32]]:
        """Score a unit, and in the weights' own type the items of a share, NaN the others, if there is one."""
        scores = self.score(unit.items, unit.masks)
        if is_exact is None:
            return {"scores": scores}
        exact, own = np.full_like(scores, np.nan), is_exact[unit.items]
        if own.any():
            way = replace(self.forward, precision="exact")
            exact[own] = self._score(unit.items[own], unit.masks, way, lambda _: None)
        return {"scores": scores, "exact_scores": exact}

    def _score(
        self,
        items: NDArray[np.int64],
        masks: NDArray[np.int64],
        forward: ForwardOptions,
        advance: Callable[[int], None],
    ) -> NDArray[np.float32]:
        try:
            return score(self.model, self.task, items, self.masks.off(masks), masks, forward, advance)
        except torch.OutOfMemoryError as error:
            raise _too_large(self.folder, forward.tokens_per_pass, self.is_given) from error


def _write_units(
    store: Store,
    log: CommitLog,
    units: list[Unit],
    compute: Callable[[Unit], dict[str, NDArray[np.float32]]],
    ranks: Ranks,
    progress: Progress | None,
) -> None:
    """Compute, write and commit the units that are not done; with progress, their rows are counted."""
    done = {unit.number for unit in units} if store.complete else set(log.done())
    ranks.wait()  # all have looked before one does more
    own = ranks.own(units)
    # A part that saw another folder would leave the others waiting for it in a unit that it skips.
    todo = ranks.agree([unit for unit in own if unit.number not in done])
    if progress is not None:
        total = sum(unit.rows for unit in own)
        progress.start(total, "rows", done=total - sum(unit.rows for unit in todo))
    for unit in todo:
        arrays = compute(unit)
        if ranks.saves:
            item, mask = int(unit.items[0]), int(unit.masks[0])
            store.write("scores", arrays["scores"], item=item, mask=mask)
            if "exact_scores" in arrays:
                store.write("exact_scores", arrays["exact_scores"], exact_item=item, mask=mask)
            log.add(unit.number)
    ranks.wait()


def _exact_share(
    folder: RunFolder,
    model: LanguageModel,
    task: Task,
    masks: PackedMasks,
    forward: ForwardOptions,
    options: AblationOptions,
    ranks: Ranks,
) -> float | None:
    """Return the share of items to be scored exactly too, None in one precision."""
    if options.precision != TWO_LEVEL:
        return None
    if ranks.is_main:
        warn_of_slow_bfloat16(model)
    if options.exact_share is not None:
        return options.exact_share
    file = folder.commits(folder.scores) / "exact_share.json"
    return kept_number(file, "exact_share", lambda: find_share(model, task, masks.off, len(masks.bits), forward), ranks)


def _forward_options(
    folder: RunFolder,
    model: LanguageModel,
    task: Task,
    units: list[Unit],
    masks: PackedMasks,
    options: AblationOptions,
    ranks: Ranks,
) -> ForwardOptions:
    """Make the edit, and find out how the model is run best."""
    precision = "bfloat16" if options.precision == TWO_LEVEL else options.precision
    forward = ForwardOptions(make_edit(folder, options), precision)
    forward = replace(forward, shared=shared_maps(model, task, masks.off(np.array([0, len(masks.bits) - 1])), forward))
    tokens = options.tokens_per_pass
    if tokens is None:
        run = one_pass(model, task, masks.off(units[0].masks), forward)
        most = max(int(task.items["tokens"].iloc[unit.items].sum()) * len(unit.masks) for unit in units)
        tokens = kept_budget(_budget_file(folder), lambda: find_budget(run, most, ranks), ranks)
    return replace(forward, tokens_per_pass=tokens)


def _budget_file(folder: RunFolder) -> Path:
    return folder.commits(folder.scores) / "budget.json"


def _create(
    folder: RunFolder, task: Task, masks: pd.DataFrame, units: list[Unit], origin: dict[str, Any], two_level: bool
) -> None:
    """Create the store, unless there is one of the same origin."""
    exact_items = len(task.items) if two_level else 0
    if _is_same(folder, origin, (len(task.items), len(masks), len(task.options), exact_items), units[0]):
        return
    for file in folder.commits(folder.scores).glob("*"):  # of what is replaced
        if file.suffix != ".json":  # the numbers of tokens and of the share stay
            file.unlink()
    ids = np.concatenate([np.asarray(row, np.int32) for row in task.rows])
    option_ids = np.concatenate([np.asarray(row, np.int32) for row in task.option_ids])
    items = task.items
    coordinates = {
        **{name: items[name].to_numpy() for name in ("concept", "replicate", "text")},
        "right": items["label"].to_numpy(),
        "length": np.array([len(row) for row in task.rows], np.int32),
        **{name: masks[name].to_numpy() for name in ("kind", "attribute", "k", "draw")},
        "option": np.array(list(task.options), object),
        "option_tokens": np.array([len(row) for row in task.option_ids], np.int32),
    }
    chunks = {
        "item": len(units[0].items),
        "exact_item": len(units[0].items),
        "mask": len(units[0].masks),
        "token": _TOKENS_A_CHUNK,
    }
    sizes = {"exact_item": exact_items, "token": len(ids), "option_token": len(option_ids)}
    store = create_store(folder.scores, SCORES, coordinates, chunks, sizes=sizes, attributes=origin)
    for name, values in (("token_ids", ids), ("option_token_ids", option_ids)):
        if len(values):
            store.write(name, values)


def _is_same(folder: RunFolder, origin: dict[str, Any], shape: tuple[int, int, int, int], unit: Unit) -> bool:
    try:
        store = open_store(folder.scores, SCORES)
    except InputError:
        return False
    same_shape = tuple(store.sizes[name] for name in ("item", "mask", "option", "exact_item")) == shape
    same_chunks = store.chunks("scores")[:2] == (len(unit.items), len(unit.masks))
    return same_shape and same_chunks and store.attributes["origin"] == origin and not _lacks_ids(store)


def _lacks_ids(store: Store) -> bool:
    """Return whether a process was killed between creating the store and writing its token ids."""
    return bool(store.damage("token_ids") or store.damage("option_token_ids"))


def _too_large(folder: RunFolder, tokens: int, is_given: bool) -> StageError:
    fix = (
        "set ablation.tokens_per_pass to fewer"
        if is_given
        else f"put fewer into {_budget_file(folder)} and rerun the same command; finished units are kept"
    )
    return StageError(f"the device has not enough memory for passes of {tokens:,} tokens; {fix}")
