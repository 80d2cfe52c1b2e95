# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The base class of heads that read documents: a row has any number of sentences, which ELMo reads one by one.

Letters in shapes: B batch, T words of a document, with the `<S>` of each sentence, N words of all documents, L layers,
P projection width.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .modeling_elmo import word_mask
from .task_model_elmo import ElmoTaskModel, EncodedWords

SENTENCE_WORDS = 4096  # words of a batch of sentences, with their padding


class ElmoDocumentModel(ElmoTaskModel):
    """Base class of heads whose rows are documents, in which each `<S>` begins a sentence."""

    separate_texts = True

    def sentence_numbers(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Return the number of each word's sentence, counted over the batch, `(B, T)`: each `<S>` begins one."""
        begins = self.has_character(input_ids, None, self.config.bos_token_id) & mask
        begins[:, :1] = True
        return begins.flatten().cumsum(0).view_as(begins) - 1

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
        """Encode documents, whose sentences ELMo reads one by one; see [`ElmoTaskModel`]."""
        if input_ids is None:
            raise ValueError("sentences of a document are found by their `<S>`: give `input_ids`")
        if layers is None:
            layers = self.all_layers(input_ids, attention_mask)
        return super().encode(input_ids, attention_mask, layers=layers, output_hidden_states=output_hidden_states)

    def all_layers(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return all layers of the encoder, `(B, T, L + 1, 2P)`, with the sentences in batches of similar length."""

        def encode_sentences(ids: Tensor, mask: Tensor) -> Tensor:
            return torch.stack(self.elmo(ids, mask, output_hidden_states=True).hidden_states, dim=2)

        mask = word_mask(input_ids, attention_mask)
        outputs = by_sentence(encode_sentences, input_ids[mask], self.sentence_numbers(input_ids, mask)[mask])
        layers = outputs.new_zeros(*mask.shape, *outputs.shape[1:])
        return layers.masked_scatter(mask[..., None, None], outputs)


def by_sentence(function: Callable[[Tensor, Tensor], Tensor], words: Tensor, sentences: Tensor) -> Tensor:
    """Apply a function of padded sentences to all of them, in batches of similar length.

    Args:
        function: Called with sentences `(S, T, ...)` and their mask `(S, T)`; returns `(S, T, ...)`.
        words (`(N, ...)`): The words of all sentences, one sentence after another.
        sentences (`(N,)`): The number of each word's sentence.

    Returns:
        `(N, ...)`
    """
    lengths = sentences.unique_consecutive(return_counts=True)[1].tolist() or [0]
    parts, results = words.split(lengths), {}
    waiting = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    while waiting:
        size = max(1, SENTENCE_WORDS // max(1, lengths[waiting[0]]))
        batch, waiting = waiting[:size], waiting[size:]
        padded = pad_sequence([parts[number] for number in batch], batch_first=True)
        ends = torch.tensor([lengths[number] for number in batch], device=words.device)
        outputs = function(padded, torch.arange(padded.shape[1], device=words.device) < ends[:, None])
        results |= {number: row[: lengths[number]] for number, row in zip(batch, outputs)}
    return torch.cat([results[number] for number in range(len(lengths))])
