"""Tiny random models with tokenizers on disk, made without a network.

Every parameter is drawn, biases and norms too, and widely: a wrong layer, row or sign must show in the outcome.
"""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, WordPiece
from tokenizers.trainers import BpeTrainer
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

HIDDEN, WIDTH, LAYERS, POSITIONS = 16, 24, 2, 64

WORDS = [
    "negative",
    "positive",
    "joy",
    "anger",
    "fear",
    "sad",
    "glad",
    "she",
    "he",
    "they",
    "felt",
    "was",
    "full",
    "of",
    "the",
    "a",
    "my",
    "voice",
    "at",
    "that",
    "moment",
    "dog",
    "friend",
    "won",
    "lost",
    "game",
    "home",
    "alone",
    "dark",
    "loud",
    "angry",
    "happy",
    "gift",
    "thanks",
    "news",
    ".",
    ",",
]
PIECES = ["remorse", "##ful", "sur", "##pri", "##se", "##s"]
"""`surprise` and `remorseful` are several tokens, `joy` is one."""

TEXTS = [
    "She won the game",
    "my friend was happy",
    "He lost a dog at home",
    "the dark home, alone, a loud voice",
    "glad",
    "They felt sad that moment. She was alone",
]


def wordpiece_tokenizer():
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {token: number for number, token in enumerate([*special, *WORDS, *PIECES])}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(t, vocabulary[t]) for t in ("[CLS]", "[SEP]")]
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **dict(zip(names, special, strict=True)))


def bpe_tokenizer(family):
    """Byte-level: every word of `WORDS` is one token after a space, `surprise` several."""
    special = {"roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "gpt2": ["<|end|>"], "llama": ["<s>", "</s>"]}
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        special_tokens=special[family],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        vocab_size=600,
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"{word} {word}" for word in WORDS] * 5, trainer)
    kinds = {
        "roberta": {
            "bos_token": "<s>",
            "cls_token": "<s>",
            "pad_token": "<pad>",
            "eos_token": "</s>",
            "sep_token": "</s>",
            "unk_token": "<unk>",
            "mask_token": "<mask>",
        },
        "gpt2": {"bos_token": "<|end|>", "eos_token": "<|end|>"},
        "llama": {"bos_token": "<s>", "eos_token": "</s>"},
    }[family]
    if family != "gpt2":
        single = "<s> $A </s>" if family == "roberta" else "<s> $A"
        tokens = [(t, tokenizer.token_to_id(t)) for t in ("<s>", "</s>")]
        tokenizer.post_processor = processors.Sequence(
            [processors.ByteLevel(), processors.TemplateProcessing(single=single, special_tokens=tokens)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **kinds)


def randomise(model, seed=0):
    """Draw all parameters again: norms around 1, everything else around 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = parameter.dim() == 1 and name.endswith("weight")
            parameter.copy_(1 + 0.2 * noise if is_norm else 0.3 * noise)
    return model.eval()


def _bert(cls):
    tokenizer = wordpiece_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        max_position_embeddings=POSITIONS,
    )
    return cls(config), tokenizer


def _roberta():
    tokenizer = bpe_tokenizer("roberta")
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        max_position_embeddings=POSITIONS + 2,
        pad_token_id=1,
    )
    return RobertaForMaskedLM(config), tokenizer


def _gpt2():
    tokenizer = bpe_tokenizer("gpt2")
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=HIDDEN,
        n_inner=WIDTH,
        n_layer=LAYERS,
        n_head=2,
        n_positions=POSITIONS,
        bos_token_id=end,
        eos_token_id=end,
    )
    return GPT2LMHeadModel(config), tokenizer


def _llama():
    tokenizer = bpe_tokenizer("llama")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=POSITIONS,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config), tokenizer


MAKERS = {
    "bert-encoder": lambda: _bert(BertModel),
    "bert": lambda: _bert(BertForMaskedLM),
    "roberta": _roberta,
    "gpt2": _gpt2,
    "llama": _llama,
}
"""Tiny models by name; `bert-encoder` predicts no words, `gpt2` and `llama` have no mask."""

MASKED, CAUSAL, ENCODERS = ("bert", "roberta"), ("gpt2", "llama"), ("bert-encoder",)


def save_tiny(name, folder):
    """Write a tiny model and its tokenizer to `folder` (created); return the folder."""
    model, tokenizer = MAKERS[name]()
    randomise(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
