"""Activations of texts made of known words, for the report's neurons to be looked at."""

from __future__ import annotations

import numpy as np

from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, INPUTS
from emoscale.store import create_store

WORDS = [
    *("she", "he", "felt", "saw", "won", "lost", "a", "the", "<gift>", "news"),
    *("loud", "dark", "home", "&", "storm", "when", "then", "again"),
]
TEXTS, TOKENS = 6, 70
"""Texts a concept, and tokens of the longest."""


def spell(ids, keep_special):
    return [WORDS[token] if place == 0 else f" {WORDS[token]}" for place, token in enumerate(ids)]


def write_activations(folder: RunFolder, concepts: list[str], neurons: int, *, by_token: bool = True, width: int = 64):
    """Write activations and inputs; return the activations (observation, neuron) and their items."""
    rng = np.random.default_rng(7)
    names = np.repeat(np.array(concepts, object), TEXTS)
    lengths = rng.integers(5, 12, len(names))
    lengths[3] = TOKENS
    ids = rng.integers(0, len(WORDS), lengths.sum())
    ends = np.cumsum(lengths)
    item = np.repeat(np.arange(len(names)), lengths if by_token else 1)
    position = np.concatenate([np.arange(n) for n in lengths]) if by_token else np.full(len(names), -1)
    replicate = np.array(["1", "2"], object)[np.arange(len(names)) % 2]
    values = rng.normal(size=(len(item), neurons)).astype(np.float32)
    place = {"layer": np.arange(neurons) // 100, "expert": np.full(neurons, -1), "unit": np.arange(neurons) % 100}
    coordinates = {
        "concept": names[item],
        "replicate": replicate[item],
        "item": item,
        "position": position,
        "token_id": ids if by_token else np.full(len(item), -1),
        **place,
    }
    height = 16
    store = create_store(folder.activations, ACTIVATIONS, coordinates, {"observation": height, "neuron": width})
    for start in range(0, len(item), height):
        for first in range(0, neurons, width):
            block = values[start : start + height, first : first + width]
            store.write("activations", block, observation=start, neuron=first)
    store.mark_complete()
    spans = {"length": lengths, "first": ends - lengths, "stop": ends}
    inputs = create_store(
        folder.inputs, INPUTS, {"concept": names, "replicate": replicate, **spans}, {}, sizes={"token": len(ids)}
    )
    inputs.write("token_ids", ids.astype(np.int32))
    inputs.mark_complete()
    return values, item
