"""The plain, obviously right version of every kernel: one value at a time, nothing but Python, NumPy and SciPy."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import torch
from scipy.optimize import linprog
from scipy.stats import kendalltau, pearsonr, rankdata, spearmanr


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


def mantel_taus(dissimilarity, rdms, orders):
    """(P,), (A, P), (B, C) -> tau-b of people's dissimilarities of permuted concepts and each attribute's, (B, A)."""
    taus = np.empty((len(orders), len(rdms)))
    for b, order in enumerate(orders):
        square = np.zeros((len(order), len(order)))
        for pair, (i, j) in enumerate(combinations(range(len(order)), 2)):
            square[i, j] = square[j, i] = dissimilarity[pair]
        moved = [square[order[i], order[j]] for i, j in combinations(range(len(order)), 2)]
        taus[b] = [kendalltau(moved, rdm).statistic for rdm in rdms]
    return taus


def searchlight(values, scores):
    """(R, C, n), (C, A) -> tau and p, (n, A)."""
    neurons, attributes = mean_pair_distances(values), decimal_distances(scores)
    results = np.array([[tau_and_p(x, y) for y in attributes] for x in neurons])
    return results[..., 0], results[..., 1]


def followers(values):
    """(1 + B, n, A) -> (1 + B, A): in how many neurons each order's value is the largest; NaN count nowhere."""
    counts = np.zeros((values.shape[0], values.shape[2]), dtype=np.int64)
    for n in range(values.shape[1]):
        for a in range(values.shape[2]):
            true, *null = values[:, n, a]
            if math.isnan(true):
                continue
            if all(true > value for value in null):
                counts[0, a] += 1
            else:
                counts[1 + null.index(max(null)), a] += 1
    return counts


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


def moments(values, cells, G):
    """(rows, n), (rows,) -> counts (G, n), mean (G, n), m2 (G, n), by Welford's update; NaN are left out."""
    n = values.shape[1]
    counts, mean, m2 = np.zeros((G, n), dtype=np.int64), np.zeros((G, n)), np.zeros((G, n))
    for row, cell in zip(values, cells, strict=True):
        for k in range(n):
            if cell < 0 or math.isnan(row[k]):
                continue
            counts[cell, k] += 1
            share = 1 / counts[cell, k]
            with np.errstate(invalid="ignore"):
                deviation = np.float64(row[k]) - mean[cell, k]
                mean[cell, k] += deviation * share
                m2[cell, k] += deviation * (deviation * ((counts[cell, k] - 1) * share))
    return counts, mean, m2


def used_rows(x, concepts):
    """Leave out the rows without a concept or a value."""
    used = [i for i, concept in enumerate(concepts) if concept >= 0 and not math.isnan(x[i])]
    return [float(x[i]) for i in used], [int(concepts[i]) for i in used]


def eta_squared(x, concepts):
    """(rows,), (rows,) -> share of the variance between concepts, in exact arithmetic."""
    x, concepts = used_rows(x, concepts)
    if len(set(x)) < 2 or not np.isfinite(x).all():
        return math.nan
    x = [Fraction(value) for value in x]
    grand = sum(x) / len(x)
    between = Fraction(0)
    for c in set(concepts):
        own = [value for value, concept in zip(x, concepts, strict=True) if concept == c]
        between += len(own) * (sum(own) / len(own) - grand) ** 2
    return float(between / sum((value - grand) ** 2 for value in x))


def correlation_with_scores(x, concepts, scores, correlate):
    """(rows,), (rows,), (C,) -> SciPy's `pearsonr` or `spearmanr`; NaN where a side is constant or a score is NaN."""
    x, concepts = used_rows(x, concepts)
    y = [float(scores[c]) for c in concepts]
    if len(set(x)) < 2 or len(set(y)) < 2 or np.isnan(y).any():
        return math.nan
    return correlate(x, y).statistic


def pearson_with_scores(x, concepts, scores):
    """(rows,), (rows,), (C,) -> correlation; NaN where an activation is not finite."""
    if not np.isfinite(used_rows(x, concepts)[0]).all():
        return math.nan
    return correlation_with_scores(x, concepts, scores, pearsonr)


def spearman_with_scores(x, concepts, scores):
    """(rows,), (rows,), (C,) -> correlation of ranks."""
    return correlation_with_scores(x, concepts, scores, spearmanr)


def rank_sums(x, concepts, C):
    """(rows,), (rows,) -> (C,)."""
    x, concepts = used_rows(x, concepts)
    ranks = rankdata(x)
    return [sum(rank for rank, concept in zip(ranks, concepts, strict=True) if concept == c) for c in range(C)]


def tie_sum(x, concepts):
    """(rows,), (rows,) -> sum over groups of equal activations of t^3 - t."""
    x, _ = used_rows(x, concepts)
    return sum(t**3 - t for t in Counter(x).values())


def auroc(x, concepts, c):
    """(rows,), (rows,) -> chance that a row of the concept beats another, pairs counted one by one."""
    x, concepts = used_rows(x, concepts)
    own = [value for value, concept in zip(x, concepts, strict=True) if concept == c]
    others = [value for value, concept in zip(x, concepts, strict=True) if concept != c]
    if not own or not others:
        return math.nan
    wins = sum((a > b) + (a == b) / 2 for a in own for b in others)
    return wins / (len(own) * len(others))


def average_precision(x, concepts, c):
    """(rows,), (rows,) -> sum over thresholds of the gain in recall times the precision."""
    x, concepts = used_rows(x, concepts)
    if c not in concepts:
        return math.nan
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(x), reverse=True):
        chosen = [concept for value, concept in zip(x, concepts, strict=True) if value >= threshold]
        recall, precision = chosen.count(c) / concepts.count(c), chosen.count(c) / len(chosen)
        total += (recall - recall_before) * precision
        recall_before = recall
    return total


@torch.no_grad()
def edited_scores(prompted, text, prompt, head, off, edit, donor):
    """Label scores of one text under one mask: hooks that edit neurons one by one, every token, the full head."""
    module, start, handles = prompted.model.module, 0, []
    for site in prompted.model.outline.sites:
        units = range(start, start + site.width)

        def pre(_module, args, units=units):
            values = args[0].clone()
            for unit, neuron in enumerate(units):
                if off[neuron]:
                    replaced = edit.donors is not None
                    values[..., unit] = edit.donors[donor, neuron] if replaced else values[..., unit] * edit.factor
            return (values,)

        handles.append(module.get_submodule(site.path).register_forward_pre_hook(pre))
        start += site.width
    try:
        read = prompted.forward(prompted.batch([text]), prompt[None])
    finally:
        for handle in handles:
            handle.remove()
    words = prompted.readout.words
    return read[0, words] if words is not None else head[:, :-1] @ read[0] + head[:, -1]


def dip(sample):
    """(n,) -> distance of the sample's distribution function from the nearest that has one mode, by linear programmes.

    There is one for each point that may be the mode. Its unknowns are the distance and that function at each point; at
    the mode, where it may jump, before and after.
    """
    points, counts = np.unique(sample, return_counts=True)
    after = np.cumsum(counts) / len(sample)
    before = after - counts / len(sample)
    return min(_dip_with_mode(points, before, after, mode) for mode in range(len(points)))


def _dip_with_mode(points, before, after, mode):
    m = len(points)
    one = np.eye(m + 2)  # the function at each point, after the mode's jump shifted by one; the distance
    distance, left, right = one[-1], one[: mode + 1], one[mode + 1 : -1]
    low = np.concatenate([after[:mode], before[mode : mode + 1], after[mode:]])
    high = np.concatenate([before[: mode + 1], after[mode : mode + 1], before[mode + 1 :]])
    rows = [*(one[:-1] - distance), *(-one[:-1] - distance)]
    limits = [*high, *-low]
    rising = [a - b for a, b in pairwise(one[:-1])]
    convex = _bends(points[: mode + 1], left)
    concave = [-bend for bend in _bends(points[mode:], right)]
    bounds = [*((0, 1) for _ in range(m + 1)), (0, None)]
    rows, limits = [*rows, *rising, *convex, *concave], [*limits, *np.zeros(m + len(convex) + len(concave))]
    return linprog(distance, A_ub=np.array(rows), b_ub=limits, bounds=bounds).fun


def _bends(points, values):
    """Return the falls of slope from each step to the next."""
    slopes = [(b - a) / (y - x) for (x, y), (a, b) in zip(pairwise(points), pairwise(values), strict=True)]
    return [a - b for a, b in pairwise(slopes)]


def corrected(cheap, better, group):
    """(items, masks, x); better is NaN where it is not known."""
    found = np.empty(cheap.shape)
    for i, m, x in np.ndindex(cheap.shape):
        own = [j for j in range(len(group)) if group[j] == group[i]]
        known = [j for j in own if not math.isnan(better[j, m, x])]
        others = [j for j in range(len(group)) if group[j] != group[i] and not math.isnan(better[j, m, x])]
        shared = sum(better[j, m, x] - cheap[j, m, x] for j in others) / len(others) if others else 0.0
        found[i, m, x] = cheap[i, m, x] + shared
        if i in known:
            found[i, m, x] += len(own) / len(known) * (better[i, m, x] - cheap[i, m, x] - shared)
    return found
