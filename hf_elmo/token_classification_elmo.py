# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Labels of words."""

from torch import Tensor, nn
from transformers.modeling_outputs import TokenClassifierOutput
from transformers.utils.generic import can_return_tuple

from .configuration_elmo import ElmoConfig
from .task_features_elmo import ElmoTaskModel


class ElmoForTokenClassification(ElmoTaskModel):
    """A label for every word: dropout and a linear layer on the ELMo representation."""

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
    ) -> TokenClassifierOutput:
        """Score the labels of every word, `logits` `(B, T, num_labels)`.

        Args:
            input_ids, attention_mask, inputs_embeds, layers, output_hidden_states: as in [`ElmoModel`].
            labels (`(B, T)`, *optional*): Label of each word; -100 where there is none. Gives the `loss`.
        """
        words = self.encode(input_ids, attention_mask, inputs_embeds, layers, output_hidden_states)
        logits = self.classifier(words.features)
        loss = None if labels is None else self.loss_function(logits, labels, self.config, **kwargs)
        return TokenClassifierOutput(loss=loss, logits=logits, hidden_states=words.hidden_states)


# Its code is saved with its weights.
ElmoForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")

__all__ = ["ElmoForTokenClassification"]
