"""What the kinds of control masks are called, and how far masks of one kind lie apart."""

from __future__ import annotations

import pandas as pd

_LABELS = {
    "random": "random neurons",
    "random-by-layer": "random neurons of the same layers",
    "random-by-activation": "random neurons as active",
}

_DRAWN = {
    "random": "drawn at random, each as likely as any other",
    "random-by-layer": "drawn at random so that every layer loses as many neurons as to the selective mask",
    "random-by-activation": "drawn at random among neurons about as active as those of the selective mask",
}


def control_label(kind: str) -> str:
    """Name the neurons of a kind of control in a table or a legend; another kind by its own name."""
    return _LABELS.get(kind, f"{kind} neurons")


def control_neurons(kind: str) -> str:
    """Name the neurons of a kind of control inside a sentence."""
    # "as many random neurons as active" would be read as another comparison.
    return "random neurons that are as active" if kind == "random-by-activation" else control_label(kind)


def control_adjective(kind: str) -> str:
    """Name a kind of control before the word mask: ``random``, ``layer-matched``."""
    return {"random-by-layer": "layer-matched", "random-by-activation": "activation-matched"}.get(kind, kind)


def control_drawn(kind: str) -> str:
    """Say how the neurons of a kind of control are chosen."""
    return _DRAWN.get(kind, f"chosen as {kind} controls")


def draw_deviations(draws: pd.DataFrame) -> tuple[pd.Series, str]:
    """Say how far each control mask's accuracy lies from the mean of those that differ from it by chance alone.

    Parameters
    ----------
    draws : DataFrame
        Rows of ``control_draws`` of one control and k: control, attribute, accuracy.

    Returns
    -------
    deviations : Series
        Of float; empty where each mask is the only one of its kind. Masks drawn for an attribute are compared with
        others of that attribute; random ones, of which each attribute has a single one, with all.
    mean : str
        Which mean that is, in words.
    """
    accuracy, each = draws["accuracy"], draws.groupby("attribute")["accuracy"]
    if len(each) > 1 and (each.size() > 1).all():
        return accuracy - each.transform("mean"), "the mean of those drawn for the same attribute"
    exchangeable = len(each) == 1 or (draws["control"] == "random").all()
    if len(draws) > 1 and exchangeable:
        return accuracy - accuracy.mean(), "their mean"
    return accuracy.iloc[:0], ""
