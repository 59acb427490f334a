"""The stage that estimates every neuron's effect, and compares some with exact ablation."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emoscale.ablation.budget import find_budget, kept_budget
from emoscale.ablation.edits import make_edit
from emoscale.attribution.check import check_effects
from emoscale.attribution.estimate import Estimator, one_pass
from emoscale.attribution.exact import ExactAblation, is_finished
from emoscale.attribution.options import AttributionOptions
from emoscale.effect_schema import EFFECT_MOMENTS, EFFECT_SHARDS, EFFECTS, EXACT_EFFECTS
from emoscale.errors import StageError
from emoscale.extraction.fill import fill, make_sink
from emoscale.extraction.work import Job, Target, Work, make_work
from emoscale.run.effects import effect_sizes
from emoscale.run.folder import RunFolder
from emoscale.store import create_store
from emoscale.system.progress import Progress
from emoscale.tasks.halves import halves
from emoscale.tasks.task import Task


class _Items:
    """The items of a task as rows of a store."""

    def __init__(self, task: Task) -> None:
        self._items = task.items
        self.row_of = np.arange(len(task.items) + 1, dtype=np.int64)

    @property
    def rows(self) -> int:
        """Number of items."""
        return len(self._items)

    def labels(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return concept and replicate of every item."""
        return self._items["concept"].to_numpy(object), self._items["replicate"].to_numpy(object)

    def coordinates(self) -> dict[str, NDArray[Any]]:
        """Return the coordinates of every item."""
        concept, replicate = self.labels()
        text, right = (self._items[name].to_numpy(np.int32) for name in ("text", "label"))
        return {"concept": concept, "replicate": replicate, "text": text, "right": right, **self.parts()}

    def parts(self) -> dict[str, NDArray[np.int32]]:
        """Return the half of every item: neurons are chosen on one and judged on the other."""
        return {"half": halves(self._items.rename(columns={"label": "right"}))}


def attribute_effects(
    folder: RunFolder,
    task: Task,
    exact: ExactAblation,
    options: AttributionOptions,
    *,
    job: Job,
    progress: Progress,
) -> dict[str, float]:
    """Estimate what editing each neuron would change of the outcome, and compare some estimates with exact ablation.

    The outcome is the mean log-odds of the right answer over all items. An effect is what editing one neuron at every
    position adds to it through one item, to first order: (edited - actual) x gradient (attribution patching:
    Nanda 2023; Syed, Rager & Conmy 2023, arXiv 2310.10348; with several steps integrated gradients, Sundararajan et
    al. 2017). What is done already is kept.

    Parameters
    ----------
    folder : RunFolder
        Holds the extraction, if the edit needs it.
    task : Task
    exact : ExactAblation
        The model and the edit, and how neurons are ablated exactly. Its ranks share the items; the stores are
        bit-identical for any number of them with as many threads each.
    options : AttributionOptions
    job : Job
        Effects of another origin, or with other options, are replaced.
    progress : Progress

    Returns
    -------
    dict
        ``items``, ``neurons``, and if they were compared ``single_r`` and ``group_r``, see `check_effects`.

    Raises
    ------
    StageError
        If a score or an effect is not a finite number, or passes need more memory than the device has.
    """
    model, ranks = exact.model, exact.ranks
    edit = make_edit(folder, exact.options).of_neurons
    no_masks = np.zeros((0, model.outline.neurons), np.bool_)
    weights = exact.scores(task, "unmasked", no_masks, progress).weights(options.normalization)
    estimator = Estimator(model, task, weights, edit, options.steps, options.precision)
    chosen = ("normalization", "steps", "precision")
    job = replace(job, origin={**job.origin, **{name: getattr(options, name) for name in chosen}})
    work = make_work(folder, _target(folder), _Items(task), model.outline.sites, options, job, ranks)
    sink = make_sink(work)
    tokens = options.tokens_per_pass or _budget(work, estimator)
    try:
        fill(work, sink, lambda span, rows: estimator.block(np.arange(span.start, span.stop), tokens, rows), progress)
    except torch.OutOfMemoryError as error:
        raise StageError(
            f"the device has not enough memory for forward and backward passes of {tokens:,} tokens; set "
            "attribution.tokens_per_pass to fewer, or model.dtype to bfloat16"
        ) from error
    sink.finish()
    ranks.wait()
    counts = {"items": len(task.items), "neurons": len(work.neurons["layer"])}
    _compute_largest(folder, task, exact, weights, options, progress)
    compared = check_effects(folder, exact, estimator, options, tokens, progress)
    ranks.wait()
    if ranks.is_main:
        shutil.rmtree(folder.exact_checks, ignore_errors=True)
    return {**counts, **{name: round(value, 3) for name, value in compared.items()}}


def _compute_largest(
    folder: RunFolder,
    task: Task,
    exact: ExactAblation,
    weights: NDArray[np.float64],
    options: AttributionOptions,
    progress: Progress,
) -> None:
    """Ablate each of the neurons with the largest estimates on single items, and write ``exact_effects.zarr``.

    Where estimates are wrong they are large on many items, with signs that may cancel in the mean.
    """
    if not options.exact_neurons:
        return
    sizes = effect_sizes(folder)
    order = np.argsort(-sizes, kind="stable")  # NaN, of neurons that were always absent, come last
    neurons = order[: min(options.exact_neurons, np.count_nonzero(~np.isnan(sizes)))]
    off = np.zeros((len(neurons), len(sizes)), np.bool_)
    off[np.arange(len(neurons)), neurons] = True
    origin = {**exact.origin, "neurons": neurons.tolist(), "normalization": options.normalization}
    if is_finished(folder.exact_effects, EXACT_EFFECTS, origin):
        return
    contributions = exact.scores(task, "largest", off, progress).contributions(weights)
    if exact.ranks.is_main:
        coordinates = {**_Items(task).coordinates(), "neuron": neurons}
        store = create_store(folder.exact_effects, EXACT_EFFECTS, coordinates, {}, attributes=origin)
        store.write("effects", contributions.astype(np.float32))
        store.mark_complete()
    exact.ranks.wait()


def _target(folder: RunFolder) -> Target:
    return Target(
        folder.effects,
        folder.effect_moments,
        folder.effect_shards,
        EFFECTS,
        EFFECT_MOMENTS,
        EFFECT_SHARDS,
        setting="attribution",
        name="effects",
        advice="set attribution.precision to exact, or model.dtype to float32",
    )


def _budget(work: Work, estimator: Estimator) -> int:
    """Find out how many tokens a pass should have, at most those of the largest block."""
    lengths = estimator.task.items["tokens"].to_numpy()
    most = max(int(lengths[work.rows(block)].sum()) for block in range(work.blocks))
    kept = work.target.moments if work.options.keep == "moments" else work.target.rows
    file = work.folder.commits(kept) / "budget.json"
    return kept_budget(file, lambda: find_budget(one_pass(estimator), most, work.ranks), work.ranks)
