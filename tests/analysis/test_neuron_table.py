"""`tables/neurons.parquet` is what the stores say, whatever the blocks in which it was written."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from emoscale.analysis import neuron_table
from emoscale.analysis.neuron_table import NEURON_COLUMNS, write_neuron_table
from emoscale.effect_schema import EFFECTS
from emoscale.run.folder import RunFolder
from emoscale.schema import SELECTIVITY
from emoscale.store import create_store

ATTRIBUTES = ["valence", "NA"]
NUMBERS = ("tau", "p", "q", "rank")


def make_selectivity(folder, rng, neurons=11, width=3, expert=-1):
    values = {name: rng.random((neurons, 2)) for name in NUMBERS}
    values["tau"][4] = np.nan
    coordinates = {
        "order": np.arange(0),
        "attribute": np.array(ATTRIBUTES, object),
        "layer": np.arange(neurons) // 6,
        "expert": np.full(neurons, expert),
        "unit": np.arange(neurons) % 6,
    }
    store = create_store(folder.selectivity, SELECTIVITY, coordinates, {"neuron": width})
    for name in (array.name for array in SELECTIVITY.data if "neuron" in array.dims):
        for start in range(0, neurons, width):
            store.write(name, values.get(name, np.zeros((neurons, 2)))[start : start + width], neuron=start)
    store.mark_complete()
    return store, values


def make_effects(folder, rng, neurons=11):
    effects = rng.normal(size=(4, neurons)).astype(np.float32)
    coordinates = {
        "concept": np.array(["joy"] * 4, object),
        "replicate": np.array(["1"] * 4, object),
        "text": np.arange(4),
        "right": np.zeros(4, int),
        "half": np.arange(4) % 2,
        "layer": np.arange(neurons) // 6,
        "expert": np.full(neurons, -1),
        "unit": np.arange(neurons) % 6,
    }
    store = create_store(folder.effects, EFFECTS, coordinates, {"item": 4, "neuron": neurons})
    store.write("effects", effects)
    store.mark_complete()
    return effects.astype(np.float64).mean(axis=0)


@pytest.mark.parametrize("at_a_time", [1, 4, 100])
def test_it_has_every_neuron_and_attribute(tmp_path, monkeypatch, at_a_time):
    monkeypatch.setattr(neuron_table, "_NEURONS_AT_A_TIME", at_a_time)
    folder, rng = RunFolder(tmp_path), np.random.default_rng(1)
    store, values = make_selectivity(folder, rng)
    effects = make_effects(folder, rng)
    names = write_neuron_table(folder, store)
    file = folder.tables / "neurons.parquet"
    table = pd.read_parquet(file)
    assert list(table) == names == [name for name in NEURON_COLUMNS if name != "expert"]
    assert table["attribute"].tolist() == ATTRIBUTES * 11
    assert table["neuron"].tolist() == np.repeat(np.arange(11), 2).tolist()
    assert (table["layer"] * 6 + table["unit"]).tolist() == table["neuron"].tolist()
    for name in NUMBERS:
        np.testing.assert_array_equal(table[name].to_numpy().reshape(11, 2), values[name])
    np.testing.assert_allclose(table["effect"], np.repeat(effects, 2))
    assert pq.ParquetFile(file).num_row_groups == {1: 4, 4: 4, 100: 1}[at_a_time]


def test_experts_have_a_column_and_effects_none_where_there_are_none(tmp_path):
    folder = RunFolder(tmp_path)
    store, _ = make_selectivity(folder, np.random.default_rng(2), expert=3)
    assert write_neuron_table(folder, store) == [name for name in NEURON_COLUMNS if name != "effect"]
    assert set(pd.read_parquet(folder.tables / "neurons.parquet")["expert"]) == {3}
