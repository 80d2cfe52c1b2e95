# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Token classification: a biLSTM over the ELMo representation and a conditional random field (Peters et al. 2018, 4.1).

By configuration also a tagger without that field, which labels each word by itself or the best sequence that the label
scheme allows, and a labeler of semantic roles (He et al. 2017), which reads where the predicate is:

    ElmoConfig(
        predicate_feature_size=100, tagger_crf=False, tagger_constraints="labels",
        task_layers={"encoder": {"type": "alternating_lstm", "size": 300, "layers": 8, "recurrent_dropout": 0.1}},
    )
    model(**tokenizer(words, is_split_into_words=True, return_tensors="pt"), token_type_ids=is_predicate)

Letters in shapes: B batch, T words, including `<S>` and `</S>`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import TokenClassifierOutput
from transformers.utils.generic import can_return_tuple

from .configuration_elmo import ElmoConfig
from .crf_elmo import LinearChainCrf, StoredConstraints, max_marginals
from .label_schemes_elmo import forbidden_transitions
from .pipelines_elmo import ElmoTokenClassificationPipeline, dispatch_by_model
from .task_encoders_elmo import build_encoder, build_feedforward
from .task_layers_elmo import TaskBiLstm
from .task_model_elmo import ElmoTaskModel


@dataclass
class ElmoTokenClassifierOutput(TokenClassifierOutput):
    """The stock output, and where labels are selected together, `scores` `(B, T, K)` of each word by itself."""

    scores: Tensor | None = None


class ElmoForTokenClassification(ElmoTaskModel):
    """Tagger of words: ELMo and other features of words, a biLSTM, and a CRF or a decision for each word by itself.

    Set in the configuration: `tagger_layers` and `tagger_size` of the biLSTM, `tagger_crf`, `tagger_constraints`, word
    features, `predicate_feature_size`; and in `task_layers` another `encoder` of sequences in place of the biLSTM, and
    a `feedforward` between encoder and scores.
    """

    pipeline_class = ElmoTokenClassificationPipeline

    def __init__(self, config: ElmoConfig):
        super().__init__(config, num_mixes=2 if config.elmo_at_output else 1)
        self.num_labels = config.num_labels
        self.predicate_features, width = None, self.feature_size + config.predicate_feature_size
        if config.predicate_feature_size:
            self.predicate_features = nn.Embedding(2, config.predicate_feature_size)
        if "encoder" in self.task_layers:
            self.tagger = build_encoder(self.task_layers["encoder"], width)
        else:
            self.tagger = TaskBiLstm(width, config.tagger_size, config.tagger_layers, config.head_dropout)
        has_encoder = "encoder" in self.task_layers or config.tagger_layers
        self.tagger_dropout = nn.Dropout(config.head_dropout if has_encoder else 0.0)
        output_size, self.feedforward = self.tagger.output_size, None
        if "feedforward" in self.task_layers:
            self.feedforward = build_feedforward(self.task_layers["feedforward"], output_size)
            output_size = self.feedforward.output_size
        output_size += config.hidden_size if config.elmo_at_output else 0
        # Not named `classifier`, which has another shape in text heads: any head may open the weights of any other.
        self.score = nn.Linear(output_size, config.num_labels)
        self.crf = LinearChainCrf(config.num_labels) if config.tagger_crf else None
        self.constraints = StoredConstraints(config.num_labels) if config.tagger_constraints == "stored" else None
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
        token_type_ids: Tensor | None = None,
        **kwargs,
    ) -> ElmoTokenClassifierOutput:
        """Score the labels of every word, `logits` `(B, T, num_labels)`.

        With a CRF or `tagger_constraints`, the largest of a word's logits belongs to its label in the best sequence
        that these allow (`max_marginals` in `crf_elmo`), by default the label scheme of `config.id2label`. `<S>` and
        `</S>` are not part of the chain; their logits are 0. `scores` are those of each word by itself, before that.

        Args:
            input_ids, attention_mask, inputs_embeds, layers, output_hidden_states: As in [`ElmoTaskModel`].
            token_type_ids (`(B, T)`): With `predicate_feature_size`, 1 at words of the predicate, else 0; or ignored.
            labels (`(B, T)`, *optional*): Label of each word; -100 for none. The `loss` is the mean cross-entropy of
                the labeled words; with a CRF, the negative log-likelihood of the sentences, summed over all labels of
                unlabeled words, divided by the number of labeled words.
            num_items_in_batch (`int`, *optional*): Labeled words in all batches of the step, to divide by.

        Raises:
            `ValueError`: if `labels` have another shape or are out of range; else as [`ElmoTaskModel`].
        """
        words = self.encode(input_ids, attention_mask, inputs_embeds, layers, output_hidden_states, **kwargs)
        features = self.with_predicate(words.features, token_type_ids)
        encoded = self.tagger_dropout(self.tagger(features, words.mask))
        if self.feedforward is not None:
            encoded = self.feedforward(encoded)
        if self.config.elmo_at_output:
            encoded = torch.cat([encoded, words.mixes[1]], dim=-1)
        scores = self.score(encoded)
        logits, loss = scores, None
        if self.is_chained:
            chain = words.mask & ~words.special
            # With label smoothing, the Trainer keeps the labels and computes its loss from logits with gradients.
            with torch.set_grad_enabled(torch.is_grad_enabled() and labels is None):
                logits = self.best_sequences(scores, chain)
        if self.crf is not None and labels is not None:
            loss = self.chain_loss(scores, labels, chain, num_items_in_batch)
        elif labels is not None:
            loss = self.loss_function(scores, labels, self.config, num_items_in_batch=num_items_in_batch, **kwargs)
        own = scores if self.is_chained else None
        return ElmoTokenClassifierOutput(loss=loss, logits=logits, hidden_states=words.hidden_states, scores=own)

    def with_predicate(self, features: Tensor, token_type_ids: Tensor | None) -> Tensor:
        """Concatenate to the features of words `(B, T, F)` the embedding of whether each is the predicate; `ValueError`
        if the model needs `token_type_ids`, and these are missing, or others than 0 and 1 `(B, T)`."""
        if self.predicate_features is None:
            return features
        expected = tuple(features.shape[:2])
        if token_type_ids is None or tuple(token_type_ids.shape) != expected:
            given = "missing" if token_type_ids is None else f"{tuple(token_type_ids.shape)}"
            raise ValueError(
                f"this model labels the arguments of a predicate: `token_type_ids` (batch, words) = {expected} must be "
                f"1 at the words of the predicate and 0 elsewhere, but is {given}"
            )
        if not torch.compiler.is_compiling() and ((token_type_ids < 0) | (token_type_ids > 1)).any():
            raise ValueError("`token_type_ids` must be 1 at the words of the predicate and 0 elsewhere")
        return torch.cat([features, self.predicate_features(token_type_ids.long())], dim=-1)

    @property
    def is_chained(self) -> bool:
        """Whether the labels of a sentence are selected together."""
        return self.crf is not None or self.config.tagger_constraints in ("labels", "stored")

    def best_sequences(self, scores: Tensor, chain: Tensor) -> Tensor:
        """Return the max-marginals `(B, T, K)` of scores `(B, T, K)`, for the words where `chain` `(B, T)` is True."""
        if self.constraints is not None:
            forbidden = self.constraints.forbidden()
        else:
            known = {} if self.config.tagger_constraints == "none" else self.config.id2label
            names = [known.get(label, "") for label in range(self.num_labels)]  # scripts may set them late
            forbidden = forbidden_transitions(names, scores.device)
        if self.crf is not None:
            return max_marginals(scores, chain, forbidden, self.crf.weights())
        if self.config.tagger_sums_probabilities:
            return max_marginals(scores.softmax(-1), chain, forbidden, as_srl=True)
        return max_marginals(scores.log_softmax(-1), chain, forbidden)

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


dispatch_by_model(ElmoTokenClassificationPipeline)
