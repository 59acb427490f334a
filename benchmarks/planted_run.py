"""The stages of a run on a planted model, in this process."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.planted_masked import MASKED_QUESTION, save_masked
from benchmarks.planted_models import (
    QUESTION,
    SENTENCES,
    Floats,
    PlantedModel,
    draw_dissimilarity,
    draw_texts,
    save_model,
)
from emoscale.ablation.options import AblationOptions
from emoscale.attribution.options import AttributionOptions
from emoscale.concepts.options import ConceptOptions
from emoscale.config.settings import Settings
from emoscale.extraction.options import ExtractionOptions
from emoscale.masks.options import MaskOptions
from emoscale.models.options import ModelOptions
from emoscale.pipeline.context import Context
from emoscale.pipeline.dependencies import dependency_values
from emoscale.pipeline.runner import execute
from emoscale.pipeline.stage import fingerprints
from emoscale.pipeline.stages import STAGES
from emoscale.run.folder import RunFolder
from emoscale.run.manifest import new_manifest
from emoscale.run.stores import open_finished
from emoscale.schema import MASKS, SELECTIVITY
from emoscale.selectivity.options import SelectivityOptions
from emoscale.stimuli.options import StimuliOptions
from emoscale.system.files import remove
from emoscale.system.options import MachineOptions
from emoscale.system.ranks import one_process
from emoscale.tuning.options import TuningOptions

BEFORE_MASKS = ("extract", "select", "attribute-effects", "relate")
FROM_MASKS = ("mask", "ablate", "analyze")
SET, UNUSED = 1_000_000, 1_000_001
"""Numbers of the texts that the run is given; those that truth is computed on count from 0."""


def write_inputs(model: PlantedModel, weights: Floats, folder: Path) -> None:
    """Write the model, its texts, attributes and people's dissimilarities to a folder."""
    save = save_masked if model.options.family == "bert" else save_model
    save(model, folder / "model")
    words = np.array(model.vocabulary)
    with (folder / "texts.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label", "split"])
        # There must be texts to train on, though nothing is.
        for split, texts, number in (("dev", model.options.texts, SET), ("train", 1, UNUSED)):
            tokens, concept = draw_texts(model, texts, number)
            rows.writerows(
                [" ".join(words[row]), model.names[c], split] for row, c in zip(tokens, concept, strict=True)
            )
    with (folder / "attributes.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["concept", *model.attributes])
        rows.writerows([name, *scores] for name, scores in zip(model.names, model.scores, strict=True))
    draw_dissimilarity(model, weights).to_csv(folder / "people.csv", index=False)


def settings_of(folder: Path, permutations: int, masks: MaskOptions, *, masked: bool = False) -> Settings:
    """Return ordinary settings for what `write_inputs` wrote.

    Parameters
    ----------
    folder : Path
    permutations : int
        Of the concepts, for the map and for estimated effects.
    masks : MaskOptions
        Its seed is that of every permutation.
    masked : bool
        Whether the model is a masked one, which is asked for yes or no.
    """
    return Settings(
        model=ModelOptions(name=str(folder / "model")),
        concepts=ConceptOptions(attributes=str(folder / "attributes.csv"), dissimilarity=str(folder / "people.csv")),
        stimuli=StimuliOptions(source="file", path=str(folder / "texts.csv"), split_column="split"),
        extraction=ExtractionOptions(rows="templates", templates=list(SENTENCES), reduction_shards=1),
        selectivity=SelectivityOptions(permutations=permutations, seed=masks.seed),
        attribution=AttributionOptions(
            exact_neurons=0,
            check_neurons=0,
            check_groups=[],
            reduction_shards=1,
            tokens_per_pass=4096,
            permutations=permutations,
        ),
        masks=masks,
        tuning=TuningOptions(seeds=[0]),
        ablation=AblationOptions(
            task="yes-no" if masked else "multiple-choice",
            templates=[MASKED_QUESTION if masked else QUESTION],
            items_per_unit=512,
            masks_per_unit=512,
            tokens_per_pass=4096,
        ),
        machine=MachineOptions(device="cpu", threads=1),
    )


class PlantedRun:
    """A run in a folder that holds what `write_inputs` wrote.

    Parameters
    ----------
    folder : Path
    settings : Settings
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = RunFolder(folder / "run")
        self.folder.path.mkdir()
        self.folder.write_manifest(new_manifest())
        self._context = Context(settings, one_process("cpu"))
        self._expected = fingerprints(STAGES, settings, dependency_values(settings))

    def use(self, settings: Settings) -> None:
        """Go on with other masks; what came of the last ones goes, the model stays loaded."""
        before, self._context = self._context, Context(settings, one_process("cpu"))
        self._context.model, self._context.outline = before.model, before.outline
        self._expected = fingerprints(STAGES, settings, dependency_values(settings))
        for path in (path for name in FROM_MASKS for path in STAGES[name].files(self.folder)):
            remove(path)

    def do(self, stages: Sequence[str]) -> dict[str, float]:
        """Do some stages; return the seconds that each took."""
        execute(STAGES, stages, self._context, self.folder, self._expected, Console(quiet=True))
        return {name: float(self.folder.stage(name)["wall_s"]) for name in stages}

    def masks(self, kind: str, k: int) -> NDArray[np.bool_]:
        """Return the run's masks of a kind and size, shape (masks, N), in the order of the store."""
        store = open_finished(self.folder.masks, MASKS)
        chosen = (store.read("kind") == kind) & (store.read("k") == k)
        neurons = len(open_finished(self.folder.selectivity, SELECTIVITY).read("layer"))
        return np.unpackbits(store.read("bits")[chosen], axis=1, count=neurons).astype(bool)
