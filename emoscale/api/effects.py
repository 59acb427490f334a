"""What each neuron does to a model's answers, estimated for all of them at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from emoscale.ablation.options import AblationOptions
from emoscale.api.items import Asking, asking
from emoscale.api.labelled import NEURON
from emoscale.api.models import as_model
from emoscale.api.progress import shown
from emoscale.attribution.attribute_effects import attribute_effects
from emoscale.attribution.exact import ExactAblation
from emoscale.attribution.options import AttributionOptions
from emoscale.errors import InputError
from emoscale.extraction.work import Job
from emoscale.models.loading import LanguageModel
from emoscale.run.effects import exact_neurons, mean_effects
from emoscale.run.folder import RunFolder
from emoscale.stimuli.options import StimuliOptions
from emoscale.system.options import MachineOptions
from emoscale.system.ranks import one_process


def effects(
    model: Any,
    items: Any,
    *,
    exact: int = AttributionOptions.exact_neurons,
    steps: int = AttributionOptions.steps,
    seed: int = AblationOptions.seed,
    normalization: str = AttributionOptions.normalization,
    activations: Any = None,
    max_tokens: int = StimuliOptions.max_tokens,
    site: str | None = None,
    tokenizer: Any = None,
    **asked: Any,
) -> pd.DataFrame:
    """Estimate what the model's answers would lose without each neuron.

    An effect is what editing one neuron at every position adds to the mean log-odds of the right answer, to first order
    (attribution patching: Nanda 2023; Syed, Rager & Conmy 2023, arXiv 2310.10348): one forward and one backward pass a
    text, whatever the number of neurons. The numbers are those that ``emoscale attribute-effects`` writes.

    Parameters
    ----------
    model : Model, or what `load` takes
        A causal or masked language model.
    items : DataFrame with ``text`` and ``concept``, or sequence of (text, concept)
        As of `ablate`.
    exact : int
        So many neurons, those with the largest estimates on single texts, are switched off one at a time, and what that
        does takes the place of the estimate; 0 for none. A few very active neurons have effects that no estimate of
        first order shows.
    steps : int
        Points on the way to the edited value at which the gradient is taken (integrated gradients); with more than one,
        each layer has passes of its own.
    seed : int
        Of all that is drawn.
    normalization, activations, max_tokens, site, tokenizer
        As of `ablate`.
    **asked
        Settings of the section ``ablation`` of a config, as of `ablate`.

    Returns
    -------
    DataFrame
        A row for each neuron, in the order of all results: ``neuron`` (its number), ``layer``, ``unit`` (and
        ``expert``); ``effect`` in nats, negative where the neuron is needed, NaN where it was always absent; and
        ``is_exact``.

    Raises
    ------
    InputError
        Says which argument cannot be used.

    Examples
    --------
    >>> items = [("she won the game", "joy"), ("alone at home", "sad"), ("a gift", "joy"), ("he lost a dog", "sad")]
    >>> found = es.effects(model, items, exact=4)
    >>> found.columns.tolist(), len(found), int(found["is_exact"].sum())
    (['neuron', 'layer', 'unit', 'effect', 'is_exact'], 48, 4)
    >>> needed = found.nsmallest(3, "effect")  # which `ablate` takes as it is
    """
    loaded = as_model(model, site, tokenizer)
    for name, value, least in (("exact", exact, 0), ("steps", steps, 1)):
        if not isinstance(value, int) or value < least:
            raise InputError(f"{name}: {value!r} given; give a number of {least} or more")
    options = AttributionOptions(
        normalization=normalization, steps=steps, exact_neurons=exact, check_neurons=0, check_groups=[]
    )
    put = {"normalization": normalization, "activations": activations, "max_tokens": max_tokens, "seed": seed}
    with asking(loaded, items, asked, **put) as (ready, folder, question):
        _attribute(ready, question, options, folder)
        effect, are_exact = mean_effects(folder).overall, exact_neurons(folder)
    table = loaded.neurons
    table.insert(0, NEURON, np.arange(len(table)))
    return table.assign(effect=effect, is_exact=np.isin(table[NEURON], are_exact))


def _attribute(model: LanguageModel, asking: Asking, options: AttributionOptions, folder: RunFolder) -> None:
    job = Job(origin={}, concepts=list(dict.fromkeys(asking.items["concept"])), writers=MachineOptions().writers)
    exact = ExactAblation(folder, model, asking.options, {}, one_process(str(model.device)))
    with shown("effects") as progress:
        attribute_effects(folder, asking.task, exact, options, job=job, progress=progress)
