"""The attention implementation that trains fastest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_SHORT_ROW = 128


@contextmanager
def attention_for_training(model: Any, device: torch.device, tokens: int) -> Iterator[None]:
    """Use the attention implementation that trains fastest, while the block lasts.

    On CPUs the backward pass of fused attention is slower than plain matrix products for short rows (MiniLM, 34 tokens,
    bf16: 97 against 166 texts/s, benchmarks/attention.py). Plain attention keeps tokens x tokens weights, and is not
    used for longer rows.

    Parameters
    ----------
    model : PreTrainedModel
    device : device
    tokens : int
        Length of the longest row.
    """
    usual = model.config._attn_implementation
    if device.type == "cpu" and tokens <= _SHORT_ROW:
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(usual)
