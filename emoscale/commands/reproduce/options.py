"""Settings of a reproduction."""

from __future__ import annotations

from dataclasses import dataclass

from emoscale.errors import InputError

UNPACK_LIMIT = 2 * 218_503_647
"""Bytes that an archive may unpack to: twice those of the published files that are used."""


@dataclass(frozen=True)
class ReproductionOptions:
    """How the study is computed again."""

    as_published: bool = True
    """Round neurons' mean distances to 15 significant digits before tau, as the study's files did (Li, Su et al. 2024,
    `emoscale_kernels.published_distances`)."""
    permutations: int = 999
    """Of the concept labels, for valid p; the published ones are kept beside them."""
    seed: int = 0
    """Of the permutations."""
    threads: int | None = None
    """Threads that compute; one a core when left out."""

    def __post_init__(self) -> None:
        if self.permutations < 1:
            raise InputError(f"permutations = {self.permutations}: give 1 or more")
