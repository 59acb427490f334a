"""Training one group of prompts (Li, Su et al. 2024, prompt tuning).

Every step takes the next batch of each prompt, so each prompt goes through exactly the steps it would go through
alone; what they share is the forward pass of the frozen model.
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

from emoscale.distributed import precision
from emoscale.errors import StageError
from emoscale.models.hooks import attention_for_training
from emoscale.models.prompt_files import TunedPrompts
from emoscale.models.prompted import PromptedModel
from emoscale.progress import Progress
from emoscale.stimuli.prompt_texts import PromptTexts


@dataclass(frozen=True)
class Schedule:
    """How prompts are trained.

    Attributes
    ----------
    epochs : int
    batch_size : int
        Texts a prompt sees in one step.
    learning_rate, weight_decay : float
        Of AdamW, constant.
    rows_per_pass : int
        Rows of one forward pass; a step of many prompts is several passes.
    precision : {"auto", "exact", "bfloat16"}
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    rows_per_pass: int
    precision: str


@dataclass(frozen=True)
class _Rows:
    """Rows of input: `prompt` numbers the prompt within the group, `weight` is the row's share in the loss."""

    prompt: NDArray[np.int64]
    text: NDArray[np.int64]
    label: NDArray[np.int64]
    weight: NDArray[np.float32]


class GroupTrainer:
    """The prompts of one group, being trained.

    Parameters
    ----------
    model : PromptedModel
    tokens : sequence of sequence of int
        Token ids of every text.
    prompts : sequence of PromptTexts
    schedule : Schedule
    """

    def __init__(
        self,
        model: PromptedModel,
        tokens: Sequence[Sequence[int]],
        prompts: Sequence[PromptTexts],
        schedule: Schedule,
    ) -> None:
        self._model, self._tokens, self._prompts, self._schedule = model, tokens, prompts, schedule
        device = model.model.device
        self._vectors = [Parameter(model.initial_prompt().to(device)) for _ in prompts]
        self._heads = [Parameter(model.readout.new_head().to(device)) for _ in prompts]
        self._optimizer = torch.optim.AdamW(
            [*self._vectors, *(head for head in self._heads if head.numel())],
            lr=schedule.learning_rate,
            weight_decay=schedule.weight_decay,
        )

    def train(self, progress: Progress) -> TunedPrompts:
        """Train all epochs and keep each prompt's best on its held-out texts (accuracy, then loss).

        Raises
        ------
        StageError
            If a prompt's loss is not finite from the first epoch on.
        """
        rows = [row for prompt in self._prompts for row in prompt.train.rows]
        longest = max(self._model.row_tokens(self._tokens[row]) for row in rows)
        with attention_for_training(self._model.model.module, self._model.model.device, longest):
            return self._train(progress)

    def _train(self, progress: Progress) -> TunedPrompts:
        best: TunedPrompts | None = None
        for epoch in range(1, self._schedule.epochs + 1):
            for rows in self._steps(epoch):
                self._step(rows)
                progress.advance(len(rows.text))
            accuracy, loss = self._judge()
            progress.advance(sum(len(p.dev) for p in self._prompts))
            number = torch.full_like(accuracy, epoch).long()
            last = accuracy.clone()  # safetensors refuses two names for one tensor
            now = TunedPrompts(_stacked(self._vectors), _stacked(self._heads), accuracy, last, loss, number)
            best = now if best is None else _better(best, now)
        if best is None:
            raise ValueError("prompts need at least one epoch")
        for prompt, loss in zip(self._prompts, best.loss.tolist(), strict=True):
            if not math.isfinite(loss):
                raise StageError(
                    f"prompt of {prompt.concept!r}, seed {prompt.seed}: its loss is not finite; set a smaller "
                    "tuning.learning_rate, or tuning.precision to exact"
                )
        return best

    def _steps(self, epoch: int) -> Iterator[_Rows]:
        size = self._schedule.batch_size
        orders = [_order(p, epoch) for p in self._prompts]
        for start in range(0, max(map(len, orders)), size):
            parts = []
            for number, order in enumerate(orders):
                # A prompt whose epoch is over sits out: it has no gradient, and AdamW leaves it alone.
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
    def _judge(self) -> tuple[Tensor, Tensor]:
        """Return held-out accuracy and mean loss, each (prompts,) float64."""
        counts = [len(p.dev) for p in self._prompts]
        rows = _Rows(
            np.repeat(np.arange(len(counts)), counts),
            np.concatenate([p.dev.rows for p in self._prompts]),
            np.concatenate([p.dev.labels for p in self._prompts]),
            np.ones(sum(counts), np.float32),
        )
        correct, loss = torch.zeros(len(counts), dtype=torch.float64), torch.zeros(len(counts), dtype=torch.float64)
        for part in self._passes(rows):
            prompt, label = torch.from_numpy(rows.prompt[part]), torch.from_numpy(rows.label[part])
            scores = self._scores(rows, part).cpu()
            correct.index_add_(0, prompt, (scores.argmax(dim=1) == label).double())
            loss.index_add_(0, prompt, cross_entropy(scores, label, reduction="none").double())
        total = torch.tensor(counts, dtype=torch.float64)
        return correct / total, loss / total

    def _passes(self, rows: _Rows) -> list[NDArray[np.int64]]:
        """Cut rows into passes of texts of like length, so that little is padded."""
        order = np.argsort([len(self._tokens[text]) for text in rows.text], kind="stable")
        size = self._schedule.rows_per_pass
        return [order[start : start + size] for start in range(0, len(order), size)]

    def _scores(self, rows: _Rows, part: NDArray[np.int64]) -> Tensor:
        used, which = np.unique(rows.prompt[part], return_inverse=True)
        batch = self._model.batch([self._tokens[text] for text in rows.text[part]])
        with precision(self._schedule.precision, self._model.model.device):
            # index_select, not indexing: its backward pass adds in a fixed order, so that a run can be repeated.
            rows_of = torch.from_numpy(which).to(self._model.model.device)
            vectors = torch.stack([self._vectors[n] for n in used]).index_select(0, rows_of)
            heads = torch.stack([self._heads[n] for n in used]).index_select(0, rows_of)
            return self._model.scores(batch, vectors, heads).float()


def _order(prompt: PromptTexts, epoch: int) -> NDArray[np.int64]:
    """Return the order of a prompt's training texts, its own whatever group it is in."""
    return np.random.default_rng([prompt.seed, zlib.crc32(prompt.concept.encode()), epoch]).permutation(
        len(prompt.train)
    )


def _stacked(parameters: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(parameters)).detach().cpu()


def _better(old: TunedPrompts, new: TunedPrompts) -> TunedPrompts:
    better = (new.accuracy > old.accuracy) | ((new.accuracy == old.accuracy) & (new.loss < old.loss))
    wins = better & new.loss.isfinite()

    def pick(name: str) -> Tensor:
        a, b = getattr(new, name), getattr(old, name)
        return torch.where(wins.reshape(-1, *[1] * (a.dim() - 1)), a, b)

    kept = {name: pick(name) for name in ("vectors", "heads", "accuracy", "loss", "epoch")}
    return TunedPrompts(**kept, accuracy_last=new.accuracy)
