"""Every array the project stores: name, dimensions, type, meaning, units.

Dimensions are the words of the field: `observation` (one row of input: a concept's prompt or template), `neuron`
(one unit of one site), `attribute`, `mask`. Coordinates are one-dimensional arrays beside the data that say what each
index represents.
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
        NumPy name, or ``"str"`` for variable-length text. A store may hold another type, see `emoscale.store.types`.
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
    """The arrays of one kind of store: chunked data, and their coordinates.

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
            "Value of the neuron at the row's token, or mean over its tokens; NaN where they were not routed to the "
            "neuron's expert",
            "the model's own",
        ),
    ),
    coordinates=(
        Array("concept", ("observation",), "str", "Concept the row represents"),
        Array("replicate", ("observation",), "str", "Seed of the prompt, or the template"),
        Array("item", ("observation",), "int32", "Number of the row's input, in inputs.zarr"),
        Array(
            "position",
            ("observation",),
            "int32",
            "Number of the row's token in its input, from 0; -1 for a mean",
        ),
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
            "Token ids given to the model, one input after the other; -1 in place of a prompt's vector",
        ),
    ),
    coordinates=(
        Array("concept", ("input",), "str", "Concept the input represents"),
        Array("replicate", ("input",), "str", "Seed of the prompt, or the template"),
        Array("length", ("input",), "int32", "Number of tokens", "tokens"),
        Array("first", ("input",), "int32", "First token that is used", "tokens"),
        Array("stop", ("input",), "int32", "Token after the last that is used", "tokens"),
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
        Array("concept", ("cell",), "str", "Concept the cell's rows represent"),
        Array("replicate", ("cell",), "str", "Seed of their prompt, or their template"),
        Array("rows", ("cell",), "int64", "Number of rows of the cell", "rows"),
        *NEURON_COORDINATES,
    ),
    written_by="extract",
)


def in_shards(moments: StoreSchema) -> StoreSchema:
    """Return the schema of moments that are kept by shard of the reduction."""
    data = tuple(Array(array.name, ("shard", *array.dims), array.dtype, array.meaning) for array in moments.data)
    return StoreSchema(f"{moments.kind} of shards", data, (), moments.written_by)


MOMENT_SHARDS = in_shards(MOMENTS)
"""Moments of consecutive shards of the rows, there until all are merged."""


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
            Array(
                "q",
                by,
                "float64",
                "p corrected for all neurons and attributes (false discoveries), and no smaller than the corrected p "
                "of the attribute's number of followers where these were counted",
            ),
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
            Array(
                "followers",
                ("order", "attribute"),
                "int64",
                f"Neurons whose {symbol} is largest under this order of the concepts, of all orders",
                "neurons",
            ),
        ),
        coordinates=(
            Array("order", ("order",), "int32", "0: the concepts as they are; then each permutation of them"),
            Array("attribute", ("attribute",), "str", "Rated attribute of the concepts"),
            *NEURON_COORDINATES,
        ),
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


NO_MASK, SELECTIVE, HALF = "none", "selective", "half"
"""Kinds of masks: of no neuron, of the most selective ones, and of those by half of the replicates."""

NO_CONTROLS = (NO_MASK, SELECTIVE, HALF)
"""Kinds of masks with which the selective ones are not compared."""

PERMUTED, LOWEST = "permuted", "lowest"
"""Controls that the same ranking chooses: of permuted concepts, and its other end."""

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
            f"{NO_MASK}, {SELECTIVE}, or the name of a control",
        ),
        Array(
            "attribute",
            ("mask",),
            "str",
            "Attribute the mask belongs to; empty for masks that all attributes share",
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

SCORES = StoreSchema(
    "scores",
    data=(
        Array(
            "scores",
            ("item", "mask", "option"),
            "float32",
            "Score of the option, given the item, with the mask's neurons edited: its log probability or its logit",
            "nats",
        ),
        Array(
            "exact_scores",
            ("exact_item", "mask", "option"),
            "float32",
            "With ablation.precision two-level the same in the weights' own type, of a random share of the items; NaN "
            "of the others. Otherwise of no item",
            "nats",
        ),
        Array(
            "token_ids",
            ("token",),
            "int32",
            "Token ids that the model was given before the answer, one item after the other; -1 in place of a prompt's "
            "vector",
        ),
        Array("option_token_ids", ("option_token",), "int32", "Token ids of the options, one after the other"),
    ),
    coordinates=(
        Array("concept", ("item",), "str", "Concept that the item asks about, or that its text shows"),
        Array("replicate", ("item",), "str", "Seed of the prompt, or number of the template"),
        Array("text", ("item",), "int32", "Number of the item's text among all texts; -1 without one"),
        Array("right", ("item",), "int32", "Number of the right option"),
        Array("length", ("item",), "int32", "Number of the item's token ids", "tokens"),
        *MASKS.coordinates,
        Array("option", ("option",), "str", "The possible answer"),
        Array(
            "option_tokens", ("option",), "int32", "Number of the option's token ids; 0 for a trained head", "tokens"
        ),
    ),
    written_by="ablate",
)

ALL_ATTRIBUTES = "mean over attributes"
"""In a table of attributes, the row of the mean over them."""

MEAN_DROP, WITH_IMPORTANCE = "mean drop", "correlation with importance"
SPECIFICITY, DOSE = "specificity", "dose"
"""Statistics over all attributes that are compared with those of permuted masks."""
