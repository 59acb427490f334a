"""The blocks of a model: lists of modules that texts pass one after the other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import nn

from emoscale.errors import InputError

STACKS = ("encoder", "decoder")
"""Words of `model.site` that select one of two stacks of blocks."""

_ALBERT = "albert_layer_groups"

_TEXT_MODELS = {"language_model", "text_model"}
"""What models that see or hear call their part that reads texts."""


class Block(NamedTuple):
    """A block: its number, its path, and which of the calls of its modules in a forward pass is its own."""

    layer: int
    path: str
    call: int = 0


def stacks(model: nn.Module, stack: str | None) -> list[list[Block]]:
    """Return a model's stacks of blocks.

    A list inside a block is not a stack (experts, sublayers), nor are the blocks that process images or sound for a
    language model, or stand between the two: texts do not pass them.

    Parameters
    ----------
    model : Module
    stack : {"encoder", "decoder"} or None
        Of an encoder-decoder model; None selects the encoder.

    Raises
    ------
    InputError
        If a model without two stacks is asked for one.
    """
    modules = dict(model.named_modules())
    paths = [
        name
        for name, module in modules.items()
        if isinstance(module, nn.ModuleList) and len(module) and not re.search(r"(^|\.)\d|vision|visual|audio", name)
    ]
    paths = [path for path in paths if _TEXT_MODELS.intersection(path.split("."))] or paths
    has_two = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    if stack and not has_two:
        raise InputError(
            f"model.site: {type(model).__name__} has no encoder beside a decoder; remove {stack!r} from it"
        )
    if has_two:
        paths = [path for path in paths if stack_of(path) == (stack or STACKS[0])]
    return [list(_blocks(modules, path)) for path in paths]


def stack_of(path: str) -> str | None:
    """Return the stack that a module's path names, if it names one."""
    return next((part for part in path.split(".") if part in STACKS), None)


def block_of(path: str) -> tuple[str, int] | None:
    """Return the list of blocks that a module's path goes through and the number of the block; None without one."""
    match = re.match(r"(.*?)\.(\d+)(?=\.|$)", path)
    return (match[1], int(match[2])) if match else None


def _blocks(modules: Mapping[str, nn.Module], path: str) -> Iterator[Block]:
    if path.rpartition(".")[2] == _ALBERT:
        yield from _albert_blocks(modules, path)
    else:
        layers: Any = modules[path]
        yield from (Block(layer, f"{path}.{layer}") for layer in range(len(layers)))


def _albert_blocks(modules: Mapping[str, nn.Module], groups: str) -> Iterator[Block]:
    """Yield ALBERT's depths: its layers are spread over the groups, and those of a group share their weights."""
    config: Any = modules[groups.rpartition(".")[0]].config
    passed: Counter[str] = Counter()
    for depth in range(config.num_hidden_layers):
        group = int(depth / (config.num_hidden_layers / config.num_hidden_groups))
        for inner in range(config.inner_group_num):
            path = f"{groups}.{group}.albert_layers.{inner}"
            yield Block(depth * config.inner_group_num + inner, path, passed[path])
            passed[path] += 1


def first_match(model: nn.Module, stack: str | None, path_in: Callable[[str], str | None]) -> list[tuple[Block, str]]:
    """Find the stack whose blocks have a module, and the module's path in each block that has it.

    Parameters
    ----------
    model : Module
    stack : {"encoder", "decoder"} or None
    path_in : callable
        Given a block's path, returns that of its module, or None.

    Returns
    -------
    list of (Block, str)
        Of the first stack of which every block has it; else of the only one of which some blocks have it. Empty if
        there is none, or more than one.
    """
    found = []
    for blocks in stacks(model, stack):
        matches = [(block, path) for block in blocks if (path := path_in(block.path))]
        if len(matches) == len(blocks):
            return matches
        if matches:
            found.append(matches)
    return found[0] if len(found) == 1 else []


def hidden_size(model: nn.Module) -> int:
    """Return the width of the hidden states; 0 if it is not known."""
    config = getattr(model, "config", None)
    if config is not None and hasattr(config, "get_text_config"):
        config = config.get_text_config()
    if size := getattr(config, "hidden_size", 0):
        return int(size)
    return next((m.embedding_dim for m in model.modules() if isinstance(m, nn.Embedding)), 0)
