"""Which neurons of a language model hold its emotion concepts, and does the model need them?

Examples
--------
>>> import emoscale as es
>>> templates = ["they felt {concept}", "she was full of {concept}"]
>>> activations = es.activations(model, templates, concepts=["joy", "fear", "sad"])
>>> found = es.searchlight(activations, {"valence": {"joy": 0.9, "fear": 0.2, "sad": 0.1}}, permutations=99)
>>> found.nlargest(5, "tau").shape
(5, 8)
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emoscale.api import plot as plot
    from emoscale.api.ablate import ablate as ablate
    from emoscale.api.activations import activations as activations
    from emoscale.api.effects import effects as effects
    from emoscale.api.models import Model as Model
    from emoscale.api.models import load as load
    from emoscale.api.runs import Run as Run
    from emoscale.api.runs import open_run as open_run
    from emoscale.api.runs import run_study as run_study
    from emoscale.api.searchlight import searchlight as searchlight
    from emoscale.errors import EmoscaleError as EmoscaleError
    from emoscale.errors import InputError as InputError

__version__ = "0.1.0"

# Before huggingface_hub is imported, which else adds to every request what runs on this machine.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

__all__ = [
    "EmoscaleError",
    "InputError",
    "Model",
    "Run",
    "ablate",
    "activations",
    "effects",
    "load",
    "open_run",
    "plot",
    "run_study",
    "searchlight",
]

_MODULES = {
    "EmoscaleError": "errors",
    "InputError": "errors",
    "Model": "api.models",
    "Run": "api.runs",
    "ablate": "api.ablate",
    "activations": "api.activations",
    "effects": "api.effects",
    "load": "api.models",
    "open_run": "api.runs",
    "plot": "api.plot",
    "run_study": "api.runs",
    "searchlight": "api.searchlight",
}
"""Where each name is. Torch, transformers and xarray take seconds to import, which only what is used should cost."""

_SUBMODULES = {"plot"}
"""Names of modules; any other name is of something in its module."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'emoscale' has no attribute {name!r}")
    module = import_module(f"emoscale.{_MODULES[name]}")
    value = module if name in _SUBMODULES else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
