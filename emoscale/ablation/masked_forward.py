"""One batch, many masks: every row's neurons are switched off by its own (Li, Su et al. 2024, neuron manipulation)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from emoscale.distributed import precision
from emoscale.models.hooks import masking
from emoscale.models.prompted import PromptedModel


@torch.inference_mode()
def count_correct(
    model: PromptedModel,
    texts: Sequence[Sequence[int]],
    labels: Tensor,
    prompt: Tensor,
    head: Tensor,
    off: Tensor,
    *,
    rows_per_pass: int,
    precision_name: str,
    advance: Callable[[int], None],
) -> Tensor:
    """Count a prompt's correct answers under each mask.

    Parameters
    ----------
    model : PromptedModel
    texts : sequence of sequence of int
        Token ids of the texts.
    labels : Tensor
        Shape (texts,), int64.
    prompt, head : Tensor
        The prompt's vectors (L, hidden) and label head.
    off : Tensor
        Shape (masks, neurons), bool: what each mask switches off.
    rows_per_pass : int
        Rows (text, mask) of one forward pass.
    precision_name : {"auto", "float32", "bfloat16"}
    advance : callable
        Told the number of rows of each pass.

    Returns
    -------
    Tensor
        Shape (masks,), int64.
    """
    language_model = model.model
    device = language_model.device
    # Texts in order of length, all masks of a text together: rows of one pass are of like length.
    by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    rows = [(text, mask) for text in by_length for mask in range(len(off))]
    correct = torch.zeros(len(off), dtype=torch.int64)
    masks = masking(language_model.module, language_model.outline.sites, off, language_model.part, language_model.parts)
    with masks as masked, precision(precision_name, device):
        for start in range(0, len(rows), rows_per_pass):
            text, mask = torch.tensor(rows[start : start + rows_per_pass]).T
            masked.expect(mask)
            batch = model.batch([texts[i] for i in text.tolist()])
            scores = model.scores(
                batch, prompt.to(device).expand(len(batch), -1, -1), head.to(device).expand(len(batch), *head.shape)
            )
            correct.index_add_(0, mask, (scores.argmax(dim=1).cpu() == labels[text]).long())
            advance(len(batch))
    return correct
