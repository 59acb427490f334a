"""`emoscale inspect`: what is there, and whether it is whole."""

import json
import shutil

import numpy as np
import pytest
import zarr
from tiny_run import RESULTS, STAGES

from emoscale.run.folder import RunFolder
from emoscale.schema import FORMAT, MOMENTS
from emoscale.store import CommitLog, create_store

STORES = ("activations", "selectivity", "masks")


@pytest.fixture
def copied(world, finished):
    """Give a copy of the finished run that may be spoilt."""
    return shutil.copytree(finished.out, world.out)


def words(text):
    """Lines with single blanks, so that the columns' widths do not matter."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_run(cli, finished, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    answer = cli("inspect", finished.out)
    assert (answer.code, answer.err) == (0, "")
    lines = words(answer.out)
    assert lines[0].startswith(f"{finished.out}: emoscale ")
    assert "(encoder), 48 neurons in 2 layers, weights " in lines[1]
    assert [line.split()[:2] for line in lines[3 : 3 + len(STAGES)]] == [[name, "done"] for name in STAGES]
    for kind in STORES:
        assert f"{kind}.zarr: {kind}, complete" in lines
    assert any(line.startswith("tables: accuracy.csv, ") for line in lines)
    assert any(line.startswith("figures: b1_accuracy_by_concept.png, ") for line in lines)


@pytest.mark.parametrize("kind", STORES)
def test_a_store(cli, finished, kind):
    answer = cli("inspect", finished.out / f"{kind}.zarr", "--verify")
    assert (answer.code, answer.err) == (0, "")
    lines = words(answer.out)
    assert lines[0] == f"{kind}.zarr: {kind}, complete"
    assert lines[-1] == f"verified: every file and every chunk is there and unchanged ({kind}.zarr)"
    assert "StringDType" not in answer.out


def test_dimensions_and_chunks(cli, finished, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    lines = words(cli("inspect", finished.out / "selectivity.zarr").out)
    assert any(line.startswith("tau float64 neuron 48 × attribute 3 20 × 3 ") for line in lines)
    assert any(line.startswith("attribute str attribute 3 3 Rated attribute") for line in lines)


def test_a_whole_run_is_verified(cli, finished):
    answer = cli("inspect", finished.out, "--verify")
    assert (answer.code, answer.err) == (0, "")
    names = ", ".join(name for name in RESULTS if name.endswith(".zarr"))
    assert words(answer.out.replace("\n", " "))[0].endswith(
        f"verified: every file and every chunk is there and unchanged ({names})"
    )


def test_every_damaged_or_missing_chunk_is_named(cli, copied):
    damaged = copied / "activations.zarr" / "activations" / "c" / "1" / "0"
    content = bytearray(damaged.read_bytes())
    content[5] ^= 4
    damaged.write_bytes(content)
    missing = copied / "masks.zarr" / "bits" / "c" / "0" / "0"
    missing.unlink()
    mend = "run the stage that wrote it again with --fresh"
    answer = cli("inspect", copied, "--verify")
    assert answer.code == 1
    assert answer.problems == [
        f"{damaged}: chunk is damaged (checksum); emoscale extract CONFIG --repair writes it again",
        f"{missing}: chunk is missing; {mend}",
    ]
    assert cli("inspect", copied).code == 0
    assert cli("inspect", copied / "selectivity.zarr", "--verify").code == 0


def test_a_store_in_the_making_is_not_taken_for_damaged(cli, world, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CommitLog, "add", stop)
        assert cli("run", world.config, "--out", world.out).code == 130
    answer = cli("inspect", world.out, "--verify")
    assert (answer.code, answer.err) == (0, "")
    assert "activations.zarr: activations, not finished" in words(answer.out)
    assert answer.out.endswith("verified: every file and every chunk is there and unchanged (inputs.zarr)\n")
    assert "extract running" in " ".join(words(answer.out))


def test_brackets_in_a_path_are_no_markup(cli, copied, world):
    renamed = copied.rename(world.folder / "[bold]run")
    answer = cli("inspect", renamed)
    assert answer.code == 0
    assert answer.out.startswith(f"{renamed}: emoscale ")


def test_a_run_that_kept_only_moments(cli, tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_manifest({"emoscale": "0", "stages": {"extract": {"state": "done", "rows": 5}}})
    neurons = dict.fromkeys(("layer", "expert", "unit"), np.arange(6))
    cells = {"concept": np.array(["joy", "fear"]), "replicate": np.array(["1", "1"]), "rows": np.array([2, 3])}
    store = create_store(folder.moments, MOMENTS, cells | neurons, {"neuron": 4})
    for name in ("mean", "m2", "count"):
        store.write(name, np.ones((2, 6)))
    store.mark_complete()
    for path in (tmp_path, folder.moments):
        answer = cli("inspect", path, "--verify")
        assert (answer.code, answer.err) == (0, "")
        lines = words(answer.out)
        assert "moments.zarr: moments, complete" in lines
        assert any(line.startswith("mean float64 cell 2 × neuron 6 2 × 4 Mean activation") for line in lines)
        assert lines[-1] == "verified: every file and every chunk is there and unchanged (moments.zarr)"
    missing = folder.moments / "count" / "c" / "0" / "1"
    missing.unlink()
    answer = cli("inspect", tmp_path, "--verify")
    assert answer.code == 1
    assert answer.problems == [f"{missing}: chunk is missing; run the stage that wrote it again with --fresh"]


@pytest.mark.parametrize("name", ["none", ".", "attributes.csv"])
def test_neither_a_run_nor_a_store(cli, world, name):
    path = world.folder / name
    answer = cli("inspect", path)
    assert (answer.code, answer.out) == (2, "")
    assert answer.problems == [f"{path}: neither a run folder nor a store; give a folder that emoscale wrote"]


def test_stores_of_others(cli, world, copied):
    theirs = world.folder / "theirs.zarr"
    zarr.create_group(theirs).create_array("x", data=np.arange(3))
    told = [f"{theirs}: not an emoscale store; give a folder that emoscale wrote"]
    assert cli("inspect", theirs).problems == told
    array = copied / "activations.zarr" / "activations"
    told = [f"{array}: not an emoscale store; give a folder that emoscale wrote"]
    assert cli("inspect", array).problems == told
    (theirs / "zarr.json").write_text("{")
    assert cli("inspect", theirs).code == 2


@pytest.mark.parametrize("kind", STORES)
def test_a_store_of_another_format(cli, copied, kind):
    file = copied / f"{kind}.zarr" / "zarr.json"
    content = json.loads(file.read_text())
    content["attributes"]["emoscale"]["format"] = FORMAT + 1
    file.write_text(json.dumps(content))
    for path in (file.parent, copied):
        answer = cli("inspect", path)
        assert answer.code == 2
        assert answer.problems == [
            f"{file.parent}: store format {FORMAT + 1}, this version reads {FORMAT}; write it again with --fresh"
        ]


def test_a_store_of_an_unknown_kind_describes_itself(cli, copied):
    file = copied / "masks.zarr" / "zarr.json"
    content = json.loads(file.read_text())
    content["attributes"]["emoscale"]["kind"] = "gradients"
    file.write_text(json.dumps(content))
    answer = cli("inspect", file.parent)
    assert (answer.code, answer.err) == (0, "")
    lines = words(answer.out)
    assert lines[0] == "masks.zarr: gradients, complete"
    assert any(line.startswith("bits uint8 mask ") for line in lines)
    del content["attributes"]["emoscale"]["data"]
    file.write_text(json.dumps(content))
    answer = cli("inspect", file.parent)
    assert answer.code == 2
    assert "does not describe its arrays" in answer.problems[0]
