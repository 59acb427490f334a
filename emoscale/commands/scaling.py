"""How long an extraction takes on more and more ranks, and what binds it: computing, copying, or the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

STEP = 8
"""How many times more ranks each line of the table has."""
COMPUTE, LINK, DISK = "compute", "copy to the host", "write to disk"


@dataclass(frozen=True)
class Rates:
    """What the machines do in a second; None where it is not known.

    Attributes
    ----------
    rank : float, optional
        Floating-point operations of a rank's device or devices.
    link : float, optional
        Bytes from a rank's device or devices to its host.
    disk : float, optional
        Bytes that all ranks together write.
    """

    rank: float | None = None
    link: float | None = None
    disk: float | None = None


@dataclass(frozen=True)
class Extraction:
    """What an extraction does.

    Attributes
    ----------
    rows : int
        Of activations.
    busiest_rows : callable
        From a number of ranks to the rows of the rank that has the most.
    seconds_a_row : float, optional
        Of one rank's forward passes, where it was measured.
    operations : float
        Floating-point operations of all forward passes: twice the parameters a token (Kaplan et al. 2020,
        arXiv 2001.08361, section 2.1).
    copied, written : float
        Bytes that leave the devices, and that are written.
    """

    rows: int
    busiest_rows: Callable[[int], int]
    seconds_a_row: float | None
    operations: float
    copied: float
    written: float


@dataclass(frozen=True)
class Scaled:
    """An extraction on some ranks.

    Attributes
    ----------
    ranks : int
    seconds : dict of str to float
        Of what each part would take alone, where its rate is known.
    """

    ranks: int
    seconds: dict[str, float]

    @property
    def binds(self) -> str:
        """What takes longest: the others wait for it, or are done meanwhile."""
        return max(self.seconds, key=lambda name: self.seconds[name])

    @property
    def total(self) -> float:
        """Seconds of the extraction, in which computing, copying and writing go on at the same time."""
        return self.seconds[self.binds]


def scale(work: Extraction, rates: Rates, most: int) -> list[Scaled]:
    """Tell what an extraction takes on 1, 8, 64, ... ranks.

    Parameters
    ----------
    work : Extraction
    rates : Rates
    most : int
        Ranks of the last line.

    Returns
    -------
    list of Scaled
        Empty if no rate is known.

    Notes
    -----
    Computing and copying are divided among the ranks: they take what the rank with the most rows needs. The disk is
    one for all. The first block is computed before any is written, and the last written after all are computed; that
    is left out.
    """
    found = []
    for ranks in _numbers(most):
        share = work.busiest_rows(ranks) / work.rows
        seconds = {}
        if rates.rank is not None:
            seconds[COMPUTE] = work.operations * share / rates.rank
        elif work.seconds_a_row is not None:
            seconds[COMPUTE] = work.seconds_a_row * work.rows * share
        if rates.link is not None:
            seconds[LINK] = work.copied * share / rates.link
        if rates.disk is not None:
            seconds[DISK] = work.written / rates.disk
        if seconds:
            found.append(Scaled(ranks, seconds))
    return found


def _numbers(most: int) -> Iterator[int]:
    ranks = 1
    while ranks < most:
        yield ranks
        ranks *= STEP
    yield most
