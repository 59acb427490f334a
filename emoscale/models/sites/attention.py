"""Units of attention: what the heads give, side by side, which is the input of attention's output map."""

from __future__ import annotations

from torch import nn

from emoscale.models.sites.blocks import first_match
from emoscale.models.sites.linear_inputs import LinearInput, map_shape

ATTENTION_MAPS = {
    "self_attn.o_proj": "Llama, Mistral, Qwen, Gemma, Phi-3, OLMo, StableLM, Cohere, DeepSeek, Jamba",
    "self_attn.out_proj": "OPT, BART",
    "self_attn.dense": "Phi",
    "self_attention.dense": "BLOOM, Falcon",
    "attn.c_proj": "GPT-2",
    "attn.attention.out_proj": "GPT-Neo",
    "attn.out_proj": "GPT-J",
    "attn.Wo": "ModernBERT",
    "attention.output.dense": "BERT, RoBERTa, XLM-R, ELECTRA, DeBERTa",
    "attention.attn.o": "MPNet",
    "attention.out_lin": "DistilBERT",
    "attention.dense": "GPT-NeoX, ALBERT",
    "layer.0.SelfAttention.o": "T5",
}
"""Path of the (self-)attention's output map inside a block, and the families that have it there."""


def find_attention(model: nn.Module, stack: str | None) -> list[LinearInput]:
    """Find the heads' outputs of every block that has attention, in families that are known by name."""
    modules = dict(model.named_modules())

    def path_in(block: str) -> str | None:
        return next((path for name in ATTENTION_MAPS if map_shape(modules.get(path := f"{block}.{name}"))[0]), None)

    return [
        LinearInput(block.layer, path, map_shape(modules[path])[0], block.call)
        for block, path in first_match(model, stack, path_in)
    ]
