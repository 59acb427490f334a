"""Putting runs side by side in one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from emoscale.config import load_settings
from emoscale.errors import InputError
from emoscale.pipeline.study import outcome_words
from emoscale.report.compare import ComparedRun, comparison
from emoscale.report.templates import render_page
from emoscale.run.folder import RunFolder
from emoscale.run.verdicts import read_verdicts
from emoscale.system.addresses import is_file, reading
from emoscale.system.files import write_text
from emoscale.system.progress import say

_FEWEST = 2


def compare_runs(paths: Sequence[Path], out: Path, console: Console) -> None:
    """Write a page that shows runs side by side.

    Parameters
    ----------
    paths : sequence of Path
        Run folders.
    out : Path
        The page.
    console : Console

    Raises
    ------
    InputError
        If there are fewer than two, or one is not a run folder or has no tables yet; names every one.
    StageError
        If the answers of one were written by another version.
    """
    if len(paths) < _FEWEST:
        raise InputError("compare: needs two run folders or more; give another, e.g. emoscale compare runs/a runs/b")
    problems = []
    for path in paths:
        folder = RunFolder(path)
        if not is_file(folder.config):
            problems.append(f"{path}: not a run folder; give a folder that emoscale run wrote")
        elif not folder.tables.is_dir():
            problems.append(f"{path}: has no tables yet; run `emoscale analyze` first")
    if problems:
        raise InputError(problems)
    runs = [_read(name, path) for name, path in zip(names_of(paths), paths, strict=True)]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, render_page(comparison(runs), "compare.html.j2"))
    say(console, f"{out}: {', '.join(run.name for run in runs)} side by side")


def _read(name: str, path: Path) -> ComparedRun:
    folder = RunFolder(path)
    with reading(path):
        settings = load_settings(folder.config)
        return ComparedRun(name, folder, asdict(settings), read_verdicts(folder), outcome_words(settings.analysis))


def names_of(paths: Sequence[Path]) -> list[str]:
    """Return a short name for each folder, with as many of the folders above as it takes to tell them apart.

    Examples
    --------
    >>> names_of([Path("runs/small"), Path("runs/large")])
    ['small', 'large']
    >>> names_of([Path("a/run"), Path("b/run"), Path("b/run")])
    ['a/run', 'b/run', 'b/run (2)']
    """
    parts = [path.resolve().parts for path in paths]
    length, most = 1, max(map(len, parts))
    while length < most and len({own[-length:] for own in parts}) < len(set(parts)):
        length += 1
    names = ["/".join(own[-length:]) for own in parts]
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found
