import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from emoscale.analysis.choice import choice_table, confusion_table

CONCEPTS, ATTRIBUTES, KS = ["joy", "fear", "grief", "awe"], ["valence", "arousal"], [20, 100]
MASKS = [
    ("none", "", 0, 0),
    *(("selective", attribute, k, 0) for k in KS for attribute in ATTRIBUTES),
    *(("random", "", k, draw) for k in KS for draw in range(3)),
]


def made(seed=0, total=8):
    """In order of concepts, replicates and masks, as the analysis stage sorts them."""
    rng = np.random.default_rng(seed)
    rows = []
    for concept, replicate, (kind, attribute, k, draw) in itertools.product(CONCEPTS, ["0", "1"], MASKS):
        chosen = rng.multinomial(total, rng.dirichlet(np.ones(len(CONCEPTS))))
        correct = chosen[CONCEPTS.index(concept)]
        top3 = rng.integers(correct, total + 1)
        by_token = sorted(rng.integers(0, total + 1, 2))
        rows.append((concept, replicate, kind, attribute, k, draw, correct, total, 4, top3, *by_token, chosen))
    names = ["concept", "replicate", "kind", "attribute", "k", "draw", "correct", "total", "options", "top3"]
    table = pd.DataFrame(rows, columns=[*names, "correct_per_token", "top3_per_token", "chosen"])
    return table.assign(
        concept=pd.Categorical(table["concept"], CONCEPTS, ordered=True),
        attribute=pd.Categorical(table["attribute"], ["", *ATTRIBUTES], ordered=True),
    )


def choices(answers):
    """The choice table of counts, by two normalizations."""
    normalized = {
        name: pd.DataFrame({what: answers[f"{column}{end}"] / 8 for what, column in RATES.items()})
        for name, end in (("none", ""), ("per-token", "_per_token"))
    }
    return choice_table(answers, normalized)


def confusions(answers):
    return confusion_table(answers, np.stack(answers["chosen"].tolist()) / 8, CONCEPTS)


RATES = {"accuracy": "correct", "top3": "top3"}


def test_rows_follow_the_masks():
    table = choices(made())
    expected = [("none", 0, "")]
    for k in KS:
        expected += [("selective", k, ""), *(("selective", k, attribute) for attribute in ATTRIBUTES)]
    expected += [("random", k, "") for k in KS]
    found = list(dict.fromkeys(table[["kind", "k", "attribute"]].itertuples(index=False, name=None)))
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    assert set(found) == set(expected)
    assert table["normalization"].value_counts().to_dict() == {"none": len(expected), "per-token": len(expected)}
    assert not table.duplicated(["kind", "k", "attribute", "normalization"]).any()


@pytest.mark.parametrize("seed", [0, 1])
def test_means_and_intervals_are_over_concepts(seed):
    answers = made(seed)
    for row in choices(answers).to_dict("records"):
        own = answers[(answers["kind"] == row["kind"]) & (answers["k"] == row["k"])]
        if row["attribute"]:
            own = own[own["attribute"] == row["attribute"]]
        end = "" if row["normalization"] == "none" else "_per_token"
        for name, column, ends in (
            ("accuracy", "correct", ("ci_low", "ci_high")),
            ("top3", "top3", ("top3_ci_low", "top3_ci_high")),
        ):
            rates = [
                np.mean([line[f"{column}{end}"] / 8 for line in own.to_dict("records") if line["concept"] == concept])
                for concept in CONCEPTS
            ]
            assert row[name] == pytest.approx(np.mean(rates))
            interval = stats.t.interval(0.95, 3, np.mean(rates), stats.sem(rates))
            assert (row[ends[0]], row[ends[1]]) == pytest.approx(interval)
        assert row["chance"] == 0.25


def test_one_concept_has_no_interval():
    answers = made()
    table = choices(answers[answers["concept"] == "joy"])
    assert table[["ci_low", "ci_high", "top3_ci_low", "top3_ci_high"]].isna().all(axis=None)
    assert table["accuracy"].notna().all()


def test_confusion_is_the_mean_share_of_each_answer():
    answers = made()
    table = confusions(answers)
    assert table[["kind", "k"]].drop_duplicates().to_numpy().tolist() == [
        ["none", 0],
        ["selective", 20],
        ["selective", 100],
        ["random", 20],
        ["random", 100],
    ]
    assert table["answer"].tolist() == CONCEPTS * (len(table) // 4)
    assert table["concept"].tolist() == [concept for concept in CONCEPTS for _ in CONCEPTS] * 5
    for row in table.to_dict("records"):
        own = answers[
            (answers["kind"] == row["kind"]) & (answers["k"] == row["k"]) & (answers["concept"] == row["concept"])
        ]
        shares = [chosen[CONCEPTS.index(row["answer"])] / 8 for chosen in own["chosen"]]
        assert row["share"] == pytest.approx(np.mean(shares))
    sums = table.groupby(["kind", "k", "concept"])["share"].sum()
    assert sums.to_numpy() == pytest.approx(np.ones(len(sums)))
    right = table[table["concept"] == table["answer"]].groupby(["kind", "k"])["share"].mean()
    accuracy = (
        choices(answers).query("normalization == 'none' and attribute == ''").set_index(["kind", "k"])["accuracy"]
    )
    assert right.sort_index().to_numpy() == pytest.approx(accuracy.sort_index().to_numpy())
