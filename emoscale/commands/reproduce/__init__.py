"""The published study again, from the files that its authors released (Li, Su et al. 2024)."""

from emoscale.commands.reproduce.stages import reproduce

__all__ = ["reproduce"]
