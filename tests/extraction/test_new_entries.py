"""A new stored type, pooling or kind of rows is one entry of a registry."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from extracting import activations_of, extract_rows
from pydantic import TypeAdapter, ValidationError

from emoscale.concepts.loading import Concepts
from emoscale.errors import InputError
from emoscale.extraction.inputs import Amount, TextRows
from emoscale.extraction.options import ExtractionOptions
from emoscale.extraction.pooling import POOLINGS, Pooling
from emoscale.extraction.rows import ROW_SOURCES, RowSource, check_rows
from emoscale.extraction.sinks import host_bytes
from emoscale.run.folder import RunFolder
from emoscale.schema import ACTIVATIONS, SELECTIVITY
from emoscale.selectivity.options import SelectivityOptions
from emoscale.selectivity.select import select
from emoscale.store import WRITE_BYTES, create_store, open_store
from emoscale.store.types import STORED_TYPES, StoredType, stored_type
from emoscale.system.progress import Silent

pytestmark = pytest.mark.slow

STEP, ABSENT = np.float32(1 / 16), -128
CONCEPTS = Concepts(["joy", "fear", "grief", "awe"], ["valence"], np.array([[0.9], [0.1], [0.2], [0.7]]), None)
TEXTS = pd.DataFrame(
    {
        "text": ["a friend lost joy", "was", "she felt sad at home and was loud", "joy joy", "a sad friend", "loud"],
        "labels": [("grief",), ("awe",), ("fear",), ("joy",), ("grief",), ("joy",)],
    }
)


def encode(values):
    steps = np.clip(np.rint(np.nan_to_num(values) / STEP), -127, 127)
    return np.where(np.isnan(values), ABSENT, steps).astype(np.int8)


def decode(steps):
    return np.where(steps == ABSENT, np.nan, steps * STEP).astype(np.float32)


SCALED = StoredType("int8-scaled", encode, decode, np.dtype(np.int8), np.dtype(np.float32), itemsize=1, fill=ABSENT)


@pytest.fixture
def int8_scaled(monkeypatch):
    monkeypatch.setitem(STORED_TYPES, SCALED.name, SCALED)
    return SCALED.name


@pytest.fixture
def rows(tiny_model):
    return TextRows(tiny_model("bert"), [TEXTS], "mean", 64)


def settings_of(**values):
    return TypeAdapter(ExtractionOptions).validate_python(values)


def selectivity_of(path):
    folder = RunFolder(path)
    select(folder, CONCEPTS, SelectivityOptions(permutations=20, row_measures=["mean", "auroc"]), progress=Silent())
    store = open_store(folder.selectivity, SELECTIVITY)
    return {array.name: store.read(array.name) for array in SELECTIVITY.data}


def test_a_new_stored_type_is_extracted_and_selected(tmp_path, rows, int8_scaled):
    sizes = {"block_rows": 4, "chunk_neurons": 16}
    assert settings_of(dtype=int8_scaled).dtype == int8_scaled
    extract_rows(tmp_path / "exact", rows, **sizes)
    exact = activations_of(tmp_path / "exact").read("activations")
    assert not np.array_equal(exact, decode(encode(exact)))
    extract_rows(tmp_path / "scaled", rows, dtype=int8_scaled, **sizes)
    store = activations_of(tmp_path / "scaled")
    assert (store.dtype("activations"), store.read_dtype("activations")) == (int8_scaled, np.float32)
    np.testing.assert_array_equal(store.read("activations"), decode(encode(exact)))
    assert store.verify() == []
    chunk = store.path / "activations" / "c" / "0" / "0"
    assert chunk.stat().st_size == 3 * (4 * 16 + 4 + 16) + 4
    # The same values stored as float32 have the same selectivity.
    coordinates = {array.name: store.read(array.name) for array in ACTIVATIONS.coordinates}
    chunks = {"observation": 4, "neuron": 16}
    plain = create_store(RunFolder(tmp_path / "plain").activations, ACTIVATIONS, coordinates, chunks)
    plain.write("activations", store.read("activations"))
    plain.mark_complete()
    expected, found = selectivity_of(tmp_path / "plain"), selectivity_of(tmp_path / "scaled")
    assert np.isfinite(found["tau"]).any()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_new_stored_type_is_repaired(tmp_path, rows, int8_scaled):
    options = {"dtype": int8_scaled, "block_rows": 4, "chunk_neurons": 16}
    extract_rows(tmp_path, rows, **options)
    chunk = activations_of(tmp_path).path / "activations" / "c" / "1" / "0"
    before = chunk.read_bytes()
    chunk.write_bytes(b"cut")
    extract_rows(tmp_path, rows, repair=True, **options)
    assert chunk.read_bytes() == before
    assert activations_of(tmp_path).verify() == []


def test_a_new_stored_type_is_planned(int8_scaled):
    assert stored_type(int8_scaled).itemsize == 1
    options = [ExtractionOptions(dtype=dtype) for dtype in (int8_scaled, "float32", "float16")]
    scaled, exact, half = (host_bytes(o, 1024, writers=2, cells=9, neurons=48) - 2 * WRITE_BYTES for o in options)
    assert scaled == exact == 2 * half


def test_a_new_pooling(tmp_path, tiny_model, monkeypatch):
    second = Pooling("second", lambda ids, mask_id, concept: (1, 2))
    model = tiny_model("bert")
    texts = TEXTS[TEXTS["text"].str.len() > 5]
    extract_rows(tmp_path / "object", TextRows(model, [texts], second, 64))
    assert set(activations_of(tmp_path / "object").read("position")) == {1}
    with pytest.raises(InputError, match="'second'"):
        TextRows(model, [texts], "second", 64)
    with pytest.raises(ValidationError, match="unknown"):
        settings_of(pooling="second")
    monkeypatch.setitem(POOLINGS, "second", second)
    assert settings_of(pooling="second").pooling == "second"
    assert "second" in ROW_SOURCES["texts"].poolings()
    assert "second" not in ROW_SOURCES["tokens"].poolings()
    extract_rows(tmp_path / "name", TextRows(model, [texts], "second", 64))
    assert activations_of(tmp_path / "name").read("position").tolist() == [1] * len(texts)


def _names(context, names):
    texts = pd.DataFrame({"text": names, "labels": [(name,) for name in names]})
    return TextRows(context.model, [texts], context.pooling, 64)


def _refuse_long_names(context):
    if longest := [name for name in context.concepts.names if len(name) > 9]:
        raise InputError(f"concepts.names {longest[0]!r}: too long")


NAMES = RowSource(
    "names",
    "its bare name",
    pooling=lambda context: "mean",
    check=_refuse_long_names,
    make=lambda context, folder: _names(context, context.concepts.names),
    count=lambda context: Amount.of(
        next(_names(context, context.concepts.names).inputs()), POOLINGS[context.pooling], context.concepts.names
    ),
    sample=lambda context, amount, count: _names(context, ["joy"] * count),
)


def test_a_new_kind_of_rows(tmp_path, tiny_model, monkeypatch):
    with pytest.raises(ValidationError, match="unknown"):
        settings_of(rows="names")
    monkeypatch.setitem(ROW_SOURCES, "names", NAMES)
    settings = SimpleNamespace(extraction=settings_of(rows="names"))
    context = SimpleNamespace(settings=settings, concepts=CONCEPTS, model=tiny_model("bert"), pooling="mean")
    source = ROW_SOURCES[settings.extraction.rows]
    check_rows(context)
    amount = source.count(context)
    assert (amount.inputs, amount.cells, amount.rows, amount.is_sample) == (4, 4, 4, False)
    assert len(next(source.sample(context, amount, 7).inputs()).ids) == 7
    extract_rows(tmp_path, source.make(context, RunFolder(tmp_path)))
    assert activations_of(tmp_path).read("concept").tolist() == CONCEPTS.names
    context.concepts = SimpleNamespace(names=["anticipation"])
    with pytest.raises(InputError, match="anticipation"):
        check_rows(context)
    settings.extraction = settings_of(rows="names", pooling="concept-last")
    with pytest.raises(InputError, match=r"'concept-last'.*'names'.*templates"):
        check_rows(context)


def test_settings_are_checked_without_loading_libraries():
    values = {"rows": "tokens", "pooling": "all", "dtype": "bfloat16"}
    code = f"""
import sys
from pydantic import TypeAdapter
from emoscale.extraction.options import ExtractionOptions
TypeAdapter(ExtractionOptions).validate_python({values})
print({{"torch", "transformers", "zarr", "numba", "pandas", "scipy"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
