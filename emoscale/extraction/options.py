"""Settings of the extraction of activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from emoscale.system.option_types import OPTIONS, Count, OneOf


@dataclass(frozen=True)
class ExtractionOptions:
    """Activations."""

    __pydantic_config__ = OPTIONS

    rows: Annotated[str, OneOf("emoscale.extraction.rows:ROW_SOURCES")] = "prompts"
    """What represents a concept: ``prompts``, its tuned prompts; ``templates``, carrier sentences that name it;
    ``texts``, every text labelled with it; or ``tokens``, every token of those texts."""
    pooling: Annotated[str, OneOf("emoscale.extraction.pooling:POOLINGS")] | None = None
    """The tokens whose activations make a row: the ``first``, ``last`` or ``mask`` token, the last of the concept's
    tokens (``concept-last``) or their mean (``concept-mean``), the ``mean`` over all tokens, or ``all``, every token
    as a row of its own. By default prompts are pooled as their task reads them, sentences at ``concept-last`` and texts
    at ``mean``."""
    split: Literal["train", "dev", "all"] = "train"
    """Which texts."""
    templates: list[str] | None = None
    """Carrier sentences with ``{concept}``; built-in ones if not set."""
    keep: Literal["activations", "moments"] = "activations"
    """Every row's activations, or only count, mean and spread by concept and replicate, however many rows there are."""
    reduction_shards: Count = 16
    """Shards of the rows in which moments are summed, shared by the ranks; each takes as much disk as the result until
    all are merged."""
    dtype: Annotated[str, OneOf("emoscale.store.types:STORED_TYPES")] = "float32"
    """Type of the activations in the store; moments are float64."""
    non_finite: Literal["stop", "keep"] = "stop"
    """What to do when an activation overflows or is not a number."""
    block_rows: Count | None = None
    """Rows computed, written and committed at a time. By default 1,024, and more where files would else be small (under
    16 MB) or many (over 10,000) once they have over 1 GB."""
    batch_rows: Count = 32
    """The most rows of one forward pass."""
    chunk_neurons: Count = 1024
    """Neurons in a chunk of the store, the least that is read; a file has many chunks."""
