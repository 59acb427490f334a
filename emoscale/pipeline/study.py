"""The words of a run's report: what it calls the controls, the edit, the replicates and the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emoscale.ablation.edits import EDITS
from emoscale.analysis.options import AnalysisOptions
from emoscale.attribution.rankings import RANKINGS
from emoscale.config import Settings
from emoscale.masks.controls import CONTROLS
from emoscale.pipeline.stage import Stages
from emoscale.report.study import ControlWords, Design, EditWords, OutcomeWords, RankingWords, Study
from emoscale.report.templates import verdict_lines
from emoscale.run.folder import RunFolder
from emoscale.run.verdicts import read_verdicts
from emoscale.tasks.outcomes import NORMALIZATIONS, OUTCOMES
from emoscale.tasks.registry import TASKS


def control_words() -> dict[str, ControlWords]:
    """Return what every control is called."""
    return {
        name: ControlWords(
            label=control.label,
            neurons=control.neurons,
            adjective=control.adjective,
            drawn=control.drawn,
            exchangeable=control.exchangeable,
            is_drawn=control.is_drawn,
            cross_fitted=control.cross_fitted,
        )
        for name, control in CONTROLS.items()
    }


def edit_words(name: str) -> EditWords:
    """Return what an edit does, and what it leaves open."""
    return EditWords(EDITS[name].done, EDITS[name].limit)


def outcome_words(options: AnalysisOptions) -> OutcomeWords:
    """Return what effects are measured in, and how scores were made comparable."""
    outcome, meanings = OUTCOMES[options.outcome], {name: entry.meaning for name, entry in NORMALIZATIONS.items()}
    return OutcomeWords(outcome.noun, outcome.unit, outcome.name == "accuracy", options.normalization, meanings)


def make_study(
    settings: Settings,
    facts: Mapping[str, str],
    outputs: Mapping[str, str],
    design: Design | None = None,
    warnings: Sequence[str] = (),
) -> Study:
    """Fill in what a run's report says besides its tables."""
    task = TASKS[settings.ablation.task]
    return Study(
        title=settings.title,
        facts=facts,
        edit=edit_words(settings.ablation.edit),
        outcome=outcome_words(settings.analysis),
        controls=control_words(),
        disjoint=settings.masks.disjoint,
        learned_prompts=task.uses_prompts,
        replicates=task.replicates,
        outputs=outputs,
        rankings={name: RankingWords(one.label, one.needs_effects) for name, one in RANKINGS.items()},
        others=EDITS[settings.faithfulness.edit].done,
        design=design,
        warnings=warnings,
    )


def answer_lines(settings: Settings, folder: RunFolder) -> list[str]:
    """Return what a run answers to its questions, a line each; none if it has no answers."""
    return verdict_lines(read_verdicts(folder), outcome_words(settings.analysis))


def outputs_of(stages: Stages, folder: RunFolder) -> dict[str, str]:
    """Return what the stages may leave in a folder, by path relative to it, with the meaning of each."""
    found = {path: meaning for stage in stages.values() for path, meaning in stage.outputs(folder).items()}
    found |= {folder.config: "the settings as used", folder.manifest_file: "versions, machine and time"}
    return {path.relative_to(folder.path).as_posix(): meaning for path, meaning in found.items()}
