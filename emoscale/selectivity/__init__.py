"""How well each neuron's differences between concepts match people's differences on each attribute."""

from emoscale.selectivity.executor import Executor
from emoscale.selectivity.inference import average_ranks, q_values
from emoscale.selectivity.measures import MEASURES, Measure
from emoscale.selectivity.row_measures import ROW_MEASURES
from emoscale.selectivity.select import select

__all__ = [
    "MEASURES",
    "ROW_MEASURES",
    "Executor",
    "Measure",
    "average_ranks",
    "q_values",
    "select",
]
