# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Features of single words that task heads read beside ELMo: static word vectors and a small character CNN.

    word -> hash of its characters -> row of a table of static vectors        `WordVectors`
    word -> characters -> convolutions -> maximum over positions              `CharacterFeatures`

Letters in shapes: B batch, T words, W characters per word.
"""

from functools import partial

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .char_cnn_elmo import unique_rows, without_common_padding
from .configuration_elmo import ElmoConfig

NO_HASH = torch.iinfo(torch.int64).max
SPLITMIX_INCREMENT = -7046029254386353131  # constants of splitmix64, as signed numbers
SPLITMIX_FACTORS = -4658895280553007687, -7723592293110705685


class WordVectors(nn.Module):
    """Static vectors of known words (GloVe, fastText), found by the words' rows of character ids.

    Row 0 of `weight` is the vector of every unknown word. `hashes` is sorted, so that words are found by bisection.
    """

    def __init__(self, config: ElmoConfig):
        super().__init__()
        self.lowercase = config.word_vector_lowercase and bool(config.char_cnn_filters)
        self.std = config.initializer_range
        weight = torch.empty(config.word_vector_count + 1, config.word_vector_size)
        if config.word_vector_trainable:
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight)  # a buffer stays untrained whatever a loader or optimizer does
        self.register_buffer("hashes", torch.empty(config.word_vector_count, dtype=torch.int64))

    def reset_parameters(self):
        """Make a table without any word; `fill` or a checkpoint supplies the words."""
        init.normal_(self.weight, std=self.std)
        init.constant_(self.hashes, NO_HASH)

    @torch.no_grad()
    def fill(self, hashes: Tensor, vectors: Tensor, unknown: Tensor | None = None):
        """Set all words and their vectors.

        Args:
            hashes (`(word_vector_count,)`): `word_hashes` of the words, each once.
            vectors (`(word_vector_count, word_vector_size)`): Their vectors.
            unknown (`(word_vector_size,)`, *optional*): The vector of all other words; by default 0.

        Raises:
            `ValueError`: if the shapes differ from the configuration's, or a word occurs twice.
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
        return nn.functional.embedding(rows, self.weight).masked_fill(~mask[..., None], 0)


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
        if torch.compiler.is_compiling():  # the number of words is not known to a graph
            features = self.convolve(input_ids.flatten(0, 1)).unflatten(0, mask.shape)
            return torch.where(mask[..., None], features, 0)
        types, inverse = unique_rows(input_ids[mask])
        types = without_common_padding(types, self.convolution.kernel_size[0])
        features = self.convolve(types)[inverse]
        words = features.new_zeros(*mask.shape, features.shape[-1])
        return words.masked_scatter(mask[..., None], features)

    def convolve(self, words: Tensor) -> Tensor:
        """From ids `(N, W)` to features `(N, char_feature_filters)`."""
        characters = self.embeddings(words.long()).transpose(1, 2)  # (N, size, W)
        return torch.relu(self.convolution(characters).amax(dim=-1))


def word_hashes(input_ids: Tensor, lowercase: bool) -> Tensor:
    """Hash words, from ids `(..., W)` to `(...)` of int64; the same on every device.

    Zobrist hashing: each id at each place has a random number, here computed by the mixer of splitmix64 (Steele et al.
    2014), and a word's hash is the sum of its numbers. The probability that any two words of a million have the same
    hash is below 1e-7.

    Args:
        input_ids: Rows of character ids, as `ElmoTokenizer` encodes words.
        lowercase: Whether A to Z count as a to z.
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
