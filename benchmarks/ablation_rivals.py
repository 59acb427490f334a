"""Ablation by others: the published loop, plain hooks, nnsight. Each returns label scores (masks, texts, 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from emoscale.models.loading import load_model
from emoscale.models.prompted import Batch

BATCH, WIDTH = 100, 256


def study(work: Any) -> Callable[[], Tensor]:
    """Load the model again for every mask; pad to 256 tokens, score the vocabulary at every position."""

    def run() -> Tensor:
        found = []
        for off in torch.from_numpy(work.off):
            model = load_model(work.model.model.outline, device=work.model.model.device).module
            hook(work, model, off)
            found.append(
                score(work, lambda values, batch, options, model=model: call(model, values, batch, options), WIDTH)
            )
        return torch.stack(found)

    return run


def hooks(work: Any) -> Callable[[], Tensor]:
    """Load once; pad to the longest text of the batch, score the vocabulary at every position."""

    def run() -> Tensor:
        found = []
        model = work.model.model.module
        for off in torch.from_numpy(work.off):
            handles = hook(work, model, off)
            found.append(score(work, partial(call, model)))
            for handle in handles:
                handle.remove()
        return torch.stack(found)

    return run


def nnsight(work: Any) -> Callable[[], Tensor]:
    """Like hooks, in a trace; nnsight calls a submodule `E_output` where the module's own name is `output`."""
    import nnsight

    model = work.model.model.module
    traced = nnsight.NNsight(model)
    layers = traced.encoder.layer if model is model.base_model else traced.roberta.encoder.layer

    def run() -> Tensor:
        found = []
        width = work.model.model.outline.sites[0].width
        for off in torch.from_numpy(work.off):
            keep = (~off).float().reshape(-1, width).to(work.model.model.device)

            def edited(values: Tensor, batch: Batch, options: dict[str, Tensor], keep: Tensor = keep) -> Tensor:
                with traced.trace(inputs_embeds=values, attention_mask=batch.attention, **options):
                    for number, layer in enumerate(layers):
                        layer.E_output.dense.input = layer.E_output.dense.input * keep[number]
                    output = nnsight.save(traced.output)
                return read(output)

            found.append(score(work, edited))
        return torch.stack(found)

    return run


RIVALS: dict[str, Callable[[Any], Callable[[], Tensor]]] = {"study": study, "hooks": hooks, "nnsight": nnsight}


def hook(work: Any, model: torch.nn.Module, off: Tensor) -> list[Any]:
    """Multiply masked neurons by 0."""
    handles, start = [], 0
    for site in work.model.model.outline.sites:
        keep = (~off[start : start + site.width]).float().to(work.model.model.device)
        module = model.get_submodule(site.path)
        handles.append(module.register_forward_pre_hook(lambda _, args, keep=keep: (args[0] * keep,)))
        start += site.width
    return handles


@torch.inference_mode()
def score(work: Any, forward: Callable[[Tensor, Batch, dict[str, Tensor]], Tensor], width: int = 0) -> Tensor:
    """Score all texts, (texts, 2), batch by batch."""
    found = []
    embeddings = work.model.model.module.get_input_embeddings()
    start, length = len(work.model.layout.before), len(work.prompt)
    for batch in batches(work, width):
        values = embeddings(batch.ids)
        values[:, start : start + length] = work.prompt.to(values.device)
        options = {}
        if work.model.layout.positions_from_zero:
            options["position_ids"] = torch.arange(values.shape[1], device=values.device)[None]
        everything = forward(values, batch, options)
        words = work.model.readout.words
        if words is not None:
            found.append(everything[:, 0, words])
        else:
            heads = work.head.to(values.device).expand(len(batch), *work.head.shape)
            found.append(work.model.readout.scores(batch.read_values(everything), heads))
    return torch.cat(found)


def batches(work: Any, width: int) -> Iterator[Batch]:
    """Yield the texts in their order, padded to a number of tokens besides the prompt, or to the batch's longest."""
    for start in range(0, len(work.texts), BATCH):
        batch = work.model.batch(work.texts[start : start + BATCH])
        more = max(work.model.layout.tokens + len(work.prompt) + width - batch.ids.shape[1], 0)
        yield Batch(pad(batch.ids, (0, more)), pad(batch.attention, (0, more)), batch.read)


def call(model: Any, values: Tensor, batch: Batch, options: dict[str, Tensor]) -> Tensor:
    """Run the model with its head."""
    return read(model(inputs_embeds=values, attention_mask=batch.attention, **options))


def read(output: Any) -> Tensor:
    """Return logits, or hidden states if there are none."""
    everything: Tensor = output.logits if "logits" in output else output.last_hidden_state
    return everything
