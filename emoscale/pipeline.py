"""Which stage needs what, what is already done, and doing the rest."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from emoscale import __version__
from emoscale.config import Settings, settings_yaml
from emoscale.errors import InputError
from emoscale.files import sha256, write_text
from emoscale.progress import Silent
from emoscale.recording import do_stage, now, versions
from emoscale.run_folder import RunFolder

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

_MACHINE_SECTIONS = ("machine", "title")


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
    inputs_sha256 = _hash_inputs(settings)
    if not (fresh and only is None):
        _check_same_run(settings, folder, inputs_sha256)
    stages = [only] if only else list(NEEDS)
    todo = [stage for stage in stages if fresh or not _is_done(folder, stage)]
    if not todo:
        if not only:
            console.print(f"{folder.path}: all stages are done; report: {folder.report}")
        else:
            console.print(f"{folder.path}: {only} is done; --fresh does it anew")
        return False
    if only:
        _check_needs(folder, only)

    # Torch and transformers take seconds to import, which a run with nothing left to do should not cost.
    from emoscale import distributed
    from emoscale.inputs import Inputs
    from emoscale.stages import SHARED, STAGES

    ranks = distributed.join(settings.machine.device, settings.machine.threads)
    inputs = Inputs(settings, ranks)
    inputs.check()
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
        console.print(f"report: {folder.report}", highlight=False, soft_wrap=True)
    return True


def _is_done(folder: RunFolder, stage: str) -> bool:
    return bool(folder.manifest().get("stages", {}).get(stage, {}).get("state") == "done")


def _check_needs(folder: RunFolder, stage: str) -> None:
    missing = [need for need in NEEDS[stage] if not _is_done(folder, need)]
    if missing:
        raise InputError(
            f"{folder.path}: {stage} needs {' and '.join(missing)}; run emoscale {missing[0]} first, or emoscale run"
        )


def _check_same_run(settings: Settings, folder: RunFolder, inputs_sha256: dict[str, str]) -> None:
    if not folder.path.exists() or (folder.path.is_dir() and not any(folder.path.iterdir())):
        return
    if not folder.config.is_file() or not folder.manifest_file.is_file():
        raise InputError(f"{folder.path}: holds files that are not an emoscale run; choose an empty --out")
    there = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
    differing = _differences(_flat(there), _flat(settings.model_dump()))
    recorded = folder.manifest().get("inputs", {})
    differing += [
        f"{name} has changed" for name, digest in inputs_sha256.items() if recorded.get(name, digest) != digest
    ]
    if differing:
        raise InputError(
            f"{folder.path}: holds a run with other settings ({'; '.join(differing)}); "
            "choose another --out, or start anew with --fresh"
        )


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    return [
        f"{key}: {there.get(key)!r} there, {here.get(key)!r} here"
        for key in sorted(there.keys() | here.keys())
        if key.split(".")[0] not in _MACHINE_SECTIONS and there.get(key) != here.get(key)
    ]


def _flat(sections: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{section}.{key}" if isinstance(values, dict) else section: value
        for section, values in sections.items()
        for key, value in (values.items() if isinstance(values, dict) else [("", values)])
    }


def _hash_inputs(settings: Settings) -> dict[str, str]:
    """Hash the user's own files, so that a changed one is not taken for the one the run was made with."""
    named = (
        settings.concepts.attributes,
        settings.concepts.dissimilarity,
        settings.stimuli.path,
        settings.stimuli.dev_path,
    )
    files = [Path(name) for name in named if name]
    return {str(file): sha256(file) for file in files if file.is_file()}


def _prepare(
    settings: Settings, folder: RunFolder, inputs: Any, inputs_sha256: dict[str, str], only: str | None, fresh: bool
) -> None:
    if fresh and only is None and folder.path.exists():
        if any(folder.path.iterdir()) and not folder.manifest_file.is_file():
            raise InputError(f"{folder.path}: holds files that are not an emoscale run; choose an empty --out")
        shutil.rmtree(folder.path)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        write_text(folder.config, settings_yaml(settings))
    except OSError as error:
        raise InputError(f"{folder.path}: cannot be written ({error.strerror}); choose another --out") from error
    manifest = folder.manifest() or {"emoscale": __version__, "created": now(), "stages": {}}
    manifest |= {"versions": versions(), "hardware": _hardware(inputs), "inputs": inputs_sha256}
    manifest["model"] = {
        "name": inputs.outline.name,
        "revision": settings.model.revision,
        "weights_sha256": inputs.weights_sha256,
        "kind": inputs.outline.kind,
        "layers": len(inputs.outline.sites),
        "neurons": inputs.outline.neurons,
    }
    if fresh and only:
        undone = [only, *_later(only)]
        manifest["stages"] = {stage: facts for stage, facts in manifest["stages"].items() if stage not in undone}
        for stage in undone:
            for path in _outputs(folder, stage):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    folder.write_manifest(manifest)


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
        "select": [folder.selectivity],
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
