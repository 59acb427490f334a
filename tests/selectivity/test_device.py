"""The GPU's way of counting, on the CPU where there is no GPU; the tests marked gpu need one."""

import numpy as np
import pytest
import torch

from emoscale.errors import InputError
from emoscale.selectivity import device, kendall
from emoscale.selectivity.permutation import concept_orders
from emoscale_kernels import attribute_patterns, decimal_distances, mean_pair_distances, pack_rdms

here = pytest.mark.parametrize(
    "where",
    [
        "cpu",
        pytest.param(
            "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
        ),
    ],
)


def block(C=9, n=23, A=3, seed=0):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(2, C, n))
    values[:, :, 3] = values[:, :, 3].round()
    values[:, :, 5] = 0.25
    values[:, 1, 6] = np.nan
    scores = generator.random((C, A)).round(1)
    return values, attribute_patterns(decimal_distances(scores))


@here
@pytest.mark.parametrize(("comparisons", "patterns"), [(8192, 4096), (7, 4), (1, 1)])
def test_integers_are_those_of_packed_comparisons(monkeypatch, where, comparisons, patterns):
    monkeypatch.setattr(device, "_COMPARISONS", comparisons)
    monkeypatch.setattr(device, "_PATTERNS", patterns)
    values, prepared = block()
    orders = concept_orders(9, 25, seed=2)
    rdms = pack_rdms(mean_pair_distances(values), bits=True)
    expected_true, expected = kendall._null_counts(rdms, prepared, orders)
    true, counts = device.null_counts(pack_rdms(mean_pair_distances(values), bits=False), prepared, orders, where)
    np.testing.assert_array_equal(true, expected_true)
    assert true.dtype == np.int64
    np.testing.assert_array_equal(counts.reached, expected.reached)
    np.testing.assert_array_equal(counts.highest, expected.highest)
    np.testing.assert_allclose(counts.sums, expected.sums, rtol=1e-12, atol=1e-13)


@here
def test_more_comparisons_than_single_precision_holds(monkeypatch, where):
    monkeypatch.setattr(device, "_EXACT", 100)
    values, prepared = block()
    rdms = pack_rdms(mean_pair_distances(values), bits=True)
    keys = torch.from_numpy(rdms.keys[:, : prepared.pairs].copy()).to(where)
    products = device.sign_products(keys, torch.from_numpy(prepared.ranks).to(where))
    assert products.dtype == torch.float64
    np.testing.assert_array_equal(
        products.cpu().numpy(), kendall._null_counts(rdms, prepared, concept_orders(9, 0, 0))[0]
    )


@here
def test_the_study_s_size_and_a_block_without_neurons(where):
    for n in (40, 0):
        values, prepared = block(C=27, n=max(n, 7), A=14)
        values = values[:, :, :n]
        orders = concept_orders(27, 12, seed=1)
        by_cpu = kendall.permuted(values, prepared, orders)
        # Any name of a device but "cpu" goes the GPU's way.
        by_device = kendall.permuted(values, prepared, orders, backend=f"{where}:0")
        np.testing.assert_array_equal(by_device.value, by_cpu.value)
        np.testing.assert_array_equal(by_device.p_asymptotic, by_cpu.p_asymptotic)
        np.testing.assert_array_equal(by_device.highest, by_cpu.highest)
        np.testing.assert_allclose(by_device.p, by_cpu.p, rtol=1e-9)


def test_precision_is_left_as_it_was():
    before = torch.get_float32_matmul_precision()
    values, prepared = block()
    rdms = pack_rdms(mean_pair_distances(values), bits=False)
    device.null_counts(rdms, prepared, concept_orders(9, 1, 0), "cpu")
    assert torch.get_float32_matmul_precision() == before


def test_choice_of_a_backend(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose_backend("auto") == "cpu"
    with pytest.raises(InputError, match="no GPU is seen here"):
        device.choose_backend("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [device.choose_backend(name) for name in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    with pytest.raises(InputError, match="'tpu': not known"):
        device.choose_backend("tpu")
