"""Scores in two precisions: all in bfloat16, and a random share of the texts in the weights' own type too."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_ablate_stage import MASK_COUNT, NEURONS, Interrupt, Study, files_of, options, run, write_masks

from emoscale.ablation import ablate as stage
from emoscale.ablation.checks import check_precision
from emoscale.ablation.exact_share import WIDER, draw_share, enough
from emoscale.ablation.options import AblationOptions
from emoscale.errors import InputError
from emoscale.run.folder import RunFolder
from emoscale.schema import SCORES
from emoscale.store import open_store
from emoscale.system.ranks import Ranks
from emoscale.tasks.partly_known import corrected


@pytest.fixture(scope="module")
def off():
    off = np.random.default_rng(0).random((MASK_COUNT, NEURONS)) < 0.5
    off[0] = False
    return off


@pytest.fixture(scope="module")
def study(tiny_model):
    return Study(tiny_model("bert-encoder"))


def two_level(**more):
    return options(precision="two-level", **more)


def stored(path):
    store = open_store(RunFolder(path).scores, SCORES)
    assert store.complete
    assert store.verify() == []
    return store.read("scores"), store.read("exact_scores")


def test_both_levels_are_those_of_one_precision_alone(tmp_path, study, off):
    for name, chosen in {
        "both": two_level(exact_share=0.5),
        "bfloat16": options(precision="bfloat16"),
        "exact": options(),
    }.items():
        write_masks(tmp_path / name, off)
        assert run(tmp_path / name, study, chosen).get("exact_share") == (0.5 if name == "both" else None)
    cheap, exact = stored(tmp_path / "both")
    assert np.array_equal(cheap, stored(tmp_path / "bfloat16")[0])
    is_known = draw_share(study.task.items, 0.5, 0)
    assert np.isnan(exact[~is_known]).all()
    expected, nothing = stored(tmp_path / "exact")
    np.testing.assert_allclose(exact[is_known], expected[is_known], atol=1e-5)
    assert not np.allclose(cheap, expected, atol=1e-5)
    assert nothing.shape[0] == 0


@pytest.mark.parametrize("exact_share", [0.5, None])
@pytest.mark.parametrize("write", [0, 1, 3, 6])
def test_a_run_that_was_killed_ends_with_the_same_bytes(tmp_path, monkeypatch, study, off, write, exact_share):
    for name in ("whole", "killed"):
        write_masks(tmp_path / name, off)
    chosen = two_level(exact_share=exact_share, tokens_per_pass=None)
    monkeypatch.setattr(stage, "find_budget", lambda *_: 40)
    whole = run(tmp_path / "whole", study, chosen)
    written, compute = [], stage.score

    def killed(*arguments):
        if len(written) == write:
            raise KeyboardInterrupt
        written.append(arguments)
        return compute(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "score", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", study, chosen)
    with monkeypatch.context() as patch:  # the trial is not made again
        patch.setattr(stage, "find_share", lambda *_: pytest.fail("tried again"))
        assert run(tmp_path / "killed", study, chosen) == whole
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


def test_ranks_and_units_do_not_matter_to_the_share(tmp_path, study, off):
    found = {}
    for name, most in (("one", 5), ("three", 5), ("small", 2)):
        write_masks(tmp_path / name, off)
        chosen = two_level(exact_share=0.5, items_per_unit=most)
        if name == "three":  # one after the other, as in `test_ranks_share_the_units_out`
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path / name, study, chosen, progress=Interrupt(1))
            for rank in (2, 1, 0):
                run(tmp_path / name, study, chosen, ranks=Ranks(rank, 3, torch.device("cpu")))
        else:
            run(tmp_path / name, study, chosen)
        found[name] = stored(tmp_path / name)[1]
    assert files_of(tmp_path / "three") == files_of(tmp_path / "one")
    np.testing.assert_allclose(found["one"], found["small"], atol=1e-5, equal_nan=True)


@given(st.integers(1, 9), st.integers(1, 3), st.floats(0.01, 0.99), st.integers(0, 20))
def test_replicates_share_their_texts(texts, replicates, share, seed):
    cells = [(c, str(r), 10 * n + t) for n, c in enumerate("ab") for r in range(replicates) for t in range(texts)]
    items = pd.DataFrame(cells, columns=["concept", "replicate", "text"])
    found = items[draw_share(items, share, seed)]
    counts = found.groupby(["concept", "replicate"]).size()
    assert len(counts) == 2 * replicates
    assert (counts == min(max(2, int(np.ceil(share * texts - 1e-9))), texts)).all()
    for _, own in found.groupby("concept"):
        assert len(set(map(tuple, own.groupby("replicate")["text"].agg(sorted)))) == 1


def test_every_text_is_drawn_as_often():
    items = pd.DataFrame({"concept": "a", "replicate": "0", "text": range(8)})
    drawn = np.mean([draw_share(items, 0.25, seed) for seed in range(4_000)], axis=0)
    np.testing.assert_allclose(drawn, 0.25, atol=0.03)


def test_the_share_that_is_enough_widens_errors_as_said():
    rng, n = np.random.default_rng(0), 400
    exact = rng.normal(size=(n, 1))
    cheap = exact + 0.4 * rng.normal(size=exact.shape)
    share = enough(cheap, exact)
    errors, group = [], np.zeros(n, np.int64)
    for _ in range(2_000):
        exact = rng.normal(size=(n, 1, 1))
        cheap = exact + 0.4 * rng.normal(size=exact.shape)
        known = np.isin(np.arange(n), rng.permutation(n)[: round(share * n)])[:, None, None]
        errors.append(corrected(cheap, np.where(known, exact, np.nan), group).mean())
    assert np.std(errors) * np.sqrt(n) == pytest.approx(WIDER, abs=0.05)
    assert enough(exact[:, 0], exact[:, 0]) == 0
    assert enough(exact[:, 0], np.zeros((n, 1))) == 1


@pytest.mark.parametrize(("dtype", "quantised"), [("bfloat16", None), ("float16", None), ("float32", "bitsandbytes")])
def test_weights_that_are_no_more_exact_are_refused(dtype, quantised):
    with pytest.raises(InputError, match="nothing more exact to correct"):
        check_precision(AblationOptions(precision="two-level"), dtype, quantised)
    check_precision(AblationOptions(precision="two-level"), "float32", None)
    check_precision(AblationOptions(precision="bfloat16"), dtype, quantised)


def test_a_share_that_nothing_uses_is_refused():
    with pytest.raises(InputError, match=r"ablation\.exact_share: precision 'exact' does not use it"):
        check_precision(AblationOptions(exact_share=0.5), "float32", None)


def test_slow_bfloat16_is_said_in_one_line(tmp_path, study, off, caplog, monkeypatch):
    for is_fast in (False, True):
        caplog.clear()
        monkeypatch.setattr("emoscale.ablation.exact_share.has_fast_bfloat16", lambda _, is_fast=is_fast: is_fast)
        write_masks(tmp_path / str(is_fast), off)
        run(tmp_path / str(is_fast), study, two_level(exact_share=0.5))
        assert len([line for line in caplog.messages if "takes longer than exact" in line]) == (not is_fast)
