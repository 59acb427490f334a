"""What editing an attribute's neurons does to the words that come next in texts, beside what random neurons do."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emoscale.ablation.edits import EDITS, RowEdit, make_edit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import score
from emoscale.commands.steer_options import SteerOptions
from emoscale.config import Settings, load_settings, make_settings
from emoscale.errors import InputError, collect_problems
from emoscale.masks.controls import RANDOM
from emoscale.masks.make_masks import make_request, resolve_k
from emoscale.masks.selective import most_selective
from emoscale.models.loading import LanguageModel
from emoscale.pipeline import runner
from emoscale.pipeline.context import Context
from emoscale.pipeline.runner import Request
from emoscale.run.compatibility import model_differences
from emoscale.run.folder import RunFolder
from emoscale.system.option_types import lookup
from emoscale.system.progress import Silent, say
from emoscale.system.ranks import join
from emoscale.tasks.next_word import next_word
from emoscale.tasks.task import Task

_MakeTask = Callable[[LanguageModel], Task]

_RANDOM, _QUANTILES = ("random", "random_low", "random_high"), (0.5, 0.025, 0.975)
"""What is said of random masks: columns, and the quantiles over masks that they hold."""


@dataclass(frozen=True)
class Steered:
    """Probabilities of words before and after edits.

    Attributes
    ----------
    words : list of DataFrame
        For each text, one row a word that it can be continued by: ``word``; ``before`` and ``after``, its probability
        without an edit and after that of the attribute's neurons; ``ratio`` = after / before; and of the same ratio
        after edits of random neurons the median, ``random``, and the middle 95 %, ``random_low`` and ``random_high``
        (NaN without draws). The most likely before first.
    overall : DataFrame
        ``word``, ``ratio``, ``random``, ``random_low`` and ``random_high`` of the geometric mean of the ratios over
        texts, of the words that every text can be continued by; the largest ratio first.
    skipped : list of str
        Concepts whose name is more than one token, where a mask takes a single one.
    edited, neurons : int
        How many neurons were edited, of how many.
    """

    words: list[pd.DataFrame]
    overall: pd.DataFrame
    skipped: list[str]
    edited: int
    neurons: int


def steer(model: str, options: SteerOptions, console: Console) -> Steered:
    """Compare the concepts' names as texts' next words before and after an attribute's neurons are edited.

    What the edit does is set beside what it does to as many random neurons, drawn from all as by the control
    ``random``. Whether an attribute's neurons are significant plays no part.

    Parameters
    ----------
    model : str
        A causal or masked language model, see `outline_model`.
    options : SteerOptions
    console : Console
        For the progress of what has to be computed first.

    Raises
    ------
    InputError
        Names everything that cannot be used.
    """
    run, keep = options.run, options.keep
    if run is not None and keep is not None:
        raise InputError("--run and --keep: with a run nothing is computed that could be kept; give one of them")
    settings = _settings(model, run)
    context = Context(settings, join(settings.machine.device, settings.machine.threads))
    tasks, skipped = _checked(context, options)
    with TemporaryDirectory() if run is None and keep is None else nullcontext(run or keep) as place:
        folder = RunFolder(Path(str(place)))
        if run is None:
            _find_selective(settings, folder, console)
        off = _masks(folder, settings, options)
        edit = make_edit(folder, options.ablation)
    changes, tables = [], []
    for make_task in tasks:
        change, table = _steered(context.model, make_task(context.model), off, edit)
        changes.append(change)
        tables.append(table)
    return Steered(tables, _ratios(_over_texts(changes)), skipped, int(off[1].sum()), off.shape[1])


def _masks(folder: RunFolder, settings: Settings, options: SteerOptions) -> NDArray[np.bool_]:
    """Make the masks, (2 + draws, neurons): of no neuron, of the attribute's, and the random ones."""
    masks = replace(settings.masks, k=[options.k], disjoint=False, draws=options.draws, seed=options.ablation.seed)
    request = make_request(folder, masks, Silent()).of_attribute(options.attribute)
    off = np.zeros((2 + options.draws, len(request.rank)), np.bool_)
    for row, mask in zip(off[1:], (*most_selective(request), *RANDOM.draw(request)), strict=True):
        row[mask.neurons] = True
    return off


def _steered(
    model: LanguageModel, task: Task, off: NDArray[np.bool_], edit: RowEdit
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score the words after one text under every mask.

    Returns
    -------
    change : DataFrame, shape (words, 1 + draws)
        Log of the ratio of a word's probability after an edit to that before.
    table : DataFrame
        See `Steered`.
    """
    item, forward = np.zeros(1, np.int64), ForwardOptions(edit, "exact")
    (logs,) = score(model, task, item, off, np.arange(len(off)), forward, lambda _: None)
    before, *after = logs.astype(np.float64)
    change = pd.DataFrame((np.array(after) - before).T, index=pd.Index(list(task.options), name="word"))
    table = _ratios(change)
    table.insert(1, "before", np.exp(before))
    table.insert(2, "after", np.exp(after[0]))
    return change, table.sort_values("before", ascending=False, kind="stable", ignore_index=True)


def _over_texts(changes: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Average over texts what they have in common; what rises most comes first."""
    rows = pd.concat(changes).groupby(level="word", sort=False)
    mean = rows.mean()[rows.size() == len(changes)]
    return mean.iloc[np.argsort(-mean[0].to_numpy(), kind="stable")]


def _ratios(change: pd.DataFrame) -> pd.DataFrame:
    """Compare the edit of the attribute's neurons, in the first column, with those of random ones, in the others."""
    table = pd.DataFrame({"word": change.index, "ratio": np.exp(change[0].to_numpy())})
    drawn = change.to_numpy()[:, 1:]
    ends = np.quantile(drawn, _QUANTILES, axis=1) if drawn.size else np.full((3, len(table)), np.nan)
    return table.assign(**dict(zip(_RANDOM, np.exp(ends), strict=True)))


def show_steered(steered: Steered, options: SteerOptions, console: Console) -> None:
    """Print probabilities before and after."""
    neurons = f"{steered.edited:,} of {steered.neurons:,} neurons"
    say(console, f"{neurons}, the most selective for {options.attribute}: {options.ablation.edit}")
    if options.draws:
        say(console, f"random: the middle 95 % of after / before over {options.draws} masks of as many random neurons")
    for text, words in zip(options.texts, steered.words, strict=True):
        if len(options.texts) > 1:
            say(console, f"\n{text}")
        _show(words, options, console)
    if len(options.texts) > 1:
        say(console, f"\nall {len(options.texts)} texts, geometric mean")
        _show(steered.overall, options, console)
    if steered.skipped:
        say(console, f"skipped, several tokens each: {', '.join(steered.skipped)}")


def _show(words: pd.DataFrame, options: SteerOptions, console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("next word", style="bold", no_wrap=True)
    probabilities = [name for name in ("before", "after") if name in words]
    for name in (*probabilities, "after / before", *(["random"] if options.draws else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for row in words.to_dict("records"):
        cells = [f"{row[name]:.3g}" for name in (*probabilities, "ratio")]
        if options.draws:
            cells.append(f"{row['random_low']:.3g} to {row['random_high']:.3g}")
        table.add_row(escape(row["word"]), *cells)
    console.print(table, highlight=False)


def as_json(steered: Steered, model: str, options: SteerOptions) -> str:
    """Write everything as one JSON object; what is not known is null."""
    found = {
        "model": model,
        "attribute": options.attribute,
        "edited": steered.edited,
        "neurons": steered.neurons,
        "edit": options.ablation.edit,
        **{name: getattr(options.ablation, name) for name in EDITS[options.ablation.edit].uses},
        "seed": options.ablation.seed,
        "draws": options.draws,
        "run": None if options.run is None else str(options.run),
        "texts": [
            {"text": text, "words": _records(words)} for text, words in zip(options.texts, steered.words, strict=True)
        ],
        "overall": _records(steered.overall),
        "skipped": steered.skipped,
    }
    return json.dumps(found, ensure_ascii=False, indent=2, allow_nan=False)


def _records(words: pd.DataFrame) -> list[dict[Hashable, Any]]:
    return words.astype(object).where(words.notna(), None).to_dict("records")


def _settings(model: str, run: Path | None) -> Settings:
    """Return a run's settings, but for the model's name; or those to compute selectivity with."""
    if run is None:
        return make_settings(
            {
                "title": "steer",
                "model": {"name": model},
                "extraction": {"rows": "templates"},
                "selectivity": {"inference": "asymptotic"},
            }
        )
    folder = RunFolder(run)
    if not folder.config.is_file():
        raise InputError(f"--run {run}: is not a run folder; give one that emoscale run has made")
    settings = load_settings(folder.config)
    return replace(settings, model=replace(settings.model, name=model))


def _checked(context: Context, options: SteerOptions) -> tuple[list[_MakeTask], list[str]]:
    """Check all that can be known before anything is computed; return what `next_word` does of each text."""
    concepts, run = context.concepts, options.run
    made: list[tuple[_MakeTask, list[str]]] = []

    def make(text: str) -> None:
        made.append(next_word(context.outline, text, concepts.names))

    checks: list[Callable[[], object]] = [
        lambda: lookup("--attribute", dict.fromkeys(concepts.attributes, ""), options.attribute),
        lambda: lookup("--edit", EDITS, options.ablation.edit),
        lambda: resolve_k([options.k], context.outline.neurons),
        *(partial(make, text) for text in options.texts),
    ]
    if run is not None:
        checks.append(lambda: _check_same_model(RunFolder(run), context))
    collect_problems(checks)
    return [task for task, _ in made], list(dict.fromkeys(word for _, skipped in made for word in skipped))


def _check_same_model(folder: RunFolder, context: Context) -> None:
    if model_differences(folder, context.identity):
        name = folder.manifest()["model"].get("name")
        raise InputError(
            f"--run {folder.path}: was made with another model ({name}) than {context.outline.name}; give that one, or "
            "remove --run"
        )


def _find_selective(settings: Settings, folder: RunFolder, console: Console) -> None:
    for stage in ("extract", "select"):
        runner.run(settings, folder, console, Request(stage))
