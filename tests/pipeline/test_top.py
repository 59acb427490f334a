"""`emoscale top` lists neurons by what the stores say."""

import numpy as np
import pytest
from tiny_run import NEURONS

from emoscale.commands.top import top_neurons
from emoscale.errors import InputError
from emoscale.run.effects import mean_effects
from emoscale.run.folder import RunFolder
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
    answer = cli("top", finished.out, "--by", "arousal", "--count", "3")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0].split() == ["layer", "unit", "effect", "attribute", "tau"]
    assert len(lines) == 4


def test_an_unknown_order_names_the_known_ones(folder):
    with pytest.raises(InputError, match=r"--by 'valense': .*valence.*give one of: effect, size, arousal, valence"):
        top_neurons(folder, "valense", 3)
