"""Finding the feed-forward of a family that is not known by name: hidden -> inner -> hidden inside each block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn
from transformers.pytorch_utils import Conv1D


def map_shape(module: nn.Module | None) -> tuple[int, int]:
    """Return the number of inputs and of outputs of a linear map; (0, 0) if the module is none."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    return (module.nx, module.nf) if isinstance(module, Conv1D) else (0, 0)


def second_maps_by_shape(
    model: nn.Module, modules: Mapping[str, nn.Module], stacks: Sequence[tuple[str, int]]
) -> list[str]:
    """Find each block's second feed-forward map by its shape.

    It gives the hidden size and takes what another map of the same block makes of the hidden size: that many values, or
    twice as many where gate and up are one map. Maps of an attention are left out by their name, and square maps too,
    since shape cannot tell which way they go. Blocks with weights of three dimensions (fused experts, convolutions) do
    more than shape can tell.

    Parameters
    ----------
    model : Module
    modules : mapping of str to Module
        Its modules by path.
    stacks : sequence of (str, int)
        Path and length of each list of blocks.

    Returns
    -------
    list of str
        One path a block. Empty if no stack, or more than one, has just one such map in every block: a guess could be
        wrong.
    """
    hidden = _hidden_size(model)
    found = []
    for stack, length in stacks:
        blocks = [_candidates(modules, f"{stack}.{layer}.", hidden) for layer in range(length)]
        if all(len(paths) == 1 for paths in blocks):
            found.append([path for paths in blocks for path in paths])
    return found[0] if len(found) == 1 else []


def _hidden_size(model: nn.Module) -> int:
    config = getattr(model, "config", None)
    if config is not None and hasattr(config, "get_text_config"):
        config = config.get_text_config()
    if size := getattr(config, "hidden_size", 0):
        return int(size)
    return next((m.embedding_dim for m in model.modules() if isinstance(m, nn.Embedding)), 0)


def _candidates(modules: Mapping[str, nn.Module], block: str, hidden: int) -> list[str]:
    if any(weight.dim() > 2 for weight in modules[block.removesuffix(".")].parameters()):
        return []
    shapes = {path: map_shape(module) for path, module in modules.items() if path.startswith(block)}
    inner_sizes = {made for taken, made in shapes.values() if taken == hidden}
    return [
        path
        for path, (inner, made) in shapes.items()
        if made == hidden
        and inner != hidden
        and {inner, 2 * inner} & inner_sizes
        and not any(word in path.removeprefix(block).lower() for word in ("attn", "attention"))
    ]
