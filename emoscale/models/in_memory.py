"""Models that are in memory already: transformers models, and those that nnsight wraps."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from emoscale.errors import InputError
from emoscale.models.finding import ModelFiles
from emoscale.models.kinds import Kind, kind_of
from emoscale.models.loading import LanguageModel
from emoscale.models.options import ModelOptions
from emoscale.models.outline import describe_model
from emoscale.models.trials import try_model

NO_FILES = ModelFiles(Path("<in memory>"))
"""In place of the files of a model in memory, which has none."""


def adopt_model(model: Any, tokenizer: Any, site: str = ModelOptions.site) -> LanguageModel:
    """Find the neurons of a model in memory, and try the model on a few tokens. It stays as it is.

    Parameters
    ----------
    model : PreTrainedModel or nnsight.LanguageModel
    tokenizer : PreTrainedTokenizerBase, optional
        nnsight's models bring their own.
    site : str
        See `find_sites`.

    Raises
    ------
    InputError
        If it is no such model, comes without a tokenizer or without such units, or cannot be run.
    """
    module = _unwrapped(model)
    tokenizer = getattr(model, "tokenizer", None) if tokenizer is None else tokenizer
    if tokenizer is None or not hasattr(tokenizer, "all_special_ids"):
        given = "none given" if tokenizer is None else f"{type(tokenizer).__name__} given"
        raise InputError(
            f"tokenizer: {given}; a model in memory needs its own, tokenizer=AutoTokenizer.from_pretrained(NAME)"
        )
    name = getattr(module.config, "_name_or_path", "") or type(module).__name__
    options = ModelOptions(name, site=site)
    outline = describe_model(options, NO_FILES, _kind(module), module.config, tokenizer, module)
    adopted = LanguageModel(outline, module)
    with evaluating(module):
        return replace(adopted, outline=try_model(adopted))


def _unwrapped(model: Any) -> PreTrainedModel:
    """Return the transformers model; of nnsight's, with its weights."""
    module = model
    if type(model).__module__.split(".")[0] == "nnsight" or hasattr(model, "_module"):
        if getattr(model, "dispatched", True) is False:
            model.dispatch()
        module = getattr(model, "_module", None) or getattr(model, "_model", None)
    if isinstance(module, PreTrainedModel):
        return module
    if hasattr(model, "merge_and_unload"):
        raise InputError("model: has adapters beside its weights; give model.merge_and_unload()")
    raise InputError(
        f"model: {type(model).__name__} is neither a name nor a model that can be used; give a name, a folder, a GGUF "
        "file, or a transformers or nnsight model"
    )


def _kind(module: PreTrainedModel) -> Kind:
    """Return what can be read from the module, whatever class its checkpoint was of."""
    kinds = []
    for parent in type(module).__mro__:  # a class of the user's own is known by the one that it extends
        if issubclass(parent, PreTrainedModel) and parent is not PreTrainedModel:
            config = copy.copy(module.config)
            config.architectures = [parent.__name__]
            kinds.append(kind_of(config))
    return next((kind for kind in kinds if kind != "encoder"), "encoder")


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Run a module in evaluation mode, its weights frozen, while the block lasts; then it is as it was."""
    training = [part for part in module.modules() if part.training]
    learning = [weight for weight in module.parameters() if weight.requires_grad]
    module.eval()
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for part in training:
            part.training = True
        for weight in learning:
            weight.requires_grad_(True)


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 of a module's weights and buffers as they are in memory.

    Those that are elsewhere (offloaded) count with their names alone.
    """
    digest = hashlib.sha256()
    for name, values in module.state_dict().items():
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        if not values.is_meta:
            digest.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
