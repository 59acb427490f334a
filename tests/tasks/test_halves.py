"""Halves of the items share no text, and are balanced."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from emoscale.tasks.halves import halves


def table(concepts, texts, replicates, each_other=False):
    """As many texts a concept, each in every template; or each asked about every concept, right or wrong."""
    rows = []
    for replicate in range(replicates):
        for concept in range(concepts):
            asked = range(concepts * texts) if each_other else range(concept * texts, (concept + 1) * texts)
            for text in asked:
                right = int(text // texts == concept) if each_other else concept
                rows.append({"concept": str(concept), "replicate": str(replicate), "right": right, "text": text})
    return pd.DataFrame(rows)


@given(st.integers(1, 6), st.integers(1, 7), st.integers(1, 3), st.booleans())
def test_halves_share_no_text_and_are_balanced(concepts, texts, replicates, each_other):
    items = table(concepts, texts, replicates, each_other)
    items["half"] = halves(items)
    of_text = items[["text", "half"]].drop_duplicates()["half"]
    assert len(of_text) == concepts * texts
    assert abs(np.count_nonzero(of_text) * 2 - len(of_text)) <= 1
    by_concept = items.assign(own=items["text"] // texts).drop_duplicates("text").groupby("own")["half"]
    assert (by_concept.nunique() == min(texts, 2)).all()
    assert ((by_concept.sum() * 2 - texts).abs() <= 1).all()


def test_answers_of_both_kinds_are_in_both_halves():
    # Right and wrong alternate: cutting by turns would put all that are right into one half.
    items = pd.DataFrame({"concept": "joy", "right": [1, 0] * 6, "text": range(12)})
    found = items.assign(half=halves(items)).groupby(["right", "half"]).size()
    assert found.tolist() == [3, 3, 3, 3]


def test_items_without_a_text_are_texts_of_their_own():
    items = pd.DataFrame({"concept": ["joy", "joy", "fear", "fear"], "right": 0, "text": -1})
    assert sorted(halves(items)[:2]) == sorted(halves(items)[2:]) == [0, 1]


def test_single_texts_are_shared_out_over_the_concepts():
    assert halves(table(6, 1, 1)).tolist() == [0, 1, 0, 1, 0, 1]
    assert halves(table(1, 1, 3)).tolist() == [0, 0, 0]
