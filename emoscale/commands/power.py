"""Saying how small an effect a run can find."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from emoscale.analysis.drop_estimates import FEWEST_DRAWS
from emoscale.analysis.permuted_masks import PermutedMasks
from emoscale.analysis.power import power_table
from emoscale.config import Settings
from emoscale.errors import InputError
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.run.verdicts import can_decide
from emoscale.schema import MASKS, PERMUTED, SELECTIVITY
from emoscale.system.progress import say
from emoscale.tasks.outcomes import OUTCOMES


def show_power(settings: Settings, folder: RunFolder, texts: int | None, draws: int | None, console: Console) -> None:
    """Print the smallest drops that would be called needed in four of five runs.

    Parameters
    ----------
    settings : Settings
        How scores become effects.
    folder : RunFolder
        Of the run, or of a smaller one before it, with finished scores.
    texts, draws : int, optional
        Texts and permutations of the run that is planned; by default as many as this one has.
    console : Console

    Raises
    ------
    InputError
        If the run has too few permuted masks to measure their spread by, or so few are planned that no test of them can
        come to a conclusion.
    StageError
        If something is missing or not finished.
    """
    kinds, own = (open_finished(folder.masks, MASKS).read(name) for name in ("kind", "draw"))
    there = int(own[kinds == PERMUTED].max(initial=-1)) + 1
    planned = draws or there
    if there < FEWEST_DRAWS:
        raise InputError(
            f"{folder.masks}: has {there} permuted masks of each attribute; {FEWEST_DRAWS} are needed to measure how "
            "they vary: add permuted to masks.controls, or raise masks.permutations"
        )
    if not can_decide(planned):
        raise InputError(
            f"--draws {planned}: a test by so few permutations cannot come to a conclusion; give 19 or more"
        )
    names = [str(name) for name in open_finished(folder.selectivity, SELECTIVITY).read("attribute")]
    table = power_table(PermutedMasks(folder, names, settings.analysis), texts, draws)
    unit = OUTCOMES[settings.analysis.outcome].unit or "share of right answers"
    say(console, f"measured by {there} permuted masks of each attribute")
    say(console, f"smallest drop found in 4 of 5 runs, in {unit}; two-sided, corrected over attributes")
    shown = Table(*table.columns, box=None, pad_edge=False)
    for row in table.itertuples(index=False):
        shown.add_row(*(f"{value:.3f}" if isinstance(value, float) else f"{value}" for value in row))
    console.print(shown, highlight=False)
