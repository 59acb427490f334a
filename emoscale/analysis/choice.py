"""A model that chose among all concepts: how often it was right under each normalization, and what it confused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from emoscale.statistics import Floats, mean_tests


def choice_table(answers: pd.DataFrame, normalized: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Average accuracy and top-3 accuracy over concepts, for each kind and size of mask.

    Parameters
    ----------
    answers : DataFrame
        In order of the masks: ``concept``, ``replicate``, ``kind``, ``attribute``, ``k``, ``draw``, ``options``.
    normalized : mapping of str to DataFrame
        ``accuracy`` and ``top3`` under each normalization, rows as of `answers`.

    Returns
    -------
    DataFrame
        One row per kind, k, attribute ("" is the mean over all masks of a kind) and normalization, with ``accuracy``
        and ``top3`` (the right answer is among the three highest), each with its two-sided 95 % t interval over
        concepts (NaN where a single one or no spread), and ``chance``, the accuracy of guessing.
    """
    tables = []
    for number, (normalization, values) in enumerate(normalized.items()):
        shares = answers[["concept", "kind", "k", "attribute"]].assign(
            accuracy=values["accuracy"].to_numpy(), top3=values["top3"].to_numpy()
        )
        tables.append(_over_concepts(shares).assign(normalization=normalization, number=number))
    table = pd.concat(tables, ignore_index=True).sort_values(["place", "number"], kind="stable", ignore_index=True)
    table["chance"] = 1 / int(answers["options"].iloc[0])
    rates = [name + end for name in ("accuracy", "top3") for end in ("", "_low", "_high")]
    named = {
        "accuracy_low": "ci_low",
        "accuracy_high": "ci_high",
        "top3_low": "top3_ci_low",
        "top3_high": "top3_ci_high",
    }
    return table[["kind", "k", "attribute", "normalization", *rates, "chance"]].rename(columns=named)


def _over_concepts(shares: pd.DataFrame) -> pd.DataFrame:
    """Average each concept's masks and replicates, then the concepts; all attributes together come first."""
    of_attribute = shares[shares["attribute"] != ""]
    groups = pd.concat(
        [shares.assign(attribute=""), of_attribute.assign(attribute=of_attribute["attribute"].astype(str))]
    )
    by = ["kind", "k", "attribute"]
    each = groups.groupby([*by, "concept"], sort=False, observed=True)[["accuracy", "top3"]].mean()
    summary = each.groupby(level=by, sort=False, observed=True).agg(["size", "mean", "std"])
    table = summary.index.to_frame(index=False)
    for name in ("accuracy", "top3"):
        size, mean, spread = (summary[name, statistic].to_numpy() for statistic in ("size", "mean", "std"))
        test = mean_tests(size, mean, spread)
        table = table.assign(**{name: mean, f"{name}_low": test.ci_low, f"{name}_high": test.ci_high})
    return table.assign(place=_places(shares, table))


def confusion_table(answers: pd.DataFrame, answered: Floats, concepts: Sequence[str]) -> pd.DataFrame:
    """Measure how often each concept was answered where another was right.

    Parameters
    ----------
    answers : DataFrame
        As for `choice_table`.
    answered : ndarray, float64, shape (rows, C)
        Share of the items to which each concept was the answer, rows as of `answers`.
    concepts : sequence of str
        In the order of `answered`.

    Returns
    -------
    DataFrame
        ``kind``, ``k``, ``concept``, ``answer`` and ``share`` of the concept's questions, a mean over attributes,
        draws and replicates. Shares of one concept sum to 1.
    """
    names = ["kind", "k", "concept"]
    shares = pd.DataFrame(answered, columns=list(concepts))
    means = shares.groupby([answers[name].to_numpy() for name in names], sort=False).mean()
    table = means.rename_axis(index=names).reset_index().melt(names, var_name="answer", value_name="share")
    order = {concept: place for place, concept in enumerate(concepts)}
    sorted_by = pd.DataFrame(
        {"mask": _places(answers, table), "concept": table["concept"].map(order), "answer": table["answer"].map(order)}
    )
    return table.loc[sorted_by.sort_values(["mask", "concept", "answer"]).index].reset_index(drop=True)


def _places(answers: pd.DataFrame, table: pd.DataFrame) -> list[int]:
    """Number a table's rows by where their kind and k first come in the answers."""
    places = {pair: place for place, pair in enumerate(dict.fromkeys(zip(answers["kind"], answers["k"], strict=True)))}
    return [places[pair] for pair in zip(table["kind"], table["k"], strict=True)]
