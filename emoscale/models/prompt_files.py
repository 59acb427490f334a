"""Tuned prompts on disk: one safetensors file for each group."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from emoscale.system.files import replacing


@dataclass(frozen=True)
class TunedPrompts:
    """Some tuned prompts, in prompt order.

    Attributes
    ----------
    vectors : Tensor
        Shape (prompts, L, hidden), float32.
    heads : Tensor
        Shape (prompts, 2, hidden + 1) if prompts have label heads, else (prompts, 0); float32.
    accuracy, accuracy_last, loss : Tensor
        Shape (prompts,), float64: held-out accuracy of the epoch kept and of the last one trained; loss of the epoch
        kept.
    epoch, epochs : Tensor
        Shape (prompts,), int64: the epoch kept, from 1; how many were trained.
    """

    vectors: Tensor
    heads: Tensor
    accuracy: Tensor
    accuracy_last: Tensor
    loss: Tensor
    epoch: Tensor
    epochs: Tensor

    def save(self, file: Path) -> None:
        """Write to a safetensors file, completely or not at all."""
        with replacing(file) as unfinished:
            save_file({name: value.contiguous() for name, value in vars(self).items()}, unfinished)


def prompt_file(folder: Path, group: int) -> Path:
    """Return the file of one group of prompts."""
    return folder / f"group-{group:04d}.safetensors"


def load_prompts(folder: Path) -> TunedPrompts:
    """Load all prompts of a run, group by group.

    Parameters
    ----------
    folder : Path
        Holds the groups' safetensors files.

    Returns
    -------
    TunedPrompts
    """
    groups = [load_file(file) for file in sorted(folder.glob("group-*.safetensors"))]
    return TunedPrompts(**{name: torch.cat([group[name] for group in groups]) for name in groups[0]})
