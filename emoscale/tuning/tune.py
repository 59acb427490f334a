"""The tuning stage: prompts are trained group by group, and each group is saved when it is done."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from emoscale.models.prompt_files import load_prompts, prompt_file
from emoscale.models.prompted import PromptedModel
from emoscale.run.folder import RunFolder
from emoscale.stimuli.prompt_texts import PromptTexts
from emoscale.system.files import replacing
from emoscale.system.progress import Progress
from emoscale.system.ranks import Ranks
from emoscale.tuning.options import TuningOptions
from emoscale.tuning.training import GroupTrainer


def tune(
    folder: RunFolder,
    model: PromptedModel,
    tokens: Sequence[Sequence[int]],
    prompts: Sequence[PromptTexts],
    options: TuningOptions,
    *,
    ranks: Ranks,
    progress: Progress,
) -> dict[str, float]:
    """Train every prompt and write it to the run folder. Groups that are already there are kept.

    The table of prompts has for each the number of the epoch that was kept, accuracy and loss in it on the texts that
    chose it, the number of epochs trained, the accuracy after the last, and the number of texts; `validation` is 0
    where the held-out texts (`dev`) chose.

    Parameters
    ----------
    folder, model
    tokens : sequence of sequence of int
        Token ids of every text.
    prompts : sequence of PromptTexts
    options : TuningOptions
    ranks : Ranks
    progress : Progress
        Counts texts.

    Returns
    -------
    dict
        ``prompts``: how many; ``accuracy``: their mean accuracy on texts that they were not trained on (chance 0.5).
    """
    size = options.prompts_per_group
    groups = [(number, prompts[start : start + size]) for number, start in enumerate(range(0, len(prompts), size))]
    own = ranks.own(groups)
    work = {number: options.epochs * sum(len(p.train) + len(p.choosing) for p in group) for number, group in own}
    todo = [(number, group) for number, group in own if not prompt_file(folder.prompts, number).exists()]
    progress.start(sum(work.values()), "texts", done=sum(work.values()) - sum(work[number] for number, _ in todo))
    for number, group in todo:
        tuned = GroupTrainer(model, tokens, group, options).train(progress)
        tuned.save(prompt_file(folder.prompts, number))
    ranks.wait()
    tuned = load_prompts(folder.prompts)
    table = pd.DataFrame(
        {
            "concept": [p.concept for p in prompts],
            "replicate": [str(p.seed) for p in prompts],
            "accuracy": tuned.accuracy.numpy(),
            "epoch": tuned.epoch.numpy(),
            "epochs": tuned.epochs.numpy(),
            "accuracy_last": tuned.accuracy_last.numpy(),
            "loss": tuned.loss.numpy(),
            "train": [len(p.train) for p in prompts],
            "validation": [0 if p.validation is None else len(p.validation) for p in prompts],
            "dev": [len(p.dev) for p in prompts],
        }
    )
    if ranks.is_main:
        with replacing(folder.prompt_table) as unfinished:
            table.to_parquet(unfinished, index=False)
    ranks.wait()
    return {"prompts": len(table), "accuracy": float(table["accuracy"].mean())}
