"""Which implementation of a kernel computes, and the GPU's; the tests marked gpu need one."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from clusters import ATTRIBUTES, CONCEPTS, SCORES
from distributed import Client, LocalCluster
from selecting import executor, select

from emoscale.errors import InputError
from emoscale.selectivity import backends, kendall
from emoscale.selectivity.permutation import concept_orders
from emoscale.store import open_store
from emoscale_kernels import (
    attribute_patterns,
    decimal_distances,
    mean_pair_distances,
    numba_backend,
    pack_rdms,
    torch_backend,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def where(request, monkeypatch):
    """Let PyTorch's kernels compute on the processor, or on the GPU."""
    if request.param == "cpu":
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return request.param


here = pytest.mark.parametrize(
    "where",
    [
        "cpu",
        pytest.param(
            "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
        ),
    ],
    indirect=True,
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
def test_the_twins_count_the_same(monkeypatch, where, comparisons, patterns):
    monkeypatch.setattr(torch_backend, "_COMPARISONS", comparisons)
    monkeypatch.setattr(torch_backend, "_PATTERNS", patterns)
    values, prepared = block()
    arguments = pack_rdms(mean_pair_distances(values), bits=False), prepared, concept_orders(9, 25, seed=2)
    expected_true, expected = numba_backend.null_counts(*arguments)
    true, counts = torch_backend.null_counts(*arguments)
    np.testing.assert_array_equal(true, expected_true)
    assert true.dtype == np.int64
    np.testing.assert_array_equal(counts.reached, expected.reached)
    np.testing.assert_array_equal(counts.highest, expected.highest)
    np.testing.assert_array_equal(counts.followers, expected.followers)
    np.testing.assert_allclose(counts.sums, expected.sums, rtol=1e-12, atol=1e-13)


@here
def test_more_comparisons_than_single_precision_holds(monkeypatch, where):
    monkeypatch.setattr(torch_backend, "_EXACT", 100)
    values, prepared = block()
    rdms = pack_rdms(mean_pair_distances(values), bits=True)
    keys = torch.from_numpy(rdms.keys[:, : prepared.pairs].copy()).to(where)
    products = torch_backend.sign_products(keys, torch.from_numpy(prepared.ranks).to(where))
    assert products.dtype == torch.float64
    expected, _ = numba_backend.null_counts(rdms, prepared, concept_orders(9, 0, 0))
    np.testing.assert_array_equal(products.cpu().numpy(), expected)


@pytest.fixture
def on_gpu(monkeypatch):
    """Let this process take PyTorch's kernels, whatever it has."""
    monkeypatch.setattr(torch_backend, "available", lambda: True)
    backends.choose_backend.cache_clear()
    yield
    backends.choose_backend.cache_clear()


@pytest.mark.parametrize("n", [40, 0])
def test_the_study_s_size_and_a_block_without_neurons(n, monkeypatch):
    values, prepared = block(C=27, n=max(n, 7), A=14)
    arguments = values[:, :, :n], prepared, concept_orders(27, 12, seed=1)
    by_cpu = kendall.permuted(*arguments)
    monkeypatch.setattr(backends, "choose_backend", lambda setting: "cuda")
    by_torch = kendall.permuted(*arguments, backend="auto")
    np.testing.assert_array_equal(by_torch.value, by_cpu.value)
    np.testing.assert_array_equal(by_torch.p_asymptotic, by_cpu.p_asymptotic)
    np.testing.assert_array_equal(by_torch.highest, by_cpu.highest)
    np.testing.assert_array_equal(by_torch.followers, by_cpu.followers)
    np.testing.assert_allclose(by_torch.p, by_cpu.p, rtol=1e-9)


def test_precision_is_left_as_it_was():
    before = torch.get_float32_matmul_precision()
    values, prepared = block()
    rdms = pack_rdms(mean_pair_distances(values), bits=False)
    torch_backend.null_counts(rdms, prepared, concept_orders(9, 1, 0))
    assert torch.get_float32_matmul_precision() == before


def test_choice_of_a_backend(monkeypatch):
    choose = backends.choose_backend.__wrapped__
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [choose(setting) for setting in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(InputError, match=r"machine\.backend cuda: no GPU is available on"):
        choose("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [choose(setting) for setting in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    with pytest.raises(InputError, match=r"'tpu'.*: unknown"):
        choose("tpu")


def test_a_kernel_without_a_twin_is_the_processors(on_gpu, monkeypatch):
    assert backends.kernel("null_counts", "auto") is torch_backend.null_counts
    assert backends.kernel("null_counts", "cpu") is numba_backend.null_counts
    monkeypatch.delattr(torch_backend, "null_counts")
    assert backends.kernel("null_counts", "auto") is numba_backend.null_counts


def test_a_gpu_that_is_missing_is_refused_before_anything_is_computed(folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="no GPU is available"):
        executor(backend="cuda").check()
    with pytest.raises(InputError, match="no GPU is available"):
        select(folder, SCORES, CONCEPTS, ATTRIBUTES, permutations=20, executor=executor(backend="cuda"))
    assert not folder.selectivity.exists()


def give_a_gpu():
    """Put a twin that counts too much in this process's PyTorch backend."""
    from emoscale_kernels import numba_backend, torch_backend

    def null_counts(rdms, patterns, orders):
        true, counts = numba_backend.null_counts(rdms, patterns, orders)
        return true, counts._replace(reached=counts.reached * 0 + len(orders))

    torch_backend.available = lambda: True
    torch_backend.null_counts = null_counts


def test_a_worker_chooses_for_itself(folder, monkeypatch):
    """The client has no GPU and the worker has one; the twin there says that every permutation reaches tau."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    local = {"n_workers": 1, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with LocalCluster(**local) as cluster, Client(cluster, set_as_default=False) as client:
        by = executor(scheduler=cluster.scheduler_address, backend="cuda")
        by.check()
        with pytest.raises(InputError, match="no GPU is available on"):
            select(folder, SCORES, CONCEPTS, ATTRIBUTES, permutations=20, executor=by)
        assert not folder.selectivity.exists()
        client.run(give_a_gpu)
        select(folder, SCORES, CONCEPTS, ATTRIBUTES, permutations=20, executor=by)
        p = open_store(folder.selectivity).read("p")
        np.testing.assert_array_equal(p, 1.0)
        select(folder, SCORES, CONCEPTS, ATTRIBUTES, permutations=20, executor=executor(scheduler=by.scheduler))
        np.testing.assert_array_equal(open_store(folder.selectivity).read("p"), 1.0)
    select(folder, SCORES, CONCEPTS, ATTRIBUTES, permutations=20)
    assert (open_store(folder.selectivity).read("p") < 1).any()


def test_the_kernels_do_not_import_torch():
    code = "import sys, emoscale_kernels, emoscale_kernels.numba_backend; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
