"""From released files to a run folder: import, select, analyze, report."""

from __future__ import annotations

import os
import platform
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from emoscale import __version__
from emoscale.analysis.analyze import analyze
from emoscale.commands.reproduce import released
from emoscale.commands.reproduce.accuracies import CONTROL, ablation_table, prompt_table
from emoscale.commands.reproduce.activations import read_activations, write_activations
from emoscale.commands.reproduce.comparison import TOP, compare_ranks, compare_results, compare_scores
from emoscale.commands.reproduce.narrative import opening
from emoscale.commands.reproduce.people import People, read_people, read_ranks
from emoscale.commands.reproduce.released import Released, released_files
from emoscale.concepts.loading import Concepts
from emoscale.concepts.ratings import read_ratings
from emoscale.concepts.scores import STUDY_COMPONENTS, scores_from_ratings
from emoscale.errors import InputError
from emoscale.report.write_report import write_report
from emoscale.run.folder import RunFolder
from emoscale.run.lock import LOCK, locked
from emoscale.run.manifest import do_stage, finish, now, versions
from emoscale.schema import SELECTIVITY
from emoscale.selectivity.executor import Executor
from emoscale.selectivity.select import select
from emoscale.store import open_store
from emoscale.system.progress import Progress, say, stage_progress

TITLE = "Language-specific representation of emotion-concept knowledge, from its released data"
SOURCE = "thunlp/Model_Emotion"
PERMUTATIONS = 999
_ALPHA = 0.01
_RATINGS = ("affective.csv", "faces.csv", "appraisal.csv")


def reproduce(
    path: Path,
    out: Path,
    console: Console,
    *,
    as_published: bool = True,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    threads: int | None = None,
) -> None:
    """Compute the published study again, and report every figure beside ours.

    Parameters
    ----------
    path : Path
        A clone of the authors' repository, an archive of it, or a folder with one archive.
    out : Path
        Run folder; a reproduction that is there already is replaced.
    console : Console
        For progress and one line a stage.
    as_published : bool
        Round neurons' mean distances to 15 significant digits before tau, as the study's files did (Li, Su et al. 2024,
        `emoscale_kernels.published_distances`).
    permutations : int
        Of the concept labels, for valid p; the published ones are kept beside them.
    seed : int
        Of the permutations.
    threads : int, optional
        Threads that compute; by default one a core.

    Raises
    ------
    InputError
        If the files or the folder cannot be used. Nothing has been written then.
    """
    if permutations < 1:
        raise InputError(f"permutations = {permutations}: give 1 or more")
    folder = RunFolder(out)
    _check_out(folder)
    with locked(folder.path), released_files(path) as files:
        people = _import(files, folder, console)
        do_stage("scores", lambda progress: _scores(files, people, folder, progress), folder, console, "{told}")
        do_stage(
            "select",
            lambda progress: _select(files, people, folder, as_published, permutations, seed, threads, progress),
            folder,
            console,
            "{neurons:,} neurons, {significant:,} of {tests:,} tests significant against {permutations} permutations; "
            "{ranks}",
        )
        do_stage(
            "analyze",
            lambda progress: _analyze(people, folder, progress),
            folder,
            console,
            "{tables} tables; {agreeing} of {figures} published figures agree",
        )
        do_stage(
            "report",
            lambda progress: _report(files, people, folder, as_published, progress),
            folder,
            console,
            "{figures} figures",
        )
    say(console, f"report: {folder.report}")


def _check_out(folder: RunFolder) -> None:
    if folder.path.is_dir() and any(not file.name.startswith(".") for file in folder.path.iterdir()):
        if not folder.manifest_file.is_file() or "reproduction" not in folder.manifest():
            raise InputError(f"{folder.path}: holds files that are not a reproduction; choose an empty --out")
    elif folder.path.exists() and not folder.path.is_dir():
        raise InputError(f"{folder.path}: a file; choose another --out")


def _prepare(folder: RunFolder, source: Path) -> None:
    for path in folder.path.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink()
    try:
        folder.write_manifest(
            {
                "emoscale": __version__,
                "created": now(),
                "stages": {},
                "reproduction": {"of": SOURCE, "from": source.name},
                "versions": versions(),
                "hardware": {"machine": platform.machine(), "cores": os.cpu_count()},
            }
        )
    except OSError as error:
        raise InputError(f"{folder.path}: cannot be written ({error.strerror}); choose another --out") from error


def _import(files: Released, folder: RunFolder, console: Console) -> People:
    start = time.perf_counter()
    with stage_progress("import", console) as progress:
        people = read_people(files)
        prompts = prompt_table(files.file(released.ACCURACY), people.concepts)
        replicates = list(dict.fromkeys(prompts["replicate"]))
        accuracies = ablation_table(
            files.file(released.SELECTIVE), files.file(released.RANDOM), prompts, people.attributes
        )
        values = read_activations(files.file(released.ACTIVATIONS), people.concepts, replicates, progress=progress)
        _prepare(folder, files.source)
        counts = write_activations(folder, values, people.concepts, replicates)
    prompts.to_parquet(folder.prompt_table)
    accuracies.to_parquet(folder.ablation_table)
    masks = int(accuracies["mask"].max()) + 1
    summary = "{rows:,} rows × {neurons:,} neurons, {prompts} prompts × {masks} masks"
    facts = {**counts, "prompts": len(prompts), "masks": masks}
    finish(folder, "import", facts, time.perf_counter() - start, console, summary)
    return people


def _scores(files: Released, people: People, folder: RunFolder, progress: Progress) -> dict[str, str]:
    published = pd.DataFrame(people.scores, pd.Index(people.concepts, name="concept"), people.attributes)
    ratings = [files.file(f"{released.RATINGS}/{name}") for name in _RATINGS]
    if not all(file.is_file() for file in ratings):
        folder.write_table("scores", published.reset_index())
        return {"told": "no tidy ratings in the release; scores as published"}
    progress.start(1, "tables")
    result = scores_from_ratings(
        [read_ratings(file) for file in ratings], concepts=people.concepts, components=STUDY_COMPONENTS
    )
    ours = result.scores01
    comparison = compare_scores(ours, published)
    folder.write_table("scores", ours.reset_index())
    folder.write_table("score_agreement", result.agreement)
    folder.write_table("score_comparison", comparison)
    folder.write_table("score_notes", pd.DataFrame({"note": result.notes}))
    progress.advance()
    worst = comparison["correlation"].min()
    return {"told": f"{ours.shape[1]} attributes from ratings; lowest correlation with the published {worst:.6f}"}


def _select(
    files: Released,
    people: People,
    folder: RunFolder,
    as_published: bool,
    permutations: int,
    seed: int,
    threads: int | None,
    progress: Progress,
) -> dict[str, object]:
    counts: dict[str, object] = {"permutations": permutations}
    counts |= select(
        folder,
        people.scores,
        people.concepts,
        people.attributes,
        rdms=people.rdms,
        permutations=permutations,
        seed=seed,
        as_published=as_published,
        alpha=_ALPHA,
        executor=Executor(threads=threads),
        progress=progress,
    )
    store = open_store(folder.selectivity, SELECTIVITY)
    ranks = store.read("rank")
    table = pd.DataFrame({"neuron": np.arange(len(ranks)), "layer": store.read("layer"), "unit": store.read("unit")})
    folder.write_table("rank", pd.concat([table, pd.DataFrame(ranks, columns=people.attributes)], axis=1))
    file = files.first(released.RANKS)
    if file is None:
        return counts | {"ranks": "no released ranks to compare with"}
    theirs = read_ranks(file, people.attributes)
    if len(theirs) > len(ranks):
        raise InputError(f"{file}: ranks of {len(theirs):,} neurons, there are {len(ranks):,}; fetch it again")
    comparison = compare_ranks(ranks, theirs, people.attributes)
    folder.write_table("rank_comparison", comparison)
    return counts | {"ranks": f"{comparison['equal'].mean():.2%} of the released ranks equal"}


def _analyze(people: People, folder: RunFolder, progress: Progress) -> dict[str, int]:
    done = analyze(
        folder,
        Concepts(people.concepts, people.attributes, people.scores, people.dissimilarity),
        alpha=_ALPHA,
        rdms=people.rdms,
        participants=people.participants,
        exchangeable=[CONTROL],
        progress=progress,
    )
    comparison = compare_results(folder)
    folder.write_table("comparison", comparison)
    return {
        "tables": len(done["tables"]),
        "agreeing": int(comparison["agrees"].sum()),
        "figures": int(comparison["ours"].notna().sum()),
    }


def _report(
    files: Released, people: People, folder: RunFolder, as_published: bool, progress: Progress
) -> dict[str, int]:
    prompts = pd.read_parquet(folder.prompt_table)
    neurons = open_store(folder.selectivity, SELECTIVITY).sizes["neuron"]
    replicates = list(dict.fromkeys(prompts["replicate"]))
    facts = {
        "Data": f"released files of {SOURCE} ({files.source.name})",
        "Model": "roberta-base with tuned prompts, as the authors ran it; nothing was run again here",
        "Neurons": f"{neurons:,}",
        "Concepts": f"{len(people.concepts)}: {', '.join(people.concepts)}",
        "Attributes": f"{len(people.attributes)}: {', '.join(people.attributes)}",
        "Prompts": f"{len(prompts)} ({len(people.concepts)} concepts × seeds {', '.join(replicates)})",
        "People": f"{len(people.participants)} participants judged how different the concepts are",
        "Mean distances": "rounded to 15 significant digits, as published" if as_published else "as computed",
    }
    done = write_report(
        folder, TITLE, facts, opening=opening(folder, _label_counts(files)), k=_shown(folder), progress=progress
    )
    return {"figures": len(done["figures"])}


def _shown(folder: RunFolder) -> int | None:
    return TOP if TOP in set(folder.table("drop_overall")["k"]) else None


def _label_counts(files: Released) -> pd.Series | None:
    file = files.file(released.AGREEMENTS)
    if not file.is_file():
        return None
    table = pd.read_csv(file).dropna(subset=["Emotion", "Count"])
    return table.set_index("Emotion")["Count"].astype(float)
