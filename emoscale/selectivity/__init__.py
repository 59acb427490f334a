"""How well each neuron's differences between concepts match people's differences on each attribute."""

from emoscale.selectivity.inference import average_ranks, q_values
from emoscale.selectivity.measures import MEASURES, Measure
from emoscale.selectivity.permutation import PermutationTest, permutation_table, permutation_test
from emoscale.selectivity.searchlight import select

__all__ = [
    "MEASURES",
    "Measure",
    "PermutationTest",
    "average_ranks",
    "permutation_table",
    "permutation_test",
    "q_values",
    "select",
]
