"""Tiny random models of families whose names, rows or padding are not as one expects, and of many usual ones."""

from __future__ import annotations

import tiny_models
import transformers as tf

WIDTH, LAYERS = 24, 2
VOCABULARY = len(tiny_models.wordpiece_tokenizer())

_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "pad_token_id": 0,
}
_FEW_KEYS = _COMMON | {"num_key_value_heads": 1, "head_dim": 8}
_MOBILE = {"embedding_size": 8, "true_hidden_size": 8, "intra_bottleneck_size": 8, "num_feedforward_networks": 4}
_XLM = {"vocab_size": VOCABULARY, "emb_dim": 16, "n_layers": LAYERS, "n_heads": 2, "max_position_embeddings": 64}
_XLM |= {"bos_index": 2, "eos_index": 3, "pad_index": 0, "unk_index": 1, "mask_index": 4}
_XLNET = {"vocab_size": VOCABULARY, "d_model": 16, "n_layer": LAYERS, "n_head": 2, "d_inner": WIDTH}
_T5 = {"vocab_size": VOCABULARY, "d_model": 16, "d_kv": 8, "d_ff": WIDTH, "num_layers": LAYERS, "num_heads": 2}
_FUNNEL = {"vocab_size": VOCABULARY, "d_model": 16, "d_inner": WIDTH, "n_head": 2, "d_head": 8, "block_sizes": [1, 1]}
_MIXTURE = _FEW_KEYS | {"num_experts_per_tok": 2}
_CODEGEN = {"vocab_size": VOCABULARY, "n_embd": 16, "n_inner": WIDTH, "n_layer": LAYERS, "n_head": 4, "rotary_dim": 4}
_XGLM = {"vocab_size": VOCABULARY, "d_model": 16, "ffn_dim": WIDTH, "num_layers": LAYERS, "attention_heads": 2}
_BIGCODE = {"vocab_size": VOCABULARY, "n_embd": 16, "n_inner": WIDTH, "n_layer": LAYERS, "n_head": 2}
_LFM2 = {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}
_VISION = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 8}
_VISION |= {"patch_size": 4}
_XLNET_SITE, _OWN = "layer.{layer}.ff.layer_2", "ffn"


def _gemma3():
    text = tf.Gemma3TextConfig(**_FEW_KEYS)
    vision = tf.SiglipVisionConfig(**_VISION)
    tokens = {"boi_token_index": 45, "eoi_token_index": 46, "image_token_index": 47, "mm_tokens_per_image": 4}
    return tf.Gemma3ForConditionalGeneration(tf.Gemma3Config(text_config=text, vision_config=vision, **tokens))


def _mistral3():
    vision = tf.PixtralVisionConfig(**_VISION, head_dim=8)
    text = tf.MistralConfig(**_FEW_KEYS)
    config = tf.Mistral3Config(text_config=text, vision_config=vision, image_token_index=47)
    return tf.Mistral3ForConditionalGeneration(config)


def _qwen2_vl():
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    text = {k: v for k, v in _FEW_KEYS.items() if k != "head_dim"} | {"rope_parameters": rope}
    vision = {"depth": 1, "embed_dim": 8, "hidden_size": 16, "num_heads": 1, "patch_size": 4}
    places = {"image_token_id": 45, "video_token_id": 46, "vision_start_token_id": 44, "vision_end_token_id": 43}
    return tf.Qwen2VLForConditionalGeneration(tf.Qwen2VLConfig(text_config=text, vision_config=vision, **places))


def _of(cls, config, options):
    return lambda: cls(config(**options))


ODD = {
    "fnet": (_of(tf.FNetForMaskedLM, tf.FNetConfig, _COMMON), "masked-lm", _OWN),
    "convbert": (
        _of(tf.ConvBertForMaskedLM, tf.ConvBertConfig, _COMMON | {"embedding_size": 8, "head_ratio": 1}),
        "masked-lm",
        _OWN,
    ),
    "mobilebert": (_of(tf.MobileBertForMaskedLM, tf.MobileBertConfig, _COMMON | _MOBILE), "masked-lm", _OWN),
    "longformer": (
        _of(
            tf.LongformerForMaskedLM,
            tf.LongformerConfig,
            _COMMON | {"attention_window": 8, "num_hidden_layers": 3, "max_position_embeddings": 66},
        ),
        "masked-lm",
        _OWN,
    ),
    "longformer-attention": (
        _of(
            tf.LongformerModel,
            tf.LongformerConfig,
            _COMMON | {"attention_window": 4, "max_position_embeddings": 66},
        ),
        "encoder",
        "attention",
    ),
    "xlm": (_of(tf.XLMWithLMHeadModel, tf.XLMConfig, _XLM), "masked-lm", _OWN),
    "bert-looks-ahead": (_of(tf.BertLMHeadModel, tf.BertConfig, _COMMON), "masked-lm", _OWN),
    "bert-decoder": (_of(tf.BertLMHeadModel, tf.BertConfig, _COMMON | {"is_decoder": True}), "causal-lm", _OWN),
    "xlnet": (_of(tf.XLNetLMHeadModel, tf.XLNetConfig, _XLNET), "encoder", _XLNET_SITE),
    "t5-encoder": (_of(tf.T5EncoderModel, tf.T5Config, _T5), "encoder", _OWN),
    "gemma3-images": (_gemma3, "causal-lm", _OWN),
    "mistral3-images": (_mistral3, "causal-lm", _OWN),
    "qwen2-vl": (_qwen2_vl, "causal-lm", _OWN),
    "lfm2": (
        _of(tf.Lfm2ForCausalLM, tf.Lfm2Config, _FEW_KEYS | _LFM2),
        "causal-lm",
        "model.layers.{layer}.feed_forward.w2",
    ),
    "bigbird": (_of(tf.BigBirdForMaskedLM, tf.BigBirdConfig, _COMMON), "masked-lm", _OWN),
}
"""What makes a model; what can be read from it; and `model.site`."""

_CAUSAL = {
    "granite": (tf.GraniteForCausalLM, tf.GraniteConfig, _FEW_KEYS),
    "olmo": (tf.OlmoForCausalLM, tf.OlmoConfig, _FEW_KEYS),
    "olmoe": (tf.OlmoeForCausalLM, tf.OlmoeConfig, _MIXTURE | {"num_experts": 4}),
    "phimoe": (tf.PhimoeForCausalLM, tf.PhimoeConfig, _MIXTURE | {"num_local_experts": 4}),
    "starcoder2": (tf.Starcoder2ForCausalLM, tf.Starcoder2Config, _FEW_KEYS),
    "glm": (tf.GlmForCausalLM, tf.GlmConfig, _FEW_KEYS),
    "cohere2": (tf.Cohere2ForCausalLM, tf.Cohere2Config, _FEW_KEYS),
    "nemotron": (tf.NemotronForCausalLM, tf.NemotronConfig, _FEW_KEYS),
    "persimmon": (tf.PersimmonForCausalLM, tf.PersimmonConfig, _COMMON),
    "smollm3": (tf.SmolLM3ForCausalLM, tf.SmolLM3Config, _FEW_KEYS),
    "exaone4": (
        tf.Exaone4ForCausalLM,
        tf.Exaone4Config,
        _FEW_KEYS | {"sliding_window": 4, "sliding_window_pattern": 2},
    ),
    "modernbert-decoder": (
        tf.ModernBertDecoderForCausalLM,
        tf.ModernBertDecoderConfig,
        _COMMON | {"cls_token_id": 2, "sep_token_id": 3},
    ),
    "codegen": (tf.CodeGenForCausalLM, tf.CodeGenConfig, _CODEGEN),
    "xglm": (tf.XGLMForCausalLM, tf.XGLMConfig, _XGLM),
    "gpt-bigcode": (tf.GPTBigCodeForCausalLM, tf.GPTBigCodeConfig, _BIGCODE),
    "helium": (tf.HeliumForCausalLM, tf.HeliumConfig, _FEW_KEYS),
}
_MASKED = {
    "ernie": (tf.ErnieForMaskedLM, tf.ErnieConfig, _COMMON),
    "camembert": (tf.CamembertForMaskedLM, tf.CamembertConfig, _COMMON | {"pad_token_id": 1}),
    "esm": (tf.EsmForMaskedLM, tf.EsmConfig, _COMMON | {"mask_token_id": 4, "position_embedding_type": "rotary"}),
    "roformer": (tf.RoFormerForMaskedLM, tf.RoFormerConfig, _COMMON),
    "rembert": (tf.RemBertForMaskedLM, tf.RemBertConfig, _COMMON | {"input_embedding_size": 8}),
    "nomic-bert": (tf.NomicBertForMaskedLM, tf.NomicBertConfig, _FEW_KEYS | {"num_key_value_heads": 2}),
}
USUAL = {name: (_of(*made), "causal-lm", _OWN) for name, made in _CAUSAL.items()}
USUAL |= {name: (_of(*made), "masked-lm", _OWN) for name, made in _MASKED.items()}

ALL = ODD | USUAL
FUNNEL = _of(tf.FunnelForMaskedLM, tf.FunnelConfig, _FUNNEL)


def save(make, folder):
    """Write a tiny model and a tokenizer of the same vocabulary to a folder; return the model."""
    model = tiny_models.randomise(make())
    model.save_pretrained(folder)
    tiny_models.wordpiece_tokenizer().save_pretrained(folder)
    return model
