"""Effects of whole masks: sums of estimates beside what the scores say."""

import numpy as np
import pandas as pd
import pytest

from emoscale.analysis.mask_effects import mask_agreement, mask_effects, sum_over_masks
from emoscale.effect_schema import EFFECT_MOMENTS
from emoscale.errors import StageError
from emoscale.run.folder import RunFolder
from emoscale.schema import MASKS, SCORES
from emoscale.store import create_store, open_store

NEURONS, ITEMS = 19, 6
OPTIONS = ["joy", "fear", "grief"]
KINDS = ["none", "selective", "random", "random", "random"]


def write_masks(folder, off, chunk=2):
    coordinates = {
        "kind": np.array(KINDS, object),
        "attribute": np.array(["", "valence", "", "", ""], object),
        "k": off.sum(axis=1).astype(np.int32),
        "draw": np.array([0, 0, 0, 1, 2], np.int32),
    }
    bits = np.packbits(off, axis=1)
    store = create_store(folder.masks, MASKS, coordinates, {"mask": chunk}, sizes={"neuron_byte": bits.shape[1]})
    store.write("bits", bits)
    store.mark_complete()
    return coordinates


@pytest.fixture
def off():
    off = np.zeros((5, NEURONS), bool)
    rng = np.random.default_rng(0)
    for row in off[1:]:
        row[rng.choice(NEURONS, 6, replace=False)] = True
    return off


@pytest.fixture
def effects():
    return np.where(np.arange(NEURONS) == 4, np.nan, np.random.default_rng(1).normal(size=NEURONS))


@pytest.fixture(params=["none", "calibrated"])
def normalization(request):
    return request.param


@pytest.fixture
def scores():
    return np.random.default_rng(2).normal(size=(ITEMS, 5, 3)).astype(np.float32)


RIGHT = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture
def folder(tmp_path, off, effects, normalization, scores):
    folder, number = RunFolder(tmp_path), np.arange(NEURONS)
    masks = write_masks(folder, off)
    neuron = {"layer": number // 10, "expert": np.full(NEURONS, -1), "unit": number % 10}
    cells = {name: np.array(["0"], object) for name in ("concept", "replicate")}
    cells |= {"half": np.zeros(1, np.int32), "rows": np.array([ITEMS])}
    origin = {"normalization": normalization}
    store = create_store(folder.effect_moments, EFFECT_MOMENTS, {**cells, **neuron}, {}, attributes=origin)
    store.write("mean", effects[None])
    store.write("m2", np.zeros((1, NEURONS)))
    store.write("count", np.where(np.isnan(effects), 0, ITEMS)[None].astype(np.int32))
    store.mark_complete()
    items = {
        "concept": np.array(OPTIONS, object)[RIGHT],
        "replicate": np.array(["0"] * ITEMS, object),
        "text": np.arange(ITEMS, dtype=np.int32),
        "right": RIGHT.astype(np.int32),
        "length": np.ones(ITEMS, np.int32),
    }
    options = {"option": np.array(OPTIONS, object), "option_tokens": np.ones(3, np.int32)}
    sizes, chunks = {"exact_item": 0, "token": ITEMS, "option_token": 3}, {"mask": 2}
    store = create_store(folder.scores, SCORES, {**items, **masks, **options}, chunks, sizes=sizes)
    store.write("scores", scores)
    store.mark_complete()
    return folder


def test_estimates_and_what_the_scores_say(folder, off, effects, normalization, scores):
    found = mask_effects(folder)
    assert found["kind"].tolist() == KINDS[1:]
    assert found["draw"].tolist() == [0, 0, 1, 2]
    expected = [sum(effects[n] for n in np.flatnonzero(row) if n != 4) for row in off[1:]]
    np.testing.assert_allclose(found["estimated"], expected)
    outcome = []
    for mask in range(5):
        values = scores[:, mask].astype(float)
        if normalization == "calibrated":
            values -= values.mean(axis=0)
        p = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
        of_right = p[np.arange(ITEMS), RIGHT]
        outcome.append(np.log(of_right / (1 - of_right)).mean())
    np.testing.assert_allclose(found["exact"], np.array(outcome[1:]) - outcome[0])


def test_chunks_do_not_matter(tmp_path, folder, off, effects):
    one = sum_over_masks(open_store(folder.masks, MASKS), effects)
    other = RunFolder(tmp_path / "other")
    other.path.mkdir()
    write_masks(other, off, chunk=5)
    assert sum_over_masks(open_store(other.masks, MASKS), effects).tolist() == one.tolist()


def test_scores_of_other_masks_are_refused(folder, off):
    off[4, :12] = True
    write_masks(folder, off)
    with pytest.raises(StageError, match=r"not of the masks.*--fresh"):
        mask_effects(folder)


def test_agreement_by_kind_and_size():
    table = pd.DataFrame(
        {
            "kind": ["selective", *["random"] * 4],
            "k": 6,
            "estimated": [1.0, 0.0, 1.0, 2.0, 3.0],
            "exact": [5.0, 1.0, 1.5, 2.0, 2.5],
        }
    )
    found = mask_agreement(table).set_index("kind")
    assert found["masks"].to_dict() == {"selective": 1, "random": 4}
    assert found.loc["random", ["estimated", "exact", "r", "slope"]].tolist() == pytest.approx([1.5, 1.75, 1, 0.5])
    assert np.isnan(found.loc["selective", "r"])
