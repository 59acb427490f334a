"""Units of feed-forwards: the inputs of a block's second map (Li, Su et al. 2024, neuron activations).

These are the values after the activation function, and in gated feed-forwards the product of gate and up. In mixtures
of experts they are those of the routed experts; an expert that all tokens pass besides (a shared expert) is read by its
own path.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from emoscale.models.sites.blocks import first_match, hidden_size, stacks
from emoscale.models.sites.experts import RoutedExperts, expert_shape
from emoscale.models.sites.linear_inputs import LinearInput, is_of_attention, map_shape
from emoscale.models.sites.site import Site

SECOND_MAPS = {
    "mlp.down_proj": "Llama, Mistral, Qwen, Gemma, Phi-3, OLMo, StableLM, Cohere, DeepSeek",
    "feed_forward.down_proj": "Jamba",
    "mlp.c_proj": "GPT-2, GPT-Neo",
    "mlp.dense_4h_to_h": "GPT-NeoX, BLOOM, Falcon",
    "mlp.fc_out": "GPT-J",
    "mlp.fc2": "Phi",
    "mlp.Wo": "ModernBERT",
    "output.dense": "BERT, RoBERTa, XLM-R, ELECTRA, DeBERTa, MobileBERT",
    "ffn.lin2": "DistilBERT",
    "fc2": "OPT, BART",
    "layer.1.DenseReluDense.wo": "T5 encoder",
    "layer.2.DenseReluDense.wo": "T5 decoder",
    "ffn_output": "ALBERT",
}
"""Path of the second feed-forward map inside a block, and the families that have it there."""


def find_feed_forward(model: nn.Module, stack: str | None) -> list[Site]:
    """Find the feed-forward of every block that has one: of known families by name, of others by shape."""
    modules = dict(model.named_modules())
    found = first_match(model, stack, lambda block: _path_in(modules, block))
    if not found:
        return list(_by_shape(model, modules, stack))
    return [_site(modules[path], block.layer, path, block.call) for block, path in found]


def _path_in(modules: Mapping[str, nn.Module], block: str) -> str | None:
    for second in SECOND_MAPS:
        if map_shape(modules.get(path := f"{block}.{second}"))[0]:
            return path
    experts = [path for path, module in modules.items() if path.startswith(f"{block}.") and expert_shape(module)[0]]
    return experts[0] if len(experts) == 1 else None


def _site(module: nn.Module, layer: int, path: str, call: int = 0) -> Site:
    experts, units = expert_shape(module)
    if experts:
        return RoutedExperts(layer, path, experts * units, call, experts)
    return LinearInput(layer, path, map_shape(module)[0], call)


def _by_shape(model: nn.Module, modules: Mapping[str, nn.Module], stack: str | None) -> list[LinearInput]:
    """Find each block's second map by its shape.

    It gives the hidden size and takes what another map of the same block makes of the hidden size: that many values, or
    twice as many where gate and up are one map. Maps of an attention are ignored by their name, and square maps too,
    since shape does not show their direction. Blocks with weights of three dimensions (fused experts, convolutions) do
    more than shape can show.

    Returns
    -------
    list of LinearInput
        One a block. Empty if no stack, or more than one, has exactly one such map in every block: a guess could be
        wrong.
    """
    hidden = hidden_size(model)
    found = []
    for blocks in stacks(model, stack):
        maps = [(block, _candidates(modules, block.path, hidden)) for block in blocks]
        if all(len(paths) == 1 for _, paths in maps):
            found.append([LinearInput(block.layer, path, map_shape(modules[path])[0]) for block, (path,) in maps])
    return found[0] if len(found) == 1 else []


def _candidates(modules: Mapping[str, nn.Module], block: str, hidden: int) -> list[str]:
    if any(weight.dim() > 2 for weight in modules[block].parameters()):
        return []
    inside = f"{block}."
    shapes = {path: map_shape(module) for path, module in modules.items() if path.startswith(inside)}
    inner_sizes = {outputs for inputs, outputs in shapes.values() if inputs == hidden}
    return [
        path
        for path, (inner, outputs) in shapes.items()
        if outputs == hidden
        and inner != hidden
        and {inner, 2 * inner} & inner_sizes
        and not is_of_attention(path.removeprefix(inside))
    ]
