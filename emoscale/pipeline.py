"""Which stage needs what, what is already done, and doing the rest."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from typing import Any

from rich.console import Console

from emoscale import __version__
from emoscale.config import Settings, settings_yaml
from emoscale.errors import InputError
from emoscale.files import write_text
from emoscale.progress import Silent, say
from emoscale.recording import do_stage, now, versions
from emoscale.run_folder import RunFolder
from emoscale.same_run import check_same_settings, check_same_weights, hash_inputs, holds_run

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
    "mask": "{selective} selective and {random} random masks",
    "ablate": "{prompts} prompts × {masks} masks, {rows:,} rows",
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
    anew = fresh and only is None
    inputs_sha256 = hash_inputs(settings)
    if holds_run(folder) and not anew:
        check_same_settings(folder, settings, inputs_sha256)
    stages = [only] if only else list(NEEDS)
    todo = [stage for stage in stages if fresh or not _is_done(folder, stage)]
    if not todo:
        done = f"{only} is done; --fresh does it anew" if only else f"all stages are done; report: {folder.report}"
        say(console, f"{folder.path}: {done}")
        return False
    if only:
        _check_needs(folder, only)

    # Torch and transformers take seconds to import, which a run with nothing left to do should not cost.
    from emoscale import distributed
    from emoscale.inputs import Inputs
    from emoscale.stages import SHARED, STAGES

    ranks = distributed.join(settings.machine.device, settings.machine.threads)
    inputs = Inputs(settings, ranks)
    inputs.check(with_model=not set(SHARED).isdisjoint(todo), with_computers="select" in todo)
    if not anew:
        check_same_weights(folder, inputs.weights_sha256)
    ranks.wait()  # every rank has looked at the folder before rank 0 changes it
    if ranks.is_main:
        _prepare(settings, folder, inputs, inputs_sha256, only, fresh)
    ranks.wait()
    for stage in todo:
        if ranks.is_main:
            do_stage(
                stage,
                lambda progress, stage=stage: STAGES[stage](inputs, folder, progress),
                folder,
                console,
                _SUMMARIES[stage],
            )
        elif stage in SHARED:
            STAGES[stage](inputs, folder, Silent())
        ranks.wait()
    distributed.leave()
    if not only or only == "report":
        say(console, f"report: {folder.report}")
    return True


def _is_done(folder: RunFolder, stage: str) -> bool:
    return bool(folder.manifest().get("stages", {}).get(stage, {}).get("state") == "done")


def _check_needs(folder: RunFolder, stage: str) -> None:
    missing = [need for need in NEEDS[stage] if not _is_done(folder, need)]
    if missing:
        raise InputError(
            f"{folder.path}: {stage} needs {' and '.join(missing)}; run emoscale {missing[0]} first, or emoscale run"
        )


def _prepare(
    settings: Settings, folder: RunFolder, inputs: Any, inputs_sha256: dict[str, str], only: str | None, fresh: bool
) -> None:
    try:
        if fresh:
            _undo(folder, [only, *_later(only)] if only else list(NEEDS))
        manifest = {} if fresh and not only else folder.manifest()
        manifest = manifest or {"emoscale": __version__, "created": now(), "stages": {}}
        folder.write_manifest(manifest | _circumstances(settings, inputs, inputs_sha256))
        write_text(folder.config, settings_yaml(settings))
    except OSError as error:
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


def _circumstances(settings: Settings, inputs: Any, inputs_sha256: dict[str, str]) -> dict[str, Any]:
    return {
        "versions": versions(),
        "hardware": _hardware(inputs),
        "inputs": inputs_sha256,
        "model": {
            "name": inputs.outline.name,
            "revision": settings.model.revision,
            "weights_sha256": inputs.weights_sha256,
            "kind": inputs.outline.kind,
            "layers": len(inputs.outline.sites),
            "neurons": inputs.outline.neurons,
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
        "extract": [folder.activations, folder.commits(folder.activations)],
        "select": [folder.selectivity, folder.row_measures],
        "mask": [folder.masks],
        "ablate": [folder.ablation, folder.ablation_table],
        "analyze": [folder.tables],
        "report": [folder.figures, folder.report],
    }[stage]


def _hardware(inputs: Any) -> dict[str, Any]:
    import torch

    device = inputs.ranks.device
    return {
        "device": str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "ranks": inputs.ranks.world,
    }
