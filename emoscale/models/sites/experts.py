"""Units of routed experts, which are slices of three-dimensional weights in one module.

No linear map is called there that could carry a hook: while sites are attached, the module's `forward` is replaced by
one that does the same and shows the values in between. A unit of an expert that a token was not routed to is absent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from emoscale.models.sites.site import Detach, Editing, Reading, Site, Touch


@dataclass(frozen=True)
class Routed:
    """The units of one expert, for the tokens that were routed to it.

    Attributes
    ----------
    expert : int
    tokens : Tensor
        Shape (routed,), int64: number of the token in the flattened batch.
    values : Tensor
        Shape (routed, units): input of the expert's second map.
    """

    expert: int
    tokens: Tensor
    values: Tensor


class RoutedValues(NamedTuple):
    """The units of all experts that were routed to, at least one, and the number of tokens of the flattened batch."""

    parts: list[Routed]
    tokens: int


@dataclass(frozen=True)
class RoutedExperts(Site):
    """The inputs of the second maps of all experts of a block, expert by expert; its values are `RoutedValues`."""

    def attach(self, model: nn.Module, touch: Touch) -> Detach:
        """Touch the units between the first and the second maps; the touch attached first comes first."""
        return attach_to_experts(model.get_submodule(self.path), touch)

    def read(self, values: RoutedValues, reading: Reading) -> Tensor:
        """Read the units as a row is read.

        A unit of an expert that none of the tokens read was routed to is absent: NaN, not 0. Where several tokens are
        averaged, its value is the mean over those that were routed to the expert, with their weights.
        """
        rows, tokens = reading.rows, reading.tokens
        if values.tokens != rows * tokens:
            raise self.other_shape((values.tokens,), (rows, tokens), reading.model)
        found = {}
        # One expert at a time: the values of all experts for all tokens would be the largest array of the pass.
        for part in values.parts:
            # NaN means absent here; an overflow must not pass for it.
            seen = part.values.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
            own = seen.new_zeros(values.tokens, seen.shape[1]).index_copy_(0, part.tokens, seen)
            is_routed = torch.zeros(values.tokens, 1, device=own.device).index_fill_(0, part.tokens, 1)
            weight = reading.read(is_routed.reshape(rows, tokens, 1))
            found[part.expert] = (reading.read(own.reshape(rows, tokens, own.shape[1])) / weight).to(own.dtype)
        absent = torch.full_like(next(iter(found.values())), torch.nan)
        return torch.cat([found.get(expert, absent) for expert in range(self.experts)], dim=1)

    def edit(self, values: RoutedValues, editing: Editing) -> RoutedValues:
        """Edit the units of every token by its row's mask."""
        rows, tokens = editing.rows, editing.tokens
        # Where only one position of each row is computed there is one token a row.
        if values.tokens != rows and (tokens is None or values.tokens != rows * tokens):
            raise self.other_shape((values.tokens,), (rows, tokens), editing.model)
        masked, donors = editing.masks(values.parts[0].values, self.width)
        per_row, units = values.tokens // rows, self.width // self.experts
        parts = []
        for part in values.parts:
            own, row = slice(part.expert * units, (part.expert + 1) * units), part.tokens // per_row
            replacement = None if donors is None else donors[row, own]
            edited = editing.apply(part.values[:, None], masked[row, own], replacement, False)
            parts.append(replace(part, values=edited[:, 0]))
        return RoutedValues(parts, values.tokens)


def expert_shape(module: nn.Module | None) -> tuple[int, int]:
    """Return the number of experts and of units of each; (0, 0) if the module is not fused experts of a known kind.

    These are the modules transformers marks with `use_experts_implementation`, which says how their weights are stored.
    """
    weight = getattr(module, "down_proj", None)
    known = hasattr(module, "_apply_gate") and not getattr(module, "has_post_expert_norm", False)
    if not known or not isinstance(weight, nn.Parameter) or weight.dim() != 3:
        return 0, 0
    return weight.shape[0], weight.shape[1 if getattr(module, "is_transposed", False) else 2]


def attach_to_experts(module: nn.Module, touch: Touch) -> Detach:
    """Show the units of an experts module to `touch`, which may change them, until the returned function is called."""
    # Accelerate moves inputs between devices in a `forward` of its own and keeps the module's beside it.
    name = "_old_forward" if "_old_forward" in module.__dict__ else "forward"
    forward = module.__dict__.get(name)
    if not isinstance(forward, _Forward):
        forward = module.__dict__[name] = _Forward(module, forward)
    shown = forward
    shown.touches.append(touch)

    def detach() -> None:
        shown.touches.remove(touch)
        if shown.touches:
            return
        if shown.replaced is None:
            del module.__dict__[name]
        else:
            module.__dict__[name] = shown.replaced

    return detach


class _Forward:
    def __init__(self, module: nn.Module, replaced: Any) -> None:
        self._module: Any = module
        self.replaced = replaced
        self.touches: list[Touch] = []

    def __call__(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        module = self._module
        experts = module.down_proj.shape[0]
        parts, shares = [], []
        for expert in torch.unique(top_k_index).tolist():
            if expert >= experts:  # under expert parallelism: routed to another rank
                continue
            choice, tokens = torch.where(top_k_index.T.eq(expert))
            parts.append(Routed(expert, tokens, self._first_maps(expert, hidden_states[tokens])))
            shares.append(top_k_weights[tokens, choice, None])
        values = RoutedValues(parts, len(hidden_states))
        for touch in self.touches:
            values = touch(values)
        total = torch.zeros_like(hidden_states)
        for part, share in zip(values.parts, shares, strict=True):
            out = self._map("down_proj", part.expert, part.values) * share
            total.index_add_(0, part.tokens, out.to(total.dtype))
        return total

    def _first_maps(self, expert: int, values: Tensor) -> Tensor:
        module = self._module
        inner: Tensor
        if module.has_gate:
            inner = module._apply_gate(self._map("gate_up_proj", expert, values))
        else:
            inner = module.act_fn(self._map("up_proj", expert, values))
        return inner

    def _map(self, name: str, expert: int, values: Tensor) -> Tensor:
        weight = getattr(self._module, name)[expert]
        out = values @ weight if self._module.is_transposed else nn.functional.linear(values, weight)
        return out + getattr(self._module, f"{name}_bias")[expert] if self._module.has_bias else out
