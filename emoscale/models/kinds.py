"""What can be read from a model, by what transformers builds for its configuration.

The end of a class name says little: `Gemma3ForConditionalGeneration` continues texts, `XLMWithLMHeadModel` fills masks,
and `BertLMHeadModel` looks ahead unless `is_decoder` is set. What is decided here is tried on the loaded model, see
`emoscale.models.trials`.
"""

from __future__ import annotations

from typing import Any, Literal

from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMaskedLM,
    AutoModelForMultimodalLM,
    AutoModelForTextEncoding,
)
from transformers.models.auto import modeling_auto as auto

Kind = Literal["masked-lm", "causal-lm", "encoder", "encoder-decoder"]

_DISCRIMINATORS = ("ElectraForPreTraining", "FunnelForPreTraining")
"""They tell replaced tokens from others and predict no words."""


def kind_of(config: Any) -> Kind:
    """Return what can be read from a model of this configuration."""
    return kind_and_loader(config)[0]


def loader_of(config: Any) -> Any:
    """Return the class that builds and loads a model of this configuration."""
    return kind_and_loader(config)[1]


def kind_and_loader(config: Any) -> tuple[Kind, Any]:
    """Return what can be read from a model of this configuration, and the class that builds and loads it.

    Parameters
    ----------
    config : PreTrainedConfig

    Returns
    -------
    {"masked-lm", "causal-lm", "encoder", "encoder-decoder"}
    class
    """
    architecture = (getattr(config, "architectures", None) or [""])[0]
    family, own = config.model_type, _own_loader(config, architecture)
    if architecture in _named(auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES, family):
        return "encoder", AutoModelForTextEncoding  # the encoder of T5 alone, where AutoModel builds both stacks
    if config.is_encoder_decoder:
        return "encoder-decoder", AutoModel
    if own == "AutoModelForMaskedLM" or (_fills_masks(config, architecture) and not _looks_back(config)):
        return "masked-lm", AutoModelForMaskedLM
    for names, loader in (
        (auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, AutoModelForImageTextToText),
        (auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES, AutoModelForMultimodalLM),
    ):
        if architecture in _named(names, family):
            return "causal-lm", loader
    if own == "AutoModelForCausalLM" or _continues(config, architecture):
        return ("causal-lm", AutoModelForCausalLM) if _looks_back(config) else ("encoder", AutoModel)
    return "encoder", AutoModel


def class_for(config: Any, kind: Kind) -> str | None:
    """Return the class that transformers has for a kind of a configuration's family; None if there is none."""
    names = auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES if kind == "masked-lm" else auto.MODEL_MAPPING_NAMES
    return next(iter(_named(names, config.model_type)), None)


def _fills_masks(config: Any, architecture: str) -> bool:
    masked = _named(auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, config.model_type)
    if not masked or architecture in _DISCRIMINATORS:
        return False
    pretrained = _named(auto.MODEL_FOR_PRETRAINING_MAPPING_NAMES, config.model_type)
    # A bidirectional family's class that continues texts has the weights of the one that fills masks.
    continuing = _named(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, config.model_type)
    is_named = architecture.endswith("ForMaskedLM")
    return is_named or architecture in masked or architecture in pretrained or architecture in continuing


def _continues(config: Any, architecture: str) -> bool:
    continuing = _named(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, config.model_type)
    # Some families are built of another's class, and their files name one of their own.
    return bool(continuing) and (architecture in continuing or architecture.endswith("ForCausalLM"))


def _looks_back(config: Any) -> bool:
    """Return whether a token sees those before it alone, where the configuration says it."""
    if config.model_type == "xlnet":
        return bool(config.attn_type != "bi")
    if config.model_type in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return bool(getattr(config, "is_decoder", False) or getattr(config, "causal", False))
    return True


def _named(names: Any, model_type: str) -> tuple[str, ...]:
    found = names.get(model_type, ())
    return (found,) if isinstance(found, str) else tuple(found)


def _own_loader(config: Any, architecture: str) -> str | None:
    """Return which auto class the model's own code has its architecture for."""
    own = getattr(config, "auto_map", None) or {}
    return next((name for name, path in own.items() if architecture and str(path).endswith(f".{architecture}")), None)
