"""Ratings in the settings of a study."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoscale.concepts.loading import load_concepts
from emoscale.concepts.options import ConceptOptions
from emoscale.config import make_settings
from emoscale.errors import InputError

RATINGS = """rater;concept;valence;arousal
a;Joy;9;7,5
a;fear;2;8
a;calm;7;1
b;joy;8;6
b;fear;1;9
b;calm;6;
c;joy;9;7
c;fear;2;8
c;calm;8;2
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text(RATINGS, encoding="utf-8")
    return str(path)


def test_ratings_take_the_place_of_attributes(path):
    found = load_concepts(ConceptOptions(ratings=[path]))
    assert found.names == ["Joy", "fear", "calm"]
    assert found.attributes == ["valence", "arousal"]
    np.testing.assert_allclose(found.scores, [[26 / 3, 20.5 / 3], [5 / 3, 25 / 3], [7, 1.5]])
    assert found.dissimilarity is None
    assert found.agreement["raters"].tolist() == [3, 3]
    assert found.agreement["icc_type"].tolist() == ["ICC(2,k)"] * 2
    assert [note.partition(": ")[0] for note in found.notes] == ["ratings.csv", "arousal"]
    assert "1 of 9 ratings are missing" in found.notes[1]


def test_reliability_is_that_of_the_concepts_that_are_used(tmp_path, path):
    more = tmp_path / "more.csv"
    more.write_text(RATINGS + "a;rage;1;9\nb;rage;9;1\nc;rage;5;5\n", encoding="utf-8")
    few = load_concepts(ConceptOptions(ratings=[str(more)], names=["calm", "joy", "fear"]))
    assert few.names == ["calm", "joy", "fear"]
    alone = load_concepts(ConceptOptions(ratings=[path])).agreement
    np.testing.assert_allclose(few.agreement["icc"], alone["icc"], rtol=1e-6)
    assert load_concepts(ConceptOptions(ratings=[str(more)])).agreement["icc"][0] < alone["icc"][0] - 0.05
    with pytest.raises(InputError, match=r"has no concept 'clam'.*nearest: 'calm'") as caught:
        load_concepts(ConceptOptions(ratings=[str(more)], names=["clam", "joy", "fear"]))
    assert len(caught.value.problems) == 1


def test_several_files_have_one_reliability_table(tmp_path, path):
    other = tmp_path / "faces.csv"
    rows = [(who, name, level) for who in "xyzw" for name, level in (("CALM", 2), ("joy", 9), ("fear", 4))]
    pd.DataFrame(rows, columns=["participant", "emotion", "smile"]).to_csv(other, index=False)
    found = load_concepts(ConceptOptions(ratings=[path, str(other)], names=["joy", "calm", "fear"]))
    assert found.attributes == ["valence", "arousal", "smile"]
    assert found.scores[:, 2].tolist() == [9, 2, 4]
    assert found.agreement["raters"].tolist() == [3, 3, 4]


def test_attributes_on_which_raters_do_not_agree_are_named(tmp_path):
    noise = np.random.default_rng(0).integers(1, 10, (6, 5))
    rows = [(f"r{i}", f"c{j}", noise[i, j], 1 + j) for i in range(6) for j in range(5)]
    path = tmp_path / "noise.csv"
    pd.DataFrame(rows, columns=["rater", "concept", "noise", "level"]).to_csv(path, index=False)
    (note,) = load_concepts(ConceptOptions(ratings=[str(path)])).notes
    assert note.startswith("noise: raters do not agree on how the concepts differ (ICC(2,k) ")


@pytest.mark.parametrize("given", ["a.csv", ["a.csv", "b.csv"]])
def test_one_file_needs_no_list(given):
    concepts = make_settings({"model": {"name": "x"}, "concepts": {"ratings": given, "scale": [0, 100]}}).concepts
    names = [given] if isinstance(given, str) else given
    assert [Path(path).name for path in concepts.ratings] == names
    assert ConceptOptions(ratings=given).ratings == names
    assert concepts.scale == (0, 100)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ratings": "a.csv", "attributes": "b.csv"}, "are both set"),
        ({"ratings": []}, "names no file"),
        ({"scale": [1, 9]}, "concepts.scale is that of concepts.ratings"),
        ({"ratings": "a.csv", "scale": [9, 1]}, "write the lowest value first"),
    ],
)
def test_settings_that_contradict_each_other(given, said):
    with pytest.raises(InputError, match=said):
        make_settings({"model": {"name": "x"}, "concepts": given})
