"""The packages, which pyproject.toml cannot name: ``emoscale.examples`` is the repository's ``configs``."""

from setuptools import find_namespace_packages, setup

CACHES = ["*__pycache__*"]


def packages(folder: str, *names: str) -> list[str]:
    """Return all packages in a folder. Folders of data are packages without modules."""
    return find_namespace_packages(folder, include=names, exclude=CACHES)


setup(
    packages=[
        *packages(".", "emoscale", "emoscale.*"),
        *packages("kernels", "emoscale_kernels", "emoscale_kernels.*"),
        "emoscale.examples",
        *(f"emoscale.examples.{name}" for name in packages("configs", "*")),
    ],
)
