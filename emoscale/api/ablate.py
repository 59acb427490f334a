"""What a model's answers lose without some of its neurons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import softmax

from emoscale.analysis.options import AnalysisOptions
from emoscale.api.arrays import ArrayActivations
from emoscale.api.items import Asking, asking
from emoscale.api.models import as_model
from emoscale.api.neurons import Off, as_masks
from emoscale.api.progress import shown
from emoscale.attribution.exact import ExactAblation, Scores
from emoscale.errors import InputError
from emoscale.masks.controls import CONTROLS, Control
from emoscale.masks.options import MaskOptions
from emoscale.masks.request import Request
from emoscale.models.loading import LanguageModel
from emoscale.run.folder import RunFolder
from emoscale.schema import NO_MASK
from emoscale.stimuli.options import StimuliOptions
from emoscale.store import mean_activations
from emoscale.system.option_types import lookup
from emoscale.system.ranks import one_process
from emoscale.tasks.outcomes import ATTRIBUTED, NORMALIZATIONS, OUTCOMES, answers

_DRAWS = int(MaskOptions.draws)

GIVEN = "mask"
"""Kind of the masks that were given, beside the names of controls."""


class _Named(NamedTuple):
    """A mask and what it is called."""

    mask: str
    kind: str
    draw: int
    off: Off


def ablate(
    model: Any,
    masks: Any,
    items: Any,
    *,
    controls: str | Sequence[str] = (),
    draws: int = _DRAWS,
    seed: int = MaskOptions.seed,
    normalization: str = AnalysisOptions.normalization,
    activations: Any = None,
    max_tokens: int = StimuliOptions.max_tokens,
    site: str | None = None,
    tokenizer: Any = None,
    **asked: Any,
) -> pd.DataFrame:
    """Switch neurons off, and see what the model's answers lose.

    The model is asked which concept each text shows, without a mask and under every mask, many masks in one forward
    pass. Scores are those that ``emoscale ablate`` writes for the same masks and items, outcomes those that
    ``emoscale analyze`` computes of them.

    Parameters
    ----------
    model : Model, or what `load` takes
        A causal or masked language model.
    masks : mapping of str to neurons, one of them, or DataFrame
        Neurons are their numbers, ``(layer, unit)`` of each (``(layer, expert, unit)`` in mixtures of experts), a
        boolean for every neuron of the model, or a DataFrame of which they are rows. Of one that `searchlight` gave,
        with a column ``rdm``, each RDM is a mask.
    items : DataFrame with ``text`` and ``concept``, or sequence of (text, concept)
        Texts and the concept that each shows. The concepts are the possible answers.
    controls : str or sequence of str
        What the masks are compared with: ``"random"``, as many neurons drawn from all; ``"random-by-layer"``, as many
        of each layer; ``"random-by-activation"``, as many of each level of mean absolute activation (needs
        `activations`).
    draws : int
        Masks of each control, for every mask given. Those of the control ``random`` are shared by masks of one size.
    seed : int
        Of all that is drawn.
    normalization : {"calibrated", "none", "per-token", "per-character"}
        What is done to an answer's score before answers are compared. Calibrated: minus its mean over the texts under
        the same mask, so that no answer wins whatever the text.
    activations : DataArray from `activations`, or array of shape (rows, neurons), optional
        What the edits ``mean`` and ``resample`` take their values from.
    max_tokens : int
        Longer texts are cut.
    site, tokenizer
        As in `load`, if the model is not loaded yet.
    **asked
        Settings of the section ``ablation`` of a config: ``task``, ``"multiple-choice"`` (the default for causal
        models) or ``"yes-no"``; ``templates``, what texts are put into; ``edit``, what becomes of the neurons
        (``"zero"``, ``"scale"`` with ``factor``, ``"mean"``, ``"resample"``); ``words``, ``scoring``, ``chat``,
        ``answer``, ``precision``, ``tokens_per_pass``.

    Returns
    -------
    DataFrame
        A row for each mask and item, first those without a mask: ``mask``, its name (``none`` without one; of a control
        that of the mask which it is compared with); ``kind`` (``none``, ``mask``, or the control), ``draw``, ``k``, the
        number of neurons; ``item``, the number of the text in `items`, ``text``, ``concept``, which the model is asked
        about, and ``replicate`` (the template); ``right``, the right answer, and ``answer``, the model's;
        ``accuracy``, 1 where it is right (shared by answers that tie); ``probability`` of the right answer among the
        possible ones, and its ``log_odds`` in nats; ``drop``, the log-odds without a mask minus those under it.

    Raises
    ------
    InputError
        Says which argument cannot be used.

    Examples
    --------
    >>> items = [("she won the game", "joy"), ("alone at home", "sad"), ("a gift", "joy"), ("he lost a dog", "sad")]
    >>> found = es.ablate(model, {"some": [3, 30], "layer 1": [(1, 4), (1, 5)]}, items, controls="random", draws=2)
    >>> found.groupby(["mask", "kind"], sort=False)["drop"].size().to_dict()
    {('none', 'none'): 4, ('some', 'mask'): 4, ('some', 'random'): 8, ('layer 1', 'mask'): 4, ('layer 1', 'random'): 8}
    """
    loaded = as_model(model, site, tokenizer)
    given = as_masks(masks, loaded.neurons)
    if not isinstance(draws, int) or draws < 1:
        raise InputError(f"draws: {draws!r} given; give a number of 1 or more")
    chosen = _controls([controls] if isinstance(controls, str) else controls, activations)
    put = {"normalization": normalization, "activations": activations, "max_tokens": max_tokens, "seed": seed}
    with asking(loaded, items, asked, **put) as (ready, folder, question):
        layer = loaded.neurons["layer"].to_numpy()
        each = list(_with_controls(given, chosen, layer, draws, seed, question.activations))
        scores, row = _score(ready, question, each, folder)
    return _table(question, each, scores, row, normalization)


def _controls(names: Sequence[str], activations: Any) -> list[Control]:
    """Return controls that need no more than the masks, and the activations if these are given."""
    possible = {name: control for name, control in CONTROLS.items() if control.strata is not None}
    found = []
    for name in names:
        control = lookup("controls", CONTROLS, name)
        if control.strata is None:
            known = ", ".join(possible)
            raise InputError(f"controls {name!r}: chance does not draw its neurons; use some of {known}, or give masks")
        if control.needs_rows and activations is None:
            raise InputError(f"controls {name!r}: needs the neurons' activations; give activations=...")
        found.append(control)
    return found


def _with_controls(
    given: Mapping[str, Off],
    controls: Sequence[Control],
    layer: Any,
    draws: int,
    seed: int,
    activations: ArrayActivations | None,
) -> Iterator[_Named]:
    """Yield each mask and then its controls."""
    level: list[Any] = []  # of activation, computed once

    def activation_level() -> Any:
        if activations is not None and not level:
            level.append(mean_activations(activations, np.abs))
        return level[0]

    for name, off in given.items():
        yield _Named(name, GIVEN, 0, off)
        request = Request(
            rank=np.where(off, 1.0, 2.0)[:, None],
            has_rank=np.ones((len(off), 1), np.bool_),
            layer=layer,
            activation_level=activation_level,
            effects=lambda: np.empty((2, 0)),
            attributes=[name],
            k=[int(off.sum())],
            draws=draws,
            disjoint=False,
            seed=seed,
        )
        for control in controls:
            for mask in control.draw(request):
                drawn = np.zeros(len(off), np.bool_)
                drawn[mask.neurons] = True
                yield _Named(name, control.name, mask.draw, drawn)


def _score(
    model: LanguageModel, asking: Asking, masks: Sequence[_Named], folder: RunFolder
) -> tuple[Scores, list[int]]:
    """Score the items without a mask and under every different mask, and say which of them each mask is."""
    numbers: dict[bytes, int] = {}
    row = [numbers.setdefault(np.packbits(one.off).tobytes(), len(numbers) + 1) for one in masks]
    first = [row.index(number) for number in numbers.values()]
    off = np.stack([masks[place].off for place in first])
    ranks = one_process(str(model.device))
    exact = ExactAblation(folder, model, asking.options, {}, ranks)
    with shown("ablation") as progress:
        return exact.scores(asking.task, "ablation", off, progress), row


def _table(
    asking: Asking, masks: Sequence[_Named], scores: Scores, row: Sequence[int], normalization: str
) -> pd.DataFrame:
    design = scores.design
    values = NORMALIZATIONS[normalization].apply(scores.by_option, design)
    right = design.items["right"].to_numpy(np.int64)[:, None, None]
    options, item = np.array(design.options, object), design.items["text"].to_numpy()
    found = {outcome.column: outcome.compute(values, right)[:, :, 0] for outcome in OUTCOMES.values()}
    found["probability"] = np.take_along_axis(softmax(values, axis=2), right, axis=2)[:, :, 0]
    found["drop"] = found[ATTRIBUTED.column][:, :1] - found[ATTRIBUTED.column]
    found["answer"] = options[answers(values).argmax(axis=2)]
    items = {
        "item": item,
        "text": asking.items["text"].to_numpy(object)[item],
        **{name: design.items[name].to_numpy(object) for name in ("concept", "replicate")},
        "right": options[right[:, 0, 0]],
    }
    unmasked = _Named(NO_MASK, NO_MASK, 0, np.zeros(1, np.bool_))
    columns = ("answer", "accuracy", "probability", "log_odds", "drop")
    return pd.concat(
        [
            pd.DataFrame(
                {"mask": one.mask, "kind": one.kind, "draw": one.draw, "k": int(one.off.sum()), **items}
                | {name: found[name][:, column] for name in columns}
            )
            for one, column in zip([unmasked, *masks], [0, *row], strict=True)
        ],
        ignore_index=True,
    )
