"""Everything that a GPU should make fast, in one command of at most nine minutes.

The tests that need a GPU; the searchlight with permutations; extraction from a model of the shape of Llama 3.1 8B with
random weights in bfloat16, every row kept on disk or only moments; ablation, attribution and tuning of the same model:
each beside the bare passes of the same rows, and as a share of what large matrix products reach on this device.

    python -m benchmarks.gpu [--size tiny] [--json FILE]

Nothing is downloaded. ``--size tiny`` takes seconds on a CPU; what it prints says only that everything runs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import emoscale as es
from benchmarks.common import arguments, tell
from emoscale.extraction.extract import extract
from emoscale.extraction.inputs import TextRows
from emoscale.extraction.options import ExtractionOptions
from emoscale.extraction.work import Job
from emoscale.models.prompted import PromptedModel
from emoscale.run.folder import RunFolder
from emoscale.selectivity.kendall import permuted
from emoscale.selectivity.permutation import concept_orders
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.prompt_texts import draw_prompt_texts
from emoscale.system.progress import Silent
from emoscale.system.ranks import one_process
from emoscale.tuning.options import TuningOptions
from emoscale.tuning.training import GroupTrainer
from emoscale_kernels import attribute_patterns, decimal_distances

CONCEPTS = ["joy", "fear", "anger", "sadness", "pride", "shame", "relief", "envy"]
WORDS = [f"w{number}" for number in range(500)]
ATTRIBUTES, SEARCHED_CONCEPTS = 14, 27


@dataclass(frozen=True)
class Size:
    """How large everything is.

    Attributes
    ----------
    layers, hidden, width, heads, kv_heads, vocabulary : int
        Of the model.
    texts, words : int
        Extracted; and words of each text.
    asked, masks : int
        Texts that are asked about, and masks under which they are.
    neurons, permutations : int
        Of the searchlight.
    square : int
        Rows of the matrices whose product shows what the device can do.
    """

    layers: int
    hidden: int
    width: int
    heads: int
    kv_heads: int
    vocabulary: int
    texts: int
    words: int
    asked: int
    masks: int
    neurons: int
    permutations: int
    square: int


SIZES = {
    "full": Size(32, 4096, 14_336, 32, 8, 128_256, 2048, 128, 64, 16, 458_752, 199, 8192),
    "tiny": Size(2, 32, 64, 4, 2, 600, 32, 12, 16, 3, 256, 9, 256),
}


def main() -> None:
    options = arguments(__doc__ or "", size=("full", "tiny"))
    tell("GPU", measure(SIZES[options.size]), options.json)


def measure(size: Size) -> dict[str, Any]:
    """Return all numbers."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu: says only that everything runs"
    numbers: dict[str, Any] = {"device": name, **_tests(device)}
    numbers |= _searchlight(size, device)
    model, peak = _model(size, device), _matrix_flops(size, device, torch.bfloat16)
    texts = _texts(size)
    with tempfile.TemporaryDirectory() as folder:
        numbers |= {"matrix_tflop_s": peak / 1e12, **_extraction(model, texts, peak, Path(folder))}
    numbers |= _asking(model, texts, size)
    return numbers | _tuning(model, texts, size)


def _tests(device: str) -> dict[str, str]:
    if device == "cpu":
        return {"gpu_tests": "no GPU"}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"], capture_output=True, text=True
    )
    return {"gpu_tests": run.stdout.strip().splitlines()[-1] if run.stdout.strip() else run.stderr[-200:]}


def _model(size: Size, device: str) -> es.Model:
    vocabulary = {word: number for number, word in enumerate(["[UNK]", "[PAD]", "feels", *CONCEPTS, *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]")  # noqa: S106
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=1,
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            module = LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)
    return es.load(module, tokenizer=tokenizer)


def _texts(size: Size) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size.words)) for _ in range(size.texts)]
    concepts = [CONCEPTS[number % len(CONCEPTS)] for number in range(size.texts)]
    split = ["train" if number // len(CONCEPTS) % 2 == 0 else "dev" for number in range(size.texts)]
    labels = [(concept,) for concept in concepts]
    return pd.DataFrame({"text": texts, "concept": concepts, "labels": labels, "split": split})


def _searchlight(size: Size, device: str) -> dict[str, float]:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((1, SEARCHED_CONCEPTS, size.neurons)).astype(np.float32)
    patterns = attribute_patterns(decimal_distances(rng.random((SEARCHED_CONCEPTS, ATTRIBUTES)).round(3)))
    orders = concept_orders(SEARCHED_CONCEPTS, size.permutations, seed=0)
    seconds = _seconds(lambda: permuted(values, patterns, orders, backend=device), device)
    pairs = SEARCHED_CONCEPTS * (SEARCHED_CONCEPTS - 1) // 2
    flop = 2 * size.neurons * (pairs * (pairs - 1) // 2) * ATTRIBUTES * (1 + size.permutations)
    with torch.inference_mode():
        torch.set_float32_matmul_precision("high")
        peak = _matrix_flops(size, device, torch.float32)
        torch.set_float32_matmul_precision("highest")
    return {"maps_a_s": (1 + size.permutations) / seconds, "searchlight_share_of_matrix": flop / seconds / peak}


def _extraction(model: es.Model, texts: pd.DataFrame, peak: float, folder: Path) -> dict[str, float]:
    loaded = model.language_model
    tokens = [loaded.outline.tokenizer(text)["input_ids"] for text in texts["text"]]
    count, batch_rows, device = sum(map(len, tokens)), 64, str(loaded.device)
    body = loaded.module.base_model
    flop = 2 * count * sum(p.numel() for p in body.layers.parameters())

    def bare() -> None:
        with torch.inference_mode():
            for ids in _batches(tokens, batch_rows, device):
                body(input_ids=ids)

    found = {"bare_tokens_a_s": count / _seconds(bare, device)}
    found["bare_share_of_matrix"] = flop / count * found["bare_tokens_a_s"] / peak
    for keep in ("activations", "moments"):

        def work(keep: Any = keep) -> None:
            extract(
                RunFolder(folder / f"{keep}-{time.monotonic_ns()}"),
                TextRows(loaded, [texts], "mean", 2**20),
                ExtractionOptions(keep=keep, dtype="bfloat16", batch_rows=batch_rows),
                job=Job(origin={}, concepts=CONCEPTS, writers=4),
                ranks=one_process(device),
                progress=Silent(),
            )

        found[f"{keep}_over_bare"] = count / _seconds(work, device) / found["bare_tokens_a_s"]
    return found


def _asking(model: es.Model, texts: pd.DataFrame, size: Size) -> dict[str, float]:
    loaded, device = model.language_model, str(model.language_model.device)
    items = texts[["text", "concept"]].head(size.asked)
    rng, neurons = np.random.default_rng(0), len(model.neurons)
    masks = {f"m{number}": rng.choice(neurons, neurons // 20, replace=False) for number in range(size.masks)}
    templates = ["{text} feels"]
    tokens = [loaded.outline.tokenizer(f"{text} feels")["input_ids"] for text in items["text"]]
    rows = len(items) * (1 + len(masks))

    def passes(with_gradient: bool) -> Callable[[], None]:
        def work() -> None:
            with torch.set_grad_enabled(with_gradient):
                for _ in range(1 if with_gradient else 1 + len(masks)):
                    for ids in _batches(tokens, 32, device):
                        logits = loaded.module(input_ids=ids, logits_to_keep=1).logits
                        if with_gradient:
                            logits.float().logsumexp(-1).sum().backward()

        return work

    bare = _seconds(passes(False), device)
    ablated = _seconds(lambda: es.ablate(model, masks, items, templates=templates), device)
    loaded.module.requires_grad_(False)
    loaded.module.get_input_embeddings().requires_grad_(True)  # so that gradients reach every layer, as ours do
    both = _seconds(passes(True), device)
    loaded.module.zero_grad()
    loaded.module.requires_grad_(False)
    estimated = _seconds(lambda: es.effects(model, items, exact=0, templates=templates), device)
    return {
        "ablation_rows_a_s": rows / ablated,
        "ablation_over_bare": bare / ablated,
        "attribution_rows_a_s": len(items) / estimated,
        "attribution_over_bare": both / estimated,
    }


def _tuning(model: es.Model, texts: pd.DataFrame, size: Size) -> dict[str, float]:
    loaded, device = model.language_model, str(model.language_model.device)
    options = TuningOptions(
        seeds=[0], layout="prefix", prompt_length=8, epochs=1, verbaliser=["w0", "w1"], validation=0
    )
    sampled = StimuliOptions(source="file", train_texts=size.asked // 2, dev_texts=2)
    prompts = draw_prompt_texts(texts, CONCEPTS, options.seeds, sampled)
    prompted = PromptedModel(loaded, options.layout, options.prompt_length, options.verbaliser)
    tokens = [loaded.outline.tokenizer(text)["input_ids"] for text in texts["text"]]
    seconds = _seconds(lambda: GroupTrainer(prompted, tokens, prompts, options).train(Silent()), device)
    return {"tuned_texts_a_s": sum(len(prompt.train) + len(prompt.dev) for prompt in prompts) / seconds}


def _batches(tokens: list[list[int]], rows: int, device: str) -> Iterator[Tensor]:
    """Yield token ids of texts that are all of one length."""
    for start in range(0, len(tokens), rows):
        yield torch.tensor(tokens[start : start + rows], device=device)


def _matrix_flops(size: Size, device: str, dtype: torch.dtype) -> float:
    a, b = (torch.rand(size.square, size.square, device=device, dtype=dtype) for _ in range(2))
    return 2 * size.square**3 / min(_seconds(lambda: a @ b, device) for _ in range(5))


def _seconds(work: Callable[[], object], device: str) -> float:
    """Return the wall time of the second call, until the device is done."""
    for _ in range(2):
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        took = time.perf_counter() - start
    return took


if __name__ == "__main__":
    main()
