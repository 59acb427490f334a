"""What switching neurons off did to accuracy: selective against random masks (Li, Su et al. 2024, neuron manipulation).

Accuracies come as one table with the columns ``concept``, ``replicate``, ``kind`` (none, selective or random),
``attribute`` (of selective masks; of random ones only where each was drawn for one attribute; otherwise ""), ``k``,
``draw`` and ``accuracy`` (0..1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from emoscale.analysis.significance import mean_tests, q_values

PROMPT = ["concept", "replicate"]


def paired_accuracies(accuracies: pd.DataFrame) -> pd.DataFrame:
    """Pair the accuracy after each selective mask with that after random masks of the same size.

    Parameters
    ----------
    accuracies : DataFrame
        See the module's head.

    Returns
    -------
    DataFrame
        One row per (k, attribute, concept, replicate) with ``selective``, ``random`` (mean over the draws: those made
        for the attribute if random masks carry attributes, else all of that k) and ``d`` = selective - random.
    """
    selective = accuracies[accuracies["kind"] == "selective"]
    random = accuracies[accuracies["kind"] == "random"]
    shared = ["k", *PROMPT]
    if (random["attribute"] != "").any():
        shared.append("attribute")
    each = selective.groupby(["k", "attribute", *PROMPT], observed=True)["accuracy"].mean().rename("selective")
    control = random.groupby(shared, observed=True)["accuracy"].mean().rename("random")
    paired = each.reset_index().merge(control.reset_index(), on=shared, how="inner")
    return paired.assign(d=paired["selective"] - paired["random"])


def drop_table(paired: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Test how much worse the model is after selective than after random masks, for each k and group.

    Parameters
    ----------
    paired : DataFrame
        From `paired_accuracies`.
    by : sequence of str
        ``["attribute"]``, ``["concept"]`` or both; the pairs of a group are its prompts (and attributes).

    Returns
    -------
    DataFrame
        One row per k and group, with

        - ``n``: number of pairs;
        - ``drop``: -mean(d), positive when selective masks hurt more; ``ci_low``, ``ci_high``: its two-sided 95 % t
          interval;
        - ``t``, ``df``, ``p``: paired t-test of d, one-sided (less). The sign is that of d, so t is *negative* when
          the drop is positive;
        - ``q``: p * rows / rank(p) over the rows of one k;
        - ``d``: Cohen's d of the drop (positive with it).

        NaN where a group has one pair or no spread.
    """
    groups = paired.groupby(["k", *by], observed=True)["d"].agg(["size", "mean", "std"]).reset_index()
    test = mean_tests(groups["size"], groups["mean"], groups["std"])
    table = groups[["k", *by]].assign(
        n=groups["size"],
        drop=-groups["mean"],
        ci_low=-test.ci_high,
        ci_high=-test.ci_low,
        t=test.t,
        df=test.df,
        p=test.p_less,
    )
    table["q"] = table.groupby("k")["p"].transform(q_values)
    return table.assign(d=-test.effect_size)


def overall_drop(paired: pd.DataFrame, draws: pd.DataFrame) -> pd.DataFrame:
    """Test the drop over all attributes, for each k.

    The attributes and replicates of one concept share its texts, so they are averaged first: a pair is a concept.

    Parameters
    ----------
    paired : DataFrame
        From `paired_accuracies`.
    draws : DataFrame
        From `random_draws`.

    Returns
    -------
    DataFrame
        One row per k; columns as in `drop_table` without ``q``, where n is the number of concepts. All concepts meet
        the same few random masks, which the interval over concepts cannot know; so there are also ``random_masks``,
        their number, and ``random_error``, half the 95 % t interval of their mean accuracy (NaN for a single one).
    """
    concepts = paired.groupby(["k", "concept"], observed=True)["d"].mean().reset_index()
    table = drop_table(concepts, []).drop(columns="q")
    masks = draws.groupby("k")["accuracy"].agg(["size", "mean", "std"]).loc[table["k"]]
    test = mean_tests(masks["size"], masks["mean"], masks["std"])
    error = (test.ci_high - test.ci_low) / 2
    several_and_equal = (masks["size"].to_numpy() > 1) & np.isnan(error)
    return table.assign(random_masks=masks["size"].to_numpy(), random_error=np.where(several_and_equal, 0.0, error))


def accuracy_table(accuracies: pd.DataFrame) -> pd.DataFrame:
    """Average the accuracy over each concept's prompts (and attributes or draws).

    Parameters
    ----------
    accuracies : DataFrame
        See the module's head.

    Returns
    -------
    DataFrame
        Columns ``kind``, ``k`` (0 for none), ``concept``, ``accuracy``.
    """
    return accuracies.groupby(["kind", "k", "concept"], observed=True)["accuracy"].mean().reset_index()


def random_draws(accuracies: pd.DataFrame) -> pd.DataFrame:
    """Average each random mask's accuracy over all prompts, to see how much random masks differ among themselves.

    Parameters
    ----------
    accuracies : DataFrame
        See the module's head.

    Returns
    -------
    DataFrame
        Columns ``k``, ``attribute`` ("" unless drawn for one), ``draw``, ``accuracy``.
    """
    random = accuracies[accuracies["kind"] == "random"]
    return random.groupby(["k", "attribute", "draw"], observed=True)["accuracy"].mean().reset_index()
