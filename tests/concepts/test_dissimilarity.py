"""The layouts of people's dissimilarities."""

import numpy as np
import pytest

from emoscale.concepts.dissimilarity import read_dissimilarity
from emoscale.concepts.loading import load_concepts
from emoscale.concepts.options import ConceptOptions
from emoscale.errors import InputError

NAMES = ["joy", "fear", "Ärger"]
MATRICES = np.array([[[0, 4, 5], [4, 0, 1], [5, 1, 0]], [[0, 6, 4], [6, 0, 2], [4, 2, 0]]], dtype=float)
PAIRS = ((0, 1), (0, 2), (1, 2))


def square(matrix, separator=","):
    rows = [separator.join([name, *map(str, row)]) for name, row in zip(NAMES, matrix, strict=True)]
    return "\n".join([separator.join(["", *NAMES]), *rows])


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def read(path):
    return read_dissimilarity(path, NAMES, NAMES)


def problems_of(path):
    with pytest.raises(InputError) as caught:
        read(path)
    return caught.value.problems


def test_a_square_matrix(tmp_path):
    found = read(write(tmp_path / "d.csv", square(MATRICES[0])))
    assert found.mean.tolist() == [4, 5, 1]
    assert found.participants is None
    shuffled = np.array([["", "ÄRGER", "Joy", "fear"], ["fear", 1, 4, 0], ["joy", 5, 0, 4], ["Ärger", 0, 5, 1]])
    text = "\n".join(";".join(row) for row in shuffled)
    assert read(write(tmp_path / "e.csv", text)).mean.tolist() == [4, 5, 1]


def test_half_a_matrix(tmp_path):
    text = ",joy,fear,Ärger\njoy,,,\nfear,4,,\nÄrger,5,1,\n"
    assert read(write(tmp_path / "d.csv", text)).mean.tolist() == [4, 5, 1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("joy,0.0,4.0", "joy,0.0,4.5", "not symmetric: 'fear' and 'joy' differ by 4 one way and 4.5 the other"),
        ("joy,0.0", "joy,2.0", "the diagonal of 'joy' is 2"),
        ("joy,0.0,4.0", "joy,0.0,-4.0", "dissimilarity -4.0 is negative"),
        ("joy,0.0,4.0", "joy,0.0,x", "holds 'x', which is not a number"),
        ("\njoy", "\njou", "has a column 'joy' but no such row"),
        (",joy,fear,Ärger", "a,b,c,d", "nor a square matrix"),
        (",joy,fear,Ärger", "1,2,3,4", "matrix of numbers without names"),
    ],
)
def test_a_matrix_that_is_none(tmp_path, old, new, said):
    text = square(MATRICES[0])
    assert old in text
    assert any(said in problem for problem in problems_of(write(tmp_path / "d.csv", text.replace(old, new))))


def test_similarities_are_not_taken_for_dissimilarities(tmp_path):
    (problem,) = problems_of(write(tmp_path / "d.csv", square(6 - MATRICES[0])))
    assert "seems to hold similarities" in problem


def long_table(values):
    rows = [
        f"{who},{NAMES[i]},{NAMES[j]},{values[number][i, j] if values[number][i, j] >= 0 else ''}"
        for number, who in enumerate("abcd"[: len(values)])
        for i, j in PAIRS
    ]
    return "\n".join(["Participant,emotion1,emotion2,rating", *rows])


def test_one_matrix_a_participant(tmp_path):
    folder = tmp_path / "people"
    folder.mkdir()
    for number, matrix in enumerate(MATRICES):
        write(folder / f"p{number}.csv", square(matrix))
    for path in (folder, write(tmp_path / "long.csv", long_table(MATRICES))):
        found = read(path)
        assert found.mean.tolist() == [5, 4.5, 1.5]
        assert found.participants.tolist() == [[4, 5, 1], [6, 4, 2]]
        assert found.people == 2


def test_participants_who_skipped_a_pair_count_in_the_mean_alone(tmp_path):
    some = MATRICES[0].copy()
    some[0, 1] = -1
    flat = np.full((3, 3), 3.0)
    found = read(write(tmp_path / "long.csv", long_table([*MATRICES, some, flat])))
    assert found.mean.tolist() == [pytest.approx(13 / 3), 17 / 4, 7 / 4]
    assert found.participants.shape == (2, 3)
    assert found.people == 4
    assert ["lack a judgement" in found.notes[0], "judged every pair the same" in found.notes[1]] == [True, True]


def test_participants_without_a_column_that_names_them(tmp_path):
    text = "\n".join(line.split(",", 1)[1] for line in long_table(MATRICES).splitlines())
    assert "seems to hold the judgements of several people" in problems_of(write(tmp_path / "d.csv", text))[0]


def test_a_constant_dissimilarity_is_refused(tmp_path):
    text = "concept_1,concept_2,dissimilarity\njoy,fear,0.3\njoy,Ärger,0.30000000000000004\nfear,Ärger,0.3\n"
    (problem,) = problems_of(write(tmp_path / "d.csv", text))
    assert "every pair has the same dissimilarity" in problem


def test_scores_that_differ_by_rounding_are_the_same(tmp_path):
    table = write(tmp_path / "a.csv", "concept,x,y\na,.3,1\nb,.30000000000000004,2\nc,.3,3\n")
    with pytest.raises(InputError, match="column 'x': every concept has the same score"):
        load_concepts(ConceptOptions(str(table)))


def test_names_in_another_form_are_found(tmp_path):
    table = write(tmp_path / "a.csv", "Emotion;x\nJoy;1\nÄrger;2,5\nfear;3\n")
    found = load_concepts(ConceptOptions(str(table), names=["joy", "a\u0308rger", "fear"]))
    assert found.names == ["joy", "ärger", "fear"]
    assert found.scores[:, 0].tolist() == [1, 2.5, 3]
    assert "'joy' as 'Joy' (capitals)" in found.notes[0]
    with pytest.raises(InputError, match=r"'Arger'.*which differs in accents"):
        load_concepts(ConceptOptions(str(table), names=["joy", "Arger", "fear"]))


def test_raw_ratings_are_not_scores(tmp_path):
    table = write(tmp_path / "a.csv", "rater,concept,x\n1,a,1\n1,b,2\n1,c,4\n2,a,1\n2,b,3\n2,c,4\n")
    with pytest.raises(InputError, match=r"give it as concepts\.ratings"):
        load_concepts(ConceptOptions(str(table)))
