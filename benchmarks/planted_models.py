"""Small transformers whose neurons are known by construction, and what they are asked.

One block. Every token's embedding is one large constant, evidence for the concepts and noise; attention is even over
all tokens so far, so that the last token holds the mean evidence of a text; a neuron reads a pattern over the concepts
(and noise), and writes one over their names. The evidence itself reaches the names too, so that the model can do the
task without any neuron.

Neurons are of four kinds (`Kind`). What is drawn depends on the seed alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import transformers as tf
from numpy.typing import NDArray
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CONSTANT = 20.0
"""The constant in every embedding; the larger, the less a token's norm depends on the rest."""
GATE = 4.0
"""What gates are without evidence: silu is nearly linear there."""
DIRECT = 1.5
"""How strongly the evidence reaches the names past the neurons."""
FAMILIES = ("llama", "mixtral")
EXPERTS = 2
"""Of a mixtral: all are always used, with equal weights."""

SENTENCES = ("they show {concept}", "a look full of {concept}", "she could see {concept}", "my own {concept}")
"""In which the extraction names a concept."""
QUESTION = "{text} so"
PAD, UNKNOWN = "[PAD]", "[UNK]"


class Kind(IntEnum):
    """What a neuron does."""

    SELECTIVE = 0
    """Follows an attribute, and the answers depend on it."""
    UNREAD = 1
    """Follows an attribute; nothing reads it."""
    UNSELECTIVE = 2
    """Follows no attribute; the answers depend on it."""
    IDLE = 3
    """Neither."""


@dataclass(frozen=True)
class PlantedOptions:
    """What a planted model is drawn by.

    Attributes
    ----------
    seed : int
    family : str
        One of `FAMILIES`.
    concepts : int
    selective, unread : tuple of int
        Neurons of these kinds for each attribute; as many attributes as there are numbers.
    unselective, idle : int
        Neurons of these kinds.
    strength : tuple of float
        For each attribute, how much its selective neurons write together.
    unselective_strength : float
        How much one unselective neuron writes.
    correlation : float
        Between the scores of any two attributes.
    latent : int
        Dimensions of a space of the concepts, unrelated to the attributes, that unselective and idle neurons follow.
    latent_share : float
        Of the variance of their patterns.
    pattern_noise : float
        Spread of a follower's pattern around the attribute's scores, whose spread is 1.
    template_noise, text_noise : float
        Spread of the noise in the words of `SENTENCES`, and in all others.
    texts : int
        Of each concept.
    words : int
        Of each text.
    signal : float
        Probability that a word of a text is one of its concept's own; else it is any concept's.
    vocabulary : int
        Words of each concept.
    """

    seed: int = 0
    family: str = "llama"
    concepts: int = 16
    selective: tuple[int, ...] = (12, 12, 12, 12)
    unread: tuple[int, ...] = (12, 12, 12, 12)
    unselective: int = 128
    idle: int = 288
    strength: tuple[float, ...] = (1.6, 1.2, 0.8, 0.4)
    unselective_strength: float = 0.03
    correlation: float = 0.2
    latent: int = 4
    latent_share: float = 0.5
    pattern_noise: float = 0.8
    template_noise: float = 4.0
    text_noise: float = 1.0
    texts: int = 5
    words: int = 10
    signal: float = 0.6
    vocabulary: int = 6

    @property
    def attributes(self) -> int:
        """Number of attributes."""
        return len(self.selective)

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return sum(self.selective) + sum(self.unread) + self.unselective + self.idle

    def without_followers(self) -> PlantedOptions:
        """Return the same with idle and unselective neurons in place of those that follow an attribute."""
        none = (0,) * self.attributes
        return replace(
            self,
            selective=none,
            unread=none,
            unselective=self.unselective + sum(self.selective),
            idle=self.idle + sum(self.unread),
        )

    def all_unread(self) -> PlantedOptions:
        """Return the same with followers that nothing reads."""
        unread = tuple(one + other for one, other in zip(self.selective, self.unread, strict=True))
        return replace(self, selective=(0,) * self.attributes, unread=unread)


@dataclass(frozen=True, eq=False)
class PlantedModel:
    """A model as arrays; evidence has C dimensions, noise M.

    Attributes
    ----------
    options : PlantedOptions
    scores : ndarray, (C, A)
        Of the concepts on the attributes; mean 0, spread 1.
    kind : ndarray of int64, (N,)
        Values of `Kind`.
    follows : ndarray of int64, (N,)
        Attribute that the neuron follows; -1 for none.
    gate, up, write : ndarray, (N, C)
        Its pattern in the gate, the one that it reads, and what it writes to the names' logits.
    up_noise : ndarray, (N, M)
        How it reads noise.
    vocabulary : list of str
        The tokens; the names of the concepts first.
    evidence : ndarray, (tokens, C)
    noise : ndarray, (tokens, M)
    """

    options: PlantedOptions
    scores: Floats
    kind: Integers
    follows: Integers
    gate: Floats
    up: Floats
    write: Floats
    up_noise: Floats
    vocabulary: list[str]
    evidence: Floats
    noise: Floats

    @property
    def names(self) -> list[str]:
        """The concepts."""
        return self.vocabulary[: self.options.concepts]

    @property
    def attributes(self) -> list[str]:
        """The attributes."""
        return [f"attribute{number + 1}" for number in range(self.options.attributes)]

    def with_strength(self, factor: Floats) -> PlantedModel:
        """Return the same model whose selective neurons write `factor`, (A,), times as much."""
        scale = np.where(self.kind == Kind.SELECTIVE, factor[self.follows], 1.0)
        strength = tuple(float(s * f) for s, f in zip(self.options.strength, factor, strict=True))
        return replace(self, options=replace(self.options, strength=strength), write=self.write * scale[:, None])


def draw_model(options: PlantedOptions) -> PlantedModel:
    """Draw a model."""
    rng = np.random.default_rng([options.seed, 1])
    C, A, N = options.concepts, options.attributes, options.neurons
    common, own = rng.normal(size=(C, 1)), rng.normal(size=(C, A))
    scores = _standard(np.sqrt(options.correlation) * common + np.sqrt(1 - options.correlation) * own).round(4)
    kind, follows = _kinds(options, rng)
    space, weights = rng.normal(size=(C, options.latent)), rng.normal(size=(options.latent, N))
    latent = _standard(space @ weights) * np.sqrt(options.latent_share)
    unrelated = latent + np.sqrt(1 - options.latent_share) * rng.normal(size=(C, N))
    near = scores[:, follows] + options.pattern_noise * rng.normal(size=(C, N))
    sign = rng.choice([-1.0, 1.0], N)
    pattern = _standard(np.where(follows >= 0, near, unrelated)) * sign
    one = np.array(options.strength)[follows] / np.maximum(np.array(options.selective)[follows], 1)
    selective = np.where(kind == Kind.SELECTIVE, one, 0.0) * scores[:, follows] * sign
    unselective = np.where(kind == Kind.UNSELECTIVE, options.unselective_strength, 0.0) * pattern
    vocabulary, evidence, noise = _tokens(options, rng)
    M = noise.shape[1]
    return PlantedModel(
        options,
        scores,
        kind,
        follows,
        gate=rng.normal(size=(N, C)),
        up=pattern.T / GATE,
        write=(selective + unselective).T,
        up_noise=rng.normal(size=(N, M)) / (GATE * np.sqrt(M)),
        vocabulary=vocabulary,
        evidence=evidence,
        noise=noise,
    )


def _standard(patterns: Floats) -> Floats:
    centered = patterns - patterns.mean(axis=0)
    return np.asarray(centered / centered.std(axis=0))


def _kinds(options: PlantedOptions, rng: np.random.Generator) -> tuple[Integers, Integers]:
    counts = [(Kind.SELECTIVE, a, n) for a, n in enumerate(options.selective)]
    counts += [(Kind.UNREAD, a, n) for a, n in enumerate(options.unread)]
    counts += [(Kind.UNSELECTIVE, -1, options.unselective), (Kind.IDLE, -1, options.idle)]
    both = np.repeat([[kind, a] for kind, a, _ in counts], [n for *_, n in counts], axis=0)
    kind, follows = rng.permutation(both).T.astype(np.int64)
    return kind, follows


def _tokens(options: PlantedOptions, rng: np.random.Generator) -> tuple[list[str], Floats, Floats]:
    """Return the tokens, their evidence and their noise; the width of a model is a multiple of 16."""
    C = options.concepts
    names = [f"concept{c + 1}" for c in range(C)]
    words = [f"word{c + 1}.{i + 1}" for c in range(C) for i in range(options.vocabulary)]
    spoken = sorted({word for sentence in SENTENCES for word in sentence.split()} - {"{concept}"})
    vocabulary = [*names, *words, *spoken, QUESTION.split()[-1], PAD, UNKNOWN]
    M = -(1 + 2 * C) % 16 + 16
    evidence, noise = np.zeros((len(vocabulary), C)), np.zeros((len(vocabulary), M))
    evidence[:C] = np.eye(C)
    own, said = slice(C, C + len(words)), slice(C + len(words), C + len(words) + len(spoken))
    evidence[own] = np.repeat(np.eye(C), options.vocabulary, axis=0) + 0.1 * rng.normal(size=(len(words), C))
    noise[own] = options.text_noise * rng.normal(size=(len(words), M))
    noise[said] = options.template_noise * rng.normal(size=(len(spoken), M))
    return vocabulary, evidence, noise


def draw_texts(model: PlantedModel, texts: int, seed: int) -> tuple[Integers, Integers]:
    """Draw texts for every concept.

    Parameters
    ----------
    model : PlantedModel
    texts : int
        Of each concept.
    seed : int

    Returns
    -------
    tokens : ndarray of int64, shape (C x texts, words)
    concept : ndarray of int64, shape (C x texts,)
    """
    options, rng = model.options, np.random.default_rng([model.options.seed, 2, seed])
    concept = np.repeat(np.arange(options.concepts), texts)
    shape = len(concept), options.words
    shown = np.where(
        rng.random(shape) < options.signal, concept[:, np.newaxis], rng.integers(options.concepts, size=shape)
    )
    word = rng.integers(options.vocabulary, size=shape)
    return options.concepts + shown * options.vocabulary + word, concept


def draw_dissimilarity(model: PlantedModel, weights: Floats) -> pd.DataFrame:
    """Draw what people say: distances in the attributes' space, each attribute with a weight, (A,), and noise.

    Returns
    -------
    DataFrame
        ``concept_1``, ``concept_2``, ``dissimilarity``.
    """
    one, other = np.triu_indices(model.options.concepts, 1)
    distances = np.abs(model.scores[one] - model.scores[other]) @ weights
    noise = np.random.default_rng([model.options.seed, 3]).gamma(2.0, 0.25, len(one))
    names = np.array(model.names)
    return pd.DataFrame({"concept_1": names[one], "concept_2": names[other], "dissimilarity": distances + noise})


def save_model(model: PlantedModel, folder: Path) -> Path:
    """Write the model and its tokenizer to a folder, as transformers does; return the folder."""
    module = _empty(model)
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.zero_()
        for name, values in _parameters(model).items():
            parameters[name].copy_(torch.from_numpy(np.asarray(values, np.float32)))
    module.save_pretrained(folder)
    _tokenizer(model.vocabulary).save_pretrained(folder)
    return folder


def width(model: PlantedModel) -> int:
    """Return the width of the residual stream: the constant, evidence, what is written to names, noise."""
    return 1 + 2 * model.options.concepts + model.noise.shape[1]


def _empty(model: PlantedModel) -> torch.nn.Module:
    cls, config, options = {
        "llama": (tf.LlamaForCausalLM, tf.LlamaConfig, {}),
        "mixtral": (
            tf.MixtralForCausalLM,
            tf.MixtralConfig,
            {"num_local_experts": EXPERTS, "num_experts_per_tok": EXPERTS},
        ),
    }[model.options.family]
    experts = EXPERTS if model.options.family == "mixtral" else 1
    return cls(
        config(
            vocab_size=len(model.vocabulary),
            hidden_size=width(model),
            intermediate_size=model.options.neurons // experts,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            max_position_embeddings=64,
            tie_word_embeddings=False,
            pad_token_id=model.vocabulary.index(PAD),
            bos_token_id=None,
            eos_token_id=None,
            **options,
        )
    )


def _parameters(model: PlantedModel) -> dict[str, Floats]:
    """Return what is not 0, by name."""
    C, M, N, D = model.options.concepts, model.noise.shape[1], model.options.neurons, width(model)
    evidence, written, noise = slice(1, 1 + C), slice(1 + C, 1 + 2 * C), slice(1 + 2 * C, D)
    tokens = np.zeros((len(model.vocabulary), D))
    tokens[:, 0], tokens[:, evidence], tokens[:, noise] = CONSTANT, model.evidence, model.noise
    copied = np.diag(np.r_[0.0, np.ones(C), np.zeros(C), np.ones(M)])
    gate, up, down, head = np.zeros((N, D)), np.zeros((N, D)), np.zeros((D, N)), np.zeros_like(tokens)
    gate[:, 0], gate[:, evidence] = GATE / CONSTANT, model.gate
    up[:, evidence], up[:, noise] = model.up, model.up_noise
    down[written] = model.write.T
    head[:C, evidence], head[:C, written] = DIRECT * np.eye(C), np.eye(C)
    norm = np.full(D, CONSTANT / np.sqrt(D))
    layer = "model.layers.0"
    shared = {
        "model.embed_tokens.weight": tokens,
        f"{layer}.self_attn.v_proj.weight": copied,
        f"{layer}.self_attn.o_proj.weight": copied,
        f"{layer}.input_layernorm.weight": norm,
        f"{layer}.post_attention_layernorm.weight": norm,
        "model.norm.weight": norm,
        "lm_head.weight": head,
    }
    if model.options.family == "llama":
        own = {"gate_proj.weight": gate, "up_proj.weight": up, "down_proj.weight": down}
    else:
        both = [np.concatenate(parts) for parts in zip(np.split(gate, EXPERTS), np.split(up, EXPERTS), strict=True)]
        # The router gives each expert's output the weight 1 / EXPERTS.
        own = {
            "experts.gate_up_proj": np.stack(both),
            "experts.down_proj": EXPERTS * np.stack(np.split(down, EXPERTS, axis=1)),
        }
    return shared | {f"{layer}.mlp.{name}": values for name, values in own.items()}


def _tokenizer(vocabulary: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordLevel({token: number for number, token in enumerate(vocabulary)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, unk_token=UNKNOWN)
