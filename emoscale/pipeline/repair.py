"""Writing damaged parts of a run's activations again."""

from __future__ import annotations

import logging
from contextlib import nullcontext

from rich.console import Console

from emoscale.config import Settings
from emoscale.errors import InputError
from emoscale.pipeline.dependencies import dependency_values
from emoscale.pipeline.runner import changed_settings
from emoscale.pipeline.stage import fingerprints, status
from emoscale.pipeline.stages import STAGES
from emoscale.run.compatibility import check_same_model, holds_run
from emoscale.run.folder import RunFolder
from emoscale.run.lock import locked
from emoscale.system.launcher import rank
from emoscale.system.progress import stage_progress

_log = logging.getLogger(__name__)


def repair(settings: Settings, folder: RunFolder, console: Console) -> None:
    """Write the missing and damaged chunks of a run's activations again, and change nothing else.

    Parameters
    ----------
    settings : Settings
        The run's own.
    folder : RunFolder
    console : Console
        Where a bar is drawn. Lines go to the log.

    Raises
    ------
    InputError
        If the activations have not been extracted, or with other settings.
    StageError
        If activations computed here differ from those stored beside the damaged ones.
    """
    expected = fingerprints(STAGES, settings, dependency_values(settings))
    if not holds_run(folder) or (state := status(folder, "extract", expected["extract"])) == "undone":
        raise InputError(f"{folder.path}: extract is not done, so there is nothing to repair; run emoscale extract")
    if state == "outdated":
        raise InputError(
            f"{folder.path}: was extracted with other settings ({changed_settings(folder, settings, expected)}); "
            "repair with the run's own config.yaml"
        )
    if settings.extraction.keep == "moments":
        raise InputError(f"{folder.path}: moments cannot be repaired in parts; run emoscale extract --fresh")
    if settings.machine.split_model == "tensors":
        raise InputError("machine.split_model 'tensors': repair with the complete model, or with layers")
    with locked(folder.path) if rank() == 0 else nullcontext():
        from emoscale.pipeline.context import Context
        from emoscale.pipeline.stage_work import run_extract
        from emoscale.system.ranks import join, leave

        ranks = join(settings.machine.device, settings.machine.threads, settings.machine.split_model)
        context = Context(settings, ranks)
        context.check([STAGES["extract"]])
        check_same_model(folder, context.outline.name, context.identity)
        with stage_progress("repair", console) as progress:
            run_extract(context, folder, progress, repair=True)
        leave()
    _log.info(f"{folder.activations}: every chunk is present and valid")
