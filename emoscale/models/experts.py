"""Feed-forwards of mixture-of-experts models, whose experts are slices of three-dimensional weights in one module.

No linear map is called there that could carry a hook: while neurons are read or masked, the module's `forward` is
replaced by one that does the same and shows the values in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

Read = Callable[[Tensor], Tensor]
"""How a row is read: values (rows, tokens, units) in, (rows, units) out. It must choose tokens or average them with
weights that do not depend on the values."""


@dataclass(frozen=True)
class Routed:
    """The neurons of one expert, for the tokens that were routed to it.

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


Touch = Callable[[list[Routed], int], list[Routed]]
"""Sees the neurons of all experts that were routed to, and the number of tokens; gives what the second maps take."""


def expert_shape(module: nn.Module | None) -> tuple[int, int]:
    """Return the number of experts and of units of each; (0, 0) if the module is no fused experts known here.

    These are the modules transformers marks with `use_experts_implementation`, which says how their weights lie.
    """
    weight = getattr(module, "down_proj", None)
    known = hasattr(module, "_apply_gate") and not getattr(module, "has_post_expert_norm", False)
    if not known or not isinstance(weight, nn.Parameter) or weight.dim() != 3:
        return 0, 0
    return weight.shape[0], weight.shape[1 if getattr(module, "is_transposed", False) else 2]


@contextmanager
def showing(module: nn.Module, touch: Touch) -> Iterator[None]:
    """Show an experts module's neurons to `touch`, which may change them, while the block lasts.

    Blocks nest; the outer one's `touch` comes first.

    Parameters
    ----------
    module : Module
        One with an `expert_shape`.
    touch : callable
    """
    # Accelerate moves inputs between devices in a `forward` of its own and keeps the module's beside it.
    name = "_old_forward" if "_old_forward" in module.__dict__ else "forward"
    before = module.__dict__.get(name)
    touches = (*before.touches, touch) if isinstance(before, _Forward) else (touch,)
    module.__dict__[name] = _Forward(module, touches)
    try:
        yield
    finally:
        if before is None:
            del module.__dict__[name]
        else:
            module.__dict__[name] = before


class _Forward:
    def __init__(self, module: nn.Module, touches: tuple[Touch, ...]) -> None:
        self._module: Any = module
        self.touches = touches

    def __call__(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        module = self._module
        experts = module.down_proj.shape[0]
        routed, shares = [], []
        for expert in torch.unique(top_k_index).tolist():
            if expert >= experts:  # under expert parallelism: routed to another rank
                continue
            choice, tokens = torch.where(top_k_index.T.eq(expert))
            routed.append(Routed(expert, tokens, self._first_maps(expert, hidden_states[tokens])))
            shares.append(top_k_weights[tokens, choice, None])
        for touch in self.touches:
            routed = touch(routed, len(hidden_states))
        total = torch.zeros_like(hidden_states)
        for part, share in zip(routed, shares, strict=True):
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


def read_routed(routed: list[Routed], experts: int, rows: int, tokens: int, read: Read) -> Tensor:
    """Read the experts' neurons as a row is read.

    A neuron of an expert that none of the tokens read was routed to is absent: NaN, not 0. Where several tokens are
    averaged, its value is the mean over those that were routed to the expert, with their weights.

    Parameters
    ----------
    routed : list of Routed
        Not empty.
    experts, rows, tokens : int
        `tokens` is over all rows.
    read : callable

    Returns
    -------
    Tensor
        Shape (rows, experts * units), the model's dtype.
    """
    values = {}
    # One expert at a time: the values of all experts for all tokens would be the largest array of the pass.
    for part in routed:
        # NaN means absent here; what went wrong must not pass for it.
        seen = part.values.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
        own = seen.new_zeros(tokens, seen.shape[1]).index_copy_(0, part.tokens, seen)
        there = torch.zeros(tokens, 1, device=own.device).index_fill_(0, part.tokens, 1)
        weight = read(there.reshape(rows, -1, 1))
        values[part.expert] = (read(own.reshape(rows, -1, own.shape[1])) / weight).to(own.dtype)
    absent = torch.full_like(next(iter(values.values())), torch.nan)
    return torch.cat([values.get(expert, absent) for expert in range(experts)], dim=1)


def edit_routed(
    routed: list[Routed],
    masked: Tensor,
    donors: Tensor | None,
    tokens: int,
    edit: Callable[[Tensor, Tensor, Tensor | None], Tensor],
) -> list[Routed]:
    """Edit the experts' neurons by their row's mask.

    Parameters
    ----------
    routed : list of Routed
    masked : Tensor
        Shape (rows, experts * units), bool.
    donors : Tensor, optional
        Shape (rows, experts * units): what masked neurons are replaced by.
    tokens : int
        Over all rows.
    edit : callable
        (tokens, 1, units) values, masks and donors (tokens, units) in, edited values out.

    Returns
    -------
    list of Routed
    """
    per_row = tokens // len(masked)
    parts = []
    for part in routed:
        count = part.values.shape[1]
        units, row = slice(part.expert * count, (part.expert + 1) * count), part.tokens // per_row
        own = None if donors is None else donors[row, units]
        parts.append(replace(part, values=edit(part.values[:, None], masked[row, units], own)[:, 0]))
    return parts
