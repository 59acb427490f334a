"""How likely a model finds each of several continuations of a text.

What several continuations begin with is computed once: all their tokens but the last make a tree, whose root is the
text's last token; the probabilities of a continuation's tokens are read at its nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from emoscale.tasks.reading import RowReader

_NATS = 1e-3
"""Up to that difference two log probabilities count as the same. Rounding moves those of float32 by some 1e-5."""
_LARGE_LOGIT = 16
"""Logits are rounded by their size times the precision of the weights: in float16 by 1/64 of a nat at this size, in
bfloat16 by 1/8."""


@dataclass
class Node:
    """A token after the text, or the text's last token (the root).

    Attributes
    ----------
    path : tuple of int
        Numbers of the nodes from the first after the root to this one.
    tokens : tuple of int
        Their tokens.
    options, following : list of int
        The continuations that pass through this node, and the next token of each.
    """

    path: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    options: list[int] = field(default_factory=list)
    following: list[int] = field(default_factory=list)


def make_tree(continuations: Sequence[Sequence[int]]) -> list[Node]:
    """Arrange continuations in a tree.

    Parameters
    ----------
    continuations : sequence of sequence of int
        Tokens of each; at least one.

    Returns
    -------
    list of Node
        The root first, every node after the one that it follows.
    """
    nodes: dict[tuple[int, ...], Node] = {(): Node()}
    for option, tokens in enumerate(continuations):
        for end, following in enumerate(tokens):
            stem = tuple(tokens[:end])
            if stem not in nodes:
                nodes[stem] = Node((*nodes[stem[:-1]].path, len(nodes)), stem)
            nodes[stem].options.append(option)
            nodes[stem].following.append(following)
    return list(nodes.values())


class _Rows(NamedTuple):
    """Arguments of `RowReader.logits`."""

    ids: Tensor
    attention: Tensor
    positions: Tensor
    position_ids: Tensor


class Continuations:
    """Log probabilities of continuations.

    Parameters
    ----------
    reader : RowReader
        Of a causal model.
    continuations : sequence of sequence of int
        Tokens of each; at least one.
    """

    def __init__(self, reader: RowReader, continuations: Sequence[Sequence[int]]) -> None:
        self.reader = reader
        self._tree = make_tree(continuations)
        self._count = len(continuations)
        inner = {node.path[-2] for node in self._tree if len(node.path) > 1}
        leaves = [node for node in self._tree if node.path and node.path[-1] not in inner]
        self.stems = leaves or self._tree
        """Nodes without a next one: as many rows of tokens cover the tree."""

    @property
    def nodes(self) -> int:
        """How many tokens the tree adds to a text."""
        return len(self._tree) - 1

    def by_stems(self, texts: Sequence[Sequence[int]], take: Tensor) -> Tensor:
        """Compute log probabilities in as many passes as there are stems.

        Parameters
        ----------
        texts : sequence of sequence of int
            Tokens.
        take : Tensor
            Shape (rows,), int64: the text of each row.

        Returns
        -------
        Tensor
            Shape (rows, continuations), float32.
        """
        total = torch.zeros(len(take), self._count, device=take.device)
        narrowed = self.reader.narrowed if self.nodes == 0 else ()
        seen: set[int] = set()
        for stem in self.stems:
            path = [0, *stem.path]
            new = [place for place, node in enumerate(path) if node not in seen]
            seen.update(path)
            ids, attention = self.reader.pad([[*text, *stem.tokens] for text in texts])
            at = torch.tensor([[len(text) - 1 + place for place in new] for text in texts], device=take.device)
            logits = self.reader.logits(ids[take], attention[take], at[take], narrowed=narrowed)
            for column, place in enumerate(new):
                self._add(total, self._tree[path[place]], logits[:, column])
        return total

    def by_tree(self, texts: Sequence[Sequence[int]], take: Tensor) -> Tensor:
        """Compute log probabilities in one pass: every row holds its text and the tree, each token sees its own past.

        Parameters and returns as of `by_stems`.
        """
        return self._read(self._run(self._with_tree(texts, take)))

    def _with_tree(self, texts: Sequence[Sequence[int]], take: Tensor) -> _Rows:
        added = [node.tokens[-1] for node in self._tree[1:]]
        ids, _ = self.reader.pad([[*text, *added] for text in texts])
        first = torch.tensor([len(text) for text in texts], device=ids.device)[:, None]
        at = first - 1 + torch.arange(len(self._tree), device=ids.device)
        # Number of the node at each place: 0 up to the text's end, and the last one for padding, which nothing sees.
        node = (torch.arange(ids.shape[1], device=ids.device) - first + 1).clamp(0, self.nodes)
        depths = torch.tensor([len(node.path) for node in self._tree], device=ids.device)
        numbers = torch.where(node > 0, first - 1 + depths[node], torch.arange(ids.shape[1], device=ids.device))
        seen = self._seen(node)
        numbers = numbers + self.reader.model.outline.first_position
        return _Rows(ids[take], self._as_mask(seen)[take], at[take], numbers[take])

    def _run(self, rows: _Rows) -> Tensor:
        return self.reader.logits(rows.ids, rows.attention, rows.positions, position_ids=rows.position_ids)

    def _read(self, logits: Tensor) -> Tensor:
        total = torch.zeros(len(logits), self._count, device=logits.device)
        for column, one in enumerate(self._tree):
            self._add(total, one, logits[:, column])
        return total

    @torch.inference_mode()
    def tree_difference(self, texts: Sequence[Sequence[int]]) -> float:
        """Return the largest difference, in nats, of what `by_tree` and `by_stems` give for some texts.

        Infinite if the model does not take a mask for each token.
        """
        take = torch.arange(len(texts), device=self.reader.model.device)
        expected, rows = self.by_stems(texts, take), self._with_tree(texts, take)
        try:
            logits = self._run(rows)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError):  # of torch, where shapes do not fit; of a check, or of unpacking a shape
            return math.inf
        return float((self._read(logits) - expected).abs().max())

    def _seen(self, node: Tensor) -> Tensor:
        """Return which token sees which: (rows, tokens) numbers of nodes in, (rows, tokens, tokens) bool out."""
        own = torch.eye(len(self._tree), dtype=torch.bool)
        own[:, 0] = True
        for number, one in enumerate(self._tree):
            own[number, list(one.path)] = True
        tokens = node.shape[1]
        before = torch.ones(tokens, tokens, dtype=torch.bool, device=node.device).tril()
        return own.to(node.device)[node[:, :, None], node[:, None]] & before

    def _as_mask(self, seen: Tensor) -> Tensor:
        module = self.reader.model.module
        if module.config._attn_implementation == "sdpa":
            return seen[:, None]
        lowest = torch.finfo(module.dtype).min
        return torch.zeros_like(seen, dtype=module.dtype).masked_fill(~seen, lowest)[:, None]

    @staticmethod
    def _add(total: Tensor, node: Node, logits: Tensor) -> None:
        """Add the log probabilities of what follows a node, from its logits (rows, vocabulary)."""
        logits = logits.float()
        total[:, node.options] += logits[:, node.following] - logits.logsumexp(dim=1, keepdim=True)


def fastest(continuations: Continuations, texts: Sequence[Sequence[int]]) -> Callable[..., Tensor]:
    """Return `by_tree` if the model gives the same log probabilities with it, else `by_stems`.

    The model runs to find out: call this before its neurons are edited. The longest text is tried, since a model whose
    tokens see a window of the text ignores the window of a mask that is given to it; and the shortest, for padding.

    Parameters
    ----------
    continuations : Continuations
    texts : sequence of sequence of int
        All that will be scored.

    Returns
    -------
    callable
    """
    model = continuations.reader.model
    takes_masks = model.outline.takes_positions and model.module.config._attn_implementation in ("sdpa", "eager")
    if len(continuations.stems) == 1 or not takes_masks:
        return continuations.by_stems
    tolerance = max(_NATS, _LARGE_LOGIT * torch.finfo(model.module.dtype).eps)
    difference = continuations.tree_difference([max(texts, key=len), min(texts, key=len)])
    return continuations.by_tree if difference <= tolerance else continuations.by_stems
