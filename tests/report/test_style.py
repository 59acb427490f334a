import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from emoscale.report.style import spread_out


@given(st.lists(st.floats(-1, 1), max_size=20), st.floats(0.001, 0.5))
def test_labels_are_moved_apart_and_no_further_than_needed(values, gap):
    places = np.sort(np.array(values, float))
    apart = spread_out(places, gap)
    assert (np.diff(apart) >= gap - 1e-9).all()
    if (np.diff(places) >= gap).all():
        np.testing.assert_array_equal(apart, places)
    assert np.abs(apart - places).max(initial=0) <= gap * len(places)


def test_two_labels_at_one_place_stand_on_both_sides_of_it():
    np.testing.assert_allclose(spread_out(np.array([1.0, 1.0]), 0.2), [0.9, 1.1])
