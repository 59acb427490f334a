"""How much does it save to compute once for each mask what all rows begin with?

A random Llama of SmolLM2-135M's shape (30 layers, hidden size 576, 49,152 words) scores the names of 27 emotions as
continuations of texts of 15 to 25 tokens under several masks. All texts follow the same tokens: a chat's system
message, examples, or only the start of a template (--lengths). Their keys and values are computed once for each mask,
or all rows are computed whole.

`speedup_N` is the ratio of the medians over --repeats turns in which the two alternate, with N tokens before the texts;
`tokens_N` the ratio of the tokens that go through the model; `difference_N` the largest difference of the log
probabilities, in nats.

    python -m benchmarks.prefix [--texts N] [--masks N] [--lengths 4,16,60] [--scoring first-token] [--json FILE]
"""

from __future__ import annotations

import statistics
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.common import arguments, seconds, tell
from benchmarks.continuations import NAME_TOKENS, VOCABULARY, rng_masks, smollm
from emoscale.ablation.edits import RowEdit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import scored
from emoscale.models import prefix
from emoscale.models.shortcuts import shareable
from emoscale.models.sites.registry import find_sites
from emoscale.system.ranks import cores
from emoscale.tasks import beginnings
from emoscale.tasks.multiple_choice import MultipleChoiceItems, MultipleChoiceTask

SHORTEST, LONGEST = 15, 25


def main() -> None:
    options = arguments(
        __doc__ or "",
        texts=8,
        masks=8,
        lengths="1,4,8,16,60",
        tokens=1024,
        scoring=("name", "first-token"),
        device="cpu",
    )
    torch.set_num_threads(cores())
    beginnings.SHORTEST = 1  # whether it pays is the question
    module = smollm().to(options.device)
    sites = find_sites(module)
    outline = SimpleNamespace(
        name="SmolLM2",
        kind="causal-lm",
        pad_id=0,
        sites=sites,
        first_position=0,
        takes_positions=True,
        padding_leaks=False,
    )
    model = SimpleNamespace(module=module, outline=outline, device=module.device, tp_rank=0, tp_size=1)
    found: dict[str, Any] = {"texts": options.texts, "masks": options.masks, "threshold": prefix.SHORTEST}
    for length in map(int, options.lengths.split(",")):
        numbers = compare(model, make_task(model, length, options), options)
        found |= {f"{name}_{length}": number for name, number in numbers.items()}
    tell("What all rows begin with: computed once, or with each", found, options.json)


def make_task(model: Any, length: int, options: Any) -> MultipleChoiceTask:
    """Draw a beginning, texts and names."""
    rng = np.random.default_rng(0)
    beginning = rng.integers(VOCABULARY, size=length).tolist()
    sizes = np.linspace(SHORTEST, LONGEST, options.texts).astype(int)
    rows = [[*beginning, *rng.integers(VOCABULARY, size=size).tolist()] for size in sizes]
    starts = rng.choice(VOCABULARY, len(NAME_TOKENS), replace=False)
    names = [
        [int(start), *rng.integers(VOCABULARY, size=count - 1).tolist()]
        for start, count in zip(starts, NAME_TOKENS, strict=True)
    ]
    if options.scoring == "first-token":
        names = [tokens[:1] for tokens in names]
    nodes = len({tuple(tokens[:end]) for tokens in names for end in range(1, len(tokens))})
    table = pd.DataFrame({"concept": "any", "replicate": "0", "label": 0, "tokens": [len(row) + nodes for row in rows]})
    return MultipleChoiceTask(model, MultipleChoiceItems(table, rows, tuple(map(str, range(len(names)))), names))


def compare(model: Any, task: Any, options: Any) -> dict[str, float]:
    """Time both in turns."""
    off = rng_masks(options.masks, sum(site.width for site in model.outline.sites))
    forward = ForwardOptions(RowEdit(), "exact", options.tokens, tuple(shareable(model.module, model.outline.sites)))
    items, scores = np.arange(len(task.items)), dict[str, Tensor]()
    share = task.prefix

    def run(method: str) -> None:
        task.prefix = share if method == "once" else lambda _: None
        result = torch.empty(len(items), len(off), len(task.options))
        for one in scored(model, task, items, off, np.arange(len(off)), forward):
            result[one.item, one.mask] = one.scores.cpu()
        scores[method] = result

    counts: list[int] = []
    hook = model.module.get_input_embeddings().register_forward_hook(lambda *of: counts.append(of[2].shape[:2].numel()))
    tokens = {}
    for method in ("once", "each"):
        counts.clear()
        run(method)
        tokens[method] = sum(counts)
    hook.remove()
    turns: dict[str, list[float]] = {"once": [], "each": []}
    for _ in range(options.repeats):
        for method, took in turns.items():
            took.append(seconds(partial(run, method)))
    medians = {method: statistics.median(took) for method, took in turns.items()}
    return {
        "speedup": medians["each"] / medians["once"],
        "tokens": tokens["each"] / tokens["once"],
        "difference": float((scores["each"] - scores["once"]).abs().max()),
    }


if __name__ == "__main__":
    main()
