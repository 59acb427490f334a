import numpy as np
import pytest
from clusters import CHUNK, CONCEPTS, NEURONS, REPLICATES, digest, run

from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS
from emoscale.store import create_store


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    rows = len(CONCEPTS) * REPLICATES
    coordinates = {
        "concept": np.repeat(CONCEPTS, REPLICATES),
        "replicate": np.tile(["1", "3"], len(CONCEPTS)),
        "item": np.zeros(rows),
        "position": np.zeros(rows),
        "token_id": np.zeros(rows),
        "layer": np.zeros(NEURONS),
        "expert": np.full(NEURONS, -1),
        "unit": np.arange(NEURONS),
    }
    store = create_store(folder.activations, ACTIVATIONS, coordinates, {"neuron": CHUNK})
    store.write("activations", np.random.default_rng(0).normal(size=(rows, NEURONS)))
    store.mark_complete()
    return folder


@pytest.fixture
def expected(folder):
    """Give the digest of what threads write, and the folder as it was before."""
    run(folder, threads=2)
    expected = digest(folder.selectivity)
    folder.selectivity.rename(folder.path / "by-threads")
    return expected
