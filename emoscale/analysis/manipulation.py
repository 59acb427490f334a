"""What switching neurons off did to accuracy: selective against control masks (Li, Su et al. 2024, manipulation).

Accuracies come as one table with the columns ``concept``, ``replicate``, ``kind`` (none, selective, or a kind of
control), ``attribute`` (of selective masks; of controls only where each was made for one attribute; otherwise ""),
``k``, ``draw``, ``accuracy`` (0..1) and, optionally, ``options`` (number of possible answers; by default 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from emoscale.analysis.significance import mean_tests, q_values

PROMPT = ["concept", "replicate"]
SIZE = ["control", "k"]
"""What one comparison is made of: a kind of control and a size of masks."""

_NO_CONTROL = ("none", "selective")
_OPTIONS = 2


def paired_accuracies(accuracies: pd.DataFrame) -> pd.DataFrame:
    """Pair the accuracy after each selective mask with that after the control masks of the same size, kind by kind.

    Parameters
    ----------
    accuracies : DataFrame
        See the module's head.

    Returns
    -------
    DataFrame
        One row per (control, k, attribute, concept, replicate) with ``selective_accuracy``, ``control_accuracy`` (mean
        over the draws: those made for the attribute if controls of that kind carry attributes, else all of that k) and
        ``d`` = selective - control. ``control`` is categorical, in the order of first appearance in `accuracies`, and
        the rows follow it.
    """
    selective = accuracies[accuracies["kind"] == "selective"]
    each = selective.groupby(["k", "attribute", *PROMPT], observed=True)["accuracy"].mean().rename("selective_accuracy")
    controls = _controls(accuracies)
    kinds = list(controls["control"].cat.categories)
    pairs = []
    for control in kinds:
        masks = controls[controls["control"] == control]
        shared = ["k", *PROMPT]
        if (masks["attribute"] != "").any():
            shared.append("attribute")
        means = masks.groupby(shared, observed=True)["accuracy"].mean().rename("control_accuracy")
        pairs.append(each.reset_index().merge(means.reset_index(), on=shared, how="inner").assign(control=control))
    columns = [*SIZE, "attribute", *PROMPT, "selective_accuracy", "control_accuracy"]
    table = pd.concat(pairs, ignore_index=True)[columns] if pairs else pd.DataFrame(columns=columns)
    return table.assign(
        control=pd.Categorical(table["control"], kinds, ordered=True),
        d=table["selective_accuracy"] - table["control_accuracy"],
    )


def _controls(accuracies: pd.DataFrame) -> pd.DataFrame:
    """Take the rows of control masks, with their kind as an ordered column ``control``."""
    rows = accuracies[~accuracies["kind"].isin(_NO_CONTROL)]
    kinds = rows["kind"].astype(str)
    return rows.assign(control=pd.Categorical(kinds, list(dict.fromkeys(kinds)), ordered=True))


def mean_drops(paired: pd.DataFrame) -> pd.DataFrame:
    """Average the drop (-d) over each concept's prompts.

    Parameters
    ----------
    paired : DataFrame
        From `paired_accuracies`.

    Returns
    -------
    DataFrame
        Indexed by ``control``, ``k`` and ``concept``, one column an attribute; NaN where there was no pair.
    """
    return -paired.pivot_table("d", [*SIZE, "concept"], "attribute", observed=True)


def drop_table(paired: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Test how much worse the model is after selective than after control masks, for each control, k and group.

    Parameters
    ----------
    paired : DataFrame
        From `paired_accuracies`.
    by : sequence of str
        ``["attribute"]``, ``["concept"]`` or both; the pairs of a group are its prompts (and attributes).

    Returns
    -------
    DataFrame
        One row per control, k and group, with

        - ``n``: number of pairs;
        - ``drop``: -mean(d), positive when selective masks hurt more; ``ci_low``, ``ci_high``: its two-sided 95 % t
          interval;
        - ``t``, ``df``, ``p``: paired t-test of d, one-sided (less). The sign is that of d, so t is *negative* when
          the drop is positive;
        - ``q``: p * rows / rank(p) over the rows of one control and k;
        - ``d``: Cohen's d of the drop (positive with it).

        NaN where a group has one pair or no spread.
    """
    groups = paired.groupby([*SIZE, *by], observed=True)["d"].agg(["size", "mean", "std"]).reset_index()
    test = mean_tests(groups["size"], groups["mean"], groups["std"])
    table = groups[[*SIZE, *by]].assign(
        n=groups["size"],
        drop=-groups["mean"],
        ci_low=-test.ci_high,
        ci_high=-test.ci_low,
        t=test.t,
        df=test.df,
        p=test.p_less,
    )
    table["q"] = table.groupby(SIZE, observed=True)["p"].transform(q_values)
    return table.assign(d=-test.effect_size)


def overall_drop(paired: pd.DataFrame, draws: pd.DataFrame) -> pd.DataFrame:
    """Test the drop over all attributes, for each control and k.

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
        One row per control and k; columns as in `drop_table` without ``q``, where n is the number of concepts. All
        concepts meet the same few control masks, which the interval over concepts cannot know; so there are also

        - ``random_masks``: number of control masks;
        - ``random_error``: half the 95 % t interval of the mean accuracy over draws. Of matched controls a
          draw's accuracy is its mean over the attributes, whose masks differ in more than chance; every random mask
          is a draw of its own. NaN for a single draw, which leaves nothing to measure chance by.
    """
    concepts = paired.groupby([*SIZE, "concept"], observed=True)["d"].mean().reset_index()
    table = drop_table(concepts, []).drop(columns="q")
    masks = draws.groupby(SIZE, observed=True).size().rename("random_masks")
    # Random masks are exchangeable, whatever attribute each was drawn for.
    own = draws["draw"].astype(str) + " " + draws["attribute"].astype(str)
    one = own.where(draws["control"] == "random", draws["draw"].astype(str))
    means = draws.assign(draw=one).groupby([*SIZE, "draw"], observed=True)["accuracy"].mean()
    spread = means.groupby(SIZE, observed=True).agg(["size", "mean", "std"])
    test = mean_tests(spread["size"], spread["mean"], spread["std"])
    error = (test.ci_high - test.ci_low) / 2
    several_and_equal = (spread["size"].to_numpy() > 1) & np.isnan(error)
    errors = pd.Series(np.where(several_and_equal, 0.0, error), spread.index, name="random_error")
    return table.merge(masks.reset_index(), on=SIZE).merge(errors.reset_index(), on=SIZE)


def accuracy_table(accuracies: pd.DataFrame) -> pd.DataFrame:
    """Average the accuracy over each concept's prompts (and attributes or draws).

    Parameters
    ----------
    accuracies : DataFrame
        See the module's head.

    Returns
    -------
    DataFrame
        Columns ``kind``, ``k`` (0 for none), ``concept``, ``accuracy``, ``chance`` (1 / ``options``). Kinds come in the
        order of first appearance in `accuracies`.
    """
    kinds = accuracies["kind"].astype(str)
    table = accuracies.assign(
        kind=pd.Categorical(kinds, list(dict.fromkeys(kinds)), ordered=True),
        chance=1 / accuracies.get("options", _OPTIONS),
    )
    return table.groupby(["kind", "k", "concept"], observed=True)[["accuracy", "chance"]].mean().reset_index()


def random_draws(accuracies: pd.DataFrame) -> pd.DataFrame:
    """Average each control mask's accuracy over all prompts, to see how much such masks differ among themselves.

    Parameters
    ----------
    accuracies : DataFrame
        See the module's head.

    Returns
    -------
    DataFrame
        Columns ``control``, ``k``, ``attribute`` ("" unless made for one), ``draw``, ``accuracy``.
    """
    keys = [*SIZE, "attribute", "draw"]
    return _controls(accuracies).groupby(keys, observed=True)["accuracy"].mean().reset_index()
