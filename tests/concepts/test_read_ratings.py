import numpy as np
import pytest

from emoscale.concepts.ratings import EventReports, RaterRatings, read_ratings
from emoscale.errors import InputError

RATINGS = """rater,concept,arousal,valence
r1,joy,7,9
r1,fear,8,2
r1,calm,1,7
r2,fear,9,1
r2,joy,6,8
r2,calm,2,6
"""
EVENTS = """event,emotion,item1,item2
e1,joy,7,9
e2,fear,,2
e3,calm,1,NA
e4,joy,6.5,8
"""


def write(folder, text, name="ratings.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def read(path, scale=(1, 9)):
    return read_ratings(path, scale)


def problems_of(path, **options):
    with pytest.raises(InputError) as caught:
        read(path, **options)
    return caught.value.problems


def test_ratings_by_rater(tmp_path):
    found = read(write(tmp_path, RATINGS))
    assert isinstance(found, RaterRatings)
    assert (found.raters, found.concepts, found.attributes) == (
        ["r1", "r2"],
        ["joy", "fear", "calm"],
        ["arousal", "valence"],
    )
    assert found.ratings.tolist() == [[[7, 9], [8, 2], [1, 7]], [[6, 8], [9, 1], [2, 6]]]


def test_reports_of_events(tmp_path):
    found = read(write(tmp_path, EVENTS))
    assert isinstance(found, EventReports)
    assert (found.events, found.concepts, found.items) == (
        ["e1", "e2", "e3", "e4"],
        ["joy", "fear", "calm"],
        ["item1", "item2"],
    )
    assert found.concept_of.tolist() == [0, 1, 2, 0]
    np.testing.assert_array_equal(found.answers, [[7, 9], [np.nan, 2], [1, np.nan], [6.5, 8]])


def test_columns_and_rows_may_come_in_any_order(tmp_path):
    header, *rows = RATINGS.splitlines()
    shuffled = [",".join(line.split(",")[::-1]) for line in [header, *rows[::-1]]]
    found, plain = read(write(tmp_path, "\n".join(shuffled))), read(write(tmp_path, RATINGS, "b.csv"))
    concepts = [found.concepts.index(name) for name in plain.concepts]
    attributes = [found.attributes.index(name) for name in plain.attributes]
    np.testing.assert_array_equal(found.ratings[::-1][:, concepts][:, :, attributes], plain.ratings)


def test_a_missing_rating_is_not_a_mistake(tmp_path):
    without_row = read(write(tmp_path, RATINGS.replace("r2,calm,2,6\n", "")))
    assert np.isnan(without_row.ratings[1, 2]).all()
    assert np.isnan(without_row.ratings).sum() == 2
    without_cell = read(write(tmp_path, RATINGS.replace("r2,calm,2,6", "r2,calm,,6")))
    assert np.isnan(without_cell.ratings).sum() == 1


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("r1,joy,7,9", "r1,joy,seven,9", "line 2, column 'arousal': holds 'seven', which is not a number"),
        ("r1,joy,7,9", "r1,joy,-99,9", "line 2, column 'arousal': -99 lies outside the scale 1 to 9"),
        ("r1,joy,7,9", "r1,joy,7,90", "line 2, column 'valence': 90 lies outside the scale 1 to 9"),
        ("r1,joy,7,9", "r1,joy,inf,9", "line 2, column 'arousal': holds 'inf'; give a finite number"),
        ("r1,joy,7,9", "r1,,7,9", "line 2, column 'concept': is empty; fill in the name"),
        ("r1,joy,7,9", ",joy,7,9", "line 2, column 'rater': is empty; fill in the name"),
        ("r1,joy,7,9", "r1,joy,7", "line 2: has 3 cells, the header 4"),
        ("r2,joy,6,8", "r2,fear,6,8", "line 6: r2, fear is already in line 5; keep one of them"),
        ("arousal,valence", "arousal,arousal", "2 columns are named 'arousal'"),
        (
            "rater,",
            "rated,",
            "('joy' comes 2 times), but no column says whose they are; add a column 'rater' (nearest: 'rated')",
        ),
        ("rater,concept", "rater,event", "has both a column 'rater' and a column 'event'"),
        ("rater,concept", "rater,konzept", "no column 'concept' (nearest: 'konzept')"),
        ("concept,arousal", "concept,emotion", "has both columns"),
        ("calm", "joyy", ""),
        ("r2", "r1 ", "is already in line"),
    ],
)
def test_a_bad_file_is_reported_with_its_place(tmp_path, old, new, expected):
    assert old in RATINGS
    path = write(tmp_path, RATINGS.replace(old, new))
    if not expected:
        assert read(path).concepts == ["joy", "fear", "joyy"]
        return
    problems = problems_of(path)
    assert any(expected in problem for problem in problems), problems
    assert all(problem.startswith(str(path)) and ";" in problem for problem in problems)


def test_all_problems_come_at_once_but_not_thousands(tmp_path):
    text = RATINGS.replace("7,9", "x,y").replace("9,1", "10,0")
    assert len(problems_of(write(tmp_path, text))) == 4
    rows = "".join(f"e{i},joy,{'bad' if i % 2 else 5}\n" for i in range(200))
    problems = problems_of(write(tmp_path, "event,concept,item\n" + rows))
    assert len(problems) == 11
    assert "and 91 more" in problems[-1]
    rows = "".join(f"e{i},joy,bad\n" for i in range(200))
    problems = problems_of(write(tmp_path, "event,concept,item\n" + rows))
    assert len(problems) == 2
    assert "column 'item': holds words in 200 of 200 cells, e.g. 'bad'" in problems[0]


def test_another_scale(tmp_path):
    path = write(tmp_path, RATINGS.replace("7,9", "70,100"))
    assert len(problems_of(path)) == 2
    assert read(path, scale=(0, 100)).ratings.max() == 100


def test_an_event_twice(tmp_path):
    problems = problems_of(write(tmp_path, EVENTS.replace("e4", "e2")))
    assert problems == [f"{tmp_path / 'ratings.csv'}, line 5: e2 is already in line 3; keep one of them"]


def test_too_few_to_compare(tmp_path):
    two_concepts = "".join(line for line in RATINGS.splitlines(keepends=True) if "calm" not in line)
    assert "2 concept(s); give ratings of at least 3" in problems_of(write(tmp_path, two_concepts))[0]
    one_rater = "".join(line for line in RATINGS.splitlines(keepends=True) if not line.startswith("r2"))
    assert "one rater only" in problems_of(write(tmp_path, one_rater))[0]
    nobody = RATINGS.replace("calm,1,7", "calm,,7").replace("calm,2,6", "calm,,6")
    assert "column 'arousal': nobody rated 'calm'" in problems_of(write(tmp_path, nobody))[0]
    assert "no attribute columns" in problems_of(write(tmp_path, "event,concept\na,b\n"))[0]
