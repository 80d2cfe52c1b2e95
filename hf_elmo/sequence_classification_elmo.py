# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Labels of texts and of pairs of texts."""

from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from .configuration_elmo import ElmoConfig
from .task_features_elmo import ElmoTaskModel


class ElmoForSequenceClassification(ElmoTaskModel):
    """A label for a text or a pair of texts: the mean over words, dropout and a linear layer."""

    texts_apart = True

    def __init__(self, config: ElmoConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.classifier = nn.Linear(self.feature_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        layers: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput:
        """Score the labels of every text, `logits` `(B, num_labels)`.

        Args:
            input_ids, attention_mask, inputs_embeds, layers, output_hidden_states: as in [`ElmoModel`].
            labels (`(B,)`, or `(B, num_labels)` for several labels a text, *optional*):
                Label of each text, or with `config.problem_type` "regression" its value. Gives the `loss`.
        """
        words = self.encode(input_ids, attention_mask, inputs_embeds, layers, output_hidden_states)
        logits = self.classifier(masked_mean(words.features, words.mask))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config, **kwargs)
            items = kwargs.get("num_items_in_batch")
            if items is not None and self.config.problem_type != "single_label_classification":
                # The library's losses for values and for several labels are means of this batch, not of the step.
                loss = loss * (labels.numel() / items)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=words.hidden_states)


def masked_mean(words: Tensor, mask: Tensor) -> Tensor:
    """The mean of the words that are there: `(B, T, D)` and `(B, T)` to `(B, D)`; 0 for a text without words."""
    weights = mask[..., None].to(words.dtype)
    return (words * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


# Its code is saved with its weights.
ElmoForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")

__all__ = ["ElmoForSequenceClassification"]
