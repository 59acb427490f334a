import itertools

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emoscale.errors import InputError, StoreError
from emoscale.schema import ACTIVATIONS, FORMAT, MASKS, SELECTIVITY, Array, StoreSchema
from emoscale.store import create_store, open_store

OBSERVATIONS, NEURONS, LAYER_WIDTH, MASK_COUNT, BYTES = 10, 13, 7, 9, 5
SIZES = {"neuron_byte": BYTES}
CHUNKS = {"observation": 4, "neuron": 5, "mask": 4}


def text(prefix, count):
    return np.array([f"{prefix} {i}é" for i in range(count)])


def neuron_coordinates():
    number = np.arange(NEURONS)
    return {"layer": number // LAYER_WIDTH, "expert": number % 3 - 1, "unit": number % LAYER_WIDTH}


COORDINATES = {
    "activations": {
        "concept": text("concept", OBSERVATIONS),
        "replicate": text("replicate", OBSERVATIONS),
        "item": np.arange(OBSERVATIONS),
        "position": np.zeros(OBSERVATIONS, dtype=int),
        "token_id": np.arange(OBSERVATIONS),
        **neuron_coordinates(),
    },
    "selectivity": {"order": np.arange(4), "attribute": np.array(["arousal", "valence"]), **neuron_coordinates()},
    "masks": {
        "kind": text("kind", MASK_COUNT),
        "attribute": np.full(MASK_COUNT, ""),
        "k": np.arange(MASK_COUNT),
        "draw": np.zeros(MASK_COUNT, dtype=int),
    },
}
LENGTHS = {"observation": OBSERVATIONS, "neuron": NEURONS, "order": 4, "attribute": 2, "mask": MASK_COUNT}
LENGTHS |= SIZES


def values_of(array, seed=0):
    shape = tuple(LENGTHS[dim] for dim in array.dims)
    rng = np.random.default_rng(seed)
    if array.dtype == "uint8":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return rng.normal(size=shape).astype(array.dtype)


def make(path, schema, chunks=CHUNKS, **options):
    return create_store(path, schema, COORDINATES[schema.kind], chunks, sizes=SIZES, **options)


def filled(path, schema, chunks=CHUNKS, **options):
    store = make(path, schema, chunks, **options)
    for array in schema.data:
        store.write(array.name, values_of(array))
    return store


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.zarr"


@pytest.fixture(params=[ACTIVATIONS, SELECTIVITY, MASKS], ids=lambda schema: schema.kind)
def schema(request):
    return request.param


@pytest.fixture
def store(path):
    return filled(path, ACTIVATIONS)


ACTIVATION_VALUES = values_of(ACTIVATIONS["activations"])


def test_round_trip(path, schema):
    filled(path, schema, attributes={"seed": 3}).mark_complete()
    store = open_store(path, schema)
    assert store.complete
    assert store.attributes["origin"] == {"seed": 3}
    for array in schema.data:
        read = store.read(array.name)
        assert read.dtype == array.dtype
        assert np.array_equal(read, values_of(array))
        assert store.dtype(array.name) == array.dtype
    for array in schema.coordinates:
        expected = COORDINATES[schema.kind][array.name]
        assert np.array_equal(store.read(array.name), expected.astype(object) if array.dtype == "str" else expected)
        assert array.dtype == "str" or store.dtype(array.name) == array.dtype
    assert store.sizes == {dim: LENGTHS[dim] for array in schema.arrays for dim in array.dims}
    assert store.verify() == []


def test_a_store_is_not_complete_before_it_is_marked(path, schema):
    store = filled(path, schema)
    assert not store.complete
    assert not open_store(path, schema).complete
    open_store(path, schema, mode="r+").mark_complete()
    assert open_store(path, schema).complete


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_another_type_than_the_schemas(path, dtype):
    store = filled(path, ACTIVATIONS, dtypes={"activations": dtype})
    assert store.read("activations").dtype == dtype
    assert np.array_equal(store.read("activations"), ACTIVATION_VALUES.astype(dtype))


def test_creating_replaces_what_was_there(path):
    filled(path, SELECTIVITY)
    store = make(path, ACTIVATIONS)
    assert {p.name for p in path.iterdir()} == {"zarr.json", *(array.name for array in ACTIVATIONS.arrays)}
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    with pytest.raises(StoreError, match="chunk is missing"):
        store.read("activations")


def test_chunks(store):
    assert store.chunks("activations") == (4, 5)
    assert store.chunks("concept") == (OBSERVATIONS,)


def test_chunks_longer_than_the_array(path):
    store = filled(path, ACTIVATIONS, {"observation": 1024})
    assert store.chunks("activations") == (OBSERVATIONS, NEURONS)
    assert np.array_equal(store.read("activations"), ACTIVATION_VALUES)


@pytest.mark.parametrize("starts", [{"observation": 4, "neuron": 5}, {"observation": 8}, {}])
def test_complete_chunks_are_written_where_they_belong(path, starts):
    store = make(path, ACTIVATIONS)
    row, column = starts.get("observation", 0), starts.get("neuron", 0)
    rows = slice(row, min(row + 4, OBSERVATIONS))
    columns = slice(column, 10 if column else NEURONS)
    store.write("activations", ACTIVATION_VALUES[rows, columns].astype(np.float64), **starts)
    read = store.read("activations", observation=rows, neuron=columns)
    assert np.array_equal(read, ACTIVATION_VALUES[rows, columns])


@pytest.mark.parametrize(
    ("shape", "starts"),
    [
        ((3, 5), {"observation": 1}),  # begins within a chunk
        ((8, 13), {"observation": 2}),
        ((3, 5), {}),  # ends within a chunk
        ((4, 4), {}),
        ((4, 5), {"observation": 8}),  # over the end
        ((4, 5), {"observation": -4}),
        ((4, 5), {"observation": 12}),
        ((4, 5), {"observations": 4}),  # no such dimension
        ((4,), {}),
    ],
)
def test_anything_but_complete_chunks_is_refused_and_nothing_is_written(store, shape, starts):
    with pytest.raises(ValueError):
        store.write("activations", np.zeros(shape), **starts)
    assert np.array_equal(store.read("activations"), ACTIVATION_VALUES)


bound = st.none() | st.integers(-15, 15)


@given(
    chunks=st.tuples(st.integers(1, 12), st.integers(1, 15)),
    rows=st.builds(slice, bound, bound),
    columns=st.builds(slice, bound, bound),
    data=st.data(),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_part_that_is_read_equals_the_slice(tmp_path_factory, chunks, rows, columns, data):
    path = tmp_path_factory.mktemp("part") / "x.zarr"
    store = filled(path, ACTIVATIONS, dict(zip(("observation", "neuron"), chunks, strict=True)))
    part = store.read("activations", observation=rows, neuron=columns)
    assert np.array_equal(part, ACTIVATION_VALUES[rows, columns])
    concepts = store.read("concept", observation=rows)
    assert concepts.tolist() == COORDINATES["activations"]["concept"][rows].tolist()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_chunk_files_are_read_as_zarr_reads_them(path, dtype, monkeypatch):
    store = filled(path, ACTIVATIONS, {"observation": 4, "neuron": 6}, dtypes={"activations": dtype})
    by_zarr = zarr.open_group(str(path), mode="r")
    monkeypatch.setattr(zarr.Array, "__getitem__", None)  # not even called
    for name in ("activations", "item", "layer"):
        values = store.read(name)
        monkeypatch.undo()
        assert values.dtype == by_zarr[name].dtype
        assert np.array_equal(values, by_zarr[name][...])
        monkeypatch.setattr(zarr.Array, "__getitem__", None)


def test_reading_by_a_name_that_is_not_a_dimension(store):
    with pytest.raises(ValueError, match="neurons"):
        store.read("activations", neurons=slice(3))
    with pytest.raises(ValueError, match="step"):
        store.read("activations", neuron=slice(0, 10, 2))
    with pytest.raises(KeyError):
        store.read("tau")


def flip_bit(file, byte):
    content = bytearray(file.read_bytes())
    content[byte] ^= 0b100
    file.write_bytes(bytes(content))


INNER, RIGHT_EDGE, LOWER_EDGE, CORNER = "0/1", "0/2", "2/0", "2/2"


@pytest.mark.parametrize("chunk", [INNER, RIGHT_EDGE, LOWER_EDGE, CORNER])
@pytest.mark.parametrize("byte", [0, 33, -1])
def test_a_flipped_bit_is_an_error_that_names_the_file(path, store, chunk, byte):
    file = path / "activations" / "c" / chunk
    flip_bit(file, byte)
    row, column = (int(i) for i in chunk.split("/"))
    within = {"observation": slice(row * 4, row * 4 + 1), "neuron": slice(column * 5 + 1, column * 5 + 3)}
    for ranges in ({}, within):
        with pytest.raises(StoreError) as caught:
            store.read("activations", **ranges)
        fix = "run the stage that wrote it again with --fresh"
        assert caught.value.problems == [f"{file}: chunk is damaged (checksum); {fix}"]
    assert store.verify() == caught.value.problems
    elsewhere = {"observation": slice(4, 8), "neuron": slice(0, 5)}
    assert np.array_equal(store.read("activations", **elsewhere), ACTIVATION_VALUES[4:8, 0:5])


@pytest.mark.parametrize("name", ["concept", "layer"])
def test_a_flipped_bit_in_a_coordinate(path, store, name):
    file = path / name / "c" / "0"
    flip_bit(file, 9)
    with pytest.raises(StoreError, match="damaged"):
        store.read(name)
    with pytest.raises(StoreError, match="damaged"):
        store.read(name, **{ACTIVATIONS[name].dims[0]: slice(2, 3)})
    assert len(store.verify()) == 1


@pytest.mark.parametrize("chunk", [INNER, CORNER])
def test_a_chunk_cut_short(path, store, chunk):
    file = path / "activations" / "c" / chunk
    file.write_bytes(file.read_bytes()[:7])
    with pytest.raises(StoreError, match=f"{chunk}: chunk is damaged"):
        store.read("activations")
    file.write_bytes(b"")
    assert len(store.verify()) == 1


@pytest.mark.parametrize("chunk", [INNER, CORNER])
def test_a_missing_chunk_is_named(path, store, chunk):
    file = path / "activations" / "c" / chunk
    file.unlink()
    with pytest.raises(StoreError, match=f"{file}: chunk is missing"):
        store.read("activations")
    assert [problem.split(":")[0] for problem in store.verify()] == [str(file)]
    assert np.array_equal(store.read("activations", observation=slice(4, 8)), ACTIVATION_VALUES[4:8])


def test_all_damage_is_found_at_once(path, store):
    flip_bit(path / "activations" / "c" / CORNER, 3)
    (path / "activations" / "c" / INNER).unlink()
    flip_bit(path / "unit" / "c" / "0", 3)
    assert len(store.verify()) == 3


FILLS = StoreSchema(
    "fills",
    data=(
        Array("real", ("row", "column"), "float32", ""),
        Array("whole", ("row", "column"), "uint8", ""),
    ),
    coordinates=(Array("number", ("row",), "int32", ""), Array("word", ("column",), "str", "")),
    written_by="select",
)


@pytest.mark.parametrize("first", [None, 1.0])
def test_chunks_of_nothing_but_the_fill_value_are_on_disk(path, first):
    """They would look like lost ones otherwise, also where another value was written before."""
    coordinates = {"number": np.zeros(5), "word": np.full(7, "")}
    store = create_store(path, FILLS, coordinates, {"row": 2, "column": 4})
    if first is not None:
        store.write("real", np.full((5, 7), first))
        store.write("whole", np.full((5, 7), first))
    real = np.full((5, 7), np.nan, dtype=np.float32)
    real[0, 0] = 5
    store.write("real", real)
    store.write("whole", np.zeros((5, 7)))
    for name, keys in {"real": (3, 2), "whole": (3, 2), "number": (1,), "word": (1,)}.items():
        for key in itertools.product(*map(range, keys)):
            assert path.joinpath(name, "c", *map(str, key)).is_file(), (name, key)
    assert store.verify() == []
    assert np.array_equal(store.read("real"), real, equal_nan=True)
    assert not store.read("whole").any()
    assert store.read("word").tolist() == [""] * 7
    assert np.array_equal(store.read("number", row=slice(1, 4)), [0, 0, 0])
    store.write("whole", np.zeros((2, 7)), row=2)
    assert store.verify() == []


def test_xarray_opens_it_as_it_is(path, schema):
    filled(path, schema)
    with xr.open_zarr(path, consolidated=False) as dataset:
        for array in schema.data:
            assert dataset[array.name].dims == array.dims
            assert dataset[array.name].attrs["long_name"] == array.meaning
            assert np.array_equal(dataset[array.name].values, values_of(array))
        for array in schema.coordinates:
            assert array.name in dataset.coords
            assert dataset[array.name].dims == array.dims
            assert dataset[array.name].values.tolist() == COORDINATES[schema.kind][array.name].tolist()
        assert set(dataset.data_vars) == {array.name for array in schema.data}


def test_xarray_selects_by_coordinate(path):
    filled(path, ACTIVATIONS)
    with xr.open_zarr(path, consolidated=False, chunks=None) as dataset:
        layer = dataset["activations"].where(dataset["layer"] == 1, drop=True)
        assert np.array_equal(layer.values, ACTIVATION_VALUES[:, LAYER_WIDTH:])


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="no store is here"):
        open_store(tmp_path, ACTIVATIONS)
    with pytest.raises(InputError, match="no store is here"):
        open_store(tmp_path / "none.zarr", ACTIVATIONS)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"zarr_format": 3, "node_type": "group"}',
        '{"zarr_format": 3, "node_type": "group", "attributes": {"emoscale": "yes"}}',
        '{"zarr_format": 3, "node_type": "group", "attributes": {"emoscale": [1]}}',
        '{"zarr_format": 9, "node_type": "group", "attributes": {}}',
    ],
)
def test_not_a_store_of_ours(path, content):
    path.mkdir()
    (path / "zarr.json").write_text(content)
    with pytest.raises(InputError, match="not an emoscale store"):
        open_store(path, ACTIVATIONS)


def test_an_array_is_not_a_store(path, store):
    with pytest.raises(InputError, match="not an emoscale store"):
        open_store(path / "activations", ACTIVATIONS)


def test_another_kind(path, store):
    with pytest.raises(InputError, match="contains activations, expected masks"):
        open_store(path, MASKS)


def change(file, old, new):
    content = file.read_text()
    assert old in content
    file.write_text(content.replace(old, new))


def test_another_format(path, store):
    change(path / "zarr.json", f'"format": {FORMAT}', f'"format": {FORMAT + 1}')
    with pytest.raises(InputError, match=f"store format {FORMAT + 1}, this version reads {FORMAT}"):
        open_store(path, ACTIVATIONS)


def test_a_store_that_lacks_an_array(path, store):
    (path / "layer" / "zarr.json").unlink()
    with pytest.raises(InputError, match="lacks layer"):
        open_store(path, ACTIVATIONS)


def test_a_store_opened_for_reading_is_not_written(path, store):
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    reader = open_store(path, ACTIVATIONS)
    for write in (reader.mark_complete, lambda: reader.write("activations", np.zeros((OBSERVATIONS, NEURONS)))):
        with pytest.raises(ValueError, match="read-only"):
            write()
    assert before == {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
