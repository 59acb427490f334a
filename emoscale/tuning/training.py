"""Training one group of prompts (Li, Su et al. 2024, prompt tuning).

Every step takes the next batch of each prompt, so that each prompt is updated exactly as if it were trained alone; the
prompts share the forward pass of the frozen model.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import cross_entropy

from emoscale.errors import StageError
from emoscale.models.packing import pack
from emoscale.models.prompt_files import TunedPrompts
from emoscale.models.prompted import PromptedModel
from emoscale.models.training_attention import attention_for_training
from emoscale.stimuli.prompt_texts import PromptTexts
from emoscale.system.progress import Progress
from emoscale.system.ranks import precision
from emoscale.tuning.options import TOKENS_PER_PASS, TuningOptions


@dataclass(frozen=True)
class _Rows:
    """Rows of input: `prompt` is the index of the prompt in the group, `weight` the row's share in the loss."""

    prompt: NDArray[np.int64]
    text: NDArray[np.int64]
    label: NDArray[np.int64]
    weight: NDArray[np.float32]


class GroupTrainer:
    """Trains the prompts of one group.

    Parameters
    ----------
    model : PromptedModel
    tokens : sequence of sequence of int
        Token ids of every text.
    prompts : sequence of PromptTexts
    options : TuningOptions
    """

    def __init__(
        self,
        model: PromptedModel,
        tokens: Sequence[Sequence[int]],
        prompts: Sequence[PromptTexts],
        options: TuningOptions,
    ) -> None:
        self._model, self._tokens, self._prompts, self._options = model, tokens, prompts, options
        device = model.model.device
        self._vectors = [Parameter(model.initial_prompt().to(device)) for _ in prompts]
        self._heads = [Parameter(model.readout.new_head().to(device)) for _ in prompts]
        self._active = np.ones(len(prompts), dtype=bool)
        self._optimizer = torch.optim.AdamW(
            [*self._vectors, *(head for head in self._heads if head.numel())],
            lr=options.learning_rate,
            weight_decay=options.weight_decay,
        )

    def train(self, progress: Progress) -> TunedPrompts:
        """Train, and keep each prompt's best epoch on the texts that choose it (accuracy, then loss).

        Parameters
        ----------
        progress : Progress
            Counts the texts of all epochs; those of epochs that a stopped prompt skips count as done when it stops.

        Raises
        ------
        StageError
            If a prompt's loss is not finite from the first epoch on.
        """
        best: TunedPrompts | None = None
        for epoch in range(1, self._options.epochs + 1):
            for rows in self._steps(epoch):
                self._step(rows)
                progress.advance(len(rows.text))
            best = self._evaluated(epoch, best)
            progress.advance(sum(len(p.choosing) for p in self._active_prompts()))
            self._stop(epoch, best, progress)
            if not self._active.any():
                break
        if best is None:
            raise ValueError("prompts need at least one epoch")
        for prompt, loss in zip(self._prompts, best.loss.tolist(), strict=True):
            if not math.isfinite(loss):
                raise StageError(
                    f"prompt of {prompt.concept!r}, seed {prompt.seed}: its loss is not finite; set a smaller "
                    "tuning.learning_rate, or tuning.precision to exact"
                )
        return best

    def _active_prompts(self) -> list[PromptTexts]:
        return [self._prompts[number] for number in np.flatnonzero(self._active).tolist()]

    def _evaluated(self, epoch: int, best: TunedPrompts | None) -> TunedPrompts:
        """Evaluate the prompts that are still trained; return every prompt's best epoch."""
        accuracy, loss = self._evaluate()
        number = torch.full_like(accuracy, epoch).long()
        # safetensors refuses two names for one tensor.
        now = TunedPrompts(
            _stacked(self._vectors), _stacked(self._heads), accuracy, accuracy.clone(), loss, number, number.clone()
        )
        return now if best is None else _better(best, now, torch.from_numpy(self._active))

    def _stop(self, epoch: int, best: TunedPrompts, progress: Progress) -> None:
        """Stop prompts that have not improved for `patience` epochs: they get no rows, and no gradient."""
        if self._options.patience is None:
            return
        stopping = self._active & (epoch - best.epoch.numpy() >= self._options.patience)
        self._active &= ~stopping
        left = self._options.epochs - epoch
        progress.advance(
            left * sum(len(p.train) + len(p.choosing) for p, s in zip(self._prompts, stopping, strict=True) if s)
        )

    def _steps(self, epoch: int) -> Iterator[_Rows]:
        size = self._options.batch_size
        orders = {
            number: training_order(self._prompts[number], epoch) for number in np.flatnonzero(self._active).tolist()
        }
        for start in range(0, max(map(len, orders.values())), size):
            parts = []
            for number, order in orders.items():
                # A prompt whose epoch is over gets no gradient, and AdamW does not change it.
                if len(chosen := order[start : start + size]):
                    train, weight = self._prompts[number].train, np.full(len(chosen), 1 / len(chosen), np.float32)
                    parts.append((np.full(len(chosen), number), train.rows[chosen], train.labels[chosen], weight))
            yield _Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _step(self, rows: _Rows) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        for part in self._passes(rows):
            label = torch.from_numpy(rows.label[part]).to(self._model.model.device)
            weight = torch.from_numpy(rows.weight[part]).to(self._model.model.device)
            (cross_entropy(self._scores(rows, part), label, reduction="none") * weight).sum().backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    @torch.no_grad()
    def _evaluate(self) -> tuple[Tensor, Tensor]:
        """Return accuracy and mean loss on the texts that choose the best epoch; NaN for prompts that have stopped.

        Each (prompts,) float64.
        """
        active = self._active_prompts()
        counts = np.where(self._active, [len(p.choosing) for p in self._prompts], 0)
        rows = _Rows(
            np.repeat(np.arange(len(counts)), counts),
            np.concatenate([p.choosing.rows for p in active]),
            np.concatenate([p.choosing.labels for p in active]),
            np.ones(counts.sum(), np.float32),
        )
        correct, loss = torch.zeros(len(counts), dtype=torch.float64), torch.zeros(len(counts), dtype=torch.float64)
        for part in self._passes(rows):
            prompt, label = torch.from_numpy(rows.prompt[part]), torch.from_numpy(rows.label[part])
            scores = self._scores(rows, part).cpu()
            correct.index_add_(0, prompt, (scores.argmax(dim=1) == label).double())
            loss.index_add_(0, prompt, cross_entropy(scores, label, reduction="none").double())
        total = torch.from_numpy(counts).double()
        return correct / total, loss / total

    def _passes(self, rows: _Rows) -> list[NDArray[np.int64]]:
        lengths = [self._model.row_tokens(self._tokens[text]) for text in rows.text]
        usual = TOKENS_PER_PASS["cpu" if self._model.model.device.type == "cpu" else "gpu"]
        one_length = self._model.model.outline.padding_leaks
        return pack(lengths, self._options.tokens_per_pass or usual, one_length=one_length)

    def _scores(self, rows: _Rows, part: NDArray[np.int64]) -> Tensor:
        used, which = np.unique(rows.prompt[part], return_inverse=True)
        batch = self._model.batch([self._tokens[text] for text in rows.text[part]])
        module, device = self._model.model.module, self._model.model.device
        # Chosen for each pass: one long text must not slow down the passes of short ones.
        with attention_for_training(module, device, batch.ids.shape[1]), precision(self._options.precision, device):
            # index_select, not indexing: its backward pass adds in a fixed order, so that a run can be repeated.
            rows_of = torch.from_numpy(which).to(device)
            vectors = torch.stack([self._vectors[n] for n in used]).index_select(0, rows_of)
            heads = torch.stack([self._heads[n] for n in used]).index_select(0, rows_of)
            return self._model.scores(batch, vectors, heads).float()


def training_order(prompt: PromptTexts, epoch: int) -> NDArray[np.int64]:
    """Return the order of a prompt's training texts, which does not depend on its group."""
    return np.random.default_rng([prompt.seed, zlib.crc32(prompt.concept.encode()), epoch]).permutation(
        len(prompt.train)
    )


def _stacked(parameters: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(parameters)).detach().cpu()


def _better(old: TunedPrompts, new: TunedPrompts, active: Tensor) -> TunedPrompts:
    better = (new.accuracy > old.accuracy) | ((new.accuracy == old.accuracy) & (new.loss < old.loss))
    wins = better & new.loss.isfinite() & active

    def pick(name: str, takes_new: Tensor) -> Tensor:
        a, b = getattr(new, name), getattr(old, name)
        return torch.where(takes_new.reshape(-1, *[1] * (a.dim() - 1)), a, b)

    kept = {name: pick(name, wins) for name in ("vectors", "heads", "accuracy", "loss", "epoch")}
    return TunedPrompts(**kept, **{name: pick(name, active) for name in ("accuracy_last", "epochs")})
