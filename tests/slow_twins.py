"""The plain, obviously right version of every kernel: one value at a time, nothing but Python, NumPy and SciPy."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from itertools import combinations

import numpy as np
from scipy.stats import kendalltau


def distance(a, b):
    return abs(float(a) - float(b))


def mean_pair_distances(values):
    """(R, C, n) -> (n, P)."""
    R, C, n = values.shape
    distances = np.empty((n, C * (C - 1) // 2))
    for k in range(n):
        for pair, (i, j) in enumerate(combinations(range(C), 2)):
            distances[k, pair] = sum(distance(values[r, i, k], values[r, j, k]) for r in range(R)) / R
    return distances


def published_distances(values):
    """(R, C, n) -> (n, P)."""
    R, C, n = values.shape
    distances = np.empty((n, C * (C - 1) // 2))
    for k in range(n):
        for pair, (i, j) in enumerate(combinations(range(C), 2)):
            total = sum(Fraction(distance(values[r, i, k], values[r, j, k])) for r in range(R))
            distances[k, pair] = written_and_read(float(total / R))
    return distances


def written_and_read(x):
    """As data.table's fwrite and an exact reader do."""
    if x == 0:
        return x
    fraction, exponent = math.frexp(x)
    power = math.floor((exponent - 1) * math.log10(2))
    scaled = 2 * fraction * float(Fraction(2) ** (exponent - 1) / Fraction(10) ** power)
    if scaled >= 9.99999999999999:
        scaled, power = scaled / 10, power + 1
    sixteen = int(scaled * 1e15)
    fifteen = sixteen // 10 + (sixteen % 10 >= 5)
    return float(f"{fifteen}e{power - 14}")


def condensed_distances(scores):
    """(C, A) -> (A, P)."""
    C, A = scores.shape
    return np.array([[distance(scores[i, a], scores[j, a]) for i, j in combinations(range(C), 2)] for a in range(A)])


def decimal_distances(scores):
    """(C, A) -> (A, P)."""
    rounded = condensed_distances(scores)
    for a in range(scores.shape[1]):
        largest = np.abs(scores[:, a]).max()
        if 1e-280 < largest < math.inf:
            step = 10.0 ** (math.ceil(math.log10(largest)) - 12)
            rounded[a] = [round(distance / step) * step for distance in rounded[a]]
    return rounded


def sign(x):
    return int(x > 0) - int(x < 0)


def kendall_numerator(x, y):
    """Concordant minus discordant comparisons."""
    return sum(sign(x[i] - x[j]) * sign(y[i] - y[j]) for i, j in combinations(range(len(x)), 2))


def untied_comparisons(x):
    return sum(x[i] != x[j] for i, j in combinations(range(len(x)), 2))


def tie_sums(x):
    groups = Counter(x).values()
    return [
        sum(t * (t - 1) // 2 for t in groups),
        sum(t * (t - 1) * (t - 2) for t in groups),
        sum(t * (t - 1) * (2 * t + 5) for t in groups),
    ]


def dense_ranks(x):
    distinct = sorted(set(x))
    return [distinct.index(value) for value in x]


def tau_and_p(x, y):
    """Tau-b and its one-sided asymptotic p; NaN where a side is constant or not finite."""
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return math.nan, math.nan
    result = kendalltau(x, y, method="asymptotic", alternative="greater")
    return result.statistic, result.pvalue


def searchlight(values, scores):
    """(R, C, n), (C, A) -> tau and p, (n, A)."""
    neurons, attributes = mean_pair_distances(values), decimal_distances(scores)
    results = np.array([[tau_and_p(x, y) for y in attributes] for x in neurons])
    return results[..., 0], results[..., 1]


def average_rank(value, values):
    """Rank of a value among values that hold it, from the smallest, 1; equal values share the mean."""
    return sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2


def q_values(p):
    """(M,) -> (M,), p * tests / rank of p."""
    tests = [value for value in p if not math.isnan(value)]
    return np.array([value if math.isnan(value) else value * len(tests) / average_rank(value, tests) for value in p])


def ranks_of_largest(column):
    """(N,) -> (N,): 1 is the largest, NaN share the last ranks."""
    keys = [math.inf if math.isnan(value) else -value for value in column]
    return np.array([average_rank(key, keys) for key in keys])
