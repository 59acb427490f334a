"""Units that are the inputs of a linear map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from emoscale.models.sites.site import Detach, Site, Touch


@dataclass(frozen=True)
class LinearInput(Site):
    """The inputs of a linear map, by which zeroing one equals zeroing its column of the weights.

    With tensor parallelism a process sees its contiguous part of them, or all.

    Attributes
    ----------
    shares_input : bool
        Whether other maps may take the same values, as is possible for a path given by hand.
    """

    shares_input: bool = False

    @property
    def owns_values(self) -> bool:
        """Whether nothing else reads the values."""
        return not self.shares_input

    def attach(self, model: nn.Module, touch: Touch) -> Detach:
        """Touch the map's input."""

        def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return touch(args[0]), *args[1:]

        return model.get_submodule(self.path).register_forward_pre_hook(hook).remove

    def attach_check(self, model: nn.Module, see: Callable[[Tensor], None]) -> Detach:
        """See what the map took."""

        def hook(_module: nn.Module, args: tuple[Any, ...], _output: Any) -> None:
            see(args[0])

        return model.get_submodule(self.path).register_forward_hook(hook).remove


def is_of_attention(path: str) -> bool:
    """Whether a module belongs to attention, by its path."""
    return any(word in path.lower() for word in ("attn", "attention"))


def map_shape(module: Any) -> tuple[int, int]:
    """Return the number of inputs and of outputs of a linear map; (0, 0) if the module is not one."""
    # GPTQ's and AWQ's maps keep their packed weights so; those of bitsandbytes and compressed-tensors are nn.Linear.
    if isinstance(module, nn.Linear) or hasattr(module, "qweight"):
        return int(module.in_features), int(module.out_features)
    return (module.nx, module.nf) if isinstance(module, Conv1D) else (0, 0)
