"""What switching neurons off did: selective against control masks (Li, Su et al. 2024, manipulation).

Answers come as one table with the columns ``concept``, ``replicate``, ``kind`` (one of `NO_CONTROLS` or a kind of
control), ``attribute`` ("" of controls that were not made for one attribute, and without a mask), ``k``, ``draw``,
``value`` (the outcome that effects are measured in, higher is better), ``accuracy`` (0..1), ``options``
(number of possible answers) and, where every item's scores are known, ``log_odds`` and ``kl`` (divergence from the
answers without a mask).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import pandas as pd

from emoscale.analysis.unimodality import dip_test
from emoscale.schema import NO_CONTROLS, NO_MASK, SELECTIVE
from emoscale.statistics import Floats, benjamini_hochberg, mean_tests, published_q

PROMPT = ["concept", "replicate"]
SIZE = ["control", "k"]
"""What one comparison is made of: a kind of control and a size of masks."""


def paired_answers(answers: pd.DataFrame) -> pd.DataFrame:
    """Pair the outcome after each selective mask with that after the control masks of the same size, kind by kind.

    Parameters
    ----------
    answers : DataFrame
        See the module's head.

    Returns
    -------
    DataFrame
        One row per (control, k, attribute, concept, replicate) with ``selective`` and ``control_value`` (mean over the
        draws: those made for the attribute if controls of that kind carry attributes, else all of that k), ``d`` =
        selective - control_value, ``accuracy_d`` likewise of the accuracies, and where it is known ``kl_selective``
        and ``kl_control``. ``control`` is categorical, in the order of first appearance in `answers`, and the rows
        follow it.
    """
    values = [name for name in ("value", "accuracy", "kl") if name in answers]
    selective = answers[answers["kind"] == SELECTIVE]
    each = selective.groupby(["k", "attribute", *PROMPT], observed=True)[values].mean().add_suffix("_selective")
    controls = _controls(answers)
    kinds = list(controls["control"].cat.categories)
    pairs = []
    for control in kinds:
        masks = controls[controls["control"] == control]
        shared = ["k", *PROMPT]
        if (masks["attribute"] != "").any():
            shared.append("attribute")
        means = masks.groupby(shared, observed=True)[values].mean().add_suffix("_control")
        pairs.append(each.reset_index().merge(means.reset_index(), on=shared, how="inner").assign(control=control))
    empty = pd.DataFrame(
        columns=[*SIZE, "attribute", *PROMPT, *(f"{v}_{m}" for v in values for m in ("selective", "control"))]
    )
    table = pd.concat(pairs, ignore_index=True) if pairs else empty
    table = table.assign(
        control=pd.Categorical(table["control"], kinds, ordered=True),
        d=table["value_selective"] - table["value_control"],
        accuracy_d=table["accuracy_selective"] - table["accuracy_control"],
    ).rename(columns={"value_selective": "selective", "value_control": "control_value"})
    known = [name for name in ("kl_selective", "kl_control") if name in table]
    return table[[*SIZE, "attribute", *PROMPT, "selective", "control_value", "d", "accuracy_d", *known]]


BESIDE = ("accuracy_d", "kl_selective", "kl_control")
"""What is reported beside an effect, whatever it is measured in."""


def _controls(answers: pd.DataFrame) -> pd.DataFrame:
    """Take the rows of control masks, with their kind as an ordered column ``control``."""
    rows = answers[~answers["kind"].isin(NO_CONTROLS)]
    kinds = rows["kind"].astype(str)
    return rows.assign(control=pd.Categorical(kinds, list(dict.fromkeys(kinds)), ordered=True))


def mean_drops(paired: pd.DataFrame) -> pd.DataFrame:
    """Average the drop (-d) over each concept's prompts.

    Parameters
    ----------
    paired : DataFrame
        From `paired_answers`.

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
        From `paired_answers`.
    by : sequence of str
        ``["attribute"]``, ``["concept"]`` or both; the pairs of a group are its prompts (and attributes).

    Returns
    -------
    DataFrame
        One row per control, k and group, with

        - ``n``: number of pairs;
        - ``drop``: -mean(d), positive when selective masks hurt more; ``ci_low``, ``ci_high``: its two-sided 95 % t
          interval;
        - ``t``, ``df``, ``p``: paired t-test of the drop, one-sided (greater than 0);
        - ``q``: p by Benjamini and Hochberg over the rows of one control and k; ``q_published``: the same as published,
          see `published_q`;
        - ``d``: Cohen's d of the drop (positive with it);
        - ``accuracy_drop``: the drop of the accuracy, and where every item's scores are known ``kl_selective`` and
          ``kl_control``: mean divergence of the answers from those without a mask.

        NaN where a group has one pair or no spread.
    """
    grouped = paired.groupby([*SIZE, *by], observed=True)
    groups = grouped["d"].agg(["size", "mean", "std"]).reset_index()
    test = mean_tests(groups["size"], groups["mean"], groups["std"])
    table = groups[[*SIZE, *by]].assign(
        n=groups["size"],
        drop=-groups["mean"],
        ci_low=-test.ci_high,
        ci_high=-test.ci_low,
        t=-test.t,
        df=test.df,
        p=test.p_less,
    )
    families = table.groupby(SIZE, observed=True)["p"]
    table = table.assign(q=families.transform(benjamini_hochberg), q_published=families.transform(published_q))
    beside = grouped[[name for name in BESIDE if name in paired]].mean().reset_index(drop=True)
    return table.assign(d=-test.effect_size, accuracy_drop=-beside.pop("accuracy_d"), **beside)


def overall_drop(paired: pd.DataFrame, draws: pd.DataFrame, exchangeable: Collection[str]) -> pd.DataFrame:
    """Test the drop over all attributes, for each control and k.

    The attributes and replicates of one concept share its texts, so they are averaged first: a pair is a concept.

    Parameters
    ----------
    paired : DataFrame
        From `paired_answers`.
    draws : DataFrame
        From `random_draws`.
    exchangeable : collection of str
        Kinds of control whose masks differ in chance alone, whatever attribute each was drawn for.

    Returns
    -------
    DataFrame
        One row per control and k; columns as in `drop_table` without q, where n is the number of concepts. All
        concepts meet the same few control masks, which the interval over concepts cannot know; so there are also

        - ``random_masks``: number of control masks;
        - ``random_error``: half the 95 % t interval of the mean outcome over draws. Every mask of an exchangeable
          kind is a draw of its own; of others a draw's outcome is its mean over the attributes, whose masks differ
          in more than chance. NaN for a single draw, which leaves nothing to measure chance by.
    """
    values = [name for name in ("d", *BESIDE) if name in paired]
    concepts = paired.groupby([*SIZE, "concept"], observed=True)[values].mean().reset_index()
    table = drop_table(concepts, []).drop(columns=["q", "q_published"])
    masks = draws.groupby(SIZE, observed=True).size().rename("random_masks")
    own = draws["draw"].astype(str) + " " + draws["attribute"].astype(str)
    one = own.where(draws["control"].isin(exchangeable), draws["draw"].astype(str))
    means = draws.assign(draw=one).groupby([*SIZE, "draw"], observed=True)["value"].mean()
    spread = means.groupby(SIZE, observed=True).agg(["size", "mean", "std"])
    test = mean_tests(spread["size"], spread["mean"], spread["std"])
    error = (test.ci_high - test.ci_low) / 2
    several_and_equal = (spread["size"].to_numpy() > 1) & np.isnan(error)
    errors = pd.Series(np.where(several_and_equal, 0.0, error), spread.index, name="random_error")
    return table.merge(masks.reset_index(), on=SIZE).merge(errors.reset_index(), on=SIZE)


def accuracy_table(answers: pd.DataFrame) -> pd.DataFrame:
    """Average each concept's answers over its prompts (and attributes or draws).

    Parameters
    ----------
    answers : DataFrame
        See the module's head.

    Returns
    -------
    DataFrame
        Columns ``kind``, ``k`` (0 for none), ``concept``, ``accuracy``, ``chance`` (1 / ``options``) and, where they
        are known, ``log_odds`` and ``kl``. Kinds come in the order of first appearance in `answers`.
    """
    kinds = answers["kind"].astype(str)
    table = answers.assign(
        kind=pd.Categorical(kinds, list(dict.fromkeys(kinds)), ordered=True), chance=1 / answers["options"]
    )
    values = ["accuracy", "chance", *(name for name in ("log_odds", "kl") if name in table)]
    return table.groupby(["kind", "k", "concept"], observed=True)[values].mean().reset_index()


def unmasked_table(answers: pd.DataFrame) -> pd.DataFrame:
    """Take the answers without a mask: ``concept``, ``replicate``, ``accuracy`` and, where known, ``log_odds``."""
    rows = answers[answers["kind"] == NO_MASK].reset_index(drop=True)
    return rows[[*PROMPT, "accuracy", *(["log_odds"] if "log_odds" in rows else [])]]


def random_draws(answers: pd.DataFrame) -> pd.DataFrame:
    """Average each control mask's outcome over all prompts, to see how much such masks differ among themselves.

    Parameters
    ----------
    answers : DataFrame
        See the module's head.

    Returns
    -------
    DataFrame
        Columns ``control``, ``k``, ``attribute`` ("" unless made for one), ``draw``, ``value``, ``accuracy``.
    """
    keys = [*SIZE, "attribute", "draw"]
    return _controls(answers).groupby(keys, observed=True)[["value", "accuracy"]].mean().reset_index()


def unimodality(paired: pd.DataFrame, test: Callable[[Floats], tuple[float, float]] = dip_test) -> pd.DataFrame:
    """Test whether the concepts' mean differences have one mode (Hartigan's dip test; Li, Su et al. 2024).

    Parameters
    ----------
    paired : DataFrame
        From `paired_answers`.
    test : callable
        From values (n,) to dip and p.

    Returns
    -------
    DataFrame
        Columns ``control``, ``k``, ``attribute``, ``dip`` and ``p`` (see `dip_test`).
    """
    keys = [*SIZE, "attribute"]
    means = paired.groupby([*keys, "concept"], observed=True)["d"].mean()
    rows = [(*names, *test(values.to_numpy(np.float64))) for names, values in means.groupby(keys, observed=True)]
    return pd.DataFrame(rows, columns=[*keys, "dip", "p"])


def dose_response(paired: pd.DataFrame) -> pd.DataFrame:
    """Measure how much the drop grows each time that k doubles, for each control and attribute.

    Within each concept the least-squares slope of its mean drop on log2(k) is taken; the concepts' slopes are tested
    against 0. So a concept is one observation, and how concepts differ in level does not matter.

    Parameters
    ----------
    paired : DataFrame
        From `paired_answers`.

    Returns
    -------
    DataFrame
        Per ``control`` and ``attribute`` ("" for the mean over all, which comes first): ``sizes`` (values of k),
        ``slope`` (outcome per doubling of k, mean over concepts), ``ci_low``, ``ci_high`` (95 % t interval), ``t``,
        ``df``, ``p`` (two-sided), ``d`` (slope in standard deviations over concepts), ``n`` (concepts that have at
        least two k). The slope is NaN with a single k, its test also with a single concept or none that vary.

    Notes
    -----
    This is the method of summary measures (Matthews, Altman, Campbell & Royston 1990, *BMJ* 300, 230-235).
    """
    drops = mean_drops(paired)
    rows = []
    for control, table in drops.groupby(level="control", observed=True):
        for attribute, series in {"": table.mean(axis=1), **{str(name): table[name] for name in table}}.items():
            by_size = series.rename("drop").reset_index().pivot_table("drop", "concept", "k", observed=True)
            if len(by_size):
                slopes = _slopes(by_size.to_numpy(np.float64), np.log2(by_size.columns.to_numpy(np.float64)))
                rows.append((control, attribute, by_size.shape[1], *_moments(slopes)))
    found = pd.DataFrame(rows, columns=["control", "attribute", "sizes", "n", "slope", "sd"])
    test = mean_tests(found["n"], found["slope"], found["sd"])
    return found[["control", "attribute", "sizes", "slope"]].assign(
        ci_low=test.ci_low,
        ci_high=test.ci_high,
        t=test.t,
        df=np.maximum(test.df, 0),
        p=test.p_two_sided,
        d=test.effect_size,
        n=found["n"],
    )


def _slopes(drops: Floats, size: Floats) -> Floats:
    """Fit the slope of each row, shape (C, K), on `size`, shape (K,), over the known values; NaN without two."""
    known = np.isfinite(drops)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    x = np.where(known, size, 0.0)
    x = np.where(known, size - x.sum(axis=1, keepdims=True) / count, 0.0)
    products, squares = (x * np.where(known, drops, 0.0)).sum(axis=1), (x**2).sum(axis=1)
    slopes = np.full(len(drops), np.nan)
    np.divide(products, squares, out=slopes, where=known.sum(axis=1) > 1)
    return slopes


def _moments(slopes: Floats) -> tuple[int, float, float]:
    known = slopes[np.isfinite(slopes)]
    mean = float(known.mean()) if len(known) else np.nan
    return len(known), mean, float(known.std(ddof=1)) if len(known) > 1 else np.nan
