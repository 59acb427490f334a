"""The table of every neuron, which is too long for CSV: written by blocks, so that only one is in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emoscale.analysis.codebook import NATS, Column, correlation, count, p_value
from emoscale.run.effects import has_effects, mean_effects
from emoscale.run.folder import RunFolder
from emoscale.schema import NEURON_COORDINATES
from emoscale.store import Store
from emoscale.system.files import replacing

NEURONS = "neurons"
"""Name of the table."""

NEURONS_MEANING = "Every neuron and attribute: how closely the neuron follows it, and what editing the neuron changes"

NEURON_COLUMNS: Mapping[str, Column] = {
    "neuron": count("number of the neuron in the run's stores, from 0"),
    "layer": count("layer, from 0"),
    "expert": count("expert of the layer, from 0; the column is there only if there are experts"),
    "unit": count("number of the neuron within its layer or expert, from 0"),
    "attribute": Column("attribute that the neuron is compared with"),
    "tau": correlation("selectivity: how closely the neuron's differences between concepts follow the attribute's"),
    "p": p_value("one-sided (tau above 0), by the inference chosen (selectivity.inference)"),
    "q": p_value(
        "as p, Benjamini and Hochberg over all neurons and attributes; at least the p of the attribute's followers",
        "p, corrected for false discoveries",
    ),
    "rank": Column("rank of the neuron by tau within the attribute, from 1; ties share their mean", "", "1 or more"),
    "effect": Column(
        "mean change of the outcome if the neuron alone is edited, estimated, or exact where it was computed; "
        "negative: needed. The column is there only if effects were estimated",
        NATS,
    ),
}
"""What its columns are, for the codebook."""

_NUMBERS = ("tau", "p", "q", "rank")
_NEURONS_AT_A_TIME = 2**15


def write_neuron_table(folder: RunFolder, selectivity: Store) -> list[str]:
    """Write ``tables/neurons.parquet``: a row for each neuron and attribute, in the order of the neurons.

    Parameters
    ----------
    folder : RunFolder
    selectivity : Store
        tau, p, q and rank, of shape (N, A). A block of neurons is read at a time, and is one row group of the file.

    Returns
    -------
    list of str
        The names of its columns.
    """
    effects = mean_effects(folder).overall if has_effects(folder) else None
    places = {array.name: selectivity.read(array.name) for array in NEURON_COORDINATES}
    if (places["expert"] < 0).all():
        del places["expert"]
    fields = [("neuron", pa.int64()), *((name, pa.int32()) for name in places), ("attribute", _TEXT)]
    fields += [(name, pa.float64()) for name in (*_NUMBERS, *(() if effects is None else ("effect",)))]
    folder.tables.mkdir(parents=True, exist_ok=True)
    with (
        replacing(folder.tables / f"{NEURONS}.parquet") as unfinished,
        pq.ParquetWriter(unfinished, pa.schema(fields), compression="zstd") as writer,
    ):
        for block in _blocks(selectivity, places, effects):
            writer.write_table(pa.table(block, schema=writer.schema))
    return [name for name, _ in fields]


_TEXT = pa.dictionary(pa.int32(), pa.string())


def _blocks(
    selectivity: Store, places: Mapping[str, NDArray[np.integer]], effects: NDArray[np.float64] | None
) -> Iterator[dict[str, pa.Array]]:
    attributes = pa.array([str(name) for name in selectivity.read("attribute")], pa.string())
    neurons, width = selectivity.sizes["neuron"], selectivity.chunks("tau")[0]
    step = max(_NEURONS_AT_A_TIME // width, 1) * width
    for start in range(0, neurons, step):
        some = slice(start, min(start + step, neurons))
        number, each = np.arange(some.start, some.stop), len(attributes)
        block = {"neuron": np.repeat(number, each)}
        block |= {name: np.repeat(place[some], each).astype(np.int32) for name, place in places.items()}
        codes = np.tile(np.arange(each, dtype=np.int32), len(number))
        arrays = {name: pa.array(values) for name, values in block.items()}
        arrays["attribute"] = pa.DictionaryArray.from_arrays(pa.array(codes), attributes)
        for name in _NUMBERS:
            arrays[name] = pa.array(selectivity.read(name, neuron=some).ravel())
        if effects is not None:
            arrays["effect"] = pa.array(np.repeat(effects[some], each))
        yield arrays
