import pytest

from emoscale.report.phrasing import count, interval, listing, number, probability, signed, statistic, threshold

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.8432, 2, ".84"),
        (-0.03, 2, "−.03"),
        (1.0, 2, "1.00"),
        (-1.25, 1, "−1.2"),
        (0.0, 2, ".00"),
        (-0.001, 2, ".00"),
        (0.999, 2, "1.00"),
        (10.41, 2, "10.41"),
        (NAN, 2, "–"),
        (float("inf"), 2, "–"),
    ],
)
def test_number(value, digits, text):
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.031, "+.03"), (-0.031, "−.03"), (0.001, ".00"), (-0.001, ".00"), (NAN, "–")]
)
def test_signed(value, text):
    assert signed(value) == text


def test_interval():
    assert interval(-0.1, 0.25) == "[−.10, .25]"
    assert interval(NAN, NAN) == "–"


@pytest.mark.parametrize(("p", "text"), [(0.0123, "p = .012"), (1e-9, "p < .001"), (1.0, "p = 1.000"), (NAN, "p –")])
def test_probability(p, text):
    assert probability(p) == text


def test_threshold_and_statistic():
    assert [threshold(0.05), threshold(0.001), threshold(1.0)] == [".05", ".001", "1"]
    assert [statistic(-16.918), statistic(NAN)] == ["−16.92", "–"]


def test_count_and_listing():
    assert [count(1, "neuron"), count(4000, "neuron"), count(0, "text")] == ["1 neuron", "4,000 neurons", "0 texts"]
    assert [listing([]), listing(["a"]), listing(["a", "b"]), listing(["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert listing(list("abcdefgh"), 3) == "a, b and 6 others"
    assert listing(list("abc"), 3) == "a, b and c"
