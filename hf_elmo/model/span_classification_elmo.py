# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Labels of spans of words and of pairs of spans, as edge probing has them (Tenney et al. 2019).

    words -> ELMo, a mix of its layers -> projected -> self-attentive pooling over the words of a span
    one or two pooled spans -> hidden layer -> scores of labels

Letters in shapes: B batch, T words of a row, N items to label, S spans of an item, K labels, F width of a word's
features, D width of a pooled span.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers.modeling_outputs import TokenClassifierOutput
from transformers.utils.generic import can_return_tuple

from .configuration_elmo import ElmoConfig
from .document_model_elmo import ElmoDocumentModel
from .pooling_elmo import SelfAttentivePooling, attend

NO_LABEL = -100  # in the places of rows that have fewer items than others


class ElmoForSpanClassification(ElmoDocumentModel):
    """Classifier of spans of words, or with `spans_per_label=2` of pairs of spans.

    One class serves parts of speech, entities and constituents (one span), and semantic roles, relations and links of
    coreference (two spans, which may lie in different sentences of a row, each with its `<S>`). Nothing but a
    projection lies between the mix and the spans, so that the mix, `model.elmo.mix_weights()`, tells which layers hold
    what the labels ask for (Tenney et al. 2019). Set `span_size` and `span_hidden_size` in the configuration.
    """

    def __init__(self, config: ElmoConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        pooled = [SpanPooling(self.feature_size, config.span_size) for _ in range(config.spans_per_label)]
        self.pooling = nn.ModuleList(pooled)
        self.hidden = nn.Linear(config.span_size * len(pooled), config.span_hidden_size)
        self.normalization = nn.LayerNorm(config.span_hidden_size)
        self.hidden_dropout = nn.Dropout(config.head_dropout)
        self.classifier = nn.Linear(config.span_hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        spans: Tensor | None = None,
        labels: Tensor | None = None,
        layers: Tensor | None = None,
        output_hidden_states: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> TokenClassifierOutput:
        """Score the labels of spans, `logits` `(B, N, K)`.

        Args:
            input_ids, attention_mask, layers, output_hidden_states: As in [`ElmoTaskModel`]; no `inputs_embeds`.
            spans (`(B, N, S, 2)`): Place in the row of the first and of the last word of each span of each item.
            labels (`(B, N)`, or `(B, N, K)` of float, *optional*):
                Label of each item, learnt by a softmax; or whether it has each of the labels, 1 or 0, by sigmoids. -100
                for padding. The `loss` is the mean over all numbers in `labels` that are no padding.
            num_items_in_batch (`int`, *optional*): Numbers in the labels of all batches of the step, to divide by.

        Raises:
            `ValueError`: if `spans` are missing or have another shape; else as [`ElmoTaskModel`].
        """
        count = len(self.pooling)
        if spans is None or spans.ndim != 4 or spans.shape[2:] != (count, 2):
            given = None if spans is None else tuple(spans.shape)
            raise ValueError(f"`spans` must be (B, N, {count}, 2), first and last words, but are {given}")
        words = self.encode(
            input_ids, attention_mask, layers=layers, output_hidden_states=output_hidden_states, **kwargs
        )
        pooled = [pool(words.features, words.mask, spans[:, :, place]) for place, pool in enumerate(self.pooling)]
        hidden = self.normalization(torch.tanh(self.hidden(torch.cat(pooled, dim=-1))))
        logits = self.classifier(self.hidden_dropout(hidden))
        loss = None
        if labels is not None:
            known = labels != NO_LABEL
            if labels.is_floating_point():
                losses = binary_cross_entropy_with_logits(
                    logits[known], labels[known].to(logits.dtype), reduction="sum"
                )
            else:
                losses = cross_entropy(logits[known], labels[known], reduction="sum")
            items = known.sum() if num_items_in_batch is None else num_items_in_batch
            loss = losses / torch.as_tensor(items, device=losses.device).clamp(min=1)
        return TokenClassifierOutput(loss=loss, logits=logits, hidden_states=words.hidden_states)


class SpanPooling(nn.Module):
    """The mean of a span's projected words, weighted by the softmax of a learnt score of each."""

    def __init__(self, width: int, size: int):
        super().__init__()
        self.projection = nn.Linear(width, size)
        self.attention = SelfAttentivePooling(size)

    def forward(self, words: Tensor, mask: Tensor, spans: Tensor) -> Tensor:
        """From words `(B, T, F)`, where they are `(B, T)`, and spans `(B, N, 2)` to `(B, N, D)`."""
        projected = self.projection(words)
        places = torch.arange(words.shape[1], device=words.device)
        inside = (places >= spans[..., :1]) & (places <= spans[..., 1:]) & mask[:, None]  # (B, N, T)
        scores = self.attention.score(projected).transpose(1, 2)
        return attend(scores.expand(inside.shape), projected, inside)
