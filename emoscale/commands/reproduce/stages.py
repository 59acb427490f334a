"""The stages of a reproduction: released files are imported in place of tuning, extraction and ablation."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.analysis.analyze import analyze
from emoscale.analysis.drops import unimodality
from emoscale.analysis.inputs import AnalysisInputs
from emoscale.analysis.options import AnalysisOptions
from emoscale.commands.reproduce import released
from emoscale.commands.reproduce.accuracies import ACCURACIES, CONTROL, answer_table, prompt_table, read_accuracies
from emoscale.commands.reproduce.activations import read_activations, write_activations
from emoscale.commands.reproduce.columns import describe
from emoscale.commands.reproduce.comparison import TOP, compare_ranks, compare_results, compare_scores
from emoscale.commands.reproduce.narrative import opening
from emoscale.commands.reproduce.options import ReproductionOptions
from emoscale.commands.reproduce.people import People, read_people, read_ranks
from emoscale.commands.reproduce.released import Released
from emoscale.concepts.loading import Concepts
from emoscale.concepts.options import ScoreOptions
from emoscale.concepts.ratings import read_ratings
from emoscale.concepts.scores import STUDY_COMPONENTS, scores_from_ratings
from emoscale.errors import InputError
from emoscale.pipeline.stage import Stage
from emoscale.pipeline.stages import STAGES
from emoscale.pipeline.study import control_words, edit_words, outcome_words, outputs_of
from emoscale.report.study import Study
from emoscale.report.write_report import write_report
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import SELECTIVITY
from emoscale.selectivity.executor import Executor
from emoscale.selectivity.options import SelectivityOptions
from emoscale.selectivity.select import select
from emoscale.statistics import Floats
from emoscale.system.options import MachineOptions
from emoscale.system.progress import Progress
from emoscale.system.ranks import Ranks, one_process

_log = logging.getLogger(__name__)

TITLE = "Language-specific representation of emotion-concept knowledge, from its released data"
SOURCE = "thunlp/Model_Emotion"
_ALPHA = 0.01
AS_PUBLISHED = AnalysisOptions(outcome="accuracy", normalization="none")
_SCALE = (1.0, 9.0)
_RATINGS = ("affective.csv", "faces.csv", "appraisal.csv")


class ReproductionContext:
    """What a reproduction works on.

    Parameters
    ----------
    files : Released
    options : ReproductionOptions
    """

    def __init__(self, files: Released, options: ReproductionOptions) -> None:
        self.files = files
        self.options = options
        self.ranks: Ranks = one_process()
        self.values: NDArray[np.float64] = np.empty(0)
        """Activations (concept, replicate, neuron); there once `read` has read them."""

    @cached_property
    def people(self) -> People:
        """Concepts, attributes, and what people say of them."""
        return read_people(self.files)

    @cached_property
    def prompts(self) -> pd.DataFrame:
        """Accuracy of every prompt."""
        return prompt_table(self.files.file(released.ACCURACY), self.people.concepts)

    @property
    def replicates(self) -> list[str]:
        """The seeds of the prompts."""
        return list(dict.fromkeys(self.prompts["replicate"]))

    @cached_property
    def accuracies(self) -> pd.DataFrame:
        """Accuracy of every prompt under every mask."""
        selective, random = self.files.file(released.SELECTIVE), self.files.file(released.RANDOM)
        return answer_table(selective, random, self.prompts, self.people.attributes)

    def read(self, progress: Progress) -> None:
        """Read all files that are needed, before anything is written."""
        _ = self.accuracies
        files = self.files.file(released.ACTIVATIONS)
        self.values = read_activations(files, self.people.concepts, self.replicates, progress=progress)


def _import(context: ReproductionContext, folder: RunFolder, progress: Progress) -> dict[str, int]:
    counts = write_activations(folder, context.values, context.people.concepts, context.replicates)
    context.prompts.to_parquet(folder.prompt_table)
    context.accuracies.to_parquet(folder.path / ACCURACIES)
    masks = int(context.accuracies["mask"].max()) + 1
    return {**counts, "prompts": len(context.prompts), "masks": masks}


def _scores(context: ReproductionContext, folder: RunFolder, progress: Progress) -> dict[str, str]:
    files, people = context.files, context.people
    published = pd.DataFrame(people.scores, pd.Index(people.concepts, name="concept"), people.attributes)
    ratings = [files.file(f"{released.RATINGS}/{name}") for name in _RATINGS]
    if not all(file.is_file() for file in ratings):
        folder.write_table("scores", published.reset_index())
        return {"scores": "no tidy ratings in the release; scores as published"}
    progress.start(1, "tables")
    options = ScoreOptions(scale=_SCALE, components=STUDY_COMPONENTS)
    result = scores_from_ratings([read_ratings(file, options.scale) for file in ratings], options, people.concepts)
    ours = result.scores01
    comparison = compare_scores(ours, published)
    folder.write_table("scores", ours.reset_index())
    folder.write_table("score_agreement", result.agreement)
    folder.write_table("score_comparison", comparison)
    folder.write_table("score_notes", pd.DataFrame({"note": result.notes}))
    progress.advance()
    worst = comparison["correlation"].min()
    return {"scores": f"{ours.shape[1]} attributes from ratings; lowest correlation with the published {worst:.6f}"}


def _select(context: ReproductionContext, folder: RunFolder, progress: Progress) -> dict[str, Any]:
    people, given = context.people, context.options
    counts: dict[str, Any] = {"permutations": given.permutations}
    options = SelectivityOptions(permutations=given.permutations, seed=given.seed)
    counts |= select(
        folder,
        Concepts(people.concepts, people.attributes, people.scores, people.dissimilarity),
        options,
        rdms=people.rdms,
        as_published=given.as_published,
        executor=Executor.of(MachineOptions(threads=given.threads), options),
        progress=progress,
    )
    store = open_finished(folder.selectivity, SELECTIVITY)
    ranks = store.read("rank")
    table = pd.DataFrame({"neuron": np.arange(len(ranks)), "layer": store.read("layer"), "unit": store.read("unit")})
    folder.write_table("rank", pd.concat([table, pd.DataFrame(ranks, columns=people.attributes)], axis=1))
    counts["significant"] = int(np.count_nonzero(store.read("q") < _ALPHA))
    return counts | {"ranks": _compare_ranks(context, folder, ranks)}


def _compare_ranks(context: ReproductionContext, folder: RunFolder, ranks: NDArray[np.float64]) -> str:
    file, attributes = context.files.first(released.RANKS), context.people.attributes
    if file is None:
        return "no released ranks to compare with"
    theirs = read_ranks(file, attributes)
    if len(theirs) > len(ranks):
        raise InputError(f"{file}: ranks of {len(theirs):,} neurons, there are {len(ranks):,}; fetch it again")
    comparison = compare_ranks(ranks, theirs, attributes)
    folder.write_table("rank_comparison", comparison)
    return f"{comparison['equal'].mean():.2%} of the released ranks equal"


def _analyze(context: ReproductionContext, folder: RunFolder, progress: Progress) -> dict[str, int]:
    people = context.people
    inputs = AnalysisInputs(
        folder,
        Concepts(people.concepts, people.attributes, people.scores, people.dissimilarity),
        _ALPHA,
        AS_PUBLISHED,
        given_answers=read_accuracies(folder),
        given_rdms=people.rdms,
        participants=people.participants,
        exchangeable=[CONTROL],
    )
    done = analyze(inputs, progress)
    if test := _published_dip_test():
        folder.write_table("unimodality", unimodality(inputs.paired, test))
    else:
        _log.info("p of the dip is simulated; pip install 'emoscale[published]' for the table that the study took")
    comparison = compare_results(folder)
    folder.write_table("comparison", comparison)
    describe(folder, people.attributes)
    return {
        "tables": len(done["tables"]),
        "agreeing": int(comparison["agrees"].sum()),
        "figures": int(comparison["ours"].notna().sum()),
    }


def _published_dip_test() -> Callable[[Floats], tuple[float, float]] | None:
    """Return the test of which the study printed p, interpolated in a table; None if it is not installed.

    The package with the table has another licence (GPL) than this one.
    """
    try:
        from diptest import diptest
    except ImportError:
        return None
    return cast("Callable[[Floats], tuple[float, float]]", diptest)


def _report(context: ReproductionContext, folder: RunFolder, progress: Progress) -> dict[str, int]:
    files, people, as_published = context.files, context.people, context.options.as_published
    neurons = open_finished(folder.selectivity, SELECTIVITY).sizes["neuron"]
    prompts, replicates = context.prompts, context.replicates
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
    study = Study(
        title=TITLE,
        facts=facts,
        edit=edit_words("zero"),
        outcome=outcome_words(AS_PUBLISHED),
        controls={CONTROL: control_words()[CONTROL]},
        disjoint=False,
        learned_prompts=True,
        replicates="prompts",
        outputs=outputs_of(REPRODUCTION_STAGES, folder),
        opening=opening(folder, _label_counts(files)),
        as_published=True,
        k=_shown(folder),
    )
    done = write_report(folder, study, progress=progress)
    return {"figures": len(done["figures"])}


def _shown(folder: RunFolder) -> int:
    sizes = set(folder.table("drop_overall")["k"])
    return TOP if TOP in sizes else int(max(sizes))


def _label_counts(files: Released) -> pd.Series | None:
    file = files.file(released.AGREEMENTS)
    if not file.is_file():
        return None
    table = pd.read_csv(file).dropna(subset=["Emotion", "Count"])
    return table.set_index("Emotion")["Count"].astype(float)


REPRODUCTION_STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            name="import",
            help="Bring the released activations and accuracies into a run folder.",
            summary="{rows:,} rows × {neurons:,} neurons, {prompts} prompts × {masks} masks",
            run=_import,
            outputs=lambda folder: {
                folder.activations: "the released activations",
                folder.prompt_table: "the released accuracy of every prompt",
                folder.path / ACCURACIES: "the released accuracy of every prompt under every mask",
            },
            depends_on=lambda _: ("source",),
        ),
        Stage(
            name="scores",
            help="Compute attribute scores from the ratings.",
            summary="{scores}",
            run=_scores,
            outputs=lambda _: {},
            depends_on=lambda _: ("source",),
        ),
        Stage(
            name="select",
            help=STAGES["select"].help,
            summary="{neurons:,} neurons, {significant:,} of {tests:,} tests significant against {permutations} "
            "permutations; {ranks}",
            run=_select,
            outputs=STAGES["select"].outputs,
            needs=lambda _: ("import", "scores"),
            depends_on=lambda _: ("as_published", "permutations", "seed"),
        ),
        Stage(
            name="analyze",
            help=STAGES["analyze"].help,
            summary="{tables} tables; {agreeing} of {figures} published figures agree",
            run=_analyze,
            outputs=STAGES["analyze"].outputs,
            needs=lambda _: ("select",),
        ),
        Stage(
            name="report",
            help=STAGES["report"].help,
            summary=STAGES["report"].summary,
            run=_report,
            outputs=STAGES["report"].outputs,
            needs=lambda _: ("analyze",),
        ),
    )
}
"""The stages of a reproduction, each after those it needs."""


def dependency_values(source: str, options: ReproductionOptions) -> dict[str, Any]:
    """Return what the stages depend on: the files' name and every option."""
    return {"source": source, **asdict(options)}
