"""Which stage needs what, what is already done, and doing the rest."""

from __future__ import annotations

import os
import platform
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from emoscale import __version__
from emoscale.config import Settings, settings_mapping, settings_yaml
from emoscale.errors import InputError
from emoscale.run.compatibility import check_same_model, check_same_settings, hash_inputs, holds_run
from emoscale.run.folder import RunFolder
from emoscale.run.lock import locked
from emoscale.run.manifest import do_stage, now, versions
from emoscale.system.files import disk_is_full, write_text
from emoscale.system.progress import Silent, say, stage_progress

NEEDS: dict[str, tuple[str, ...]] = {
    "tune": (),
    "extract": ("tune",),
    "select": ("extract",),
    "mask": ("select",),
    "ablate": ("tune", "mask"),
    "analyze": ("select", "ablate"),
    "report": ("analyze",),
}
"""What each stage finds in the run folder, in the order in which a run does them."""

_SUMMARIES = {
    "tune": "{prompts} prompts, mean held-out accuracy {accuracy:.3f} (chance 0.500)",
    "extract": "{rows:,} rows × {neurons:,} neurons",
    "select": "{neurons:,} neurons, {significant:,} of {tests:,} tests significant",
    "mask": "{selective} selective masks, {controls} controls",
    "ablate": "{questions:,} questions × {masks} masks, {tokens_per_pass:,} tokens a pass",
    "analyze": "{tables} tables",
    "report": "{figures} figures",
}


def run(
    settings: Settings,
    folder: RunFolder,
    console: Console,
    *,
    only: str | None = None,
    fresh: bool = False,
) -> bool:
    """Do every stage that is not done yet, or one.

    Parameters
    ----------
    settings : Settings
    folder : RunFolder
    console : Console
        For progress and one line a stage.
    only : str, optional
        A stage; what it needs must be done.
    fresh : bool
        Do it anew: the whole run, or with `only` that stage (and later ones become undone).

    Returns
    -------
    bool
        Whether anything was left to do.

    Raises
    ------
    InputError
        If the settings cannot be used, or the folder holds something else.
    """
    inputs_sha256 = hash_inputs(named_files(settings))
    if not _left_to_do(settings, folder, inputs_sha256, only, fresh):
        return _nothing_done(folder, console, only)
    with locked(folder.path) if is_rank_0() else nullcontext():
        return _run(settings, folder, console, inputs_sha256, only, fresh)


def _run(
    settings: Settings,
    folder: RunFolder,
    console: Console,
    inputs_sha256: dict[str, str],
    only: str | None,
    fresh: bool,
) -> bool:
    # Torch and transformers take seconds to import, which a run with nothing left to do should not cost.
    from emoscale.pipeline.context import Context
    from emoscale.pipeline.stages import SHARED, STAGES
    from emoscale.system.ranks import join, leave

    ranks = join(settings.machine.device, settings.machine.threads, settings.machine.split_model)
    # Again, now that rank 0 keeps other runs out: one that has just ended may have done it.
    todo = _left_to_do(settings, folder, inputs_sha256, only, fresh)
    if not todo:
        return _nothing_done(folder, console, only)
    context = Context(settings, ranks)
    context.check(todo)
    if not (fresh and only is None):
        check_same_model(folder, context.weights_sha256, context.tokenizer_sha256)
    ranks.wait()  # every rank has looked at the folder before rank 0 changes it
    if ranks.is_main:
        _prepare(settings, folder, context, inputs_sha256, only, fresh)
    ranks.wait()
    for stage in todo:
        if ranks.is_main:
            do_stage(
                stage,
                lambda progress, stage=stage: STAGES[stage](context, folder, progress),
                folder,
                console,
                _SUMMARIES[stage],
            )
        elif stage in SHARED:
            STAGES[stage](context, folder, Silent())
        ranks.wait()
    leave()
    if not only or only == "report":
        say(console, f"report: {folder.report}")
    return True


def repair(settings: Settings, folder: RunFolder, console: Console) -> None:
    """Write the missing and damaged chunks of a run's activations anew, and change nothing else.

    Parameters
    ----------
    settings : Settings
        The run's own.
    folder : RunFolder
    console : Console
        For progress and a line at the end.

    Raises
    ------
    InputError
        If the activations have not been extracted, or with other settings.
    StageError
        If activations come out otherwise here than those stored beside them.
    """
    inputs_sha256 = hash_inputs(named_files(settings))
    if not holds_run(folder) or not _is_done(folder, "extract"):
        raise InputError(f"{folder.path}: extract is not done, so there is nothing to repair; run emoscale extract")
    check_same_settings(folder, settings_mapping(settings), inputs_sha256)
    if settings.extraction.keep == "moments":
        raise InputError(f"{folder.path}: moments cannot be mended in parts; run emoscale extract --fresh")
    if settings.machine.split_model == "tensors":
        raise InputError("machine.split_model 'tensors': repair with the whole model, or with layers")
    with locked(folder.path) if is_rank_0() else nullcontext():
        from emoscale.pipeline.context import Context
        from emoscale.pipeline.stages import repair_activations
        from emoscale.system.ranks import join, leave

        ranks = join(settings.machine.device, settings.machine.threads, settings.machine.split_model)
        context = Context(settings, ranks)
        context.check(["extract"])
        check_same_model(folder, context.weights_sha256, context.tokenizer_sha256)
        with stage_progress("repair", console) as progress:
            repair_activations(context, folder, progress)
        leave()
    say(console, f"{folder.activations}: every chunk is there and whole")


def named_files(settings: Settings) -> list[str | None]:
    """Return the names of the user's own files and folders."""
    concepts, stimuli = settings.concepts, settings.stimuli
    return [concepts.attributes, concepts.dissimilarity, stimuli.path, stimuli.dev_path]


def is_rank_0() -> bool:
    """Whether this is the first of the launcher's processes, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def _left_to_do(
    settings: Settings, folder: RunFolder, inputs_sha256: dict[str, str], only: str | None, fresh: bool
) -> list[str]:
    if holds_run(folder) and not (fresh and only is None):
        check_same_settings(folder, settings_mapping(settings), inputs_sha256)
    todo = [stage for stage in ([only] if only else _stages(settings)) if fresh or not _is_done(folder, stage)]
    if only and todo:
        _check_needs(folder, only, settings)
    return todo


def _stages(settings: Settings) -> list[str]:
    """Return the stages of a whole run; prompts that no other stage uses are not tuned."""
    is_tuned = any(_uses_prompts(stage, settings) for stage, needs in NEEDS.items() if "tune" in needs)
    return [stage for stage in NEEDS if is_tuned or stage != "tune"]


def _uses_prompts(stage: str, settings: Settings) -> bool:
    """Whether a stage that comes after tuning needs its prompts: sentences, texts and plain questions are there."""
    wanted = {"extract": settings.extraction.rows, "ablate": settings.ablation.task}
    return wanted.get(stage, "prompts") == "prompts"


def _nothing_done(folder: RunFolder, console: Console, only: str | None) -> bool:
    done = f"{only} is done; --fresh does it anew" if only else f"all stages are done; report: {folder.report}"
    say(console, f"{folder.path}: {done}")
    return False


def _is_done(folder: RunFolder, stage: str) -> bool:
    return bool(folder.manifest().get("stages", {}).get(stage, {}).get("state") == "done")


def _check_needs(folder: RunFolder, stage: str, settings: Settings) -> None:
    spared = set() if _uses_prompts(stage, settings) else {"tune"}
    missing = [need for need in NEEDS[stage] if need not in spared and not _is_done(folder, need)]
    if missing:
        raise InputError(
            f"{folder.path}: {stage} needs {' and '.join(missing)}; run emoscale {missing[0]} first, or emoscale run"
        )


def _prepare(
    settings: Settings, folder: RunFolder, context: Any, inputs_sha256: dict[str, str], only: str | None, fresh: bool
) -> None:
    try:
        if fresh:
            _undo(folder, [only, *_later(only)] if only else list(NEEDS))
        manifest = {} if fresh and not only else folder.manifest()
        manifest = manifest or {"emoscale": __version__, "created": now(), "stages": {}}
        folder.write_manifest(manifest | _circumstances(settings, context, inputs_sha256))
        write_text(folder.config, settings_yaml(settings))
    except OSError as error:
        if disk_is_full(error):
            raise
        raise InputError(f"{folder.path}: cannot be written ({error.strerror}); choose another --out") from error


def _undo(folder: RunFolder, stages: list[str]) -> None:
    manifest = folder.manifest()
    if not manifest:
        return
    # The manifest first: a stage that lost its files must not count as done, should this be killed here.
    manifest["stages"] = {stage: facts for stage, facts in manifest["stages"].items() if stage not in stages}
    folder.write_manifest(manifest)
    for path in (path for stage in stages for path in _outputs(folder, stage)):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _circumstances(settings: Settings, context: Any, inputs_sha256: dict[str, str]) -> dict[str, Any]:
    return {
        "versions": versions(),
        "hardware": _hardware(context),
        "inputs": inputs_sha256,
        "model": {
            "name": context.outline.name,
            "revision": settings.model.revision,
            "weights_sha256": context.weights_sha256,
            "tokenizer_sha256": context.tokenizer_sha256,
            "kind": context.outline.kind,
            "layers": len(context.outline.sites),
            "neurons": context.outline.neurons,
        },
    }


def _later(stage: str) -> list[str]:
    later: list[str] = []
    for name, needs in NEEDS.items():
        if any(need == stage or need in later for need in needs):
            later.append(name)
    return later


def _outputs(folder: RunFolder, stage: str) -> list[Path]:
    return {
        "tune": [folder.prompts, folder.prompt_table],
        "extract": [
            folder.inputs,
            folder.activations,
            folder.commits(folder.activations),
            folder.moments,
            folder.moment_parts,
            folder.commits(folder.moments),
        ],
        "select": [folder.selectivity, folder.row_measures],
        "mask": [folder.masks],
        "ablate": [folder.ablation, folder.ablation_table],
        "analyze": [folder.tables],
        "report": [folder.figures, folder.report],
    }[stage]


def _hardware(context: Any) -> dict[str, Any]:
    import torch

    device = context.ranks.device
    return {
        "device": str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "ranks": context.ranks.processes,
    }
