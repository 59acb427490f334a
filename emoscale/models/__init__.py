"""Language models: loading them, finding their neurons, reading and masking them, prompting them."""

from emoscale.models.hooks import capturing
from emoscale.models.loading import LanguageModel, ModelOutline, load_model, outline_model
from emoscale.models.masking import Edit, masking
from emoscale.models.prompted import PromptedModel
from emoscale.models.sites import Site, find_sites

__all__ = [
    "Edit",
    "LanguageModel",
    "ModelOutline",
    "PromptedModel",
    "Site",
    "capturing",
    "find_sites",
    "load_model",
    "masking",
    "outline_model",
]
