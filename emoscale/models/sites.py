"""What a neuron is in each architecture.

A neuron is one input of a block's second feed-forward map (Li, Su et al. 2024, neuron activations): the value
after the activation function, and in gated feed-forwards the product of gate and up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn
from transformers.pytorch_utils import Conv1D

from emoscale.errors import InputError

SECOND_MAPS = (
    "mlp.down_proj",  # Llama, Mistral, Qwen, Gemma, Phi-3, OLMo, StableLM, Cohere
    "mlp.c_proj",  # GPT-2, GPT-Neo
    "mlp.dense_4h_to_h",  # GPT-NeoX, BLOOM, Falcon
    "mlp.fc_out",  # GPT-J
    "mlp.fc2",  # Phi
    "mlp.Wo",  # ModernBERT
    "output.dense",  # BERT, RoBERTa, XLM-R, ELECTRA, DeBERTa
    "ffn.lin2",  # DistilBERT
    "fc2",  # OPT
)
"""Path of the second feed-forward map inside a block, by family."""


@dataclass(frozen=True)
class Site:
    """One block's neurons.

    Attributes
    ----------
    layer : int
        Number of the block, from 0.
    module : str
        Path of the linear map whose input is read.
    width : int
        Number of neurons.
    """

    layer: int
    module: str
    width: int


def find_sites(model: nn.Module, site: str = "ffn") -> list[Site]:
    """Find every block's neurons.

    Parameters
    ----------
    model : Module
        A transformers model; it may be on the meta device.
    site : str
        ``"ffn"``, or the path of the second map with ``{layer}`` for the block's number, for families that are not
        known here: ``"model.layers.{layer}.mlp.down_proj"``.

    Returns
    -------
    list of Site
        In layer order.

    Raises
    ------
    InputError
        If no neurons are found; names the linear maps there are.
    """
    modules = dict(model.named_modules())
    paths = _known_paths(modules) if site == "ffn" else _custom_paths(modules, site)
    if not paths:
        linear = sorted({_with_layer(name) for name, module in modules.items() if _width(module)})
        raise InputError(
            f"model.site {site!r}: no feed-forward found in {type(model).__name__}; name its second map in model.site, "
            f"one of: {', '.join(linear)}"
        )
    return [Site(layer, path, _width(modules[path])) for layer, path in enumerate(paths)]


def neuron_coordinates(sites: list[Site]) -> dict[str, NDArray[np.int32]]:
    """Return the layer and the unit of every neuron, flat index = position in layer-major order."""
    return {
        "layer": np.concatenate([np.full(s.width, s.layer, np.int32) for s in sites]),
        "unit": np.concatenate([np.arange(s.width, dtype=np.int32) for s in sites]),
    }


def _known_paths(modules: dict[str, nn.Module]) -> list[str]:
    for name, module in modules.items():
        if not isinstance(module, nn.ModuleList) or not len(module):
            continue
        for second in SECOND_MAPS:
            paths = [f"{name}.{i}.{second}" for i in range(len(module))]
            if all(_width(modules.get(path)) for path in paths):
                return paths
    return []


def _custom_paths(modules: dict[str, nn.Module], site: str) -> list[str]:
    if "{layer}" not in site:
        return [site] if _width(modules.get(site)) else []
    paths: list[str] = []
    while _width(modules.get(path := site.replace("{layer}", str(len(paths))))):
        paths.append(path)
    return paths


def _width(module: nn.Module | None) -> int:
    if isinstance(module, nn.Linear):
        return module.in_features
    return module.nx if isinstance(module, Conv1D) else 0


def _with_layer(name: str) -> str:
    return ".".join("{layer}" if part.isdigit() else part for part in name.split("."))
