"""The published study again, from the files that its authors released (METHOD sections 4 to 8)."""

from emoscale.reproduction.stage import reproduce

__all__ = ["reproduce"]
