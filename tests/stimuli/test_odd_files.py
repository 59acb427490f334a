"""Files as people have them: stray quotation marks, other separators and encodings, formats that are not read."""

import io
import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_files import load

from emoscale.errors import InputError
from emoscale.stimuli.tables import read_pieces

STRAY = [
    ('"Well, she said and left', "joy"),
    ("The letter came late", "fear"),
    ("Nobody told me", "anger"),
    ('He shouted: stop"', "anger"),
    ("We won the match", "joy"),
]


def joined(rows, separator):
    return "".join(separator.join(row) + "\n" for row in [("text", "label"), *rows])


def read(path, chunk=100, columns=("text", "label"), **options):
    pieces = list(read_pieces(path, chunk, columns, **options))
    return [row for piece in pieces for row in piece.itertuples(index=False, name=None)]


def outcome(path):
    """Return the texts, or what is said in place of them."""
    try:
        return read(path, chunk=2)
    except InputError as error:
        return str(error)


def problem_of(path, **settings):
    with pytest.raises(InputError) as caught:
        load("file", path=path, **settings)
    (problem,) = caught.value.problems
    return problem


def test_stray_quotation_marks_in_a_table_with_tabs_are_letters(write):
    texts = load("file", path=write("stray-quotes.tsv", joined(STRAY, "\t")))
    assert list(zip(texts["text"], (label for (label,) in texts["labels"]), strict=True)) == STRAY


def test_an_unclosed_or_inner_quotation_mark_in_a_table_with_tabs_is_a_letter(write, tmp_path):
    rows = [('"Stop" he said', "anger"), ("It was late", "fear"), ('"Never closed', "joy")]
    write("own.tsv", joined(rows, "\t"))
    assert read(tmp_path / "own.tsv") == rows


@pytest.mark.parametrize("separator", [",", ";"])
def test_stray_quotation_marks_among_commas_name_the_line(write, separator):
    rows = [(text.replace(",", ""), label) for text, label in STRAY]
    problem = problem_of(write("own.csv", joined(rows, separator)))
    assert ", line 2: a quotation mark opens a cell that ends in line 5" in problem


def test_swallowed_records_are_found_by_their_labels_where_other_texts_are_quoted(write):
    """The file as a whole cannot be read without quoting, so only the labels within a text give it away."""
    rows = [*STRAY, ("Nothing came", "fear"), ('"a, b, c"', "joy")]
    assert "line 2" in problem_of(write("own.csv", joined(rows, ",")))


def test_swallowed_records_where_the_label_comes_first(write):
    rows = ['joy,"Well she said', "fear,The letter came late", 'anger,He shouted: stop"', "fear,x", 'joy,"a, b, c"']
    assert "line 2" in problem_of(write("own.csv", "\n".join(["label,text", *rows]) + "\n"))


def test_swallowed_records_among_tabs_name_the_line_where_others_are_quoted(write):
    rows = [*STRAY, ('"two\nlines"', "joy")]
    assert ", line 2:" in problem_of(write("own.tsv", joined(rows, "\t")))


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_quotation_mark_that_is_never_closed_names_the_line(write, suffix):
    separator = {"csv": ",", "tsv": "\t"}[suffix]
    rows = [("a", "joy"), ('"b', "fear"), ("c", "joy"), ('"two\nlines"', "joy")]
    assert "(line 3: " in problem_of(write(f"own.{suffix}", joined(rows, separator)))


def test_texts_of_several_lines_are_one_text(write, tmp_path):
    rows = [('He said "no", twice\nand left', "anger"), ("first, then\nfear, joyful\nthe end", "fear"), ("a", "joy")]
    write("own.csv", pd.DataFrame(rows, columns=["text", "label"]).to_csv(index=False))
    assert read(tmp_path / "own.csv") == rows


@pytest.mark.parametrize(("line", "said"), [("b", "1 cell, "), ("b,joy,x", "3 cells, "), ('"b"c,joy', "',' expected")])
def test_a_line_that_does_not_fit_is_named(write, line, said):
    problem = problem_of(write("own.csv", f"text,label\na,joy\n\n{line}\n"))
    assert f"(line 4: {said}" in problem


TEXT = st.text(st.sampled_from('ab ,;"\n\t“é'), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(st.tuples(TEXT, st.sampled_from(["joy", "fear"])), min_size=1, max_size=6))
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_the_number_of_texts_is_that_of_the_records_or_a_line_is_named(tmp_path_factory, rows, suffix):
    path = tmp_path_factory.mktemp("rows") / f"own.{suffix}"
    frame = pd.DataFrame(rows, columns=["text", "label"])
    if suffix == "parquet":
        frame.to_parquet(path)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(dict(zip(frame, row, strict=True))) + "\n" for row in rows))
    else:
        frame.to_csv(path, index=False, sep="," if suffix == "csv" else "\t", lineterminator="\n")
    found = outcome(path)
    assert found == rows or (suffix in ("csv", "tsv") and "line " in found)


def test_letters_only_tables_keep_every_line(write, tmp_path):
    """What programs write that never quote: any text without a tab or a line break."""
    rows = [('"', "joy"), ('""', "fear"), ('"a""', "joy"), ("'b", "fear"), ('c "d" e', "joy"), ('f"', "joy")]
    write("own.tsv", joined(rows, "\t"))
    assert read(tmp_path / "own.tsv") == rows


@pytest.mark.parametrize(
    ("name", "separator"), [("own.csv", ";"), ("own.csv", "\t"), ("own.tsv", ","), ("own.tsv", ";")]
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_another_separator_is_found_by_the_names_of_the_columns(write, tmp_path, name, separator, mark):
    rows = [("Es war spät", "fear"), ("Wir kamen, sahen; siegten\tdann", "joy")]
    text = pd.DataFrame(rows, columns=["text", "label"]).to_csv(index=False, sep=separator)
    write(name, mark + text)
    assert read(tmp_path / name) == rows


def test_another_separator_with_other_columns_is_said(write):
    problem = problem_of(write("own.csv", "satz;gefühl\na;joy\nb;fear\n"))
    assert "seems to be separated by semicolons, with the columns satz, gefühl; set stimuli.text_column" in problem


def test_blanks_around_names_of_columns_do_not_count(write, tmp_path):
    write("own.csv", "text , label\na,joy\n")
    assert read(tmp_path / "own.csv") == [("a", "joy")]


def test_a_column_twice(write):
    assert "line 1: 2 columns are named 'text'" in problem_of(write("own.csv", "text,label,text\na,joy,b\n"))


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_windows_western_is_said_and_read_when_named(write, suffix):
    rows = {"csv": "text,label\nkein,joy\nÄrger im Büro,fear\n"}
    rows["jsonl"] = '{"text": "kein", "label": "joy"}\n{"text": "Ärger im Büro", "label": "fear"}\n'
    path = write(f"own.{suffix}", rows[suffix].encode("cp1252"))
    problem = problem_of(path)
    assert f"not a {suffix} file in utf-8 (line {3 if suffix == 'csv' else 2})" in problem
    assert "set stimuli.encoding: in cp1252 (Windows)" in problem
    assert "Ärger im Büro" in problem
    assert load("file", path=path, encoding="cp1252")["text"].tolist() == ["kein", "Ärger im Büro"]


@pytest.mark.parametrize("codec", ["utf-16", "utf-8-sig"])
def test_marked_encodings_are_read(write, codec):
    """Excel's "Unicode text" is UTF-16 with tabs."""
    path = write("own.csv", "text\tlabel\nspät\tjoy\nfrüh\tfear\n".encode(codec))
    assert load("file", path=path)["text"].tolist() == ["spät", "früh"]


def workbook():
    file = io.BytesIO()
    pd.DataFrame({"text": ["a"], "label": ["joy"]}).to_excel(file, index=False)
    return file.getvalue()


def test_workbooks_are_named(write):
    pytest.importorskip("openpyxl")
    assert "save the sheet as CSV UTF-8" in problem_of(write("own.xlsx", workbook()))
    assert "seems to be an Excel workbook" in problem_of(write("own.csv", workbook()))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("own.json", "[]", "jsonl has an object a line"),
        ("own.csv.gz", b"\x1f\x8b", "unpack it"),
        ("own.csv", b"\x1f\x8b\x08\x00", "seems to be compressed with gzip"),
        ("own.txt", "a", "let its name say"),
        (
            "own.jsonl",
            '[\n{"text": "a"}]',
            "line 1: Expecting value at character 3; it seems to be one list",
        ),
        ("own.jsonl", '{"text": "a", "label": "joy"}{"text": "b", "label": "joy"}\n', "line 1: Extra data"),
    ],
)
def test_what_a_file_seems_to_be(write, name, content, said):
    assert said in problem_of(write(name, content))


def test_several_objects_on_a_line_and_a_text_over_several_lines_in_parquet(tmp_path):
    path = tmp_path / "own.parquet"
    rows = [('"a\nb', "joy"), ('c"\td', "fear")]
    pd.DataFrame(rows, columns=["text", "label"]).to_parquet(path)
    assert read(path) == rows
