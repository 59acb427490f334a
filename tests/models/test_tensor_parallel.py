import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emoscale.errors import StageError
from emoscale.models.sites.linear_inputs import LinearInput
from emoscale.models.sites.site import own_values
from emoscale.models.tensor_parallel import own_neurons


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 4))
def test_parts_own_every_neuron_once(units, parts):
    sites = [LinearInput(layer, f"{layer}", width * parts) for layer, width in enumerate(units)]
    owned = [own_neurons(sites, part, parts) for part in range(parts)]
    assert all(len(slices) == len(sites) for slices in owned)
    neurons = np.arange(sum(site.width for site in sites))
    in_turn = [neurons[owned[part][layer]] for layer in range(len(sites)) for part in range(parts)]
    assert np.concatenate(in_turn).tolist() == neurons.tolist()
    assert {len(own) for own in in_turn[:parts]} == {units[0]}


def test_a_process_alone_owns_whole_sites():
    assert own_neurons([LinearInput(0, "a", 3), LinearInput(1, "b", 5)]) == [slice(0, 3), slice(3, 8)]


def test_own_values_of_all_and_of_own():
    site = LinearInput(0, "a", 6)
    values = torch.arange(12).reshape(2, 6)
    assert own_values(values, site, 1, 3).tolist() == [[2, 3], [8, 9]]
    assert own_values(values[:, 2:4], site, 1, 3).tolist() == [[2, 3], [8, 9]]
    assert torch.equal(own_values(values, site, 0, 1), values)


def test_other_widths_are_refused():
    with pytest.raises(StageError, match=r"^a has 4 values where 6 are spread over 3 processes; set machine"):
        own_values(torch.zeros(2, 4), LinearInput(0, "a", 6), 1, 3)
