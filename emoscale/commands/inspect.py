"""Printing what a run folder or a store holds."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emoscale.errors import InputError, StoreError
from emoscale.pipeline.stages import STAGES
from emoscale.run.checksums import Verified, verify_files
from emoscale.run.folder import RunFolder
from emoscale.store import Store, is_chunk, open_store
from emoscale.system.addresses import is_file
from emoscale.system.progress import say


def inspect_path(path: Path, verify: bool, console: Console) -> None:
    """Print what is at `path`.

    Parameters
    ----------
    path : Path
        A run folder, or one store.
    verify : bool
        Compare every file, and the values of every chunk, with the checksums that were recorded.
    console : Console

    Raises
    ------
    InputError
        If `path` is neither.
    StoreError
        If `verify` finds something missing, changed or added; names every file.
    """
    folder, found = RunFolder(path), Verified({}, set())
    if is_file(path / "zarr.json"):
        stores = [open_store(path)]
        _print_store(stores[0], console)
    elif is_file(folder.manifest_file):
        paths = [path for stage in STAGES.values() for path in stage.outputs(folder)]
        found = verify_files(folder) if verify else found
        present = [path for path in paths if is_file(path / "zarr.json")]
        if verify:
            present = [path for path in present if _is_usable(path, found.problems)]
        stores = [open_store(path) for path in present]
        _print_run(folder, stores, console)
    else:
        raise InputError(f"{path}: neither a run folder nor a store; give a folder that emoscale wrote")
    if verify:
        _verify([store for store in stores if store.complete], found, console)


def _is_usable(path: Path, problems: dict[Path, str]) -> bool:
    """Whether a store can be opened and its metadata, which say what chunks there are, have not changed."""
    if any(path in file.parents and not is_chunk(file) for file in problems):
        return False
    try:
        open_store(path)
    except InputError as error:
        if not any(path in file.parents for file in problems):
            problems[path] = str(error)
        return False
    return True


def _verify(stores: list[Store], found: Verified, console: Console) -> None:
    damaged = [problem for store in stores for problem in store.verify(found.unchanged)]
    others = [
        line for file, line in found.problems.items() if not any(problem.startswith(f"{file}: ") for problem in damaged)
    ]
    if problems := [*damaged, *others]:
        raise StoreError(problems)
    names = ", ".join(store.path.name for store in stores) or "no complete store to look at"
    say(console, f"verified: every file and every chunk is there and unchanged ({names})")


def _print_run(folder: RunFolder, stores: list[Store], console: Console) -> None:
    manifest = folder.manifest()
    model = manifest.get("model", {})
    say(console, f"{folder.path}: emoscale {manifest.get('emoscale')}, made {manifest.get('created')}")
    say(
        console,
        f"model {model.get('name')} ({model.get('kind')}), {model.get('neurons')} neurons in {model.get('layers')} "
        f"layers, weights {str(model.get('weights_sha256'))[:12]}…",
    )
    table = Table("stage", "state", "seconds", "what", box=None, pad_edge=False)
    for stage, facts in manifest["stages"].items():
        counts = [f"{key} {value}" for key, value in facts.get("counts", {}).items()]
        what = ", ".join([*counts, *([f"from {facts['from']}"] if "from" in facts else [])])
        table.add_row(stage, facts["state"], str(facts.get("wall_s", "")), escape(what))
    console.print(table, highlight=False)
    for store in stores:
        _print_store(store, console)
    for path in (folder.tables, folder.figures):
        if path.is_dir():
            names = sorted(file.name for file in path.iterdir() if not file.name.startswith("."))
            say(console, f"{path.name}: {', '.join(names)}")


def _print_store(store: Store, console: Console) -> None:
    state = "complete" if store.complete else "not finished"
    say(console, f"{store.path.name}: {store.schema.kind}, {state}")
    table = Table("array", "type", "shape", "chunks", "meaning", box=None, pad_edge=False)
    for array in store.schema.arrays:
        shape = " × ".join(f"{dim} {store.sizes[dim]}" for dim in array.dims)
        chunks = " × ".join(map(str, store.chunks(array.name)))
        dtype = "str" if array.dtype == "str" else store.dtype(array.name)
        table.add_row(array.name, dtype, shape, chunks, array.meaning)
    console.print(table, highlight=False)
