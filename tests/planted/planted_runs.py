"""Finished runs on planted models."""

from __future__ import annotations

import numpy as np

from benchmarks.planted_run import BEFORE_MASKS, FROM_MASKS, PlantedRun, settings_of, write_inputs
from emoscale.masks.options import MaskOptions

K = 24
DRAWS = 19


def finished_run(model, folder):
    """Do every stage up to the analysis."""
    write_inputs(model, np.ones(model.options.attributes), folder)
    masks = MaskOptions(k=[K], controls=["random", "permuted"], permutations=DRAWS)
    run = PlantedRun(folder, settings_of(folder, 199, masks, masked=model.options.family == "bert"))
    run.do([*BEFORE_MASKS, *FROM_MASKS])
    return run
