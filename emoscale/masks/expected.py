"""The mean estimated effect of all masks that a control can draw."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.masks.controls import CONTROLS
from emoscale.masks.make_masks import make_request
from emoscale.masks.options import MaskOptions
from emoscale.run.folder import RunFolder
from emoscale.system.option_types import lookup
from emoscale.system.progress import Silent


def expected_effects(folder: RunFolder, options: MaskOptions, effects: NDArray[np.float64]) -> pd.DataFrame:
    """Average the sum of a mask's effects over all masks that each control can draw.

    Parameters
    ----------
    folder : RunFolder
        Holds what the masks were made from.
    options : MaskOptions
        That the masks were made with.
    effects : ndarray of float64, shape (neurons,)
        Without NaN.

    Returns
    -------
    DataFrame
        ``control``, ``k``, ``attribute`` ("" where all attributes share the masks) and ``expected``, of the controls
        that say what they draw from; without those whose strata come from activations that are no longer there.
    """
    request = make_request(folder, options, Silent())
    rows = []
    for control in (lookup("masks.controls", CONTROLS, name) for name in options.controls):
        if control.strata is not None and (folder.activations.exists() or not control.needs_rows):
            rows += [
                (control.name, strata.k, strata.attribute, strata.moments(effects)[0])
                for strata in control.strata(request)
            ]
    return pd.DataFrame(rows, columns=["control", "k", "attribute", "expected"])
