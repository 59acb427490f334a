import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from emoscale.analysis.drops import accuracy_table, drop_table, overall_drop, paired_answers, random_draws

CONCEPTS, REPLICATES, ATTRIBUTES, KS = ["joy", "fear", "grief"], ["1", "3"], ["arousal", "valence"], [10, 20]


def made_answers(control_attributes=("",), draws=2, seed=0, **more):
    """Accuracies with one kind of control, ``random``, or more: name to the attributes its masks carry."""
    rng = np.random.default_rng(seed)
    masks = [("none", "", 0, 0)]
    masks += [("selective", a, k, 0) for a, k in itertools.product(ATTRIBUTES, KS)]
    for kind, attributes in {"random": control_attributes, **more}.items():
        masks += [(kind, a, k, draw) for a, k, draw in itertools.product(attributes, KS, range(draws))]
    rows = [
        (c, r, kind, a, k, draw, rng.random())
        for c, r, (kind, a, k, draw) in itertools.product(CONCEPTS, REPLICATES, masks)
    ]
    table = pd.DataFrame(rows, columns=["concept", "replicate", "kind", "attribute", "k", "draw", "accuracy"])
    return table.assign(value=table["accuracy"], options=2)


def plain_control(table, control, concept, replicate, k, attribute=None):
    return np.mean(
        [
            row.accuracy
            for row in table.itertuples()
            if (row.kind, row.concept, row.replicate, row.k) == (control, concept, replicate, k)
            and (attribute is None or row.attribute == attribute)
        ]
    )


@pytest.mark.parametrize("per_attribute", [False, True])
def test_pairs_take_the_mean_over_the_draws_that_belong_to_them(per_attribute):
    table = made_answers(ATTRIBUTES if per_attribute else ("",), draws=3)
    paired = paired_answers(table)
    assert len(paired) == len(CONCEPTS) * len(REPLICATES) * len(ATTRIBUTES) * len(KS)
    for row in paired.itertuples():
        own = row.attribute if per_attribute else None
        expected = plain_control(table, "random", row.concept, row.replicate, row.k, own)
        assert row.control_value == pytest.approx(expected)
        assert row.d == pytest.approx(row.selective - row.control_value)


def test_each_kind_of_control_is_paired_by_itself_and_in_order_of_appearance():
    table = made_answers(**{"random-by-layer": ATTRIBUTES, "random-by-activation": ("",)})
    order = ["random", "random-by-layer", "random-by-activation"]
    paired = paired_answers(table)
    assert list(paired["control"].unique()) == order
    for control in order:
        alone = paired_answers(table[table["kind"].isin(["none", "selective", control])])
        own = paired[paired["control"] == control].reset_index(drop=True)
        pd.testing.assert_frame_equal(own.assign(control=control), alone.assign(control=control))
    assert drop_table(paired, ["attribute"])["control"].unique().tolist() == order
    assert accuracy_table(table)["kind"].unique().tolist() == ["none", "selective", *order]


def test_nothing_to_pair():
    table = made_answers()
    assert paired_answers(table[table["kind"] != "random"]).empty
    assert paired_answers(table[table["kind"] != "selective"]).empty


def test_sizes_without_a_partner_are_left_out():
    table = made_answers()
    table = table[~((table["kind"] == "selective") & (table["k"] == 10))]
    assert set(paired_answers(table)["k"]) == {20}


@pytest.mark.parametrize("by", [["attribute"], ["concept"], ["concept", "attribute"]])
def test_drops_agree_with_a_paired_t_test(by):
    paired = paired_answers(made_answers(**{"random-by-layer": ATTRIBUTES}))
    table = drop_table(paired, by)
    keys = ["control", "k", *by]
    assert list(table)[: len(keys)] == keys
    assert len(table) == len(paired[keys].drop_duplicates())
    for row in table.to_dict("records"):
        group = paired[np.logical_and.reduce([paired[name] == row[name] for name in keys])]
        test = stats.ttest_rel(group["control_value"], group["selective"], alternative="greater")
        interval = stats.ttest_rel(group["control_value"], group["selective"]).confidence_interval(0.95)
        assert row["n"] == len(group)
        assert row["drop"] == pytest.approx(-group["d"].mean())
        assert (row["t"], row["df"], row["p"]) == pytest.approx((test.statistic, len(group) - 1, test.pvalue))
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((interval.low, interval.high))
        assert row["d"] == pytest.approx(row["drop"] / group["d"].std())
        assert np.sign(row["t"]) == np.sign(row["drop"])
        family = table[(table["control"] == row["control"]) & (table["k"] == row["k"])]
        assert row["q_published"] == pytest.approx(row["p"] * len(family) / (family["p"] <= row["p"]).sum())
    for _, family in table.groupby(["control", "k"], observed=True):
        by_p = family.sort_values("p")
        assert by_p["q"].is_monotonic_increasing
        np.testing.assert_allclose(by_p["q"], stats.false_discovery_control(by_p["p"]))
        assert (family["q"] <= 1).all()


def test_a_single_pair_and_equal_pairs_have_no_test():
    table = made_answers(draws=1)
    table["value"] = np.where(table["kind"] == "selective", 0.7, 0.8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        equal = drop_table(paired_answers(table), ["attribute"])
        single = drop_table(paired_answers(made_answers().query("replicate == '1'")), ["concept", "attribute"])
    np.testing.assert_allclose(equal["drop"], 0.1)
    for rows in (equal, single):
        assert rows[["t", "p", "q", "q_published", "ci_low", "ci_high", "d"]].isna().all(axis=None)


def test_the_overall_drop_takes_a_concept_as_one_observation():
    table = made_answers(draws=4)
    paired, draws = paired_answers(table), random_draws(table)
    overall = overall_drop(paired, draws, ["random"])
    assert overall["k"].tolist() == KS
    for row in overall.to_dict("records"):
        drops = [-paired[(paired["k"] == row["k"]) & (paired["concept"] == c)]["d"].mean() for c in CONCEPTS]
        test = stats.ttest_1samp(drops, 0)
        assert (row["n"], row["random_masks"]) == (3, 4)
        assert row["drop"] == pytest.approx(np.mean(drops))
        assert row["ci_low"] == pytest.approx(test.confidence_interval().low)
        masks = draws[draws["k"] == row["k"]]["accuracy"]
        assert row["random_error"] == pytest.approx(stats.t.ppf(0.975, 3) * stats.sem(masks))


def test_the_error_of_matched_controls_is_over_draws_of_all_attributes():
    draws, attributes = 4, len(ATTRIBUTES)
    table = made_answers(ATTRIBUTES, draws=draws).replace({"kind": {"random": "random-by-layer"}})
    # Attributes differ by much more than draws do; the same attributes enter every draw.
    table["accuracy"] += 5.0 * (table["attribute"] == ATTRIBUTES[0])
    overall = overall_drop(paired_answers(table), random_draws(table), ["random"])
    for row in overall.to_dict("records"):
        controls = table[(table["kind"] == "random-by-layer") & (table["k"] == row["k"])]
        means = [controls[controls["draw"] == draw]["accuracy"].mean() for draw in range(draws)]
        assert row["random_masks"] == draws * attributes
        assert row["random_error"] == pytest.approx(stats.t.ppf(0.975, draws - 1) * stats.sem(means))
    table = made_answers(ATTRIBUTES, draws=1).replace({"kind": {"random": "random-by-layer"}})
    overall = overall_drop(paired_answers(table), random_draws(table), ["random"])
    assert overall["random_masks"].tolist() == [attributes] * len(KS)
    assert overall["random_error"].isna().all()


@pytest.mark.parametrize("draws", [1, 3])
def test_every_exchangeable_mask_is_a_draw_whatever_attribute_it_was_drawn_for(draws):
    table = made_answers(ATTRIBUTES, draws=draws)
    overall = overall_drop(paired_answers(table), random_draws(table), ["random"])
    for row in overall.to_dict("records"):
        controls = table[(table["kind"] == "random") & (table["k"] == row["k"])]
        masks = controls.groupby(["attribute", "draw"], observed=True)["accuracy"].mean()
        assert row["random_masks"] == len(masks) == draws * len(ATTRIBUTES)
        assert row["random_error"] == pytest.approx(stats.t.ppf(0.975, len(masks) - 1) * stats.sem(masks))


def test_one_random_mask_has_no_error_and_equal_ones_an_error_of_zero():
    table = made_answers(draws=1)
    assert overall_drop(paired_answers(table), random_draws(table), ["random"])["random_error"].isna().all()
    table = made_answers(draws=3)
    table.loc[table["kind"] == "random", "value"] = 0.6
    assert (overall_drop(paired_answers(table), random_draws(table), ["random"])["random_error"] == 0).all()


def test_accuracies_are_averaged_by_kind_size_and_concept():
    table = made_answers()
    averaged = accuracy_table(table).set_index(["kind", "k", "concept"])["accuracy"]
    assert len(averaged) == 3 * (1 + 2 + 2)
    for (kind, k, concept), value in averaged.items():
        rows = table[(table["kind"] == kind) & (table["k"] == k) & (table["concept"] == concept)]
        assert value == pytest.approx(rows["accuracy"].mean())


def test_chance_is_one_of_the_possible_answers():
    table = made_answers()
    assert (accuracy_table(table)["chance"] == 0.5).all()
    assert (accuracy_table(table.assign(options=4))["chance"] == 0.25).all()


def test_each_control_mask_is_averaged_over_prompts():
    table = made_answers(draws=2)
    draws = random_draws(table)
    assert list(draws) == ["control", "k", "attribute", "draw", "value", "accuracy"]
    assert len(draws) == 4
    first = table[(table["kind"] == "random") & (table["k"] == 10) & (table["draw"] == 1)]["accuracy"].mean()
    assert draws.query("k == 10 and draw == 1")["accuracy"].item() == pytest.approx(first)
