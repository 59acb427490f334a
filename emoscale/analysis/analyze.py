"""The analysis stage: from a run folder's ablation and selectivity to its result tables."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from emoscale.analysis.inputs import AnalysisInputs
from emoscale.analysis.tables import TABLES
from emoscale.concepts.loading import Concepts
from emoscale.run.folder import RunFolder
from emoscale.statistics import Floats
from emoscale.system.progress import Progress


def analyze(
    folder: RunFolder,
    concepts: Concepts,
    *,
    alpha: float,
    rdms: Floats | None = None,
    participants: Floats | None = None,
    exchangeable: Collection[str] = (),
    progress: Progress,
) -> dict[str, Any]:
    """Write every result table that the run's data allow (Li, Su et al. 2024, neuron manipulation).

    Parameters
    ----------
    folder, concepts, alpha, participants, exchangeable
        See `AnalysisInputs`.
    rdms : ndarray, float, shape (A, P), optional
        The attributes' RDMs; the differences of the scores when left out.
    progress : Progress

    Returns
    -------
    dict
        ``tables`` (names), ``k`` (sizes compared), ``controls`` (their kinds), ``pairs`` (selective-control pairs) and
        ``human_data`` (bool).

    Raises
    ------
    StageError
        If the ablation or selectivity belongs to other concepts or attributes, or has nothing to compare. Nothing has
        been written then.
    """
    inputs = AnalysisInputs(folder, concepts, alpha, rdms, participants, exchangeable)
    inputs.check()
    progress.start(len(TABLES), "tables")
    computed = {}
    for name, table in TABLES.items():
        computed[name] = table.compute(inputs)
        progress.advance()
    written = []
    for name, result in computed.items():
        if result is None:
            (folder.tables / f"{name}.csv").unlink(missing_ok=True)  # of an earlier analysis, of other data
        else:
            folder.write_table(name, result)
            written.append(name)
    return {
        "tables": written,
        "k": inputs.ks,
        "controls": [str(control) for control in inputs.paired["control"].unique()],
        "pairs": len(inputs.paired),
        "human_data": concepts.dissimilarity is not None,
    }
