"""Loading a model, or taking one that is in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from emoscale.api.arguments import naming
from emoscale.errors import InputError
from emoscale.models.in_memory import adopt_model, evaluating
from emoscale.models.loading import LanguageModel, load_model
from emoscale.models.options import ModelOptions
from emoscale.models.outline import outline_model
from emoscale.models.sites.site import neuron_coordinates
from emoscale.system.option_types import lookup

_DTYPES = ("float32", "bfloat16", "float16")
_NAMES = {
    "model.name": "name_or_model",
    "model.site": "site",
    "model.dtype": "dtype",
    "model.revision": "revision",
    "model.trust_remote_code": "trust_remote_code",
}


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model and its neurons, see `load`.

    Attributes
    ----------
    language_model : emoscale.models.loading.LanguageModel
    site : str
        What its neurons are.

    Examples
    --------
    >>> model
    Model('GPT2LMHeadModel', causal-lm, site='ffn', 2 layers, 48 neurons, cpu)
    """

    language_model: LanguageModel
    site: str

    @property
    def name(self) -> str:
        """As it was given; of a model in memory, where it came from or its class."""
        return self.language_model.outline.name

    @property
    def kind(self) -> str:
        """``causal-lm``, ``masked-lm``, ``encoder`` or ``encoder-decoder``."""
        return self.language_model.outline.kind

    @property
    def module(self) -> Any:
        """The transformers model."""
        return self.language_model.module

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return self.language_model.outline.tokenizer

    @property
    def neurons(self) -> pd.DataFrame:
        """Layer and unit of every neuron, in the order of all results; and its expert where there are any.

        Examples
        --------
        >>> model.neurons.tail(2)
            layer  unit
        46      1    22
        47      1    23
        """
        table = pd.DataFrame(neuron_coordinates(self.language_model.outline.sites))
        return table.drop(columns="expert") if (table["expert"] < 0).all() else table

    @contextmanager
    def evaluating(self) -> Iterator[LanguageModel]:
        """Give the model in evaluation mode, its weights frozen; after the block it is as it was."""
        with evaluating(self.module):
            yield self.language_model

    def __repr__(self) -> str:
        outline = self.language_model.outline
        layers = len({site.layer for site in outline.sites})
        return (
            f"Model({self.name!r}, {self.kind}, site={self.site!r}, {layers} layers, {outline.neurons:,} neurons, "
            f"{self.language_model.device})"
        )


def load(
    name_or_model: Any,
    *,
    site: str = ModelOptions.site,
    tokenizer: Any = None,
    device: str = "auto",
    dtype: str = ModelOptions.dtype,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Model:
    """Load a model and find its neurons, or take one that is in memory.

    Parameters
    ----------
    name_or_model : str, Path, PreTrainedModel or nnsight.LanguageModel
        A name on the Hugging Face hub, a folder that ``save_pretrained`` wrote, the folder of an adapter, a GGUF file,
        or a model in memory, which stays as it is.
    site : str
        What neurons are: ``"ffn"``, the inputs of each block's second feed-forward map; ``"attention"``, the heads'
        outputs; ``"residual"``, the outputs of the blocks; or the path of a linear map with ``{layer}``, such as
        ``"model.layers.{layer}.mlp.down_proj"``.
    tokenizer : PreTrainedTokenizerBase, optional
        Of a model in memory; nnsight's have one.
    device : str
        Where to load it: ``"auto"`` is a GPU if there is one.
    dtype : {"float32", "bfloat16", "float16"}
        Type of the weights.
    revision : str, optional
        Branch, tag or commit on the hub.
    trust_remote_code : bool
        Run Python code that comes with the model.

    Returns
    -------
    Model
        `activations` takes it, and takes what this function takes, too.

    Raises
    ------
    InputError
        If there is no such model, it cannot be run, or it has no such neurons. It says which argument to change.

    Examples
    --------
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_inner=24, n_layer=2, n_head=2)
    >>> es.load(GPT2LMHeadModel(config), tokenizer=tokenizer, site="residual")
    Model('GPT2LMHeadModel', causal-lm, site='residual', 2 layers, 32 neurons, cpu)
    """
    if not isinstance(name_or_model, (str, Path)):
        if isinstance(name_or_model, Model):
            raise InputError("name_or_model: is loaded already; give it to the other functions as it is")
        _check_only_for_files(device, dtype, revision, trust_remote_code)
        with naming({**_NAMES, "model": "name_or_model"}):
            return Model(adopt_model(name_or_model, tokenizer, site), site)
    if tokenizer is not None:
        raise InputError("tokenizer: a model that is loaded by name or folder brings its own; leave it out")
    lookup("dtype", dict.fromkeys(_DTYPES, ""), dtype)
    options = ModelOptions(str(name_or_model), revision, site=site, trust_remote_code=trust_remote_code)
    with naming(_NAMES):
        return Model(load_model(outline_model(options), device=_device(device), dtype=dtype), site)


def as_model(model: Any, site: str | None, tokenizer: Any) -> Model:
    """Return a model that may have been loaded already.

    Raises
    ------
    InputError
        As of `load`; or if a loaded one is to be read at another site.
    """
    if not isinstance(model, Model):
        with naming({"name_or_model": "model"}):
            return load(model, site=ModelOptions.site if site is None else site, tokenizer=tokenizer)
    if site not in (None, model.site):
        raise InputError(f"site {site!r}: the model is loaded with site {model.site!r}; load it again with another")
    if tokenizer is not None:
        raise InputError("tokenizer: the loaded model has one; leave it out")
    return model


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r}: is not available here; set it to auto or cpu") from error
    return name


def _check_only_for_files(device: str, dtype: str, revision: str | None, trust_remote_code: bool) -> None:
    given = {
        "device": device != "auto",
        "dtype": dtype != ModelOptions.dtype,
        "revision": revision is not None,
        "trust_remote_code": trust_remote_code,
    }
    if problems := [
        f"{name}: a model in memory is used as it is; leave it out" for name, is_set in given.items() if is_set
    ]:
        raise InputError(problems)
