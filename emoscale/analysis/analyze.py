"""The analysis stage: from a run folder's ablation and selectivity to its result tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.analysis.choice import choice_tables
from emoscale.analysis.dose_response import dose_response
from emoscale.analysis.evidence import inference_summary, reliability
from emoscale.analysis.humans import concept_correlations, human_comparison, importance, mean_drop_correlation
from emoscale.analysis.manipulation import accuracy_table, drop_table, overall_drop, paired_accuracies, random_draws
from emoscale.analysis.mixed_model import mixed_model
from emoscale.analysis.participants import importance_intervals, noise_ceiling
from emoscale.analysis.populations import overlap, significant_by_layer, tau_summary
from emoscale.analysis.specificity import specificity, specificity_summary
from emoscale.analysis.unimodality import unimodality
from emoscale.errors import StageError
from emoscale.run.folder import RunFolder
from emoscale.schema import SELECTIVITY
from emoscale.store import open_store
from emoscale.system.progress import Progress
from emoscale_kernels import decimal_distances

HUMAN_TABLES = (
    "importance",
    "correlation_by_concept",
    "human_comparison",
    "mean_drop_correlation",
    "mixed_model",
    "noise_ceiling",
)

SEVERAL_SIZES = "dose_response"
"""The table that there is only with masks of two sizes or more."""

CHOICE_TABLES = ("choice", "confusion")
"""Tables that there are only where the model chose among more than two answers."""


def analyze(
    folder: RunFolder,
    scores: NDArray[np.float64],
    concepts: Sequence[str],
    attributes: Sequence[str],
    dissimilarity: NDArray[np.float64] | None,
    *,
    rdms: NDArray[np.float64] | None = None,
    participants: NDArray[np.float64] | None = None,
    alpha: float = 0.01,
    progress: Progress,
) -> dict[str, Any]:
    """Write every result table of a run (Li, Su et al. 2024, neuron manipulation).

    Parameters
    ----------
    folder : RunFolder
        Holds the ablation table, with correct and total or with the accuracy itself, and the selectivity store. Every
        kind of mask in it but ``none`` and ``selective`` is a control, and is compared by itself.
    scores : ndarray, float, shape (C, A)
        Attribute scores of the concepts.
    concepts : sequence of str, length C
    attributes : sequence of str, length A
        Tables list concepts and attributes in these orders.
    dissimilarity : ndarray, float, shape (P,), or None
        People's mean dissimilarity of each pair of concepts, pairs in `numpy.triu_indices(C, 1)` order. Without it the
        tables that compare with people are not written (and removed if an earlier analysis left them).
    rdms : ndarray, float, shape (A, P), optional
        The attributes' RDMs where these are given; by default the differences of the scores.
    participants : ndarray, float, shape (S, P), optional
        The judgements that `dissimilarity` is the mean of. With them importance has an interval, and there is the table
        of the noise ceiling.
    alpha : float
        A neuron is selective at q < alpha.
    progress : Progress

    Returns
    -------
    dict
        ``tables`` (names), ``k`` (sizes compared), ``controls`` (their kinds), ``pairs`` (selective-control pairs) and
        ``human_data`` (bool).

    Raises
    ------
    StageError
        If the ablation or selectivity belongs to other concepts or attributes, or has nothing to compare.
    """
    accuracies = _accuracies(folder, concepts, attributes)
    paired = paired_accuracies(accuracies)
    if paired.empty:
        raise StageError(
            f"{folder.ablation_table}: no prompt has both selective and control masks of one size; "
            "run mask and ablate again with --fresh"
        )
    ks = sorted({int(k) for k in paired["k"]})
    populations = _population_tables(folder, attributes, ks, alpha)
    draws = random_draws(accuracies)
    tables = {
        "drop_overall": overall_drop(paired, draws),
        "drop_by_attribute": drop_table(paired, ["attribute"]),
        "drop_by_concept": drop_table(paired, ["concept"]),
        "drop_by_concept_attribute": drop_table(paired, ["concept", "attribute"]),
        "accuracy": accuracy_table(accuracies),
        "control_draws": draws,
        "unimodality": unimodality(paired),
        "specificity": specificity(paired, scores, concepts, attributes),
        "specificity_summary": specificity_summary(paired, scores, concepts, attributes),
    }
    if len(ks) > 1:
        tables[SEVERAL_SIZES] = dose_response(paired)
    if dissimilarity is not None:
        rdms = decimal_distances(scores) if rdms is None else rdms
        tables |= _human_tables(paired, rdms, attributes, dissimilarity, participants)
    tables |= populations
    if "top3" in accuracies:
        tables |= choice_tables(accuracies, concepts)

    for name in {*HUMAN_TABLES, SEVERAL_SIZES, *CHOICE_TABLES} - set(tables):
        (folder.tables / f"{name}.csv").unlink(missing_ok=True)
    progress.start(len(tables), "tables")
    for name, table in tables.items():
        folder.write_table(name, table)
        progress.advance()
    return {
        "tables": list(tables),
        "k": ks,
        "controls": [str(control) for control in paired["control"].unique()],
        "pairs": len(paired),
        "human_data": dissimilarity is not None,
    }


def _accuracies(folder: RunFolder, concepts: Sequence[str], attributes: Sequence[str]) -> pd.DataFrame:
    if not folder.ablation_table.is_file():
        raise StageError(f"{folder.ablation_table}: not there; run ablate first")
    table = pd.read_parquet(folder.ablation_table)
    strangers = {
        "concepts": set(table["concept"]) - set(concepts),
        "attributes": set(table["attribute"]) - {"", *attributes},
    }
    if problems := [
        f"{folder.ablation_table}: holds other {kind} ({', '.join(sorted(names))}); run ablate again with --fresh"
        for kind, names in strangers.items()
        if names
    ]:
        raise StageError(problems)
    # Sums in floating point depend on the order of the rows, and the tables must not depend on how ablation was split.
    table = table.sort_values(["concept", "replicate", "mask"], ignore_index=True)
    return table.assign(
        concept=pd.Categorical(table["concept"], list(concepts), ordered=True),
        attribute=pd.Categorical(table["attribute"], ["", *attributes], ordered=True),
        accuracy=table["accuracy"] if "accuracy" in table else table["correct"] / table["total"],
    )


def _human_tables(
    paired: pd.DataFrame,
    rdms: NDArray[np.float64],
    attributes: Sequence[str],
    dissimilarity: NDArray[np.float64],
    participants: NDArray[np.float64] | None,
) -> dict[str, pd.DataFrame]:
    importances = importance(dissimilarity, rdms, attributes)
    ceiling = {}
    if participants is not None:
        importances = importances.merge(importance_intervals(participants, rdms, attributes), on="attribute")
        importances = importances[["attribute", "tau", "ci_low", "ci_high", "p", "q"]]
        ceiling = {"noise_ceiling": noise_ceiling(participants)}
    correlations = concept_correlations(paired, importances)
    return ceiling | {
        "importance": importances,
        "correlation_by_concept": correlations,
        "human_comparison": human_comparison(correlations),
        "mean_drop_correlation": mean_drop_correlation(paired, importances),
        "mixed_model": mixed_model(paired, importances),
    }


def _population_tables(
    folder: RunFolder, attributes: Sequence[str], ks: Sequence[int], alpha: float
) -> dict[str, pd.DataFrame]:
    store = open_store(folder.selectivity, SELECTIVITY)
    names = [str(name) for name in store.read("attribute")]
    if names != list(attributes):
        raise StageError(f"{folder.selectivity}: made for other attributes ({', '.join(names)}); run select again")
    q = store.read("q")
    p = {name: store.read(name) for name in ("p_asymptotic", "p_attribute", "p_all")}
    return {
        "inference": inference_summary(p, q, store.read("null_spread"), names, alpha),
        "reliability": reliability(store.read("tau_odd"), store.read("tau_even"), names),
        "significant": significant_by_layer(q, store.read("layer"), names, alpha),
        "tau_summary": tau_summary(store.read("tau"), q, names, alpha),
        "overlap": overlap(store.read("rank"), names, ks),
    }
