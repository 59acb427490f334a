"""A causal tiny model asked which of some names continues a text, and ways to attribute its answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import tiny_models

from emoscale.ablation.options import AblationOptions
from emoscale.attribution.attribute_effects import attribute_effects
from emoscale.attribution.exact import ExactAblation
from emoscale.attribution.options import AttributionOptions
from emoscale.extraction.work import Job
from emoscale.run.folder import RunFolder
from emoscale.stimuli.options import StimuliOptions
from emoscale.system.progress import Silent
from emoscale.system.ranks import one_process
from emoscale.tasks.multiple_choice import MultipleChoiceTask, multiple_choice_items
from emoscale.tasks.wording import Wording

NAMES = ("joy", "sad", "surprise", "sad alone")
TEMPLATES = ("{text}\nThe writer feels", "She said: {text} He felt")
NEURONS = tiny_models.LAYERS * tiny_models.WIDTH


def make_task(model):
    """Three texts a name, of unequal length, in two templates."""
    texts = [f"{tiny_models.TEXTS[i % len(tiny_models.TEXTS)]}{' .' * (i % 4)}" for i in range(3 * len(NAMES))]
    rows = [(text, (NAMES[i % len(NAMES)],), "dev") for i, text in enumerate(texts)]
    table = pd.DataFrame(rows, columns=["text", "labels", "split"])
    return MultipleChoiceTask(
        model, multiple_choice_items(model.outline, table, NAMES, Wording(TEMPLATES), StimuliOptions())
    )


def attribute(path, model, task=None, *, ranks=None, edit=None, progress=None, origin=None, **options):
    """Run the stage; without a comparison unless it is asked for."""
    chosen = AttributionOptions(
        **{"exact_neurons": 0, "check_neurons": 0, "check_groups": [], "tokens_per_pass": 60, "chunk_neurons": 20}
        | options
    )
    ablation = AblationOptions(task="multiple-choice", tokens_per_pass=400, **(edit or {}))
    job = Job(origin=origin or {"model": "tiny"}, concepts=NAMES, writers=2)
    exact = ExactAblation(RunFolder(path), model, ablation, job.origin, ranks or one_process())
    return attribute_effects(
        RunFolder(path), task or make_task(model), exact, chosen, job=job, progress=progress or Silent()
    )


def contents(path):
    """Bytes of every file of a run."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def same_values(one, other, rtol=1e-4):
    np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * np.nanmax(np.abs(other)))
