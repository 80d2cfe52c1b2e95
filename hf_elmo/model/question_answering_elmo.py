# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Extractive question answering: the span of words that answers a question in a text.

Letters in shapes: B batch, T words of a row, including `<S>` and `</S>` of question and context, H width of one
direction of a task biLSTM.
"""

import copy

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_outputs import QuestionAnsweringModelOutput
from transformers.utils.generic import can_return_tuple

from .char_cnn_elmo import ElmoHighway
from .configuration_elmo import MOST_LAYERS, ElmoConfig
from .pair_layers_elmo import build_similarity
from .pipelines_elmo import QUESTION_ANSWERING
from .pooling_elmo import SelfAttentivePooling, attend
from .task_encoders_elmo import build_encoder
from .task_layers_elmo import BidirectionalAttention, SelfAttention, TaskBiLstm, VariationalDropout, encode_separately
from .task_model_elmo import ElmoTaskModel, EncodedWords

IMPOSSIBLE = -1e4  # score of "no answer" in a model that always answers: its probability is exactly 0


class ElmoForQuestionAnswering(ElmoTaskModel):
    """Finder of an answer's first and last word in a context that follows its question: `tokenizer(question, context)`.

    The configuration's `qa_encoder` selects the layers:

    - `"bidaf"`: [`BidirectionalAttentionFlow`].
    - `"bidaf_original"`: [`OriginalAttentionFlow`].
    - `"linear"`: a linear layer over the features of each word; the context does not see the question.

    ELMo reads question and context as two sentences. Split contexts that need too much memory into windows:
    `tokenizer(..., truncation="only_second", max_length=..., stride=..., return_overflowing_tokens=True)`.

    The first word of a row, the `<S>` before the question, stands for "no answer". With `"bidaf"` its score is always
    0: other scores are log-odds against "no answer" and compare between windows of a text. For data with unanswerable
    questions (SQuAD 2.0), set `qa_no_answer`, so that the score of "no answer" is learnt from question and context.
    With `"bidaf_original"` its score is `qa_null_score`; without one, the model always answers. A row of one text is
    its own question.
    """

    separate_texts = True

    def __init__(self, config: ElmoConfig):
        elmo_at_output = config.qa_encoder == "bidaf" and config.elmo_at_output is not False
        super().__init__(config, num_mixes=2 if elmo_at_output else 1)
        if config.qa_encoder == "bidaf":
            self.qa_outputs = BidirectionalAttentionFlow(config, self.feature_size, elmo_at_output)
        elif config.qa_encoder == "bidaf_original":
            self.qa_outputs = OriginalAttentionFlow(config, self.feature_size)
        else:
            self.qa_outputs = nn.Linear(self.feature_size, 2)
        config.custom_pipelines = copy.deepcopy(QUESTION_ANSWERING)  # saved with the model
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
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> QuestionAnsweringModelOutput:
        """Score every word as first and as last of the answer, `start_logits` and `end_logits` `(B, T)`.

        The row's first word has the score of "no answer". All others that are not words of the context (the question,
        `<S>`, `</S>`, padding) have the lowest finite number.

        Args:
            input_ids, attention_mask, inputs_embeds, layers, output_hidden_states: As in [`ElmoTaskModel`].
            start_positions, end_positions (`(B,)`, *optional*):
                Place of the answer's first and last word in the row; any place that is not a word of the context, such
                as 0, means "no answer". A row with a place outside of the row, such as -100, does not count, nor one
                without an answer if the model always answers. The `loss` is the mean cross-entropy of both.
            num_items_in_batch (`int`, *optional*): Rows that count in all batches of the step, to divide by.
        """
        words = self.encode(input_ids, attention_mask, inputs_embeds, layers, output_hidden_states, **kwargs)
        second = words.mask & words.second
        context = second | (words.mask & ~second.any(dim=1, keepdim=True))
        candidates = context & ~words.special
        beginning = words.present & (words.present.cumsum(dim=1) == 1)
        if self.config.qa_encoder == "linear":
            scores = self.qa_outputs(words.features)
        else:
            null_score = 0.0 if self.config.qa_encoder == "bidaf" else self.config.qa_null_score
            null_score = IMPOSSIBLE if null_score is None else null_score
            scores = self.qa_outputs(words, second, context)
            scores = scores.masked_fill((beginning & ~candidates)[..., None], null_score)
        scores = scores.masked_fill(~(candidates | beginning)[..., None], torch.finfo(scores.dtype).min)
        start_logits, end_logits = (side.contiguous() for side in scores.unbind(-1))
        loss = None
        if start_positions is not None and end_positions is not None:
            places = torch.stack([start_positions.flatten(), end_positions.flatten()], dim=1)
            always_answers = self.config.qa_encoder == "bidaf_original" and self.config.qa_null_score is None
            places, counts = replace_no_answer(places.to(scores.device), candidates, beginning, always_answers)
            if num_items_in_batch is None:
                num_items_in_batch = counts.sum().clamp(min=1)  # without rows that count, the loss is 0
            sides = start_logits, end_logits, *places.unbind(1)
            loss = self.loss_function(*sides, num_items_in_batch=num_items_in_batch, **kwargs)
        return QuestionAnsweringModelOutput(
            loss=loss, start_logits=start_logits, end_logits=end_logits, hidden_states=words.hidden_states
        )

    @staticmethod
    def best_spans(start_logits: Tensor, end_logits: Tensor) -> Tensor:
        """Find the most probable answer in each row.

        Args:
            start_logits, end_logits (`(B, T)`): As `forward` returns them.

        Returns:
            `(B, 2)`: places of the answer's first and last word; of the row's first word, twice, for "no answer".
        """
        possible = start_logits > torch.finfo(start_logits.dtype).min
        no_answer = possible & (possible.cumsum(dim=1) == 1)
        length = start_logits.shape[1]
        is_span = torch.ones(length, length, dtype=torch.bool, device=start_logits.device).triu()
        is_span = is_span & (no_answer[:, :, None] == no_answer[:, None]) & possible[:, :, None] & possible[:, None]
        scores = start_logits[:, :, None] + end_logits[:, None]
        best = scores.masked_fill(~is_span, -torch.inf).flatten(1).argmax(dim=1)
        return torch.stack([best // length, best % length], dim=1)


def replace_no_answer(
    places: Tensor, candidates: Tensor, beginning: Tensor, always_answers: bool
) -> tuple[Tensor, Tensor]:
    """Move places of answers, first and last word `(B, 2)`, that are not in the context to the row's first word. Return
    them, T in rows that do not count, and which rows count, `(B,)` of bool.

    Args:
        candidates, beginning (`(B, T)` of bool): Words of the context, and the first word of the row.
        always_answers: Whether rows without an answer do not count.
    """
    length = candidates.shape[1]
    counts = ((places >= 0) & (places < length)).all(dim=1) & beginning.any(dim=1)
    if not length:
        return torch.zeros_like(places), counts
    is_answer = candidates.gather(1, places.clamp(0, length - 1))
    if always_answers:
        counts = counts & is_answer.all(dim=1)
    places = torch.where(is_answer, places, beginning.long().argmax(dim=1, keepdim=True))
    return places.masked_fill(~counts[:, None], length), counts


class BidirectionalAttentionFlow(nn.Module):
    """Bidirectional attention flow (Seo et al. 2017, improved by Clark and Gardner 2018), with ELMo at the input and at
    the output of the biLSTM that question and context share (Peters et al. 2018, A.4).

        words -> shared biLSTM, ELMo -> bidirectional attention -> layer with ReLU -> x
        x -> biLSTM -> self-attention of the context -> layer with ReLU, added to x
        x -> biLSTM -> linear layer: scores of the first word -> biLSTM over both -> linear layer: scores of the last

    The papers have GRUs in place of these LSTMs. With `qa_no_answer`, scores of "no answer" are computed as Clark and
    Gardner do: by a layer with ReLU and a linear one from the context as the answer's first word and its last word
    attend to it, and from the pooled question. They are subtracted from the words' scores, so that "no answer" keeps
    the score 0.
    """

    def __init__(self, config: ElmoConfig, feature_size: int, elmo_at_output: bool):
        super().__init__()
        size, width = config.qa_size, 2 * config.qa_size
        self.elmo_at_output = elmo_at_output
        self.encoder = TaskBiLstm(feature_size, size)
        attention_width = width + (config.hidden_size if elmo_at_output else 0)
        self.attention = BidirectionalAttention(attention_width)
        self.reduction = nn.Linear(4 * attention_width, width)
        self.modeling = TaskBiLstm(width, size)
        self.self_attention = SelfAttention(width)
        self.self_reduction = nn.Linear(3 * width, width)
        self.start_encoder = TaskBiLstm(width, size)
        self.end_encoder = TaskBiLstm(2 * width, size)
        self.start, self.end = nn.Linear(width, 1), nn.Linear(width, 1)
        linears = [self.reduction, self.self_reduction, self.start, self.end]
        self.no_answer = None
        if config.qa_no_answer:
            self.question_pooling = SelfAttentivePooling(attention_width)
            self.no_answer = nn.Sequential(nn.Linear(2 * width + attention_width, size), nn.ReLU(), nn.Linear(size, 2))
            linears += [self.no_answer[0], self.no_answer[2]]
        for linear in linears:
            linear.init_weight = init.xavier_uniform_
        self.dropout = VariationalDropout(config.head_dropout)

    def forward(self, words: EncodedWords, second: Tensor, context: Tensor) -> Tensor:
        """Score the context's words as first and as last of the answer, `(B, T, 2)`.

        Args:
            words: Question and context in one row.
            second, context (`(B, T)` of bool): Which words belong to the second text, and to the context.
        """
        first = words.mask & ~second
        features = self.dropout(words.features)
        encoded = self.dropout(encode_separately(self.encoder, features, first, second))  # (B, T, 2H)
        if self.elmo_at_output:
            encoded = torch.cat([encoded, words.mixes[1]], dim=-1)
        flow = self.attention(encoded, encoded, context, first)
        x = torch.relu(self.reduction(self.dropout(flow)))
        modeled = self.dropout(self.modeling(self.dropout(x), context))
        x = x + torch.relu(self.self_reduction(self.self_attention(modeled, context)))
        x = self.dropout(x)
        starts = self.start_encoder(x, context)
        ends = self.end_encoder(torch.cat([x, starts], dim=-1), context)
        start_scores, end_scores = self.start(starts), self.end(ends)
        scores = torch.cat([start_scores, end_scores], dim=-1)
        if self.no_answer is None:
            return scores
        sides = (start_scores, starts), (end_scores, ends)
        summary = [attend(side.transpose(1, 2), words, context[:, None]) for side, words in sides]
        summary.append(self.question_pooling(encoded, first)[:, None])
        return scores - self.no_answer(self.dropout(torch.cat(summary, dim=-1)))


class OriginalAttentionFlow(nn.Module):
    """Bidirectional attention flow as it was published (Seo et al. 2017, section 2).

        words -> highway layers -> shared biLSTM -> bidirectional attention -> flow
        flow -> modeling biLSTM -> m;  [flow, m] -> linear layer: scores of the first word
        [flow, m, a, m * a] -> biLSTM -> n;  [flow, n] -> linear layer: scores of the last word

    where a is the mean of m by the probabilities of the first word, which the authors' code has beside the paper.

    `task_layers` may describe the number of `highways`, the `encoder`, the `similarity` of attention, the `modeling`
    encoder and the `end` encoder.
    """

    def __init__(self, config: ElmoConfig, feature_size: int):
        super().__init__()
        layers, size = config.task_layers or {}, config.qa_size
        lstm = {"type": "lstm", "size": size, "bidirectional": True}
        highways = layers.get("highways", 2)
        if not isinstance(highways, int) or not 0 <= highways <= MOST_LAYERS:
            raise ValueError(f"`highways` of `task_layers` must be a number of layers, but is {highways!r:.60}")
        self.highways = nn.ModuleList(ElmoHighway(feature_size) for _ in range(highways))
        self.encoder = build_encoder(layers.get("encoder", lstm), feature_size)
        width, trilinear = self.encoder.output_size, {"type": "linear", "combination": "x,y,x*y"}
        self.attention = BidirectionalAttention(width, build_similarity(layers.get("similarity", trilinear), width))
        two_layers = {**lstm, "layers": 2, "dropout": config.head_dropout}
        self.modeling = build_encoder(layers.get("modeling", two_layers), 4 * width)
        modeled = self.modeling.output_size
        self.end_encoder = build_encoder(layers.get("end", lstm), 4 * width + 3 * modeled)
        self.start, self.end = (nn.Linear(4 * width + n, 1) for n in (modeled, self.end_encoder.output_size))
        for linear in (self.start, self.end):
            linear.init_weight = init.xavier_uniform_
        self.dropout = nn.Dropout(config.head_dropout)

    def forward(self, words: EncodedWords, second: Tensor, context: Tensor) -> Tensor:
        """Score words `(B, T, 2)`, as [`BidirectionalAttentionFlow`] does."""
        x, first = words.features, words.mask & ~second
        for highway in self.highways:
            x = highway(x)
        encoded = self.dropout(encode_separately(self.encoder, x, first, second))
        flow = self.attention(encoded, encoded, context, first)
        modeled = self.dropout(self.modeling(flow, context))
        starts = self.start(self.dropout(torch.cat([flow, modeled], dim=-1)))
        begun = attend(starts.transpose(1, 2), modeled, context[:, None]).expand_as(modeled)
        ends = self.end_encoder(torch.cat([flow, modeled, begun, modeled * begun], dim=-1), context)
        return torch.cat([starts, self.end(self.dropout(torch.cat([flow, self.dropout(ends)], dim=-1)))], dim=-1)
