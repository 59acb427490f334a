"""How many masks to draw of a control so that the mean outcome over them is known as closely as asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from emoscale.errors import InputError
from emoscale.masks.controls import Control
from emoscale.masks.options import MaskOptions
from emoscale.masks.request import Request
from emoscale.masks.strata import Strata
from emoscale.run.effects import mean_effects, read_checked
from emoscale.run.folder import RunFolder
from emoscale.run.stores import open_finished
from emoscale.schema import MASKS

_FEWEST = 3
"""Draws, and groups of a size that a spread is measured by."""


@dataclass(frozen=True)
class DrawNumber:
    """How many masks of a control are drawn, and why.

    Attributes
    ----------
    draws : int
    half_width : float
        Half of the 95 % interval of the mean outcome that is expected of them, in nats, at the size of masks at which
        it is widest.
    k : int
        That size.
    spread : float
        Standard deviation over draws of the outcome at that size, in nats.
    measured_at : int
        Size of the groups of neurons that told how exact effects spread, of which estimated ones are known.
    """

    draws: int
    half_width: float
    k: int
    spread: float
    measured_at: int


@dataclass(frozen=True)
class _Spread:
    """Of the outcome over draws, in nats: `masks` of them have been drawn when each attribute has one."""

    k: int
    sd: float
    masks: int
    measured_at: int

    def half_width(self, draws: int) -> float:
        n = draws * self.masks
        return float(stats.t.ppf(0.975, n - 1) * self.sd / np.sqrt(n)) if n > 1 else np.inf


def check_draws_can_be_chosen(controls: Sequence[Control], groups: int, draws: int) -> None:
    """Raise unless what is needed to choose the number of draws will be there.

    Parameters
    ----------
    controls : sequence of Control
    groups, draws : int
        Sizes of random groups of neurons that are ablated exactly, and groups of each size.

    Raises
    ------
    InputError
        If a control does not say what it draws from, or too few groups are ablated.
    """
    problems = [
        f"masks.draws auto: the control {control.name!r} does not say what its neurons are drawn from; set masks.draws "
        "to a number"
        for control in controls
        if control.takes_draws and control.strata is None
    ]
    if not groups or draws < _FEWEST:
        problems.append(
            f"masks.draws auto: needs random groups of neurons that are ablated exactly, {_FEWEST} or more of a size; "
            f"set attribution.check_groups and attribution.check_draws so, or masks.draws to a number"
        )
    if problems:
        raise InputError(problems)


def choose_draws(
    folder: RunFolder, request: Request, controls: Sequence[Control], options: MaskOptions
) -> dict[str, dict[str, Any]]:
    """Choose the number of draws of each control that chance draws.

    It is the smallest at which half the 95 % t interval of the mean outcome over draws is expected to be at most
    `options.draw_width`, at every size of masks. What is expected is the spread of the estimated effects of all masks
    that can be drawn, times the ratio of the exact to the estimated spread of random groups of neurons of the nearest
    size, as they were ablated to check the estimates. Where few groups of a large size are ablated, rare ones that
    change much can be missing among them, and the interval is then wider than expected.

    Parameters
    ----------
    folder : RunFolder
        Holds the finished effects and their check.
    request : Request
        Its number of draws is ignored.
    controls : sequence of Control
    options : MaskOptions

    Returns
    -------
    dict of str to dict
        By the control's name the fields of `DrawNumber`.

    Raises
    ------
    InputError
        If the run cannot tell how masks spread.
    StageError
        If the effects are missing or not finished.
    """
    effects = np.nan_to_num(mean_effects(folder).overall)
    ratios = _ratios(folder, effects)
    check_draws_can_be_chosen(controls, len(ratios), _FEWEST)
    return {
        control.name: asdict(_choose(list(_spreads(control, control.strata(request), effects, ratios)), options))
        for control in controls
        if control.takes_draws and control.strata is not None
    }


def _choose(spreads: Sequence[_Spread], options: MaskOptions) -> DrawNumber:
    most = options.most_draws

    def widest(draws: int) -> _Spread:
        return max(spreads, key=lambda spread: spread.half_width(draws))

    enough = (n for n in range(min(_FEWEST, most), most) if widest(n).half_width(n) <= options.draw_width)
    draws = next(enough, most)
    spread = widest(draws)
    return DrawNumber(draws, spread.half_width(draws), spread.k, spread.sd, spread.measured_at)


def _spreads(
    control: Control, drawn_from: Iterable[Strata], effects: NDArray[np.float64], ratios: dict[int, float]
) -> Iterator[_Spread]:
    """Yield the spread over draws for each size of masks.

    Where attributes have masks of their own, a draw's outcome is the mean over its masks, unless these differ in chance
    alone and each is a draw; as the analysis measures chance.
    """
    variances: dict[int, list[float]] = {}
    for strata in drawn_from:
        variances.setdefault(strata.k, []).append(strata.moments(effects)[1])
    for k, of_masks in variances.items():
        nearest = min(ratios, key=lambda size: (abs(np.log(size / k)), -size))
        masks = len(of_masks) if control.exchangeable else 1
        sd = ratios[nearest] * np.sqrt(np.mean(of_masks) / len(of_masks) * masks)
        yield _Spread(k, float(sd), masks, nearest)


def _ratios(folder: RunFolder, effects: NDArray[np.float64]) -> dict[int, float]:
    """Return the ratio of the exact to the estimated spread of random groups, by their size.

    The variance of exact effects is that of the estimated ones, which is known over all groups, times the squared
    slope, and what is left about the regression. So the few groups need to tell only the slope and the rest.
    """
    checked, found = read_checked(folder), {}
    if checked is None:
        return {}
    groups = (checked.samples["neuron"] < 0).to_numpy()
    estimated, sizes = checked.estimated.mean(axis=0), checked.samples["k"].to_numpy()
    everything = np.arange(len(effects))
    for size in np.unique(sizes[groups]):
        own = groups & (sizes == size)
        variance = Strata([everything], np.array([size])).moments(effects)[1]
        if own.sum() < _FEWEST or not variance or not np.ptp(estimated[own]):
            continue
        x, y = estimated[own] - estimated[own].mean(), checked.change[own] - checked.change[own].mean()
        slope = (x @ y) / (x @ x)
        rest = ((y - slope * x) ** 2).sum() / (own.sum() - 2)
        found[int(size)] = float(np.sqrt(slope**2 + rest / variance))
    return found


def chosen_draws(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Return what `choose_draws` returned for a run's masks; empty where ``masks.draws`` is a number."""
    chosen: dict[str, dict[str, Any]] = open_finished(folder.masks, MASKS).attributes["origin"].get("chosen_draws", {})
    return chosen
