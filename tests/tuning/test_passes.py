from hypothesis import given
from hypothesis import strategies as st

from emoscale.tuning.passes import passes


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 200))
def test_every_row_is_in_one_pass_and_none_is_over_the_budget(lengths, tokens):
    cut = passes(lengths, tokens)
    rows = [row for part in cut for row in part]
    assert rows == sorted(range(len(lengths)), key=lambda row: lengths[row])
    for part, following in zip(cut, [*cut[1:], None], strict=True):
        longest = max(lengths[row] for row in part)
        assert len(part) == 1 or len(part) * longest <= tokens
        if following is not None:  # the next row had no room
            assert (len(part) + 1) * lengths[following[0]] > tokens


def test_no_rows():
    assert passes([], 10) == []


def test_rows_of_like_length_share_a_pass():
    assert [part.tolist() for part in passes([5, 2, 5, 30, 2], 10)] == [[1, 4], [0, 2], [3]]
