"""What editing an attribute's neurons does to the words that come next in a text."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from emoscale.ablation.edits import EDITS, make_edit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import scored
from emoscale.ablation.options import AblationOptions
from emoscale.config import Settings, load_settings, make_settings
from emoscale.errors import InputError, collect_problems
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


@dataclass(frozen=True)
class Steered:
    """Probabilities of words before and after an edit.

    Attributes
    ----------
    words : DataFrame
        ``word``, ``before``, ``after`` and ``ratio`` = after / before; the most likely before first.
    skipped : list of str
        Concepts whose name is more than one token, where a mask takes a single one.
    edited, neurons : int
        How many neurons were edited, of how many.
    """

    words: pd.DataFrame
    skipped: list[str]
    edited: int
    neurons: int


@dataclass(frozen=True)
class SteerOptions:
    """What is steered, and by which neurons.

    Attributes
    ----------
    text : str
        To be continued; for masked models, with ``{mask}``.
    attribute : str
    k : int or float
        How many of the attribute's most selective neurons, or which share of all neurons.
    ablation : AblationOptions
        The edit, and what it uses.
    run : Path, optional
        Run folder that says how selective the model's neurons are. Without it that is computed from the built-in
        carrier sentences.
    keep : Path, optional
        Folder to keep what is computed in, and to find it the next time.
    """

    text: str
    attribute: str
    k: int | float
    ablation: AblationOptions = field(default_factory=AblationOptions)
    run: Path | None = None
    keep: Path | None = None


def steer(model: str, options: SteerOptions, console: Console) -> Steered:
    """Compare the concepts' names as a text's next word before and after an attribute's neurons are edited.

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
    make_task, skipped = _checked(context, options)
    with TemporaryDirectory() if run is None and keep is None else nullcontext(run or keep) as place:
        folder = RunFolder(Path(str(place)))
        if run is None:
            _find_selective(settings, folder, console)
        masks = replace(settings.masks, k=[options.k], disjoint=False)
        request = make_request(folder, masks, Silent()).of_attribute(options.attribute)
        (selective,) = most_selective(request)
        edit = make_edit(folder, options.ablation)
    off = np.zeros((2, len(request.rank)), np.bool_)
    off[1, selective.neurons] = True
    task = make_task(context.model)
    forward = ForwardOptions(edit, "exact", tokens_per_pass=2 * int(task.items["tokens"].iloc[0]))
    (both,) = scored(context.model, task, np.zeros(1, np.int64), off, np.arange(2), forward)
    before, after = both.scores.double().cpu().numpy()
    probabilities = {"before": np.exp(before), "after": np.exp(after), "ratio": np.exp(after - before)}
    table = pd.DataFrame({"word": list(task.options), **probabilities})
    table = table.sort_values("before", ascending=False, kind="stable", ignore_index=True)
    return Steered(table, skipped, len(selective.neurons), len(request.rank))


def show_steered(steered: Steered, options: SteerOptions, console: Console) -> None:
    """Print probabilities before and after."""
    neurons = f"{steered.edited:,} of {steered.neurons:,} neurons"
    say(console, f"{neurons}, the most selective for {options.attribute}: {options.ablation.edit}")
    table = Table(box=None, pad_edge=False)
    table.add_column("next word", style="bold", no_wrap=True)
    for name in ("before", "after", "after / before"):
        table.add_column(name, justify="right", no_wrap=True)
    for word, before, after, ratio in steered.words.itertuples(index=False):
        table.add_row(word, f"{before:.3g}", f"{after:.3g}", f"{ratio:.3g}")
    console.print(table, highlight=False)
    if steered.skipped:
        say(console, f"skipped, several tokens each: {', '.join(steered.skipped)}")


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


def _checked(context: Context, options: SteerOptions) -> tuple[Callable[[LanguageModel], Task], list[str]]:
    """Check all that can be known before anything is computed; return what `next_word` does."""
    concepts, run = context.concepts, options.run
    made: list[tuple[Callable[[LanguageModel], Task], list[str]]] = []
    checks: list[Callable[[], object]] = [
        lambda: lookup("--attribute", dict.fromkeys(concepts.attributes, ""), options.attribute),
        lambda: lookup("--edit", EDITS, options.ablation.edit),
        lambda: resolve_k([options.k], context.outline.neurons),
        lambda: made.append(next_word(context.outline, options.text, concepts.names)),
    ]
    if run is not None:
        checks.append(lambda: _check_same_model(RunFolder(run), context))
    collect_problems(checks)
    return made[0]


def _check_same_model(folder: RunFolder, context: Context) -> None:
    if model_differences(folder, context.identity):
        name = folder.manifest()["model"].get("name")
        raise InputError(
            f"--run {folder.path}: was made with another model ({name}) than {context.outline.name}; give that one, or "
            "remove --run"
        )


def _find_selective(settings: Settings, folder: RunFolder, console: Console) -> None:
    for stage in ("extract", "select"):
        is_done = folder.manifest().get("stages", {}).get(stage, {}).get("state") == "done"
        runner.run(settings, folder, Console(quiet=True) if is_done else console, Request(stage))
