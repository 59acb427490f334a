"""A tiny random model of every family whose neurons are known, without a tokenizer."""

from __future__ import annotations

import tiny_models
import torch
import transformers as tf

VOCABULARY, WIDTH, LAYERS = 40, 24, 2

_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_OLD_NAMES = {
    "vocab_size": VOCABULARY,
    "n_embd": 16,
    "n_inner": WIDTH,
    "n_layer": LAYERS,
    "n_head": 2,
    "n_positions": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_DISTIL = {
    "vocab_size": VOCABULARY,
    "dim": 16,
    "hidden_dim": WIDTH,
    "n_layers": LAYERS,
    "n_heads": 2,
    "max_position_embeddings": 32,
}
_NEO = {"num_layers": LAYERS, "num_heads": 2, "attention_types": [[["global", "local"], 1]]}
_FEW_KEYS = _COMMON | {"num_key_value_heads": 1}
_FEW_KEYS_WIDE = _FEW_KEYS | {"head_dim": 8}
# BLOOM knows no other width than four times the hidden size.
_NARROW = _COMMON | {"hidden_size": WIDTH // 4, "num_attention_heads": 1}

FAMILIES = {
    "bert": (tf.BertForMaskedLM, tf.BertConfig, _COMMON),
    "roberta": (tf.RobertaForMaskedLM, tf.RobertaConfig, _COMMON | {"pad_token_id": 1}),
    "xlm-roberta": (tf.XLMRobertaForMaskedLM, tf.XLMRobertaConfig, _COMMON | {"pad_token_id": 1}),
    "electra": (tf.ElectraForMaskedLM, tf.ElectraConfig, _COMMON | {"embedding_size": 8}),
    "deberta": (tf.DebertaV2ForMaskedLM, tf.DebertaV2Config, _COMMON),
    "mpnet": (tf.MPNetForMaskedLM, tf.MPNetConfig, _COMMON | {"pad_token_id": 1}),
    "distilbert": (tf.DistilBertForMaskedLM, tf.DistilBertConfig, _DISTIL),
    "modernbert": (tf.ModernBertForMaskedLM, tf.ModernBertConfig, _COMMON | {"cls_token_id": 1, "sep_token_id": 2}),
    "gpt2": (tf.GPT2LMHeadModel, tf.GPT2Config, _OLD_NAMES),
    "gpt-neo": (tf.GPTNeoForCausalLM, tf.GPTNeoConfig, _COMMON | _NEO),
    "gpt-neox": (tf.GPTNeoXForCausalLM, tf.GPTNeoXConfig, _COMMON),
    "gpt-j": (tf.GPTJForCausalLM, tf.GPTJConfig, _OLD_NAMES | {"rotary_dim": 4}),
    "opt": (tf.OPTForCausalLM, tf.OPTConfig, _COMMON | {"ffn_dim": WIDTH, "word_embed_proj_dim": 16}),
    "bloom": (tf.BloomForCausalLM, tf.BloomConfig, _NARROW),
    "falcon": (tf.FalconForCausalLM, tf.FalconConfig, _COMMON | {"ffn_hidden_size": WIDTH}),
    "llama": (tf.LlamaForCausalLM, tf.LlamaConfig, _COMMON),
    "mistral": (tf.MistralForCausalLM, tf.MistralConfig, _FEW_KEYS),
    "qwen2": (tf.Qwen2ForCausalLM, tf.Qwen2Config, _FEW_KEYS),
    "qwen3": (tf.Qwen3ForCausalLM, tf.Qwen3Config, _FEW_KEYS_WIDE),
    "gemma2": (tf.Gemma2ForCausalLM, tf.Gemma2Config, _FEW_KEYS_WIDE),
    "gemma3": (tf.Gemma3ForCausalLM, tf.Gemma3TextConfig, _FEW_KEYS_WIDE),
    "phi": (tf.PhiForCausalLM, tf.PhiConfig, _COMMON),
    "phi-3": (tf.Phi3ForCausalLM, tf.Phi3Config, _COMMON),
    "olmo2": (tf.Olmo2ForCausalLM, tf.Olmo2Config, _COMMON),
    "stablelm": (tf.StableLmForCausalLM, tf.StableLmConfig, _FEW_KEYS),
    "cohere": (tf.CohereForCausalLM, tf.CohereConfig, _FEW_KEYS),
}

"""Families whose layers have weights of their own, with one stack of blocks."""

_T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": WIDTH,
    "num_layers": LAYERS,
    "num_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
}
_BART = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "max_position_embeddings": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}
for _stack in ("encoder", "decoder"):
    _BART |= {f"{_stack}_layers": LAYERS, f"{_stack}_ffn_dim": WIDTH, f"{_stack}_attention_heads": 2}

ENCODER_DECODERS = {
    "t5": (tf.T5ForConditionalGeneration, tf.T5Config, _T5),
    "t5-gated": (tf.T5ForConditionalGeneration, tf.T5Config, _T5 | {"feed_forward_proj": "gated-gelu"}),
    "bart": (tf.BartForConditionalGeneration, tf.BartConfig, _BART),
}

_ALBERT = _COMMON | {"embedding_size": 8, "num_hidden_layers": 6, "num_hidden_groups": 2, "inner_group_num": 2}
SHARED = {
    "albert": (tf.AlbertForMaskedLM, tf.AlbertConfig, _COMMON | {"embedding_size": 8}),
    "albert-groups": (tf.AlbertForMaskedLM, tf.AlbertConfig, _ALBERT),
}
"""Families whose layers share their weights."""

EXPERTS, ROUTED = 4, 2
_MIXTURE = _FEW_KEYS_WIDE | {"num_experts_per_tok": ROUTED}
MIXTURES = {
    "mixtral": (tf.MixtralForCausalLM, tf.MixtralConfig, _MIXTURE | {"num_local_experts": EXPERTS}),
    "qwen3-moe": (
        tf.Qwen3MoeForCausalLM,
        tf.Qwen3MoeConfig,
        _MIXTURE | {"num_experts": EXPERTS, "moe_intermediate_size": WIDTH, "norm_topk_prob": True},
    ),
    "gpt-oss": (tf.GptOssForCausalLM, tf.GptOssConfig, _MIXTURE | {"num_local_experts": EXPERTS}),
}
"""Mixture-of-experts families."""

_JAMBA = {
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "expert_layer_period": 2,
    "expert_layer_offset": 1,
    "num_experts": EXPERTS,
    "num_hidden_layers": 4,
}
_DEEPSEEK = {
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 8,
    "n_routed_experts": EXPERTS,
    "n_group": 2,
    "topk_group": 1,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
}
UNEQUAL = {
    "jamba": (tf.JambaForCausalLM, tf.JambaConfig, _FEW_KEYS | _JAMBA | {"num_experts_per_tok": ROUTED}),
    "deepseek": (tf.DeepseekV3ForCausalLM, tf.DeepseekV3Config, _COMMON | _DEEPSEEK | {"num_experts_per_tok": ROUTED}),
}
"""Families of which some blocks have experts or attention and others do not."""

ALL = FAMILIES | ENCODER_DECODERS | SHARED | MIXTURES


def make(family):
    cls, config, options = (ALL | UNEQUAL)[family]
    return tiny_models.randomise(cls(config(**options)))


def token_ids(rows, tokens, seed=0):
    return torch.randint(3, VOCABULARY, (rows, tokens), generator=torch.Generator().manual_seed(seed))


def run(model, ids, **options):
    both = {"decoder_input_ids": ids.flip(1)} if model.config.is_encoder_decoder else {}
    return model(input_ids=ids, **both, **options)


def hooks_of(model):
    return [hook for m in model.modules() for hook in (*m._forward_pre_hooks.values(), *m._forward_hooks.values())]
