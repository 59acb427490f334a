"""A run so small that it takes a second or two: texts, tables and settings, and ways to look at what came out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from emoscale.report import figures

CONCEPTS = ("joy", "anger", "fear", "sad")
NEURONS = 48
MASKS = 1 + 2 * 3 + 2 * 2
STAGES = (
    "tune",
    "extract",
    "select",
    "attribute-effects",
    "relate",
    "measure-faithfulness",
    "mask",
    "ablate",
    "analyze",
    "report",
)
RESULTS = (
    "prompts",
    "prompts.parquet",
    "inputs.zarr",
    "activations.zarr",
    "selectivity.zarr",
    "effect_moments.zarr",
    "exact_effects.zarr",
    "effect_check.zarr",
    "relation.zarr",
    "faithfulness.zarr",
    "masks.zarr",
    "scores.zarr",
    "tables",
    "figures",
)
"""What must not depend on how a run came about."""

ATTRIBUTES = """\
concept,arousal,valence,control
joy,0.7,1.0,0.6
anger,0.9,0.1,0.5
fear,1.0,0.2,0.0
sad,0.2,0.0,0.1
"""
DISSIMILARITY = """\
concept_1,concept_2,dissimilarity
joy,anger,8
joy,fear,7.5
joy,sad,9
anger,fear,3
anger,sad,4
fear,sad,3.5
"""
_LEVELS = {
    "joy": (7, 9, 6),
    "anger": (8, 2, 5),
    "fear": (9, 3, 2),
    "sad": (3, 1, 3),
}
_WORDS = {"joy": "won gift thanks", "anger": "angry loud news", "fear": "dark alone loud", "sad": "lost alone news"}


def write_texts(file: Path, concepts: tuple[str, ...] = CONCEPTS) -> Path:
    """Ten texts a concept, two of them held out."""
    rng = np.random.default_rng(0)
    lines = ["text,label,split"]
    for concept in concepts:
        for number in range(10):
            words = rng.choice([*_WORDS[concept].split(), "she", "felt", "home"], size=4)
            lines.append(f"{' '.join(words)},{concept},{'dev' if number > 7 else 'train'}")
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def rating_rows() -> list[tuple[str, str, str, int]]:
    """Ratings of four people from 0 to 100: rater, concept, attribute, rating."""
    rng = np.random.default_rng(1)
    return [
        (f"p{rater}", concept, attribute, 10 * level + int(rng.integers(-9, 10)))
        for rater in range(1, 5)
        for concept, levels in _LEVELS.items()
        for attribute, level in zip(("arousal", "valence", "control"), levels, strict=True)
    ]


def write_judgements(file: Path) -> Path:
    """Dissimilarities that five people judged, a participant, pair and judgement a line."""
    rng = np.random.default_rng(2)
    pairs = [line.rsplit(",", 1) for line in DISSIMILARITY.splitlines()[1:]]
    lines = [f"p{who},{pair},{float(mean) + rng.normal():.1f}" for who in range(5) for pair, mean in pairs]
    file.write_text("\n".join(["participant,concept_1,concept_2,dissimilarity", *lines]) + "\n", encoding="utf-8")
    return file


class World:
    """A folder with texts and tables, and a config that uses them with a model of 2 layers x 24 neurons."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.out, self.config = folder, folder / "run", folder / "tiny.yaml"
        self.texts = write_texts(folder / "texts.csv")
        self.attributes = folder / "attributes.csv"
        self.attributes.write_text(ATTRIBUTES, encoding="utf-8")
        self.dissimilarity = folder / "dissimilarity.csv"
        self.dissimilarity.write_text(DISSIMILARITY, encoding="utf-8")
        self.settings: dict[str, Any] = {
            "model": {"name": str(model)},
            "concepts": {"attributes": str(self.attributes), "dissimilarity": str(self.dissimilarity)},
            "stimuli": {"source": "file", "path": str(self.texts), "split_column": "split"},
            "tuning": {
                "seeds": [1, 3],
                "layout": "prefix",
                "prompt_length": 3,
                "learning_rate": 0.05,
                "prompts_per_group": 3,
            },
            "extraction": {"block_rows": 3, "batch_rows": 2, "chunk_neurons": 20},
            "selectivity": {"block_neurons": 20},
            "attribution": {
                "check_neurons": 6,
                "check_groups": [0.25],
                "check_draws": 3,
                "block_rows": 5,
                "permutations": 20,
                "exact_neurons": 3,
            },
            "faithfulness": {"rankings": ["effect", "both", "random"], "shares": [0.1, 0.5], "draws": 2},
            "masks": {"k": [5, 0.25], "draws": 2},
            "ablation": {"masks_per_unit": 4},
            "machine": {"threads": 1},
        }
        self.write()

    def write(self, **sections: Any) -> Path:
        """Write the config, with other values where they are given, and return its path."""
        settings = dict(self.settings)
        for name, values in sections.items():
            settings[name] = {**settings.get(name, {}), **values} if isinstance(values, dict) else values
        self.config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return self.config


def draw_few_figures(setattribute: Callable[[Any, str, Any], None]) -> None:
    """Draw two figures a run: ten take longer than all other stages together."""
    few = ("b1_accuracy_by_concept", "c3_overlap")
    setattribute(figures, "FIGURES", {name: figures.FIGURES[name] for name in few})


def contents(folder: Path, *names: str) -> dict[str, str]:
    """SHA-256 by path of every file in a folder, or in some of its entries."""
    roots = [folder / name for name in names] or [folder]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(roots)}


def times(folder: Path) -> dict[str, int]:
    """When every file in a folder was last written, in nanoseconds."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in _files([folder])}


def _files(roots: list[Path]) -> Iterator[Path]:
    for root in roots:
        yield from (path for path in sorted(root.rglob("*")) if path.is_file()) if root.is_dir() else [root]


def manifest(folder: Path) -> dict[str, Any]:
    """The run's manifest."""
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def states(folder: Path) -> dict[str, str]:
    """State of each stage that the manifest knows."""
    return {stage: facts["state"] for stage, facts in manifest(folder)["stages"].items()}
