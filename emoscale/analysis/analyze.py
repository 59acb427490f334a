"""The analysis stage: from a run folder's scores and selectivity to its result tables."""

from __future__ import annotations

from typing import Any

from emoscale.analysis.codebook import CODEBOOK, codebook
from emoscale.analysis.inputs import AnalysisInputs
from emoscale.analysis.neuron_table import NEURON_COLUMNS, NEURONS, NEURONS_MEANING, write_neuron_table
from emoscale.analysis.tables import TABLES
from emoscale.system.progress import Progress


def analyze(inputs: AnalysisInputs, progress: Progress) -> dict[str, Any]:
    """Write every result table that the run's data allow, and their codebook (Li, Su et al. 2024, neuron manipulation).

    Parameters
    ----------
    inputs : AnalysisInputs
    progress : Progress

    Returns
    -------
    dict
        ``tables`` (names), ``k`` (sizes compared), ``controls`` (their kinds), ``pairs`` (selective-control pairs) and
        ``human_data`` (bool).

    Raises
    ------
    StageError
        If the scores or selectivity belong to other concepts or attributes, or have nothing to compare. Nothing has
        been written then.
    """
    inputs.check()
    progress.start(len(TABLES), "tables")
    computed = {}
    for name, table in TABLES.items():
        computed[name] = table.compute(inputs)
        progress.advance()
    there = {name: result for name, result in computed.items() if result is not None}
    described = {name: (table.meaning, table.columns) for name, table in TABLES.items()}
    written = {name: list(map(str, result)) for name, result in there.items()}
    written[NEURONS] = write_neuron_table(inputs.folder, inputs.selectivity)
    there[CODEBOOK] = codebook(described | {NEURONS: (NEURONS_MEANING, NEURON_COLUMNS)}, written)
    for name in computed.keys() - there.keys():
        (inputs.folder.tables / f"{name}.csv").unlink(missing_ok=True)  # of an earlier analysis, of other data
    for name, result in there.items():
        inputs.folder.write_table(name, result)
    return {
        "tables": [*there, NEURONS],
        "k": inputs.ks,
        "controls": [str(control) for control in inputs.paired["control"].unique()],
        "pairs": len(inputs.paired),
        "human_data": inputs.concepts.dissimilarity is not None,
    }
