# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Token classification: a biLSTM over the ELMo representation and a conditional random field (Peters et al. 2018, 4.1).

Letters in shapes: B batch, T words, including `<S>` and `</S>`.
"""

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import TokenClassifierOutput
from transformers.utils.generic import can_return_tuple

from .configuration_elmo import ElmoConfig
from .crf_elmo import LinearChainCrf
from .pipelines_elmo import ElmoTokenClassificationPipeline, dispatch_by_model
from .task_layers_elmo import TaskBiLstm
from .task_model_elmo import ElmoTaskModel


class ElmoForTokenClassification(ElmoTaskModel):
    """Tagger of words: ELMo and other features of words, a biLSTM, and a CRF or a decision for each word by itself.

    Set in the configuration: `tagger_layers` and `tagger_size` of the biLSTM, `tagger_crf`, word features.
    """

    pipeline_class = ElmoTokenClassificationPipeline

    def __init__(self, config: ElmoConfig):
        super().__init__(config, num_mixes=2 if config.elmo_at_output else 1)
        self.num_labels = config.num_labels
        self.tagger = TaskBiLstm(self.feature_size, config.tagger_size, config.tagger_layers, config.head_dropout)
        self.tagger_dropout = nn.Dropout(config.head_dropout if config.tagger_layers else 0.0)
        output_size = self.tagger.output_size + (config.hidden_size if config.elmo_at_output else 0)
        # Not named `classifier`, which has another shape in text heads: any head may open the weights of any other.
        self.score = nn.Linear(output_size, config.num_labels)
        self.crf = LinearChainCrf(config.num_labels) if config.tagger_crf else None
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
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> TokenClassifierOutput:
        """Score the labels of every word, `logits` `(B, T, num_labels)`.

        With a CRF, the largest of a word's logits belongs to its label in the best sequence that the label scheme of
        `config.id2label` allows (`LinearChainCrf.max_marginals`). `<S>` and `</S>` are not part of the chain; their
        logits are 0.

        Args:
            input_ids, attention_mask, inputs_embeds, output_hidden_states: As in [`ElmoModel`].
            labels (`(B, T)`, *optional*):
                Label of each word; -100 for none. The `loss` is the mean cross-entropy of the labeled words; with a
                CRF, the negative log-likelihood of the sentences, summed over all labels of unlabeled words, divided by
                the number of labeled words.
            layers (`(B, T, L + 1, 2P)`, *optional*): Result of `compute_layers` for the same `input_ids`.
            num_items_in_batch (`int`, *optional*): Labeled words in all batches of the step, to divide by.

        Raises:
            `ValueError`: if `labels` have another shape or are out of range; else as [`ElmoTaskModel`].
        """
        words = self.encode(input_ids, attention_mask, inputs_embeds, layers, output_hidden_states, **kwargs)
        encoded = self.tagger_dropout(self.tagger(words.features, words.mask))
        if self.config.elmo_at_output:
            encoded = torch.cat([encoded, words.mixes[1]], dim=-1)
        scores = self.score(encoded)
        logits, loss = scores, None
        if self.crf is not None:
            chain = words.mask & ~self.special_tokens_mask(input_ids, inputs_embeds)
            # With label smoothing, the Trainer keeps the labels and computes its loss from logits with gradients.
            with torch.set_grad_enabled(torch.is_grad_enabled() and labels is None):
                logits = self.crf.max_marginals(scores, chain, self.label_names())
            if labels is not None:
                loss = self.chain_loss(scores, labels, chain, num_items_in_batch)
        elif labels is not None:
            loss = self.loss_function(scores, labels, self.config, num_items_in_batch=num_items_in_batch, **kwargs)
        return TokenClassifierOutput(loss=loss, logits=logits, hidden_states=words.hidden_states)

    def chain_loss(self, scores: Tensor, labels: Tensor, chain: Tensor, num_items: Tensor | int | None) -> Tensor:
        """Return the negative log-likelihood of all rows, divided by the number of labeled words."""
        if labels.shape != chain.shape:
            raise ValueError(f"`labels` must be (batch, words) = {tuple(chain.shape)}, but is {tuple(labels.shape)}")
        if labels.numel() and not torch.compiler.is_compiling():
            low, high = (int(bound) for bound in labels.aminmax())
            if high >= self.num_labels or low < -100 or (low < 0 and ((labels < 0) & (labels != -100)).any()):
                raise ValueError(
                    f"`labels` must be -100 or from 0 to {self.num_labels - 1}, but go from {low} to {high}"
                )
        if num_items is None:
            num_items = ((labels != -100) & chain).sum().clamp(min=1)
        return self.crf(scores, labels.long(), chain).sum() / num_items

    def label_names(self) -> list[str]:
        """Return the names of labels from the configuration, where scripts may set them after the model is made."""
        return [self.config.id2label.get(label, "") for label in range(self.num_labels)]


dispatch_by_model(ElmoTokenClassificationPipeline)
