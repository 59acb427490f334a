"""How likely a model finds each of several continuations of a text.

What the continuations begin with alike is computed once: all their tokens but the last make a tree, whose root is the
text's last token; the probabilities of a continuation's tokens are read at its nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from emoscale.errors import StageError
from emoscale.tasks.reading import RowReader


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
        The continuations that go through here, and the token that each of them goes on with.
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
        """Nodes that none follows: as many rows of tokens cover the tree."""

    @property
    def nodes(self) -> int:
        """How many tokens the tree adds to a text."""
        return len(self._tree) - 1

    @property
    def longest(self) -> int:
        """How many of them follow one another."""
        return max(len(node.path) for node in self.stems)

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
        added = [node.tokens[-1] for node in self._tree[1:]]
        ids, _ = self.reader.pad([[*text, *added] for text in texts])
        first = torch.tensor([len(text) for text in texts], device=ids.device)[:, None]
        at = first - 1 + torch.arange(len(self._tree), device=ids.device)
        # Number of the node at each place: 0 up to the text's end, and the last one for padding, which nothing sees.
        node = (torch.arange(ids.shape[1], device=ids.device) - first + 1).clamp(0, self.nodes)
        depths = torch.tensor([len(node.path) for node in self._tree], device=ids.device)
        numbers = torch.where(node > 0, first - 1 + depths[node], torch.arange(ids.shape[1], device=ids.device))
        seen = self._seen(node)
        logits = self.reader.logits(
            ids[take],
            self._as_mask(seen)[take],
            at[take],
            position_ids=(numbers + self.reader.model.outline.first_position)[take],
        )
        total = torch.zeros(len(take), self._count, device=take.device)
        for column, one in enumerate(self._tree):
            self._add(total, one, logits[:, column])
        return total

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


def quickest(one: Continuations, texts: Sequence[Sequence[int]], alike: float) -> Callable[..., Tensor]:
    """Return the quicker way that gives the same log probabilities.

    The model runs to find out, so ask before its neurons are edited.

    Parameters
    ----------
    one : Continuations
    texts : sequence of sequence of int
        To try it on; the longest there is should be among them, for models whose tokens see a window.
    alike : float
        Differences up to that share of the largest are rounding.

    Returns
    -------
    callable
        `by_tree` or `by_stems`.
    """
    model = one.reader.model
    is_plain = model.outline.takes_positions and model.module.config._attn_implementation in ("sdpa", "eager")
    if len(one.stems) == 1 or not is_plain:
        return one.by_stems
    take = torch.arange(len(texts), device=model.device)
    with torch.inference_mode():
        plain = one.by_stems(texts, take)
        try:
            tree = one.by_tree(texts, take)
        except (RuntimeError, ValueError, TypeError, IndexError, StageError):  # a model that takes no such mask
            return one.by_stems
    is_alike = torch.allclose(plain, tree, rtol=alike, atol=alike * float(plain.abs().max()))
    return one.by_tree if is_alike else one.by_stems
