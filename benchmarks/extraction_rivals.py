"""Capturing a batch's neurons by others: plain hooks, nnsight, TransformerLens.

Each function takes a loaded BERT or RoBERTa and returns one that takes padded ids and attention (rows, tokens) and
returns the mean over the text of every neuron, (rows, neurons). All average inside the forward pass, so that none
keeps the values of all tokens, and none runs a head.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM

from emoscale.models.loading import LanguageModel

Read = Callable[[Tensor, Tensor], Tensor]


def hooks(model: LanguageModel) -> Read:
    """Capture by PyTorch's forward pre-hooks."""
    seen: list[Tensor] = []
    attention_now: list[Tensor] = []

    def keep(_module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        seen.append(mean_over_text(args[0], attention_now[0]))

    for site in model.outline.sites:
        model.module.get_submodule(site.path).register_forward_pre_hook(keep)
    body = model.module.base_model

    def read(ids: Tensor, attention: Tensor) -> Tensor:
        seen.clear()
        attention_now[:] = [attention]
        body(input_ids=ids, attention_mask=attention)
        return torch.cat(seen, dim=1)

    return read


def nnsight(model: LanguageModel) -> Read:
    """Capture in a trace; nnsight calls a submodule `E_output` where the module's own name is `output`."""
    import nnsight

    traced = nnsight.NNsight(model.module.base_model)

    def read(ids: Tensor, attention: Tensor) -> Tensor:
        with traced.trace(input_ids=ids, attention_mask=attention):
            means = nnsight.save([])
            for layer in traced.encoder.layer:
                means.append(mean_over_text(layer.E_output.dense.input, attention))
        return torch.cat(means, dim=1)

    return read


def transformer_lens(model: LanguageModel) -> Read:
    """Capture by a TransformerBridge's hooks, and stop before its head.

    It supports BERT only with a language modelling head, so an encoder gets one that is never run.
    """
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.model_bridge.exceptions import StopAtLayerException

    module = model.module
    if module.base_model is module:
        module = AutoModelForMaskedLM.from_config(module.config).eval()
        setattr(module, module.base_model_prefix, model.module)
    bridge = TransformerBridge.boot_transformers(
        str(model.outline.folder), hf_model=module, tokenizer=model.outline.tokenizer
    )
    names = [f"blocks.{layer}.mlp.out.hook_in" for layer in range(len(model.outline.sites))]

    def stop(values: Tensor, hook: Any) -> None:
        raise StopAtLayerException(values)

    def keep(seen: list[Tensor], mask: Tensor, values: Tensor, hook: Any) -> None:
        seen.append(mean_over_text(values, mask))

    def read(ids: Tensor, attention: Tensor) -> Tensor:
        seen: list[Tensor] = []
        readers = [(name, partial(keep, seen, attention)) for name in names]
        bridge.run_with_hooks(
            ids, attention_mask=attention, return_type=None, fwd_hooks=[*readers, ("mlm_head.hook_in", stop)]
        )
        return torch.cat(seen, dim=1)

    return read


def mean_over_text(values: Tensor, attention: Tensor) -> Tensor:
    """Average (rows, tokens, units) over the tokens that attention marks."""
    return torch.einsum("rtu,rt->ru", values, attention.to(values.dtype)) / attention.sum(dim=1, keepdim=True)
