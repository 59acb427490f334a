"""`emoscale extract --repair`: damaged chunks come back byte for byte, and no other file is touched."""

import shutil

import numpy as np
import pytest
from tiny_run import contents, states, times

from emoscale.store.layout import checksum_of, read_layout

CHUNKS = "activations.zarr/activations/c"


@pytest.fixture
def copied(world, finished):
    """Give a copy of the finished run that may be spoilt."""
    return shutil.copytree(finished.out, world.out)


def flip(file, byte=5):
    content = bytearray(file.read_bytes())
    content[byte] ^= 4
    file.write_bytes(content)


def test_only_what_is_damaged_is_written_anew(cli, copied, finished):
    flip(copied / CHUNKS / "0" / "0")
    (copied / CHUNKS / "1" / "0").write_bytes(b"cut")
    (copied / CHUNKS / "2" / "0").unlink()
    flip(copied / "activations.zarr" / "unit" / "c" / "0")
    (copied / "activations.zarr" / "concept" / "c" / "0").unlink()
    damaged = {f"{CHUNKS}/{name}" for name in ("0/0", "1/0", "2/0")}
    damaged |= {f"activations.zarr/{name}/c/0" for name in ("unit", "concept")}
    assert len(cli("inspect", copied, "--verify").problems) == 5
    before = times(copied)
    answer = cli("extract", finished.config, "--out", copied, "--repair")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == f"{copied / 'activations.zarr'}: every chunk is present and valid\n"
    assert contents(copied) == contents(finished.out)
    after = times(copied)
    assert {name for name in after if after[name] != before.get(name)} == damaged
    assert cli("inspect", copied, "--verify").code == 0


def test_a_sound_store_is_left_as_it_is(cli, copied, finished):
    before = times(copied)
    assert cli("extract", finished.config, "--out", copied, "--repair").code == 0
    assert times(copied) == before


def test_values_of_another_computation_are_not_mixed_in(cli, copied, finished):
    """An intact chunk beside the damaged one holds other values, with the right checksum, than are computed here."""
    file, layout = copied / CHUNKS / "1" / "0", read_layout(copied / "activations.zarr" / "activations")
    content, size = file.read_bytes(), layout.chunk_bytes
    values = np.frombuffer(content[:size], dtype="<f4") + np.float32(1e-6)
    file.write_bytes(values.tobytes() + checksum_of(values.tobytes()) + content[size + 4 :])
    flip(file, 2 * (size + 4))
    before = contents(copied)
    answer = cli("extract", finished.config, "--out", copied, "--repair")
    assert answer.code == 1
    assert "activations.zarr: rows 3 to 5 differ from those stored" in answer.problems[0]
    assert contents(copied) == before


def test_there_must_be_something_to_repair(cli, world, finished, copied):
    answer = cli("extract", world.config, "--out", world.folder / "none", "--repair")
    assert answer.code == 2
    assert answer.problems == [
        f"{world.folder / 'none'}: extract is not done, so there is nothing to repair; run emoscale extract"
    ]
    answer = cli("extract", finished.config, "--out", copied, "--repair", "--set", "tuning.epochs=9")
    assert "tuning.epochs: 2 → 9" in answer.problems[0]
    assert cli("extract", finished.config, "--out", copied, "--repair", "--fresh").code == 2
    assert states(copied)["extract"] == "done"
