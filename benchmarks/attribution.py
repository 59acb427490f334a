"""What does it cost to estimate every neuron's effect, and how good are the estimates?

SmolLM2-135M (or a random model of its shape) continues texts of GoEmotions with the names of 27 emotions; a random
model of RoBERTa-base's shape judges them with a prompt of 100 vectors. In one process, over --repeats turns in which
they alternate:

- forward: the same passes without gradients;
- backward: forward, and the backward pass of the same outcome to the word embeddings, nothing else;
- ours: the effect of every neuron on the outcome through every item.

`over_forward` and `over_forward_backward` are the median ratios of ours. `rss_growth` is the peak memory of the whole
stage with four times the items over that with --items, each in a process of its own. With SmolLM2's own weights
`single_r` is the correlation over --check single neurons, stratified by estimate, of the estimated with the exact
change of the mean outcome, and `group_r` the lowest one over items and random groups of .05, .5 and 5 % of the neurons.
`masks_a_second_estimated` is how many random masks' effects the sums of estimates give, `masks_a_second_exact` how
many masks the ablation evaluates on the same items. `wall_s_nnsight` is nnsight's recipe (extra `bench`), which must
give the same effects.

    python -m benchmarks.attribution [--models smollm2,roberta] [--items N] [--check N] [--json FILE]
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from llvmlite.binding import get_host_cpu_name
from torch import Tensor

from benchmarks import ablation, ablation_choice
from benchmarks.common import arguments, peak_rss_mib, seconds, tell
from benchmarks.extraction import GOEMOTIONS
from emoscale.ablation.edits import RowEdit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import score
from emoscale.ablation.options import AblationOptions
from emoscale.attribution.attribute_effects import attribute_effects
from emoscale.attribution.estimate import Estimator
from emoscale.attribution.exact import ExactAblation
from emoscale.attribution.options import AttributionOptions
from emoscale.extraction.work import Job
from emoscale.models.masking import ZERO
from emoscale.models.packing import pack
from emoscale.run.folder import RunFolder
from emoscale.system.files import write_text
from emoscale.system.progress import Silent
from emoscale.system.ranks import cores, one_process

MASKS = 1000
SAME = 1e-3
"""The largest difference of nnsight's effects from ours, relative to the largest effect."""


def main() -> None:
    options = arguments(
        __doc__ or "",
        models="smollm2,roberta",
        items=24,
        check=200,
        tokens=1024,
        goemotions=str(GOEMOTIONS),
        device="cpu",
        memory="",
    )
    torch.set_num_threads(cores())
    if options.memory:
        print(json.dumps(peak_memory(options.memory, options)))
        return
    found = {}
    for name in options.models.split(","):
        found[name] = measure(name, options)
        tell(f"Attribution: {name}", found[name], None)
    if options.json:
        machine = {"machine": platform.machine(), "processor": get_host_cpu_name(), "cores": os.cpu_count()}
        write_text(options.json, json.dumps({**machine, "models": found}, indent=2) + "\n")


def prepare(name: str, items: int, options: Any, folder: Path) -> tuple[Any, Any, bool]:
    """Return a model, its task, and whether its weights are its own."""
    asked = SimpleNamespace(texts=items, masks=1, device=options.device, goemotions=options.goemotions)
    if name == ablation.CHOICE:
        choice = ablation_choice.prepare(folder, asked)
        return choice.model, choice.task, not choice.is_random
    work = ablation.prepare(name, folder, asked)
    return work.model.model, work.task, False


def measure(name: str, options: Any) -> dict[str, Any]:
    """Measure one model."""
    with tempfile.TemporaryDirectory() as path:
        model, task, is_own = prepare(name, options.items, options, Path(path))
        estimator = Estimator(model, task, weights_of(task), ZERO, 1, "exact")
        numbers = times(estimator, options)
        numbers |= masks_a_second(estimator, options)
        if is_own and options.check:
            numbers |= checked(Path(path), estimator, options)
    peaks = [memory_of(name, items, options) for items in (options.items, 4 * options.items)]
    return {**numbers, "peak_mib": peaks[0], "rss_growth": peaks[1] / peaks[0]}


def weights_of(task: Any) -> Any:
    return np.random.default_rng(0).normal(size=(len(task.items), len(task.options)))


def times(estimator: Estimator, options: Any) -> dict[str, Any]:
    """Time ours, and the same passes without and with a plain backward pass."""
    task, model = estimator.task, estimator.model
    items, lengths = np.arange(len(task.items)), task.items["tokens"].to_numpy()
    values = torch.empty(len(items), model.outline.neurons)
    embeddings = model.module.get_input_embeddings()

    def outcome(rows: Any) -> Tensor:
        return (task.scores(rows) * torch.from_numpy(estimator.weights[rows]).float()).sum()

    def forward() -> None:
        with torch.inference_mode():
            for rows in pack(lengths, options.tokens):
                outcome(rows)

    def backward() -> None:
        # Cloned, since prompts are written into them.
        handle = embeddings.register_forward_hook(lambda *of: of[2].detach().requires_grad_().clone())
        for rows in pack(lengths, options.tokens):
            outcome(rows).backward()
        handle.remove()

    ways: dict[str, Callable[[], None]] = {
        "forward": forward,
        "backward": backward,
        "ours": lambda: estimator.block(items, options.tokens, values),
    }
    ways["ours"]()
    turns = [{way: seconds(run) for way, run in ways.items()} for _ in range(options.repeats)]
    medians = {f"wall_s_{way}": statistics.median(turn[way] for turn in turns) for way in ways}
    return {
        "items": len(items),
        "tokens": int(lengths.sum()),
        "over_forward": statistics.median(turn["ours"] / turn["forward"] for turn in turns),
        "over_forward_backward": statistics.median(turn["ours"] / turn["backward"] for turn in turns),
        **medians,
        **nnsight_times(estimator, values),
    }


def nnsight_times(estimator: Estimator, ours: Tensor) -> dict[str, Any]:
    """Time nnsight's recipe: gradients of all sites in a backward trace, in passes of the same rows as ours."""
    model, task = estimator.model, estimator.task
    if not hasattr(task, "option_ids") or model.outline.kind != "causal-lm" or max(map(len, task.option_ids)) > 1:
        return {"wall_s_nnsight": None, "reason_nnsight": "written for names of one token"}
    try:
        import nnsight
    except ModuleNotFoundError:
        return {"wall_s_nnsight": None, "reason_nnsight": "not installed (pip install 'emoscale[bench]')"}
    traced, words = nnsight.NNsight(model.module), [tokens[0] for tokens in task.option_ids]
    paths, found = [site.path for site in model.outline.sites], torch.empty_like(ours)

    def run() -> None:
        for item, row in enumerate(task.rows):
            weights = torch.from_numpy(estimator.weights[item]).float()
            values, gradients = nnsight.save([]), nnsight.save([])
            with traced.trace(input_ids=torch.tensor([row]), use_cache=False, logits_to_keep=1):
                for number, path in enumerate(paths):
                    site = traced.get(path)
                    if number == 0:
                        site.input = site.input.detach().requires_grad_()
                    values.append(site.input)
                logits = traced.output.logits[0, -1].log_softmax(dim=-1)[words]
                with (logits * weights).sum().backward():
                    for value in reversed(values):
                        gradients.append(value.grad)
            effects = [-(v * g).sum(dim=1)[0] for v, g in zip(values, reversed(gradients), strict=True)]
            found[item] = torch.cat(effects).detach()

    took = seconds(run)
    difference = float((found - ours).abs().max() / ours.abs().max())
    if difference > SAME:
        raise SystemExit(f"nnsight: other effects than ours (difference {difference:.2g} of the largest)")
    return {"wall_s_nnsight": took, "difference_nnsight": difference}


def masks_a_second(estimator: Estimator, options: Any) -> dict[str, float]:
    """Compare how many random masks' effects come from estimates, and how many from ablation."""
    neurons, count = estimator.model.outline.neurons, len(estimator.task.items)
    rng = np.random.default_rng(0)
    masks, effects = rng.random((MASKS, neurons), np.float32) < ablation.SHARE_OFF, rng.normal(size=neurons)
    sums = seconds(lambda: masks.astype(np.float32) @ effects.astype(np.float32))
    few = ForwardOptions(RowEdit(), "exact", options.tokens)
    exact = seconds(
        lambda: score(estimator.model, estimator.task, np.arange(count), masks[:4], np.arange(4), few, lambda _: None)
    )
    return {"masks_a_second_estimated": MASKS / sums, "masks_a_second_exact": 4 / exact}


def stage(folder: Path, estimator: Estimator, options: AttributionOptions) -> dict[str, float]:
    """Run the stage on a task whose right answers are drawn."""
    job = Job(origin={}, concepts=sorted(set(estimator.task.items["concept"])), writers=1)
    ablation_options = AblationOptions(task="multiple-choice")
    exact = ExactAblation(RunFolder(folder / "run"), estimator.model, ablation_options, {}, one_process())
    return attribute_effects(RunFolder(folder / "run"), estimator.task, exact, options, job=job, progress=Silent())


def checked(folder: Path, estimator: Estimator, options: Any) -> dict[str, float]:
    """Compare estimates with exact ablation."""
    estimator.task.items["label"] = np.arange(len(estimator.task.items)) % len(estimator.task.options)
    found = stage(folder, estimator, AttributionOptions(check_neurons=options.check, tokens_per_pass=options.tokens))
    return {name: found[name] for name in ("single_r", "group_r")}


def memory_of(name: str, items: int, options: Any) -> float:
    """Return the peak memory, in MiB, of the stage in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.attribution", "--memory", name, "--items", str(items)]
    command += ["--goemotions", options.goemotions, "--tokens", str(options.tokens)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def peak_memory(name: str, options: Any) -> float:
    """Run the stage without a comparison, and return this process's peak memory."""
    with tempfile.TemporaryDirectory() as path:
        model, task, _ = prepare(name, options.items, options, Path(path))
        estimator = Estimator(model, task, weights_of(task), ZERO, 1, "exact")
        chosen = AttributionOptions(check_neurons=0, check_groups=[], tokens_per_pass=options.tokens, block_rows=16)
        stage(Path(path), estimator, chosen)
    return peak_rss_mib()


if __name__ == "__main__":
    main()
