"""Adapters (LoRA and the like), which peft merges into the weights, so that a model has ordinary maps."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

from emoscale.errors import InputError, first_lines

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def read_adapter_config(name: str, folder: Path) -> dict[str, Any]:
    """Check that an adapter can be used, and return its configuration.

    Parameters
    ----------
    name : str
        What the user calls the model.
    folder : Path

    Raises
    ------
    InputError
        If peft is not installed, the configuration cannot be read, or there are no weights in safetensors.
    """
    if importlib.util.find_spec("peft") is None:
        raise InputError(
            f"model.name {name!r}: {folder} is an adapter; pip install 'emoscale[peft]', or merge it into the weights"
        )
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise InputError(
            f"model.name {name!r}: {folder} is an adapter without {ADAPTER_WEIGHTS}; convert it (pickled weights are "
            "not loaded)"
        )
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"model.name {name!r}: {folder / ADAPTER_CONFIG} cannot be read ({first_lines(error)}); fetch it again"
        ) from error
    if not isinstance(config, dict):
        raise InputError(f"model.name {name!r}: {folder / ADAPTER_CONFIG} is not a configuration; fetch it again")
    return config


def merge_adapter(name: str, folder: Path, module: Any) -> Any:
    """Merge an adapter into a model's weights.

    Parameters
    ----------
    name : str
        What the user calls the model.
    folder : Path
        The adapter's.
    module : PreTrainedModel
        The base model; it is changed.

    Returns
    -------
    PreTrainedModel
        A model of the same class, without a trace of the adapter.

    Raises
    ------
    InputError
        If the adapter does not fit the model, or its kind has no weights to merge.
    """
    from peft import PeftConfig, PeftModel

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Merging into one of two tied layers would change the other too.
            warnings.filterwarnings("error", message=".*tie_word_embeddings=True")
            config = PeftConfig.from_pretrained(str(folder))
            if config.is_prompt_learning or config.is_adaption_prompt:
                raise ValueError(f"{config.peft_type.value} has no weights to merge")
            config.inference_mode = True
            adapted = PeftModel(module, config)
            result = adapted.load_adapter(str(folder), "default")
            # Of other weights that were trained with it, such as a classifier's, not all have a place here.
            unused = [key for key in result.unexpected_keys if adapted.base_model.prefix in key]
            if misfits := [*result.missing_keys, *unused]:
                raise ValueError(f"{len(misfits)} of its weights do not fit the model, the first is {misfits[0]}")
            return adapted.merge_and_unload(safe_merge=True)
    except Exception as error:  # peft's kinds differ from adapter to adapter
        raise InputError(
            f"model.name {name!r}: the adapter in {folder} cannot be merged ({first_lines(error)}); merge it into the "
            "weights yourself, or set another model"
        ) from error
