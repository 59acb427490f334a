"""Processes that share a model write complete chunks of their own neurons."""

from hypothesis import given
from hypothesis import strategies as st

from emoscale.extraction.options import ExtractionOptions
from emoscale.extraction.work import chunk_width


@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(1, 8), st.integers(1, 64))
def test_each_processs_neurons_are_complete_chunks(units, tp_size, most):
    width = chunk_width(ExtractionOptions(chunk_neurons=most), [tp_size * count for count in units], tp_size)
    assert 1 <= width <= most
    start = 0
    for count in units:
        edges = [start + part * count for part in range(tp_size + 1)]
        assert tp_size == 1 or all(edge % width == 0 for edge in edges)
        start += tp_size * count


def test_one_process_has_the_chunks_of_the_settings():
    assert chunk_width(ExtractionOptions(chunk_neurons=20), [24, 24], 1) == 20
