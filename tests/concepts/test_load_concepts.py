import csv
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoscale.concepts.loading import load_concepts
from emoscale.concepts.options import BUILT_IN, ConceptOptions
from emoscale.errors import InputError, suggest
from emoscale.system.user_tables import parse_number

EMOTIONS = [
    "realization",
    "surprise",
    "admiration",
    "gratitude",
    "optimism",
    "approval",
    "pride",
    "excitement",
    "joy",
    "love",
    "amusement",
    "caring",
    "relief",
    "curiosity",
    "desire",
    "disgust",
    "disapproval",
    "anger",
    "annoyance",
    "confusion",
    "fear",
    "disappointment",
    "grief",
    "sadness",
    "nervousness",
    "embarrassment",
    "remorse",
]
ATTRIBUTES = [
    "arousal",
    "valence",
    "happy-face",
    "anger-face",
    "sad-face",
    "fear-face",
    "surprise-face",
    "disgust-face",
    "control",
    "fairness",
    "self-relativity",
    "other-relativity",
    "expectedness",
    "novelty",
]

COLOURS = "concept,warm,bright\nred,0.9,0.3\nblue,0.1,0.2\nyellow,0.7,1\ngrey,0.4,0.5\n"
PAIRS = [
    ("red", "blue", 3.0),
    ("red", "yellow", 1.0),
    ("red", "grey", 2.0),
    ("blue", "yellow", 5.0),
    ("blue", "grey", 0.0),
    ("yellow", "grey", 4.0),
]


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="own.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
        return str(path)

    return write_file


def load(attributes=BUILT_IN, dissimilarity=None, names=None):
    return load_concepts(ConceptOptions(attributes, dissimilarity, names))


def pair_table(pairs):
    return "concept_1,concept_2,dissimilarity\n" + "".join(f"{a},{b},{d}\n" for a, b, d in pairs)


def problems_of(**arguments):
    with pytest.raises(InputError) as caught:
        load(**arguments)
    assert caught.value.exit_code == 2
    assert all("\n" not in line for line in caught.value.problems)
    return caught.value.problems


def test_built_in_emotions_in_the_published_order():
    concepts = load()
    assert concepts.names == EMOTIONS
    assert concepts.attributes == ATTRIBUTES
    assert concepts.scores.shape == (27, 14)
    assert concepts.scores.dtype == np.float64
    assert concepts.dissimilarity.shape == (351,)
    np.testing.assert_array_equal(concepts.scores.min(axis=0), 0)
    np.testing.assert_array_equal(concepts.scores.max(axis=0), 1)


def test_built_in_values_are_the_published_ones():
    concepts = load()
    score = dict(zip(EMOTIONS, concepts.scores.tolist(), strict=True))
    assert score["realization"][:2] == [0.3512, 0.6157]
    assert score["gratitude"][2] == 0.9610
    assert concepts.dissimilarity[:2].tolist() == [3.8689, 5.4407]  # realization to surprise, to admiration


def test_people_weigh_the_attributes_as_published():
    # Li, Su et al. 2024; 4 decimals of the scores leave the third decimal of tau.
    stats = pytest.importorskip("scipy.stats")
    concepts = load()
    i, j = np.triu_indices(27, 1)
    for attribute, expected in {"happy-face": 0.605, "valence": 0.586, "fairness": 0.423, "arousal": -0.003}.items():
        scores = concepts.scores[:, ATTRIBUTES.index(attribute)]
        tau = stats.kendalltau(concepts.dissimilarity, np.abs(scores[i] - scores[j])).statistic
        assert tau == pytest.approx(expected, abs=0.002)


def test_names_pick_and_order():
    every, few = load(), load(names=["joy", "anger", "grief"])
    index = [EMOTIONS.index(name) for name in few.names]
    np.testing.assert_array_equal(few.scores, every.scores[index])
    square = np.zeros((27, 27))
    square[np.triu_indices(27, 1)] = every.dissimilarity
    square += square.T
    np.testing.assert_array_equal(few.dissimilarity, [square[index[a], index[b]] for a, b in ((0, 1), (0, 2), (1, 2))])


def test_own_attributes_have_no_dissimilarity_unless_given(write):
    concepts = load(write(COLOURS))
    assert concepts.names == ["red", "blue", "yellow", "grey"]
    assert concepts.attributes == ["warm", "bright"]
    np.testing.assert_array_equal(concepts.scores, [[0.9, 0.3], [0.1, 0.2], [0.7, 1], [0.4, 0.5]])
    assert concepts.dissimilarity is None


def test_the_concept_column_may_be_anywhere_and_cells_padded(write):
    concepts = load(write("warm, concept\n1, red\n\n2, blue\n-3e0, grey\n"))
    assert concepts.names == ["red", "blue", "grey"]
    assert concepts.scores.tolist() == [[1], [2], [-3]]


def test_byte_order_mark_is_not_part_of_the_header(write):
    assert load(write(COLOURS, encoding="utf-8-sig")).names[0] == "red"


@settings(max_examples=25)
@given(order=st.permutations(PAIRS), swapped=st.lists(st.booleans(), min_size=6, max_size=6))
def test_pairs_in_any_order_and_direction(tmp_path_factory, order, swapped):
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "a.csv").write_text(COLOURS)
    (folder / "d.csv").write_text(
        pair_table((b, a, d) if swap else (a, b, d) for (a, b, d), swap in zip(order, swapped, strict=True))
    )
    concepts = load(str(folder / "a.csv"), str(folder / "d.csv"))
    assert concepts.dissimilarity.tolist() == [d for _, _, d in PAIRS]


def test_pairs_follow_the_order_of_the_names(write):
    concepts = load(write(COLOURS), write(pair_table(PAIRS), "d.csv"), ["grey", "red", "yellow"])
    assert concepts.dissimilarity.tolist() == [2, 4, 1]  # grey-red, grey-yellow, red-yellow


def test_built_in_judgements_for_own_attributes_of_some_emotions(write):
    own = write("concept,size\njoy,1\nfear,2\ngrief,3\n")
    assert load(own).dissimilarity is None
    np.testing.assert_array_equal(
        load(own, "emotions").dissimilarity, load(names=["joy", "fear", "grief"]).dissimilarity
    )


def test_own_judgements_of_the_built_in_emotions(write):
    rows = [(a, b, 1 + i) for i, (a, b) in enumerate((a, b) for k, a in enumerate(EMOTIONS) for b in EMOTIONS[:k])]
    concepts = load(dissimilarity=write(pair_table(rows)))
    assert sorted(concepts.dissimilarity) == list(range(1, 352))


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("", "is empty"),
        ("nan", "holds 'nan'"),
        ("-NaN", "holds '-NaN'"),
        ("NA", "holds 'NA'"),
        ("inf", "holds 'inf'"),
        ("-Infinity", "holds '-Infinity'"),
        ("1e999", "holds '1e999'"),
        ("high", "holds 'high', which is not a number"),
        ("1_0", "holds '1_0', which is not a number"),
    ],
)
def test_bad_cell_is_named(write, cell, said):
    path = write(COLOURS.replace("blue,0.1", f"blue,{cell}"))
    (problem,) = problems_of(attributes=path)
    assert problem.startswith(f"{path}, line 3 (blue), column 'warm': ")
    assert said in problem


def test_parse_number_leaves_good_cells_alone():
    problems = []
    assert [parse_number(cell, "", problems) for cell in ("1", "-2.5", "+3e-2")] == [1, -2.5, 0.03]
    assert problems == []
    assert math.isnan(parse_number("x", "here", problems))
    assert len(problems) == 1


def test_all_problems_at_once(write):
    path = write("concept,warm,flat,warm,\nred,,1,0,1\nblue,x,1,1,2\nred,1,1,3,4\n,2,1,4,5\ngrey,1\ngreen,3,1,7,8\n")
    problems = problems_of(attributes=path, names=["red", "blue", "gren", "gren"])
    for said in (
        "line 1: 2 columns are named 'warm'",
        "1 column(s) without a name",
        "line 2 (red), column 'warm': is empty",
        "line 3 (blue), column 'warm': holds 'x'",
        "line 4: concept 'red' is already in line 2",
        "line 5, column 'concept': is empty",
        "line 6: has 2 cells, the header 5",
        "has no concept 'gren' (nearest: 'green')",
        "'gren' is listed 2 times",
    ):
        assert [line for line in problems if said in line], said
    assert len(problems) == 9


def test_constant_attribute(write):
    table = "concept,warm,flat\nred,1,2\nblue,2,2.0\ngrey,3,2\ngreen,4,5\n"
    assert load(write(table)).attributes == ["warm", "flat"]
    (problem,) = problems_of(attributes=write(table), names=["red", "blue", "grey"])
    assert "column 'flat': every concept has the same score" in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("\n\n , \n", "the file is empty"),
        ("concepts,warm\na,1\nb,2\nc,3\n", "no column 'concept' (nearest: 'concepts')"),
        ("id;x\na;1\n", "no column 'concept'; name one so in the header (it has 'id', 'x')"),
        ("concept,concept,x\na,b,1\n", "2 columns are 'concept'"),
        ("concept,Emotion,x\na,b,1\n", "2 columns are 'concept' ('concept', 'Emotion')"),
        ("concept\na\nb\nc\n", "no attribute columns"),
        ("concept,x\na,1\nb,2\n", "2 concept(s) to compare; give at least 3"),
        ("concept,x\n", "0 concept(s) to compare"),
        ('concept,x\n"a,1\nb,2\n', "not a CSV file"),
        (b"concept,x\n\x81a,1\n", "not a CSV file"),
        (b"PAR1\x00\x01\x02\x99", "not a CSV file"),
    ],
)
def test_bad_attribute_file(write, text, said):
    path = write(text)
    (problem,) = problems_of(attributes=path)
    assert problem.startswith(path)
    assert said in problem


def test_missing_file_and_folder(tmp_path):
    assert "no such file" in problems_of(attributes=str(tmp_path / "none.csv"))[0]
    assert "no such file" in problems_of(attributes=str(tmp_path))[0]


def test_unknown_built_in_concept_gets_the_nearest():
    problems = problems_of(names=["joy", "fear", "Angr", "zzz"])
    assert [line.split(": ", 1)[1].split(";")[0] for line in problems] == [
        "has no concept 'Angr' (nearest: 'anger')",
        "has no concept 'zzz'",
    ]


def test_nearest_ignores_case():
    assert suggest("JOI", ["joy", "fear"]) == " (nearest: 'joy')"
    assert suggest("qqq", ["joy", "fear"]) == ""
    assert suggest("joy", []) == ""


def test_all_problems_of_the_pairs_at_once(write):
    rows = [
        *PAIRS[:4],
        ("yellow", "red", 9),
        ("blue", "grey", -1),
        ("red", "red", 0),
        ("gray", "yellow", 1),
        ("red", "", 1),
    ]
    path = write(pair_table(rows), "d.csv")
    problems = problems_of(attributes=write(COLOURS), dissimilarity=path)
    for said in (
        "line 6 (yellow, red): the pair is already in line 3",
        "line 7 (blue, grey): dissimilarity -1 is negative",
        "line 8 (red, red): a concept paired with itself",
        "line 9 (gray, yellow): no attribute score for concept 'gray' (nearest: 'grey')",
        "line 10 (red, ): no attribute score for concept ''",
        "1 pair(s) missing (yellow, grey)",
    ):
        assert [line for line in problems if said in line and line.startswith(path)], said
    assert len(problems) == 6


@pytest.mark.parametrize("cell", ["", "nan", "inf", "far"])
def test_bad_dissimilarity_cell(write, cell):
    path = write(pair_table(PAIRS).replace("yellow,1.0", f"yellow,{cell}"), "d.csv")
    (problem,) = problems_of(attributes=write(COLOURS), dissimilarity=path)
    assert problem.startswith(f"{path}, line 3 (red, yellow), column 'dissimilarity'")


def test_many_missing_pairs_are_one_line(write):
    path = write(pair_table([("joy", "fear", 1)]))
    (problem,) = problems_of(dissimilarity=path, names=EMOTIONS[:21])
    assert "209 pair(s) missing (" in problem
    assert "and 204 more" in problem


def test_pairs_only_of_the_chosen_concepts_are_needed(write):
    path = write(pair_table(PAIRS[:1] + PAIRS[1:2] + PAIRS[3:4]), "d.csv")
    concepts = load(write(COLOURS), path, ["red", "blue", "yellow"])
    assert concepts.dissimilarity.tolist() == [3, 1, 5]


def test_missing_pair_column(write):
    text = pair_table(PAIRS).replace("dissimilarity", "similarity")
    assert (
        "seems to hold similarities (column 'similarity')"
        in (problems_of(attributes=write(COLOURS), dissimilarity=write(text, "d.csv"))[0])
    )


def test_reading_is_plain_csv(write):
    names = ["with, comma", 'with "quotes"', "plain"]
    path = write("")
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["concept", "x"], *([name, i] for i, name in enumerate(names))])
    assert load(path).names == names
