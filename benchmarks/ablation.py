"""How long do many masks take, compared with bare forward passes and with other methods?

A random model of RoBERTa-base's shape (12 x 3,072 neurons, 50,265 words, prompts of 100 vectors, read at the mask by
two words) and MiniLM (prompts of 8 vectors, a label head at the mean) classify the same held-out texts of
GoEmotions under the same random masks, in one process:

- study: the published loop written plainly: for every mask the model is loaded again from its folder, texts are padded
  to 256 tokens in batches of 100, and the head scores the vocabulary at every position;
- hooks: the same without loading again, and padded to the longest text of the batch only;
- nnsight: like hooks, the neurons edited in nnsight's trace;
- ours, in float32 (exact) and, where the processor has it, in bfloat16;
- bare: the forward passes alone, of the same rows and lengths as ours, without masks, prompts or head.

`speedup_study`, `speedup_hooks` and `speedup_nnsight` are their time over ours, `overhead` is ours over bare, the
median over --repeats turns in which ours and bare alternate; `speedup_study_bf16` is the study's time over ours in
bfloat16. `forward_share_of_matmul` is the rate of the bare passes over the machine's for large matrix products. All
methods in float32 must give the same labels; texts whose two scores differ by less than 1e-4 are not compared, but
counted.

`smollm2` is another task, multiple choice, and other methods: see `benchmarks.ablation_choice`.

    python -m benchmarks.ablation [--models roberta,minilm,smollm2] [--texts N] [--masks N] [--device D] [--json FILE]

nnsight is in the extra `bench` (pip install 'emoscale[bench]'); without it its numbers are null.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite.binding import get_host_cpu_name
from numpy.typing import NDArray
from torch import Tensor
from transformers import RobertaConfig, RobertaForMaskedLM

from benchmarks import ablation_choice
from benchmarks.ablation_rivals import RIVALS
from benchmarks.common import arguments, matmul_flops, seconds, tell
from benchmarks.extraction import GOEMOTIONS, MINILM
from benchmarks.extraction_ways import forward_flop
from emoscale.ablation.budget import find_budget, one_pass, shared_maps
from emoscale.ablation.edits import RowEdit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import passes, scored
from emoscale.models.loading import load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import encode_texts, outline_model
from emoscale.models.prompt_files import TunedPrompts
from emoscale.models.prompted import PromptedModel
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.prompt_texts import PromptTexts, Sample
from emoscale.stimuli.texts import load_texts
from emoscale.system.files import write_text
from emoscale.system.ranks import cores, has_fast_bfloat16, one_process
from emoscale.tasks.soft_prompt import SoftPromptTask

WORDS = ["negative", "positive"]
SHARE_OFF = 0.1
CLOSE = 1e-4
CHOICE = "smollm2"
DEFAULTS = {"roberta": (100, 2), "minilm": (100, 16)}
"""Texts and masks; enough for the study's batches of 100."""


@dataclass(frozen=True)
class Work:
    """The work that every method does.

    Attributes
    ----------
    model : PromptedModel
    task : SoftPromptTask
    texts : list of list of int
        Token ids.
    prompt, head : Tensor
        The prompt's vectors and label head.
    off : ndarray of bool, shape (masks, neurons)
    """

    model: PromptedModel
    task: SoftPromptTask
    texts: list[list[int]]
    prompt: Tensor
    head: Tensor
    off: NDArray[np.bool_]


def main() -> None:
    settings: dict[str, Any] = {
        "models": ",".join([*DEFAULTS, CHOICE]),
        "texts": 0,
        "masks": 0,
        "goemotions": str(GOEMOTIONS),
        "device": "cpu",
        "rivals": ",".join(RIVALS),
    }
    options = arguments(__doc__ or "", **settings)
    torch.set_num_threads(cores())
    found = {}
    with tempfile.TemporaryDirectory() as path:
        for name in options.models.split(","):
            found[name] = measure(name, Path(path), options)
            tell(f"Ablation: {name}", found[name], None)
    if options.json:
        machine = {"machine": platform.machine(), "processor": get_host_cpu_name(), "cores": os.cpu_count()}
        if options.device == "cuda":
            machine["device"] = torch.cuda.get_device_name()
        write_text(options.json, json.dumps({**machine, "models": found}, indent=2) + "\n")


def measure(name: str, folder: Path, options: Any) -> dict[str, Any]:
    """Measure every method on one model."""
    if name == CHOICE:
        return ablation_choice.compare(ablation_choice.prepare(folder, options), options)
    return compare(prepare(name, folder, options), options)


def prepare(name: str, folder: Path, options: Any) -> Work:
    """Make or find the model, and draw texts, a prompt and masks."""
    path, length, layout = MINILM, 8, "prefix"
    if name == "roberta":
        path, length, layout = str(folder / name), 100, "mask-first"
        save_roberta(Path(path))
    language_model = load_model(outline_model(ModelOptions(path)), device=options.device)
    model = PromptedModel(language_model, layout, length, WORDS)
    texts, masks = (given or usual for given, usual in zip((options.texts, options.masks), DEFAULTS[name], strict=True))
    table = load_texts(StimuliOptions(source="goemotions", path=options.goemotions))
    held_out = table.loc[table["split"] == "dev", "text"].sample(texts, random_state=0).tolist()
    tokens = encode_texts(language_model.outline, held_out, 256)
    generator = torch.Generator().manual_seed(0)
    prompt = model.initial_prompt().cpu() + 0.02 * torch.randn(
        length, model.initial_prompt().shape[1], generator=generator
    )
    head = torch.randn(model.readout.new_head().shape, generator=generator)
    off = np.random.default_rng(0).random((masks, language_model.outline.neurons)) < SHARE_OFF
    blank = torch.zeros(1, dtype=torch.float64)
    sample = Sample(np.arange(texts), np.arange(texts) % 2)
    tuned = TunedPrompts(prompt[None], head[None], blank, blank, blank, blank.long(), blank.long())
    task = SoftPromptTask(model, tokens, [PromptTexts("joy", 1, sample, sample)], tuned)
    return Work(model, task, tokens, prompt, head, off)


def save_roberta(folder: Path) -> None:
    """Save a random model of RoBERTa-base's shape with MiniLM's tokenizer."""
    tokenizer = outline_model(ModelOptions(MINILM)).tokenizer
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=50265, pad_token_id=tokenizer.pad_token_id, max_position_embeddings=514, type_vocab_size=1
    )
    RobertaForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def compare(work: Work, options: Any) -> dict[str, Any]:
    """Measure every method."""
    device = work.model.model.device
    forward = ForwardOptions(RowEdit(), "exact")
    forward = ForwardOptions(RowEdit(), "exact", 1024, shared_maps(work.model.model, work.task, work.off, forward))
    rows = len(work.texts) * len(work.off)
    tokens = int(work.task.items["tokens"].sum()) * len(work.off)
    probe = one_pass(work.model.model, work.task, work.off, forward)
    forward = ForwardOptions(
        forward.edit, "exact", find_budget(probe, tokens, one_process(str(device))), forward.shared
    )
    matmul = matmul_flops(device)
    turns = [(seconds_of(device, bare(work, forward)), timed(device, work, forward)) for _ in range(options.repeats)]
    ours_s = statistics.median(ours for _, (ours, _) in turns)
    bare_s = statistics.median(bare for bare, _ in turns)
    ratios = [ours / bare for bare, (ours, _) in turns]
    flop = sum(forward_flop(work.model.model, *shape) for shape in shapes(work, forward))
    numbers: dict[str, Any] = {
        "rows": rows,
        "masks": len(work.off),
        "tokens": tokens,
        "tokens_per_pass": forward.tokens_per_pass,
        "padding": 1 - tokens / sum(r * t for r, t in shapes(work, forward)),
        "overhead": statistics.median(ratios),
        "overhead_lowest": min(ratios),
        "overhead_highest": max(ratios),
        "rows_per_s": rows / ours_s,
        "wall_s_ours": ours_s,
        "wall_s_bare": bare_s,
        "matmul_gflop_s": matmul / 1e9,
        "forward_share_of_matmul": flop / bare_s / matmul,
        "ours_share_of_matmul": flop / ours_s / matmul,
    }
    scores = turns[-1][1][1]
    if has_fast_bfloat16(device):
        coarse = ForwardOptions(forward.edit, "bfloat16", forward.tokens_per_pass, forward.shared)
        took, near = min((timed(device, work, coarse) for _ in range(2)), key=lambda pair: pair[0])
        same = float((near.argmax(-1) == scores.argmax(-1)).float().mean())
        numbers |= {"wall_s_ours_bf16": took, "rows_per_s_bf16": rows / took, "same_labels_bf16": same}
    else:
        numbers |= {"wall_s_ours_bf16": None, "reason_bf16": "this processor has no fast bfloat16"}
    for rival in options.rivals.split(","):
        numbers |= beside(rival, work, scores, numbers)
    return numbers


def beside(rival: str, work: Work, scores: Tensor, numbers: dict[str, Any]) -> dict[str, Any]:
    """Measure a rival, and compare its time and its labels with ours."""
    device = work.model.model.device
    try:
        run = RIVALS[rival](work)
    except ModuleNotFoundError as error:
        reason = f"{error.name} is not installed (pip install 'emoscale[bench]')"
        return {f"speedup_{rival}": None, f"reason_{rival}": reason}
    found: list[Tensor] = []
    took = seconds_of(device, lambda: found.append(run()))
    theirs = found[0].cpu()
    clear = (scores[..., 1] - scores[..., 0]).abs() > CLOSE
    if not torch.equal(theirs.argmax(-1)[clear], scores.argmax(-1)[clear]):
        raise SystemExit(f"{rival}: other labels than ours")
    bf16 = numbers["wall_s_ours_bf16"]
    return {
        f"wall_s_{rival}": took,
        f"speedup_{rival}": took / numbers["wall_s_ours"],
        f"speedup_{rival}_bf16": took / bf16 if bf16 else None,
        f"max_abs_difference_{rival}": float((theirs - scores).abs().max()),
        f"too_close_to_compare_{rival}": int((~clear).sum()),
    }


def timed(device: torch.device, work: Work, forward: ForwardOptions) -> tuple[float, Tensor]:
    """Score all texts under all masks; return the wall time and the scores (masks, texts, 2)."""
    found = torch.empty(len(work.off), len(work.texts), 2)

    def run() -> None:
        numbers = np.arange(len(work.off))
        done = list(scored(work.model.model, work.task, np.arange(len(work.texts)), work.off, numbers, forward))
        for one in done:  # results are fetched after all passes
            found[one.mask, one.item] = one.scores.cpu()

    return seconds_of(device, run), found


def bare(work: Work, forward: ForwardOptions) -> Callable[[], None]:
    """Return the forward passes alone."""
    body = work.model.model.module.base_model
    hidden = work.prompt.shape[1]

    @torch.inference_mode()
    def run() -> None:
        for rows, tokens in shapes(work, forward):
            vectors = torch.zeros(rows, tokens, hidden, device=work.model.model.device)
            body(
                inputs_embeds=vectors, attention_mask=torch.ones(rows, tokens, dtype=torch.long, device=vectors.device)
            )

    return run


def shapes(work: Work, forward: ForwardOptions) -> list[tuple[int, int]]:
    """Return rows and tokens of each of our passes."""
    lengths = work.task.items["tokens"].to_numpy()
    return [
        (len(item), int(lengths[item].max())) for item, _ in passes(lengths, len(work.off), forward.tokens_per_pass)
    ]


def seconds_of(device: torch.device, run: Callable[[], object]) -> float:
    """Return the wall time until the device is done."""

    def whole() -> None:
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return seconds(whole)


if __name__ == "__main__":
    main()
