"""The words of a run's report: what it calls the controls, the edit, the replicates and the files."""

from __future__ import annotations

from collections.abc import Mapping

from emoscale.config import Settings
from emoscale.pipeline.stage import Stages
from emoscale.report.study import ControlWords, EditWords, Study
from emoscale.run.folder import RunFolder

CONTROL_WORDS = {
    "uniform": ControlWords(
        label="random neurons",
        neurons="random neurons",
        adjective="random",
        drawn="drawn at random, each as likely as any other",
        exchangeable=True,
    ),
    "layer-matched": ControlWords(
        label="random neurons of the same layers",
        neurons="random neurons of the same layers",
        adjective="layer-matched",
        drawn="drawn at random so that every layer loses as many neurons as to the selective mask",
    ),
    "activation-matched": ControlWords(
        label="random neurons as active",
        # "as many random neurons as active" would be read as another comparison.
        neurons="random neurons that are as active",
        adjective="activation-matched",
        drawn="drawn at random among neurons about as active as those of the selective mask",
    ),
}

EDIT_WORDS = {
    "zero": EditWords(
        "were set to zero",
        "Switching a neuron off sets it to zero, a value it may never take by itself. Some of the harm can come from "
        "that unusual state rather than from the loss of what the neuron stood for.",
    ),
    "mean": EditWords(
        "were held at their mean activation",
        "Switching a neuron off holds it at its mean. That takes away how it varies, but so many neurons at their "
        "means at once may be a state that the model never reaches by itself; some of the harm can come from that.",
    ),
    "resample": EditWords(
        "were given the activations that they had for another input",
        "Switching a neuron off gives it the activation that it had for another input. The neuron takes such values, "
        "but not with the rest of the model as it is now, and what is true of another input can mislead the model, "
        "which is more than to miss something.",
    ),
    "scale": EditWords(
        "were multiplied by a constant",
        "Switching a neuron off only scales it here. What is left of it may still serve, so that the losses say "
        "nothing of what the model would lose without it altogether.",
    ),
}


def make_study(settings: Settings, facts: Mapping[str, str], outputs: Mapping[str, str]) -> Study:
    """Fill in what a run's report says besides its tables."""
    learned = settings.ablation.task == "prompts"
    return Study(
        title=settings.title,
        facts=facts,
        edit=EDIT_WORDS[settings.ablation.edit],
        controls=CONTROL_WORDS,
        disjoint=settings.masks.disjoint,
        learned_prompts=learned,
        replicates="prompts" if learned else "sets of questions",
        outputs=outputs,
    )


def outputs_of(stages: Stages, folder: RunFolder) -> dict[str, str]:
    """Return what the stages may leave in a folder, by path relative to it, with the meaning of each."""
    found = {path: meaning for stage in stages.values() for path, meaning in stage.outputs(folder).items()}
    found |= {folder.config: "the settings as used", folder.manifest_file: "versions, machine and time"}
    return {path.relative_to(folder.path).as_posix(): meaning for path, meaning in found.items()}
