"""The stage that measures how much of the outcome the first neurons of a ranking carry alone."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.attribution.exact import ExactAblation, is_finished
from emoscale.attribution.options import FaithfulnessOptions
from emoscale.attribution.rankings import RANKINGS, RankedBy, Ranking
from emoscale.effect_schema import FAITHFULNESS
from emoscale.errors import StageError
from emoscale.masks.make_masks import resolve_k
from emoscale.run.effects import mean_effects
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import SELECTIVITY
from emoscale.statistics import Floats
from emoscale.store import create_store
from emoscale.system.option_types import lookup
from emoscale.system.progress import Progress
from emoscale.tasks.outcomes import NORMALIZATIONS, questions
from emoscale.tasks.some_items import comparable_items
from emoscale.tasks.task import Task


def measure_faithfulness(
    folder: RunFolder,
    task: Task,
    exact: ExactAblation,
    options: FaithfulnessOptions,
    normalization: str,
    progress: Progress,
) -> dict[str, int]:
    """Measure the outcome with only the first neurons of each ranking kept, and write ``faithfulness.zarr``.

    All other neurons are edited, by exact ablation. Faithfulness comes from it in the analysis (Mueller et al. 2025,
    MIB, arXiv 2504.13151). What is done already is kept.

    Parameters
    ----------
    folder : RunFolder
        Holds what the rankings are made from; and the extraction, if the edit needs it.
    task : Task
    exact : ExactAblation
        The model and the ranks; the edit is that of `options`.
    options : FaithfulnessOptions
        A ranking may be given itself in place of its name.
    normalization : str
        A name in `NORMALIZATIONS`, by which the log-odds of the right answer are taken among these items.
    progress : Progress

    Returns
    -------
    dict
        ``items`` and ``masks``, the numbers of them.

    Raises
    ------
    StageError
        If the normalization needs several items of a question and there is one, a score is not a finite number, or
        passes need more memory than the device has.
    """
    place, ranks, task = folder.faithfulness_scores, exact.ranks, comparable_items(task, options.items, normalization)
    if NORMALIZATIONS[normalization].needs_several and np.bincount(questions(task.items, task.options)).min() == 1:
        raise StageError(
            f"faithfulness.items {options.items}: some question is asked about a single one of these items, so there "
            f"is no mean to subtract (attribution.normalization {normalization!r}); set faithfulness.items to more, or "
            "attribution.normalization to none"
        )
    rankings = [lookup("faithfulness.rankings", RANKINGS, ranking) for ranking in options.rankings]
    asked = {**asdict(replace(options, rankings=[one.name for one in rankings])), "normalization": normalization}
    origin = {**exact.origin, "edit": options.edit, "faithfulness": asked}
    kept, on = kept_neurons(folder, rankings, options, exact.model.outline.neurons)
    if not is_finished(folder.faithfulness, FAITHFULNESS, origin):
        own = replace(exact, options=replace(exact.options, edit=options.edit), origin=origin, place=place)
        scores = own.scores(task, "", ~on, progress)
        if ranks.is_main:
            _write(folder, task, kept, scores.log_odds(normalization)[:, 1:], origin)
        ranks.wait()
    if ranks.is_main:
        shutil.rmtree(place, ignore_errors=True)
    return {"items": len(task.items), "masks": len(kept)}


def kept_neurons(
    folder: RunFolder, rankings: Sequence[Ranking], options: FaithfulnessOptions, neurons: int
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Choose the neurons that are kept: none, all, and the first ones of each ranking.

    Parameters
    ----------
    folder : RunFolder
        Holds what the rankings are made from.
    rankings : sequence of Ranking
    options : FaithfulnessOptions
    neurons : int

    Returns
    -------
    DataFrame
        ``ranking`` (empty of none and of all), ``draw`` and ``k``, one row a set.
    ndarray of bool, shape (sets, neurons)
    """
    by = RankedBy(
        lambda: mean_effects(folder).overall,
        lambda: open_finished(folder.selectivity, SELECTIVITY).read("tau"),
        neurons,
        options.draws,
        options.seed,
    )
    sizes = resolve_k(options.shares, neurons)
    rows: list[tuple[str, int, int]] = [("", 0, 0), ("", 0, neurons)]
    on = [np.zeros(neurons, np.bool_), np.ones(neurons, np.bool_)]
    for ranking in rankings:
        for draw, order in enumerate(ranking.orders(by)):
            for k in sizes:
                first = np.zeros(neurons, np.bool_)
                first[order[:k]] = True
                rows.append((ranking.name, draw, k))
                on.append(first)
    return pd.DataFrame(rows, columns=["ranking", "draw", "k"]), np.stack(on)


def count_sets(options: FaithfulnessOptions, neurons: int) -> int:
    """Return how many sets of neurons `kept_neurons` chooses."""
    orders = sum(options.draws if RANKINGS[name].is_drawn else 1 for name in options.rankings)
    return 2 + orders * len(resolve_k(options.shares, neurons))


def _write(folder: RunFolder, task: Task, kept: pd.DataFrame, log_odds: Floats, origin: dict[str, Any]) -> None:
    items = task.items
    coordinates = {
        **{name: items[name].to_numpy(object) for name in ("concept", "replicate")},
        **{"text": items["text"].to_numpy(np.int32), "right": items["label"].to_numpy(np.int32)},
        "ranking": kept["ranking"].to_numpy(object),
        **{name: kept[name].to_numpy(np.int32) for name in ("draw", "k")},
    }
    store = create_store(folder.faithfulness, FAITHFULNESS, coordinates, {}, attributes=origin)
    store.write("log_odds", log_odds)
    store.mark_complete()
