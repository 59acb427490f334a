"""What a stage is, and when it has to be done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from emoscale.run.checksums import missing_outputs
from emoscale.run.folder import RunFolder
from emoscale.system.progress import Progress

Counts = Mapping[str, Any]
Check = Callable[[], object]
Status = Literal["done", "outdated", "undone"]


@dataclass(frozen=True)
class Stage:
    """One stage of a run. The command line, the runner, the manifest and `inspect` read it.

    Parameters
    ----------
    name : str
        Its command.
    help : str
        One line.
    summary : str
        The line printed when it is done, a format of the counts that `run` returns.
    run : callable
        From what the run works on (`Context`), its folder and the progress to counts for the manifest.
    outputs : callable
        From the folder to what the stage leaves there, with the meaning of each for the reader of the report.
    working : callable
        From the folder to what it leaves besides: commit logs, finished work units, what is temporary.
    needs : callable
        From the settings to the names of the stages whose outputs it reads.
    depends_on : callable
        From the settings to the settings that change its outputs: ``"section.key"``, or ``"section"`` for all of one.
        What it reads of earlier stages does not count.
    checks : callable
        From the context to checks made before anything is written, each of which may raise `InputError`.
    shared : bool
        Whether the ranks share its work; others run on rank 0.
    loads_model : bool
        Whether it runs the model.
    optional : bool
        Whether it is left out where no other stage needs it.
    """

    name: str
    help: str
    summary: str
    run: Callable[[Any, RunFolder, Progress], Counts]
    outputs: Callable[[RunFolder], Mapping[Path, str]]
    needs: Callable[[Any], Sequence[str]] = lambda _: ()
    depends_on: Callable[[Any], Sequence[str]] = lambda _: ()
    working: Callable[[RunFolder], Sequence[Path]] = lambda _: ()
    checks: Callable[[Any], Iterable[Check]] = lambda _: ()
    shared: bool = False
    loads_model: bool = False
    optional: bool = False

    def files(self, folder: RunFolder) -> list[Path]:
        """Return everything that it may leave in a folder."""
        return [*self.outputs(folder), *self.working(folder), folder.checksums(self.name)]


Stages = Mapping[str, Stage]
"""The stages of a kind of run by name, each after those it needs."""


@dataclass(frozen=True)
class Fingerprint:
    """What a stage's outputs depend on.

    Parameters
    ----------
    id : str
        Hash of the settings and of the ids of the stages it needs.
    settings : dict of str to JSON value
        By ``section.key``.
    """

    id: str
    settings: dict[str, Any]


def stages_of_run(stages: Stages, settings: Any) -> list[str]:
    """Return the names of the stages of a whole run, in order."""
    needed = {need for stage in stages.values() for need in stage.needs(settings)}
    return [name for name, stage in stages.items() if name in needed or not stage.optional]


def stages_after(stages: Stages, settings: Any, name: str) -> list[str]:
    """Return the names of the stages that need a stage, directly or not, in order."""
    after: list[str] = []
    for other, stage in stages.items():
        if {name, *after} & set(stage.needs(settings)):
            after.append(other)
    return after


def fingerprints(stages: Stages, settings: Any, values: Mapping[str, Any]) -> dict[str, Fingerprint]:
    """Return the fingerprint of every stage.

    Parameters
    ----------
    stages : mapping of str to Stage
    settings : Settings
    values : mapping of str to JSON value
        Of every setting, by ``section.key``; in place of a file's name, a hash of what it holds.
    """
    found: dict[str, Fingerprint] = {}
    for name, stage in stages.items():
        wanted = stage.depends_on(settings)
        own = {key: value for key, value in values.items() if key in wanted or key.partition(".")[0] in wanted}
        own = json.loads(json.dumps(own))
        needs = {need: found[need].id for need in stage.needs(settings)}
        text = json.dumps([name, own, needs], sort_keys=True)
        found[name] = Fingerprint(hashlib.sha256(text.encode()).hexdigest()[:16], own)
    return found


def status(folder: RunFolder, name: str, fingerprint: Fingerprint) -> Status:
    """Say whether a stage is done in a folder; `outdated` if it was done with other settings or inputs.

    One of whose outputs nothing is left is not done.
    """
    recorded = folder.stage(name)
    if recorded.get("state") != "done" or missing_outputs(folder, name):
        return "undone"
    return "done" if recorded.get("id") == fingerprint.id else "outdated"


def changes(folder: RunFolder, names: Iterable[str], expected: Mapping[str, Fingerprint]) -> list[str]:
    """Say which settings of some finished stages have changed, one clause each."""
    found: dict[str, None] = {}
    for name in names:
        before, now = folder.stage(name).get("settings", {}), expected[name].settings
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                found[_change(key, before.get(key), now.get(key))] = None
    return list(found)


def _change(key: str, before: Any, now: Any) -> str:
    digests = [value for value in (before, now) if isinstance(value, str) and value.startswith("sha256:")]
    return f"{key} has changed" if len(digests) == 2 else f"{key}: {before!r} → {now!r}"
