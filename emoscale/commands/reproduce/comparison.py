"""The published figures beside ours (Li, Su et al. 2024)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.run.folder import RunFolder
from emoscale.statistics import correlation

PUBLISHED = Path(__file__).parent / "data" / "published.csv"
"""Columns ``quantity``, ``k``, ``item`` and ``published``, with the digits that were printed. Source: Li, Su et al.
(2024), *iScience* 111401."""

TOP = 4000
"""Size of the masks that the article reports."""


def compare_results(folder: RunFolder) -> pd.DataFrame:
    """Put every published figure beside ours.

    Parameters
    ----------
    folder : RunFolder
        Holds the prompt table and the analysis's tables.

    Returns
    -------
    DataFrame
        Columns ``quantity``, ``k``, ``item``, ``published``, ``ours``, ``difference`` (ours - published) and
        ``agrees``: whether ours, rounded to the digits that were printed, is the published figure. NaN and False where
        the run has no such attribute or size of masks.
    """
    table = pd.read_csv(PUBLISHED, dtype={"published": str, "item": str}, keep_default_na=False, na_values={"k": [""]})
    ours = _ours(folder)
    table["ours"] = [
        ours.get((row["quantity"], None if np.isnan(row["k"]) else int(row["k"]), row["item"]), np.nan)
        for row in table.to_dict("records")
    ]
    table["agrees"] = [
        as_printed(row["ours"], row["published"]) == row["published"] for row in table.to_dict("records")
    ]
    table["published"] = table["published"].astype(float)
    table["difference"] = table["ours"] - table["published"]
    return table[["quantity", "k", "item", "published", "ours", "difference", "agrees"]].astype({"k": "Int64"})


def as_printed(value: float, printed: str) -> str:
    """Write a number with as many digits as another one was printed with."""
    mantissa, exponent, _ = printed.partition("e")
    digits = len(mantissa.partition(".")[2])
    return f"{value:.{digits}{exponent or 'f'}}"


def _ours(folder: RunFolder) -> dict[tuple[str, int | None, str], float]:
    prompts = pd.read_parquet(folder.prompt_table)
    found: dict[tuple[str, int | None, str], float] = {("accuracy without masks", None, ""): prompts["accuracy"].mean()}
    for row in folder.table("drop_by_attribute").to_dict("records"):
        found["drop", row["k"], row["attribute"]] = row["drop"]
    for row in folder.table("human_comparison").to_dict("records"):
        for item, column in (("mean r", "mean_r"), ("t", "t"), ("p", "p")):
            found["correlation of drop and importance", row["k"], item] = row[column]
    for row in folder.table("importance").to_dict("records"):
        found["importance", None, row["attribute"]] = row["tau"]
    for row in folder.table("unimodality").to_dict("records"):
        found["dip", row["k"], row["attribute"]] = row["dip"]
        found["p of the dip", row["k"], row["attribute"]] = row["p"]
    return found


def compare_ranks(
    ranks: NDArray[np.float64], released: NDArray[np.float64], attributes: list[str], top: int = TOP
) -> pd.DataFrame:
    """Compare our ranks with the released ones.

    Parameters
    ----------
    ranks : ndarray of float64, shape (N, A)
    released : ndarray of float64, shape (n, A)
        Of the first n neurons; the ranks run over all N.
    attributes : list of str
        A names.
    top : int
        Size of the sets of best-ranked neurons that are compared, among the first n neurons.

    Returns
    -------
    DataFrame
        Per ``attribute``: ``correlation``, ``equal`` (share of equal ranks), ``largest_shift``, ``top`` and
        ``top_differing`` (neurons that are in one set only), ``neurons`` (n).
    """
    ours = ranks[: len(released)]
    shift = np.abs(ours - released)
    return pd.DataFrame(
        {
            "attribute": attributes,
            "correlation": [correlation(ours[:, a], released[:, a]) for a in range(len(attributes))],
            "equal": (shift == 0).mean(axis=0),
            "largest_shift": shift.max(axis=0),
            "top": top,
            "top_differing": ((ours <= top) != (released <= top)).sum(axis=0),
            "neurons": len(released),
        }
    )


def compare_scores(ours: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Compare the attribute scores that we compute from the ratings with the published ones.

    Parameters
    ----------
    ours, published : DataFrame, shape (C, A)
        0..1, indexed by concept.

    Returns
    -------
    DataFrame
        Per ``attribute``: ``correlation`` and ``largest_difference``; NaN where ours lack the attribute.
    """
    matched = ours.reindex(index=published.index, columns=published.columns)
    return pd.DataFrame(
        {
            "attribute": list(published),
            "correlation": matched.corrwith(published).to_numpy(),
            "largest_difference": (matched - published).abs().max(skipna=False).to_numpy(),
        }
    )
