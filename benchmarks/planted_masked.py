"""Masked models (BERT) whose neurons are known: whether a text shows a concept, answered with yes or no.

Drawn as the causal ones are (`benchmarks.planted_models`); what differs is how a neuron works. At the mask attention
brings the mean of the text's evidence and the concept's own together, x = pattern x (text + concept), and GELU, which
is curved, makes their product of it: the neuron says yes where text and concept are on the same side of its pattern.
There is no other way to the answer, so unselective neurons carry the task.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from benchmarks.planted_models import CONSTANT, PAD, UNKNOWN, Floats, Kind, PlantedModel, word_tokenizer

MASK, NO, YES = "[MASK]", "no", "yes"
MASKED_QUESTION = "{text} {concept} {mask}"
NAMED = 4.0
"""Evidence in a concept's name; that in a word is 1."""
GAIN, BEFORE = 2.0, 0.5
"""What a neuron's pattern is multiplied by, and the neuron's input without evidence."""
ANSWER, USUAL = 1.0, 0.85
"""How strongly neurons' values reach the answer, and their mean, beyond which they say yes."""
_HEAD, _SHIFT = 60.0, 15.0
"""Constants in the head's map: what LayerNorm divides by, and where GELU is straight."""


@dataclass(frozen=True)
class _Dimensions:
    """Where things are in the residual stream: two constants, evidence, what attention copies of it, answer, noise."""

    concepts: int
    noise: int

    @property
    def evidence(self) -> slice:
        return slice(2, 2 + self.concepts)

    @property
    def copied(self) -> slice:
        return slice(2 + self.concepts, 2 + 2 * self.concepts)

    @property
    def answer(self) -> int:
        return 2 + 2 * self.concepts

    @property
    def all_noise(self) -> slice:
        return slice(3 + 2 * self.concepts, self.width)

    @property
    def width(self) -> int:
        return 3 + 2 * self.concepts + self.noise


def save_masked(model: PlantedModel, folder: Path) -> Path:
    """Write the model as a masked one, and its tokenizer, as transformers does; return the folder."""
    vocabulary = [*model.vocabulary, MASK, NO, YES]
    at = _Dimensions(model.options.concepts, model.noise.shape[1])
    module = BertForMaskedLM(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=at.width,
            intermediate_size=model.options.neurons,
            num_hidden_layers=1,
            num_attention_heads=1,
            max_position_embeddings=64,
            type_vocab_size=1,
            tie_word_embeddings=False,
            pad_token_id=vocabulary.index(PAD),
        )
    )
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.zero_()
        for name, values in (_body(model, at, len(vocabulary)) | _head(at, vocabulary)).items():
            parameters[name].copy_(torch.from_numpy(np.asarray(values, np.float32)))
    module.save_pretrained(folder)
    _tokenizer(vocabulary).save_pretrained(folder)
    return folder


def _body(model: PlantedModel, at: _Dimensions, tokens: int) -> dict[str, Floats]:
    C, N, D, known = at.concepts, model.options.neurons, at.width, len(model.vocabulary)
    embeddings = np.zeros((tokens, D))
    embeddings[:, :2] = CONSTANT, -CONSTANT
    embeddings[:known, at.evidence], embeddings[:known, at.all_noise] = model.evidence, model.noise
    embeddings[:C, at.evidence] *= NAMED
    mean, out = np.zeros((D, D)), np.zeros((D, N))
    mean[at.copied, at.evidence] = np.eye(C)
    mean[at.all_noise, at.all_noise] = np.eye(at.noise)
    read = np.zeros((N, D))
    pattern = model.up / model.up.std(axis=1, keepdims=True)
    read[:, at.copied] = GAIN * pattern
    read[:, at.all_noise] = model.up_noise
    out[at.answer] = ANSWER * _says_yes(model)
    layer, ones = "bert.encoder.layer.0", np.full(D, CONSTANT * np.sqrt(2 / D))
    return {
        "bert.embeddings.word_embeddings.weight": embeddings,
        "bert.embeddings.LayerNorm.weight": ones,
        f"{layer}.attention.self.value.weight": mean,
        f"{layer}.attention.output.dense.weight": np.eye(D),
        f"{layer}.attention.output.LayerNorm.weight": ones,
        f"{layer}.intermediate.dense.weight": read,
        f"{layer}.intermediate.dense.bias": np.full(N, BEFORE),
        f"{layer}.output.dense.weight": out,
        f"{layer}.output.dense.bias": -USUAL * out.sum(axis=1),
        f"{layer}.output.LayerNorm.weight": ones,
    }


def _says_yes(model: PlantedModel) -> Floats:
    """Return how much each neuron's value says yes: the size of what it would write to names."""
    size = np.linalg.norm(model.write, axis=1) / np.sqrt(model.options.concepts)
    return np.where((model.kind == Kind.SELECTIVE) | (model.kind == Kind.UNSELECTIVE), size, 0.0)


def _head(at: _Dimensions, vocabulary: list[str]) -> dict[str, Floats]:
    """Bring the answer to the two words past the head's GELU and LayerNorm."""
    dense, bias, decoder = np.zeros((at.width, at.width)), np.zeros(at.width), np.zeros((len(vocabulary), at.width))
    dense[2, at.answer], dense[3, at.answer] = 1.0, -1.0
    bias[0], bias[2:4] = _HEAD, _SHIFT
    decoder[vocabulary.index(YES), 2:4] = 0.5, -0.5
    transform = "cls.predictions.transform"
    return {
        f"{transform}.dense.weight": dense,
        f"{transform}.dense.bias": bias,
        f"{transform}.LayerNorm.weight": np.full(at.width, bias.std()),
        "cls.predictions.decoder.weight": decoder,
    }


def _tokenizer(vocabulary: list[str]) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=word_tokenizer(vocabulary), pad_token=PAD, unk_token=UNKNOWN, mask_token=MASK
    )
