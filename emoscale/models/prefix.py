"""What all rows begin with, computed once for each mask: its keys and values (a prefix cache)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from emoscale.models.lm_head import reading
from emoscale.models.loading import LanguageModel
from emoscale.models.shortcuts import agree

SHORTEST = 8
"""Tokens of the shortest beginning whose keys and values are worth keeping: with fewer the saving is lost in the noise,
with one or two, looking them up takes longer than computing them (benchmarks/prefix.py)."""

_Entries = Callable[[torch.device], Tensor]


class Prefix(AbstractContextManager["Prefix"]):
    """The tokens that all rows begin with, computed once for each mask that edits them.

    It belongs to what runs a model on rows, which leaves these tokens out as long as their keys and values are here:
    from `compute` to the end of the ``with`` block.

    Parameters
    ----------
    model : LanguageModel
        A causal one, where anything is to be computed.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._inputs: dict[str, Tensor] = {}
        self._layers: list[_Layer] = []
        self._entry: dict[torch.device, Tensor] = {}

    @property
    def tokens(self) -> int:
        """How many tokens the next passes leave out."""
        return self.length if self._layers else 0

    @property
    def length(self) -> int:
        """How many tokens were given to `begin`."""
        return next((given.shape[1] for given in self._inputs.values()), 0)

    def begin(self, name: str, beginning: Tensor) -> Prefix:
        """Set what rows begin with, as the model is given it.

        Parameters
        ----------
        name : {"input_ids", "inputs_embeds"}
        beginning : Tensor
            Shape (1, tokens) or (1, tokens, hidden): of all entries; or as many as there are entries.

        Returns
        -------
        Prefix
            Itself, whose ``with`` block forgets everything at its end.
        """
        self._forget()
        self._inputs = {name: beginning}
        return self

    def compute(self, entries: int) -> None:
        """Run the model over the beginning, in one pass with a row for each entry: for each mask."""
        self._layers = []  # those of other masks make room
        cache = DynamicCache()  # without the configuration, so that a window forgets no token
        inputs = {name: given.expand(entries, *given.shape[1:]) for name, given in self._inputs.items()}
        # By the same way as other passes, so that whoever watches them sees this one too; no logits are needed.
        with reading(self._model.module, lambda values: values[:, -1], words=[0]):
            self._model.module(**inputs, past_key_values=cache, use_cache=True)
        self._layers = [_Layer(*_keys_and_values(layer), self._entries) for layer in cache.layers]

    def expect(self, entry: Tensor) -> None:
        """Set which entry each row of the next passes begins with: (rows,), int64."""
        self._entry = {entry.device: entry}

    def options(self) -> dict[str, Any]:
        """Return arguments for a pass over the rows' other tokens; none if rows are whole."""
        return {"past_key_values": Cache(layers=list(self._layers)), "use_cache": True} if self._layers else {}

    def _entries(self, device: torch.device) -> Tensor:
        if device not in self._entry:
            self._entry[device] = next(iter(self._entry.values())).to(device, non_blocking=True)
        return self._entry[device]

    def _forget(self) -> None:
        self._inputs, self._layers, self._entry = {}, [], {}

    def __exit__(self, *_error: object) -> None:
        self._forget()


class _Layer(DynamicLayer):
    """Keys and values of one block, (entries, heads, tokens, units). Nothing of the rows themselves is kept."""

    def __init__(self, keys: Tensor, values: Tensor, entries: _Entries) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values
        self._begun, self._entries = (keys, values), entries

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_options: Any) -> tuple[Tensor, Tensor]:
        """Put each row's beginning before its own keys and values."""
        entry = self._entries(key_states.device)
        pairs = zip(self._begun, (key_states, value_states), strict=True)
        keys, values = (torch.cat([begun.index_select(0, entry), own], dim=-2) for begun, own in pairs)
        return keys, values


def _keys_and_values(layer: object) -> tuple[Tensor, Tensor]:
    if not isinstance(layer, DynamicLayer) or layer.keys is None or layer.values is None:
        raise TypeError(f"a block whose state is not keys and values: {type(layer).__name__}")
    return layer.keys, layer.values


@torch.inference_mode()
def is_confirmed(prefix: Prefix, entry: Tensor, run: Callable[[], Tensor]) -> bool:
    """Try whether a model gives the same with a beginning computed before; not while neurons are edited.

    Parameters
    ----------
    prefix : Prefix
        After `Prefix.begin`; it is empty afterwards.
    entry : Tensor
        As of `Prefix.expect`.
    run : callable
        Runs the model on rows, and returns what is read of it.
    """
    with prefix:
        if not can_cache(prefix._model):
            return False
        whole = run()
        try:
            prefix.compute(int(entry.max()) + 1)
            prefix.expect(entry)
            cut = run()
        except torch.OutOfMemoryError:
            raise
        # Shapes that do not fit; and what a model's own code says to a cache that is not of its own kind.
        except (RuntimeError, ValueError, TypeError, AttributeError):
            return False
    return agree(whole, cut)


def can_cache(model: LanguageModel) -> bool:
    """Whether a model is one that may give keys and values away: causal, in one process, with no other state."""
    module = model.module
    takes_cache = "past_key_values" in inspect.signature(module.forward).parameters
    # The parts of a split model would have to agree.
    return takes_cache and model.tp_size == 1 and not getattr(module, "_is_stateful", False)
