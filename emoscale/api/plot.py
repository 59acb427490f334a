"""The report's figures, on any axes: ``es.plot.selectivity(found)``.

Each function draws on `ax`, or on axes of a new figure in the report's style, and returns the axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.spatial.distance import is_valid_y, squareform

from emoscale.analysis.neurons import significant_by_layer
from emoscale.api.ablate import GIVEN
from emoscale.api.runs import Run
from emoscale.errors import InputError
from emoscale.report.neuron_figures import z_or_tau
from emoscale.report.on_axes import (
    darker,
    draw_ticks,
    follower_rows,
    interval_rows,
    layer_counts,
    layer_map,
    square_matrix,
)
from emoscale.report.phrasing import number
from emoscale.report.style import WIDTH, house_style, row_height, square_size
from emoscale.run.stores import open_finished
from emoscale.schema import NO_MASK, SELECTIVITY
from emoscale.selectivity.options import SelectivityOptions
from emoscale.statistics import mean_tests
from emoscale.tasks.outcomes import ATTRIBUTED

__all__ = ["drops", "followers", "forest", "layers", "rdm", "selectivity"]

_TAU = "Kendall’s τ"


def selectivity(found: Any, *, alpha: float = SelectivityOptions.alpha, ax: Axes | None = None) -> Axes:
    """Draw how closely every neuron follows each RDM, layer by layer; in colour where significant.

    Parameters
    ----------
    found : DataFrame from `searchlight`, or Run
        Of a run, tau is in units of its spread under permuted concepts, where that is known.
    alpha : float
        A neuron is significant at q < alpha.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If there is no such map, or the neurons' layers are not known.

    Examples
    --------
    >>> scores = {"valence": {"joy": 0.9, "fear": 0.2, "sad": 0.1}}
    >>> activations = es.activations(model, ["they felt {concept}"], concepts=["joy", "fear", "sad"])
    >>> es.plot.selectivity(es.searchlight(activations, scores, permutations=99)).get_xlabel()
    'Layer (from 0), its neurons side by side'
    """
    if isinstance(found, Run):
        store = open_finished(found.folder.selectivity, SELECTIVITY)
        names, layer = [str(name) for name in store.read("attribute")], store.read("layer")
        (values, is_z), q = z_or_tau(store), store.read("q")
    else:
        names, layer, values, q = _by_neuron(found)
        is_z = False
    label = f"z of {_TAU}" if is_z else _TAU
    with _on(ax, row_height(len(names), 0.2, 1.0)) as axes:
        if layer_map(axes, values, q < alpha, layer, names, label) is None:
            raise InputError("found: no neuron has a tau, since none varies; give other activations")
    return axes


def layers(found: pd.DataFrame, *, alpha: float = SelectivityOptions.alpha, ax: Axes | None = None) -> Axes:
    """Draw how many neurons of each layer are significant for each RDM.

    Parameters
    ----------
    found : DataFrame from `searchlight`
    alpha : float
        A neuron is significant at q < alpha.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If the neurons' layers are not known.

    Examples
    --------
    >>> scores = {"valence": {"joy": 0.9, "fear": 0.2, "sad": 0.1}}
    >>> activations = es.activations(model, ["they felt {concept}"], concepts=["joy", "fear", "sad"])
    >>> axes = es.plot.layers(es.searchlight(activations, scores, permutations=99), alpha=0.9)
    >>> [label.get_text() for label in axes.get_xticklabels()]
    ['0', '1']
    """
    names, layer, _, q = _by_neuron(found)
    counts = significant_by_layer(q, layer, names, alpha).pivot_table("neurons", "attribute", "layer").reindex(names)
    with _on(ax, row_height(len(counts), 0.22, 1.0)) as axes:
        layer_counts(axes, counts)
    return axes


def rdm(dissimilarities: Any, names: Sequence[str] | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw a matrix of dissimilarities.

    Parameters
    ----------
    dissimilarities : DataFrame, or array of shape (C, C) or (C (C - 1) / 2,)
        A matrix, or its upper triangle.
    names : sequence of str, length C, optional
        By default those of the DataFrame, else numbers.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If it is neither, or there are not as many names.

    Examples
    --------
    >>> axes = es.plot.rdm([1.0, 0.5, 0.7], ["joy", "fear", "sad"])
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['joy', 'fear', 'sad']
    """
    if isinstance(dissimilarities, pd.DataFrame) and names is None:
        names = [str(name) for name in dissimilarities.index]
    cells = np.asarray(dissimilarities, np.float64)
    if cells.ndim == 1 and is_valid_y(cells):
        cells = squareform(cells, checks=False)
    if cells.ndim != 2 or cells.shape[0] != cells.shape[1] or not cells.size:
        raise InputError(f"dissimilarities: shape {cells.shape} given; give a square matrix, or its upper triangle")
    given = [str(place) for place in range(len(cells))] if names is None else [str(name) for name in names]
    if len(given) != len(cells):
        raise InputError(f"names: {len(given)} given for {len(cells)} rows; give one each")
    texts = [["" if np.isnan(value) else number(value) for value in row] for row in cells]
    most = float(np.nanmax(cells, initial=0.0)) or 1.0
    height, width = square_size(len(cells))
    with _on(ax, height, width) as axes:
        square_matrix(axes, cells, texts, given, darker(cells, most), "Dissimilarity", framed=False)
    return axes


def drops(found: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw what the answers lose under each mask, with a 95 % interval over texts; small lines are draws of controls.

    Parameters
    ----------
    found : DataFrame from `ablate`
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If there are no masks in it.

    Notes
    -----
    The interval is that of a t test over the texts, each the mean of its items. It says how far the mean would vary
    with other texts, not with other masks: for that, compare with the controls.

    Examples
    --------
    >>> items = [("she won the game", "joy"), ("alone at home", "sad"), ("a gift", "joy"), ("he lost a dog", "sad")]
    >>> found = es.ablate(model, {"some": [3, 30], "others": [1, 2]}, items, controls="random", draws=3)
    >>> [label.get_text() for label in es.plot.drops(found).get_yticklabels()]
    ['others', 'some']
    """
    _check_columns(found, ("mask", "kind", "draw", "item", "drop"), "ablate")
    own = found[found["kind"] == GIVEN]
    if own.empty:
        raise InputError("found: has no masks; give what ablate returned")
    texts = own.groupby(["mask", "item"], sort=False)["drop"].mean().groupby(level="mask", sort=False)
    summary = texts.agg(["size", "mean", "std"])[::-1]
    test = mean_tests(summary["size"], summary["mean"], summary["std"])
    values = pd.DataFrame({"drop": summary["mean"], "ci_low": test.ci_low, "ci_high": test.ci_high})
    drawn = found[~found["kind"].isin([GIVEN, NO_MASK])].groupby(["mask", "kind", "draw"])["drop"].mean()
    by_mask = {str(name): each.to_numpy() for name, each in drawn.groupby(level="mask")}
    with _on(ax, row_height(len(values)), 6.2) as axes:
        names = [str(name) for name in values.index]
        draw_ticks(axes, np.arange(len(names), dtype=np.float64), names, by_mask)
        interval_rows(axes, names, values)
        axes.set_xlabel(f"Drop in {ATTRIBUTED.noun} ({ATTRIBUTED.unit})")
    return axes


def forest(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the drops of a run's table with their intervals, the largest at the top.

    Parameters
    ----------
    table : DataFrame
        Rows of one size and control of such a table, as ``run.tables["needed"]``, ``["drop_by_attribute"]`` or
        ``["drop_by_concept"]``: ``drop``, ``ci_low``, ``ci_high``, and ``attribute`` or ``concept``.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If it is no such table, or a name has several rows.

    Examples
    --------
    >>> rows = {"attribute": ["a", "b"], "drop": [0.3, 0.1], "ci_low": [0.2, -0.1], "ci_high": [0.4, 0.3]}
    >>> [label.get_text() for label in es.plot.forest(pd.DataFrame(rows)).get_yticklabels()]
    ['b', 'a']
    """
    of = next((name for name in ("attribute", "concept") if name in table), "attribute")
    _check_columns(table, (of, "drop", "ci_low", "ci_high"), "the table of a run", "table")
    if (doubled := table[of][table[of].duplicated()]).size:
        raise InputError(f"table: several rows of {doubled.iloc[0]!r}; give those of one size and control")
    rows = table[np.isfinite(table["drop"])].sort_values("drop", kind="stable")
    with _on(ax, row_height(len(rows)), 6.2) as axes:
        interval_rows(axes, rows[of].astype(str).tolist(), rows)
        axes.set_xlabel("Drop")
    return axes


def followers(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw how many neurons follow each attribute, beside how many do under permuted concepts.

    Parameters
    ----------
    table : DataFrame
        ``run.tables["followers"]``.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If it is no such table.

    Examples
    --------
    >>> rows = {"attribute": ["a"], "followers": [40], "null_low": [0], "null_high": [9], "null_largest": [12]}
    >>> [label.get_text() for label in es.plot.followers(pd.DataFrame(rows | {"p_corrected": 0.01})).get_yticklabels()]
    ['a']
    """
    columns = ("attribute", "followers", "null_low", "null_high", "null_largest", "p_corrected")
    _check_columns(table, columns, 'run.tables["followers"]', "table")
    rows = table.sort_values("followers", kind="stable").reset_index(drop=True)
    with _on(ax, row_height(len(rows), 0.2, 1.1), 6.6) as axes:
        follower_rows(axes, rows)
    return axes


@contextmanager
def _on(ax: Axes | None, height: float, width: float = WIDTH) -> Iterator[Axes]:
    """Give the axes; new ones are known to pyplot, so that a notebook shows them."""
    if ax is not None:
        yield ax
        return
    from matplotlib import pyplot  # which may open a window: only where a figure is made

    # Outside of the style, which would undo what a notebook has set so that it shows figures.
    figure = pyplot.figure(figsize=(width, height), layout="constrained")
    with house_style():
        yield figure.subplots()


def _by_neuron(found: pd.DataFrame) -> tuple[list[str], NDArray[Any], NDArray[np.float64], NDArray[np.float64]]:
    """Return the RDMs' names, each neuron's layer, and tau and q of shape (N, RDMs)."""
    _check_columns(found, ("rdm", "layer", "tau", "q"), "searchlight, of activations whose layers are known")
    names = [str(name) for name in found["rdm"].unique()]
    first = found[found["rdm"] == found["rdm"].iloc[0]]
    tau, q = (found[name].to_numpy().reshape(len(names), len(first)).T for name in ("tau", "q"))
    return names, first["layer"].to_numpy(), tau, q


def _check_columns(table: Any, columns: Sequence[str], source: str, argument: str = "found") -> None:
    if not isinstance(table, pd.DataFrame):
        raise InputError(f"{argument}: {type(table).__name__} given; give what comes from {source}")
    if lacking := [name for name in columns if name not in table]:
        raise InputError(f"{argument}: lacks the column {lacking[0]!r}; give what comes from {source}")
    if table.empty:
        raise InputError(f"{argument}: has no rows; give what comes from {source}")
