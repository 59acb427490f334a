"""Training many soft prompts at once while the model stays frozen."""

from emoscale.tuning.tune import tune

__all__ = ["tune"]
