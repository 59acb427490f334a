"""Kept sets are what their rankings say, and their outcomes those of masked forward passes made by hand."""

import numpy as np
import pytest
import small_study
import torch
from small_study import NEURONS, attribute, contents

from emoscale.ablation.edits import RowEdit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import score
from emoscale.ablation.options import AblationOptions
from emoscale.attribution.exact import ExactAblation
from emoscale.attribution.measure_faithfulness import count_sets, measure_faithfulness
from emoscale.attribution.options import FaithfulnessOptions
from emoscale.attribution.rankings import RANKINGS, RankedBy, Ranking
from emoscale.effect_schema import FAITHFULNESS
from emoscale.errors import StageError
from emoscale.models.loading import load_model
from emoscale.run.effects import mean_effects
from emoscale.run.folder import RunFolder
from emoscale.schema import SELECTIVITY
from emoscale.store import create_store, open_store
from emoscale.system.progress import Silent
from emoscale.system.ranks import one_process

OPTIONS = FaithfulnessOptions(
    rankings=["effect", "tau", "both", "random"], shares=[0.1, 0.5], draws=2, edit="zero", items=24, seed=3
)


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model("gpt2")


@pytest.fixture(scope="module")
def task(model):
    return small_study.make_task(model)


def write_tau(folder):
    rng = np.random.default_rng(0)
    coordinates = {name: np.zeros(NEURONS, np.int32) for name in ("layer", "expert", "unit")}
    coordinates |= {"order": np.arange(0), "attribute": np.array(["arousal", "valence"], object)}
    store = create_store(folder.selectivity, SELECTIVITY, coordinates, {})
    store.write("tau", np.where(rng.random((NEURONS, 2)) < 0.1, np.nan, rng.normal(size=(NEURONS, 2))))
    store.mark_complete()


@pytest.fixture
def folder(tmp_path, model, task):
    attribute(tmp_path / "run", model, task)
    write_tau(RunFolder(tmp_path / "run"))
    return RunFolder(tmp_path / "run")


def measure(folder, model, task, options=OPTIONS, normalization="none", progress=None):
    ablation = AblationOptions(task="multiple-choice", tokens_per_pass=400, items_per_unit=5, masks_per_unit=3)
    exact = ExactAblation(folder, model, ablation, {"model": "tiny"}, one_process())
    return measure_faithfulness(folder, task, exact, options, normalization, progress or Silent())


def by_hand(scores, right):
    """Log-odds of the right option of each item and mask."""
    odds = np.empty(scores.shape[:2])
    for item, own in enumerate(right):
        for mask in range(scores.shape[1]):
            values = scores[item, mask].astype(np.float64)
            odds[item, mask] = values[own] - np.log(np.exp(np.delete(values, own)).sum())
    return odds


def test_outcomes_are_those_of_all_other_neurons_edited(folder, model, task):
    counts = measure(folder, model, task)
    store = open_store(folder.faithfulness, FAITHFULNESS)
    assert store.complete
    names, draws, k = (store.read(name).tolist() for name in ("ranking", "draw", "k"))
    assert counts == {"items": 24, "masks": len(k)}
    assert len(k) == count_sets(OPTIONS, NEURONS) == 2 + 2 * 5
    assert names == ["", ""] + ["effect"] * 2 + ["tau"] * 2 + ["both"] * 2 + ["random"] * 4
    assert k == [0, NEURONS] + [5, 24] * 5
    assert draws == [0] * 8 + [0, 0, 1, 1]
    effects = mean_effects(folder).overall
    tau = np.nanmax(open_store(folder.selectivity, SELECTIVITY).read("tau"), axis=1, initial=-np.inf)
    by_loss, by_tau = sorted(range(NEURONS), key=lambda n: effects[n]), sorted(range(NEURONS), key=lambda n: -tau[n])
    by_both = sorted(range(NEURONS), key=lambda n: by_loss.index(n) + by_tau.index(n))
    off = np.zeros((8, NEURONS), bool)
    off[0] = True
    for place, order in ((2, by_loss), (4, by_tau), (6, by_both)):
        off[place, order[5:]] = True
        off[place + 1, order[24:]] = True
    forward = ForwardOptions(RowEdit(), "exact", 4000)
    scores = score(model, task, np.arange(24), off, np.arange(8), forward, lambda rows: None)
    found = store.read("log_odds")
    np.testing.assert_allclose(found[:, :8], by_hand(scores, task.items["label"].to_numpy()), atol=1e-5)
    assert len(set(found[0, 8:].tolist())) == 4  # each draw has neurons of its own
    assert store.read("concept").tolist() == task.items["concept"].tolist()
    assert store.read("text").tolist() == task.items["text"].tolist()
    assert not folder.faithfulness_scores.exists()


def test_always_absent_and_untested_neurons_come_last():
    by = RankedBy(
        effects=lambda: np.array([0.5, np.nan, -2.0, -0.5, -2.0]),
        tau=lambda: np.array([[0.3, np.nan], [0.1, 0.2], [np.nan, np.nan], [0.0, 0.3], [-0.5, -0.1]]),
        neurons=5,
        draws=3,
        seed=0,
    )
    orders = {name: [order.tolist() for order in ranking.orders(by)] for name, ranking in RANKINGS.items()}
    assert orders["effect"] == [[2, 4, 3, 0, 1]]
    assert orders["tau"] == [[0, 3, 1, 4, 2]]
    assert orders["both"] == [[0, 3, 2, 4, 1]]  # ranks 3 + 0, 4 + 2, 0 + 4, 2 + 1, 1 + 3
    assert len({tuple(order) for order in orders["random"]}) == 3
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders["random"])


def test_a_known_set_carries_everything(tmp_path, tiny_outline):
    """Nothing reads what the other neurons do, so that a quarter of them carries all, and an eighth does not."""
    model, causal = load_model(tiny_outline("gpt2")), np.arange(0, NEURONS, 4)
    others = np.setdiff1d(np.arange(NEURONS), causal)
    width = NEURONS // len(model.outline.sites)
    with torch.no_grad():
        for layer, block in enumerate(model.module.transformer.h):
            block.mlp.c_proj.weight[others[others // width == layer] % width] = 0
    task, folder = small_study.make_task(model), RunFolder(tmp_path / "run")
    order = np.concatenate([causal, others])
    known = Ranking("known", "those that matter", "known", lambda by: iter([order]))
    shares = [0.125, 0.25, 0.5]
    measure(folder, model, task, FaithfulnessOptions(rankings=[known], shares=shares, edit="zero"))
    none, everything, half, exactly, more = open_store(folder.faithfulness, FAITHFULNESS).read("log_odds").T
    np.testing.assert_allclose(exactly, everything, atol=1e-5)
    np.testing.assert_allclose(more, everything, atol=1e-5)
    assert np.abs(half - everything).max() > 1e-3
    assert np.abs(none - everything).max() > 1e-3


def test_an_interrupted_stage_goes_on_and_gives_the_same(tmp_path, folder, model, task):
    measure(folder, model, task)
    before = contents(folder.path)

    class StopError(Exception):
        pass

    class Stopping(Silent):
        left = 4

        def advance(self, *_args):
            self.left -= 1
            if self.left < 0:
                raise StopError

    measure(folder, model, task, FaithfulnessOptions(rankings=["random"], edit="zero"))  # is replaced
    with pytest.raises(StopError):
        measure(folder, model, task, progress=Stopping())
    assert folder.faithfulness_scores.exists()
    measure(folder, model, task)
    assert contents(folder.path) == before
    measure(folder, model, task)  # finished: nothing is scored
    assert contents(folder.path) == before


def test_calibration_needs_several_items_of_a_question(folder, model, task):
    options = FaithfulnessOptions(rankings=["random"], items=1)
    with pytest.raises(StageError, match=r"faithfulness\.items 1: some question"):
        measure(folder, model, task, options, "calibrated")
    assert not folder.faithfulness.exists()
