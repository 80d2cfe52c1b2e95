# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The base class of heads that read documents: a row has any number of sentences, which ELMo reads one by one.

Letters in shapes: B batch, T words of a document, `<S>` included, N words of all, L layers, P projection width.
"""

import torch
from torch import Tensor

from .char_cnn_elmo import at_words
from .modeling_elmo import word_mask
from .pooling_elmo import starts_with
from .task_model_elmo import ElmoTaskModel, EncodedWords


class ElmoDocumentModel(ElmoTaskModel):
    """Base class of heads whose rows are documents, in which each `<S>` begins a sentence."""

    separate_texts = True

    def encode(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        layers: Tensor | None = None,
        **kwargs,
    ) -> EncodedWords:
        """Encode documents, whose sentences ELMo reads one by one; see [`ElmoTaskModel`]."""
        if input_ids is None:
            raise ValueError("sentences of a document are found by their `<S>`: give `input_ids`")
        if layers is None:
            layers = self.all_layers(input_ids, attention_mask)
        return super().encode(input_ids, attention_mask, layers=layers, **kwargs)

    def all_layers(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return all layers of the encoder, `(B, T, L + 1, 2P)`."""
        mask = word_mask(input_ids, attention_mask)
        words, lengths = input_ids[mask][None], lengths_of(self.sentence_numbers(input_ids, mask)[mask])
        output = self.elmo(words, torch.ones_like(words[..., 0]), sentence_lengths=lengths, output_hidden_states=True)
        return at_words(torch.stack(output.hidden_states, dim=2)[0], mask)

    def sentence_numbers(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Return the number of each word's sentence, counted over the batch, `(B, T)`: each `<S>` begins one."""
        begins = starts_with(input_ids, self.config, self.config.bos_token_id) & mask
        begins[:, :1] = True
        return begins.flatten().cumsum(0).view_as(begins) - 1


def lengths_of(sentences: Tensor) -> list[int]:
    """Return the number of words of each sentence, from the number of each word's sentence `(N,)`."""
    return sentences.unique_consecutive(return_counts=True)[1].tolist() or [0]
