"""Whether neurons that are selective for an attribute are those that the model uses, against permuted attributes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.effect_schema import RELATION
from emoscale.permutations import permutation_tests
from emoscale.run.effects import mean_effects
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import ALL_ATTRIBUTES
from emoscale.statistics import Floats


def tau_and_effect(folder: RunFolder) -> pd.DataFrame:
    """Correlate tau with the estimated effects over neurons.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished relation.

    Returns
    -------
    DataFrame
        For each attribute, and for the mean over attributes, a row for the effect and one for its size, over all
        neurons and within layers (ranks within each layer, pooled): ``relation``, ``attribute``, ``rho`` (Spearman);
        ``null_mean``, ``null_low``, ``null_high`` (mean and middle 95 % under permuted concepts); ``p``, two-sided, and
        ``p_corrected`` for the attributes. See `permutation_tests`.
    """
    store = open_finished(folder.relation, RELATION)
    rho, attributes = store.read("rho"), store.read("attribute")
    return pd.concat(
        [
            _tested("rho", rho[:, :, number], attributes).assign(relation=name)
            for number, name in enumerate(store.read("relation"))
        ],
        ignore_index=True,
    )[["relation", "attribute", "rho", "null_mean", "null_low", "null_high", "p", "p_corrected"]]


def effect_of_selective(folder: RunFolder) -> pd.DataFrame:
    """Sum up the estimated effects of the most selective neurons, and count those needed most among them.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished relation.

    Returns
    -------
    DataFrame
        For each number of neurons and each attribute, and for the mean over attributes: ``k``, ``attribute``;
        ``effect``, the sum over the k neurons with the largest tau (to first order the change of the outcome if all of
        them are edited), with ``null_mean``, ``null_low``, ``null_high``, ``p``, ``p_corrected`` as in
        `tau_and_effect`; ``shared``, how many of them are among the k with the largest estimated loss;
        ``shared_expected``, the mean under permuted concepts, and ``shared_p``, ``shared_p_corrected``.
    """
    store = open_finished(folder.relation, RELATION)
    effect, shared, attributes = store.read("effect"), store.read("shared"), store.read("attribute")
    tables = []
    for number, k in enumerate(store.read("k")):
        table = _tested("effect", effect[:, :, number], attributes)
        counted = _tested("shared", shared[:, :, number], attributes)
        table["shared"], table["shared_expected"] = counted["shared"], counted["null_mean"]
        table["shared_p"], table["shared_p_corrected"] = counted["p"], counted["p_corrected"]
        table.insert(0, "k", int(k))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _tested(name: str, values: Floats, attributes: NDArray[np.object_]) -> pd.DataFrame:
    """Test the attributes' values, (1 + B, A), together, and their mean."""
    mean = values.mean(axis=1, keepdims=True)
    tables = [
        pd.DataFrame({"attribute": names, name: some[0], **vars(permutation_tests(some))})
        for names, some in ((attributes, values), ([ALL_ATTRIBUTES], mean))
    ]
    return pd.concat(tables, ignore_index=True)


def shared_effects(folder: RunFolder, rank: Floats, attributes: Sequence[str], ks: Sequence[int]) -> pd.DataFrame:
    """Split the estimated effects of attributes' most selective neurons by the other attributes that share them.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished effects.
    rank : ndarray, float, shape (N, A)
        As in `emoscale.analysis.neurons.overlap`.
    attributes : sequence of str, length A
    ks : sequence of int

    Returns
    -------
    DataFrame
        One row per k and pair: ``k``, ``attribute_1``, ``attribute_2``; ``effect_1``, ``effect_2``, the sums over each
        one's k neurons, and ``shared_effect``, the sum over those that both have.
    """
    effects = np.nan_to_num(mean_effects(folder).overall)
    order = np.argsort(rank, axis=0, kind="stable")
    first, second = np.triu_indices(len(attributes), 1)
    names = np.asarray(attributes, object)
    tables = []
    for k in ks:
        top = np.zeros(rank.shape)
        np.put_along_axis(top, order[:k], 1.0, axis=0)
        sums = top.T @ (top * effects[:, None])
        each = np.diag(sums)
        tables.append(
            pd.DataFrame(
                {
                    "k": k,
                    "attribute_1": names[first],
                    "attribute_2": names[second],
                    "effect_1": each[first],
                    "effect_2": each[second],
                    "shared_effect": sums[first, second],
                }
            )
        )
    return pd.concat(tables, ignore_index=True)
