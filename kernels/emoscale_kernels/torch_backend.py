"""Kernels on a GPU, with the names and signatures of `emoscale_kernels.numba_backend`.

Kendall's numerators are the signs of all comparisons of neurons times those of attributes, one matrix product. Signs
are -1, 0 and 1, which every matrix unit multiplies exactly, and sums of up to 2^24 of them are exact in single
precision; so the integers are those of the processor. Null values are counted on the GPU too: transferring them would
take longer than computing them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from emoscale_kernels.kendall import NullCounts, Patterns, Rdms, count_followers, permuted_patterns

Integers = NDArray[np.int64]

_EXACT = 2**24
_COMPARISONS = 8192
"""Comparisons that are multiplied at a time."""
_PATTERNS = 4096
"""Permuted patterns that are multiplied with at a time, about."""


def available() -> bool:
    """Whether this process can use a GPU."""
    return torch.cuda.is_available()


def null_counts(rdms: Rdms, patterns: Patterns, orders: Integers) -> tuple[Integers, NullCounts]:
    """Compare neurons with attributes under their own and under permuted labels.

    Parameters
    ----------
    rdms : Rdms
        Of n neurons; packed comparisons are not needed.
    patterns : Patterns
        Of A attributes over the same pairs.
    orders : ndarray of int64, shape (B, C)
        Permutations of the concepts.

    Returns
    -------
    true : ndarray of int64, shape (n, A)
        Numerators under the true labels.
    counts : NullCounts
        Its integers and largest values are those of the processor; sums are added in another order.
    """
    # Without a GPU the same code runs on the processor, which only tests ask for.
    device = "cuda" if available() else "cpu"
    A, B = len(patterns.ties), len(orders)
    total = patterns.pairs * (patterns.pairs - 1) // 2
    with _stream(device), _matrix_units(), torch.no_grad():
        keys = _moved(rdms.keys[:, : patterns.pairs], device)
        neuron = _moved(np.sqrt(total - rdms.ties[:, 0]), device)
        attribute = _moved(np.sqrt(total - patterns.ties[:, 0]), device)
        true = sign_products(keys, _moved(patterns.ranks, device))
        reached = torch.zeros_like(true, dtype=torch.int64)
        sums = torch.zeros((3, *true.shape), dtype=torch.float64, device=device)
        highest = torch.full((B, A), -torch.inf, dtype=torch.float64, device=device)
        # One below the true numerator, so that a permutation that equals it takes the true labels' place.
        largest, largest_under = true - 1, torch.zeros_like(reached)
        together = max(1, _PATTERNS // max(1, A))
        for first in range(0, B, together):
            some = orders[first : first + together]
            permuted = permuted_patterns(patterns._replace(signs=None, masks=None), some)
            null = sign_products(keys, _moved(permuted.ranks, device)).reshape(len(keys), len(some), A)
            # Divided in the order of tau_b, so that equal numerators give equal values; NaN where one is constant.
            tau = (null.double() / neuron[:, None, None] / attribute).clamp(-1.0, 1.0)
            known = ~tau.isnan()
            reached += ((null >= true[:, None, :]) & known).sum(dim=1)
            value = tau.nan_to_num(0.0)
            for power in range(3):
                sums[power] += (value ** (power + 1)).sum(dim=1)
            if len(keys):
                highest[first : first + together] = tau.nan_to_num(-torch.inf).amax(dim=0)
            _track_largest(null, first, largest, largest_under)
        followers = count_followers(largest_under.cpu().numpy(), np.outer(neuron.cpu(), attribute.cpu()) > 0, 1 + B)
        counts = NullCounts(reached.cpu().numpy(), sums.cpu().numpy(), highest.cpu().numpy(), followers)
        return true.cpu().numpy().astype(np.int64), counts


def _track_largest(null: torch.Tensor, first: int, largest: torch.Tensor, largest_under: torch.Tensor) -> None:
    found, place = null.max(dim=1)  # of equal ones, the first
    larger = found > largest
    largest[larger] = found[larger]
    largest_under[larger] = 1 + first + place[larger]


def sign_products(keys: torch.Tensor, ranks: torch.Tensor) -> torch.Tensor:
    """Count concordant minus discordant comparisons.

    Parameters
    ----------
    keys : Tensor of int32, shape (n, P)
        Integers from 0 in the order of the neurons' distances.
    ranks : Tensor of int32, shape (A, P)
        In the order of the attributes' distances.

    Returns
    -------
    Tensor, shape (n, A)
        Whole numbers; float32 where all sums are exact in it, else float64.
    """
    P = keys.shape[1]
    first, second = torch.triu_indices(P, P, 1, device=keys.device)
    exact = torch.float32 if len(first) < _EXACT else torch.float64
    result = torch.zeros((len(keys), len(ranks)), dtype=exact, device=keys.device)
    for start in range(0, len(first), _COMPARISONS):
        i, j = first[start : start + _COMPARISONS], second[start : start + _COMPARISONS]
        result += (_signs(keys, i, j) @ _signs(ranks, i, j).T).to(exact)
    return result


def _signs(values: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
    return (values[:, i] - values[:, j]).sign_().float()


def _moved(array: NDArray[np.generic], device: str) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.startswith("cuda") else tensor.to(device)


def _stream(device: str) -> torch.cuda.StreamContext | nullcontext[None]:
    # A stream for each block: one block's copies go on while another's products are made.
    if not device.startswith("cuda"):
        return nullcontext()
    return torch.cuda.stream(torch.cuda.Stream(device=device))  # type: ignore[no-untyped-call]


@contextmanager
def _matrix_units() -> Iterator[None]:
    # "high" lets matrix units round the factors to fewer bits, which -1, 0 and 1 do not notice.
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
