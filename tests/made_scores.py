"""A store of scores that come to chosen numbers of right answers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emoscale.run.folder import RunFolder
from emoscale.schema import SCORES
from emoscale.store import create_store


def write_scores(folder: RunFolder, table: pd.DataFrame, options: list[str] | None = None) -> None:
    """Write scores under which the answers are those of a table, by the scores without normalization.

    Parameters
    ----------
    folder : RunFolder
    table : DataFrame
        ``concept``, ``replicate``, ``mask``, ``kind``, ``attribute``, ``k``, ``draw``, ``correct``, ``total``; with
        `options` also ``top3`` and ``chosen``, how often each was the answer.
    options : list of str, optional
        The concepts, of a model that chose among them; otherwise there are two answers, of which the second is right.
    """
    masks = table.drop_duplicates("mask").sort_values("mask")
    number = {mask: place for place, mask in enumerate(masks["mask"])}
    groups = list(table.groupby(["concept", "replicate"], sort=False))
    names = options or ["other", "the concept"]
    total = int(table["total"].iloc[0])
    scores = np.zeros((total * len(groups), len(masks), len(names)), np.float32)
    right = np.empty(len(scores), np.int32)
    for place, ((concept, _), rows) in enumerate(groups):
        items = slice(place * total, (place + 1) * total)
        own = options.index(concept) if options else 1
        right[items] = own
        for row in rows.to_dict("records"):
            scores[items, number[row["mask"]]] = _scores(row, own, len(names))
    keys = [key for key, _ in groups]
    tokens = np.arange(len(names), dtype=np.int32) % 2 + 1 if options else np.ones(2, np.int32)
    coordinates = {
        "concept": np.repeat(np.array([concept for concept, _ in keys], object), total),
        "replicate": np.repeat(np.array([replicate for _, replicate in keys], object), total),
        "text": np.arange(len(scores)),
        "right": right,
        "length": np.ones(len(scores), np.int32),
        **{name: masks[name].to_numpy() for name in ("kind", "attribute", "k", "draw")},
        "option": np.array(names, object),
        "option_tokens": tokens,
    }
    sizes = {"exact_item": 0, "token": len(scores), "option_token": int(tokens.sum())}
    store = create_store(folder.scores, SCORES, coordinates, {"mask": 7}, sizes=sizes)
    for start in range(0, len(masks), 7):
        store.write("scores", scores[:, start : start + 7], mask=start)
    store.write("token_ids", np.zeros(len(scores), np.int32))
    store.write("option_token_ids", np.zeros(tokens.sum(), np.int32))
    store.mark_complete()


def _scores(row: dict, own: int, options: int) -> np.ndarray:
    total, correct = row["total"], row["correct"]
    scores = np.zeros((total, options))
    if options == 2:
        scores[:, 0] = 0.5
        scores[:correct, own] = 1
        return scores
    answer = np.repeat(np.arange(options), row["chosen"])
    answer = np.concatenate([answer[answer == own], answer[answer != own]])
    scores[np.arange(total), own] = np.where(np.arange(total) < row["top3"], 1, -1)
    scores[np.arange(total), answer] = 2
    return scores
