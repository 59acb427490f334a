"""How much does one pass over a tree of names save, against a pass for each stem?

A random Llama of SmolLM2-135M's shape (30 layers, hidden size 576, 49,152 words) scores the names of 27 emotions as
continuations of texts of 60 to 90 tokens under several masks: in one pass in which every row holds its text and the
tree of the names' tokens (`by_tree`), and in as many passes as there are stems (`by_stems`). Most names are one token,
some two or three, as a tokenizer of that size cuts them.

`speedup` is the ratio of the medians over --repeats turns in which the two alternate; `difference` the largest
difference of their log probabilities, in nats.

    python -m benchmarks.continuations [--texts N] [--masks N] [--device cuda] [--json FILE]
"""

from __future__ import annotations

import statistics
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.common import arguments, seconds, tell
from emoscale.models.masking import masking
from emoscale.models.sites.registry import find_sites
from emoscale.system.ranks import cores
from emoscale.tasks.continuations import Continuations
from emoscale.tasks.reading import RowReader

NAME_TOKENS = [1] * 16 + [2] * 9 + [3] * 2
VOCABULARY = 49_152
SHORTEST, LONGEST = 60, 90
SHARE_OFF = 0.05


def main() -> None:
    options = arguments(__doc__ or "", texts=4, masks=3, device="cpu")
    torch.set_num_threads(cores())
    module = smollm().to(options.device)
    rng = np.random.default_rng(0)
    starts = rng.choice(VOCABULARY, len(NAME_TOKENS), replace=False)
    names = [
        [int(start), *rng.integers(VOCABULARY, size=count - 1).tolist()]
        for start, count in zip(starts, NAME_TOKENS, strict=True)
    ]
    lengths = np.linspace(SHORTEST, LONGEST, options.texts).astype(int)
    texts = [rng.integers(VOCABULARY, size=length).tolist() for length in lengths]
    found = compare(module, texts, names, options)
    tell("Continuations: one pass over the tree, or one for each stem", found, options.json)


def smollm() -> LlamaForCausalLM:
    """Make a random Llama of SmolLM2-135M's shape."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


def compare(module: Any, texts: list[list[int]], names: list[list[int]], options: Any) -> dict[str, Any]:
    """Time both in turns."""
    sites = find_sites(module)
    outline = SimpleNamespace(name="SmolLM2", pad_id=0, sites=sites, first_position=0, takes_positions=True)
    model: Any = SimpleNamespace(module=module, outline=outline, device=module.device, tp_size=1)
    scoring = Continuations(RowReader(model), names)
    neurons = sum(site.width for site in sites)
    off = torch.from_numpy(rng_masks(options.masks, neurons))
    take = torch.arange(len(texts), device=module.device).repeat_interleave(options.masks)
    mask = torch.arange(options.masks).repeat(len(texts))
    scores: dict[str, Tensor] = {}

    @torch.inference_mode()
    def run(method: str) -> None:
        with masking(module, sites, off) as masked:
            masked.expect(mask)
            scores[method] = getattr(scoring, method)(texts, take).cpu()

    methods = ("by_stems", "by_tree")
    for method in methods:
        run(method)
    turns: dict[str, list[float]] = {method: [] for method in methods}
    for _ in range(options.repeats):
        for method in methods:
            turns[method].append(seconds(partial(run, method)))
    medians = {method: statistics.median(took) for method, took in turns.items()}
    return {
        "rows": len(take),
        "names": len(names),
        "stems": len(scoring.stems),
        "tree_tokens": scoring.nodes,
        **{f"wall_s_{method}": took for method, took in medians.items()},
        "speedup": medians["by_stems"] / medians["by_tree"],
        "difference": float((scores["by_stems"] - scores["by_tree"]).abs().max()),
    }


def rng_masks(masks: int, neurons: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Draw masks; the first edits nothing."""
    off = np.random.default_rng(1).random((masks, neurons)) < SHARE_OFF
    off[0] = False
    return off


if __name__ == "__main__":
    main()
