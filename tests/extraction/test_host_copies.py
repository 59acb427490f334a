"""Batches are copied into their rows of a block, from the CPU and from a GPU."""

import pytest
import torch

from emoscale.extraction.writing import HostCopies

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("device", DEVICES)
def test_every_batch_is_in_its_rows(device, dtype):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    generator = torch.Generator().manual_seed(0)
    expected = torch.randn(50, 7, generator=generator)
    order, block, copies = torch.randperm(50, generator=generator), torch.empty(50, 7, dtype=dtype), HostCopies()
    sizes = [3, 9, 1, 20, 17]  # buffers grow, and are used again
    for rows in order.split(sizes):
        copies.put(expected[rows].to(device), block, rows)
    copies.finish(block)
    assert torch.equal(block, expected.to(dtype))
    copies.put(2 * expected[:4].to(device), block, torch.arange(4))
    copies.finish(block)
    assert torch.equal(block[:4], (2 * expected[:4]).to(dtype))
