"""The model's head where it is needed: at the positions that are read, for the words that are asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

Read = Callable[[Tensor], Tensor]
"""(rows, tokens, units) in, (rows, units) or (rows, positions, units) out."""


@contextmanager
def reading(
    model: Any, read: Read, *, words: Sequence[int] | None = None, narrowed: Sequence[str] = ()
) -> Iterator[None]:
    """Give the model's head only the hidden states that are read.

    A head over the whole vocabulary at every position is the largest waste in evaluating masked language models.

    Parameters
    ----------
    model : PreTrainedModel
        What its head works on is the `last_hidden_state` of its base model; it becomes (rows, 1 or positions, hidden).
    read : callable
    words : sequence of int, optional
        Tokens whose logits are wanted. A head that is a plain linear map computes no others; where it is not, all are
        computed.
    narrowed : sequence of str
        Linear maps that need to be computed only where rows are read (see `narrowable`); where several positions are,
        they are computed completely.
    """

    def keep(_module: nn.Module, _args: Any, output: Any) -> Any:
        output["last_hidden_state"] = _positions(read(output.last_hidden_state))
        return output

    tokens: list[int] = []

    def begin(_module: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        given = inputs.get("inputs_embeds")
        if given is None:  # token ids come by name or, in GPT-2, first
            given = inputs["input_ids"] if "input_ids" in inputs else args[0]
        tokens[:] = [given.shape[1]]

    def narrow(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        values = args[0]
        if values.dim() != 3 or values.shape[1] != tokens[0]:
            return args
        # Once narrowed, what follows in the block is added to all positions; only the one read is right, and read.
        kept = _positions(read(values))
        return (kept, *args[1:]) if kept.shape[1] == 1 else args

    # The head of OPT takes the inner decoder's states, past its base model.
    body = getattr(model.base_model, "decoder", model.base_model)
    with ExitStack() as hooks:
        hooks.callback(body.register_forward_hook(keep).remove)
        if narrowed:
            hooks.callback(body.register_forward_pre_hook(begin, with_kwargs=True).remove)
            for name in narrowed:
                hooks.callback(model.get_submodule(name).register_forward_pre_hook(narrow).remove)
        if words is not None:
            hooks.enter_context(_only(model, words))
        yield


def _positions(read: Tensor) -> Tensor:
    return read[:, None] if read.dim() == 2 else read


@contextmanager
def _only(model: Any, words: Sequence[int]) -> Iterator[None]:
    """Let a head compute the logits of some words, where it is a plain linear map that lies on one device."""
    head, vocabulary = model.get_output_embeddings(), model.config.get_text_config().vocab_size
    is_plain = type(head) is nn.Linear and type(head.weight) in (nn.Parameter, Tensor) and not head.weight.is_meta
    # What some models call their head (DeBERTa's newer one) comes before the map to words.
    is_last = is_plain and len(head.weight) == vocabulary and not head._forward_hooks and not _adds_more(model, head)
    if not is_last or "forward" in head.__dict__ or hasattr(head, "_hf_hook"):
        yield
        return
    index = torch.tensor(list(words), dtype=torch.int64, device=head.weight.device)
    weight = head.weight[index]
    bias = None if head.bias is None else head.bias[index]
    head.forward = lambda values: linear(values, weight, bias)
    try:
        yield
    finally:
        del head.forward


def _adds_more(model: nn.Module, head: nn.Linear) -> bool:
    """Return whether the module that a head belongs to has a bias of its own for every word (ESM)."""
    name = next(name for name, module in model.named_modules() if module is head)
    others = model.get_submodule(name.rpartition(".")[0]).parameters(recurse=False)
    return any(other is not head.bias and other.shape[:1] == head.weight.shape[:1] for other in others)
