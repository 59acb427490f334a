"""What changed, is missing, or was added after a stage was done is noticed, by `--verify` and by the next stage."""

import itertools
import random
import shutil
from pathlib import Path

import pytest

from emoscale.config import load_settings
from emoscale.errors import InputError
from emoscale.run import manifest
from emoscale.run.checksums import verify_files
from emoscale.run.folder import RunFolder
from emoscale.run.manifest import write_config
from emoscale.store import is_chunk

UNCHANGED = "verified: every file and every chunk is there and unchanged"


@pytest.fixture
def copied(world, finished):
    return shutil.copytree(finished.out, world.out)


def output_files(out):
    names = [name for facts in RunFolder(out).manifest()["stages"].values() for name in facts["outputs"]]
    places = [place for name in names for place in (out / name, *(out / name).rglob("*"))]
    return sorted(place for place in places if place.is_file())


def flip(file, bit):
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(bytes(content))


def test_sixty_flips_over_all_kinds_of_files_are_named(cli, copied):
    rng = random.Random(0)
    by_kind = {}
    for file in output_files(copied):
        by_kind.setdefault("chunk" if is_chunk(file) else file.suffix, []).append(file)
    kinds = sorted(by_kind)
    chosen = {rng.choice(by_kind[kinds[number % len(kinds)]]) for number in range(120)}
    chosen = sorted({copied / "config.yaml", *sorted(file for file in chosen if file.stat().st_size)[:59]})
    assert {"chunk", ".json", ".csv", ".png", ".html"} <= {*kinds}
    for file in chosen:
        flip(file, rng.randrange(8 * file.stat().st_size))
    answer = cli("inspect", copied, "--verify")
    assert answer.code == 1
    assert sorted(problem.split(": ")[0] for problem in answer.problems) == sorted(map(str, chosen))


def test_any_flip_in_the_manifest_is_named(copied):
    folder = RunFolder(copied)
    content = folder.manifest_file.read_bytes()
    assert verify_files(folder).problems == {}
    rng = random.Random(0)
    places = [8 * content.index(word) + bit for word in (b'"config"', b'"checksum"', b"created") for bit in range(32)]
    for bit in (*places, *(rng.randrange(8 * len(content)) for _ in range(300))):
        flip(folder.manifest_file, bit)
        try:
            named = [*verify_files(folder).problems]
        except InputError as error:  # no JSON any more, or no manifest
            named = [Path(error.problems[0].partition(": ")[0])]
        assert named == [folder.manifest_file]
        folder.manifest_file.write_bytes(content)


def test_a_run_goes_on_from_a_changed_manifest_and_says_so(cli, world, copied):
    file = copied / "manifest.json"
    file.write_text(file.read_text().replace('"cores": ', '"cores": 1'))
    changed = f"{file}: has changed since emoscale wrote it"
    [problem] = cli("inspect", copied, "--verify").problems
    assert problem.startswith(changed)
    answer = cli("run", world.config, "--out", copied, "--set", "title=Another")
    assert answer.code == 0
    assert f"warning: {changed}" in answer.out
    assert cli("inspect", copied, "--verify").code == 0


@pytest.mark.parametrize("spoil", [lambda file: file.write_text("masks: {k: 3}"), lambda file: file.unlink()])
def test_another_config_is_named_and_does_not_fail_a_run(cli, world, copied, spoil):
    file = copied / "config.yaml"
    spoil(file)
    [problem] = cli("inspect", copied, "--verify").problems
    what = "has changed since the last stage began" if file.exists() else "missing"
    assert problem.startswith(f"{file}: {what}; ")
    assert cli("report", world.config, "--out", copied, "--fresh").code == 0
    assert load_settings(file) == load_settings(world.config)
    assert cli("inspect", copied, "--verify").code == 0


def test_an_edited_config_that_is_run_is_the_one_that_is_recorded(cli, copied):
    file = copied / "config.yaml"
    file.write_text(file.read_text().replace("title: ", "title: Another "))
    assert len(cli("inspect", copied, "--verify").problems) == 1
    assert cli("run", file, "--out", copied).code == 0
    assert cli("inspect", copied, "--verify").code == 0


@pytest.mark.parametrize("call", [1, 2, 3])
def test_killed_while_the_config_is_replaced(copied, monkeypatch, call):
    """Before each of its writes what is recorded of the config is right, or nothing is."""
    folder, calls = RunFolder(copied), itertools.count(1)

    def deadly(write):
        def write_or_end(*given):
            if next(calls) == call:
                raise KeyboardInterrupt
            write(*given)

        return write_or_end

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write_text", deadly(manifest.write_text))
        patch.setattr(RunFolder, "write_manifest", deadly(RunFolder.write_manifest))
        with pytest.raises(KeyboardInterrupt):
            write_config(folder, "masks: {k: 3}")
    assert (folder.config.read_text() == "masks: {k: 3}") == (call == 3)
    assert verify_files(folder).problems == {}
    write_config(folder, "masks: {k: 3}")
    assert verify_files(folder).problems == {}
    folder.config.write_text("masks: {k: 4}")
    assert [*verify_files(folder).problems] == [folder.config]


def test_what_is_missing_or_was_added_is_named(cli, copied):
    shutil.rmtree(copied / "activations.zarr")
    (copied / "tables" / "needed.csv").unlink()
    added = copied / "tables" / "mine.csv"
    added.write_text("a\n")
    problems = cli("inspect", copied, "--verify").problems
    assert f"{copied}/activations.zarr/zarr.json: missing; run emoscale extract again with --fresh" in problems
    assert f"{copied}/tables/needed.csv: missing; run emoscale analyze again with --fresh" in problems
    assert problems[-1] == f"{added}: no stage wrote it; remove it"


def test_a_stage_without_its_output_is_done_again(cli, world, finished, copied):
    shutil.rmtree(copied / "scores.zarr")
    answer = cli("run", world.config, "--out", copied)
    assert (answer.code, answer.err) == (0, "")
    assert "ablate" in answer.out
    assert cli("inspect", copied, "--verify").out.replace("\n", " ").count(UNCHANGED) == 1
    for file in (finished.out / "scores.zarr").rglob("*"):
        if file.is_file():
            assert (copied / file.relative_to(finished.out)).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("name", ["masks.zarr/zarr.json", "scores.zarr/right/zarr.json", "tables/drop_overall.csv"])
def test_a_stage_refuses_inputs_that_have_changed(cli, world, copied, name):
    flip(copied / name, 100)
    before = (copied / "report.html").read_bytes()
    answer = cli("run", world.config, "--out", copied, "--set", "title=Another")
    assert answer.code == 1
    [problem] = answer.problems
    assert problem.startswith(f"{copied / name}: has changed since ")
    assert problem.endswith(" again with --fresh")
    assert (copied / "report.html").read_bytes() == before


def test_many_changed_files_are_counted(cli, world, copied):
    for file in (copied / "tables").iterdir():
        flip(file, 3)
    problems = cli("run", world.config, "--out", copied, "--set", "title=Another").problems
    assert len(problems) == 21
    assert problems[-1] == f"and {len(list((copied / 'tables').iterdir())) - 20} more"


def test_a_changed_list_of_files_is_noticed(cli, copied):
    listed = RunFolder(copied).checksums("mask")
    flip(listed, 80)
    assert cli("inspect", copied, "--verify").problems == [
        f"{listed}: has changed since mask was done; run emoscale mask again with --fresh"
    ]
    listed.unlink()
    assert cli("inspect", copied, "--verify").problems == [f"{listed}: missing; run emoscale mask again with --fresh"]


def test_leftovers_of_killed_processes_go_at_the_next_run(cli, world, copied):
    left = [copied / ".report.4242.html", copied / "figures" / ".one.77.png", copied / "tables" / ".needed.12.csv"]
    kept = [copied / ".note", copied / ".hidden.txt"]
    for file in (*left, *kept):
        file.write_text("begun")
    assert cli("run", world.config, "--out", copied, "--set", "title=Another").code == 0
    assert not any(file.exists() for file in left)
    assert all(file.exists() for file in kept)


def test_a_run_of_a_version_without_lists_is_read(cli, world, copied):
    folder = RunFolder(copied)
    recorded = folder.manifest()
    for facts in recorded["stages"].values():
        del facts["checksums"], facts["outputs"]
    folder.write_manifest(recorded)
    shutil.rmtree(folder.checksums("").parent)
    assert cli("inspect", copied, "--verify").code == 0
    assert cli("run", world.config, "--out", copied, "--set", "title=Another").code == 0
