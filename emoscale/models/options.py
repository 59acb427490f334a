"""Settings of the language model: which one, and which of its units are neurons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import StrictBool

from emoscale.system.option_types import OPTIONS


@dataclass(frozen=True)
class ModelOptions:
    """The language model."""

    __pydantic_config__ = OPTIONS

    name: str
    """A folder, ``package:NAME/FOLDER`` inside an installed Python package, or a name on the Hugging Face hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    sha256: str | None = None
    """What the weights file must hash to; checked before use."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the weights in memory."""
    site: str = "ffn"
    """Where neurons are: ``ffn``, the input of each block's second feed-forward map; ``attention``, the heads' outputs;
    ``residual``, the output of each block; of an encoder-decoder model also ``encoder``, ``decoder``, ``encoder
    attention``, ``decoder residual`` and the like; or the path of a linear map with ``{layer}``."""
    trust_remote_code: StrictBool = False
    """Run Python code that comes with the model."""
