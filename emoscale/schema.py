"""Every array the project stores: name, dimensions, type, meaning, units.

Dimensions are the words of the field: `observation` (one row of input: a concept's prompt or template), `neuron`
(one unit of one site), `attribute`, `mask`. Coordinates are one-dimensional arrays beside the data that say what each
index stands for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FORMAT = 2
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
        NumPy name, or ``"str"`` for variable-length text. A store of bfloat16 holds its bits as uint16, with the
        attribute ``bits_of: bfloat16``.
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
    """The arrays of one kind of store: data in chunks, coordinates whole.

    Parameters
    ----------
    kind : str
    data, coordinates : tuple of Array
    written_by : str
        The stage that writes stores of this kind.
    """

    kind: str
    data: tuple[Array, ...]
    coordinates: tuple[Array, ...]
    written_by: str

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
    Array("expert", ("neuron",), "int32", "Expert the neuron belongs to, from 0; -1 in a dense feed-forward"),
    Array("unit", ("neuron",), "int32", "Index of the neuron within its layer's site, or within its expert, from 0"),
)

ACTIVATIONS = StoreSchema(
    "activations",
    data=(
        Array(
            "activations",
            ("observation", "neuron"),
            "float32",
            "Input of the feed-forward's second linear map at the read position; NaN where the token was not routed to "
            "the neuron's expert",
            "the model's own",
        ),
    ),
    coordinates=(
        Array("concept", ("observation",), "str", "Concept the row stands for"),
        Array("replicate", ("observation",), "str", "Seed of the prompt, or the template"),
        Array("item", ("observation",), "int32", "Number of the row's input, in inputs.zarr"),
        Array("position", ("observation",), "int32", "Token that was read, from 0; -1 for a mean over several"),
        Array("token_id", ("observation",), "int32", "Id of that token; -1 for a mean, and for a prompt's vector"),
        *NEURON_COORDINATES,
    ),
    written_by="extract",
)

INPUTS = StoreSchema(
    "inputs",
    data=(
        Array(
            "token_ids",
            ("token",),
            "int32",
            "What the model was given: token ids, one input after the other; -1 where a prompt's vector stood",
        ),
    ),
    coordinates=(
        Array("concept", ("input",), "str", "Concept the input stands for"),
        Array("replicate", ("input",), "str", "Seed of the prompt, or the template"),
        Array("length", ("input",), "int32", "Number of tokens", "tokens"),
        Array("first", ("input",), "int32", "First token that is read", "tokens"),
        Array("stop", ("input",), "int32", "Token after the last that is read", "tokens"),
    ),
    written_by="extract",
)

MOMENTS = StoreSchema(
    "moments",
    data=(
        Array("mean", ("cell", "neuron"), "float64", "Mean activation over the cell's rows", "the model's own"),
        Array("m2", ("cell", "neuron"), "float64", "Sum of the squared deviations from that mean"),
        Array("count", ("cell", "neuron"), "int32", "Rows in which the neuron was not absent", "rows"),
    ),
    coordinates=(
        Array("concept", ("cell",), "str", "Concept the cell's rows stand for"),
        Array("replicate", ("cell",), "str", "Seed of their prompt, or their template"),
        Array("rows", ("cell",), "int64", "Number of rows of the cell", "rows"),
        *NEURON_COORDINATES,
    ),
    written_by="extract",
)

MOMENT_PARTS = StoreSchema(
    "moment parts",
    data=tuple(Array(array.name, ("part", *array.dims), array.dtype, array.meaning) for array in MOMENTS.data),
    coordinates=(),
    written_by="extract",
)
"""Moments of consecutive parts of the rows, there until all are summed up."""


def selectivity_schema(symbol: str, meaning: str) -> StoreSchema:
    """Return the schema of a store of selectivity by some measure.

    Parameters
    ----------
    symbol, meaning : str
        Of the measure's value.
    """
    by = ("neuron", "attribute")
    of_permutations = f"Share of permutations whose largest {symbol} of {{}} reaches {symbol}; NaN without permutations"
    return StoreSchema(
        "selectivity",
        data=(
            Array("tau", by, "float64", meaning),
            Array("p", by, "float64", f"One-sided p of {symbol} > 0, by the inference chosen"),
            Array("q", by, "float64", "p corrected for all neurons and attributes (false discoveries)"),
            Array("rank", by, "float64", f"Average rank of -{symbol} within the attribute, from 1"),
            Array("p_asymptotic", by, "float64", "p by the published normal approximation"),
            Array("p_attribute", by, "float64", of_permutations.format("this attribute")),
            Array("p_all", by, "float64", of_permutations.format("all attributes")),
            Array(
                "null_spread",
                by,
                "float64",
                f"Root mean square of {symbol} under permutation, in units of what the published approximation assumes",
            ),
            Array("tau_odd", by, "float64", f"{symbol} from the first, third, ... replicate"),
            Array("tau_even", by, "float64", f"{symbol} from the second, fourth, ...; NaN if there is one"),
        ),
        coordinates=(Array("attribute", ("attribute",), "str", "Rated attribute of the concepts"), *NEURON_COORDINATES),
        written_by="select",
    )


SELECTIVITY = selectivity_schema("the measure", "Similarity of the neuron's and the attribute's RDM")
"""What readers of any measure's selectivity expect."""


def row_measures_schema(measures: Iterable[Array]) -> StoreSchema:
    """Return the schema of a store of some row measures, each an array over neurons, and concepts or attributes."""
    data = tuple(measures)
    dims = {dim for array in data for dim in array.dims}
    named = (
        Array("concept", ("concept",), "str", "Concept"),
        Array("attribute", ("attribute",), "str", "Rated attribute of the concepts"),
    )
    return StoreSchema(
        "row measures", data, (*(array for array in named if array.name in dims), *NEURON_COORDINATES), "select"
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
        Array(
            "kind",
            ("mask",),
            "str",
            "none, selective, or the name of a control",
        ),
        Array(
            "attribute",
            ("mask",),
            "str",
            "Attribute the mask belongs to; empty for none and for controls that all attributes share",
        ),
        Array("k", ("mask",), "int32", "Number of neurons switched off", "neurons"),
        Array(
            "draw",
            ("mask",),
            "int32",
            "Number of the draw of one kind, attribute and k, from 0",
        ),
    ),
    written_by="mask",
)
