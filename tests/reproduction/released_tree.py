"""A small made-up release in the layout of the authors' repository."""

import json

import numpy as np
import pandas as pd

from emoscale.commands.reproduce import released
from emoscale.commands.reproduce.accuracies import ALIASES
from emoscale_kernels import condensed_distances

CONCEPTS = ["realization", "surprise", "joy", "anger", "fear", "remorse"]
SEEDS = ["1", "3", "42"]
ATTRIBUTES = ["arousal", "valence", "happy-face", "self-relativity", "novelty"]
NEURONS = 36
KS = (4, 9)
_JSON_NAME = {attribute: name for name, attribute in ALIASES.items()}


def make_release(root, seed=0):
    rng = np.random.default_rng(seed)
    for name in released.NEEDED:
        folder = root / name
        (folder if "." not in folder.name else folder.parent).mkdir(parents=True, exist_ok=True)
    (root / released.CONCEPTS).write_text("\r\n".join([*CONCEPTS, "neutral", ""]))
    raw = rng.uniform(1, 9, (len(CONCEPTS), len(ATTRIBUTES))).round(3)
    scores = (raw - raw.min(axis=0)) / np.ptp(raw, axis=0)
    write(root / released.SCORES, scores, ATTRIBUTES)
    write(root / released.RDMS, condensed_distances(raw).T, ATTRIBUTES)
    pairs = len(CONCEPTS) * (len(CONCEPTS) - 1) // 2
    participants = rng.integers(1, 10, (7, pairs)) + condensed_distances(raw)[1]
    write(root / released.PARTICIPANTS, participants, [f"V{i}" for i in range(pairs)])
    write(root / released.PEOPLE, participants.mean(axis=0)[:, None], ["Subjective Comparison"])
    _prompts(root, rng)
    return root


def _prompts(root, rng):
    rows = []
    for seed in SEEDS:
        for concept in CONCEPTS:
            activations = rng.normal(size=NEURONS).astype(np.float32)
            lines = [",".join(map(str, range(NEURONS))), ",".join(map(str, activations))]
            (root / released.ACTIVATIONS / f"{concept}-{seed}.csv").write_text("\n".join(lines) + "\n")
            rows.append((concept, seed, rng.uniform(0.7, 0.9)))
            for folder, word in ((released.SELECTIVE, "top"), (released.RANDOM, "random")):
                accuracies = {"sentiment": concept, "seed": int(seed), "best": rows[-1][2]}
                for attribute in ATTRIBUTES:
                    for k in KS:
                        name = _JSON_NAME.get(attribute, attribute)
                        accuracies[f"{name}_{word}{k}"] = rng.uniform(0.5, 0.8)
                (root / folder / f"{concept}-{seed}.json").write_text(json.dumps(accuracies))
    table = pd.DataFrame(rows, columns=["sentiment", "random_seed", "accuracy"])
    table.to_csv(root / released.ACCURACY, index=False)


def write(path, values, columns):
    pd.DataFrame(values, columns=columns).to_csv(path, index=False, float_format="%.15g")
