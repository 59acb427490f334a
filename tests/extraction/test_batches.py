"""Which inputs share a forward pass, and how their tokens are pooled."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emoscale.errors import InputError
from emoscale.extraction.batches import MOST_PADDING, batches_of, pooler
from emoscale.extraction.pooling import POOLINGS
from emoscale.models.packing import pad_rows

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60)


def starts(counts):
    return np.concatenate([[0], np.cumsum(counts)])


@given(LENGTHS, st.integers(1, 50), st.integers(1, 20), st.booleans())
def test_every_row_is_computed_once_and_little_is_padding(lengths, block_rows, batch_rows, each):
    lengths = np.array(lengths)
    first, stop = np.zeros_like(lengths), lengths
    row_of = starts(lengths if each else np.ones_like(lengths))
    seen = []
    for start in range(0, row_of[-1], block_rows):
        end = min(start + block_rows, row_of[-1])
        for batch in batches_of(lengths, first, stop, row_of, slice(start, end), batch_rows):
            own = lengths[batch.inputs]
            assert len(own) <= batch_rows
            assert 1 - own.sum() / (own.max() * len(own)) <= MOST_PADDING + 1e-12
            assert ((batch.rows >= start) & (batch.rows < end)).all()
            count = (batch.stop - batch.first).sum() if each else len(own)
            assert len(batch.rows) == count
            for number, from_, to in zip(batch.inputs, batch.first, batch.stop, strict=True):
                seen += [(number, token) for token in range(from_, to)]
    assert sorted(seen) == [(number, token) for number, length in enumerate(lengths) for token in range(length)]


@given(LENGTHS, st.integers(1, 50), st.integers(1, 20))
def test_rows_belong_to_the_tokens_used(lengths, block_rows, batch_rows):
    """The k-th vector of a batch is that of its k-th row."""
    lengths = np.array(lengths)
    row_of = starts(lengths)
    for start in range(0, row_of[-1], block_rows):
        end = min(start + block_rows, row_of[-1])
        for batch in batches_of(lengths, np.zeros_like(lengths), lengths, row_of, slice(start, end), batch_rows):
            tokens = [
                (number, token)
                for number, first, stop in zip(batch.inputs, batch.first, batch.stop, strict=True)
                for token in range(first, stop)
            ]
            assert [row_of[number] + token for number, token in tokens] == batch.rows.tolist()


@given(st.lists(st.tuples(st.integers(1, 9), st.data()), min_size=1, max_size=6))
def test_pooling_never_uses_padding(rows):
    lengths = [length for length, _ in rows]
    first = np.array([data.draw(st.integers(0, length - 1)) for length, data in rows])
    stop = np.array([data.draw(st.integers(f + 1, length)) for f, (length, data) in zip(first, rows, strict=True)])
    ids, attention = pad_rows([list(range(1, length + 1)) for length in lengths], pad_id=0)
    values = torch.where(attention.bool(), ids, 1000).float()[..., None].repeat(1, 1, 3)
    each = pooler(first, stop, ids.shape[1], each=True)(values)
    assert each[:, 0].tolist() == [t + 1 for f, s in zip(first, stop, strict=True) for t in range(f, s)]
    means = pooler(first, stop, ids.shape[1], each=False)(values)
    expected = [np.mean(np.arange(f, s) + 1) for f, s in zip(first, stop, strict=True)]
    np.testing.assert_allclose(means[:, 1], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "span"),
    [
        ("first", (0, 1)),
        ("last", (4, 5)),
        ("mask", (1, 2)),
        ("concept-last", (2, 3)),
        ("concept-mean", (1, 3)),
        ("mean", (0, 5)),
        ("all", (0, 5)),
    ],
)
def test_tokens_of_every_pooling(name, span):
    assert POOLINGS[name].tokens([5, 9, 7, 9, 8], mask_id=9, concept=(1, 3)) == span


def test_every_pooling_is_tested():
    assert {name for name, _ in test_tokens_of_every_pooling.pytestmark[0].args[1]} == POOLINGS.keys()


def test_impossible_poolings():
    for mask_id in (None, 9):
        with pytest.raises(InputError, match="no mask token"):
            POOLINGS["mask"].tokens([1, 2], mask_id)
    for name in ("concept-last", "concept-mean"):
        with pytest.raises(InputError, match=name):
            POOLINGS[name].tokens([1, 2])
