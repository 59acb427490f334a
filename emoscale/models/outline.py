"""Reading what can be known of a model without its weights."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer

from emoscale.errors import InputError, first_lines
from emoscale.models.finding import ModelFiles, find_model
from emoscale.models.kinds import Kind, kind_of, loader_of
from emoscale.models.options import ModelOptions
from emoscale.models.sites.registry import find_sites, site_notes
from emoscale.models.sites.site import Site


@dataclass(frozen=True)
class ModelOutline:
    """A model without its weights: enough to check settings against.

    Attributes
    ----------
    name : str
        As the user gave it.
    files : ModelFiles
    kind : {"masked-lm", "causal-lm", "encoder", "encoder-decoder"}
        What can be read from it: the logits of a masked or of the next token, or hidden states alone, of one stack of
        blocks or of two.
    config : PreTrainedConfig
    tokenizer : PreTrainedTokenizerBase
    sites : list of Site
    notes : tuple of str
        See `site_notes`.
    parameters : int
        Number of its weights.
    positions : int or None
        How many tokens a sequence may have when positions count from 0; None where the model sets no limit.
    first_position : int
        The number the model itself gives the first token (2 in RoBERTa).
    takes_positions : bool
        Whether the tokens' numbers can be given to it.
    has_tensor_plan : bool
        Whether transformers says how to spread its layers' tensors over processes, and none of them are experts.
    trust_remote_code : bool
        Whether the user lets Python code run that comes with the model.
    padding_leaks : bool
        Whether the padding of a row changes its neurons, so that only rows of one length may share a pass; known once
        the model is loaded, see `try_model`.
    """

    name: str
    files: ModelFiles
    kind: Kind
    config: Any
    tokenizer: Any
    sites: list[Site]
    notes: tuple[str, ...]
    parameters: int
    positions: int | None
    first_position: int
    takes_positions: bool
    has_tensor_plan: bool
    trust_remote_code: bool
    padding_leaks: bool = False

    @property
    def folder(self) -> Path:
        """Where its configuration and its weights are."""
        return self.files.folder

    @property
    def pad_id(self) -> int:
        """Id of the token that fills rows up; which token it is does not matter, as padding is masked."""
        pad, vocabulary = self.tokenizer.pad_token_id, getattr(self.config.get_text_config(), "vocab_size", None)
        # A token that was added to the tokenizer alone has no embedding.
        return pad if pad is not None and 0 <= pad < (vocabulary or math.inf) else 0

    @property
    def neurons(self) -> int:
        """Number of neurons N over all layers."""
        return sum(site.width for site in self.sites)


def outline_model(options: ModelOptions) -> ModelOutline:
    """Find a model, read its configuration and tokenizer, and find its neurons, without loading weights.

    Nothing is fetched from the hub when HF_HUB_OFFLINE=1.

    Parameters
    ----------
    options : ModelOptions

    Raises
    ------
    InputError
        If there is no such model, transformers cannot read it, or it has no such units.
    """
    files = find_model(options.name, options.revision)
    config, tokenizer, skeleton = _read(options, files)
    return describe_model(options, files, kind_of(config), config, tokenizer, skeleton)


def describe_model(
    options: ModelOptions, files: ModelFiles, kind: Kind, config: Any, tokenizer: Any, module: Any
) -> ModelOutline:
    """Return what can be known of a model without running it.

    Parameters
    ----------
    options : ModelOptions
    files : ModelFiles
    kind : {"masked-lm", "causal-lm", "encoder", "encoder-decoder"}
    config : PreTrainedConfig
    tokenizer : PreTrainedTokenizerBase
    module : PreTrainedModel
        It may be on the meta device.

    Raises
    ------
    InputError
        If it has no such units.
    """
    embeddings = getattr(module.base_model, "embeddings", None)
    padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    sites = find_sites(module, options.site)
    return ModelOutline(
        options.name,
        files,
        kind,
        config,
        tokenizer,
        sites,
        site_notes(module, sites),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        positions=_positions(config),
        first_position=0 if padding is None else padding + 1,
        takes_positions="position_ids" in inspect.signature(module.base_model.forward).parameters,
        has_tensor_plan=_has_tensor_plan(module),
        trust_remote_code=options.trust_remote_code,
    )


def _read(options: ModelOptions, files: ModelFiles) -> tuple[Any, Any, Any]:
    """Return the configuration, the tokenizer, and the model on the meta device."""
    trust = options.trust_remote_code
    with _reading(options, "", files.folder):
        config = AutoConfig.from_pretrained(files.folder, trust_remote_code=trust, local_files_only=True)
    with _reading(options, "the tokenizer in ", files.tokenizer):
        tokenizer = AutoTokenizer.from_pretrained(files.tokenizer, trust_remote_code=trust, local_files_only=True)
        is_empty = tokenizer.get_vocab().keys() <= set(tokenizer.all_special_tokens)
    if is_empty:
        # Without its files transformers makes an empty one, to which every text is the same.
        raise InputError(f"model.name {options.name!r}: {files.tokenizer} has no tokenizer; save the model's own there")
    with _reading(options, "", files.folder), torch.device("meta"):
        skeleton = loader_of(config).from_config(config, trust_remote_code=trust)
    return config, tokenizer, skeleton


@contextmanager
def _reading(options: ModelOptions, what: str, folder: Path) -> Iterator[None]:
    """Turn whatever transformers, or code that comes with the model, raises into one line."""
    try:
        yield
    except (Exception, SystemExit) as error:
        fix = advice_on(error, folder, options.trust_remote_code) or "set another model"
        raise InputError(
            f"model.name {options.name!r}: transformers cannot read {what}{folder} ({first_lines(error)}); {fix}"
        ) from error


def advice_on(error: BaseException, folder: Path, trust_remote_code: bool) -> str | None:
    """Return what to do about an error of reading a model that comes with Python code; None if it comes without."""
    if "trust_remote_code" in str(error):
        return "set model.trust_remote_code to true if you trust its Python code, or set another model"
    if trust_remote_code and any(folder.glob("*.py")):
        return (
            f"its Python code may be for another version of transformers than {transformers.__version__}; install that "
            "one, or set another model"
        )
    return None


def encode_texts(outline: ModelOutline, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Turn texts into token ids, without special tokens.

    Parameters
    ----------
    outline : ModelOutline
    texts : sequence of str
    max_tokens : int
        Longer texts are cut.

    Returns
    -------
    list of list of int
    """
    ids: list[list[int]] = truncated(outline, texts, max_tokens, special=False)["input_ids"]
    return ids


def truncated(
    outline: ModelOutline, texts: Sequence[str], max_tokens: int, *, special: bool, offsets: bool = False
) -> Any:
    """Tokenise texts and cut them at the end that the tokenizer cuts (its `truncation_side`).

    Parameters
    ----------
    outline : ModelOutline
    texts : sequence of str
    max_tokens : int
        Special tokens included.
    special : bool
        Whether special tokens are added.
    offsets : bool
        Whether to return which characters a token is, too; fast tokenizers alone know.

    Returns
    -------
    BatchEncoding
        ``input_ids``, and ``offset_mapping`` if asked for.
    """
    return outline.tokenizer(
        list(texts), add_special_tokens=special, truncation=True, max_length=max_tokens, return_offsets_mapping=offsets
    )


def _positions(config: Any) -> int | None:
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    # XLNet has no limit, and -1.
    return positions if isinstance(positions, int) and positions > 0 else None


def _has_tensor_plan(skeleton: Any) -> bool:
    plan = skeleton.tp_plan or {}
    # A plan without layers (a bare head's) spreads nothing; how plans spread experts is not tested here.
    has_experts = any("expert" in name for name, _ in skeleton.named_modules())
    return any("*" in rule for rule in plan) and not has_experts
