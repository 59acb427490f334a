"""A disk without room: a line that says so, and after making room the run ends as one that nothing disturbed."""

import itertools
import pkgutil
import re
import shutil
import subprocess

import pytest
from tiny_run import RESULTS, contents

from emoscale.run import lock
from emoscale.system import files
from emoscale.system.files import naming, replacing

resource = pytest.importorskip("resource")  # not there on Windows
pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system in memory of a given size; only root may, and not in every container."""
    mounted = []

    def mount(size):
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def longest_file():
    """Set the longest file that may be written, which raises EFBIG; without an argument, none."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size=None):
        resource.setrlimit(resource.RLIMIT_FSIZE, usual if size is None else (size, usual[1]))

    yield limit
    limit()


@pytest.mark.parametrize("kilobytes", [8, 60, 300])
def test_a_full_disk_and_then_room(cli, world, finished, small_disk, kilobytes):
    """Sizes from one that holds hardly the lock to one that holds nearly all."""
    out = small_disk("1m") / "run"
    filler = out.parent / "filler"
    with filler.open("wb") as file:
        file.write(bytes(2**20 - kilobytes * 1024))
    answer = cli("run", finished.config, "--out", out)
    assert answer.code == 1
    (told,) = answer.problems
    found = re.fullmatch(r"(.*): No space left on device \(file system (.*), 0 MB free\); make room, .*", told)
    assert found, told
    assert found[1].startswith(str(out))
    assert found[2] == str(out.parent)
    assert not (out / lock.LOCK).exists()
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=20m", str(out.parent)], check=True)
    assert cli("run", finished.config, "--out", out).code == 0
    assert contents(out, *RESULTS) == contents(finished.out, *RESULTS)


@pytest.mark.parametrize(
    ("function", "call", "at"),
    [
        ("emoscale.extraction.sinks:create_store", 1, "activations.zarr"),
        ("emoscale.extraction.sequences:create_store", 1, "inputs.zarr"),
        ("emoscale.store:Store.write", 2, "activations.zarr/activations"),
        ("emoscale.models.prompt_files:TunedPrompts.save", 2, "prompts/group-0001.safetensors"),
        ("emoscale.ablation.ablate:create_store", 5, "scores.zarr"),
    ],
)
def test_files_that_must_not_be_so_long(cli, world, finished, longest_file, monkeypatch, function, call, at):
    """Where nothing can be mounted, the system's own limit stands for the full disk; it holds in one call."""
    owner, name = function.rsplit("." if "." in function.partition(":")[2] else ":", 1)
    owner = pkgutil.resolve_name(owner)
    usual, calls = getattr(owner, name), itertools.count(1)

    def limited(*args, **kwargs):
        if next(calls) == call:
            longest_file(0)
        try:
            return usual(*args, **kwargs)
        finally:
            longest_file()

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, limited)
        answer = cli("run", finished.config, "--out", world.out)
    (told,) = answer.problems
    assert told.startswith(f"{world.out / at}: File too large (file system ")
    assert told.endswith("; make room, then rerun the same command")
    assert answer.code == 1
    assert cli("run", finished.config, "--out", world.out).code == 0
    assert contents(world.out, *RESULTS) == contents(finished.out, *RESULTS)


@pytest.mark.parametrize("library", ["rust", "nameless", "named"])
def test_every_librarys_error_names_the_file(tmp_path, library):
    errors = {
        "rust": RuntimeError("I/O error: No space left on device (os error 28)"),
        "nameless": OSError(28, "Error writing bytes to file"),
        "named": OSError(28, "No space left on device", "/somewhere/.else"),
    }
    with pytest.raises(OSError, match="No space left") as caught, replacing(tmp_path / "a.bin"):
        raise errors[library]
    assert (caught.value.errno, caught.value.filename) == (28, str(tmp_path / "a.bin"))
    assert files.disk_is_full(caught.value)
    assert not list(tmp_path.iterdir())


def test_other_errors_stay_as_they_are(tmp_path):
    for error in (ValueError("no number"), FileNotFoundError(2, "No such file", "/other")):
        with pytest.raises(type(error)) as caught, naming(tmp_path):
            raise error
        assert caught.value is error
