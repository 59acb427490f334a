"""Moments instead of activations."""

import numpy as np
import pandas as pd
import pytest
from extracting import activations_of, extract_rows

from emoscale.errors import InputError
from emoscale.extraction.inputs import TextRows
from emoscale.run.folder import RunFolder
from emoscale.schema import MOMENTS
from emoscale.store import open_store
from emoscale.system.progress import Silent
from emoscale_kernels import empty_moments, update_moments

pytestmark = pytest.mark.slow

CONCEPTS = ["joy", "fear", "anger"]
WORDS = ["she", "felt", "alone", "at", "home", "news", "gift", "dark", "loud", "friend", "won", "lost"]


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    labels = [("joy",), ("anger",), ("joy", "anger"), (), ("fear",), ("calm",)]
    rows = [(" ".join(rng.choice(WORDS, rng.integers(1, 7))), labels[i % 6]) for i in range(50)]
    return pd.DataFrame(rows, columns=["text", "labels"])


@pytest.fixture
def rows(tiny_model, texts):
    return lambda pooling="mean": TextRows(tiny_model("bert-encoder"), [texts], pooling, 64)


OPTIONS = {"block_rows": 4, "batch_rows": 3, "chunk_neurons": 20, "concepts": CONCEPTS, "origin": {"model": "tiny"}}


def keep(path, rows, progress=None, **changes):
    return extract_rows(path, rows, progress, **OPTIONS | {"keep": "moments"} | changes)


def moments(path):
    store = open_store(RunFolder(path).moments, MOMENTS)
    assert store.complete
    assert store.verify() == []
    return store


def files_of(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("pooling", ["mean", "all"])
@pytest.mark.parametrize("shards", [1, 3, 16, 1000])
def test_they_are_the_moments_of_the_full_store(tmp_path, rows, shards, pooling):
    counts = keep(tmp_path / "moments", rows(pooling), reduction_shards=shards)
    assert counts == keep(tmp_path / "full", rows(pooling), keep="activations")
    full, store = activations_of(tmp_path / "full"), moments(tmp_path / "moments")
    assert store.read("concept").tolist() == CONCEPTS
    assert store.read("replicate").tolist() == [""] * 3
    cell = pd.Index(CONCEPTS).get_indexer(full.read("concept"))
    expected = empty_moments(3, full.sizes["neuron"])
    update_moments(expected, full.read("activations"), cell)
    assert store.read("rows").tolist() == np.bincount(cell[cell >= 0]).tolist()
    np.testing.assert_array_equal(store.read("count"), expected.counts)
    exact = shards == 1
    np.testing.assert_allclose(store.read("mean"), expected.mean, rtol=0 if exact else 1e-12)
    np.testing.assert_allclose(store.read("m2"), expected.m2, rtol=0 if exact else 1e-9)
    for name in ("layer", "unit", "expert"):
        np.testing.assert_array_equal(store.read(name), full.read(name))
    assert sorted(path.name for path in (tmp_path / "moments").iterdir()) == ["inputs.zarr", "moments.zarr"]


class StopAfter(Silent):
    def __init__(self, blocks):
        self.left = blocks

    def start(self, total, unit, done=0):
        self.total, self.done, self.unit = total, done, unit

    def advance(self, amount=1):
        self.left -= self.unit == "rows"
        if not self.left:
            raise KeyboardInterrupt


def test_an_interrupted_sum_continues(tmp_path, rows):
    keep(tmp_path / "whole", rows(), reduction_shards=5)
    with pytest.raises(KeyboardInterrupt):
        keep(tmp_path / "part", rows(), StopAfter(8), reduction_shards=5)
    assert not open_store(RunFolder(tmp_path / "part").moments, MOMENTS).complete
    progress = StopAfter(99)
    keep(tmp_path / "part", rows(), progress, reduction_shards=5)
    assert progress.done >= 24  # two shards of three blocks
    assert files_of(tmp_path / "part") == files_of(tmp_path / "whole")


def test_no_row_represents_a_concept(tmp_path, rows):
    with pytest.raises(InputError, match="no row represents a concept"):
        keep(tmp_path, rows(), concepts=["pride"])
