"""A kind of unit from outside: one class and one entry."""

from dataclasses import dataclass

import pytest
import tiny_families
import torch
from tiny_families import hooks_of, token_ids

from emoscale.errors import InputError
from emoscale.models.capture import capturing
from emoscale.models.masking import masking
from emoscale.models.sites.registry import SITES, SiteKind, find_sites
from emoscale.models.sites.site import Site


@dataclass(frozen=True)
class Embeddings(Site):
    def attach(self, model, touch):
        module = model.get_submodule(self.path)
        return module.register_forward_hook(lambda _module, _args, output: touch(output)).remove


def find_embeddings(model, _stack):
    path = next(name for name, module in model.named_modules() if module is model.get_input_embeddings())
    return [Embeddings(0, path, model.get_input_embeddings().embedding_dim)]


MINE = SiteKind("mine", "word embedding", find_embeddings)


@torch.no_grad()
def test_it_is_found_read_and_edited(monkeypatch):
    monkeypatch.setitem(SITES, "mine", MINE)
    model, ids = tiny_families.make("bert"), token_ids(2, 3)
    sites = find_sites(model, "mine")
    assert sites == find_sites(model, MINE)
    off = torch.arange(16)[None] < 4
    with masking(model, sites, off) as masked, capturing(model, sites) as captured:
        masked.expect(torch.tensor([0, 0]))
        captured.expect(*ids.shape, lambda values: values[:, 1])
        model(input_ids=ids)
        values = captured.take()
    assert torch.equal(values, model.get_input_embeddings()(ids)[:, 1] * ~off)
    assert not hooks_of(model)


def test_a_kind_that_finds_nothing_is_refused_with_its_meaning():
    with pytest.raises(InputError, match=r"model\.site 'none': no pumpkin found in BertForMaskedLM"):
        find_sites(tiny_families.make("bert"), SiteKind("none", "pumpkin", lambda _model, _stack: []))


def test_a_misspelt_kind_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"model\.site 'residuals'.*nearest: 'residual'"):
        find_sites(tiny_families.make("bert"), "residuals")
