"""Checkpoints of quantised weights, for which transformers needs other libraries."""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

from emoscale.errors import InputError

_LIBRARIES = {
    "bitsandbytes": ("bitsandbytes",),
    "gptq": ("gptqmodel", "optimum"),
    "awq": ("gptqmodel",),
    "compressed-tensors": ("compressed_tensors",),
}
"""Modules that are needed, by method; of others transformers says it while it loads."""


def quantisation(config: Any) -> str | None:
    """Return the method by which a checkpoint's weights are quantised, as its `config.json` names it."""
    settings = _settings(config)
    if settings is None:
        return None
    # The first checkpoints of bitsandbytes do not name it.
    return str(settings.get("quant_method") or "bitsandbytes")


def check_library(name: str, config: Any) -> None:
    """Check that the library is here that reads a checkpoint's weights.

    Parameters
    ----------
    name : str
        What the user calls the model.
    config : PreTrainedConfig

    Raises
    ------
    InputError
        Says how to install it.
    """
    method = quantisation(config)
    missing = [module for module in _LIBRARIES.get(method or "", ()) if importlib.util.find_spec(module) is None]
    if missing:
        packages = " ".join(module.replace("_", "-") for module in missing)
        raise InputError(f"model.name {name!r}: its weights are quantised with {method}; pip install {packages}")


def config_to_load(config: Any) -> Any:
    """Return the configuration that the weights are loaded with."""
    settings = _settings(config)
    if settings is None or quantisation(config) != "compressed-tensors":
        return config
    # Else they are unpacked by a hook of the whole model, which does not run where only its blocks do.
    config = copy.deepcopy(config)
    config.quantization_config = {**settings, "dequantize": True}
    return config


def _settings(config: Any) -> dict[str, Any] | None:
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return None
    return dict(settings if isinstance(settings, dict) else settings.to_dict())
