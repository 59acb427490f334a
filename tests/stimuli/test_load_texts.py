import json

import pandas as pd
import pytest
from text_files import BAD_FILES, ROWS, load, table_in

from emoscale.errors import InputError
from emoscale.stimuli.options import StimuliOptions
from emoscale.stimuli.sources import SOURCES, TextSource, pieces_of
from emoscale.stimuli.texts import load_texts, open_texts


def problems_of(*arguments, **settings):
    with pytest.raises(InputError) as caught:
        load(*arguments, **settings)
    assert all("\n" not in line for line in caught.value.problems)
    return caught.value.problems


def problem_of(*arguments, **settings):
    (problem,) = problems_of(*arguments, **settings)
    return problem


def made_up(options):
    yield pd.DataFrame({"text": ["a", "b"], "labels": [["joy"], "fear"]})
    yield pd.DataFrame({"text": ["c", "d", "e"], "labels": [("joy", "fear"), [], "joy"]})


def test_a_source_is_one_entry(monkeypatch):
    monkeypatch.setitem(SOURCES, "made-up", TextSource("made-up", "made-up texts", pieces_of(made_up)))
    texts = load("made-up", dev_fraction=0.4, seed=1)
    assert texts["text"].tolist() == ["a", "b", "c", "d", "e"]
    assert texts["labels"].tolist() == [("joy",), ("fear",), ("joy", "fear"), (), ("joy",)]
    assert sorted(texts["split"]) == ["dev", "dev", "train", "train", "train"]
    assert "stimuli.path" in problem_of("made-up", path="x")


def test_a_source_may_be_given_itself_and_say_its_splits():
    def with_splits(options):
        for piece in made_up(options):
            yield piece.assign(split=["train", "val"] if len(piece) == 2 else ["test", "train", "val"])

    texts = load(TextSource("made-up", "made-up texts", pieces_of(with_splits)))
    assert texts["text"].tolist() == ["a", "b", "d", "e"]
    assert texts["split"].tolist() == ["train", "dev", "train", "dev"]


@pytest.mark.parametrize(
    ("piece", "said"),
    [
        ({"text": ["a", " "], "labels": ["joy", "joy"]}, "text source 'made-up': 1 of 2 texts are empty"),
        ({"text": ["a", "b"], "labels": ["joy", ""]}, "1 of 2 labels are empty"),
        ({"text": ["a", "b"], "label": ["joy", "joy"]}, "no column 'labels' (nearest: 'label')"),
        ({"text": [], "labels": []}, "holds no texts"),
    ],
)
def test_a_new_source_is_checked_like_the_others(piece, said):
    source = TextSource("made-up", "made-up texts", pieces_of(lambda _: iter([pd.DataFrame(piece)])))
    assert said in problem_of(source)


def test_form_of_the_table():
    texts = load("scenarios")
    assert list(texts.columns) == ["text", "labels", "split"]
    assert texts.index.tolist() == list(range(810))
    assert isinstance(texts["labels"].iloc[0], tuple)
    assert texts["text"].map(type).eq(str).all()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_every_format_gives_the_same(write, suffix):
    texts = load("file", path=table_in(write, suffix), seed=3)
    assert texts["text"].tolist() == [text for text, _ in ROWS]
    assert texts["labels"].tolist() == [(label,) for _, label in ROWS]
    assert sorted(texts["split"]) == ["dev", *["train"] * 4]


def test_quotes_commas_and_breaks_in_csv(write):
    path = write("own.csv", '\ufefftext,label\n"He said ""no"", twice\nand left",anger\nNA,fear\n 5 ,joy\n')
    texts = load("file", path=path)
    assert texts["text"].tolist() == ['He said "no", twice\nand left', "NA", " 5 "]


def test_suffix_case_does_not_count(write):
    assert len(load("file", path=write("OWN.CSV", "text,label\na,joy\nb,fear\n"))) == 2


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_label_separator(write, suffix):
    rows = [("a", "joy, fear ,joy"), ("b", "fear"), ("c", "")]
    texts = load("file", path=table_in(write, suffix, rows), label_separator=",")
    assert texts["labels"].tolist() == [("joy", "fear"), ("fear",), ()]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_list_cells(write, suffix):
    rows = [("a", ["joy", "fear"]), ("b", []), ("c", ["joy"])]
    texts = load("file", path=table_in(write, suffix, rows))
    assert texts["labels"].tolist() == [("joy", "fear"), (), ("joy",)]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_number_labels_stay_integers_beside_gaps(write, suffix):
    # Through pandas' own inference the gap would make them 3.0 and 10.0.
    content = pd.DataFrame({"text": ["a", "b", "c"], "label": pd.array([3, 10, None], dtype="Int64")})
    path = write("own" + suffix, "")
    {".csv": content.to_csv, ".parquet": content.to_parquet}.get(
        suffix, lambda path, index: content.to_json(path, orient="records", lines=True)
    )(path, index=False)
    assert load("file", path=path, label_separator=";")["labels"].tolist() == [("3",), ("10",), ()]


def test_other_column_names(write):
    path = table_in(write, ".csv", columns=("sentence", "emotion"))
    texts = load("file", path=path, text_column="sentence", label_column="emotion")
    assert texts["labels"].iloc[3] == ("grief",)


def test_dev_file_of_another_format(write):
    train = table_in(write, ".csv")
    dev = write("dev.jsonl", '{"text": "x", "label": "joy"}\n\n{"text": "y", "label": "fear"}\n')
    texts = load("file", path=train, dev_path=dev)
    assert texts["split"].tolist() == ["train"] * 5 + ["dev"] * 2
    assert texts.index.tolist() == list(range(7))


def test_split_column_ignores_the_test_rows_where_there_is_a_dev_split(write):
    path = write("own.csv", "text,label,part\na,joy,Train\nb,joy,test\nc,joy,validation\nd,fear, train \n")
    texts = load("file", path=path, split_column="part")
    assert texts["text"].tolist() == ["a", "c", "d"]
    assert texts["split"].tolist() == ["train", "dev", "train"]
    assert texts.index.tolist() == [0, 1, 2]


def test_split_column_takes_the_test_rows_where_there_is_nothing_else(write):
    path = write("own.csv", "text,label,part\na,joy,train\nb,joy,test\n")
    assert load("file", path=path, split_column="part")["split"].tolist() == ["train", "dev"]


@pytest.mark.parametrize(("fraction", "dev"), [(0.2, 10), (0.5, 25), (0.001, 1), (0.999, 49)])
def test_drawn_split(write, fraction, dev):
    path = table_in(write, ".csv", [(f"text {i}", "joy") for i in range(50)])
    texts = load("file", path=path, dev_fraction=fraction, seed=1)
    assert (texts["split"] == "dev").sum() == dev
    pd.testing.assert_frame_equal(texts, load("file", path=path, dev_fraction=fraction, seed=1))
    if 1 < dev < 49:
        assert not texts.equals(load("file", path=path, dev_fraction=fraction, seed=2))


SAME = ["A\u0308rger  again", " \u00c4rger again", "\u00c4r\u00adger\tagain", "\ufeff\u00c4rger again "]


def test_a_text_goes_to_one_split_with_all_its_rows(write):
    rows = [(text, "joy") for number in range(40) for text in (f"text {number}", f"  text  {number} ")]
    path = write("own.jsonl", "".join(json.dumps({"text": t, "label": x}) + "\n" for t, x in rows))
    for seed in range(5):
        texts = load("file", path=path, seed=seed)
        splits = texts.assign(text=texts["text"].str.split().str.join(" ")).groupby("text")["split"].unique()
        assert (splits.str.len() == 1).all()
        assert (splits.str[0] == "dev").sum() == 8


def test_forms_of_one_text_are_one_text(write):
    rows = [*SAME, "Another", "\u00e4rger again"]
    path = write("own.jsonl", "".join(json.dumps({"text": text, "label": "joy"}) + "\n" for text in rows))
    texts = load("file", path=path, dev_fraction=0.34)
    assert len(set(texts["split"].iloc[:4])) == 1
    assert texts["split"].iloc[[0, 4, 5]].tolist().count("dev") == 1
    path = write("one.jsonl", "".join(json.dumps({"text": text, "label": "joy"}) + "\n" for text in SAME))
    assert "holds a single text" in problem_of("file", path=path)


LABELS = ["joy", "Joy", " joy", "j\u200boy", "JOY", "\u00c4rger", "a\u0308rger", "Neutral", "neutral"]


def test_labels_become_the_concepts_that_they_name(write):
    rows = [(f"text {number}", label) for number, label in enumerate(LABELS)]
    path = write("own.jsonl", "".join(json.dumps({"text": t, "label": x}) + "\n" for t, x in rows))
    reader, concepts = open_texts(StimuliOptions(source="file", path=path), chunk=2), ["Joy", "\u00e4rger"]
    texts = load_texts(StimuliOptions(source="file", path=path), concepts)
    assert [label for (label,) in texts["labels"]] == ["Joy"] * 5 + ["\u00e4rger"] * 2 + ["Neutral"] * 2
    assert [label for piece in reader.pieces(concepts=concepts) for (label,) in piece["labels"]] == [
        label for (label,) in texts["labels"]
    ]
    (note,) = reader.notes(concepts)
    for said in (
        "'joy' as 'Joy' (capitals)",
        "(capitals and invisible characters)",
        "'neutral' as 'Neutral' (capitals)",
    ):
        assert said in note
    assert "\n" not in note
    assert open_texts(StimuliOptions(source="scenarios")).notes(["joy", "fear"]) == []


def test_a_text_carries_a_concept_once(write):
    path = write("own.csv", 'text,label\na,"joy, Joy, fear"\nb,joy\n')
    assert load("file", path=path, label_separator=",")["labels"].iloc[0] == ("joy", "fear")


def test_goemotions_layout(goemotions):
    texts = load("goemotions", path=str(goemotions))
    assert texts["text"].tolist() == ['He said "no', "an odd\x85 break \u2028 and\r here", '"quoted"', "calm"]
    assert texts["labels"].tolist() == [("anger",), ("joy", "neutral"), ("fear",), ("neutral",)]
    assert texts["split"].tolist() == ["train"] * 3 + ["dev"]


def test_goemotions_label_file_under_its_other_name(goemotions):
    (goemotions / "labels.txt").rename(goemotions / "emotions.txt")
    assert load("goemotions", path=str(goemotions))["labels"].iloc[0] == ("anger",)


def test_goemotions_missing_files(goemotions):
    (goemotions / "labels.txt").unlink()
    (goemotions / "dev.tsv").unlink()
    problems = problems_of("goemotions", path=str(goemotions))
    assert [line.split(": ")[0].rsplit("/", 1)[1] for line in problems] == ["dev.tsv", "labels.txt"]
    assert "not a folder" in problem_of("goemotions", path=str(goemotions / "none"))


@pytest.mark.parametrize(
    "line", ["text\t4\tid", "text only", "text\t\tid", "text\tjoy\tid", "text\t-1\tid", "text\t1,\tid"]
)
def test_goemotions_row_out_of_layout(goemotions, line):
    (goemotions / "dev.tsv").write_text(f"fine\t0\tid\n{line}\n{line}\n")
    problem = problem_of("goemotions", path=str(goemotions))
    assert "dev.tsv: 2 rows" in problem
    assert "the first is row 2" in problem


def test_goemotions_empty_split_and_empty_text(goemotions):
    (goemotions / "dev.tsv").write_text("")
    assert "dev.tsv: holds no texts" in problem_of("goemotions", path=str(goemotions))
    (goemotions / "dev.tsv").write_text(" \t0\tid\n")
    assert "1 of 1 texts are empty" in problem_of("goemotions", path=str(goemotions))


def test_unknown_source_gets_the_nearest():
    assert "'scenario' (nearest: 'scenarios')" in problem_of("scenario")


@pytest.mark.parametrize("source", ["goemotions", "file", "dataset"])
def test_source_without_its_path(source):
    assert f"text source '{source}': has no path; set stimuli.path" in problem_of(source)


def test_settings_a_source_would_ignore():
    problems = problems_of("scenarios", path="own.csv", text_column="sentence", split_column="part")
    assert [line.split(": ")[1].split()[0] for line in problems] == [
        "stimuli.path",
        "stimuli.text_column",
        "stimuli.split_column",
    ]
    assert problems[2].endswith("set stimuli.source to file")
    for source in ("goemotions", "dataset"):
        assert "stimuli.dev_path" in problem_of(source, path="x", dev_path="y")


def test_two_ways_to_say_dev(write):
    path = table_in(write, ".csv")
    assert "leave one out" in problem_of("file", path=path, dev_path=path, split_column="part")


@pytest.mark.parametrize(("name", "content", "said"), BAD_FILES)
def test_bad_file(write, name, content, said):
    path = write(name, content)
    problem = problem_of("file", path=path)
    assert problem.startswith(path)
    assert said in problem


def test_both_missing_columns_are_reported(write):
    assert len(problems_of("file", path=write("own.csv", "a,b\n1,2\n"))) == 2


def test_missing_file(tmp_path):
    assert "no such file" in problem_of("file", path=str(tmp_path / "none.csv"))
    assert "no such file" in problem_of("file", path=str(tmp_path))


def test_missing_dev_file_and_its_own_row_numbers(write, tmp_path):
    path = table_in(write, ".csv")
    assert "none.csv: no such file" in problem_of("file", path=path, dev_path=str(tmp_path / "none.csv"))
    dev = write("dev.csv", "text,label\na,joy\n,joy\n")
    assert f"{dev}: 1 of 2 texts are empty, the first in row 2" in problem_of("file", path=path, dev_path=dev)


def test_bad_split_column(write):
    path = write("own.csv", "text,label,part\na,joy,train\nb,joy,trial\nc,joy,\n")
    assert "no column 'split'" in problem_of("file", path=path, split_column="split")
    problem = problem_of("file", path=path, split_column="part")
    assert "column 'part': 2 rows hold no known split, the first is row 2 ('trial')" in problem


def test_split_without_texts(write):
    """It is refused by those who need it: a study may train nothing, or ask nothing."""
    for named, there, lacking in (("train", "train", "dev"), ("val", "dev", "train")):
        path = write("own.csv", f"text,label,part\na,joy,{named}\nb,joy,{named}\n")
        options = StimuliOptions(source="file", path=path, split_column="part")
        reader = open_texts(options)
        assert reader.counts == {there: 2}
        assert [len(piece) for piece in reader.pieces(there)] == [2]
        with pytest.raises(InputError, match=f"^{path}: no {lacking} texts; give some"):
            reader.require("train", "dev")
        with pytest.raises(InputError, match=f"^{path}: no {lacking} texts; give some"):
            reader.pieces(lacking)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 20, float("nan")])
def test_bad_dev_fraction(write, fraction):
    assert "dev_fraction" in problem_of("file", path=table_in(write, ".csv"), dev_fraction=fraction)
