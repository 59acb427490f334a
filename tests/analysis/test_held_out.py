"""What neurons cost that halves of the replicates chose: the same where the effect is theirs, not where it is not."""

import numpy as np
import pandas as pd
import pytest
from permuted_scores import made_scores, masks_of, write_scores

from emoscale.analysis.drop_estimates import Drop
from emoscale.analysis.drops import paired_answers
from emoscale.analysis.held_out import half_answer, held_out_table
from emoscale.analysis.needed import needed_table
from emoscale.analysis.options import AnalysisOptions
from emoscale.analysis.outcomes import evaluate
from emoscale.analysis.permuted_masks import PermutedMasks
from emoscale.run.folder import RunFolder
from emoscale.run.verdicts import Answer
from emoscale.schema import ALL_ATTRIBUTES, MASKS
from emoscale.store import create_store, open_store

ATTRIBUTES = ["valence", "arousal", "control"]
NEURONS = 40


def masks_and_halves(ks, draws):
    masks = masks_of(ATTRIBUTES, ks, draws)
    return [*masks, *(("half", name, k, half) for k in ks for name in ATTRIBUTES for half in (0, 1))]


def write_masks(path, masks, rng):
    off = np.zeros((len(masks), NEURONS), bool)
    for number, (_, _, k, _) in enumerate(masks):
        off[number, rng.choice(NEURONS, k, replace=False)] = True
    names = ("kind", "attribute", "k", "draw")
    values = (np.array(column, object if isinstance(column[0], str) else int) for column in zip(*masks, strict=True))
    coordinates = dict(zip(names, values, strict=True))
    bits = np.packbits(off, axis=1)
    store = create_store(
        RunFolder(path).masks,
        MASKS,
        coordinates,
        {"mask": 4},
        sizes={"neuron_byte": bits.shape[1]},
        attributes={"neurons": NEURONS},
    )
    store.write("bits", bits)
    store.mark_complete()
    return off


def run_of(path, costs, *, draws=19, ks=(3,), halves=True, chunk=4, seed=0, **made):
    """A run in which the masks cost so much, by kind, attribute and draw; also the neurons that each mask has."""
    masks = masks_and_halves(ks, draws) if halves else masks_of(ATTRIBUTES, ks, draws)
    rng = np.random.default_rng(seed)
    cost = [costs.get((kind, attribute, draw), 0.0) for kind, attribute, _, draw in masks]
    write_scores(path, made_scores(rng, masks, cost=cost, **made), masks, chunk=chunk)
    off = write_masks(path, masks, rng)
    return PermutedMasks(RunFolder(path), ATTRIBUTES, AnalysisOptions()), dict(zip(masks, off, strict=True))


BOTH = {("half", "valence", 0): 0.8, ("half", "valence", 1): 0.8}
ONE = {("half", "valence", 1): 0.8}


def test_an_effect_that_repeats_is_found_by_both_halves(tmp_path):
    masks, _ = run_of(tmp_path, BOTH)
    table = held_out_table(masks)
    assert table["attribute"].tolist() == [*ATTRIBUTES, ALL_ATTRIBUTES]
    valence = table.iloc[0]
    assert (valence["answer_1"], valence["answer_2"], valence["same"]) == ("yes", "yes", True)
    for half in ("1", "2"):
        assert valence[f"drop_{half}"] == pytest.approx(0.8, abs=0.15)
        assert valence[f"ci_low_{half}"] > 0
        order = ["ci_low", "equivalence_low", "drop", "equivalence_high", "ci_high"]
        assert (np.diff(valence[[f"{name}_{half}" for name in order]].astype(float)) > 0).all()
        assert table[f"drop_{half}"].iloc[3] == pytest.approx(table[f"drop_{half}"].iloc[:3].mean())
    assert "yes" not in set(table[["answer_1", "answer_2"]].iloc[1:3].to_numpy().ravel())


def test_an_effect_of_one_half_is_not_one_of_both(tmp_path):
    table = held_out_table(run_of(tmp_path, ONE, spread=0.01, noise=0.02, texts=6)[0])
    valence = table.iloc[0]
    assert (valence["answer_1"], valence["answer_2"], valence["same"]) == ("no", "yes", False)


def test_noise_is_not_an_effect(tmp_path):
    found = []
    for seed in range(15):  # the masks of halves cost as much or as little as permuted ones, by chance
        table = held_out_table(run_of(tmp_path / str(seed), {}, seed=seed, spread=0.3, texts=2)[0])
        found += [(table[f"answer_{half}"] == "yes").any() for half in (1, 2)]
    assert np.mean(found) <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / len(found))
    small = held_out_table(run_of(tmp_path / "small", {}, spread=0.01, noise=0.02, texts=6)[0])
    assert (small[["answer_1", "answer_2"]] == "no").all(axis=None)
    assert small["same"].all()


def test_a_half_that_chose_the_selective_neurons_has_their_drop(tmp_path):
    """Every number of a half is that of `needed`, had its masks been the selective ones."""
    table = held_out_table(run_of(tmp_path / "halves", BOTH, ks=(2, 5))[0])
    scores = open_store(RunFolder(tmp_path / "halves").scores).read("scores")
    masks = masks_and_halves((2, 5), 19)
    for half in (0, 1):
        swapped = np.array(
            [masks.index(("half", m[1], m[2], half)) if m[0] == "selective" else n for n, m in enumerate(masks)]
        )
        path = tmp_path / str(half)
        write_scores(path, scores[:, swapped], masks)
        expected = needed_table(PermutedMasks(RunFolder(path), ATTRIBUTES, AnalysisOptions()))
        for name in ("drop", "ci_low", "ci_high", "equivalence_low", "equivalence_high", "p_corrected"):
            np.testing.assert_allclose(table[f"{name}_{half + 1}"], expected[name], atol=1e-6)


def test_neurons_that_halves_share_are_counted(tmp_path):
    masks, off = run_of(tmp_path, {}, ks=(2, 15), draws=3)
    table = held_out_table(masks).set_index(["k", "attribute"])
    for k in (2, 15):
        shares = [
            len(set(np.flatnonzero(off["half", name, k, 0])) & set(np.flatnonzero(off["half", name, k, 1]))) / k
            for name in ATTRIBUTES
        ]
        assert table.loc[k, "shared"].tolist() == pytest.approx([*shares, np.mean(shares)])
        assert (table.loc[k, "shared_by_chance"] == k / NEURONS).all()
    assert table["shared"].between(0.01, 0.99).any()


def test_runs_without_halves_or_permuted_masks_have_no_table(tmp_path):
    assert held_out_table(run_of(tmp_path / "none", {}, halves=False)[0]) is None
    assert held_out_table(run_of(tmp_path / "two", {}, draws=2)[0]) is None
    assert held_out_table(run_of(tmp_path / "three", {}, draws=3)[0]) is not None


def test_nothing_depends_on_the_chunks_of_the_scores(tmp_path):
    tables = [held_out_table(run_of(tmp_path / str(chunk), BOTH, chunk=chunk)[0]) for chunk in (1, 7, 500)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[0], tables[2])


def test_masks_by_half_are_no_control(tmp_path):
    """Whatever they cost, nothing that selective masks are compared with changes."""
    tables = []
    for name, costs in (("none", {}), ("both", BOTH)):
        masks, _ = run_of(tmp_path / name, costs)
        answers = evaluate(open_store(RunFolder(tmp_path / name).scores), "calibrated").table
        answers = answers.assign(value=answers["log_odds"])
        assert "half" in set(answers["kind"])
        tables += [(paired_answers(answers), needed_table(masks))]
    assert set(tables[0][0]["control"]) == {"permuted"}
    for ours, theirs in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(ours, theirs)


@pytest.mark.parametrize(
    ("drop", "se", "expected"),
    [
        (0.2, 0.05, Answer.YES),
        (0.2, 0.15, Answer.UNKNOWN),
        (0.09, 0.01, Answer.UNKNOWN),  # above 0 and not yet within
        (0.05, 0.01, Answer.NO),
        (-0.05, 0.01, Answer.NO),
        (-0.2, 0.01, Answer.UNKNOWN),
        (0.1, 0.0, Answer.YES),
        (np.nan, np.nan, Answer.UNKNOWN),
    ],
)
def test_answers_of_a_half(drop, se, expected):
    assert half_answer(Drop(drop, se, 50.0), 0.1) is expected
    assert half_answer(Drop(drop, se, 50.0), 0.1, 0.05) is expected
    assert half_answer(Drop(drop, se, 50.0), 0.1, 0.1) is (Answer.UNKNOWN if expected is Answer.YES else expected)
