"""The inputs in which neurons are most and least active are those of the whole matrix, whatever its chunks."""

import numpy as np
import pandas as pd
import pytest

from emoscale.errors import StageError
from emoscale.run.extremes import Inputs, find_extremes, values_by_token
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_extraction
from emoscale.schema import ACTIVATIONS, INPUTS, MOMENTS
from emoscale.store import Store, create_store

NEURONS = 10
LISTED = np.array([7, 2, 3])
PLACE = {"layer": np.zeros(NEURONS, int), "expert": np.full(NEURONS, -1), "unit": np.arange(NEURONS)}


def write(folder, values, item, position, concept, height, width):
    rows = {
        "concept": np.array(concept, object)[item],
        "replicate": np.array(["1"] * len(item), object),
        "item": item,
        "position": position,
        "token_id": np.zeros(len(item), int),
    }
    store = create_store(folder.activations, ACTIVATIONS, rows | PLACE, {"observation": height, "neuron": width})
    for start in range(0, len(item), height):
        for first in range(0, NEURONS, width):
            store.write(
                "activations", values[start : start + height, first : first + width], observation=start, neuron=first
            )
    store.mark_complete()


@pytest.fixture
def tokens():
    """Return activations at tokens of 9 inputs of three concepts, some of them absent, and their inputs and places."""
    rng = np.random.default_rng(4)
    lengths = np.array([3, 1, 6, 2, 8, 4, 1, 5, 7])
    item = np.repeat(np.arange(9), lengths)
    values = np.round(rng.normal(size=(len(item), NEURONS)), 1).astype(np.float32)  # some are equal
    values[item == 4, 2] = np.nan
    values[3:5, 3] = np.nan
    return values, item, np.concatenate([np.arange(n) for n in lengths]), ["joy", "fear", "joy", "sad"] * 2 + ["fear"]


@pytest.mark.parametrize(("height", "width"), [(37, 10), (4, 3), (5, 1)])
@pytest.mark.parametrize("count", [2, 4, 20])
def test_they_are_those_of_the_whole_matrix(tmp_path, tokens, height, width, count):
    folder, (values, item, position, concept) = RunFolder(tmp_path), tokens
    write(folder, values, item, position, concept, height, width)
    found = find_extremes(folder, LISTED, count)
    for neuron in LISTED.tolist():
        each = pd.Series(values[:, neuron].astype(float)).groupby(item)
        for is_highest, best in ((True, each.max().dropna()), (False, each.min().dropna())):
            rows = found.rows[(found.rows["neuron"] == neuron) & (found.rows["is_highest"] == is_highest)]
            expected = best.sort_values(ascending=not is_highest)[:count]
            np.testing.assert_allclose(rows.sort_values("place")["value"], expected, rtol=1e-6)
            assert rows["item"].is_unique
            np.testing.assert_allclose(rows["value"], best.loc[rows["item"]], rtol=1e-6)
            assert (item[rows["observation"].astype(int)] == rows["item"]).all()
            assert rows["concept"].tolist() == [concept[one] for one in rows["item"]]
        means = pd.Series(values[:, neuron].astype(float)).groupby(np.array(concept, object)[item]).mean()
        np.testing.assert_allclose(found.means[neuron].loc[means.index], means, rtol=1e-6)


def test_only_the_chunks_of_these_neurons_are_read(tmp_path, tokens, monkeypatch):
    folder, (values, item, position, concept) = RunFolder(tmp_path), tokens
    write(folder, values, item, position, concept, 5, 2)
    read, usual = set(), Store.read

    def spy(self, name, **ranges):
        if name == "activations":
            read.update(range(ranges["neuron"].start, ranges["neuron"].stop))
            assert ranges["observation"].stop - ranges["observation"].start <= 5
        return usual(self, name, **ranges)

    monkeypatch.setattr(Store, "read", spy)
    find_extremes(folder, LISTED, 3)
    assert read == {2, 3, 7}


def test_a_neuron_at_every_token_of_an_input(tmp_path, tokens):
    folder, (values, item, position, concept) = RunFolder(tmp_path), tokens
    write(folder, values, item, position, concept, 5, 4)
    store, own = open_extraction(folder), np.flatnonzero(item == 4)
    for observation in own.tolist():
        found = values_by_token(store, 7, observation, 8)
        np.testing.assert_allclose([found[token] for token in range(8)], values[own, 7], rtol=1e-6)


def test_of_moments_there_are_means_over_concepts(tmp_path):
    folder, rng = RunFolder(tmp_path), np.random.default_rng(5)
    mean, count = rng.normal(size=(4, NEURONS)), rng.integers(1, 9, (4, NEURONS)).astype(np.int32)
    count[0, 2] = 0
    mean[0, 2] = np.nan
    names = np.array(["joy", "fear", "joy", "fear"], object)
    cells = {"concept": names, "replicate": np.array(list("1122"), object), "rows": np.full(4, 9)}
    store = create_store(folder.moments, MOMENTS, cells | PLACE, {"neuron": 4})
    for name, values in {"mean": mean, "m2": np.zeros_like(mean), "count": count}.items():
        for start in range(0, NEURONS, 4):
            store.write(name, values[:, start : start + 4], neuron=start)
    store.mark_complete()
    found = find_extremes(folder, LISTED, 3)
    assert found.rows.empty
    for neuron in LISTED.tolist():
        for concept in ("joy", "fear"):
            some = (names == concept) & (count[:, neuron] > 0)
            expected = np.average(mean[some, neuron], weights=count[some, neuron])
            assert found.means[neuron][concept] == pytest.approx(expected)


def test_inputs_are_read_one_at_a_time(tmp_path):
    folder, ids = RunFolder(tmp_path), [[5, 6], [7], [], [8, 9, -1]]
    length = np.array(list(map(len, ids)))
    spans = {"length": length, "first": np.zeros(4, int), "stop": length}
    names = np.array(["joy"] * 4, object)
    store = create_store(folder.inputs, INPUTS, {"concept": names, "replicate": names, **spans}, {}, sizes={"token": 6})
    store.write("token_ids", np.array([5, 6, 7, 8, 9, -1], np.int32))
    with pytest.raises(StageError, match="not finished"):
        Inputs(folder)
    store.mark_complete()
    assert [Inputs(folder).token_ids(item) for item in range(4)] == ids
