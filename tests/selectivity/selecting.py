"""Calls of the stage as tests make them: scores, names and options as keywords."""

from emoscale.concepts.loading import Concepts
from emoscale.selectivity.executor import Executor
from emoscale.selectivity.options import SelectivityOptions
from emoscale.selectivity.reading import design_of
from emoscale.selectivity.searchlight import searchlight_job
from emoscale.selectivity.select import select as select_concepts
from emoscale.system.options import MachineOptions
from emoscale.system.progress import Silent


def executor(block_neurons=None, **machine):
    return Executor.of(MachineOptions(**machine), SelectivityOptions(block_neurons=block_neurons))


def select(folder, scores, concepts, attributes, executor=None, progress=None, **options):
    concepts = Concepts(concepts, attributes, scores, None)
    progress = progress or Silent()
    return select_concepts(folder, concepts, SelectivityOptions(**options), executor=executor, progress=progress)


def job(store, scores, concepts, **options):
    attributes = [f"attribute {a}" for a in range(scores.shape[1])]
    study = Concepts(concepts, attributes, scores, None)
    return searchlight_job(design_of(store, concepts), study, SelectivityOptions(**options), backend="cpu")
