"""What the model reads: labelled texts, balanced samples of them, sentences that name a concept."""

from emoscale.stimuli.samples import check_labels, draw_samples
from emoscale.stimuli.sources import SOURCES
from emoscale.stimuli.streaming import stream_texts
from emoscale.stimuli.templates import DEFAULT_TEMPLATES, render_templates
from emoscale.stimuli.texts import load_texts

__all__ = [
    "DEFAULT_TEMPLATES",
    "SOURCES",
    "check_labels",
    "draw_samples",
    "load_texts",
    "render_templates",
    "stream_texts",
]
