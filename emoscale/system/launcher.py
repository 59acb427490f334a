"""What a launcher told this process of itself, without loading torch."""

from __future__ import annotations

import os


def launched() -> int:
    """Return how many processes the launcher started: 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the number of this process among them, from 0.

    A process that was started alone is number 0, whatever an outer job left in ``RANK``: it does all the work.
    """
    return int(os.environ.get("RANK", "0")) if launched() > 1 else 0
