"""Units of the residual stream: the output of each block.

They equal `hidden_states[layer + 1]` of transformers with `output_hidden_states=True`, bit for bit. The last entry of
`hidden_states` is an exception in models that normalise after the last block (GPT-2, Llama and most causal models):
there it is the normalised state, while the unit is the block's output before it. In BERT, RoBERTa and other models that
normalise inside the block, it equals the last block's output as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from emoscale.errors import StageError
from emoscale.models.sites.attention import find_attention
from emoscale.models.sites.blocks import Block, hidden_size, stacks
from emoscale.models.sites.feed_forward import find_feed_forward
from emoscale.models.sites.site import Detach, Site, Touch


@dataclass(frozen=True)
class BlockOutput(Site):
    """The output of a block; where that is a tuple, its first entry.

    With tensor parallelism every process has all of it. It is never changed in place: what the model returns as hidden
    states may be the same tensor.
    """

    def attach(self, model: nn.Module, touch: Touch) -> Detach:
        """Touch the block's output."""

        def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
            touched = touch(self._states(output))
            return touched if isinstance(output, Tensor) else (touched, *output[1:])

        return model.get_submodule(self.path).register_forward_hook(hook).remove

    def attach_check(self, model: nn.Module, see: Callable[[Tensor], None]) -> Detach:
        """See the block's output after the hooks that were set before this one."""

        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            see(self._states(output))

        return model.get_submodule(self.path).register_forward_hook(hook).remove

    def _states(self, output: Any) -> Tensor:
        states = output[0] if isinstance(output, tuple) and output else output
        if not isinstance(states, Tensor):
            raise StageError(f"{self.path} returns {type(output).__name__}, not hidden states; set another model.site")
        return states


def find_residual(model: nn.Module, stack: str | None) -> list[BlockOutput]:
    """Find the output of every block: of the only stack, or of the one that has feed-forwards or attention."""
    inside = [site.path for find in (find_feed_forward, find_attention) for site in find(model, stack)]
    every = stacks(model, stack)
    # XLM keeps the parts of its blocks in lists side by side, of which none is the block.
    beside = Counter((_list_of(blocks).rpartition(".")[0], len(blocks)) for blocks in every)
    every = [blocks for blocks in every if beside[_list_of(blocks).rpartition(".")[0], len(blocks)] == 1]
    found = every if len(every) == 1 else [blocks for blocks in every if _holds(blocks, inside)]
    width = hidden_size(model)
    if not width or len(found) != 1:
        return []
    return [BlockOutput(block.layer, block.path, width, block.call) for block in found[0]]


def _list_of(blocks: Sequence[Block]) -> str:
    return blocks[0].path.rpartition(".")[0]


def _holds(blocks: Sequence[Block], paths: Sequence[str]) -> bool:
    return any(path.startswith(f"{block.path}.") for block in blocks for path in paths)
