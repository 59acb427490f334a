"""Which items are also scored in the weights' own type where all are in bfloat16, and how many of them are enough."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import score
from emoscale.models.loading import LanguageModel
from emoscale.statistics import Floats
from emoscale.system.option_types import Precision
from emoscale.system.ranks import has_fast_bfloat16
from emoscale.tasks.outcomes import ATTRIBUTED
from emoscale.tasks.task import Task
from emoscale.tasks.text_order import FEWEST_TEXTS, text_order

_log = logging.getLogger(__name__)

WIDER = 1.05
"""Of an effect's standard error, by what may be unknown of the items in bfloat16 alone."""
_PILOT_ITEMS, _PILOT_MASKS = 32, 5


def draw_share(items: pd.DataFrame, share: float, seed: int) -> NDArray[np.bool_]:
    """Draw a share of the texts of each concept and replicate; replicates of a concept take the same texts.

    Parameters
    ----------
    items : DataFrame
        ``concept``, ``replicate`` and ``text``, as in `emoscale.tasks.task.Task`.
    share : float
        Rounded up to texts, and to two of each concept and replicate.
    seed : int

    Returns
    -------
    ndarray of bool, shape (items,)
    """
    place, texts = text_order(items, seed)
    return np.asarray(place <= np.maximum(np.ceil(texts * share - 1e-9), FEWEST_TEXTS))


def find_share(
    model: LanguageModel,
    task: Task,
    masks: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
    count: int,
    forward: ForwardOptions,
) -> float:
    """Try a few items and masks in both precisions, and return the share that `enough` asks for.

    Parameters
    ----------
    model : LanguageModel
    task : Task
    masks : callable
        From numbers of masks to what they edit, bool of shape (masks, neurons). The first one edits nothing.
    count : int
        Of all masks.
    forward : ForwardOptions
    """
    items = np.flatnonzero(draw_share(task.items, 0.0, 0))[:_PILOT_ITEMS]
    numbers = np.unique(np.linspace(0, count - 1, _PILOT_MASKS).astype(np.int64))
    off, right = masks(numbers), task.items["label"].to_numpy(np.int64)[items][:, None, None]

    def effects(precision: Precision) -> tuple[Floats, float]:
        start = time.perf_counter()
        way = replace(forward, precision=precision)
        scores = score(model, task, items, off, numbers, way, lambda _: None).astype(np.float64)
        outcomes = ATTRIBUTED.compute(scores, right)[:, :, 0]
        return outcomes[:, 1:] - outcomes[:, :1], time.perf_counter() - start

    effects("bfloat16")  # the first passes are slower
    (cheap, coarse_s), (exact, exact_s) = effects("bfloat16"), effects("exact")
    share, ratio = enough(cheap, exact), exact_s / coarse_s
    _log.info("two-level: bfloat16 is %.2f times as fast, a share of %.3f is also scored exactly", ratio, share)
    return share


def enough(cheap: Floats, exact: Floats) -> float:
    """Return the share of items to be known exactly, for standard errors at most `WIDER` than of exact effects.

    Parameters
    ----------
    cheap, exact : ndarray of float64, shape (items, masks)
        Effects on single items.

    Notes
    -----
    With s² the variance of exact effects over items and t² that of the differences, the mean over n items of which m
    are known has the variance s² / n + (1 - m / n) t² / m. It is at most `WIDER`² s² / n from a share m / n of
    1 / (1 + (`WIDER`² - 1) s² / t²) on; s² and t² are means over the masks.
    """
    if len(exact) < FEWEST_TEXTS or not exact.size:
        return 1.0
    items, differences = exact.var(axis=0, ddof=1).mean(), (exact - cheap).var(axis=0, ddof=1).mean()
    if differences == 0:
        return 0.0
    return float(differences / (differences + (WIDER**2 - 1) * items))


def warn_of_slow_bfloat16(model: LanguageModel) -> None:
    """Say where two levels cost more time than they save."""
    if not has_fast_bfloat16(model.device):
        _log.warning(
            "ablation.precision two-level: %s is not faster in bfloat16, so this takes longer than exact", model.device
        )
