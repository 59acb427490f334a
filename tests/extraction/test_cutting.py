"""Stores are cut into few large files, and processes that share a model write complete ones."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from emoscale.extraction.cutting import LARGE_BLOCK, LARGE_FILE, LARGE_STORE, MOST_FILES, SMALL_FILE, Cut, cut_store
from emoscale.extraction.options import ExtractionOptions
from emoscale.store.types import STORED_TYPES
from emoscale.system.ranks import Ranks


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(1, 8), st.integers(1, 64), st.integers(1, 9000)
)
def test_each_processs_neurons_are_complete_files(units, tp_size, most, rows):
    cut = cut_store(ExtractionOptions(chunk_neurons=most), rows, [tp_size * count for count in units], tp_size)
    assert 1 <= cut.chunk_neurons <= most
    assert cut.file_neurons % cut.chunk_neurons == cut.block_rows % cut.chunk_rows == 0
    start = 0
    for count in units:
        edges = [start + part * count for part in range(tp_size + 1)]
        assert tp_size == 1 or all(edge % cut.file_neurons == 0 for edge in edges)
        start += tp_size * count


@given(st.sampled_from(sorted(STORED_TYPES)), st.integers(1, 10**9), st.integers(1, 300), st.integers(1, 30_000))
def test_files_are_neither_small_nor_many(dtype, rows, layers, width):
    options, neurons = ExtractionOptions(dtype=dtype), layers * width
    cut, row = cut_store(options, rows, [width] * layers), neurons * STORED_TYPES[dtype].itemsize
    file = cut.block_rows * min(cut.file_neurons, neurons) * STORED_TYPES[dtype].itemsize
    chunk = cut.chunk_rows * cut.chunk_neurons * STORED_TYPES[dtype].itemsize
    assert file <= max(LARGE_FILE, cut.block_rows // cut.chunk_rows * chunk)
    assert cut.block_rows == 1024 or cut.block_rows * row <= LARGE_BLOCK
    if rows * row > LARGE_STORE and 2 * cut.block_rows * row <= LARGE_BLOCK:
        assert file >= SMALL_FILE
        assert cut.blocks(rows) * -(-neurons // cut.file_neurons) <= MOST_FILES


def test_a_million_rows_of_a_model_of_8_billion_weights():
    for dtype in STORED_TYPES:
        cut = cut_store(ExtractionOptions(dtype=dtype), 10**6, [14336] * 32)
        files = cut.blocks(10**6) * -(-32 * 14336 // cut.file_neurons)
        assert files <= MOST_FILES
        assert cut.block_rows * cut.file_neurons * STORED_TYPES[dtype].itemsize >= SMALL_FILE


def test_the_settings_decide():
    cut = cut_store(ExtractionOptions(chunk_neurons=20, block_rows=7), 10**9, [24, 24])
    assert (cut.block_rows, cut.chunk_rows, cut.chunk_neurons, cut.file_neurons) == (7, 7, 20, 60)


@given(st.integers(1, 5000), st.integers(1, 20_000))
def test_blocks_of_any_size_are_complete_chunks(block_rows, rows):
    cut = cut_store(ExtractionOptions(block_rows=block_rows), rows, [24, 24])
    assert cut.block_rows == block_rows
    assert block_rows % cut.chunk_rows == 0


@given(st.integers(1, 5000))
def test_moments_have_files_that_are_parts_of_those_of_rows(cells):
    cut = cut_store(ExtractionOptions(), 10**6, [14336] * 32)
    width = cut.file_of_moments(cells)
    assert cut.file_neurons % width == width % cut.chunk_neurons == 0
    assert width == cut.chunk_neurons or width * cells * 8 <= 2**25


@given(st.integers(1, 3000), st.integers(1, 40), st.integers(1, 512), st.integers(1, 512))
def test_the_busiest_rank_is_the_one_that_gets_most_shares(rows, block_rows, most_shares, ranks):
    cut = Cut(block_rows, block_rows, 1, 1)
    starts = np.arange(0, rows, block_rows)
    shares = np.array_split(starts, min(most_shares, len(starts)))
    sizes = [sum(min(block_rows, rows - int(start)) for start in blocks) for blocks in shares]
    own = [sum(Ranks(rank, ranks, torch.device("cpu")).own(sizes)) for rank in range(ranks)]
    assert sum(own) == rows
    assert cut.busiest_rows(rows, len(shares), ranks) == max(own)
