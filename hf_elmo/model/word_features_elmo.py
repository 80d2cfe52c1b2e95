# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Vectors of single words that task heads read beside ELMo, and where ELMo stands among them.

    word -> hash of its characters -> row of a table of static vectors        `WordVectors`
    word -> characters -> convolutions -> maximum over positions              `CharacterFeatures`

`word_features` of the configuration describes other vectors in their place: a list of dicts, in the order in which the
vectors are concatenated.

    {"type": "elmo", "mix": 0, "projection": None}                    a scalar mix; perhaps projected to a width
    {"type": "words", "count": 488, "size": 50, "projection": None, "trainable": True}
    {"type": "characters", "count": 262, "size": 16, "length": 128, "pooler": {"type": "cnn", ...}, "dropout": 0.0}

Ids of words and characters follow those of ELMo in each row of `input_ids`, in the order of the list (see
`row_variants_elmo`). A pooler is a layer of `task_encoders_elmo`.

Letters in shapes: B batch, T words, N words without padding, W characters per word.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from .char_cnn_elmo import encode_words, unique_rows, without_common_padding
from .configuration_elmo import ElmoConfig
from .task_encoders_elmo import build_pooler

NO_HASH = torch.iinfo(torch.int64).max
SPLITMIX_INCREMENT = -7046029254386353131  # constants of splitmix64, as signed numbers
SPLITMIX_FACTORS = -4658895280553007687, -7723592293110705685


class WordTable(nn.Module):
    """A table of vectors of words, trained or not."""

    def __init__(self, count: int, size: int, trainable: bool, std: float):
        super().__init__()
        self.std = std
        if trainable:
            self.weight = nn.Parameter(torch.empty(count, size))
        else:  # a buffer stays untrained whatever a loader or optimizer does
            self.register_buffer("weight", torch.empty(count, size))

    def reset_parameters(self):
        init.normal_(self.weight, std=self.std)


class WordVectors(WordTable):
    """Static vectors of known words (GloVe, fastText), found by the words' rows of character ids.

    Row 0 of `weight` is the vector of every unknown word. `hashes` is sorted, so that words are found by bisection.
    """

    def __init__(self, config: ElmoConfig):
        table = config.word_vector_count + 1, config.word_vector_size
        super().__init__(*table, config.word_vector_trainable, config.initializer_range)
        self.lowercase = config.word_vector_lowercase and bool(config.char_cnn_filters)
        self.register_buffer("hashes", torch.empty(config.word_vector_count, dtype=torch.int64))

    def reset_parameters(self):
        """Make a table without any word; `fill` or a checkpoint supplies the words."""
        super().reset_parameters()
        init.constant_(self.hashes, NO_HASH)

    @torch.no_grad()
    def fill(self, hashes: Tensor, vectors: Tensor, unknown: Tensor | None = None):
        """Set all words and their vectors; `ValueError` if the shapes differ, or a word occurs twice.

        Args:
            hashes (`(word_vector_count,)`): `word_hashes` of the words, each once.
            vectors (`(word_vector_count, word_vector_size)`): Their vectors.
            unknown (`(word_vector_size,)`, *optional*): The vector of all other words; by default 0.
        """
        if hashes.shape != self.hashes.shape or vectors.shape != self.weight[1:].shape:
            raise ValueError(
                f"the configuration has {len(self.hashes)} words with vectors of {self.weight.shape[1]} numbers, but "
                f"got hashes {tuple(hashes.shape)} and vectors {tuple(vectors.shape)}"
            )
        ordered, order = hashes.to(self.hashes.device).sort()
        if (ordered[1:] == ordered[:-1]).any():
            raise ValueError("a word occurs twice in the table of static vectors")
        self.hashes.copy_(ordered)
        self.weight[1:] = vectors.to(self.weight)[order]
        self.weight[0] = 0 if unknown is None else unknown.to(self.weight)

    def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """From ids `(B, T, W)` to vectors `(B, T, word_vector_size)`, 0 where `mask` `(B, T)` is False."""
        hashes = word_hashes(input_ids, self.lowercase)
        place = torch.searchsorted(self.hashes, hashes).clamp(max=len(self.hashes) - 1)
        rows = torch.where(self.hashes[place] == hashes, place + 1, 0)
        return F.embedding(rows, self.weight).masked_fill(~mask[..., None], 0)


class CharacterFeatures(nn.Module):
    """A small character CNN that is trained with the task (Ma and Hovy 2016, section 2.1)."""

    def __init__(self, config: ElmoConfig):
        super().__init__()
        size, width = config.char_feature_embedding_size, config.char_feature_width
        self.embeddings = nn.Embedding(config.vocab_size, size, padding_idx=config.pad_token_id)
        self.convolution = nn.Conv1d(size, config.char_feature_filters, width)
        bound = (6 / (width * (size + config.char_feature_filters))) ** 0.5
        self.convolution.init_weight = partial(init.uniform_, a=-bound, b=bound)

    def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """From ids `(B, T, W)` to features `(B, T, char_feature_filters)`, 0 where `mask` `(B, T)` is False."""
        return encode_words(self.convolve, input_ids, mask)

    def convolve(self, words: Tensor) -> Tensor:
        """From ids `(N, W)` to features `(N, char_feature_filters)`; equal words are computed once."""
        types, inverse = unique_rows(words)
        types = without_common_padding(types, self.convolution.kernel_size[0])
        characters = self.embeddings(types.long()).transpose(1, 2)  # (N, size, W)
        return torch.relu(self.convolution(characters).amax(dim=-1))[inverse]


def word_hashes(input_ids: Tensor, lowercase: bool) -> Tensor:
    """Hash words, from ids `(..., W)` to `(...)` of int64; the same on every device.

    Zobrist hashing: each id at each place has a random number, here computed by the mixer of splitmix64 (Steele et al.
    2014), and a word's hash is the sum of its numbers. The probability that any two words of a million have the same
    hash is below 1e-7. With `lowercase`, A to Z count as a to z.
    """
    ids = input_ids.long()
    if lowercase:
        ids = torch.where((ids > ord("A")) & (ids <= ord("Z") + 1), ids + ord("a") - ord("A"), ids)  # byte b is b + 1
    places = torch.arange(ids.shape[-1], device=ids.device)
    mixed = (ids + (places << 32) + 1) * SPLITMIX_INCREMENT
    mixed = (mixed ^ shift_right(mixed, 30)) * SPLITMIX_FACTORS[0]
    mixed = (mixed ^ shift_right(mixed, 27)) * SPLITMIX_FACTORS[1]
    return (mixed ^ shift_right(mixed, 31)).sum(dim=-1)


def shift_right(numbers: Tensor, bits: int) -> Tensor:
    """Shift 64-bit numbers to the right as if they had no sign."""
    return (numbers >> bits) & ((1 << (64 - bits)) - 1)


# ---- vectors that a configuration describes


class MixFeature(nn.Module):
    """A scalar mix, perhaps projected."""

    def __init__(self, hidden_size: int, mix: int = 0, projection: int | None = None):
        super().__init__()
        self.mix = mix
        self.projection = nn.Linear(hidden_size, projection) if projection else None
        self.output_size = projection or hidden_size

    def forward(self, mixes: tuple[Tensor, ...]) -> Tensor:
        return mixes[self.mix] if self.projection is None else self.projection(mixes[self.mix])


class WordEmbedding(WordTable):
    """Vectors of words by their ids; the ids of unknown words are those that the tokenizer gives them."""

    num_ids = 1

    def __init__(self, count: int, size: int, projection: int | None = None, trainable: bool = True, std: float = 0.02):
        super().__init__(count, size, trainable, std)
        self.projection = nn.Linear(size, projection) if projection else None
        self.output_size = projection or size

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
        return self.dropout(encode_words(self.encode, ids, mask))

    def encode(self, words: Tensor) -> Tensor:
        """From ids `(N, W)` to vectors `(N, output_size)`; equal words are computed once, without common padding."""
        types, inverse = unique_rows(words)
        if not torch.compiler.is_compiling():
            types = types[:, : int((types > 0).sum(dim=1).max()) if len(types) else 0]
        return self.pooler(self.embeddings(types), types > 0)[inverse]


class TokenEmbedders(nn.Module):
    """All vectors of a word, concatenated."""

    def __init__(self, config: ElmoConfig):
        super().__init__()
        self.embedders = nn.ModuleList(make_embedder(config, described) for described in config.word_features)
        self.first_id = config.max_characters_per_token
        self.output_size = sum(embedder.output_size for embedder in self.embedders)

    def forward(self, mixes: tuple[Tensor, ...], input_ids: Tensor | None, mask: Tensor) -> Tensor:
        """Return the vectors `(B, T, output_size)` of words: of ELMo's mixes, each `(B, T, 2P)`, of the tokenizer's
        rows `(B, T, ids_per_token)`, which are None if ELMo alone is read, and of where there is a word, `(B, T)`."""
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
