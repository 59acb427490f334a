"""Doing the stages of a run that are not done yet, or have to be done again."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from emoscale.config import Settings, settings_yaml
from emoscale.errors import InputError
from emoscale.pipeline.dependencies import dependency_values
from emoscale.pipeline.stage import Fingerprint, Stages, changes, fingerprints, stages_after, stages_of_run, status
from emoscale.pipeline.stages import STAGES
from emoscale.run.checksums import MANIFEST_CHANGED, check_files, remove_temporary_files
from emoscale.run.compatibility import check_same_model, holds_run, model_differences
from emoscale.run.folder import RunFolder
from emoscale.run.lock import locked
from emoscale.run.manifest import do_stage, environment, forget, new_manifest, record, write_config
from emoscale.run.replacement import complete_replacement, finish_replacement, is_complete
from emoscale.system.addresses import download, is_file, is_here
from emoscale.system.files import disk_is_full, link, remove
from emoscale.system.launcher import rank
from emoscale.system.memory import peak_memory
from emoscale.system.progress import Silent, duration

if TYPE_CHECKING:
    from emoscale.pipeline.context import Context

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What is asked of a run.

    Parameters
    ----------
    only : str, optional
        A stage; those it needs must be done. By default all that are not done.
    fresh : bool
        Do it again even if it is done: all stages, or with `only` that one.
    source : Path, optional
        Another run, whose finished stages are reused where their settings, inputs and model are the same.
    """

    only: str | None = None
    fresh: bool = False
    source: Path | None = None


@dataclass(frozen=True)
class Agenda:
    """What is to be done, and where.

    Parameters
    ----------
    todo : list of str
        Stages to be done, in order.
    outdated : list of str
        Finished stages whose settings have changed. They are done again in `RunFolder.replacement`.
    linked : dict of str to RunFolder
        Stages that are linked from another folder.
    work : RunFolder
        Where the stages are done.
    """

    todo: list[str]
    outdated: list[str]
    linked: dict[str, RunFolder]
    work: RunFolder


def run(settings: Settings, folder: RunFolder, console: Console, request: Request = Request()) -> bool:
    """Do what is asked of a run and not done yet.

    Parameters
    ----------
    settings : Settings
    folder : RunFolder
    console : Console
        Where a bar is drawn. Lines go to the log.
    request : Request

    Returns
    -------
    bool
        Whether anything was left to do.

    Raises
    ------
    InputError
        If the settings cannot be used, or the folder holds something else.
    """
    expected = fingerprints(STAGES, settings, dependency_values(settings))
    agenda = _agenda(settings, folder, expected, request)
    if not agenda.todo and not agenda.linked and not is_complete(folder) and not folder.replacement.path.exists():
        return False
    with locked(folder.path) if rank() == 0 else nullcontext():
        return _run(settings, folder, console, expected, request)


def _run(
    settings: Settings, folder: RunFolder, console: Console, expected: Mapping[str, Fingerprint], request: Request
) -> bool:
    # Torch and transformers take seconds to import, which a run with nothing left to do should not cost.
    from emoscale.pipeline.cautions import cautions_of
    from emoscale.pipeline.context import Context
    from emoscale.pipeline.study import answer_lines
    from emoscale.system.ranks import join, leave

    begin = time.perf_counter()
    ranks = join(settings.machine.device, settings.machine.threads, settings.machine.split_model)
    if ranks.is_main and is_complete(folder):
        finish_replacement(folder, STAGES, _files_of)
    ranks.wait()
    # Again, now that rank 0 keeps other runs out: one that has just ended may have done it.
    agenda = _agenda(settings, folder, expected, request)
    ranks.wait()  # every rank has looked at the folder before rank 0 changes it
    if not agenda.todo and not agenda.linked:
        if ranks.is_main:
            remove(folder.replacement.path)
        return False
    context = Context(settings, ranks)
    context.check([STAGES[name] for name in agenda.todo])
    agenda = _with_same_model(agenda, context, expected)
    if not (request.fresh and request.only is None):
        check_same_model(folder, context.outline.name, context.identity)
    ranks.wait()
    if ranks.is_main:
        if not request.fresh and folder.manifest_file.exists() and not folder.manifest_is_unchanged():
            _log.warning(f"{folder.manifest_file}: {MANIFEST_CHANGED}")
        _check_kept(agenda, folder, expected)
        _announce(agenda, folder, expected)
        for line in context.outline.notes:
            _log.info(line)
        for caution in [] if request.only else cautions_of(context):  # once a run, not at every stage
            _log.warning(caution)
        _prepare(agenda, settings, folder, context, expected, request)
        _log.debug(f"{context.outline.name}: {context.identity}; {context.hardware}; to do: {', '.join(agenda.todo)}")
    ranks.wait()
    execute(STAGES, agenda.todo, context, agenda.work, expected, console)
    if ranks.is_main and agenda.work != folder:
        complete_replacement(folder, STAGES, _files_of)
        finish_replacement(folder, STAGES, _files_of)
    ranks.wait()
    leave()
    if folder.report.exists() and (not request.only or request.only == "report"):
        if not request.only:
            spent = duration(time.perf_counter() - begin)
            _log.info(f"took {spent}, {peak_memory() / 1e9:.1f} GB of memory at most")
        for line in (*answer_lines(settings, folder), f"report: {folder.report}"):
            _log.info(line)
    return True


def execute(
    stages: Stages,
    todo: Sequence[str],
    context: Any,
    folder: RunFolder,
    expected: Mapping[str, Fingerprint],
    console: Console,
) -> None:
    """Do some stages one after the other and record each in the manifest.

    Parameters
    ----------
    stages : mapping of str to Stage
    todo : sequence of str
        Their names.
    context : object
        What the stages work on; its ``ranks`` share the work of the stages that are shared.
    folder : RunFolder
        With a manifest.
    expected : mapping of str to Fingerprint
    console : Console
    """
    ranks = context.ranks
    for name in todo:
        stage, fingerprint = stages[name], expected[name]
        if ranks.is_main:
            do_stage(
                name,
                stage.summary,
                partial(stage.run, context, folder),
                folder,
                {"id": fingerprint.id, "settings": fingerprint.settings},
                console,
                stage.outputs(folder),
            )
        elif stage.shared:
            stage.run(context, folder, Silent())
        ranks.wait()


def _agenda(settings: Settings, folder: RunFolder, expected: Mapping[str, Fingerprint], request: Request) -> Agenda:
    """Look at what is done, without changing anything."""
    wanted = [request.only] if request.only else stages_of_run(STAGES, settings)
    there = holds_run(folder)
    states = {name: status(folder, name, expected[name]) if there else "undone" for name in STAGES}
    if request.only:
        _check_needs(request.only, settings, folder, states, expected)
    if request.fresh:
        return Agenda(wanted, [], {}, folder)
    outdated = [name for name in wanted if states[name] == "outdated"]
    todo = [name for name in wanted if states[name] != "done"]
    work = folder.replacement if outdated else folder
    linked: dict[str, RunFolder] = {}
    if outdated:
        todo = [name for name in todo if status(work, name, expected[name]) != "done"]
        linked = {name: folder for name in STAGES if states[name] == "done"}
    if request.source:
        source = _source(request.source)
        found = [name for name in todo if status(source, name, expected[name]) == "done"]
        linked |= dict.fromkeys(found, source)
        todo = [name for name in todo if name not in found]
    return Agenda(todo, outdated, linked, work)


def _source(path: Path) -> RunFolder:
    source = RunFolder(path)
    if not is_file(source.manifest_file):
        raise InputError(f"--from {path}: not a run folder; give one that emoscale has written")
    return source


def _check_needs(
    only: str, settings: Settings, folder: RunFolder, states: Mapping[str, str], expected: Mapping[str, Fingerprint]
) -> None:
    missing = [need for need in STAGES[only].needs(settings) if states[need] != "done"]
    if not missing:
        return
    first = missing[0]
    if states[first] == "outdated":
        raise InputError(
            f"{folder.path}: {first} was done with other settings ({changed_settings(folder, settings, expected)}); "
            f"run emoscale {first} first, or emoscale run"
        )
    raise InputError(
        f"{folder.path}: {only} needs {' and '.join(missing)}; run emoscale {first} first, or emoscale run"
    )


def _with_same_model(agenda: Agenda, context: Context, expected: Mapping[str, Fingerprint]) -> Agenda:
    """Do stages again that would be linked from a run of another model under the same name."""
    others = {name for name, source in agenda.linked.items() if model_differences(source, context.identity)}
    linked = {name: source for name, source in agenda.linked.items() if name not in others}
    todo = [name for name in expected if name in {*agenda.todo, *others}]
    return Agenda(todo, agenda.outdated, linked, agenda.work)


def changed_settings(folder: RunFolder, settings: Settings, expected: Mapping[str, Fingerprint]) -> str:
    """Say which settings differ from those that a run's finished stages were done with."""
    done = [name for name in stages_of_run(STAGES, settings) if folder.stage(name).get("state") == "done"]
    return "; ".join(changes(folder, done, expected))


def _check_kept(agenda: Agenda, folder: RunFolder, expected: Mapping[str, Fingerprint]) -> None:
    """Check what finished stages left that are not done again: later stages read it."""
    if not holds_run(folder) and not agenda.linked:
        return
    for name in STAGES:
        place = agenda.linked.get(name, agenda.work)
        if name not in agenda.todo and status(place, name, expected[name]) == "done":
            check_files(place, [name])


def _announce(agenda: Agenda, folder: RunFolder, expected: Mapping[str, Fingerprint]) -> None:
    if agenda.outdated:
        why = "; ".join(changes(folder, agenda.outdated, expected))
        _log.info(f"{why}; doing again: {', '.join(agenda.todo)} (the old results stay until the new are finished)")
    by_source: dict[Path, list[str]] = {}
    for name, source in agenda.linked.items():
        if source != folder:
            by_source.setdefault(source.path, []).append(name)
    for path, names in by_source.items():
        _log.info(f"reused from {path}: {', '.join(names)}")


def _prepare(
    agenda: Agenda,
    settings: Settings,
    folder: RunFolder,
    context: Context,
    expected: Mapping[str, Fingerprint],
    request: Request,
) -> None:
    work = agenda.work
    try:
        remove_temporary_files(folder)
        if request.fresh:
            remove(folder.replacement.path)
            _undo(folder, agenda.todo if request.only is None else [request.only], settings)
        manifest = {} if request.fresh and not request.only else work.manifest()
        manifest = manifest or (folder.manifest() | {"stages": {}} if work != folder else {}) or new_manifest()
        work.write_manifest(manifest | _circumstances(settings, context))
        _undo(work, [name for name in STAGES if _is_left_over(work, name, expected[name], work != folder)], settings)
        write_config(work, settings_yaml(settings))
        for name, source in agenda.linked.items():
            if status(work, name, expected[name]) != "done":
                _link_stage(name, source, work, folder)
    except OSError as error:
        if disk_is_full(error):
            raise
        raise InputError(f"{folder.path}: cannot be written ({error.strerror}); choose another --out") from error


def _is_left_over(work: RunFolder, name: str, fingerprint: Fingerprint, is_replacement: bool) -> bool:
    """Whether a stage was begun with other settings, or from other results, than those that are asked for now.

    Finished results are kept, unless they are an abandoned attempt to replace some.
    """
    recorded = work.stage(name)
    is_kept = recorded.get("state") == "done" and not is_replacement
    return bool(recorded) and recorded.get("id") != fingerprint.id and not is_kept


def _link_stage(name: str, source: RunFolder, work: RunFolder, folder: RunFolder) -> None:
    stage = STAGES[name]
    outputs = zip(stage.outputs(source), stage.outputs(work), strict=True)
    for old, new in (*outputs, (source.checksums(name), work.checksums(name))):
        if old.exists():
            (link if is_here(old) else download)(old, new)
    origin = {} if source == folder else {"from": str(source.path)}
    record(work, name, source.stage(name) | origin)


def _undo(folder: RunFolder, names: Sequence[str], settings: Settings) -> None:
    """Remove what some stages and those after them have left."""
    undone = [name for name in STAGES if name in names or any(name in stages_after(STAGES, settings, n) for n in names)]
    # The manifest first: a stage that lost its files must not count as done, should this be killed here.
    forget(folder, undone)
    for path in (path for name in undone for path in STAGES[name].files(folder)):
        remove(path)


def _files_of(name: str, folder: RunFolder) -> list[Path]:
    return STAGES[name].files(folder)


def _circumstances(settings: Settings, context: Context) -> dict[str, Any]:
    found = environment()
    return {
        "versions": found["versions"],
        "hardware": found["hardware"] | context.hardware,
        "model": {
            "name": context.outline.name,
            "revision": settings.model.revision,
            **context.identity,
            "kind": context.outline.kind,
            "layers": len(context.outline.sites),
            "neurons": context.outline.neurons,
        },
    }
