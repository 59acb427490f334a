"""The layouts of ratings that people have, and how the files are written."""

import numpy as np
import pandas as pd
import pytest

from emoscale.concepts.ratings import RaterRatings, read_ratings
from emoscale.errors import InputError

CONCEPTS, ATTRIBUTES, RATERS = ["joy", "fear", "Ärger"], ["valence", "arousal"], ["p1", "p2", "p3", "p4"]
VALUES = np.random.default_rng(0).integers(1, 8, (4, 3, 2)).astype(float)
PAIRS = [(concept, attribute) for concept in CONCEPTS for attribute in ATTRIBUTES]


def lines(*rows, separator=","):
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


def by_attribute(names=("rater", "concept"), separator=","):
    rows = [[rater, concept, *VALUES[i, j]] for i, rater in enumerate(RATERS) for j, concept in enumerate(CONCEPTS)]
    return lines([*names, *ATTRIBUTES], *rows, separator=separator)


def long(names=("rater", "concept", "attribute", "rating")):
    rows = [
        [rater, concept, attribute, VALUES[i, CONCEPTS.index(concept), ATTRIBUTES.index(attribute)]]
        for i, rater in enumerate(RATERS)
        for concept, attribute in PAIRS
    ]
    return lines(names, *rows)


def wide(*header):
    return lines(*header, *([rater, *VALUES[i].ravel()] for i, rater in enumerate(RATERS)))


def qualtrics():
    """Three lines before the first answer, and columns that are no ratings."""
    before = ["StartDate", "Finished", "ResponseId"]
    return lines(
        [*before, *(f"Q{i}_1" for i in range(6))],
        ["Start Date", "Finished", "Response ID", *(f"How does it feel? - {c} - {a}" for c, a in PAIRS)],
        [*(f'"{{""ImportId"":""{name}""}}"' for name in before), *(f'"{{""ImportId"":""QID{i}""}}"' for i in range(6))],
        *(["2024-05-01 10:00:00", "True", rater, *VALUES[i].ravel()] for i, rater in enumerate(RATERS)),
    )


LAYOUTS = {
    "by attribute": by_attribute(),
    "other names": by_attribute(("Participant", "EMOTION")),
    "label and subject": by_attribute(("subject", "label")),
    "semicolons": by_attribute(separator=";"),
    "tabs": by_attribute(separator="\t"),
    "long": long(),
    "long, other names": long(("Subject_ID", "Emotion", "Scale", "Score")),
    "long, item and value": long(("participant", "label", "item", "value")),
    "two header lines": wide(["", *(c for c, _ in PAIRS)], ["rater", *(a for _, a in PAIRS)]),
    "merged cells": wide(["", "joy", "", "fear", "", "Ärger", ""], ["rater", *(a for _, a in PAIRS)]),
    "a corner": wide(["concept", *(c for c, _ in PAIRS)], ["participant", *(a for _, a in PAIRS)]),
    "attributes above": wide(["attribute", *(a for _, a in PAIRS)], ["rater", *(c for c, _ in PAIRS)]),
    "names with underscores": wide(["rater", *(f"{c}_{a}" for c, a in PAIRS)]),
    "attributes before concepts": wide(["rater", *(f"{a}.{c}" for c, a in PAIRS)]),
    "qualtrics": qualtrics(),
}


def write(folder, text, name="ratings.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def aligned(found):
    """The ratings in the order of the names above."""
    assert isinstance(found, RaterRatings)
    places = [
        [known.index(name) for name in names]
        for known, names in (
            (found.raters, RATERS),
            (found.concepts, CONCEPTS),
            (found.attributes, ATTRIBUTES),
        )
    ]
    assert found.ratings.shape == VALUES.shape
    return found.ratings[np.ix_(*places)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_recognised(tmp_path, layout):
    np.testing.assert_array_equal(aligned(read_ratings(write(tmp_path, LAYOUTS[layout]))), VALUES)


def test_means_have_no_raters(tmp_path):
    text = lines(["emotion", *ATTRIBUTES], *([c, *VALUES[:, i].mean(axis=0)] for i, c in enumerate(CONCEPTS)))
    found = read_ratings(write(tmp_path, text))
    assert found.are_means
    np.testing.assert_array_equal(found.ratings[0], VALUES.mean(axis=0))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_how_a_file_is_written_does_not_matter(tmp_path, encoding, separator):
    found = read_ratings(write(tmp_path, by_attribute(separator=separator), encoding=encoding))
    np.testing.assert_array_equal(aligned(found), VALUES)
    assert ("cp1252" in found.how, "semicolons" in found.how) == (encoding == "cp1252", separator == ";")


def test_decimal_commas(tmp_path):
    text = by_attribute(separator=";").replace(".0", ",25")
    found = read_ratings(write(tmp_path, text))
    np.testing.assert_array_equal(aligned(found), VALUES + 0.25)
    assert "decimal commas" in found.how
    (problem,) = problems_of(tmp_path, text.replace(",25", ".25", 1))
    assert "both with a comma" in problem
    (problem, *_) = problems_of(tmp_path, by_attribute().replace(".0", ",25"))
    assert "as if commas both separate the cells and stand in numbers" in problem


def test_excel(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in by_attribute().splitlines():
        book.active.append([float(cell) if cell[0].isdigit() else cell for cell in row.split(",")])
    path = tmp_path / "ratings.xlsx"
    book.create_sheet("empty")
    book.save(path)
    np.testing.assert_array_equal(aligned(read_ratings(path)), VALUES)
    book["empty"].append(["notes"])
    book.save(path)
    with pytest.raises(InputError, match="2 sheets are filled"):
        read_ratings(path)
    path.write_bytes(b"no zip")
    with pytest.raises(InputError, match="not an Excel file"):
        read_ratings(path)


def test_spss(tmp_path):
    pyreadstat = pytest.importorskip("pyreadstat")
    table = pd.DataFrame(
        [[i + 1.0, j + 1.0, *VALUES[i, j]] for i in range(4) for j in range(3)],
        columns=["participant", "emotion", *ATTRIBUTES],
    )
    path = tmp_path / "ratings.sav"
    labels = {"participant": dict(enumerate(RATERS, 1)), "emotion": dict(enumerate(CONCEPTS, 1))}
    pyreadstat.write_sav(table, str(path), variable_value_labels={**labels, "valence": {1.0: "bad", 7.0: "good"}})
    np.testing.assert_array_equal(aligned(read_ratings(path)), VALUES)
    path.write_bytes(b"no spss")
    with pytest.raises(InputError, match="not an SPSS file"):
        read_ratings(path)


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"pip install 'emoscale\[xlsx\]'"):
        read_ratings(write(tmp_path, "x", "ratings.xlsx"))


@pytest.mark.parametrize(
    ("factor", "scale"),
    [(1.0, "from 1 to 7"), (100 / 7, "from 0 to 100"), (9 / 7, "from 1 to 9"), (5 / 7, "from 0 to 10"), (90.0, "")],
)
def test_the_scale_is_the_first_that_holds_all(tmp_path, factor, scale):
    text = by_attribute()
    for value in np.unique(VALUES):
        text = text.replace(f",{value}", f",!{value * factor:.4f}")
    found = read_ratings(write(tmp_path, text.replace("!", "")))
    assert found.how.endswith(scale)


def test_a_slip_of_the_key_is_no_other_scale(tmp_path):
    text = "rater,concept,valence\n" + "".join(f"r{i},c{j},{1 + (i + j) % 9}\n" for i in range(10) for j in range(5))
    (problem,) = problems_of(tmp_path, text.replace("r3,c2,6", "r3,c2,66"))
    assert "line 19, column 'valence': 66 lies outside the scale 1 to 9" in problem
    (problem,) = problems_of(tmp_path, text, scale=(0, 3))
    assert "ratings lie outside the scale 0 to 3, all run from 1 to 9; give the right scale" in problem


def test_forms_of_a_name_are_one_name(tmp_path):
    """The file of the issue: three concepts, written in eight ways."""
    text = (
        "rater,concept,valence\n1,joy,7\n1,fear,2\n1,Ärger,3\n2,Joy,6\n2,fear\u200b,1\n2,A\u0308rger,4\n3,joy ,8\n"
        "3,FEAR,2\n3,ärger,3\n"
    )
    found = read_ratings(write(tmp_path, text))
    assert found.concepts == ["joy", "fear", "Ärger"]
    assert found.ratings[:, :, 0].tolist() == [[7, 2, 3], [6, 1, 4], [8, 2, 3]]
    (note,) = found.notes
    for clause in ("'Joy' as 'joy' (capitals)", "'fear\\u200b' as 'fear' (invisible characters)", "(Unicode form)"):
        assert clause in note


def test_a_rater_twice_in_two_forms_is_found(tmp_path):
    (problem,) = problems_of(tmp_path, by_attribute() + "P1,JOY,1,1\n")
    assert "line 14: p1, joy is already in line 2" in problem


def problems_of(folder, text, **options):
    with pytest.raises(InputError) as caught:
        read_ratings(write(folder, text), **options)
    assert all("\n" not in problem for problem in caught.value.problems)
    return caught.value.problems


def test_concepts_are_told_from_attributes(tmp_path):
    """By the names of the study, or by known ones; otherwise the first are taken and the reader is told."""
    text = wide(["rater", *(f"{a}_{c}" for c in ("uno", "due", "tre") for a in ("eins", "zwei"))])
    assert read_ratings(write(tmp_path, text), names=["Due", "tre", "uno"]).attributes == ["eins", "zwei"]
    (problem, *_) = problems_of(tmp_path, text)
    assert "2 concept(s); give ratings of at least 3" in problem
    text = wide(["rater", *(f"{c}_{a}" for c in ("uno", "due", "tre") for a in ("eins", "zwei"))])
    assert (
        "if these are the wrong way round, list the concepts in concepts.names"
        in read_ratings(write(tmp_path, text)).how
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("text,label\nI won,joy\nI lost,sad\n", "seems to be a table of texts"),
        ("id,question1,question2\n1,4,5\n2,3,4\n", "no column 'concept', and the columns (id, question1, question2)"),
        (by_attribute().replace("rater", "judge"), "seems to hold the ratings of several people"),
        (lines(["rater", *CONCEPTS], *([r, *VALUES[i, :, 0]] for i, r in enumerate(RATERS))), "name columns 'rater'"),
        ("rater,concept,valence,Valence\n1,a,2,3\n", "2 columns are named 'valence' but for capitals"),
        ("rater,concept,emotion,x\n1,a,b,2\n", "has both columns 'concept' and 'emotion'"),
    ],
)
def test_a_file_that_is_something_else(tmp_path, text, said):
    (problem,) = problems_of(tmp_path, text)
    assert said in problem


def test_many_problems_are_not_shown_one_by_one(tmp_path):
    rows = "".join(f"r{i},c{j},{'x' if j % 2 else 3},4\n" for i in range(40) for j in range(12))
    problems = problems_of(tmp_path, "rater,concept,valence,arousal\n" + rows + "r0,c0,3,4\n")
    assert len(problems) == 12
    assert "read as one row a rater and concept, and 241 things do not fit" in problems[0]
    assert "and 231 more" in problems[-1]
