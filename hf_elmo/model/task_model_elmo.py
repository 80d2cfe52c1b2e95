# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The base class of task heads: the ELMo encoder, computed now or earlier, and further features of each word.

    text or pair of texts -> ELMo, each text of a pair as a sentence of its own if the head wants it -> scalar mixes
    word                  -> static vector, character features, or all vectors that a configuration describes
                             (`word_features_elmo`)
    both                  -> dropout -> `EncodedWords`, the input of the head's own layers

Letters in shapes: B batch, T words, W characters per word, P projection width, L layers.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .configuration_elmo import ElmoConfig
from .modeling_elmo import ElmoModel, ElmoPreTrainedModel, check_shape, word_mask
from .pooling_elmo import special_tokens_mask, starts_with
from .word_features_elmo import CharacterFeatures, TokenEmbedders, WordVectors


class EncodedWords(NamedTuple):
    """The words of a batch as a task head reads them, after dropout."""

    features: Tensor  # (B, T, feature_size): the first mix, static vectors and character features; or `word_features`
    mixes: tuple[Tensor, ...]  # each (B, T, 2P)
    mask: Tensor  # (B, T) of bool: where there is a word; without `task_special_tokens`, not where it is special
    hidden_states: tuple[Tensor, ...] | None  # all layers, if asked for
    present: Tensor  # (B, T) of bool: where there is a word
    special: Tensor  # (B, T) of bool: where it is `<S>` or `</S>`
    second: Tensor | None  # (B, T) of bool: where it is not of the row's first text; None without `separate_texts`


class ElmoTaskModel(ElmoPreTrainedModel):
    """Base class of task heads. Their `forward` takes `input_ids`, `attention_mask`, `inputs_embeds` and
    `output_hidden_states` as [`ElmoModel`] does, and in `layers` `(B, T, L + 1, 2P)` what `compute_layers` returned for
    the same `input_ids`. The `num_mixes` of the configuration is raised to the number of mixes that the head reads.
    """

    separate_texts = False  # whether the encoder reads the texts of a pair as two sentences

    def __init__(self, config: ElmoConfig, num_mixes: int = 1):
        super().__init__(config)
        config.num_mixes = max(config.num_mixes, num_mixes)
        self.elmo = ElmoModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.feature_dropout = nn.Dropout(config.head_dropout)
        self.word_vectors = WordVectors(config) if config.word_vector_count else None
        self.char_features = CharacterFeatures(config) if config.char_feature_filters else None
        self.feature_size = config.hidden_size + config.word_vector_size + config.char_feature_filters
        self.task_layers = config.task_layers or {}
        self.token_embedders, self.input_dropout = None, None
        if config.word_features is not None:
            self.token_embedders = TokenEmbedders(config)
            self.input_dropout = nn.Dropout(self.task_layers.get("input_dropout", config.head_dropout))
            self.feature_size = self.token_embedders.output_size

    def encode(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        layers: Tensor | None = None,
        output_hidden_states: bool | None = None,
        token_embeddings: Tensor | None = None,
        **kwargs,
    ) -> EncodedWords:
        """Encode a batch. Where `separate_texts` is set, each `<S>` begins a text. Other `kwargs` are ignored.

        Raises:
            `ValueError`: as [`ElmoModel`] does; for `token_embeddings`; and if a part of the head reads `input_ids` and
                these are not given.
        """
        if token_embeddings is not None:
            raise ValueError(
                "task heads find `<S>` and `</S>` among characters, which `token_embeddings` do not have: give "
                "`input_ids` or `inputs_embeds`"
            )
        parts = [part for part in (self.word_vectors, self.char_features) if part is not None]
        if input_ids is None and layers is not None:
            raise ValueError("`layers` come without the characters of their words: give the `input_ids` beside them")
        if input_ids is None and (parts or self.config.feature_ids):
            raise ValueError(
                "static vectors and character features are found by `input_ids`: give these, not `inputs_embeds`, or a "
                "model with `word_vector_count` and `char_feature_filters` 0, and without `word_features`"
            )
        if input_ids is not None and self.config.feature_ids:  # the encoder alone would do without
            check_shape("input_ids", input_ids, "(B, T, W)", self.config.ids_per_token)
        given = inputs_embeds if input_ids is None else input_ids
        texts = None if given is None else self.text_numbers(given, attention_mask)
        options = {"token_type_ids": texts, "layers": layers, "output_hidden_states": output_hidden_states}
        output = self.elmo(input_ids, attention_mask, inputs_embeds, **options)
        mask = present = word_mask(given, attention_mask)
        special = special_tokens_mask(given, self.config, self.elmo.get_input_embeddings().weight)
        if not self.config.task_special_tokens:
            mask = present & ~special
        about = output.hidden_states, present, special, None if texts is None else texts > 0
        mixes = tuple(self.dropout(mix) for mix in output.mixes)
        if self.token_embedders is not None:
            features = self.input_dropout(self.token_embedders(mixes, input_ids, mask))
            return EncodedWords(features, mixes, mask, *about)
        features = [self.feature_dropout(part(input_ids, mask)).to(mixes[0].dtype) for part in parts]
        return EncodedWords(torch.cat([mixes[0], *features], dim=-1), mixes, mask, *about)

    @torch.no_grad()
    def compute_layers(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Compute all layers `(B, T, L + 1, 2P)` of a batch, to be reused for as long as the encoder does not change.

        There is no dropout, even while the model trains. A word's layers do not depend on the amount of padding.
        """
        training = self.elmo.training
        self.elmo.eval()
        try:
            return self.all_layers(input_ids, attention_mask)
        finally:
            self.elmo.train(training)

    def all_layers(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return all layers of the encoder, `(B, T, L + 1, 2P)`."""
        texts = self.text_numbers(input_ids, attention_mask)
        output = self.elmo(input_ids, attention_mask, token_type_ids=texts, output_hidden_states=True)
        return torch.stack(output.hidden_states, dim=2)

    def text_numbers(self, words: Tensor, attention_mask: Tensor | None) -> Tensor | None:
        """Return 0 for words of a row's first text and 1 for others, `(B, T)`; None without `separate_texts`. `words`
        are `input_ids` or `inputs_embeds`."""
        if not self.separate_texts:
            return None
        characters = self.elmo.get_input_embeddings().weight
        begins = starts_with(words, self.config, self.config.bos_token_id, characters)
        if attention_mask is not None:
            begins = begins & attention_mask.bool()
        return (begins.cumsum(dim=1) > 1).long()
