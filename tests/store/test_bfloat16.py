"""bfloat16 in a store: PyTorch's rounding to the last bit, and its bits on disk."""

import itertools

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from zarr.codecs import Crc32cCodec, GzipCodec

from emoscale.errors import InputError
from emoscale.schema import Array, StoreSchema
from emoscale.store import create_store, open_store
from emoscale.store.bfloat16 import NAN_BITS, bfloat16_bits, from_bfloat16_bits

SCHEMA = StoreSchema(
    "numbers",
    data=(Array("x", ("row", "column"), "float32", "Some numbers"),),
    coordinates=(Array("number", ("row",), "int32", ""), Array("label", ("column",), "int32", "")),
    written_by="select",
)
ROWS, COLUMNS = 5, 7
COORDINATES = {"number": np.arange(ROWS), "label": np.arange(COLUMNS)}
CHUNKS = {"row": 2, "column": 4}


def by_torch(values):
    """Bits, those of every NaN the same."""
    rounded = torch.from_numpy(np.ascontiguousarray(values)).to(torch.bfloat16)
    return np.where(np.isnan(values), NAN_BITS, rounded.view(torch.uint16).numpy())


def every_upper_half_with(lower):
    return ((np.arange(2**16, dtype=np.uint32) << 16) | np.uint32(lower)).view(np.float32)


@pytest.mark.parametrize("lower", [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF])
def test_every_bfloat16_and_what_lies_between(lower):
    values = every_upper_half_with(lower)
    np.testing.assert_array_equal(bfloat16_bits(values), by_torch(values))


def test_widening_is_exact():
    bits = np.arange(2**16, dtype=np.uint16)
    np.testing.assert_array_equal(from_bfloat16_bits(bits).view(np.uint32), np.arange(2**16, dtype=np.uint32) << 16)


@given(arrays(np.uint32, array_shapes(max_dims=3, max_side=9, min_side=0), elements=st.integers(0, 2**32 - 1)))
def test_any_bits(patterns):
    values = patterns.view(np.float32)
    np.testing.assert_array_equal(bfloat16_bits(values), by_torch(values))


@pytest.mark.parametrize("shape", [(3, 70_000), (70_000, 3), (200_000,)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_more_than_one_strip_of_any_type_and_strides(shape, dtype):
    values = np.random.default_rng(0).normal(size=shape).astype(dtype)
    values.flat[::1000] = np.nan
    for some in (values, values[::2], values[..., ::-1], values.T):
        np.testing.assert_array_equal(bfloat16_bits(some), by_torch(some.astype(np.float32)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.zarr"


@pytest.fixture
def store(path):
    return create_store(path, SCHEMA, COORDINATES, CHUNKS, dtypes={"x": "bfloat16"})


@pytest.fixture
def values():
    values = np.random.default_rng(1).normal(size=(ROWS, COLUMNS)).astype(np.float32)
    values[1, 2], values[4, 6] = np.nan, -np.inf
    return values


def test_a_store_of_it(path, store, values):
    store.write("x", values)
    store.mark_complete()
    reader = open_store(path, SCHEMA)
    assert (reader.dtype("x"), reader.read_dtype("x")) == ("bfloat16", np.float32)
    rounded = torch.from_numpy(values).bfloat16().float().numpy()
    assert reader.read("x").dtype == np.float32
    np.testing.assert_array_equal(reader.read("x"), rounded)
    np.testing.assert_array_equal(reader.read("x", row=slice(1, 4), column=slice(2, 6)), rounded[1:4, 2:6])
    np.testing.assert_array_equal(reader.as_read("x", values), rounded)
    assert reader.verify() == []


def test_what_others_see_of_it(path, store, values):
    store.write("x", values)
    array = zarr.open_group(str(path), mode="r")["x"]
    assert (array.dtype, array.fill_value, array.attrs["bits_of"]) == (np.uint16, NAN_BITS, "bfloat16")
    np.testing.assert_array_equal(array[...], by_torch(values))
    with xr.open_zarr(path, consolidated=False) as dataset:
        np.testing.assert_array_equal(dataset["x"].values, by_torch(values))


def test_chunks_of_nothing_but_nan_are_on_disk(path, store):
    store.write("x", np.full((ROWS, COLUMNS), np.nan, dtype=np.float32))
    assert all(path.joinpath("x", "c", *key).is_file() for key in itertools.product("012", "01"))
    assert store.verify() == []
    assert np.isnan(store.read("x")).all()


def test_a_compressed_array_is_read_too(path, store, values):
    """Chunks that are not just their values and a checksum are decoded by Zarr."""
    array = zarr.open_group(str(path), mode="r+").create_array(
        "x",
        shape=(ROWS, COLUMNS),
        chunks=(2, 4),
        dtype="uint16",
        fill_value=NAN_BITS,
        dimension_names=("row", "column"),
        compressors=[GzipCodec(), Crc32cCodec()],
        attributes=dict(zarr.open_group(str(path), mode="r")["x"].attrs),
        overwrite=True,
    )
    array[...] = bfloat16_bits(values)
    reader = open_store(path, SCHEMA)
    rounded = torch.from_numpy(values).bfloat16().float().numpy()
    np.testing.assert_array_equal(reader.read("x"), rounded)
    np.testing.assert_array_equal(reader.read("x", column=slice(2, 6)), rounded[:, 2:6])
    assert reader.verify() == []


def test_an_unknown_encoding_is_refused(path, store):
    zarr.open_group(str(path), mode="r+")["x"].attrs["bits_of"] = "bfloat17"
    store.write("x", np.zeros((ROWS, COLUMNS), dtype=np.float32))
    with pytest.raises(InputError, match=r"'bfloat17' \(nearest: 'bfloat16'\)"):
        open_store(path, SCHEMA).read("x")


def test_other_types_are_read_as_they_are_stored(path):
    store = create_store(path, SCHEMA, COORDINATES, CHUNKS, dtypes={"x": "float16"})
    with np.errstate(over="ignore"):
        assert store.as_read("x", np.array([[1e9, 0.1]])).tolist() == [[np.inf, float(np.float16(0.1))]]
    assert (store.dtype("x"), store.read_dtype("x")) == ("float16", np.float16)
