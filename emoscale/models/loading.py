"""Loading a model's weights."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import transformers
from transformers.distributed.configuration_utils import DistributedConfig

from emoscale.errors import InputError, first_lines
from emoscale.models.adapters import merge_adapter
from emoscale.models.kinds import loader_of
from emoscale.models.options import ModelOptions
from emoscale.models.outline import ModelOutline, advice_on
from emoscale.models.quantised import check_library, config_to_load, quantisation
from emoscale.models.trials import try_model


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
        try:
            embeddings = self.module.get_input_embeddings()
        except NotImplementedError:
            embeddings = None
        if embeddings is None:
            return next(self.module.parameters()).device  # type: ignore[no-any-return]
        device = getattr(getattr(embeddings, "_hf_hook", None), "execution_device", None)
        return embeddings.weight.device if device is None else torch.device(device)


def load_model(
    outline: ModelOutline,
    *,
    device: str | torch.device = "cpu",
    dtype: str = ModelOptions.dtype,
    split: Literal["layers", "tensors"] | None = None,
) -> LanguageModel:
    """Load a model's weights (safetensors only), frozen, in evaluation mode, and try the model on a few tokens.

    Parameters
    ----------
    outline : ModelOutline
    device : str or device
    dtype : {"float32", "bfloat16", "float16"}
        Type of the weights in memory; quantised ones, and what lies beside them, may have types of their own.
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
        If the weights cannot be read, do not fit the configuration, or are incomplete; if a library for them or the
        model's code is missing; if the model cannot be split this way; or if it is not what its configuration says, see
        `try_model`.
    """
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # Its table of weights that do not fit repeats what the error below reports in one line.
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    device = torch.device(device)
    tp_rank, tp_size = _own_part(split)
    check_split(outline, split, tp_size)
    check_library(outline.name, outline.config)
    try:
        module, report = loader_of(outline.config).from_pretrained(
            outline.folder,
            config=config_to_load(outline.config),
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=outline.trust_remote_code,
            output_loading_info=True,
            # Adapters are merged below; transformers would leave their maps beside the model's own.
            adapter_kwargs={"subfolder": "no adapter"},
            **_placement(outline, split, device, tp_size),
        )
    except (Exception, SystemExit) as error:  # ten kinds of transformers', and any of code that a model comes with
        raise InputError(
            f"model.name {outline.name!r}: the weights in {outline.folder} cannot be loaded ({_reason(error)}); "
            f"{_fix(error, outline)}"
        ) from error
    _check_weights(outline, report["missing_keys"])
    if not hasattr(module, "hf_device_map") and tp_size == 1:
        module = module.to(device)
    if outline.files.adapter:
        module = merge_adapter(outline.name, outline.files.adapter, module)
    model = LanguageModel(outline, module.eval().requires_grad_(False), tp_rank, tp_size)
    return replace(model, outline=try_model(model))


def _check_weights(outline: ModelOutline, missing_keys: Collection[str]) -> None:
    # Transformers draws missing weights at random. A pooler is not used here, and many encoders come without.
    if missing := sorted(name for name in missing_keys if "pooler" not in name):
        raise InputError(
            f"model.name {outline.name!r}: {len(missing)} weights are not in {outline.folder}, the first is "
            f"{missing[0]}; fetch them again, or correct architectures in its config.json"
        )


def check_split(outline: ModelOutline, split: str | None, tp_size: int, stages: Collection[str] = ()) -> None:
    """Check that a model can be split, and that the stages can work with it.

    Parameters
    ----------
    outline : ModelOutline
    split : {"layers", "tensors"} or None
        As for `load_model`.
    tp_size : int
        Over how many processes the tensors are spread.
    stages : collection of str
        What is to run.

    Raises
    ------
    InputError
        If tensors are to be spread of a model with quantised weights or an adapter, without a plan for it, a mixture of
        experts, or one of a width that `tp_size` does not divide; or if prompts are to be tuned on such a model.
    """
    if split != "tensors" or tp_size == 1:
        return
    problems = []
    if method := quantisation(outline.config):
        problems.append(
            f"machine.split_model 'tensors': the weights of {outline.name} are quantised with {method}; set 'layers'"
        )
    if outline.files.adapter:
        problems.append(
            f"machine.split_model 'tensors': {outline.name} has an adapter; merge it into the weights, or set 'layers'"
        )
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
            "machine.split_model 'tensors': prompts cannot be tuned this way; run emoscale tune with 'layers', or "
            "without it"
        )
    if problems:
        raise InputError(problems)


def _common_divisor(outline: ModelOutline) -> int:
    text = outline.config.get_text_config()
    heads = [getattr(text, name, None) for name in ("num_attention_heads", "num_key_value_heads")]
    return math.gcd(*(number for number in heads if isinstance(number, int)), *(site.width for site in outline.sites))


def _own_part(split: str | None) -> tuple[int, int]:
    if split != "tensors" or not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def _placement(outline: ModelOutline, split: str | None, device: torch.device, tp_size: int) -> dict[str, Any]:
    if split == "tensors" and tp_size > 1:
        return {"distributed_config": DistributedConfig(tp_plan="auto", tp_size=tp_size)}
    if split == "layers" and device.type == "cuda":
        return {"device_map": "auto"}
    # Some kinds of quantised weights cannot be moved, or are made ready where they are loaded.
    return {"device_map": {"": device}} if quantisation(outline.config) and device.type == "cuda" else {}


def _reason(error: BaseException) -> str:
    if "ignore_mismatched_sizes" in str(error):
        return "their shapes are not those of its config.json"
    return first_lines(error)


def _fix(error: BaseException, outline: ModelOutline) -> str:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return "set model.dtype to bfloat16, machine.split_model to layers, or another model"
    if isinstance(error, ImportError):
        return "install what is missing"
    return advice_on(error, outline.folder, outline.trust_remote_code) or "fetch them again"
