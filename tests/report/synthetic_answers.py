"""Tables of the answers, as an analysis would write them, made of a chosen truth by the contract's own rules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from emoscale.run.folder import RunFolder
from emoscale.run.verdicts import Answer, Question, Reason, Verdict, verdict_table
from emoscale.schema import ALL_ATTRIBUTES

SMALLEST = 0.02
TABLES = ("needed", "permuted_tests", "followers", "verdicts")


@dataclass(frozen=True)
class Truth:
    """What is so in a made run."""

    can_do_task: bool = True
    repeats: bool = True
    follows: bool = True
    effect: float = 0.15
    draws: int = 19


PLANTED = Truth()
AT_CHANCE = Truth(can_do_task=False, effect=0.0)
NOISE_MAPS = Truth(repeats=False, follows=False, effect=0.0)
NO_EFFECT = Truth(effect=0.0)
NO_PERMUTED_MASKS = Truth(draws=0)


def write_tables(folder: RunFolder, truth: Truth, attributes: list[str], ks: list[int], has_people: bool) -> None:
    rng = np.random.default_rng(5)
    followers = _followers(truth, attributes, rng)
    needed = pd.concat([_needed(truth, attributes, k, rng) for k in ks], ignore_index=True)
    verdicts = _verdicts(folder, truth, followers, needed, max(ks), has_people)
    folder.write_table("followers", followers)
    folder.write_table("needed", needed)
    folder.write_table("permuted_tests", _permuted_tests(truth, needed, ks, has_people))
    folder.write_table("verdicts", verdict_table(verdicts))


def _followers(truth: Truth, attributes: list[str], rng: np.random.Generator) -> pd.DataFrame:
    null = rng.poisson(2, (999, len(attributes)))
    true = np.array([60 // (1 + place) if truth.follows else 2 for place in range(len(attributes))])
    return pd.DataFrame(
        {
            "attribute": attributes,
            "followers": true,
            "null_mean": null.mean(axis=0),
            "null_low": np.quantile(null, 0.025, axis=0),
            "null_high": np.quantile(null, 0.975, axis=0),
            "null_largest": null.max(axis=0),
            "p": (1 + (null >= true).sum(axis=0)) / 1000,
            "p_corrected": (1 + (null.max(axis=1)[:, None] >= true).sum(axis=0)) / 1000,
            "neurons": 299,
        }
    )


def _needed(truth: Truth, attributes: list[str], k: int, rng: np.random.Generator) -> pd.DataFrame:
    weights = np.linspace(1, 0, len(attributes))
    names, se = [*attributes, ALL_ATTRIBUTES], np.full(len(attributes) + 1, 0.02)
    true = truth.effect * (weights - 0.2) + rng.normal(0, 0.01, len(attributes)) * (truth.effect > 0)
    drop, null = np.append(true, true.mean()), rng.normal(0, 0.02, (999, len(attributes)))
    null = np.column_stack([null, null.mean(axis=1)])
    se[-1] = 0.006
    half, tost = stats.t.ppf(0.975, 20) * se, stats.t.ppf(0.95, 20) * se
    exact, far = null[: truth.draws], np.abs(drop)
    p = (1 + (np.abs(exact) >= far).sum(axis=0)) / (1 + truth.draws)
    estimated_p = (1 + (np.abs(null) >= far).sum(axis=0)) / 1000
    largest, estimated = (np.abs(some[:, :-1]).max(axis=1, initial=0)[:, None] for some in (exact, null))
    corrected = np.where(
        np.arange(len(names)) < len(attributes), (1 + (largest >= far).sum(axis=0)) / (1 + truth.draws), p
    )
    estimated_corrected = (1 + (estimated >= far).sum(axis=0)) / 1000
    yes, no = (corrected <= 0.05) & (drop >= SMALLEST), (drop + tost < SMALLEST) & (drop - tost > -SMALLEST)
    table = pd.DataFrame(
        {
            "k": k,
            "attribute": names,
            "draws": truth.draws,
            "drop": drop,
            "ci_low": drop - half,
            "ci_high": drop + half,
            "se": se,
            "df": 20,
            "equivalence_low": drop - tost,
            "equivalence_high": drop + tost,
            "p": p,
            "p_corrected": corrected,
            "estimated_drop": drop * 0.9,
            "estimated_draws": 999,
            "estimated_low": np.quantile(null, 0.025, axis=0),
            "estimated_high": np.quantile(null, 0.975, axis=0),
            "estimated_p": estimated_p,
            "estimated_p_corrected": estimated_corrected,
            "accuracy_drop": drop / 2,
            "accuracy_low": (drop - half) / 2,
            "accuracy_high": (drop + half) / 2,
            "tests_disagree": (corrected <= 0.05) != (estimated_corrected <= 0.05),
            "answer": np.where(yes, "yes", np.where(no, "no", "unknown")),
        }
    )
    if not truth.draws:
        measured = ["drop", "ci_low", "ci_high", "se", "df", "equivalence_low", "equivalence_high", "p", "p_corrected"]
        table[[*measured, "accuracy_drop", "accuracy_low", "accuracy_high"]] = np.nan
        table["answer"], table["tests_disagree"] = "unknown", False
    return table


def _permuted_tests(truth: Truth, needed: pd.DataFrame, ks: list[int], has_people: bool) -> pd.DataFrame:
    strength = 4 * truth.effect
    pairs = [("mean drop", k) for k in ks] + [("correlation with importance", k) for k in ks if has_people]
    pairs += [("specificity", k) for k in ks] + [("dose", 0)] * (len(ks) > 1)
    rows = pd.DataFrame(pairs, columns=["statistic", "k"])
    means = needed[needed["attribute"] == ALL_ATTRIBUTES].set_index("k")["drop"]
    value = rows["k"].map(means).where(rows["statistic"] == "mean drop", strength)
    value = value if truth.draws else value * np.nan
    p = np.where(np.abs(value) > 0.3, 0.05, 0.4) if truth.draws else np.nan
    exact = {"value": value, "ci_low": value - 0.25, "ci_high": value + 0.25, "draws": truth.draws, "p": p}
    null = {"null_low": -0.3, "null_high": 0.3} if truth.draws else {"null_low": np.nan, "null_high": np.nan}
    estimated = {"estimated_value": 0.9 * strength, "estimated_null_low": -0.3, "estimated_null_high": 0.3}
    return rows.assign(**exact, **null, **estimated, estimated_draws=999, estimated_p=0.03)


def _verdicts(
    folder: RunFolder, truth: Truth, followers: pd.DataFrame, needed: pd.DataFrame, k: int, has_people: bool
) -> list[Verdict]:
    accuracy = folder.table("accuracy")
    unmasked = accuracy[accuracy["kind"] == "none"]
    values, chance = unmasked["accuracy"], float(unmasked["chance"].mean())
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.sem())
    value = float(values.mean())
    task = (Answer.YES, Reason.ABOVE_CHANCE) if truth.can_do_task else (Answer.NO, Reason.AT_CHANCE)
    follow = (
        (Answer.UNKNOWN, Reason.MAP_DOES_NOT_REPEAT)
        if not truth.repeats
        else (Answer.YES, Reason.MORE_THAN_PERMUTED)
        if truth.follows
        else (Answer.NO, Reason.AS_MANY_AS_PERMUTED)
    )
    most = followers.loc[followers["followers"].idxmax()]
    passed = tuple(followers[followers["p_corrected"] <= 0.05]["attribute"])
    mean = needed[(needed["attribute"] == ALL_ATTRIBUTES) & (needed["k"] == k)].iloc[0]
    measured = [float(mean[name]) for name in ("drop", "ci_low", "ci_high")]
    single = needed[(needed["attribute"] != ALL_ATTRIBUTES) & (needed["k"] == k) & (needed["answer"] == "yes")]
    need, people = _later(truth, str(mean["answer"]), has_people)
    shown = truth.can_do_task and truth.follows and truth.repeats and has_people and truth.draws > 0
    if need[1] in (Reason.TASK_NOT_SHOWN, Reason.FOLLOWERS_NOT_SHOWN, Reason.NO_PERMUTED_MASKS):
        measured = [np.nan] * 3
    ends = (*measured, SMALLEST, float(mean["p"]), k)
    r = (4 * truth.effect, 4 * truth.effect - 0.25, 4 * truth.effect + 0.25) if shown else (np.nan,) * 3
    return [
        Verdict(Question.TASK, *task, value, value - half, value + half, chance),
        Verdict(
            Question.FOLLOWERS,
            *follow,
            float(most["followers"]),
            float(most["null_low"]),
            float(most["null_high"]),
            299,
            float(followers["p_corrected"].min()),
            0,
            passed,
        ),
        Verdict(Question.NEED, *need, *ends, tuple(single["attribute"])),
        Verdict(Question.PEOPLE, *people, *r, np.nan, np.nan, k),
    ]


def _later(truth: Truth, mean: str, has_people: bool) -> tuple[tuple[Answer, Reason], tuple[Answer, Reason]]:
    unknown = Answer.UNKNOWN
    no_people = (unknown, Reason.NO_PEOPLE)
    if not truth.can_do_task:
        reason = Reason.TASK_NOT_SHOWN
    elif not (truth.repeats and truth.follows):
        reason = Reason.FOLLOWERS_NOT_SHOWN
    elif not truth.draws:
        return (unknown, Reason.NO_PERMUTED_MASKS), (unknown, Reason.NEED_NOT_SHOWN) if has_people else no_people
    else:
        need = {"yes": (Answer.YES, Reason.NEEDED), "no": (Answer.NO, Reason.EQUIVALENT)}
        agree = (Answer.YES, Reason.AS_PEOPLE) if mean == "yes" else (unknown, Reason.NEED_NOT_SHOWN)
        return need.get(mean, (unknown, Reason.NOT_SETTLED)), agree if has_people else no_people
    return (unknown, reason), (unknown, reason) if has_people else no_people
