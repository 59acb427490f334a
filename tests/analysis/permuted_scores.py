"""Stores of scores after selective and permuted masks that cost chosen amounts."""

import numpy as np

from emoscale.run.folder import RunFolder
from emoscale.schema import SCORES
from emoscale.store import create_store


def masks_of(attributes, ks, draws):
    """Coordinates of no mask, then by size the selective and the permuted ones: (kind, attribute, k, draw)."""
    rows = [("none", "", 0, 0)]
    for k in ks:
        rows += [("selective", name, k, 0) for name in attributes]
        rows += [("permuted", name, k, draw) for name in attributes for draw in range(draws)]
    return rows


def write_scores(path, scores, masks, texts=None, chunk=4):
    """Write scores (items, masks, options) of a choice among the concepts, equally many texts of each."""
    items, count, options = scores.shape
    concept = np.repeat(np.arange(options), items // options)
    names = np.array([f"concept {number}" for number in range(options)], object)
    kinds, attributes, ks, draws = zip(*masks, strict=True)
    coordinates = {
        "concept": names[concept],
        "replicate": np.array(["0"] * items, object),
        "text": np.arange(items) if texts is None else np.asarray(texts),
        "right": concept,
        "length": np.ones(items, np.int32),
        "kind": np.array(kinds, object),
        "attribute": np.array(attributes, object),
        "k": np.array(ks),
        "draw": np.array(draws, np.int32),
        "option": names,
        "option_tokens": np.ones(options, np.int32),
    }
    sizes = {"exact_item": 0, "token": items, "option_token": options}
    store = create_store(RunFolder(path).scores, SCORES, coordinates, {"mask": chunk}, sizes=sizes)
    for start in range(0, count, chunk):
        store.write("scores", scores[:, start : start + chunk].astype(np.float32), mask=start)
    store.mark_complete()
    return store


def made_scores(rng, masks, *, concepts=9, texts=4, able=2.0, cost=None, spread=0.05, noise=0.1):
    """Scores of a model that is right by `able` logits; each mask costs the right one `cost` (by mask) and chance."""
    items = concepts * texts
    right = np.repeat(np.arange(concepts), texts)
    base = rng.normal(size=(items, 1, concepts))
    base[np.arange(items), 0, right] += able
    scores = base + noise * rng.normal(size=(items, len(masks), concepts))
    loss = spread * rng.normal(size=len(masks)) + (0 if cost is None else np.asarray(cost))
    loss[0] = 0.0
    scores[np.arange(items), :, right] -= loss
    return scores
