"""Settings of the texts that prompts are trained on and whose activations are extracted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from emoscale.system.option_types import OPTIONS, Count, OneOf, PathName, Seed, Share


@dataclass(frozen=True)
class StimuliOptions:
    """The labelled texts, and how they are split and sampled."""

    __pydantic_config__ = OPTIONS

    source: Annotated[str, OneOf("emoscale.stimuli.sources:SOURCES")] = "scenarios"
    """Where the texts come from: built-in ones, a published corpus, a file or a data set."""
    path: Annotated[str | None, PathName(remote=True)] = None
    """Folder, file or hub name, depending on the source."""
    dev_path: Annotated[str | None, PathName()] = None
    """File of the held-out texts, when they have their own."""
    text_column: str = "text"
    label_column: str = "label"
    """A cell holds one label, or a list of labels where the format has lists."""
    label_separator: str | None = None
    """Separates the labels in a cell, when a text may have several."""
    split_column: str | None = None
    """Column that says train or dev. Dev is the first of dev, validation, valid, val and test that occurs; rows of
    other splits are ignored."""
    dev_fraction: Share = 0.2
    """Share of the texts held out when the source has no split of its own."""
    seed: Seed = 0
    """Of the draw of held-out texts."""
    max_tokens: Count = 256
    """Longer texts are truncated to this many tokens."""
    train_texts: Count | None = None
    """The most texts of a concept that a prompt is trained on; as many that do not show it are added."""
    dev_texts: Count | None = None
    """The most held-out texts of a concept; as many that do not show it are added."""
    negatives: Annotated[str, OneOf("emoscale.stimuli.samples:NEGATIVES")] = "others"
    """Texts that do not show the concept: drawn from the others, or, as published, from any."""
