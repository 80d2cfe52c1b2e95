# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Vectors of words that task heads read beside ELMo, and where ELMo stands among them, as `word_features` describes.

`word_features` is a list of dicts, in the order in which the vectors are concatenated:

    {"type": "elmo", "mix": 0, "projection": None}                    a scalar mix; perhaps projected to a width
    {"type": "words", "count": 488, "size": 50, "projection": None, "trainable": True}
    {"type": "characters", "count": 262, "size": 16, "length": 128, "pooler": {"type": "cnn", ...}, "dropout": 0.0}

Ids of words and characters follow those of ELMo in each row of `input_ids`, in the order of the list (see
`feature_ids_elmo`). A pooler is a layer of `task_encoders_elmo`.

Letters in shapes: B batch, T words, N words without padding, W characters per word.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from .char_cnn_elmo import unique_rows
from .configuration_elmo import ElmoConfig
from .task_encoders_elmo import build_pooler


class MixFeature(nn.Module):
    """A scalar mix, perhaps projected."""

    def __init__(self, hidden_size: int, mix: int = 0, projection: int | None = None):
        super().__init__()
        self.mix = mix
        self.projection = nn.Linear(hidden_size, projection) if projection else None
        self.output_size = projection or hidden_size

    def forward(self, mixes: tuple[Tensor, ...]) -> Tensor:
        return mixes[self.mix] if self.projection is None else self.projection(mixes[self.mix])


class WordEmbedding(nn.Module):
    """A table of vectors of words; the ids of unknown words are those that the tokenizer gives them."""

    num_ids = 1

    def __init__(self, count: int, size: int, projection: int | None = None, trainable: bool = True, std: float = 0.02):
        super().__init__()
        weight = torch.empty(count, size)
        if trainable:
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight)  # a buffer stays untrained whatever a loader or optimizer does
        self.projection = nn.Linear(size, projection) if projection else None
        self.output_size, self.std = projection or size, std

    def reset_parameters(self):
        init.normal_(self.weight, std=self.std)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """From `(B, T, 1)` and `(B, T)` to `(B, T, output_size)`."""
        vectors = F.embedding(ids.squeeze(2), self.weight)
        return vectors if self.projection is None else self.projection(vectors)


class CharacterEncoding(nn.Module):
    """A vector of a word by its characters: embeddings and a pooler."""

    def __init__(self, count: int, size: int, length: int, pooler: dict, dropout: float = 0.0):
        super().__init__()
        self.num_ids = length
        self.embeddings = nn.Embedding(count, size)
        self.pooler = build_pooler(pooler, size)
        self.dropout = nn.Dropout(dropout)
        self.output_size = self.pooler.output_size

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """From `(B, T, W)` and `(B, T)` to `(B, T, output_size)`, 0 where `mask` is False."""
        if torch.compiler.is_compiling():  # the number of words is not known to a graph
            vectors = self.encode(ids.flatten(0, 1)).unflatten(0, mask.shape)
            return self.dropout(torch.where(mask[..., None], vectors, 0))
        types, inverse = unique_rows(ids[mask])
        longest = int((types > 0).sum(dim=1).max()) if len(types) else 0
        vectors = self.encode(types[:, :longest])[inverse]
        words = vectors.new_zeros(*mask.shape, vectors.shape[-1])
        return self.dropout(words.masked_scatter(mask[..., None], vectors))

    def encode(self, characters: Tensor) -> Tensor:
        """From ids `(N, W)` to vectors `(N, output_size)`."""
        return self.pooler(self.embeddings(characters), characters > 0)


class TokenEmbedders(nn.Module):
    """All vectors of a word, concatenated."""

    def __init__(self, config: ElmoConfig):
        super().__init__()
        self.embedders = nn.ModuleList(make_embedder(config, described) for described in config.word_features)
        self.first_id = config.max_characters_per_token
        self.output_size = sum(embedder.output_size for embedder in self.embedders)

    def forward(self, mixes: tuple[Tensor, ...], input_ids: Tensor | None, mask: Tensor) -> Tensor:
        """Return the vectors `(B, T, output_size)` of words.

        Args:
            mixes (each `(B, T, 2P)`): ELMo's.
            input_ids (`(B, T, ids_per_token)`): Rows of the tokenizer; None if ELMo alone is read.
            mask (`(B, T)`): True where there is a word.
        """
        vectors, place = [], self.first_id
        for embedder in self.embedders:
            if isinstance(embedder, MixFeature):
                vectors.append(embedder(mixes))
            else:
                ids = input_ids[..., place : place + embedder.num_ids].long()
                vectors.append(embedder(ids, mask).to(mixes[0].dtype))
                place += embedder.num_ids
        return torch.cat(vectors, dim=-1)


def make_embedder(config: ElmoConfig, described: dict) -> nn.Module:
    """Return the embedder that a dict describes; `ValueError` in one line if it describes none."""
    options = dict(described)
    kind = options.pop("type", None)
    try:
        if kind == "elmo":
            return MixFeature(config.hidden_size, **options)
        if kind == "words":
            return WordEmbedding(**options, std=config.initializer_range)
        if kind == "characters":
            return CharacterEncoding(**options)
    except TypeError as error:
        raise ValueError(f"`word_features` cannot be made of {described!r:.200}: {error}") from None
    raise ValueError(f"the `type` of `word_features` must be elmo, words or characters, but is {kind!r}")
