"""What a column of a result table is, and how the codebook says it; the columns are in `emoscale.analysis.columns`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import pandas as pd


@dataclass(frozen=True)
class Column:
    """What a column of a result table is.

    Attributes
    ----------
    meaning : str
    unit : str
        Empty for text and for numbers without one.
    range : str
        Values that are possible; empty where it is any number, or any text.
    test : str
        Of a p or what is computed from it: one- or two-sided, and what is random in it. Empty for all others.
    """

    meaning: str
    unit: str = ""
    range: str = ""
    test: str = ""


CODEBOOK = "codebook"
"""Name of its table."""

OUTCOME, NATS = "outcome (analysis.outcome)", "nats (log-odds of the right answer)"
ZERO_TO_ONE, MINUS_ONE_TO_ONE, ZERO_OR_MORE, TRUE_OR_FALSE = "0 to 1", "from -1 to 1", "0 or more", "True or False"
BY_LARGEST = "by the largest statistic of any attribute (Westfall and Young)"


def count(meaning: str, unit: str = "") -> Column:
    """Return a column of counts."""
    return Column(meaning, unit, ZERO_OR_MORE)


def share(meaning: str) -> Column:
    """Return a column of shares."""
    return Column(meaning, "share", ZERO_TO_ONE)


def correlation(meaning: str) -> Column:
    """Return a column of correlations."""
    return Column(meaning, "", MINUS_ONE_TO_ONE)


def p_value(test: str, meaning: str = "p") -> Column:
    """Return a column of p, or of p that were corrected."""
    return Column(meaning, "", ZERO_TO_ONE, test)


def interval(over: str, unit: str = "", of: str = "", prefix: str = "ci", level: int = 95) -> dict[str, Column]:
    """Return both ends of an interval."""
    of = of and f" of {of}"
    return {
        f"{prefix}_{end}": Column(f"{word} end of the {level} % interval{of}; {over}", unit)
        for end, word in (("low", "lower"), ("high", "upper"))
    }


def null(unit: str, over: str = "permutations of the concepts") -> dict[str, Column]:
    """Return what a statistic is by chance."""
    return {
        "null_mean": Column(f"mean over {over}", unit),
        "null_low": Column(f"lower end of the middle 95 % over {over}", unit),
        "null_high": Column(f"upper end of the middle 95 % over {over}", unit),
    }


SHARED: dict[str, Column] = {
    "control": Column("kind of control that the selective masks are compared with"),
    "kind": Column("kind of mask: none, selective, or a kind of control"),
    "k": count("neurons of each mask", "neurons"),
    "attribute": Column("attribute whose neurons are meant; empty for none, or for all together"),
    "attribute_1": Column("first attribute of the pair"),
    "attribute_2": Column("second attribute of the pair"),
    "concept": Column("concept; empty for all together"),
    "replicate": Column("prompt or template, by its seed or number"),
    "draw": count("number of the mask among those that differ in nothing but chance, or of the half that chose it"),
    "draws": count("masks that differ in nothing but chance"),
    "accuracy": share("right answers"),
    "log_odds": Column("mean log-odds of the right answer", NATS),
    "kl": Column("mean divergence of the answers from those without a mask", "nats", ZERO_OR_MORE),
    "kl_selective": Column(
        "mean divergence of the answers from those without a mask, selective masks", "nats", ZERO_OR_MORE
    ),
    "kl_control": Column("the same, control masks", "nats", ZERO_OR_MORE),
    "chance": share("accuracy of guessing"),
    "drop": Column("mean outcome after control masks minus after selective ones; positive: these are needed", OUTCOME),
    "accuracy_drop": Column("the same difference of accuracies", "share", MINUS_ONE_TO_ONE),
    "d": Column("the mean in standard deviations (Cohen's d)", "standard deviations"),
    "df": count("degrees of freedom"),
    "p_corrected": p_value(f"as p, corrected over attributes {BY_LARGEST}", "p, corrected"),
    "q_published": Column(
        "p times tests by rank of p, as published: not monotone, and can exceed 1",
        "",
        ZERO_OR_MORE,
        "as the p that it comes from; no valid control of false discoveries",
    ),
    "concepts": count("concepts that entered"),
    "attributes": count("attributes that entered"),
    "neurons": count("neurons", "neurons"),
    "masks": count("masks"),
    "items": count("items (texts put to the model)"),
    "alpha": Column("a neuron is significant at q below this (selectivity.alpha)", "", ZERO_TO_ONE),
    "estimated": Column("mean change of the outcome, estimated from single neurons' effects", NATS),
    "exact": Column("mean change of the outcome, by ablation", NATS),
    "slope": Column("slope of the exact by the estimated change"),
    "ranking": Column("what neurons were ranked by"),
    "layer": count("layer, from 0"),
}
"""Columns that are the same in every table that has them."""


def columns(shared: str, own: Mapping[str, Column] | None = None) -> dict[str, Column]:
    """Return columns by name: some of `SHARED`, whose names are given with spaces between, and a table's own."""
    return {name: SHARED[name] for name in shared.split()} | dict(own or {})


def codebook(
    tables: Mapping[str, tuple[str, Mapping[str, Column]]], written: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Describe tables and their columns.

    Parameters
    ----------
    tables : mapping of str to tuple
        By name, what a row says and what the columns are.
    written : mapping of str to sequence of str
        By name, the columns that a table has.

    Returns
    -------
    DataFrame
        ``table``, ``column``, ``meaning``, ``unit``, ``range``, ``test``: for each table a row for itself, whose
        column is empty, and one for each of its columns, with nothing but the name where it is not known.
    """
    rows = []
    for name, columns_of in written.items():
        meaning, known = tables[name]
        rows.append((name, "", meaning, "", "", ""))
        rows += [(name, column, *astuple(known.get(column, Column("")))) for column in columns_of]
    return pd.DataFrame(rows, columns=["table", "column", "meaning", "unit", "range", "test"])
