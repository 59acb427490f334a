"""Running a model on token ids as far as its neurons, without its head."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from emoscale.errors import InputError
from emoscale.models.loading import LanguageModel
from emoscale.models.outline import ModelOutline

_SEE_DISTANCES_ALONE = frozenset({"bloom", "t5", "mt5", "umt5"})
"""Model types whose attention knows how far tokens are apart, and no token's number."""


def run_body(model: LanguageModel, ids: Tensor, attention: Tensor) -> None:
    """Run a model without its head, for hooks that see its neurons.

    A row's values do not depend on the side it is padded on: its tokens are numbered from the first one. Of an
    encoder-decoder model whose neurons are in the encoder, only the encoder runs. Where they are in the decoder, the
    encoder reads the row, and so does the decoder, shifted right after the start token (Lewis et al. 2020, BART).

    Parameters
    ----------
    model : LanguageModel
    ids : Tensor
        Shape (rows, tokens), int64.
    attention : Tensor
        Shape (rows, tokens), int64: 1 for tokens, 0 for the padding before or after them. Best given on the CPU, like
        `ids`: looking for the side of the padding waits for a device.

    Raises
    ------
    InputError
        If rows are padded on the left, and the model numbers tokens from the padding on, see `check_padding`.
    """
    left = not bool(attention[:, 0].all())
    if left:
        check_padding(model.outline, "left")
    ids, attention = ids.to(model.device, non_blocking=True), attention.to(model.device, non_blocking=True)
    if model.outline.kind == "encoder-decoder":
        _run_stacks(model, ids, attention)
        return
    body = model.module.base_model
    options: dict[str, Any] = {"use_cache": False} if _may_cache(type(body).forward) else {}
    # Padded on the right, a model's own numbers are right whatever they are.
    if left and model.outline.takes_positions:
        options["position_ids"] = _positions(attention, model.outline.first_position)
    body(input_ids=ids, attention_mask=attention, **options)


@cache
def _may_cache(forward: Callable[..., object]) -> bool:
    return "use_cache" in inspect.signature(forward).parameters


def check_padding(outline: ModelOutline, padding: str) -> None:
    """Check that a model gives a row the same values on whichever side it is padded.

    Parameters
    ----------
    outline : ModelOutline
    padding : {"right", "left"}

    Raises
    ------
    InputError
        If padding on the left would move the row's tokens to other positions.
    """
    if padding == "left" and not outline.takes_positions and outline.config.model_type not in _SEE_DISTANCES_ALONE:
        raise InputError(
            f"extraction.padding 'left': {outline.name} cannot be told where a row starts; set it to 'right'"
        )


def _positions(attention: Tensor, first: int) -> Tensor:
    """Number every row's tokens from its first one; padding has the number before, or 0."""
    return (attention.cumsum(dim=1) * attention + (first - 1)).clamp(min=0)


def _run_stacks(model: LanguageModel, ids: Tensor, attention: Tensor) -> None:
    if not _has_decoder_sites(model):
        model.module.get_encoder()(input_ids=ids, attention_mask=attention)
        return
    model.module.base_model(
        input_ids=ids,
        attention_mask=attention,
        decoder_input_ids=_shifted_right(ids, attention, _start_token(model.outline)),
        decoder_attention_mask=attention,
        use_cache=False,
    )


def _has_decoder_sites(model: LanguageModel) -> bool:
    stacks = ("encoder", "decoder")
    return any(
        next((part for part in site.path.split(".") if part in stacks), None) != "encoder"
        for site in model.outline.sites
    )


def _start_token(outline: ModelOutline) -> int:
    config = outline.config
    start = getattr(config, "decoder_start_token_id", None)
    if start is None:
        start = config.bos_token_id
    if start is None:
        raise InputError(f"{outline.name}: its config.json has no decoder_start_token_id; add it")
    return int(start)


def _shifted_right(ids: Tensor, attention: Tensor, start: int) -> Tensor:
    before = torch.cat([torch.full_like(ids[:, :1], start), ids[:, :-1]], dim=1)
    return torch.where(attention.cumsum(dim=1) * attention == 1, start, before)
