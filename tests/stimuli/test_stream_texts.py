"""Texts read in pieces of any size are those that a plain reader finds, and so are the faults."""

import json
import tracemalloc
import types

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stand_in_dataset import StandInLabel, split_of
from text_files import BAD_FILES, load, stream, table_in

from emoscale.errors import InputError

pytestmark = pytest.mark.slow

SUFFIXES = [".csv", ".tsv", ".parquet", ".jsonl"]
SPLIT_OF = {"train": "train", "dev": "dev", "Validation ": "dev", "test": "dev"}


def plain_labels(cell, separator):
    cells = cell if isinstance(cell, list) else [] if cell is None else [str(cell)]
    labels = []
    for part in cells:
        for label in part.split(separator) if separator else [part]:
            if label.strip() and label.strip() not in labels:
                labels.append(label.strip())
    return tuple(labels)


def plain_draw(count, fraction=0.2, seed=0):
    """Draw the held-out texts of a source without splits."""
    held_out = set(np.random.default_rng(seed).permutation(count)[: min(max(round(count * fraction), 1), count - 1)])
    return ["dev" if row in held_out else "train" for row in range(count)]


def plain_table(rows, splits, separator=None):
    """Make the table of all rows (text, label cell) that have a split, row by row."""
    kept = [(text, plain_labels(cell, separator), split) for (text, cell), split in zip(rows, splits, strict=True)]
    return pd.DataFrame([row for row in kept if row[2]], columns=["text", "labels", "split"])


def assert_reads(expected, chunk, source, **options):
    pd.testing.assert_frame_equal(load(source, **options), expected)
    for split in ("train", "dev", "all"):
        pieces = list(stream(source, split, chunk, **options))
        assert all(0 < len(piece) <= chunk for piece in pieces)
        wanted = expected if split == "all" else expected[expected["split"] == split]
        pd.testing.assert_frame_equal(pd.concat(pieces), wanted, check_index_type=False)


def problems_of(source, **options):
    with pytest.raises(InputError) as caught:
        stream(source, **options)
    return caught.value.problems


texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=8).filter(
    lambda text: not text.isspace()
)
labels = st.sampled_from(["joy", "fear", " joy", "joy;fear", "grief; joy"])


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(texts, labels, st.sampled_from([*SPLIT_OF])), min_size=2, max_size=12),
    chunk=st.integers(1, 13),
    seed=st.integers(0, 9),
    separator=st.sampled_from([None, ";"]),
    how=st.sampled_from(["drawn", "column", "dev file"]),
)
def test_every_format_chunk_and_split(write, suffix, rows, chunk, seed, separator, how):
    options = {"label_separator": separator, "seed": seed, "dev_fraction": 0.4}
    dev = []
    if how == "column":
        rows = [*rows, ("one more", "joy", "train"), ("the last", "joy", "dev")]
        options["split_column"] = "part"
        # Where there are dev rows, those of validation and test are not used.
        splits = [{"train": "train", "dev": "dev"}.get(part) for _, _, part in rows]
    if how == "dev file":
        dev = [(str(i), "joy") for i in range(3)]
        options["dev_path"] = write("dev.jsonl", "".join(f'{{"text": "{i}", "label": "joy"}}\n' for i in range(3)))
        splits = ["train"] * len(rows) + ["dev"] * 3
    if how == "drawn":
        rows = [(f"{number} {text}", label, part) for number, (text, label, part) in enumerate(rows)]
        splits = plain_draw(len(rows), 0.4, seed)
    path = table_in(write, suffix, rows, ("text", "label", "part"))
    expected = plain_table([*(row[:2] for row in rows), *dev], splits, separator)
    assert_reads(expected, chunk, "file", path=path, **options)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.sampled_from(["train", "Validation ", "test"]), max_size=8), chunk=st.integers(1, 9))
def test_split_columns_without_dev(write, parts, chunk):
    parts = ["train", *parts, "test"]
    rows = [(f"text {i}", "joy") for i in range(len(parts))]
    first = "Validation " if "Validation " in parts else "test"
    expected = plain_table(rows, [{"train": "train", first: "dev"}.get(part) for part in parts])
    path = table_in(
        write, ".csv", [(*row, part) for row, part in zip(rows, parts, strict=True)], ("text", "label", "p")
    )
    assert_reads(expected, chunk, "file", path=path, split_column="p")


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_quotes_commas_and_breaks_in_csv(write, chunk):
    path = write("own.csv", '\ufefftext,label\n"He said ""no"", twice\nand left",anger\n\nNA,fear\n 5 ,joy\n')
    rows = [('He said "no", twice\nand left', "anger"), ("NA", "fear"), (" 5 ", "joy")]
    assert_reads(plain_table(rows, plain_draw(3)), chunk, "file", path=path)


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_objects_of_which_many_lack_a_key(write, chunk):
    rows = [{"text": "a", "part": "train"}, {"text": "b", "label": [], "part": "dev"}, {"text": "c", "part": "dev"}]
    path = write("own.jsonl", "\ufeff" + "\n\n".join(map(json.dumps, rows)))
    expected = plain_table([("a", None), ("b", []), ("c", None)], ["train", "dev", "dev"])
    assert_reads(expected, chunk, "file", path=path, split_column="part", label_separator=",")


@pytest.mark.parametrize("chunk", [2, 3, 100])
def test_parquet_cells_and_row_groups(tmp_path, chunk):
    """Integers beside gaps, lists, and pieces that do not end where the file's row groups do."""
    cells = {
        "text": [f"text {i}" for i in range(10)],
        "label": [3, None] * 5,
        "names": [["joy"], []] * 5,
        "other": [1] * 10,
    }
    path = str(tmp_path / "own.parquet")
    pyarrow.parquet.write_table(pyarrow.table(cells), path, row_group_size=4)
    for options in ({"label_separator": ";"}, {"label_column": "names"}):
        rows = list(zip(cells["text"], cells[options.get("label_column", "label")], strict=True))
        assert_reads(plain_table(rows, plain_draw(10)), chunk, "file", path=path, **options)


@pytest.mark.parametrize("chunk", [1, 2, 1000])
def test_goemotions(goemotions, chunk):
    rows = [
        ('He said "no', ["anger"]),
        ("an odd\x85 break \u2028 and\r here", ["joy", "neutral"]),
        ('"quoted"', ["fear"]),
        ("calm", ["neutral"]),
    ]
    expected = plain_table(rows, ["train", "train", "train", "dev"])
    assert_reads(expected, chunk, "goemotions", path=str(goemotions))


@pytest.mark.parametrize("chunk", [3, 1000])
def test_the_built_in_texts(chunk):
    assert_reads(load("scenarios"), chunk, "scenarios")


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize("names", [("train", "validation", "test"), ("validation", "train"), ("everything",)])
def test_datasets(stand_in, chunk, names):
    numbers = [0, 1, 1, 0, 1, 0, 0]
    named = {"label": StandInLabel(["joy", "fear"])}
    stand_in({name: split_of(name, numbers, named) for name in names})
    used = sorted(name for name in names if name != "test")  # train first
    rows = [(f"{name} {i}", ["joy", "fear"][number]) for name in used for i, number in enumerate(numbers)]
    splits = [{"validation": "dev"}.get(name, name) for name in used for _ in numbers]
    expected = plain_table(rows, splits if len(used) > 1 else plain_draw(7, seed=2))
    assert_reads(expected, chunk, "dataset", path="owner/name", seed=2)


def test_lists_of_class_labels(stand_in):
    named = {"label": types.SimpleNamespace(feature=StandInLabel(["joy", "fear"]))}
    stand_in({"train": split_of("train", [[1, 0], [], [0]], named)})
    rows = [("train 0", ["fear", "joy"]), ("train 1", []), ("train 2", ["joy"])]
    assert_reads(plain_table(rows, plain_draw(3)), 2, "dataset", path="owner/name")


@pytest.mark.parametrize("labels", [["joy", None, "fear", ""], [1, -1, 0, -1]])
def test_faults_of_datasets(stand_in, labels):
    named = {"label": StandInLabel(["joy", "fear"])} if 1 in labels else {}
    stand_in({"train": split_of("train", labels, named), "test": split_of("test", labels, named)})
    (problem,) = problems_of("dataset", path="owner/name", chunk=2)
    assert "split 'train', column 'label': 2 of 4 labels are empty, the first in row 2" in problem
    (problem,) = problems_of("dataset", path="owner/name", label_column="labels")
    assert "split 'train': no column 'labels' (nearest: 'label')" in problem


def test_real_dataset(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "labels": datasets.List(datasets.ClassLabel(names=["joy", "fear"]))}
    )
    part = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "labels": [[0], [], [1, 0]]}, features=features)
    datasets.DatasetDict({"train": part, "validation": part}).save_to_disk(tmp_path / "both")
    rows = 2 * [("a", ["joy"]), ("b", []), ("c", ["fear", "joy"])]
    expected = plain_table(rows, ["train"] * 3 + ["dev"] * 3)
    assert_reads(expected, 2, "dataset", path=str(tmp_path / "both"), label_column="labels")


@pytest.mark.parametrize("chunk", [1, 2, 100])
@pytest.mark.parametrize(("name", "content", "said"), BAD_FILES)
def test_bad_file(write, name, content, said, chunk):
    path = write(name, content)
    (problem,) = problems_of("file", path=path, chunk=chunk)
    assert problem.startswith(path)
    assert said in problem


def test_faults_late_in_a_file_are_counted_over_all_of_it(write):
    good = [{"text": f"t{i}", "label": "joy", "part": "train"} for i in range(6)]
    for wrong, options, said in [
        ({"text": " ", "label": "joy", "part": "train"}, {}, "2 of 8 texts are empty, the first in row 4"),
        ({"text": 5, "label": "joy", "part": "train"}, {}, "2 of 8 text cells hold no text, the first in row 4 (5)"),
        ({"text": "\ud83d", "label": "joy"}, {}, "2 of 8 texts hold half a character"),
        ({"text": "a", "label": None}, {}, "2 of 8 labels are empty, the first in row 4"),
        (
            {"text": "a", "label": "joy", "part": "trial"},
            {"split_column": "part"},
            "2 rows hold no known split, the first is row 4 ('trial')",
        ),
        (
            {"text": "a", "label": "joy"},
            {"split_column": "part"},
            "2 rows hold no known split, the first is row 4 (None)",
        ),
        ({"text": "a", "label": "joy"}, {"split_column": "parts"}, "no column 'parts' (nearest: 'part')"),
        ({"text": "a", "label": "joy"}, {"dev_fraction": 1.0}, "dev_fraction 1.0"),
        ([], {}, "line 4: not an object"),
    ]:
        path = write("own.jsonl", "".join(json.dumps(row) + "\n" for row in [*good[:3], wrong, *good[3:], wrong]))
        for chunk in (2, 5, 100):
            (problem,) = problems_of("file", path=path, chunk=chunk, **options)
            assert said in problem


def test_csv_row_too_long_after_the_first_piece(write):
    path = write("own.csv", "text,label\na,joy\nb,joy\nc,joy,x\n")
    (problem,) = problems_of("file", path=path, chunk=2)
    assert "not a csv file" in problem


def test_an_unknown_split_is_refused():
    (problem,) = problems_of("scenarios", split="test")
    assert "split 'test'" in problem


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_memory_does_not_grow_with_rows(write, suffix):
    def peak(count):
        path = table_in(write, suffix, [(f"text {i} " + "x" * 200, "joy") for i in range(count)])
        tracemalloc.start()
        rows = sum(len(piece) for piece in stream("file", path=path, chunk=200))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert rows == count
        return most

    peak(400)  # what is loaded once and kept
    assert peak(6400) - peak(1600) < 4800 * 64  # a text takes more than 200 bytes
