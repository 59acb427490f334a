"""The ablation stage: work units of one prompt and some masks, each saved when it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from emoscale.ablation.masked_forward import count_correct
from emoscale.distributed import Ranks
from emoscale.errors import StageError
from emoscale.files import replacing
from emoscale.models.prompt_files import TunedPrompts
from emoscale.models.prompted import PromptedModel
from emoscale.progress import Progress
from emoscale.run_folder import RunFolder
from emoscale.schema import MASKS
from emoscale.stimuli.prompt_texts import PromptTexts
from emoscale.store import open_store


@dataclass(frozen=True)
class _Unit:
    number: int
    prompt: int
    masks: slice


def ablate(
    folder: RunFolder,
    model: PromptedModel,
    tokens: Sequence[Sequence[int]],
    prompts: Sequence[PromptTexts],
    tuned: TunedPrompts,
    *,
    masks_per_unit: int,
    rows_per_pass: int,
    precision: str,
    ranks: Ranks,
    progress: Progress,
) -> dict[str, int]:
    """Count correct answers of every prompt under every mask. Units that are there already are kept.

    Parameters
    ----------
    folder : RunFolder
        Holds the masks.
    model : PromptedModel
    tokens : sequence of sequence of int
        Token ids of every text.
    prompts : sequence of PromptTexts
        Their held-out texts are judged.
    tuned : TunedPrompts
        Vectors and heads, in the order of `prompts`.
    masks_per_unit : int
        A unit is one prompt and so many masks. The ranks share the units out; the parts of one model do all of them
        together.
    rows_per_pass : int
        Rows (text, mask) of one forward pass.
    precision : {"auto", "float32", "bfloat16"}
    ranks : Ranks
    progress : Progress
        Counts rows.

    Returns
    -------
    dict
        ``prompts``, ``masks``, ``rows``.
    """
    table, off = read_masks(folder)
    starts = range(0, len(table), masks_per_unit)
    pairs = [(p, slice(m, min(m + masks_per_unit, len(table)))) for p in range(len(prompts)) for m in starts]
    units = [_Unit(number, prompt, masks) for number, (prompt, masks) in enumerate(pairs)]
    rows = {u.number: len(prompts[u.prompt].dev) * (u.masks.stop - u.masks.start) for u in units}
    own = ranks.own(units)
    # A part that saw another folder would leave the others waiting for it in a unit that it leaves out.
    todo = ranks.agree([unit for unit in own if not _unit_file(folder, unit.number).exists()])
    total = sum(rows[unit.number] for unit in own)
    progress.start(total, "rows", done=total - sum(rows[unit.number] for unit in todo))
    for unit in todo:
        prompt = prompts[unit.prompt]
        correct = count_correct(
            model,
            [tokens[row] for row in prompt.dev.rows],
            torch.from_numpy(prompt.dev.labels),
            tuned.vectors[unit.prompt],
            tuned.heads[unit.prompt],
            off[unit.masks],
            rows_per_pass=rows_per_pass,
            precision_name=precision,
            advance=progress.advance,
        )
        if ranks.saves:
            _save(folder, unit, prompt, table, correct)
    ranks.wait()
    if ranks.is_main:
        parts = [pd.read_parquet(_unit_file(folder, unit.number)) for unit in units]
        with replacing(folder.ablation_table) as unfinished:
            pd.concat(parts, ignore_index=True).to_parquet(unfinished, index=False)
    ranks.wait()
    return {"prompts": len(prompts), "masks": len(table), "rows": sum(rows.values())}


def read_masks(folder: RunFolder) -> tuple[pd.DataFrame, Tensor]:
    """Read the run's masks.

    Returns
    -------
    DataFrame
        Columns mask, kind, attribute, k, draw; one row a mask.
    Tensor
        Shape (masks, neurons), bool: what a mask switches off.

    Raises
    ------
    StageError
        If the masks are not finished.
    """
    store = open_store(folder.masks, MASKS)
    if not store.complete:
        raise StageError(f"{folder.masks}: not finished; run emoscale mask first")
    table = pd.DataFrame({name: store.read(name) for name in ("kind", "attribute", "k", "draw")})
    table.insert(0, "mask", np.arange(len(table)))
    bits = np.unpackbits(store.read("bits"), axis=1, count=store.attributes["origin"]["neurons"])
    return table, torch.from_numpy(bits).bool()


def _unit_file(folder: RunFolder, unit: int) -> Path:
    return folder.ablation / f"part-{unit:06d}.parquet"


def _save(folder: RunFolder, unit: _Unit, prompt: PromptTexts, masks: pd.DataFrame, correct: Tensor) -> None:
    table = masks[unit.masks].copy()
    table.insert(0, "concept", prompt.concept)
    table.insert(1, "replicate", str(prompt.seed))
    table["correct"] = correct.numpy()
    table["total"] = len(prompt.dev)
    with replacing(_unit_file(folder, unit.number)) as unfinished:
        table.to_parquet(unfinished, index=False)
