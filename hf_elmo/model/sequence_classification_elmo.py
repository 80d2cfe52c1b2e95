# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Classification of texts and of pairs of texts, and the choice among several.

Letters in shapes: B batch, N choices, T words of a row, including `<S>` and `</S>` of its one or two texts, W
characters per word, F width of a word's features, P projection width of the encoder, D width of a pooled word, H width
of one direction of a task biLSTM.
"""

import copy
from collections import namedtuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import initialization as init
from transformers.modeling_outputs import MultipleChoiceModelOutput, SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from .configuration_elmo import ElmoConfig
from .pair_layers_elmo import build_similarity, require_pairs, score_words, words_of_other_text
from .pooling_elmo import SelfAttentivePooling, attend, masked_max, masked_mean, masked_min
from .task_encoders_elmo import build_encoder, build_feedforward, build_pooler
from .task_layers_elmo import BatchNormalization, TaskBiLstm, VariationalDropout, encode_separately
from .task_model_elmo import ElmoTaskModel, EncodedWords

Problem = namedtuple("Problem", ["num_labels", "problem_type"])  # of a configuration, what the library's loss reads


class ElmoForSequenceClassification(ElmoTaskModel):
    """Classifier of texts or of pairs of texts. The configuration's `sequence_encoder` selects its layers:

    - `"pooling"`: pooling of all words' features, of a pair together (`pooling`: mean, maximum or attention), and a
      linear layer. By `task_layers` also an `encoder` before, another `pooler`, and a `feedforward` after pooling.
    - `"bcn"`: [`BiattentiveClassifier`], for texts and pairs.
    - `"esim"`: [`InferenceClassifier`], for pairs.
    - `"decomposable_attention"`: [`DecomposableClassifier`], for pairs.

    ELMo reads the texts of a pair as two sentences.
    """

    separate_texts = True

    def __init__(self, config: ElmoConfig):
        encoder = config.sequence_encoder
        elmo_at_output = encoder in ("bcn", "esim") and config.elmo_at_output is not False
        # `word_features` name the mixes that they read; the output reads the last one.
        super().__init__(config, num_mixes=2 if elmo_at_output and config.word_features is None else 1)
        self.num_labels = config.num_labels
        self.encoder: nn.Module | None = None
        self.pooling: nn.Module | None = None
        self.feedforward: nn.Module | None = None
        if encoder == "pooling":
            self.classifier = nn.Linear(self.make_layers(), config.num_labels)
        else:
            self.classifier = CLASSIFIERS[encoder](config, self.feature_size, elmo_at_output)
        self.pooled_dropout = nn.Dropout(config.head_dropout if "pooler" in self.task_layers else 0.0)
        self.post_init()

    def make_layers(self) -> int:
        """Make the layers below the linear one with `"pooling"`, and return the width of their output."""
        layers, width = self.task_layers, self.feature_size
        if "encoder" in layers:
            self.encoder = build_encoder(layers["encoder"], width)
            width = self.encoder.output_size
        if "pooler" in layers:
            self.pooling = build_pooler(layers["pooler"], width)
            width = self.pooling.output_size
        elif self.config.pooling == "attention":
            self.pooling = SelfAttentivePooling(width)
        if "feedforward" in layers:
            self.feedforward = build_feedforward(layers["feedforward"], width)
            width = self.feedforward.output_size
        return width

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
            input_ids, attention_mask, inputs_embeds, layers, output_hidden_states: As in [`ElmoTaskModel`].
            labels (`(B,)`, or `(B, num_labels)` for several labels a text, *optional*):
                Label of each text, or with `config.problem_type` "regression" its value. Gives the `loss`.

        Raises:
            `ValueError`: if a row has one text only, and the model needs pairs; else as [`ElmoTaskModel`].
        """
        words = self.encode(input_ids, attention_mask, inputs_embeds, layers, output_hidden_states, **kwargs)
        if self.config.sequence_encoder == "pooling":
            features = words.features if self.encoder is None else self.encoder(words.features, words.mask)
            pooled = self.pooled_dropout(self.pool(features, words.mask))
            logits = self.classifier(pooled if self.feedforward is None else self.feedforward(pooled))
        else:
            logits = self.classifier(words, words.mask & words.second)
        loss = None
        if labels is not None:
            problem = Problem(self.num_labels, self.problem_type(labels))
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=problem, **kwargs)
            items = kwargs.get("num_items_in_batch")
            if items is not None and problem.problem_type != "single_label_classification":
                # transformers' losses for regression and multi-label data are means over this batch, not the step.
                loss = loss * (labels.numel() / items)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=words.hidden_states)

    def problem_type(self, labels: Tensor) -> str:
        """Return the configuration's problem type; where it has none, find it by the labels, and keep it there."""
        found = self.config.problem_type
        if found is None:
            is_whole = labels.dtype in (torch.int64, torch.int32)
            found = "single_label_classification" if is_whole else "multi_label_classification"
            found = "regression" if self.num_labels == 1 else found
            if not torch.compiler.is_compiling():  # a graph does not see again what it has set
                self.config.problem_type = found
        return found

    def pool(self, words: Tensor, mask: Tensor) -> Tensor:
        """Pool the words of each row, `(B, T, F)` and `(B, T)` to `(B, F)`."""
        if self.config.pooling == "max" and self.pooling is None:
            return masked_max(words, mask[..., None])
        return masked_mean(words, mask) if self.pooling is None else self.pooling(words, mask)


class ElmoForMultipleChoice(ElmoForSequenceClassification):
    """Scorer of choices: which of several texts, or of several second texts for a first one, is right.

    The layers are those of [`ElmoForSequenceClassification`], with one score in place of labels.
    """

    def __init__(self, config: ElmoConfig):
        config = copy.deepcopy(config)  # the caller's may be of another head, whose labels it names
        config.num_labels = 1
        super().__init__(config)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> MultipleChoiceModelOutput:
        """Score the choices of every example, `logits` `(B, N)`.

        Args:
            input_ids (`(B, N, T, W)`), inputs_embeds (`(B, N, T, W, E)`):
                Also with `T * W` in place of `T, W`, as [`~transformers.DataCollatorForMultipleChoice`] has them.
            attention_mask (`(B, N, T)`): Required with these flat shapes, which it shows to be meant.
            output_hidden_states: As in [`ElmoModel`].
            labels (`(B,)`, *optional*): Number of the right choice of each example. Gives the `loss`.
            num_items_in_batch (`int`, *optional*): Examples in all batches of the step, to divide the loss by.

        Raises:
            `ValueError`: if the shapes are not these; else as [`ElmoForSequenceClassification`].
        """
        given = input_ids if inputs_embeds is None else inputs_embeds
        input_ids, inputs_embeds = self.by_word(input_ids, attention_mask), self.by_word(inputs_embeds, attention_mask)
        flat = [None if part is None else part.flatten(0, 1) for part in (input_ids, attention_mask, inputs_embeds)]
        output = super().forward(*flat, output_hidden_states=output_hidden_states, return_dict=True, **kwargs)
        logits = output.logits.view(given.shape[:2])
        loss = None
        if labels is not None:
            count = len(labels) if num_items_in_batch is None else num_items_in_batch
            loss = cross_entropy(logits, labels, reduction="sum") / count
        return MultipleChoiceModelOutput(loss=loss, logits=logits, hidden_states=output.hidden_states)

    def by_word(self, given: Tensor | None, mask: Tensor | None) -> Tensor | None:
        """Return ids or embeddings as `(B, N, T, W, ...)`, which may be `(B, N, T * W, ...)` beside a mask."""
        if given is None:
            return None
        width, ndim = self.config.ids_per_token, 5 if given.is_floating_point() else 4
        is_flat = mask is not None and mask.ndim == 3 and given.ndim == ndim - 1
        if is_flat and given.shape[:3] == (*mask.shape[:2], mask.shape[2] * width):
            return given.unflatten(2, (mask.shape[2], width))
        if given.ndim != ndim:
            name, end = ("inputs_embeds", ", E") if ndim == 5 else ("input_ids", "")
            raise ValueError(
                f"`{name}` must be (B, choices, T, {width}{end}), or (B, choices, T * {width}{end}) beside an "
                f"`attention_mask` (B, choices, T), but are {tuple(given.shape)}"
            )
        return given


class BiattentiveClassifier(nn.Module):
    """The biattentive classification network (McCann et al. 2017, section 5) with ELMo (Peters et al. 2018, A.8).

    A layer with ReLU and a biLSTM encode each text. Each word attends to the words of the other text. A second biLSTM
    integrates the word, its difference from the attended words and their product; its output is concatenated with ELMo.
    Maximum, minimum, mean and self-attentive pooling of both texts are batch-normalized and read by two layers with
    ReLU and a linear one, which Peters et al. found better than the maxout of McCann et al. A single text takes the
    place of both texts of a pair, so that its words attend to one another. One integrator reads both texts.

    Where `task_layers` of the configuration describes `reduction`, `encoder`, `integrator` and `output`, as McCann et
    al. have them, the model is for single texts, which are pooled once, and no normalization precedes the output.
    """

    def __init__(self, config: ElmoConfig, feature_size: int, elmo_at_output: bool):
        super().__init__()
        size, layers = config.sequence_size, config.task_layers or {}
        self.elmo_at_output = elmo_at_output
        self.output_mix = 1 if config.word_features is None else -1
        self.is_described = "reduction" in layers
        if self.is_described:
            self.reduction = build_feedforward(layers["reduction"], feature_size)
            self.encoder = build_encoder(layers["encoder"], self.reduction.output_size)
            self.integrator = build_encoder(layers["integrator"], 3 * self.encoder.output_size)
        else:
            self.reduction = xavier_layer(feature_size, size)
            self.encoder, self.integrator = TaskBiLstm(size, size), TaskBiLstm(6 * size, size)
        width = self.integrator.output_size + (config.hidden_size if elmo_at_output else 0)
        self.pooling = SelfAttentivePooling(width)
        self.dropout = nn.Dropout(config.head_dropout)
        if self.is_described:
            self.output = build_feedforward(layers["output"], 4 * width)
            return
        self.normalization = BatchNormalization(8 * width)  # pooled ELMo and pooled biLSTMs differ in scale and mean
        self.hidden = nn.ModuleList([xavier_layer(8 * width, 4 * size), xavier_layer(4 * size, 2 * size)])
        self.output = nn.Linear(2 * size, config.num_labels)

    def forward(self, words: EncodedWords, second: Tensor) -> Tensor:
        """From words, and which of them belong to a second text `(B, T)`, to scores `(B, num_labels)`; `ValueError` if
        a row has two texts, and the layers are described for one."""
        first, pair = words.mask & ~second, second.any(dim=1, keepdim=True)
        reduced = self.reduction(words.features)
        reduced = reduced if self.is_described else self.dropout(torch.relu(reduced))
        encoded = encode_separately(self.encoder, reduced, first, second)  # (B, T, 2H)
        others = (second[:, :, None] != second[:, None]) | ~pair[..., None]
        attended = attend(encoded @ encoded.transpose(1, 2), encoded, others & words.mask[:, None])
        compared = torch.cat([encoded, encoded - attended, encoded * attended], dim=-1)
        integrated = encode_separately(self.integrator, compared, first, second)
        if self.elmo_at_output:
            integrated = torch.cat([integrated, words.mixes[self.output_mix]], dim=-1)
        if self.is_described:
            if not torch.compiler.is_compiling() and second.any():
                row = int(second.any(dim=1).nonzero()[0])
                raise ValueError(f"this model labels single texts, but row {row} has a pair of texts")
            return self.output(self.dropout(self.pool(integrated, first)))
        x = torch.cat([self.pool(integrated, first), self.pool(integrated, torch.where(pair, second, first))], dim=-1)
        x = self.normalization(x)
        for hidden in self.hidden:
            x = torch.relu(hidden(self.dropout(x)))
        return self.output(self.dropout(x))

    def pool(self, words: Tensor, mask: Tensor) -> Tensor:
        """Pool a text in four ways, `(B, T, D)` and `(B, T)` to `(B, 4D)`."""
        places = mask[..., None]
        pooled = masked_max(words, places), masked_min(words, places), masked_mean(words, mask)
        return torch.cat([*pooled, self.pooling(words, mask)], dim=-1)


class InferenceClassifier(nn.Module):
    """The enhanced sequential inference model (Chen et al. 2017, section 3) with ELMo (Peters et al. 2018, A.3).

    A biLSTM encodes each text; its output is concatenated with ELMo. Each word attends to the words of the other text.
    A layer with ReLU and a second biLSTM read the word, the attended words, their difference and product. Mean and
    maximum of both texts are read by a layer with ReLU and a linear one. Premise and hypothesis share both biLSTMs.

    `task_layers` may describe the `encoder`, the `similarity` by which words attend, the layers of the `projection`,
    the `composition`, which is the second encoder, and the `hidden` layers and those of the `output`.
    """

    def __init__(self, config: ElmoConfig, feature_size: int, elmo_at_output: bool):
        super().__init__()
        size, layers, rate = config.sequence_size, config.task_layers or {}, config.head_dropout
        lstm = {"type": "lstm", "size": size, "bidirectional": True}
        self.elmo_at_output = elmo_at_output
        self.encoder = build_encoder(layers.get("encoder", lstm), feature_size)
        width = self.encoder.output_size + (config.hidden_size if elmo_at_output else 0)
        self.similarity = build_similarity(layers.get("similarity", {"type": "dot_product"}), width)
        self.reduction = described_layers(layers.get("projection"), 4 * width) or ReluLayer(4 * width, size)
        self.composition = build_encoder(layers.get("composition", lstm), self.reduction.output_size)
        pooled = 4 * self.composition.output_size
        self.hidden = described_layers(layers.get("hidden"), pooled) or ReluLayer(pooled, size, rate)
        width = self.hidden.output_size
        output = described_layers(layers.get("output"), width, config.num_labels)
        self.output = output or xavier_layer(width, config.num_labels)
        self.word_dropout = VariationalDropout(rate)
        self.comparison_dropout = nn.Dropout(0.0 if "projection" in layers else rate)
        self.dropout = nn.Dropout(rate)

    def forward(self, words: EncodedWords, second: Tensor) -> Tensor:
        """From words, and which of them belong to a second text `(B, T)`, to scores `(B, num_labels)`; `ValueError` if
        a row has one text only."""
        first = words.mask & ~second
        require_pairs(first, second, "esim")
        encoded = encode_separately(self.encoder, self.word_dropout(words.features), first, second)  # (B, T, 2H)
        if self.elmo_at_output:
            encoded = torch.cat([encoded, words.mixes[1]], dim=-1)
        scores = score_words(self.similarity, encoded, second)
        attended = attend(scores, encoded, words_of_other_text(words.mask, second))
        compared = torch.cat([encoded, attended, encoded - attended, encoded * attended], dim=-1)
        reduced = self.reduction(self.comparison_dropout(compared))
        composed = encode_separately(self.composition, self.word_dropout(reduced), first, second)
        pooled = [(masked_mean(composed, text), masked_max(composed, text[..., None])) for text in (first, second)]
        return self.output(self.hidden(self.dropout(torch.cat([*pooled[0], *pooled[1]], dim=-1))))


class DecomposableClassifier(nn.Module):
    """The decomposable attention model (Parikh et al. 2016, section 3).

    Layers with ReLU map each word, and by the products of the results each word attends to the words of the other text.
    Further layers compare a word with what it attends to; the sums over both texts are read by the last layers.

    `task_layers` may describe an `encoder` of both texts, and a `second_encoder` if the second has its own; the layers
    `attend`, `compare` and `aggregate`; and the `similarity`.
    """

    def __init__(self, config: ElmoConfig, feature_size: int, elmo_at_output: bool):
        super().__init__()
        size, layers, rate = config.sequence_size, config.task_layers or {}, config.head_dropout
        two = {"type": "feedforward", "sizes": [size] * 2, "activations": ["relu"] * 2, "dropout": [rate] * 2}
        last = {**two, "activations": ["relu", "linear"], "dropout": [rate, 0.0]}
        described = [layers[name] for name in ("encoder", "second_encoder") if name in layers]
        self.encoders = nn.ModuleList(build_encoder(encoder, feature_size) for encoder in described)
        width = self.encoders[0].output_size if described else feature_size
        self.attention = build_feedforward(layers.get("attend", two), width)
        similarity = layers.get("similarity", {"type": "dot_product"})
        self.similarity = build_similarity(similarity, self.attention.output_size)
        self.comparison = build_feedforward(layers.get("compare", two), 2 * width)
        sums = 2 * self.comparison.output_size
        self.aggregation = described_layers(layers.get("aggregate", last), sums, config.num_labels)

    def forward(self, words: EncodedWords, second: Tensor) -> Tensor:
        """Score pairs of texts `(B, num_labels)`, as [`InferenceClassifier`] does."""
        texts = words.mask & ~second, second
        require_pairs(*texts, "decomposable_attention")
        encoded = words.features
        if len(self.encoders) == 1:
            encoded = encode_separately(self.encoders[0], encoded, *texts)
        elif self.encoders:
            encoded = sum(encoder(encoded, text) for encoder, text in zip(self.encoders, texts))
        scores = score_words(self.similarity, self.attention(encoded), second)
        attended = attend(scores, encoded, words_of_other_text(words.mask, second))
        compared = self.comparison(torch.cat([encoded, attended], dim=-1))
        sums = [compared.masked_fill(~text[..., None], 0).sum(dim=1) for text in texts]
        return self.aggregation(torch.cat(sums, dim=-1))


CLASSIFIERS = {
    "bcn": BiattentiveClassifier,
    "esim": InferenceClassifier,
    "decomposable_attention": DecomposableClassifier,
}


def described_layers(described: dict | None, width: int, num_labels: int | None = None) -> nn.Module | None:
    """Return the layers that a dict of `task_encoders_elmo` describes, from vectors of a width, perhaps to scores of so
    many labels; None without a dict."""
    if described is not None and num_labels is not None:
        described = {**described, "sizes": [*described.get("sizes", ())[:-1], num_labels]}
    return None if described is None else build_feedforward(described, width)


class ReluLayer(nn.Linear):
    """A linear layer with ReLU and dropout."""

    def __init__(self, inputs: int, outputs: int, dropout: float = 0.0):
        super().__init__(inputs, outputs)
        self.init_weight, self.output_size = init.xavier_uniform_, outputs
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(torch.relu(super().forward(x)))


def xavier_layer(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer with Glorot and Bengio's initial weights."""
    layer = nn.Linear(inputs, outputs)
    layer.init_weight = init.xavier_uniform_
    return layer
