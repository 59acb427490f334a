"""What a shortcut leaves out does not change what is read."""

import functools

import pytest
import tiny_families
import tiny_models
import torch
import transformers as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_families import hooks_of, run, token_ids

from emoscale.models.lm_head import reading
from emoscale.models.masking import Edit, masking
from emoscale.models.shortcuts import confirmed, narrowable, shareable, sharing
from emoscale.models.sites.registry import find_sites

RELATIVE = tiny_families.FAMILIES["deberta"][2] | {
    "relative_attention": True,
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 4,
}
"""As released: its key and query maps take a table of positions besides."""

NARROWED = {
    **dict.fromkeys(["bert", "roberta", "xlm-roberta", "electra", "deberta", "deberta-relative"], 2),
    **dict.fromkeys(["mpnet", "distilbert", "modernbert"], 2),
    **dict.fromkeys(["gpt2", "gpt-neo", "gpt-neox", "gpt-j", "opt", "bloom", "falcon", "phi", "phi-3"], 2),
    **dict.fromkeys(["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "olmo2", "stablelm", "cohere"], 3),
}
"""Families whose last block is narrowed, and how many of its maps, whichever the site."""

SHARED = {
    **dict.fromkeys(["modernbert", "gpt2", "gpt-neox", "bloom", "falcon", "phi-3"], (3, 1)),
    **dict.fromkeys(["bert", "roberta", "xlm-roberta", "electra", "deberta", "deberta-relative"], (5, 3)),
    **dict.fromkeys(["mpnet", "distilbert", "gpt-neo", "gpt-j", "opt", "phi"], (5, 3)),
    **dict.fromkeys(["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "olmo2", "stablelm", "cohere"], (6, 3)),
    **dict.fromkeys(tiny_families.MIXTURES, (0, 3)),
}
"""How many maps of the first block are computed once: before feed-forward neurons, and before attention's."""

SITES = ["ffn", "attention"]
NARROWED_CASES = [(family, site) for family in NARROWED for site in SITES if (family, site) != ("falcon", "attention")]
"""Falcon's attention is left out, see the test of what does not fit."""

LENGTHS = torch.tensor([6, 4, 1, 5])
ROWS = len(LENGTHS)


@pytest.fixture(scope="module")
def model():
    def make(family):
        if family == "deberta-relative":
            return tiny_families.tiny_models.randomise(tf.DebertaV2ForMaskedLM(tf.DebertaV2Config(**RELATIVE)))
        return tiny_families.make(family)

    return functools.cache(make)


def attention_of(lengths=LENGTHS, tokens=6):
    return (torch.arange(tokens) < lengths[:, None]).long()


def read_at(positions):
    return lambda values: values[torch.arange(len(values)), positions]


def masks_for(sites, rows):
    shares = torch.linspace(0, 0.8, rows)[:, None]
    return torch.rand(rows, sum(s.width for s in sites), generator=torch.Generator().manual_seed(1)) < shares


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("family", [*tiny_families.ALL, "deberta-relative"])
def test_which_families_have_shortcuts(model, family, site):
    """Encoder-decoders and shared layers have none, mixtures only before their first attention neurons."""
    sites = find_sites(model(family), site)
    assert len(narrowable(model(family), sites)) == NARROWED.get(family, 0)
    assert len(shareable(model(family), sites)) == SHARED.get(family, (0, 0))[SITES.index(site)]


def test_maps_by_name(model):
    def names(found):
        return [name.removeprefix("model.layers.") for name in found]

    llama = model("llama")
    sites = find_sites(llama)
    assert names(narrowable(llama, sites)) == ["1.self_attn.o_proj", "1.mlp.gate_proj", "1.mlp.up_proj"]
    before = ["0.self_attn.q_proj", "0.self_attn.k_proj", "0.self_attn.v_proj"]
    assert names(shareable(llama, sites)) == [*before, "0.self_attn.o_proj", "0.mlp.gate_proj", "0.mlp.up_proj"]
    sites = find_sites(llama, "attention")
    assert names(narrowable(llama, sites)) == ["1.mlp.gate_proj", "1.mlp.up_proj", "1.mlp.down_proj"]
    assert names(shareable(llama, sites)) == before


def test_a_single_block_is_shared_up_to_where_it_is_narrowed():
    cls, config, options = tiny_families.FAMILIES["llama"]
    model = tiny_models.randomise(cls(config(**options | {"num_hidden_layers": 1})))
    sites, ids, at = find_sites(model), token_ids(ROWS, 6), LENGTHS - 1
    narrowed, shared = narrowable(model, sites), shareable(model, sites)
    assert narrowed
    assert shared
    assert not set(narrowed) & set(shared)
    ids = ids[:1].expand(ROWS, -1)
    with (
        torch.no_grad(),
        masking(model, sites, masks_for(sites, ROWS)) as masked,
        sharing(model, shared) as same,
        reading(model, read_at(at), narrowed=narrowed),
    ):
        masked.expect(torch.arange(ROWS))
        same.expect(torch.zeros(1, dtype=torch.int64), torch.zeros(ROWS, dtype=torch.int64))
        read = model(input_ids=ids).logits
    with torch.no_grad(), masking(model, sites, masks_for(sites, ROWS)) as masked:
        masked.expect(torch.arange(ROWS))
        whole = model(input_ids=ids).logits
    assert torch.allclose(read[:, 0], read_at(at)(whole), atol=1e-5)


@pytest.mark.parametrize(
    "site", ["model.layers.{layer}.mlp.down_proj", "model.layers.{layer}.mlp.gate_proj", "lm_head"]
)
def test_a_custom_site_has_no_shortcuts(model, site):
    sites = find_sites(model("llama"), site)
    assert narrowable(model("llama"), sites) == shareable(model("llama"), sites) == ()


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize(("family", "site"), NARROWED_CASES)
def test_narrowed_logits_are_the_whole_models(model, family, site, place):
    """Masks are at work meanwhile, and rows are padded on the right."""
    model = model(family)
    sites, ids = find_sites(model, site), token_ids(ROWS, 6)
    at = {"first": 0 * LENGTHS, "middle": LENGTHS // 2, "last": LENGTHS - 1}[place]
    with torch.no_grad(), masking(model, sites, masks_for(sites, ROWS)) as masked:
        masked.expect(torch.arange(ROWS))
        whole = model(input_ids=ids, attention_mask=attention_of()).logits
        with reading(model, read_at(at), narrowed=narrowable(model, sites)):
            read = model(input_ids=ids, attention_mask=attention_of()).logits
    assert read.shape == (ROWS, 1, tiny_families.VOCABULARY)
    assert torch.allclose(read[:, 0], read_at(at)(whole), atol=1e-5)
    assert not hooks_of(model)


def test_where_narrowed_values_do_not_fit_nothing_is_narrowed(model):
    """Falcon adds attention's output to the feed-forward's in place: all tokens' do not fit into one's."""
    falcon, ids = model("falcon"), token_ids(1, 5)
    for site, is_confirmed in (("ffn", True), ("attention", False)):
        names = narrowable(falcon, find_sites(falcon, site))

        def run_narrowed(some):
            with reading(falcon, lambda values: values[:, -1], narrowed=some):
                return falcon(input_ids=ids).logits

        assert confirmed(names, run_narrowed) == (names if is_confirmed else ())
        assert not hooks_of(falcon)


@pytest.mark.parametrize("site", SITES)
def test_narrowed_maps_compute_one_position(model, site):
    llama = model("llama")
    names, seen = narrowable(llama, find_sites(llama, site)), []
    handles = [
        llama.get_submodule(name).register_forward_hook(lambda _m, _args, out: seen.append(tuple(out.shape[:2])))
        for name in names
    ]
    with torch.no_grad(), reading(llama, lambda values: values[:, -1], narrowed=names):
        llama(input_ids=token_ids(ROWS, 6))
    for handle in handles:
        handle.remove()
    assert seen == [(ROWS, 1)] * 3


@pytest.mark.parametrize("positions", [2, 6])
def test_where_several_positions_are_read_nothing_is_narrowed(model, positions):
    """Six are as many as there are tokens, and would fit, each in another's place."""
    llama, ids = model("llama"), token_ids(ROWS, 6)
    at = torch.arange(positions).flip(0).expand(ROWS, -1)

    def read(values):
        return values[torch.arange(ROWS)[:, None], at]

    with torch.no_grad():
        whole = llama(input_ids=ids).logits
        with reading(llama, read, narrowed=narrowable(llama, find_sites(llama))):
            logits = llama(input_ids=ids).logits
    assert torch.allclose(logits, read(whole), atol=1e-5)


@pytest.mark.parametrize(
    ("found", "is_confirmed"),
    [([1.0, 2.0], True), ([1.0, 2.0001], True), ([1.0, 2.1], False), ([torch.nan, 2.0], False)],
)
def test_maps_are_confirmed_if_the_model_comes_out_alike(found, is_confirmed):
    def run_narrowed(some):
        return torch.tensor(found if some else [1.0, 2.0])

    assert confirmed(["a", "b"], run_narrowed) == (("a", "b") if is_confirmed else ())
    assert confirmed((), lambda some: pytest.fail("there was nothing to try")) == ()


PATTERNS = {
    "several of each": [0, 1, 0, 2, 1, 0],
    "in any order": [3, 2, 2, 0, 1, 3],
    "all the same": [1, 1, 1, 1],
    "all distinct": [2, 0, 1, 3],
    "one": [2],
}


def shared_and_whole(model, site, rows, edit):
    """Logits with maps shared and without, every row under a mask of its own."""
    sites = find_sites(model, site)
    neurons = sum(s.width for s in sites)
    rows = torch.tensor(rows)
    ids, attention = token_ids(ROWS, 6)[rows], attention_of()[rows]
    edit = Edit("replace", donors=torch.ones(1, neurons)) if edit == "replace" else Edit()
    distinct, row = torch.unique(rows, return_inverse=True)
    first = torch.stack([(row == kind).nonzero()[-1, 0] for kind in range(len(distinct))])
    with torch.no_grad(), masking(model, sites, masks_for(sites, len(rows)), edit=edit) as masked:
        masked.expect(torch.arange(len(rows)))
        whole = run(model, ids, attention_mask=attention).logits
        with sharing(model, shareable(model, sites)) as shared:
            shared.expect(first, row)
            return run(model, ids, attention_mask=attention).logits, whole


@pytest.mark.parametrize(
    ("family", "site"), [(family, site) for family in SHARED for n, site in enumerate(SITES) if SHARED[family][n]]
)
def test_shared_logits_are_the_whole_models(model, family, site):
    for pattern, rows in PATTERNS.items():
        for edit in ("zero", "replace"):
            shared, whole = shared_and_whole(model(family), site, rows, edit)
            assert torch.allclose(shared, whole, atol=1e-5), pattern
    assert not hooks_of(model(family))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=9), st.sampled_from(["gpt2", "opt", "llama"]))
def test_rows_may_repeat_in_any_order(model, rows, family):
    shared, whole = shared_and_whole(model(family), "ffn", rows, "zero")
    assert torch.allclose(shared, whole, atol=1e-5)


def test_shared_maps_compute_each_kind_of_row_once(model):
    bert, seen = model("bert"), []
    names = shareable(bert, find_sites(bert))
    ids = token_ids(2, 4)[[1, 0, 1, 1, 0]]
    with torch.no_grad(), sharing(bert, names) as shared:
        handles = [
            bert.get_submodule(name).register_forward_pre_hook(lambda _m, args: seen.append(len(args[0])))
            for name in names
        ]
        bert(input_ids=ids)
        shared.expect(torch.tensor([1, 0]), torch.tensor([1, 0, 1, 1, 0]))
        bert(input_ids=ids)
        for handle in handles:
            handle.remove()
    assert seen == [5] * 5 + [2] * 5


def test_hooks_vanish_on_error(model):
    bert = model("bert")

    def fail():
        with sharing(bert, shareable(bert, find_sites(bert))):
            assert hooks_of(bert)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not hooks_of(bert)
