"""How long the stages of a run would take here, from a small piece of each."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from emoscale.ablation.ablate import ablate
from emoscale.ablation.forward_options import SMALLEST_PASS
from emoscale.ablation.options import AblationOptions
from emoscale.attribution.estimate import Estimator
from emoscale.attribution.measure_faithfulness import count_sets
from emoscale.errors import InputError
from emoscale.extraction.inputs import Amount
from emoscale.masks.controls import CONTROLS
from emoscale.masks.make_masks import resolve_k
from emoscale.models.masking import ZERO
from emoscale.models.prompt_files import TunedPrompts, prompt_file
from emoscale.pipeline.context import Context
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, MASKS
from emoscale.selectivity.executor import compute_neurons
from emoscale.selectivity.reading import design_of
from emoscale.selectivity.searchlight import searchlight_job
from emoscale.stimuli.prompt_texts import PromptTexts
from emoscale.store import Store, create_store
from emoscale.system.progress import Silent
from emoscale.system.ranks import one_process
from emoscale.tasks.registry import TASKS
from emoscale.tasks.some_items import some_items
from emoscale.tasks.task import Task
from emoscale.tuning.training import GroupTrainer

_TRIED_NEURONS = 64
_TRIED_TEXTS = 4
_TRIED_ITEMS = 2


@contextmanager
def beside_the_run() -> Iterator[Path]:
    """Make a folder where a run would write, and delete it at the end.

    Raises
    ------
    InputError
        If the current folder cannot be written.
    """
    try:
        place = tempfile.TemporaryDirectory(prefix=".emoscale-plan-", dir=Path.cwd())
    except OSError as error:
        raise InputError(
            f"{Path.cwd()}: cannot be written ({error.strerror}), and throughput is measured where a run would write; "
            "go to another folder, or set its seconds to 0"
        ) from error
    with place as folder:
        yield Path(folder)


def rate(run: Callable[[int], tuple[int, float]], first: int, most: int, seconds: float) -> float:
    """Measure how many pieces of work are done in a second.

    Their number grows until one run takes a third of the time; only that run counts, so that what is slow just once
    does not.

    Parameters
    ----------
    run : callable
        From a number of inputs to the pieces of work that they made and the seconds that these took.
    first, most : int
        The least number of inputs to try, and the greatest.
    seconds : float
        How long to measure, approximately.
    """
    count, left = min(first, most), seconds
    while True:
        pieces, took = run(count)
        left -= took
        if took >= seconds / 3 or count == most or left <= 0:
            return pieces / took
        count = min(most, max(count + 1, int(count * min(8.0, 0.8 * left / took))))


def tuning_seconds(context: Context, seconds: float) -> float:
    """Estimate the time of tuning: some texts of one group of prompts are trained on for an epoch."""
    options, prompts = context.settings.tuning, context.prompt_texts
    group = prompts[: options.prompts_per_group]

    def run(texts: int) -> tuple[int, float]:
        some = [_first_texts(prompt, texts) for prompt in group]
        start = time.perf_counter()
        GroupTrainer(context.prompted, context.tokens, some, replace(options, epochs=1)).train(Silent())
        return sum(map(_texts, some)), time.perf_counter() - start

    total = options.epochs * sum(map(_texts, prompts))
    return total / rate(run, _TRIED_TEXTS, max(len(prompt.train) for prompt in group), seconds)


def _first_texts(prompt: PromptTexts, texts: int) -> PromptTexts:
    # The texts that choose the epoch are as many as in the run, a text that is trained on.
    most = max(1, round(texts * len(prompt.choosing) / len(prompt.train)))
    train, choosing = prompt.train.take(slice(texts)), prompt.choosing.take(slice(most))
    return replace(prompt, train=train, validation=choosing)


def _texts(prompt: PromptTexts) -> int:
    return len(prompt.train) + len(prompt.choosing)


def selection_seconds(context: Context, amount: Amount, seconds: float) -> float:
    """Estimate the time of the selectivity: that of some neurons, with random activations of one row a cell."""
    settings, concepts = context.settings, context.concepts
    with beside_the_run() as folder:

        def run(neurons: int) -> tuple[int, float]:
            store = random_activations(context, amount, neurons, folder)
            design = design_of(store, concepts.names)
            job = searchlight_job(design, concepts, settings.selectivity, backend=context.executor.backend)
            start = time.perf_counter()
            compute_neurons(store, job, context.executor, Silent())
            return neurons, time.perf_counter() - start

        return context.outline.neurons / rate(run, _TRIED_NEURONS, context.outline.neurons, seconds)


def random_activations(context: Context, amount: Amount, neurons: int, folder: Path) -> Store:
    """Write random activations of some neurons, one row a cell, into a folder, and open them."""
    concepts = context.concepts.names
    cells = max(1, amount.cells // len(concepts))
    rows, rng = cells * len(concepts), np.random.default_rng(0)
    coordinates = {
        "concept": np.tile(np.array(concepts, object), cells),
        "replicate": np.repeat(np.arange(cells).astype(str).astype(object), len(concepts)),
        **{name: np.zeros(rows, np.int32) for name in ("item", "position", "token_id")},
        **{name: np.zeros(neurons, np.int32) for name in ("layer", "expert", "unit")},
    }
    chunks = {"neuron": context.settings.extraction.chunk_neurons}
    store = create_store(folder / str(neurons), ACTIVATIONS, coordinates, chunks)
    width = store.chunks("activations")[1]
    for start in range(0, neurons, width):
        store.write("activations", rng.normal(size=(rows, min(width, neurons - start))), neuron=start)
    return store


def task_seconds(context: Context, seconds: float) -> dict[str, float]:
    """Estimate the time of the stages in which the model does its task, by their names: each is tried on some items."""
    kind, masks = TASKS[context.settings.ablation.task], count_masks(context)
    with beside_the_run() as path:
        folder = RunFolder(path)
        if kind.uses_prompts:
            _untuned(context).save(prompt_file(folder.prompts, 0))
        task = kind.make(context, folder)
        exact, estimated = _exact_rate(context, folder, task, seconds), _estimated_rate(context, task, seconds)
    count, options = len(task.items), context.settings.attribution
    samples = options.check_neurons + options.check_draws * len(options.check_groups)
    largest = 1 + options.exact_neurons if options.exact_neurons else 0
    compared = count * (1 + largest) + (min(count, options.check_items) * (1 + samples) if samples else 0)
    passes = 1 if options.steps == 1 else options.steps * len(context.outline.sites)
    found = {"attribute-effects": count * passes / estimated + compared / exact}
    if (faithfulness := context.settings.faithfulness).rankings:
        sets = 1 + count_sets(faithfulness, context.outline.neurons)
        found["measure-faithfulness"] = min(count, faithfulness.items) * sets / exact
    return {**found, "ablate": count * masks / exact}


def _exact_rate(context: Context, folder: RunFolder, task: Task, seconds: float) -> float:
    """Return rows (item, mask) a second under random masks, their neurons zeroed whatever the edit."""
    _write_masks(context, folder)
    options = replace(context.settings.ablation, edit="zero", factor=AblationOptions.factor)
    tried, _ = _answer(context, folder, some_items(task, _TRIED_ITEMS), options)
    measured = replace(options, tokens_per_pass=int(tried["tokens_per_pass"]), exact_share=tried.get("exact_share"))

    def run(items: int) -> tuple[int, float]:
        done, took = _answer(context, folder, some_items(task, items), measured)
        return int(done["rows"]), took

    return rate(run, 2 * _TRIED_ITEMS, len(task.items), seconds)


def _estimated_rate(context: Context, task: Task, seconds: float) -> float:
    """Return items a second of which the effects are estimated."""
    options, width = context.settings.attribution, context.outline.neurons
    weights = np.ones((len(task.items), len(task.options)))
    estimator = Estimator(context.model, task, weights, ZERO, 1, options.precision)

    def run(items: int) -> tuple[int, float]:
        some = np.unique(np.linspace(0, len(task.items) - 1, items).astype(np.int64))
        start = time.perf_counter()
        estimator.block(some, options.tokens_per_pass or SMALLEST_PASS, torch.empty(len(some), width))
        return len(some), time.perf_counter() - start

    return rate(run, _TRIED_ITEMS, len(task.items), seconds)


def _answer(
    context: Context, folder: RunFolder, task: Task, options: AblationOptions
) -> tuple[dict[str, float], float]:
    start = time.perf_counter()
    ranks = one_process(str(context.ranks.device))
    done = ablate(folder, context.model, task, options, ranks=ranks, progress=Silent())
    return done, time.perf_counter() - start


def count_masks(context: Context) -> int:
    """Return how many masks the settings ask for, at the most."""
    options, attributes = context.settings.masks, len(context.concepts.attributes)
    each = attributes + sum(CONTROLS[name].count_masks(options, attributes) for name in options.controls)
    return 1 + len(sizes_of_masks(context)) * each


def sizes_of_masks(context: Context) -> list[int]:
    """Return how many neurons masks hold."""
    return resolve_k(context.settings.masks.k, context.outline.neurons)


def _write_masks(context: Context, folder: RunFolder) -> None:
    """Write as many random masks as one unit has."""
    neurons, sizes = context.outline.neurons, sizes_of_masks(context)
    count = min(count_masks(context), context.settings.ablation.masks_per_unit)
    off = np.zeros((count, neurons), np.bool_)
    rng = np.random.default_rng(0)
    for number in range(1, count):
        off[number, rng.choice(neurons, sizes[number % len(sizes)], replace=False)] = True
    coordinates = {
        "kind": np.array(["none", *["random"] * (count - 1)], object),
        "attribute": np.array([""] * count, object),
        "k": off.sum(axis=1),
        "draw": np.arange(count),
    }
    bits = np.packbits(off, axis=1)
    store = create_store(
        folder.masks, MASKS, coordinates, {}, sizes={"neuron_byte": bits.shape[1]}, attributes={"neurons": neurons}
    )
    store.write("bits", bits)
    store.mark_complete()


def _untuned(context: Context) -> TunedPrompts:
    count, model = len(context.prompt_texts), context.prompted
    return TunedPrompts(
        model.initial_prompt()[None].repeat(count, 1, 1),
        model.readout.new_head()[None].repeat(count, *[1] * model.readout.new_head().dim()),
        *(torch.zeros(count, dtype=torch.float64) for _ in range(3)),
        *(torch.zeros(count, dtype=torch.int64) for _ in range(2)),
    )
