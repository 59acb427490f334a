"""Every array the project stores: name, dimensions, type, meaning, units.

Dimensions are the words of the field: `observation` (one row of input: a concept's prompt or template), `neuron`
(one unit of one site), `attribute`, `mask`. Coordinates are one-dimensional arrays beside the data that say what each
index stands for.
"""

from __future__ import annotations

from dataclasses import dataclass

FORMAT = 1
"""Version of the stores' layout. A store of another version is refused."""


@dataclass(frozen=True)
class Array:
    """One stored array.

    Parameters
    ----------
    name : str
    dims : tuple of str
        Names of its dimensions, outermost first.
    dtype : str
        NumPy name, or ``"str"`` for variable-length text.
    meaning : str
        One sentence for the reader of the store.
    units : str
        Units of the values; empty when they have none.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    meaning: str
    units: str = ""


@dataclass(frozen=True)
class StoreSchema:
    """The arrays of one kind of store: data in chunks, coordinates whole."""

    kind: str
    data: tuple[Array, ...]
    coordinates: tuple[Array, ...]

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Data and coordinates together."""
        return self.data + self.coordinates

    def __getitem__(self, name: str) -> Array:
        for array in self.arrays:
            if array.name == name:
                return array
        raise KeyError(f"{self.kind} stores have no array {name!r}")


NEURON_COORDINATES = (
    Array("layer", ("neuron",), "int32", "Block the neuron belongs to, from 0"),
    Array("unit", ("neuron",), "int32", "Index of the neuron within its layer's site, from 0"),
)

ACTIVATIONS = StoreSchema(
    "activations",
    data=(
        Array(
            "activations",
            ("observation", "neuron"),
            "float32",
            "Input of the feed-forward's second linear map at the read position",
            "the model's own",
        ),
    ),
    coordinates=(
        Array("concept", ("observation",), "str", "Concept the row stands for"),
        Array("replicate", ("observation",), "str", "Seed of the prompt, or the template"),
        Array("item", ("observation",), "int32", "Row number in its source"),
        Array("position", ("observation",), "int32", "Token position that was read", "tokens"),
        *NEURON_COORDINATES,
    ),
)

SELECTIVITY = StoreSchema(
    "selectivity",
    data=(
        Array("tau", ("neuron", "attribute"), "float64", "Kendall's tau-b of the neuron's and the attribute's RDM"),
        Array("p", ("neuron", "attribute"), "float64", "One-sided p of tau > 0"),
        Array("q", ("neuron", "attribute"), "float64", "p * tests / rank of p, over all neurons and attributes"),
        Array("rank", ("neuron", "attribute"), "float64", "Average rank of -tau within the attribute, from 1"),
    ),
    coordinates=(Array("attribute", ("attribute",), "str", "Rated attribute of the concepts"), *NEURON_COORDINATES),
)

MASKS = StoreSchema(
    "masks",
    data=(
        Array(
            "bits",
            ("mask", "neuron_byte"),
            "uint8",
            "Neurons switched off, eight a byte, first neuron in the highest bit",
        ),
    ),
    coordinates=(
        Array("kind", ("mask",), "str", "none, selective or random"),
        Array("attribute", ("mask",), "str", "Attribute a selective mask belongs to; empty otherwise"),
        Array("k", ("mask",), "int32", "Number of neurons switched off", "neurons"),
        Array("draw", ("mask",), "int32", "Number of the random draw, from 0"),
    ),
)
