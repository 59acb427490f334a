"""Files of several chunks: anyone's Zarr reads them, a chunk is read alone, and what is wrong in one is found."""

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from emoscale.errors import StoreError
from emoscale.schema import Array, StoreSchema
from emoscale.store import chunk_checksum, create_store, has_checksum, open_store, writing
from emoscale.store.layout import read_layout
from emoscale.store.sizes import store_size


def schema(dtype="float32"):
    return StoreSchema("numbers", data=(Array("x", ("row", "column"), dtype, ""),), coordinates=(), written_by="select")


def make(path, values, chunks, files, dtype="float32"):
    sizes = dict(zip(("row", "column"), values.shape, strict=True))
    store = create_store(path, schema(dtype), {}, chunks, sizes, files=files)
    store.write("x", values)
    store.mark_complete()
    return store


def files_of(path):
    return sorted(file for file in (path / "x" / "c").rglob("*") if file.is_file())


CUT = ({"row": 2, "column": 3}, {"row": 4, "column": 6})
"""Lengths of chunks and of files."""

length = st.integers(1, 9)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(length, length),
    chunk=st.tuples(length, length),
    times=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dtype=st.sampled_from(["float32", "float16", "bfloat16", "float64", "int64", "uint8", "bool"]),
    data=st.data(),
)
def test_what_is_written_is_read_by_us_and_by_zarr(tmp_path_factory, shape, chunk, times, dtype, data):
    path = tmp_path_factory.mktemp("layout") / "x.zarr"
    values = np.random.default_rng(0).integers(0, 2, shape) * np.arange(np.prod(shape)).reshape(shape)
    chunks = dict(zip(("row", "column"), chunk, strict=True))
    files = {dim: size * n for (dim, size), n in zip(chunks.items(), times, strict=True)}
    store = make(path, values.astype(float), chunks, files, dtype)
    written = store.read("x")
    assert store.verify() == []
    assert all(has_checksum(file, chunk_checksum(file)) for file in files_of(path))
    if dtype != "bfloat16":
        np.testing.assert_array_equal(zarr.open_group(str(path), mode="r")["x"][:], written)
        np.testing.assert_array_equal(written, values.astype(dtype))
    rows, columns = (sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape)
    part = store.read("x", row=slice(*rows), column=slice(*columns))
    np.testing.assert_array_equal(part, written[slice(*rows), slice(*columns)])
    size = store_size(schema(dtype), sizes=store.sizes, chunks=chunks, files=files)
    there = [file for file in path.rglob("*") if file.is_file()]
    assert size.files == len(there)
    assert size.bytes == sum(file.stat().st_size for file in there if file.name != "zarr.json")
    assert size.largest_folder >= max(len(list(folder.iterdir())) for folder in path.rglob("c"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.zarr"


@pytest.fixture
def store(path):
    return make(path, np.arange(70.0).reshape(7, 10), *CUT)


def test_every_flipped_bit_is_found(path, store):
    for file in files_of(path):
        content, checksum = file.read_bytes(), chunk_checksum(file)
        for place in range(len(content)):
            file.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
            assert len(store.verify()) == 1
            assert not has_checksum(file, checksum)
        file.write_bytes(content)
    assert store.verify() == []


def test_a_damaged_chunk_leaves_those_beside_it_readable(path, store):
    file = path / "x" / "c" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        store.read("x", row=slice(0, 1), column=slice(0, 1))
    assert store.read("x", row=slice(2, 3), column=slice(0, 2)).tolist() == [[20, 21]]
    assert list(store.damage("x", row=slice(2, 3))) == [(0, 0)]


def test_a_file_that_is_short_or_missing(path, store):
    file = path / "x" / "c" / "1" / "1"
    file.write_bytes(file.read_bytes()[:-5])
    assert list(store.damage("x")) == [(1, 1)]
    file.unlink()
    assert "missing" in store.damage("x")[1, 1]
    with pytest.raises(StoreError, match="missing"):
        store.read("x", row=slice(6, 7))


def test_the_checksum_of_a_file_is_that_of_its_values(path, tmp_path, store):
    other = np.arange(70.0).reshape(7, 10)
    other[6, 9] = -1
    changed = make(tmp_path / "y.zarr", other, *CUT)
    pairs = zip(files_of(path), files_of(changed.path), strict=True)
    assert [chunk_checksum(one) == chunk_checksum(two) for one, two in pairs] == [True, True, True, False]


def test_the_bytes_are_the_same_through_the_cache_and_in_any_pieces(path, store, tmp_path, monkeypatch):
    expected = [file.read_bytes() for file in files_of(path)]
    for direct, piece in ((0, writing.WRITE_BYTES), (writing._DIRECT, 4096), (0, 4096)):
        monkeypatch.setattr(writing, "_DIRECT", direct)
        monkeypatch.setattr(writing, "WRITE_BYTES", piece)
        monkeypatch.setattr(writing, "_buffers", writing.threading.local())
        again = make(tmp_path / f"{direct}-{piece}.zarr", store.read("x"), *CUT)
        assert [file.read_bytes() for file in files_of(again.path)] == expected


def test_a_file_system_that_opens_but_does_not_write_past_its_cache(path, store, tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    usual, refused = writing.os.write, []

    def write(descriptor, content):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & writing._DIRECT:
            refused.append(descriptor)
            raise OSError(writing.errno.EINVAL, "Invalid argument")
        return usual(descriptor, content)

    if not writing._DIRECT:
        pytest.skip("no direct writes here")
    monkeypatch.setattr(writing.os, "write", write)
    again = make(tmp_path / "y.zarr", store.read("x"), *CUT)
    monkeypatch.undo()
    assert refused
    assert [f.read_bytes() for f in files_of(again.path)] == [f.read_bytes() for f in files_of(path)]


def test_a_layout_is_read_again_when_the_array_is_made_again(path, store):
    assert read_layout(path / "x").file == (4, 6)
    make(path, np.zeros((3, 3)), {"row": 1, "column": 2}, {})
    assert read_layout(path / "x").file == (1, 2)
    assert open_store(path, schema()).chunks("x") == (1, 2)
