"""What only a forward pass shows of a model: which way it looks, how it arranges rows inside, whether padding leaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from emoscale.errors import InputError, StageError, first_lines
from emoscale.models.capture import capturing
from emoscale.models.forward import may_cache, run_body
from emoscale.models.kinds import class_for
from emoscale.models.outline import ModelOutline
from emoscale.models.packing import pad_rows
from emoscale.models.passes import touching
from emoscale.models.sites.site import Order, Site
from emoscale.models.tensor_parallel import own_neurons

if TYPE_CHECKING:
    from emoscale.models.loading import LanguageModel

SHORT, LONG = 3, 12
"""Tokens of the rows that are tried. An odd number shows a model that pads to windows, which are even."""

_ROUNDING, _ROUNDING_IN_HALF = 1e-3, 0.25
"""How much of its own and the site's mean size a value may change with the shape of the pass."""
_SHARE = 0.05
"""Of a site's values may change more: one of three tokens that sees the padding is a third."""
_MOVED, _MOVED_IN_HALF, _UNMOVED = 1e-3, 2e-2, 1e-6
"""What a later token changes in logits, as a share of the largest: what is less is rounding, or nothing at all."""

PADDING_NOTE = "padding changes what this model computes: only texts of one length share a forward pass"


@torch.inference_mode()
def try_model(model: LanguageModel) -> ModelOutline:
    """Run a loaded model on a few short rows, and return its outline with what they show.

    Parameters
    ----------
    model : LanguageModel

    Returns
    -------
    ModelOutline
        With the `order` of its sites, and `padding_leaks`, of which there is a note.

    Raises
    ------
    InputError
        If the model cannot be run; looks another way than its kind does; or rearranges rows inside in a way that is not
        understood, so that a neuron's value could be another token's.
    """
    outline = model.outline
    tokens = _ordinary_tokens(outline)
    if len(tokens) <= SHORT:
        return outline
    with _in_one_line(model):
        _check_direction(model, tokens)
        sites = _ordered(model, tokens)
        model = replace(model, outline=replace(outline, sites=sites))
        if _padding_leaks(model, tokens):
            return replace(model.outline, padding_leaks=True, notes=(*outline.notes, PADDING_NOTE))
    return model.outline


def _ordinary_tokens(outline: ModelOutline) -> list[int]:
    """Return tokens that mean nothing special to the tokenizer or the model, far apart, no more than a row may have."""
    text = outline.config.get_text_config()
    settings = [setting for config in (outline.config, text) for setting in vars(config).items()]
    named = {value for key, value in settings if "token" in key and isinstance(value, int)}
    vocabulary = getattr(text, "vocab_size", None) or len(outline.tokenizer)
    special = named.union(outline.tokenizer.all_special_ids)
    ordinary = [token for token in range(min(vocabulary, len(outline.tokenizer))) if token not in special]
    positions = LONG + 1 if outline.positions is None else outline.positions - outline.first_position
    return ordinary[:: max(len(ordinary) // (LONG + 1), 1)][: min(LONG + 1, positions)]


@contextmanager
def _in_one_line(model: LanguageModel) -> Iterator[None]:
    """Report what a model that does not run raises, whatever it is, as an InputError."""
    try:
        yield
    except (InputError, torch.OutOfMemoryError):
        raise
    except StageError as error:
        raise InputError(error.problems) from error
    except Exception as error:
        fix = "set another model" if _is_exact(model) else "set model.dtype to float32, or another model"
        raise InputError(
            f"model.name {model.outline.name!r}: {type(model.module).__name__} cannot be run on a row of tokens "
            f"({type(error).__name__}: {first_lines(error)}); {fix}"
        ) from error


def _check_direction(model: LanguageModel, tokens: Sequence[int]) -> None:
    """Check that a later token moves the logits before it if the model is a masked one, and only then."""
    kind, row = model.outline.kind, tokens[:-1]
    if kind not in ("causal-lm", "masked-lm"):
        return
    ids = torch.tensor([row, [*row[:-1], tokens[-1]]], device=model.device)
    options: dict[str, Any] = {"use_cache": False} if may_cache(type(model.module).forward) else {}
    logits = model.module(input_ids=ids, attention_mask=torch.ones_like(ids), **options).logits[:, :-1].float()
    moved = float((logits[0] - logits[1]).abs().max() / logits.abs().max())
    name, architecture = model.outline.name, type(model.module).__name__
    config = model.outline.config
    if kind == "causal-lm" and moved > (_MOVED if _is_exact(model) else _MOVED_IN_HALF):
        known = class_for(config, "masked-lm") or class_for(config, "encoder") or "those of an encoder"
        raise InputError(
            f"model.name {name!r}: {architecture} looks ahead, so it does not continue a text; set architectures in "
            f"its config.json to [{known!r}]"
        )
    if kind == "masked-lm" and moved <= _UNMOVED:
        raise InputError(
            f"model.name {name!r}: {architecture} does not look ahead, so it fills no masks; set is_decoder in its "
            "config.json to false, or its architectures to a class that continues texts"
        )


def _is_exact(model: LanguageModel) -> bool:
    return bool(torch.finfo(model.module.dtype).bits > 16)


def _ordered(model: LanguageModel, tokens: Sequence[int]) -> list[Site]:
    """Return the sites with the order in which each has a batch's values."""
    sites, shapes = model.outline.sites, {}

    def see(path: str, values: Any) -> Any:
        if isinstance(values, Tensor):
            shapes[path] = tuple(values.shape[:-1])
        return values

    with touching(model.module, sites, see):
        run_body(model, *pad_rows([tokens[:SHORT]], model.outline.pad_id))
    name, usual = type(model.module).__name__, (1, SHORT)
    ordered = [replace(site, order=_order(site, shapes.get(site.path, usual), name)) for site in sites]
    if set(shapes.values()) <= {usual}:
        return ordered
    # The order is a guess: a row must give the same alone and beside one that fills what the model pads to.
    guessed = replace(model, outline=replace(model.outline, sites=ordered))
    longest = max(shape[-1] for shape in shapes.values() if len(shape) > 1 or shape == (SHORT,))
    beside = [tokens[number % len(tokens)] for number in range(1, max(longest, SHORT) + 1)]
    if _differ(guessed, _units(guessed, [tokens[:SHORT]]), _units(guessed, [tokens[:SHORT], beside])):
        path, shape = next((path, shape) for path, shape in shapes.items() if shape != usual)
        raise next(site for site in sites if site.path == path).other_shape(shape, usual, name)
    return ordered


def _order(site: Site, shape: tuple[int, ...], model: str) -> Order:
    if shape in ((1, SHORT), (SHORT,)):
        return "rows"
    if shape == (SHORT, 1):
        return "tokens"
    if len(shape) == 2 and shape[0] == 1 and shape[1] > SHORT:
        return "padded"
    raise site.other_shape(shape, (1, SHORT), model)


def _padding_leaks(model: LanguageModel, tokens: Sequence[int]) -> bool:
    short, long = tokens[:SHORT], tokens[1:]
    leaks = _differ(model, _units(model, [short]), _units(model, [short, long]))
    if leaks and any(site.experts for site in model.outline.sites):
        # Rounding may route a token to another expert: only what the padding is decides.
        leaks = _differ(model, *(_units(model, [short, long], pad_id) for pad_id in tokens[-2:]))
    if model.tp_size == 1:
        return leaks
    agreed = torch.tensor(int(leaks), device=model.device)
    torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MAX)
    return bool(agreed)


def _units(model: LanguageModel, rows: Sequence[Sequence[int]], pad_id: int | None = None) -> Tensor:
    """Return the units of the first row's tokens, (tokens, own units)."""
    ids, attention = pad_rows(rows, model.outline.pad_id if pad_id is None else pad_id)
    with capturing(model.module, model.outline.sites, model.tp_rank, model.tp_size) as captured:
        captured.expect(len(ids), ids.shape[1], lambda values: values[0, : len(rows[0])])
        captured.run(lambda: run_body(model, ids, attention))
        return captured.take().float()


def _differ(model: LanguageModel, one: Tensor, other: Tensor) -> bool:
    """Return whether units differ at a site by more than rounding; absent ones are compared with absent ones."""
    tolerance = _ROUNDING if _is_exact(model) else _ROUNDING_IN_HALF
    start = 0
    for neurons in own_neurons(model.outline.sites, model.tp_rank, model.tp_size):
        width = neurons.stop - neurons.start
        a, b = (units[:, start : start + width] for units in (one, other))
        start += width
        size = a.nan_to_num(0).abs()
        near = (a - b).nan_to_num(0).abs() <= tolerance * (size + size.mean())
        if float((~near | (a.isnan() != b.isnan())).float().mean()) > _SHARE:
            return True
    return False
