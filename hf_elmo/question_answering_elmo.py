# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Answers in texts."""

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import QuestionAnsweringModelOutput
from transformers.utils.generic import can_return_tuple

from .configuration_elmo import ElmoConfig
from .task_features_elmo import ElmoTaskModel


class ElmoForQuestionAnswering(ElmoTaskModel):
    """The first and the last word of an answer in a text: dropout and a linear layer on the ELMo representation."""

    texts_apart = True

    def __init__(self, config: ElmoConfig):
        super().__init__(config)
        self.qa_outputs = nn.Linear(self.feature_size, 2)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        layers: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> QuestionAnsweringModelOutput:
        """Score every word as first and as last of the answer, `start_logits` and `end_logits` `(B, T)`.

        Padding gets the lowest number there is.

        Args:
            input_ids, attention_mask, inputs_embeds, layers, output_hidden_states: as in [`ElmoModel`].
            start_positions, end_positions (`(B,)`, *optional*):
                Place of the answer's first and last word; a place outside the text does not count. Give the `loss`.
        """
        words = self.encode(input_ids, attention_mask, inputs_embeds, layers, output_hidden_states)
        logits = self.qa_outputs(words.features)
        logits = logits.masked_fill(~words.mask[..., None], torch.finfo(logits.dtype).min)
        start_logits, end_logits = (side.contiguous() for side in logits.unbind(-1))
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = self.loss_function(start_logits, end_logits, start_positions, end_positions, **kwargs)
        return QuestionAnsweringModelOutput(
            loss=loss, start_logits=start_logits, end_logits=end_logits, hidden_states=words.hidden_states
        )


# Its code is saved with its weights.
ElmoForQuestionAnswering.register_for_auto_class("AutoModelForQuestionAnswering")

__all__ = ["ElmoForQuestionAnswering"]
