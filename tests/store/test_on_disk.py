"""Data is on the disk before it is reported as written, and leftovers of killed processes do no harm."""

import numpy as np
import pytest

from emoscale.schema import Array, StoreSchema
from emoscale.store import CommitLog, create_store, open_store
from emoscale.system import files

SCHEMA = StoreSchema(
    "numbers",
    data=(Array("x", ("row", "column"), "float32", ""),),
    coordinates=(Array("number", ("row",), "int32", ""), Array("word", ("column",), "str", "")),
    written_by="select",
)
VALUES = np.arange(35, dtype=np.float32).reshape(5, 7)
COORDINATES = {"number": np.arange(5), "word": np.array(["é"] * 7)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.zarr"


@pytest.fixture
def make(path):
    return lambda: create_store(path, SCHEMA, COORDINATES, {"row": 2, "column": 4})


@pytest.fixture
def synced(monkeypatch):
    """Collect what is written to the disk, as the kernel sees it: inode numbers."""
    seen, usual = set(), files.os.fsync

    def fsync(descriptor):
        seen.add(files.os.fstat(descriptor).st_ino)
        usual(descriptor)

    monkeypatch.setattr(files.os, "fsync", fsync)
    return seen


def missing(synced, paths):
    return [path for path in paths if path.stat().st_ino not in synced]


def test_a_new_store_is_on_disk(path, make, synced):
    make()
    assert missing(synced, [path.parent, path, *path.rglob("*")]) == []


@pytest.mark.parametrize("value", [1.0, np.nan])  # NaN is the fill value, which another pipeline writes
def test_chunks_and_their_names_are_on_disk_before_they_are_committed(path, make, synced, value):
    store, log = make(), CommitLog(path.with_suffix(".commits"))
    synced.clear()
    store.write("x", np.full((2, 7), value), row=2)
    folder = path / "x" / "c"
    assert missing(synced, [folder, folder / "1", folder / "1" / "0", folder / "1" / "1"]) == []
    log.add(1)
    assert missing(synced, [path.parent, log.folder, *log.folder.iterdir()]) == []
    synced.clear()
    store.mark_complete()
    assert missing(synced, [path, path / "zarr.json"]) == []


def test_a_file_that_is_replaced_is_on_disk(tmp_path, synced):
    files.write_text(tmp_path / "a.txt", "a")
    assert missing(synced, [tmp_path, tmp_path / "a.txt"]) == []


@pytest.mark.parametrize("chunk", ["0/0", "2/1"])
def test_torn_chunks_are_written_over(path, make, chunk):
    """Also those over the array's edge, which the library wants to read first."""
    store = make()
    store.write("x", VALUES)
    file = path / "x" / "c" / chunk
    content = file.read_bytes()
    file.write_bytes(content[:7])
    assert list(store.damage("x")) == [tuple(map(int, chunk.split("/")))]
    store.write("x", VALUES)
    assert file.read_bytes() == content
    assert store.verify() == []


def test_a_damaged_text_coordinate_is_written_over(path, make):
    store = make()
    file = path / "word" / "c" / "0"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    store.write("word", COORDINATES["word"])
    assert file.read_bytes() == content
    assert store.read("word").tolist() == ["é"] * 7


def test_what_killed_processes_left_goes(path, make):
    left = path.with_name(f".{path.name}.12345")
    left.mkdir()
    store = make()
    (path / "zarr.0123.partial").touch()
    store.write("x", VALUES)
    store.mark_complete()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert sorted(file.name for file in path.iterdir()) == ["number", "word", "x", "zarr.json"]
    assert open_store(path, SCHEMA).complete


def test_a_full_disk_is_reported(path):
    wide = {"number": np.arange(2), "word": np.full(7000, "")}
    store = create_store(path, SCHEMA, wide, {})
    values = np.random.default_rng(0).random((2, 7000))
    resource = pytest.importorskip("resource")  # not there on Windows
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (28_672, usual[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            store.write("x", values)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert caught.value.filename == str(path / "x")
    assert files.disk_is_full(caught.value)
    store.write("x", values)
    assert np.array_equal(store.read("x"), values.astype(np.float32))
