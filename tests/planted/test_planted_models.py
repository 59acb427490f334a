"""Models whose neurons are known: what is said of them is so, in the real model and in its twin."""

import numpy as np
import pytest
from planted_runs import K, finished_run

from benchmarks.planted_models import Kind, PlantedOptions, draw_model, draw_texts
from benchmarks.planted_run import SET
from benchmarks.planted_twin import Truth, Twin, most_selective, outcomes, with_drop
from emoscale.run.stores import open_finished
from emoscale.schema import ACTIVATIONS, MASKS, SCORES, SELECTIVE, SELECTIVITY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["llama", "mixtral"])
def planted(request, tmp_path_factory):
    """A model and a finished run on it."""
    model = draw_model(PlantedOptions(family=request.param))
    return model, finished_run(model, tmp_path_factory.mktemp(request.param))


def test_the_twin_scores_as_the_model_does(planted):
    model, run = planted
    store = open_finished(run.folder.scores, SCORES)
    bits = open_finished(run.folder.masks, MASKS).read("bits")
    masks = np.unpackbits(bits, axis=1, count=model.options.neurons).astype(bool)
    texts, concept = draw_texts(model, model.options.texts, SET)
    np.testing.assert_array_equal(store.read("concept"), np.array(model.names)[concept])
    np.testing.assert_allclose(Twin(model).scores(texts, masks), store.read("scores"), atol=1e-4)


def test_the_twin_has_the_models_activations(planted):
    model, run = planted
    store = open_finished(run.folder.activations, ACTIVATIONS)
    rows = Twin(model).activations.transpose(1, 0, 2)  # sentences vary fastest
    np.testing.assert_array_equal(store.read("concept"), np.repeat(model.names, rows.shape[1]))
    np.testing.assert_allclose(rows.reshape(-1, rows.shape[2]), store.read("activations"), atol=1e-4)


def test_the_twin_selects_as_the_stages_do(planted):
    model, run = planted
    np.testing.assert_array_equal(most_selective(Twin(model), model.scores, K), run.masks(SELECTIVE, K))


def test_followers_follow_and_others_do_not(planted):
    model, run = planted
    tau = open_finished(run.folder.selectivity, SELECTIVITY).read("tau")
    for attribute in range(model.options.attributes):
        own = model.follows == attribute
        assert np.median(tau[own, attribute]) > np.quantile(tau[model.follows < 0, attribute], 0.95)


def test_only_what_is_causal_matters():
    model = draw_model(PlantedOptions())
    twin, (texts, concept) = Twin(model), draw_texts(model, 5, 0)
    of_kind = np.stack([model.kind == kind for kind in Kind])
    nothing = np.zeros((1, model.options.neurons), bool)
    found = outcomes(twin.logits(texts, np.concatenate([nothing, of_kind])), concept)
    assert found[1 + Kind.UNREAD] == pytest.approx(found[0], abs=1e-12)
    assert found[1 + Kind.IDLE] == pytest.approx(found[0], abs=1e-12)
    assert found[1 + Kind.SELECTIVE] < found[0] - 0.1
    assert found[1 + Kind.UNSELECTIVE] < found[0] - 0.1


def test_the_true_drop_is_that_over_many_texts_and_permutations():
    """The regression on estimates changes the expectation by nothing, and its error a lot."""
    model = draw_model(PlantedOptions(seed=1))
    truth = Truth(Twin(model), K, sets=40, draws=20, orders=800)
    masks = most_selective(truth.twin, model.scores, K)
    plain = [
        truth._outcomes(number, truth._permuted[number * 20 : number * 20 + 20].reshape(80, -1)) for number in range(40)
    ]
    own = [truth._outcomes(number, masks) for number in range(40)]
    expected = np.mean(plain, axis=0).reshape(20, -1).mean(axis=0) - np.mean(own, axis=0)
    # 800 permutations, all of which are on some set: there is nothing to regress out but their division among the sets.
    np.testing.assert_allclose(truth.drops(masks), expected, atol=0.002)


def test_models_cost_what_was_asked_for():
    for target in (0.0, 0.2):
        model = with_drop(draw_model(PlantedOptions(seed=2)), K, target)
        twin = Twin(model)
        drops = Truth(twin, K, orders=800).drops(most_selective(twin, model.scores, K))
        assert drops.mean() == pytest.approx(target, abs=0.03)


def test_options_without_followers_have_as_many_neurons():
    options = PlantedOptions()
    for other in (options.without_followers(), options.all_unread()):
        assert other.neurons == options.neurons
    kinds = np.bincount(draw_model(options.without_followers()).kind, minlength=4)
    assert kinds[Kind.SELECTIVE] == kinds[Kind.UNREAD] == 0
    assert kinds[Kind.UNSELECTIVE] == options.unselective + sum(options.selective)


def test_drawing_depends_on_the_seed_alone():
    one, again, other = (draw_model(PlantedOptions(seed=seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.up, again.up)
    np.testing.assert_array_equal(one.write, again.write)
    assert not np.array_equal(one.up, other.up)
    np.testing.assert_array_equal(draw_texts(one, 5, 0)[0], draw_texts(again, 5, 0)[0])
    assert not np.array_equal(draw_texts(one, 5, 0)[0], draw_texts(one, 5, 1)[0])
