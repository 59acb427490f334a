"""Texts read a piece at a time are those that are read whole, and so are the complaints."""

import json
import tracemalloc
import types

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stand_in_dataset import StandInLabel, split_of
from text_files import BAD_FILES, table_in

from emoscale.errors import InputError
from emoscale.stimuli.streaming import stream_texts
from emoscale.stimuli.texts import load_texts

SPLITS = ["train", "dev", "all"]
SUFFIXES = [".csv", ".tsv", ".parquet", ".jsonl"]


def assert_streamed_as_loaded(chunk, source, **options):
    whole = load_texts(source, **options)
    for split in SPLITS:
        pieces = list(stream_texts(source, **options, split=split, chunk=chunk))
        assert all(0 < len(piece) <= chunk for piece in pieces)
        wanted = whole if split == "all" else whole[whole["split"] == split]
        pd.testing.assert_frame_equal(pd.concat(pieces), wanted, check_index_type=False)


def problems_of(function, *arguments, **options):
    with pytest.raises(InputError) as caught:
        function(*arguments, **options)
    return caught.value.problems


texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=8).filter(
    lambda text: not text.isspace()
)
labels = st.sampled_from(["joy", "fear", " joy", "joy;fear", "grief; joy"])
splits = st.sampled_from(["train", "dev", "Validation ", "test"])


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(texts, labels, splits), min_size=2, max_size=12),
    chunk=st.integers(1, 13),
    seed=st.integers(0, 9),
    separator=st.sampled_from([None, ";"]),
    how=st.sampled_from(["drawn", "column", "dev file"]),
)
def test_every_format_chunk_and_split(write, suffix, rows, chunk, seed, separator, how):
    options = {"label_separator": separator, "seed": seed, "dev_fraction": 0.4}
    if how == "column":
        rows = [*rows, ("one more", "joy", "train"), ("the last", "joy", "dev")]
        options["split_column"] = "part"
    if how == "dev file":
        options["dev_path"] = write("dev.jsonl", "".join(f'{{"text": "{i}", "label": "joy"}}\n' for i in range(3)))
    path = table_in(write, suffix, rows, ("text", "label", "part"))
    assert_streamed_as_loaded(chunk, "file", path=path, **options)


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_quotes_commas_and_breaks_in_csv(write, chunk):
    path = write("own.csv", '\ufefftext,label\n"He said ""no"", twice\nand left",anger\n\nNA,fear\n 5 ,joy\n')
    assert_streamed_as_loaded(chunk, "file", path=path)


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_objects_of_which_many_lack_a_key(write, chunk):
    rows = [{"text": "a", "part": "train"}, {"text": "b", "label": [], "part": "dev"}, {"text": "c", "part": "dev"}]
    path = write("own.jsonl", "\ufeff" + "\n\n".join(map(json.dumps, rows)))
    assert_streamed_as_loaded(chunk, "file", path=path, split_column="part", label_separator=",")


@pytest.mark.parametrize("chunk", [2, 3, 100])
def test_parquet_cells_and_row_groups(tmp_path, chunk):
    """Whole numbers beside gaps, lists, and pieces that do not end where the file's groups of rows do."""
    table = pyarrow.table(
        {
            "text": [f"text {i}" for i in range(10)],
            "label": [3, None] * 5,
            "names": [["joy"], []] * 5,
            "other": [1] * 10,
        }
    )
    path = str(tmp_path / "own.parquet")
    pyarrow.parquet.write_table(table, path, row_group_size=4)
    assert_streamed_as_loaded(chunk, "file", path=path, label_separator=";")
    assert_streamed_as_loaded(chunk, "file", path=path, label_column="names")


@pytest.mark.parametrize("source", ["scenarios", "goemotions"])
@pytest.mark.parametrize("chunk", [3, 1000])
def test_small_sources(goemotions, source, chunk):
    assert_streamed_as_loaded(chunk, source, path=str(goemotions) if source == "goemotions" else None)


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize("names", [("train", "validation", "test"), ("validation", "train"), ("everything",)])
def test_datasets(stand_in, chunk, names):
    named = {"label": StandInLabel(["joy", "fear"])}
    stand_in({name: split_of(name, [0, 1, 1, 0, 1, 0, 0], named) for name in names})
    assert_streamed_as_loaded(chunk, "dataset", path="owner/name", seed=2)


def test_lists_of_class_labels(stand_in):
    named = {"label": types.SimpleNamespace(feature=StandInLabel(["joy", "fear"]))}
    stand_in({"train": split_of("train", [[1, 0], [], [0]], named)})
    assert_streamed_as_loaded(2, "dataset", path="owner/name")


@pytest.mark.parametrize("labels", [["joy", None, "fear", ""], [1, -1, 0, -1]])
def test_faults_of_datasets(stand_in, labels):
    named = {"label": StandInLabel(["joy", "fear"])} if 1 in labels else {}
    stand_in({"train": split_of("train", labels, named), "test": split_of("test", labels, named)})
    for options in ({}, {"label_column": "labels"}, {"text_column": "label"}):
        told = problems_of(stream_texts, "dataset", path="owner/name", chunk=2, **options)
        assert told == problems_of(load_texts, "dataset", path="owner/name", **options)


def test_real_dataset(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "labels": datasets.List(datasets.ClassLabel(names=["joy", "fear"]))}
    )
    part = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "labels": [[0], [], [1, 0]]}, features=features)
    datasets.DatasetDict({"train": part, "validation": part}).save_to_disk(tmp_path / "both")
    assert_streamed_as_loaded(2, "dataset", path=str(tmp_path / "both"), label_column="labels")


@pytest.mark.parametrize("chunk", [1, 2, 100])
@pytest.mark.parametrize(("name", "content", "said"), BAD_FILES)
def test_bad_file(write, name, content, said, chunk):
    path = write(name, content)
    (told,) = problems_of(stream_texts, "file", path=path, chunk=chunk)
    assert said in told
    # What a broken parquet or UTF-8 file is told to suffer from depends on the reader.
    if "not a" not in told:
        assert [told] == problems_of(load_texts, "file", path=path)


LATE = [f'{{"text": "t{i}", "label": "joy", "part": "train"}}\n' for i in range(6)]


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ('{"text": " ", "label": "joy", "part": "train"}', {}),
        ('{"text": 5, "label": "joy", "part": "train"}', {}),
        ('{"text": "\\ud83d", "label": "joy", "part": "train"}', {}),
        ('{"text": "a", "label": null, "part": "train"}', {}),
        ('{"text": "a", "label": "joy", "part": "trial"}', {"split_column": "part"}),
        ('{"text": "a", "label": "joy"}', {"split_column": "part"}),
        ('{"text": "a", "label": "joy", "part": "train"}', {"split_column": "part"}),
        ('{"text": "a", "label": "joy"}', {"split_column": "parts"}),
        ('{"text": "a", "label": "joy"}', {"text_column": "sentence", "label_column": "emotion"}),
        ('{"text": "a", "label": "joy"}', {"dev_fraction": 1.0}),
        ("[]", {}),
    ],
)
@pytest.mark.parametrize("chunk", [2, 5])
def test_faults_late_in_a_file_are_counted_over_all_of_it(write, line, options, chunk):
    path = write("own.jsonl", "".join([*LATE[:3], line + "\n", *LATE[3:], line + "\n"]))
    told = problems_of(stream_texts, "file", path=path, chunk=chunk, **options)
    assert told == problems_of(load_texts, "file", path=path, **options)


def test_csv_row_too_long_after_the_first_piece(write):
    path = write("own.csv", "text,label\na,joy\nb,joy\nc,joy,x\n")
    told = problems_of(stream_texts, "file", path=path, chunk=2)
    assert told == problems_of(load_texts, "file", path=path)


def test_settings_are_refused_as_when_loaded(write):
    path = table_in(write, ".csv")
    for source, options in [
        ("scenario", {}),
        ("scenarios", {"path": "x"}),
        ("file", {}),
        ("file", {"path": path, "dev_path": path, "split_column": "part"}),
        ("dataset", {"dev_path": path}),
        ("goemotions", {"path": path + "none"}),
    ]:
        assert problems_of(stream_texts, source, **options) == problems_of(load_texts, source, **options)
    (problem,) = problems_of(stream_texts, "file", path=path, split="test")
    assert "split 'test'" in problem


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_memory_does_not_grow_with_rows(write, suffix):
    def peak(count):
        path = table_in(write, suffix, [(f"text {i} " + "x" * 200, "joy") for i in range(count)])
        tracemalloc.start()
        rows = sum(len(piece) for piece in stream_texts("file", path=path, chunk=200))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert rows == count
        return most

    peak(400)  # what is loaded once and kept
    assert peak(6400) < 1.5 * peak(1600)
