# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Task heads over the ELMo representation: labels of words, labels of texts, answers in texts."""

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import (
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils.generic import can_return_tuple

from .configuration_elmo import ElmoConfig
from .modeling_elmo import ElmoModel, ElmoPreTrainedModel, word_mask


class ElmoForTokenClassification(ElmoPreTrainedModel):
    """A label for every word: dropout and a linear layer on the ELMo representation."""

    def __init__(self, config: ElmoConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.elmo = ElmoModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> TokenClassifierOutput:
        """Score the labels of every word, `logits` `(B, T, num_labels)`.

        Args:
            input_ids, attention_mask, inputs_embeds, output_hidden_states: as in [`ElmoModel`].
            labels (`(B, T)`, *optional*): Label of each word; -100 where there is none. Gives the `loss`.
        """
        outputs = self.elmo(input_ids, attention_mask, inputs_embeds, output_hidden_states=output_hidden_states)
        logits = self.classifier(self.dropout(outputs.last_hidden_state))
        loss = None if labels is None else self.loss_function(logits, labels, self.config, **kwargs)
        return TokenClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


class ElmoForSequenceClassification(ElmoPreTrainedModel):
    """A label for a text or a pair of texts: the mean over words, dropout and a linear layer."""

    def __init__(self, config: ElmoConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.elmo = ElmoModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput:
        """Score the labels of every text, `logits` `(B, num_labels)`.

        Args:
            input_ids, attention_mask, inputs_embeds, output_hidden_states: as in [`ElmoModel`].
            labels (`(B,)`, or `(B, num_labels)` for several labels a text, *optional*):
                Label of each text, or with `config.problem_type` "regression" its value. Gives the `loss`.
        """
        outputs = self.elmo(input_ids, attention_mask, inputs_embeds, output_hidden_states=output_hidden_states)
        mask = word_mask(input_ids if inputs_embeds is None else inputs_embeds, attention_mask)
        logits = self.classifier(self.dropout(masked_mean(outputs.last_hidden_state, mask)))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config, **kwargs)
            items = kwargs.get("num_items_in_batch")
            if items is not None and self.config.problem_type != "single_label_classification":
                # The library's losses for values and for several labels are means of this batch, not of the step.
                loss = loss * (labels.numel() / items)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


class ElmoForQuestionAnswering(ElmoPreTrainedModel):
    """The first and the last word of an answer in a text: dropout and a linear layer on the ELMo representation."""

    def __init__(self, config: ElmoConfig):
        super().__init__(config)
        self.elmo = ElmoModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> QuestionAnsweringModelOutput:
        """Score every word as first and as last of the answer, `start_logits` and `end_logits` `(B, T)`.

        Padding gets the lowest number there is.

        Args:
            input_ids, attention_mask, inputs_embeds, output_hidden_states: as in [`ElmoModel`].
            start_positions, end_positions (`(B,)`, *optional*):
                Place of the answer's first and last word; a place outside the text does not count. Give the `loss`.
        """
        outputs = self.elmo(input_ids, attention_mask, inputs_embeds, output_hidden_states=output_hidden_states)
        mask = word_mask(input_ids if inputs_embeds is None else inputs_embeds, attention_mask)
        logits = self.qa_outputs(self.dropout(outputs.last_hidden_state))
        logits = logits.masked_fill(~mask[..., None], torch.finfo(logits.dtype).min)
        start_logits, end_logits = (side.contiguous() for side in logits.unbind(-1))
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = self.loss_function(start_logits, end_logits, start_positions, end_positions, **kwargs)
        return QuestionAnsweringModelOutput(
            loss=loss, start_logits=start_logits, end_logits=end_logits, hidden_states=outputs.hidden_states
        )


def masked_mean(words: Tensor, mask: Tensor) -> Tensor:
    """The mean of the words that are there: `(B, T, D)` and `(B, T)` to `(B, D)`; 0 for a text without words."""
    weights = mask[..., None].to(words.dtype)
    return (words * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


# Their code is saved with their weights.
ElmoForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
ElmoForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
ElmoForQuestionAnswering.register_for_auto_class("AutoModelForQuestionAnswering")

__all__ = ["ElmoForQuestionAnswering", "ElmoForSequenceClassification", "ElmoForTokenClassification"]
