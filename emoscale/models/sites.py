"""What a neuron is in each architecture.

A neuron is one input of a block's second feed-forward map (Li, Su et al. 2024, neuron activations): the value
after the activation function, and in gated feed-forwards the product of gate and up. A second kind of site is the
input of the attention's output map: what the heads give, side by side.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from emoscale.errors import InputError
from emoscale.models.experts import expert_shape
from emoscale.models.shapes import map_shape, second_maps_by_shape

SECOND_MAPS = (
    "mlp.down_proj",  # Llama, Mistral, Qwen, Gemma, Phi-3, OLMo, StableLM, Cohere
    "mlp.c_proj",  # GPT-2, GPT-Neo
    "mlp.dense_4h_to_h",  # GPT-NeoX, BLOOM, Falcon
    "mlp.fc_out",  # GPT-J
    "mlp.fc2",  # Phi
    "mlp.Wo",  # ModernBERT
    "output.dense",  # BERT, RoBERTa, XLM-R, ELECTRA, DeBERTa
    "ffn.lin2",  # DistilBERT
    "fc2",  # OPT, BART
    "layer.1.DenseReluDense.wo",  # T5 encoder
    "layer.2.DenseReluDense.wo",  # T5 decoder
)
"""Path of the second feed-forward map inside a block, by family."""

ATTENTION_MAPS = (
    "self_attn.o_proj",  # Llama, Mistral, Qwen, Gemma, Phi-3, OLMo, StableLM, Cohere
    "self_attn.out_proj",  # OPT, BART
    "self_attn.dense",  # Phi
    "self_attention.dense",  # BLOOM, Falcon
    "attn.c_proj",  # GPT-2
    "attn.attention.out_proj",  # GPT-Neo
    "attn.out_proj",  # GPT-J
    "attn.Wo",  # ModernBERT
    "attention.output.dense",  # BERT, RoBERTa, XLM-R, ELECTRA, DeBERTa
    "attention.attn.o",  # MPNet
    "attention.out_lin",  # DistilBERT
    "attention.dense",  # GPT-NeoX
    "layer.0.SelfAttention.o",  # T5
)
"""Path of the (self-)attention's output map inside a block, by family."""

_KINDS = {"ffn": (SECOND_MAPS, "ffn_output"), "attention": (ATTENTION_MAPS, "attention.dense")}
"""What `model.site` may ask for: the map's path by family, and in ALBERT."""

_STACKS = ("encoder", "decoder")
_LAYER = "{layer}"


@dataclass(frozen=True)
class Site:
    """One block's neurons.

    Attributes
    ----------
    layer : int
        Number of the block, from 0.
    module : str
        Path of the linear map whose input is read, or of the module that holds all experts.
    width : int
        Number of neurons, of all experts together.
    call : int
        Which of the module's calls in one forward pass this is, from 0. Only models whose layers share their weights
        call it more than once.
    experts : int
        Number of experts; 0 in a dense feed-forward.
    shares_input : bool
        Whether other maps may take the same values, as can be under a path given by hand.
    """

    layer: int
    module: str
    width: int
    call: int = 0
    experts: int = 0
    shares_input: bool = False


def find_sites(model: nn.Module, site: str = "ffn") -> list[Site]:
    """Find every block's neurons.

    Parameters
    ----------
    model : Module
        A transformers model; it may be on the meta device.
    site : str
        ``"ffn"``: the input of the feed-forward's second map, of known families by name and of others by shape.
        ``"attention"``: the heads' outputs, the input of the attention's output map. Of an encoder-decoder model both
        mean its encoder; ``"encoder"``, ``"decoder"``, ``"encoder attention"`` and ``"decoder attention"`` say which.
        Or the path of a linear map with ``{layer}`` for the block's number: ``"model.layers.{layer}.mlp.down_proj"``.

    Returns
    -------
    list of Site
        In layer order. In mixture-of-experts models these are the routed experts; one that all tokens pass besides
        (a shared expert) is read by its own path.

    Raises
    ------
    InputError
        If no neurons are found, names the linear maps there are; or if a model without two stacks is asked for one.
    """
    modules = dict(model.named_modules())
    stack, kind = _parse(site)
    if kind is None:
        places = _custom_places(modules, site)
    else:
        stacks = _stacks(model, modules, stack)
        places = _known_places(modules, stacks, kind)
        if not places and kind == "ffn":
            places = [(path, 0) for path in second_maps_by_shape(model, modules, stacks)]
    if not places:
        what = "attention output" if kind == "attention" else "feed-forward"
        names = (_with_layer(name) for name, module in modules.items() if _width(module)[0])
        raise InputError(
            f"model.site {site!r}: no {what} found in {type(model).__name__}; name its second map in model.site, "
            f"one of: {', '.join(sorted(set(names)))}"
        )
    sites = []
    for layer, (path, call) in enumerate(places):
        width, experts = _width(modules[path])
        sites.append(Site(layer, path, width, call, experts, shares_input=kind is None))
    return sites


def neuron_coordinates(sites: Sequence[Site]) -> dict[str, NDArray[np.int32]]:
    """Return the layer, the expert and the unit of every neuron, in the order of the sites.

    Parameters
    ----------
    sites : sequence of Site
        Of a model: N neurons in all.

    Returns
    -------
    dict
        ``layer``; ``expert``, -1 in a dense feed-forward; ``unit``, which counts within the expert, or within the layer
        where there are none. Each of shape (N,), int32.
    """
    layers, experts, units = [], [], []
    for site in sites:
        within = site.width // max(site.experts, 1)
        numbers = np.arange(site.width, dtype=np.int32)
        layers.append(np.full(site.width, site.layer, np.int32))
        experts.append(numbers // within if site.experts else np.full(site.width, -1, np.int32))
        units.append(numbers % within)
    return {"layer": np.concatenate(layers), "expert": np.concatenate(experts), "unit": np.concatenate(units)}


def _parse(site: str) -> tuple[str | None, str | None]:
    """Split the setting into stack and kind; the kind of a path is None."""
    words = site.split()
    stack = words.pop(0) if words and words[0] in _STACKS else None
    if stack and not words:
        return stack, "ffn"
    return (stack, words[0]) if len(words) == 1 and words[0] in _KINDS else (None, None)


def _stacks(model: nn.Module, modules: Mapping[str, nn.Module], stack: str | None) -> list[tuple[str, int]]:
    """Return path and length of the lists of blocks.

    A list inside a block is none (experts, sublayers), nor are the blocks that see or hear for a language model: texts
    do not pass them.
    """
    lists = [
        (name, len(module))
        for name, module in modules.items()
        if isinstance(module, nn.ModuleList) and len(module) and not re.search(r"(^|\.)\d|vision|visual|audio", name)
    ]
    two = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    if stack and not two:
        raise InputError(
            f"model.site: {type(model).__name__} has no encoder beside a decoder; leave {stack!r} out of it"
        )
    if not two:
        return lists
    return [
        (name, length)
        for name, length in lists
        if next((part for part in name.split(".") if part in _STACKS), None) == (stack or "encoder")
    ]


def _known_places(
    modules: Mapping[str, nn.Module], stacks: Sequence[tuple[str, int]], kind: str
) -> list[tuple[str, int]]:
    """Return the module and the number of its call, by layer."""
    known, of_albert = _KINDS[kind]
    for stack, length in stacks:
        if stack.endswith("albert_layer_groups"):
            return _albert_places(modules, stack, of_albert)
        paths = [_known_path(modules, f"{stack}.{layer}", known, kind) for layer in range(length)]
        if all(paths):
            return [(path, 0) for path in paths if path]
    return []


def _known_path(modules: Mapping[str, nn.Module], block: str, known: Sequence[str], kind: str) -> str | None:
    for second in known:
        if _width(modules.get(path := f"{block}.{second}"))[0]:
            return path
    if kind != "ffn":
        return None
    experts = [path for path, module in modules.items() if path.startswith(f"{block}.") and expert_shape(module)[0]]
    return experts[0] if len(experts) == 1 else None


def _albert_places(modules: Mapping[str, nn.Module], groups: str, second: str) -> list[tuple[str, int]]:
    """Return ALBERT's depths: its layers are spread over the groups, and those of a group share their weights."""
    config: Any = modules[groups.rpartition(".")[0]].config
    passed: Counter[str] = Counter()
    places = []
    for depth in range(config.num_hidden_layers):
        group = int(depth / (config.num_hidden_layers / config.num_hidden_groups))
        for inner in range(config.inner_group_num):
            path = f"{groups}.{group}.albert_layers.{inner}.{second}"
            places.append((path, passed[path]))
            passed[path] += 1
    return places


def _custom_places(modules: Mapping[str, nn.Module], site: str) -> list[tuple[str, int]]:
    if _LAYER not in site:
        return [(site, 0)] if _width(modules.get(site))[0] else []
    places: list[tuple[str, int]] = []
    while _width(modules.get(path := site.replace(_LAYER, str(len(places)))))[0]:
        places.append((path, 0))
    return places


def _width(module: nn.Module | None) -> tuple[int, int]:
    """Return the number of neurons and of experts."""
    experts, units = expert_shape(module)
    return (experts * units, experts) if experts else (map_shape(module)[0], 0)


def _with_layer(name: str) -> str:
    return re.sub(r"(^|\.)\d+(?=\.|$)", rf"\1{_LAYER}", name, count=1)
