"""`emoscale top` lists neurons by what the stores say."""

import shutil

import numpy as np
import pytest
from tiny_run import NEURONS

from emoscale.commands.top import one_neuron, top_neurons
from emoscale.errors import InputError
from emoscale.run.effects import mean_effects
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_extraction
from emoscale.schema import SELECTIVITY
from emoscale.store import open_store


@pytest.fixture(scope="module")
def folder(finished):
    return RunFolder(finished.out)


def number_of(table):
    return (table["layer"] * 24 + table["unit"]).to_numpy()


def test_by_effect_the_largest_loss_comes_first(folder):
    found, effects = top_neurons(folder, "effect", 10), mean_effects(folder).overall
    assert number_of(found).tolist() == np.argsort(effects, kind="stable")[:10].tolist()
    np.testing.assert_allclose(found["effect"], np.sort(effects)[:10])


def test_by_size_harm_and_help_count(folder):
    found, effects = top_neurons(folder, "size", 1000), mean_effects(folder).overall
    assert len(found) == NEURONS
    np.testing.assert_allclose(found["effect"].abs(), -np.sort(-np.abs(effects)))


def test_by_attribute_tau_counts(folder):
    store = open_store(folder.selectivity, SELECTIVITY)
    tau = store.read("tau")[:, store.read("attribute").tolist().index("valence")]
    found = top_neurons(folder, "valence", 5)
    assert set(found["attribute"]) == {"valence"}
    np.testing.assert_allclose(found["tau"], -np.sort(-tau)[:5])


def test_the_attribute_beside_an_effect_is_the_one_with_the_largest_tau(folder):
    tau = open_store(folder.selectivity, SELECTIVITY).read("tau")
    found = top_neurons(folder, "effect", 8)
    np.testing.assert_allclose(found["tau"], np.nanmax(tau[number_of(found)], axis=1))


def test_the_command_prints_them(cli, finished):
    answer = cli("top", finished.out, "--attribute", "arousal", "--count", "3", "--texts", "1")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0].split() == ["layer", "unit", "effect", "attribute", "tau", "p", "q"]
    layer, unit = lines[1].split()[:2]
    values = open_extraction(RunFolder(finished.out)).read("activations")[:, int(layer) * 24 + int(unit)]
    for line, end, value in ((4, "most", values.max()), (6, "least", values.min())):
        assert lines[line].startswith(f"{layer}:{unit} {end} active: ")
        assert float(lines[line + 1].split()[0].replace("−", "-")) == pytest.approx(value, rel=0.01)
    assert len(lines) == 1 + 3 + 3 * 4


def test_one_neuron_has_a_row_for_each_attribute(cli, folder, finished):
    tau = open_store(folder.selectivity, SELECTIVITY).read("tau")[24 + 5]
    found = one_neuron(folder, "1:5")
    np.testing.assert_allclose(found["tau"], -np.sort(-tau))
    assert set(found["unit"]) == {5}
    answer = cli("top", finished.out, "--neuron", "1:5", "--texts", "0")
    assert len(answer.out.splitlines()) == 1 + 3


@pytest.mark.parametrize(
    ("place", "problem"),
    [("1:99", "this run has layers 0 to 1, units 0 to 23 in layer 1"), ("7:1", "layers 0 to 1"), ("1", "LAYER:UNIT")],
)
def test_a_neuron_that_is_not_there(folder, place, problem):
    with pytest.raises(InputError, match=problem):
        one_neuron(folder, place)


def test_without_the_model_texts_are_not_shown(cli, world, finished):
    shutil.copytree(finished.out, world.out)
    config = world.out / "config.yaml"
    config.write_text(config.read_text().replace(finished.settings["model"]["name"], str(world.folder / "gone")))
    answer = cli("top", world.out, "--count", "1")
    assert answer.code == 0
    assert "texts are not shown, since the model's tokenizer cannot be read" in answer.out
    assert "most active:" in answer.out


def test_an_unknown_order_names_the_known_ones(folder):
    with pytest.raises(InputError, match=r"--by 'valense': .*valence.*give one of: effect, size, arousal, valence"):
        top_neurons(folder, "valense", 3)
