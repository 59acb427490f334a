"""Which inputs share a forward pass, and how they are padded and read."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emoscale.errors import InputError
from emoscale.extraction.batches import PADDING, batches_of, pad
from emoscale.extraction.reading import reader, tokens_read

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60)


def starts(counts):
    return np.concatenate([[0], np.cumsum(counts)])


@given(LENGTHS, st.integers(1, 50), st.integers(1, 20), st.booleans())
def test_every_row_is_read_once_and_little_is_padding(lengths, block_rows, batch_rows, each):
    lengths = np.array(lengths)
    first, stop = np.zeros_like(lengths), lengths
    row_of = starts(lengths if each else np.ones_like(lengths))
    seen = []
    for start in range(0, row_of[-1], block_rows):
        end = min(start + block_rows, row_of[-1])
        for batch in batches_of(lengths, first, stop, row_of, start, end, batch_rows):
            own = lengths[batch.inputs]
            assert len(own) <= batch_rows
            assert 1 - own.sum() / (own.max() * len(own)) <= PADDING + 1e-12
            assert ((batch.rows >= start) & (batch.rows < end)).all()
            count = (batch.stop - batch.first).sum() if each else len(own)
            assert len(batch.rows) == count
            for number, from_, to in zip(batch.inputs, batch.first, batch.stop, strict=True):
                seen += [(number, token) for token in range(from_, to)]
    assert sorted(seen) == [(number, token) for number, length in enumerate(lengths) for token in range(length)]


@given(LENGTHS, st.integers(1, 50), st.integers(1, 20))
def test_rows_belong_to_the_tokens_read(lengths, block_rows, batch_rows):
    """The k-th vector read of a batch is that of its k-th row."""
    lengths = np.array(lengths)
    row_of = starts(lengths)
    for start in range(0, row_of[-1], block_rows):
        end = min(start + block_rows, row_of[-1])
        for batch in batches_of(lengths, np.zeros_like(lengths), lengths, row_of, start, end, batch_rows):
            tokens = [
                (number, token)
                for number, first, stop in zip(batch.inputs, batch.first, batch.stop, strict=True)
                for token in range(first, stop)
            ]
            assert [row_of[number] + token for number, token in tokens] == batch.rows.tolist()


@given(st.lists(st.tuples(st.integers(1, 9), st.data()), min_size=1, max_size=6), st.sampled_from(["right", "left"]))
def test_reading_never_touches_padding(rows, side):
    lengths = [length for length, _ in rows]
    first = np.array([data.draw(st.integers(0, length - 1)) for length, data in rows])
    stop = np.array([data.draw(st.integers(f + 1, length)) for f, (length, data) in zip(first, rows, strict=True)])
    ids, attention = pad([list(range(1, length + 1)) for length in lengths], 0, side)
    assert attention.sum(dim=1).tolist() == lengths
    assert (ids > 0).equal(attention.bool())
    width = ids.shape[1]
    offsets = width - np.array(lengths) if side == "left" else np.zeros(len(lengths), dtype=int)
    values = torch.where(attention.bool(), ids, 1000).float()[..., None].repeat(1, 1, 3)
    count, read = reader(first, stop, offsets, width, each=True)
    assert read(values)[:, 0].tolist() == [t + 1 for f, s in zip(first, stop, strict=True) for t in range(f, s)]
    assert count == (stop - first).sum()
    count, read = reader(first, stop, offsets, width, each=False)
    assert count == len(lengths)
    expected = [np.mean(np.arange(f, s) + 1) for f, s in zip(first, stop, strict=True)]
    np.testing.assert_allclose(read(values)[:, 1], expected, rtol=1e-6)


def test_what_is_read():
    ids = [5, 9, 7, 9, 8]
    assert tokens_read("first", ids) == (0, 1)
    assert tokens_read("last", ids) == (4, 5)
    assert tokens_read("mask", ids, mask_id=9) == (1, 2)
    assert tokens_read("concept-last", ids, concept=(1, 3)) == (2, 3)
    assert tokens_read("concept-mean", ids, concept=(1, 3)) == (1, 3)
    assert tokens_read("mean", ids) == tokens_read("all", ids) == (0, 5)


def test_what_cannot_be_read():
    with pytest.raises(InputError, match="no mask token"):
        tokens_read("mask", [1, 2], mask_id=None)
    with pytest.raises(InputError, match="only templates say"):
        tokens_read("concept-mean", [1, 2])
