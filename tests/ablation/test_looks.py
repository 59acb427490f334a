"""Items that are asked look by look, and masks that are asked no more."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emoscale.ablation.looks import LOOKS, Looks, first_look
from emoscale.ablation.options import AblationOptions
from emoscale.ablation.units import make_units
from emoscale.system.progress import Silent
from emoscale.system.ranks import Ranks, one_process
from emoscale.tasks.text_order import FEWEST_TEXTS

MASKS, OPTIONS = 7, 3


def make_items(texts, replicates=2):
    """Concept 0 has texts[0] texts, each asked about by every replicate."""
    rows = [
        (f"concept {concept}", str(replicate), 100 * concept + text)
        for concept, count in enumerate(texts)
        for replicate in range(replicates)
        for text in range(count)
    ]
    return pd.DataFrame(rows, columns=["concept", "replicate", "text"])


def true_scores(items, masks):
    return np.stack([100 * items[:, None] + masks[None, :] + 0.25 * option for option in range(OPTIONS)], axis=2)


class Run:
    """What is scored in a folder, call by call."""

    def __init__(self, folder, items, ended=(), *, per_unit=(5, 3), most=10**9):
        self.units = make_units(
            len(items), MASKS, AblationOptions(items_per_unit=per_unit[0], masks_per_unit=per_unit[1])
        )
        self.looks = Looks(folder, items, MASKS, OPTIONS, self.units, seed=3)
        self.ended, self.most, self.calls, self.judged = dict(ended), most, [], []

    def score(self, items, masks):
        if len(self.calls) == self.most:
            raise KeyboardInterrupt
        self.calls.append((items, masks))
        return true_scores(items, masks).astype(np.float32)

    def judge(self, asked, scores):
        self.judged.append((asked, np.concatenate(list(scores), axis=1)))
        return np.isin(np.arange(MASKS), self.ended.get(len(self.judged) - 1, []))

    def do(self, ranks=None):
        self.looks.score(self.score, self.judge, ranks or one_process(), Silent())
        return self.scores()

    def scores(self):
        count = self.units[-1].items[-1] + 1
        found = np.empty((count, MASKS, OPTIONS), np.float32)
        for unit in self.units:
            found[np.ix_(unit.items, unit.masks)] = self.looks.scores(unit)
        return found


@given(texts=st.lists(st.integers(1, 40), min_size=1, max_size=4), replicates=st.integers(1, 3), seed=st.integers(0, 9))
def test_every_concept_is_asked_about_in_shares(texts, replicates, seed):
    items = make_items(texts, replicates)
    look = first_look(items, seed)
    assert np.array_equal(look, first_look(items, seed))
    for number, share in enumerate(LOOKS):
        asked = items[look <= number].groupby(["concept", "replicate"]).size()
        expected = [min(max(np.ceil(share * count), FEWEST_TEXTS), count) for count in texts]
        assert asked.tolist() == np.repeat(expected, replicates).tolist()
    assert items.assign(look=look).groupby("text")["look"].nunique().eq(1).all()


def test_other_texts_come_first_with_another_seed():
    items = make_items([30])
    assert not np.array_equal(first_look(items, 0), first_look(items, 1))


def test_items_without_a_text_are_texts_of_their_own():
    items = make_items([16], 1).assign(text=-1)
    assert np.bincount(first_look(items, 0)).tolist() == [2, 2, 4, 8]


def test_masks_that_ended_are_asked_no_more(tmp_path):
    items = make_items([16, 9])
    run = Run(tmp_path, items, {0: [2], 1: [0, 6]})
    found, look = run.do(), first_look(items, 3)
    last = np.full(MASKS, len(LOOKS) - 1)
    last[[2, 0, 6]] = 0, 1, 1
    asked = look[:, None] <= last
    expected = np.where(asked[:, :, None], true_scores(np.arange(len(items)), np.arange(MASKS)), np.nan)
    assert np.array_equal(found, expected.astype(np.float32), equal_nan=True)
    assert sum(len(of) * len(under) for of, under in run.calls) == asked.sum()


def test_each_look_judges_what_has_been_asked(tmp_path):
    items = make_items([16, 9])
    run = Run(tmp_path, items, {0: [2]})
    run.do()
    look = first_look(items, 3)
    assert len(run.judged) == len(LOOKS) - 1
    for number, (asked, scores) in enumerate(run.judged):
        assert np.array_equal(asked, look <= number)
        expected = true_scores(np.flatnonzero(asked), np.arange(MASKS))
        expected[look[asked] > 0, 2] = np.nan
        assert np.array_equal(scores, expected, equal_nan=True)


@pytest.mark.parametrize("most", [0, 1, 5, 9])
def test_an_interrupted_run_ends_as_another(tmp_path, most):
    items, ended = make_items([16, 9]), {0: [2], 1: [0, 6]}
    whole = Run(tmp_path / "whole", items, ended)
    expected = whole.do()
    first = Run(tmp_path / "part", items, ended, most=most)
    with pytest.raises(KeyboardInterrupt):
        first.do()
    # The judgements that are kept are not made again.
    left = dict(enumerate(list(ended.values())[len(first.judged) :]))
    second = Run(tmp_path / "part", items, left)
    assert np.array_equal(second.do(), expected, equal_nan=True)
    assert len(first.calls) + len(second.calls) == len(whole.calls)
    assert len(first.judged) + len(second.judged) == len(LOOKS) - 1


@given(items_per_unit=st.integers(1, 60), masks_per_unit=st.integers(1, MASKS))
def test_units_make_no_difference(tmp_path_factory, items_per_unit, masks_per_unit):
    items, ended = make_items([16, 9]), {0: [2], 2: [5]}
    one, other = (tmp_path_factory.mktemp("looks") for _ in range(2))
    found = Run(one, items, ended, per_unit=(items_per_unit, masks_per_unit)).do()
    assert np.array_equal(found, Run(other, items, ended).do(), equal_nan=True)


def test_a_rank_does_its_own_units(tmp_path):
    items = make_items([2, 2])  # all are asked by the first look
    for rank in (1, 0):
        run = Run(tmp_path, items)
        run.looks.score(run.score, run.judge, Ranks(rank, 2, torch.device("cpu")), Silent())
        assert len(run.calls) == len(run.units[rank::2])
    assert np.array_equal(run.scores(), true_scores(np.arange(len(items)), np.arange(MASKS)).astype(np.float32))
    assert not run.judged
