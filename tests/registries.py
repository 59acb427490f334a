"""The registries that a user may add to, and a block after which they are as they were."""

from contextlib import contextmanager

from emoscale.ablation.edits import EDITS
from emoscale.analysis.tables import TABLES
from emoscale.masks.controls import CONTROLS
from emoscale.models.sites.feed_forward import SECOND_MAPS
from emoscale.models.sites.registry import SITES
from emoscale.pipeline.stages import STAGES
from emoscale.report.figures import FIGURES
from emoscale.selectivity.measures import MEASURES
from emoscale.selectivity.row_measures import ROW_MEASURES
from emoscale.stimuli.sources import SOURCES
from emoscale.store.types import STORED_TYPES
from emoscale.tasks.outcomes import NORMALIZATIONS, OUTCOMES
from emoscale.tasks.registry import TASKS

REGISTRIES = (
    CONTROLS,
    EDITS,
    FIGURES,
    MEASURES,
    NORMALIZATIONS,
    OUTCOMES,
    ROW_MEASURES,
    SECOND_MAPS,
    SITES,
    SOURCES,
    STAGES,
    STORED_TYPES,
    TABLES,
    TASKS,
)


@contextmanager
def registries_restored():
    """Undo what the block changes in the registries."""
    before = [dict(registry) for registry in REGISTRIES]
    try:
        yield
    finally:
        for registry, entries in zip(REGISTRIES, before, strict=True):
            registry.clear()
            registry.update(entries)
