"""The stages that `benchmarks.faults` kills: their settings, on a tiny random model, and their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from emoscale.run.folder import RunFolder
from emoscale.schema import SCORES
from emoscale.store import CommitLog, open_store

CONCEPTS = 27
TEMPLATES, BLOCK_ROWS, CHUNK_NEURONS = 64, 16, 256
LAYERS, HIDDEN, WIDTH = 4, 64, 512


@dataclass(frozen=True)
class Disturbed:
    """A stage to kill.

    Parameters
    ----------
    title : str
        Of the table of results.
    needs : tuple of str
        Stages that run before, once and undisturbed.
    settings : dict
        Settings of this stage beside or in place of the common ones.
    results : callable
        Returns the files and folders of a run that must be the same.
    finished : callable
        Counts the finished pieces of work in a run.
    pieces : str
        Their name in the JSON.
    seconds : str
        Name of the stage's time there.
    """

    title: str
    needs: tuple[str, ...]
    settings: dict[str, Any]
    results: Callable[[RunFolder], tuple[Path, ...]]
    finished: Callable[[RunFolder], int]
    pieces: str
    seconds: str


def _committed_blocks(folder: RunFolder) -> int:
    """Count them; a finished extraction has no commit log any more."""
    if folder.manifest()["stages"].get("extract", {}).get("state") == "done":
        return -(-TEMPLATES * CONCEPTS // BLOCK_ROWS)
    return len(CommitLog(folder.commits(folder.activations) / "tp-0").done())


def _committed_units(folder: RunFolder) -> int:
    """Count them; a finished ablation has no commit log any more."""
    if folder.manifest()["stages"].get("ablate", {}).get("state") == "done":
        store = open_store(folder.scores, SCORES)
        items, masks, _ = store.chunks("scores")
        return -(-store.sizes["item"] // items) * -(-store.sizes["mask"] // masks)
    return len(CommitLog(folder.commits(folder.scores)).done())


COMMON: dict[str, Any] = {
    "stimuli": {"source": "scenarios", "train_texts": 4, "dev_texts": 4},
    "tuning": {"seeds": [1], "layout": "prefix", "prompt_length": 2, "epochs": 1},
    "extraction": {
        "rows": "templates",
        "templates": [f"{{concept}} {number}" for number in range(TEMPLATES)],
        "block_rows": BLOCK_ROWS,
        "batch_rows": 8,
        "chunk_neurons": CHUNK_NEURONS,
    },
    "masks": {"k": [5]},
}
"""Settings of the stages that are killed one by one."""

STAGES = {
    "extract": Disturbed(
        title="Extractions killed and continued",
        needs=("tune",),
        settings={},
        results=lambda folder: (folder.activations, folder.commits(folder.activations)),
        finished=_committed_blocks,
        pieces="blocks",
        seconds="extraction_s",
    ),
    "ablate": Disturbed(
        title="Ablation sweeps killed and continued",
        needs=("tune", "extract", "select", "mask"),
        settings={
            "selectivity": {"inference": "asymptotic"},
            "masks": {"k": [200], "controls": ["random", "random-by-layer"], "draws": 1},
            "ablation": {"items_per_unit": 8, "masks_per_unit": 8, "tokens_per_pass": 1024},
        },
        results=lambda folder: (folder.scores, folder.commits(folder.scores)),
        finished=_committed_units,
        pieces="units",
        seconds="ablation_s",
    ),
}


WHOLE_RUN: dict[str, Any] = {
    "concepts": {"names": ["joy", "sadness", "anger", "fear", "love", "surprise"]},
    "stimuli": {"source": "scenarios", "train_texts": 4, "dev_texts": 4},
    "tuning": {"seeds": [1, 3], "layout": "prefix", "prompt_length": 2, "epochs": 2, "validation": 0},
    "extraction": {"rows": "prompts", "block_rows": 3, "batch_rows": 4, "chunk_neurons": CHUNK_NEURONS},
    "selectivity": {"permutations": 99},
    "attribution": {
        "tokens_per_pass": 1024,
        "check_neurons": 4,
        "check_groups": [0.1],
        "check_draws": 2,
        "permutations": 49,
    },
    "faithfulness": {"rankings": ["effect"], "shares": [0.1, 0.5]},
    "masks": {"k": [50, 200], "controls": ["permuted", "random"], "permutations": 3, "draws": 2},
    "ablation": {"items_per_unit": 8, "masks_per_unit": 8, "tokens_per_pass": 1024},
}
"""Settings of a run with every stage, each long enough to be killed in."""


SHORT_RUN: dict[str, Any] = WHOLE_RUN | {
    "stimuli": {"source": "scenarios", "train_texts": 2, "dev_texts": 2},
    "tuning": {"seeds": [1], "layout": "prefix", "prompt_length": 2, "epochs": 1, "validation": 0},
    "attribution": {"tokens_per_pass": 1024, "check_neurons": 2, "check_groups": [0.1], "check_draws": 1},
    "masks": {"k": [50], "controls": ["random"], "draws": 1},
}
"""Settings of a run with every stage, each short."""


def make_run_config(folder: Path, settings: dict[str, Any] = WHOLE_RUN) -> Path:
    """Write the config of a whole run, and its model."""
    return _write(folder, settings)


def make_config(stage: Disturbed, folder: Path) -> Path:
    """Write the config of a stage, and its model."""
    return _write(folder, COMMON | stage.settings)


def _write(folder: Path, settings: dict[str, Any]) -> Path:
    save_model(folder / "model")
    config = folder / "faults.yaml"
    # Runs of one process and of two are compared to the byte, and threads that wait for one another keep a core busy.
    model = {"model": {"name": str(folder / "model")}, "machine": {"device": "cpu", "threads": 1}}
    config.write_text(yaml.safe_dump(model | settings), encoding="utf-8")
    return config


def save_model(folder: Path) -> None:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = "abcdefghijklmnopqrstuvwxyz0123456789.,'-"
    vocabulary = [*special, *characters, *(f"##{c}" for c in characters)]
    numbers = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(WordPiece(numbers, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, numbers[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **dict(zip(names, special, strict=True)))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=HIDDEN,
        intermediate_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        max_position_embeddings=512,
    )
    BertModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
