"""What editing an attribute's neurons does to the words that come next in a text."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args, get_type_hints

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from emoscale.ablation.edits import make_edit
from emoscale.ablation.forward_options import ForwardOptions
from emoscale.ablation.masked_forward import scored
from emoscale.ablation.options import AblationOptions
from emoscale.config import Settings, load_settings, make_settings
from emoscale.errors import InputError, suggest
from emoscale.masks.make_masks import resolve_k
from emoscale.pipeline import runner
from emoscale.pipeline.context import Context
from emoscale.pipeline.runner import Request
from emoscale.run.folder import RunFolder
from emoscale.schema import SELECTIVITY
from emoscale.store import open_store
from emoscale.system.progress import say
from emoscale.system.ranks import join
from emoscale.tasks.next_word import next_word

EDITS: tuple[str, ...] = get_args(get_type_hints(AblationOptions)["edit"])


@dataclass(frozen=True)
class Steered:
    """Probabilities of words before and after an edit.

    Attributes
    ----------
    words : DataFrame
        ``word``, ``before``, ``after`` and ``ratio`` = after / before; the likeliest before first.
    left_out : list of str
        Concepts whose name is more than one token, where a masked model has room for one.
    edited, neurons : int
        How many neurons were edited, of how many.
    """

    words: pd.DataFrame
    left_out: list[str]
    edited: int
    neurons: int


def steer(
    model: str,
    text: str,
    attribute: str,
    k: int | float,
    console: Console,
    *,
    edit: str = "zero",
    factor: float = 0.5,
    seed: int = 0,
    run: Path | None = None,
    keep: Path | None = None,
) -> Steered:
    """Compare the concepts' names as a text's next word before and after an attribute's neurons are edited.

    Parameters
    ----------
    model : str
        A causal or masked language model, see `outline_model`.
    text : str
        To be continued; for masked models, with ``{mask}``.
    attribute : str
    k : int or float
        How many of the attribute's most selective neurons, or which share of all neurons.
    console : Console
        For the progress of what has to be computed first.
    edit, factor, seed
        See `make_edit`.
    run : Path, optional
        Run folder that says how selective the model's neurons are. Without it that is computed from the built-in
        carrier sentences.
    keep : Path, optional
        Folder to keep what is computed in, and to find it the next time.

    Returns
    -------
    Steered

    Raises
    ------
    InputError
        Names everything that cannot be used.
    """
    if run is not None and keep is not None:
        raise InputError("--run and --keep: with a run nothing is computed that could be kept; give one of them")
    settings = _settings(model, run)
    context = Context(settings, join(settings.machine.device, settings.machine.threads))
    make_task, left_out = _checked(context, text, attribute, k, edit, run)
    with TemporaryDirectory() if run is None and keep is None else nullcontext(run or keep) as place:
        folder = RunFolder(Path(str(place)))
        if run is None:
            _find_selective(settings, folder, console)
        selective = _most_selective(folder, attribute, k)
        way = ForwardOptions(make_edit(folder, edit, factor, seed), "exact")
    off = np.stack([np.zeros_like(selective), selective])
    task = make_task(context.model)
    way = replace(way, tokens_per_pass=2 * int(task.questions["tokens"].iloc[0]))
    (both,) = scored(context.model, task, np.zeros(1, np.int64), off, np.arange(2), way)
    before, after = both.scores.double().cpu().numpy()
    probabilities = {"before": np.exp(before), "after": np.exp(after), "ratio": np.exp(after - before)}
    table = pd.DataFrame({"word": list(task.options), **probabilities})
    table = table.sort_values("before", ascending=False, kind="stable", ignore_index=True)
    return Steered(table, left_out, int(selective.sum()), len(selective))


def show_steered(steered: Steered, attribute: str, edit: str, console: Console) -> None:
    """Print probabilities before and after.

    Parameters
    ----------
    steered : Steered
    attribute, edit : str
        As of `steer`.
    console : Console
    """
    say(console, f"{steered.edited:,} of {steered.neurons:,} neurons, the most selective for {attribute}: {edit}")
    table = Table(box=None, pad_edge=False)
    table.add_column("next word", style="bold", no_wrap=True)
    for name in ("before", "after", "after / before"):
        table.add_column(name, justify="right", no_wrap=True)
    for word, before, after, ratio in steered.words.itertuples(index=False):
        table.add_row(word, f"{before:.3g}", f"{after:.3g}", f"{ratio:.3g}")
    console.print(table, highlight=False)
    if steered.left_out:
        say(console, f"left out, several tokens each: {', '.join(steered.left_out)}")


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
        raise InputError(f"--run {run}: is no run folder; give one that emoscale run has made")
    settings = load_settings(folder.config)
    return replace(settings, model=replace(settings.model, name=model))


def _checked(
    context: Context, text: str, attribute: str, k: int | float, edit: str, run: Path | None
) -> tuple[Any, ...]:
    """Check all that can be known before anything is computed; return what `next_word` does."""
    concepts = context.concepts
    made: list[tuple[Any, ...]] = []
    checks: list[Callable[[], Any]] = [
        lambda: _check_known("--attribute", attribute, concepts.attributes),
        lambda: _check_known("--edit", edit, EDITS),
        lambda: resolve_k([k], context.outline.neurons),
        lambda: made.append(next_word(context.outline, text, concepts.names)),
    ]
    if run is not None:
        checks.append(lambda: _check_same_model(RunFolder(run), context))
    problems: list[str] = []
    for check in checks:
        try:
            check()
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(dict.fromkeys(problems))
    return made[0]


def _check_known(option: str, name: str, known: tuple[str, ...] | list[str]) -> None:
    if name not in known:
        raise InputError(f"{option} {name!r}{suggest(name, known)}: unknown; give one of {', '.join(known)}")


def _check_same_model(folder: RunFolder, context: Context) -> None:
    recorded = folder.manifest().get("model", {})
    here = {"weights_sha256": context.weights_sha256, "tokenizer_sha256": context.tokenizer_sha256}
    if any(recorded.get(what) != digest for what, digest in here.items()):
        raise InputError(
            f"--run {folder.path}: was made with another model ({recorded.get('name')}) than {context.outline.name}; "
            "give that one, or leave --run out"
        )


def _find_selective(settings: Settings, folder: RunFolder, console: Console) -> None:
    for stage in ("extract", "select"):
        is_done = folder.manifest().get("stages", {}).get(stage, {}).get("state") == "done"
        runner.run(settings, folder, Console(quiet=True) if is_done else console, Request(stage))


def _most_selective(folder: RunFolder, attribute: str, k: int | float) -> NDArray[np.bool_]:
    if not folder.selectivity.exists() or not (store := open_store(folder.selectivity, SELECTIVITY)).complete:
        raise InputError(f"{folder.path}: select is not done; run emoscale select first")
    column = [str(name) for name in store.read("attribute")].index(attribute)
    rank, tau = store.read("rank")[:, column], store.read("tau")[:, column]
    (count,) = resolve_k([k], len(rank))
    has_rank = ~np.isnan(tau)
    if count > has_rank.sum():
        raise InputError(f"k = {count}: only {has_rank.sum()} neurons have a selectivity for {attribute!r}; give less")
    chosen = np.zeros(len(rank), np.bool_)
    chosen[np.argsort(np.where(has_rank, rank, np.inf), kind="stable")[:count]] = True
    return chosen
