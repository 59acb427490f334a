"""The packages, of which pyproject.toml cannot name one more: ``emoscale.examples`` is the repository's ``configs``."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["emoscale", "emoscale.*"]),
        *find_packages("kernels", include=["emoscale_kernels", "emoscale_kernels.*"]),
        "emoscale.examples",
    ],
)
