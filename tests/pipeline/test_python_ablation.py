"""`es.ablate` and `es.effects` give what a run writes for the same texts and neurons."""

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from tiny_run import World

import emoscale as es
from emoscale.ablation.packed_masks import read_masks
from emoscale.analysis.outcomes import evaluate
from emoscale.config import load_settings
from emoscale.pipeline import runner
from emoscale.pipeline.runner import Request
from emoscale.run.effects import exact_neurons, mean_effects
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import SCORES

pytestmark = pytest.mark.slow

ASKED = {"tokens_per_pass": 400}
STAGES = ("extract", "select", "attribute-effects", "mask", "ablate")


class Done:
    """A run up to the ablation, and its texts."""

    def __init__(self, folder, model, **ablation):
        world = World(folder, model)
        self.asked = ASKED | ablation
        world.write(
            model={"name": str(model)},
            extraction={"rows": "templates"},
            tuning={"seeds": [7]},
            masks={"controls": ["random", "random-by-layer"], "draws": 2, "seed": 5},
            attribution={"tokens_per_pass": 60, "check_neurons": 0, "check_groups": []},
            ablation=self.asked,
        )
        self.settings, self.folder = load_settings(world.config), RunFolder(world.out)
        for stage in STAGES:
            assert runner.run(self.settings, self.folder, Console(quiet=True), Request(stage))
        texts = pd.read_csv(world.texts)
        held_out = texts[texts["split"] == "dev"]
        self.items = pd.DataFrame({"text": held_out["text"], "concept": held_out["label"]})
        self.model = es.load(model)

    @property
    def masks(self):
        """The selective ones by attribute and size."""
        table, packed = read_masks(self.folder)
        some = table[table["kind"] == "selective"]
        return table, {(one.attribute, one.k): packed.off(np.array([one.mask]))[0] for one in some.itertuples()}


@pytest.fixture(scope="module", params=["gpt2", "roberta"])
def done(request, tmp_path_factory, tiny_folder):
    folder = tmp_path_factory.mktemp("run")
    if request.param == "gpt2":
        return Done(folder, tiny_folder("gpt2"), task="multiple-choice", edit="mean")
    return Done(folder, tiny_folder("roberta"), task="yes-no", words=["negative", "positive"])


@pytest.mark.parametrize("normalization", ["none", "calibrated"])
def test_ablate_gives_what_a_run_writes(done, normalization):
    store = open_finished(done.folder.scores, SCORES)
    outcomes = evaluate(store, normalization).table.set_index(["kind", "attribute", "k", "draw", "concept"])
    table, masks = done.masks
    own = {**done.asked, "activations": es.open_run(done.folder.path).activations}
    for k in table["k"][table["kind"] == "selective"].unique():
        named = {attribute: off for (attribute, size), off in masks.items() if size == k}
        found = es.ablate(
            done.model,
            named,
            done.items,
            controls=["random", "random-by-layer"],
            draws=2,
            seed=5 if done.asked["task"] == "multiple-choice" else 7,
            normalization=normalization,
            **own,
        )
        means = found.groupby(["mask", "kind", "draw", "concept"], sort=False)[["accuracy", "log_odds", "drop"]].mean()
        assert found["drop"][found["kind"] == "none"].eq(0).all()
        compared = 0
        for (mask, kind, draw, concept), row in means.iterrows():
            if kind.startswith("random") and done.asked["task"] != "multiple-choice":
                continue  # one seed draws controls and texts here, two in a run
            run_kind, attribute = {"none": ("none", ""), "mask": ("selective", mask)}.get(
                kind, (kind, "" if kind == "random" else mask)
            )
            own_k = 0 if kind == "none" else k
            stored = outcomes.loc[(run_kind, attribute, own_k, draw, concept)]
            without = outcomes.loc[("none", "", 0, 0, concept)]
            assert row["accuracy"] == stored["accuracy"]
            np.testing.assert_allclose(row["log_odds"], stored["log_odds"], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(row["drop"], without["log_odds"] - stored["log_odds"], rtol=1e-4, atol=2e-6)
            compared += 1
        assert compared >= 4 * (1 + len(named))
        of_mask = found[found["kind"] == "mask"]
        assert of_mask["log_odds"].std() > 0.01
        assert of_mask["drop"].abs().max() > 0.001


def test_effects_are_those_of_a_run(done):
    found = es.effects(
        done.model,
        done.items,
        exact=3,
        seed=7,
        **done.asked | {"activations": es.open_run(done.folder.path).activations},
    )
    stored = mean_effects(done.folder).overall
    np.testing.assert_allclose(found["effect"], stored, rtol=1e-4, atol=1e-4 * np.abs(stored).max())
    assert sorted(found["neuron"][found["is_exact"]]) == sorted(exact_neurons(done.folder))
    run = es.open_run(done.folder.path).selectivity
    np.testing.assert_array_equal(found["layer"], run["layer"])
    np.testing.assert_array_equal(found["unit"], run["unit"])


def test_an_effect_is_the_mean_drop_with_its_sign(done):
    """Of a neuron that is ablated exactly."""
    own = done.asked | {"activations": es.open_run(done.folder.path).activations, "seed": 7}
    exact = es.effects(done.model, done.items, exact=3, normalization="none", steps=1, **own).query("is_exact")
    masks = {str(one.neuron): [(one.layer, one.unit)] for one in exact.itertuples()}
    drops = es.ablate(done.model, masks, done.items, normalization="none", **own).groupby("mask")["drop"].mean()
    change = -drops[[str(number) for number in exact["neuron"]]].to_numpy()
    # What is written weighs the scores' change by the outcome's gradient.
    np.testing.assert_allclose(change, exact["effect"], rtol=0.2, atol=0.1 * np.abs(change).max())
