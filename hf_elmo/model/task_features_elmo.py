# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""What task heads read of each word: ELMo, computed now or earlier, static vectors, and features of its characters.

text (or pair of texts) -> ELMo, each text by itself where the head wants that -> scalar mixes, dropout
word -> its static vector, looked up by a hash of its characters          `WordVectors`
word -> its characters, convolutions, maximum                             `CharacterFeatures`
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .configuration_elmo import ElmoConfig
from .modeling_elmo import ElmoModel, ElmoPreTrainedModel, unique_rows, without_common_padding, word_mask

NO_HASH = torch.iinfo(torch.int64).max


class EncodedWords(NamedTuple):
    """What a task head knows of the words of a batch before its own encoder."""

    features: Tensor  # (B, T, feature_size): the first mix, then static vectors and character features; dropped out
    mixes: tuple[Tensor, ...]  # each (B, T, 2P), dropped out
    mask: Tensor  # (B, T) of bool: where there is a word
    hidden_states: tuple[Tensor, ...] | None  # all layers, if asked for


class ElmoTaskModel(ElmoPreTrainedModel):
    """What task heads have in common: the encoder, dropout on its mixes, and further features of words.

    Args:
        config ([`ElmoConfig`]): Its `num_mixes` is raised to what the head needs.
        num_mixes (`int`, defaults to 1): Scalar mixes that the head reads.
    """

    texts_apart = False  # whether each text of a pair is a sentence of its own for the encoder

    def __init__(self, config: ElmoConfig, num_mixes: int = 1):
        super().__init__(config)
        config.num_mixes = max(config.num_mixes, num_mixes)
        self.elmo = ElmoModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.feature_dropout = nn.Dropout(config.head_dropout)
        self.word_vectors = WordVectors(config) if config.word_vector_count else None
        self.char_features = CharacterFeatures(config) if config.char_feature_filters else None
        self.feature_size = config.hidden_size + config.word_vector_size + config.char_feature_filters

    def encode(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        layers: Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> EncodedWords:
        """Encode a batch: each text of a pair by itself if `texts_apart`, which `<S>` at its beginning tells.

        Args:
            input_ids, attention_mask, inputs_embeds, output_hidden_states: as in [`ElmoModel`].
            layers (`(B, T, L + 1, 2P)`, *optional*): What `compute_layers` gave for the same batch.

        Raises:
            `ValueError`: as [`ElmoModel`] does; and if word features are asked of `inputs_embeds`.
        """
        parts = [part for part in (self.word_vectors, self.char_features) if part is not None]
        if input_ids is None and layers is not None:
            raise ValueError("`layers` say nothing of the words that they are of: give the `input_ids` beside them")
        if input_ids is None and parts:
            raise ValueError(
                "static vectors and character features are found by `input_ids`: give these, not `inputs_embeds`, or a "
                "model with `word_vector_count` and `char_feature_filters` 0"
            )
        output = self.elmo(
            input_ids,
            attention_mask,
            inputs_embeds,
            token_type_ids=self.text_numbers(input_ids, attention_mask, inputs_embeds),
            layers=layers,
            output_hidden_states=output_hidden_states,
        )
        mask = word_mask(inputs_embeds if input_ids is None else input_ids, attention_mask)
        mixes = tuple(self.dropout(mix) for mix in output.mixes)
        features = [self.feature_dropout(part(input_ids, mask)).to(mixes[0].dtype) for part in parts]
        return EncodedWords(torch.cat([mixes[0], *features], dim=-1), mixes, mask, output.hidden_states)

    @torch.no_grad()
    def compute_layers(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """All layers `(B, T, L + 1, 2P)` of a batch, to be kept for as long as the encoder stays as it is.

        Without dropout, also while the model trains. Whatever the length of padding, a word's layers are the same.
        """
        training = self.elmo.training
        self.elmo.eval()
        try:
            texts = self.text_numbers(input_ids, attention_mask, None)
            output = self.elmo(input_ids, attention_mask, token_type_ids=texts, output_hidden_states=True)
        finally:
            self.elmo.train(training)
        return torch.stack(output.hidden_states, dim=2)

    def text_numbers(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, inputs_embeds: Tensor | None
    ) -> Tensor | None:
        """For words `(B, T)`, 0 in the first and 1 in the second text of their row; None if texts stay together."""
        if not self.texts_apart or (input_ids is None and inputs_embeds is None):
            return None
        begins = self.marked_words(input_ids, inputs_embeds, self.config.bos_token_id)
        if attention_mask is not None:
            begins = begins & attention_mask.bool()
        return (begins.cumsum(dim=1) > 1).long()

    def boundary_words(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        """Where a word is `<S>` or `</S>`, `(B, T)` of bool."""
        begins, ends = self.config.bos_token_id, self.config.eos_token_id
        return self.marked_words(input_ids, inputs_embeds, begins) | self.marked_words(input_ids, inputs_embeds, ends)

    def marked_words(self, input_ids: Tensor | None, inputs_embeds: Tensor | None, mark: int | list[int]) -> Tensor:
        """Where a word's row has a mark, or one of several, `(B, T)` of bool: that of `<S>` is `bos_token_id`.

        The mark is the second id of a row, after the begin of a word, and the only one of a model of word ids. Of
        `inputs_embeds` that is told by the mark's embedding.
        """
        marks = mark if isinstance(mark, (list, tuple)) else [] if mark is None else [mark]
        place = min(1, self.config.max_characters_per_token - 1)
        if input_ids is not None:
            given = input_ids[..., place]
            found = [given == number for number in marks]
        else:
            given, table = inputs_embeds[:, :, place], self.elmo.get_input_embeddings().weight
            found = [(given == table[number]).all(dim=-1) for number in marks]
        return sum(found[1:], found[0]) if found else given.new_zeros(given.shape[:2], dtype=torch.bool)


class WordVectors(nn.Module):
    """Static vectors of known words (GloVe, fastText), found by the words' rows of ids: no other input is needed.

    Row 0 of `weight` is every other word's vector. `hashes` is sorted, so that a word is found by bisection.
    """

    def __init__(self, config: ElmoConfig):
        super().__init__()
        self.lowercase = config.word_vector_lowercase and bool(config.char_cnn_filters)
        self.std = config.initializer_range
        weight = torch.empty(config.word_vector_count + 1, config.word_vector_size)
        if config.word_vector_trainable:
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight)  # which neither an optimizer nor a loader makes trainable
        self.register_buffer("hashes", torch.empty(config.word_vector_count, dtype=torch.int64))

    def begin(self):
        """A table without any word, until `fill` is called or a checkpoint is loaded."""
        init.normal_(self.weight, std=self.std)
        init.constant_(self.hashes, NO_HASH)

    @torch.no_grad()
    def fill(self, hashes: Tensor, vectors: Tensor, unknown: Tensor | None = None):
        """Take a table.

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
        """From ids `(B, T, W)` to vectors `(B, T, word_vector_size)`, 0 where there is no word."""
        hashes = word_hashes(input_ids, self.lowercase)
        place = torch.searchsorted(self.hashes, hashes).clamp(max=len(self.hashes) - 1)
        rows = torch.where(self.hashes[place] == hashes, place + 1, 0)
        return nn.functional.embedding(rows, self.weight).masked_fill(~mask[..., None], 0)


class CharacterFeatures(nn.Module):
    """What a small CNN, trained with the task, sees in the characters of a word (Ma and Hovy 2016)."""

    def __init__(self, config: ElmoConfig):
        super().__init__()
        size, width = config.char_feature_embedding_size, config.char_feature_width
        self.embeddings = nn.Embedding(config.vocab_size, size, padding_idx=config.pad_token_id)
        self.convolution = nn.Conv1d(size, config.char_feature_filters, width)
        bound = (6 / (width * (size + config.char_feature_filters))) ** 0.5
        self.convolution.init_weight = partial(init.uniform_, a=-bound, b=bound)

    def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """From ids `(B, T, W)` to features `(B, T, char_feature_filters)`, 0 where there is no word."""
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
    """A number for each word by which tables know it, from ids `(..., W)` to `(...)` of int64; of any device the same.

    Zobrist hashing: each id at each place has a random number, here the mixer of splitmix64 (Steele et al. 2014) makes
    it, and a word's hash is their sum. Different words of a table of a million agree with a probability below 1e-7.

    Args:
        input_ids: Rows of character ids, as `ElmoTokenizer` makes them.
        lowercase: Whether A to Z count as a to z.
    """
    ids = input_ids.long()
    if lowercase:
        ids = torch.where((ids > ord("A")) & (ids <= ord("Z") + 1), ids + ord("a") - ord("A"), ids)  # byte b is b + 1
    places = torch.arange(ids.shape[-1], device=ids.device)
    mixed = (ids + (places << 32) + 1) * -7046029254386353131
    mixed = (mixed ^ shifted(mixed, 30)) * -4658895280553007687
    mixed = (mixed ^ shifted(mixed, 27)) * -7723592293110705685
    return (mixed ^ shifted(mixed, 31)).sum(dim=-1)


def shifted(numbers: Tensor, bits: int) -> Tensor:
    """64-bit numbers shifted to the right as if they had no sign."""
    return (numbers >> bits) & ((1 << (64 - bits)) - 1)


__all__ = ["CharacterFeatures", "ElmoTaskModel", "EncodedWords", "WordVectors", "word_hashes"]
