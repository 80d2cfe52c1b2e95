# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Coreference resolution: which spans of words of a document mean the same (Lee et al. 2017, 2018).

    words of a sentence -> ELMo, biLSTM -> spans of up to `coref_max_width` words -> score of each as a mention
    best spans -> candidate antecedents, by distance or by a bilinear score -> score of each pair -> clusters

No layer that is as wide as a span's representation is computed for all spans: the first layer of a score is linear, so
that it is the sum of what it makes of the words at the span's ends and inside. What depends on pairs is computed in
blocks, which training computes again in the backward pass. So memory grows with the number of words.

Letters in shapes: B batch, T words of a document, N spans, K spans that are kept, M annotated mentions, A candidate
antecedents, D width of a span's representation, H hidden size of scorers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, embedding_bag
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedTokenizerBase
from transformers import initialization as init
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .char_cnn_elmo import at_words
from .configuration_elmo import ElmoConfig
from .document_model_elmo import ElmoDocumentModel, lengths_of
from .task_layers_elmo import TaskBiLstm, masked_softmax

SPAN_BLOCK = 16384  # spans scored at a time
PAIR_BLOCK = 128  # spans whose antecedents are scored at a time
DISTANCES = (1, 2, 3, 4, 5, 8, 16, 32, 64)  # least distance of each bucket
NO_SPAN = -100  # in the places of rows that have fewer spans than others


@dataclass
class ElmoCoreferenceOutput(ModelOutput):
    """The spans of documents that may be mentions, and the antecedent of each.

    Args:
        loss (`()`): If `labels` are given.
        spans (`(B, K, 2)`): First and last word of each span that was kept, as places in the row, in their order.
        mention_logits (`(B, K)`): Score of each as a mention.
        antecedents (`(B, K)`): Number of the span before it that each most probably means the same as; -1 for none.
        hidden_states: All layers of the encoder, `L + 1` tensors `(B, T, 2P)`, if asked for.
    """

    loss: Tensor | None = None
    spans: Tensor | None = None
    mention_logits: Tensor | None = None
    antecedents: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class ElmoForCoreferenceResolution(ElmoDocumentModel):
    """Finder of the spans of words that mean the same person or thing.

    A row is a document: its sentences one after another, each with its `<S>`, as `encode_document` makes them. ELMo and
    the biLSTM read each sentence by itself, and no span crosses its ends.

    Set in the configuration: `coref_size` and `coref_layers` of the biLSTM, the other options `coref_...`.

    If `coref_singletons` is set, the data annotate mentions that have no other: then the mention score is also learnt
    by itself, and a span with a score above 0 is a cluster even without an antecedent.
    """

    def __init__(self, config: ElmoConfig):
        super().__init__(config)
        self.context = TaskBiLstm(self.feature_size, config.coref_size, config.coref_layers, config.head_dropout)
        self.spans = SpanRepresentation(config, self.context.output_size, self.feature_size)
        self.antecedents = AntecedentScorer(config, self.spans.size)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        mention_spans: Tensor | None = None,
        labels: Tensor | None = None,
        layers: Tensor | None = None,
        output_hidden_states: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> ElmoCoreferenceOutput:
        """Find the mentions of documents, and their antecedents.

        Args:
            input_ids, attention_mask, layers, output_hidden_states: As in [`ElmoTaskModel`]; no `inputs_embeds`.
            mention_spans (`(B, M, 2)`, *optional*): Place in the row of each annotated mention's first and last word.
            labels (`(B, M)`, *optional*):
                Number of each annotated mention's cluster, from 0; -100 for padding. The `loss` is the negative
                log-probability that kept spans have one of their antecedents (Lee et al. 2017, section 5), with
                `coref_singletons` plus the cross-entropy of all spans as mentions, divided by the number of mentions.
            num_items_in_batch (`int`, *optional*): Mentions in all batches of the step, to divide by.

        Raises:
            `ValueError`: if `labels` and `mention_spans` do not fit; else as [`ElmoTaskModel`].
        """
        if labels is not None and (mention_spans is None or mention_spans.shape != (*labels.shape, 2)):
            given = None if mention_spans is None else tuple(mention_spans.shape)
            raise ValueError(f"`mention_spans` must be {(*labels.shape, 2)}, (B, M, 2), but is {given}")
        words = self.encode(
            input_ids, attention_mask, layers=layers, output_hidden_states=output_hidden_states, **kwargs
        )
        sentences = self.sentence_numbers(input_ids, words.present)
        inner = words.mask & ~words.special
        lengths = lengths_of(sentences[words.mask])
        features = at_words(self.context(words.features[words.mask][None], None, lengths)[0], words.mask)
        found, losses = [], []
        for row, (place, own) in enumerate(zip(sentences, inner)):
            gold = None
            if labels is not None:
                known = labels[row] >= 0
                gold = mention_spans[row][known], labels[row][known]
            *parts, loss = self.resolve(words.features[row], features[row], place, own, gold)
            found.append(parts)
            losses.append(loss)
        loss = None
        if labels is not None:
            items = (labels >= 0).sum() if num_items_in_batch is None else num_items_in_batch
            loss = torch.stack(losses).sum() / torch.as_tensor(items).clamp(min=1).to(losses[0].device)
        padded = [pad_sequence(list(part), batch_first=True, padding_value=NO_SPAN) for part in zip(*found)]
        return ElmoCoreferenceOutput(loss, *padded, hidden_states=words.hidden_states)

    def resolve(
        self, words: Tensor, context: Tensor, sentences: Tensor, inner: Tensor, gold: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return the kept spans `(K, 2)` of one document, their scores `(K,)`, their antecedents `(K,)`, and the loss;
        from its words before and after the biLSTM, `(T, F)` and `(T, 2C)`, each word's sentence, which are words of the
        text, `(T,)` each, and the places and clusters of the annotated mentions, `(M, 2)` and `(M,)`."""
        config = self.config
        candidates = candidate_spans(sentences, inner, config.coref_max_width)
        scores = self.spans.mention_scores(candidates, words, context)
        count = int(config.coref_span_ratio * inner.sum())
        kept = keep_best(candidates, scores, min(max(count, 1), len(candidates)))
        spans, mention_scores = candidates[kept], scores[kept]
        pairs = self.antecedents(self.spans(spans, words, context), mention_scores)
        choice = torch.cat([pairs.scores.new_zeros(len(spans), 1), pairs.scores], dim=1).argmax(dim=1)
        numbers = torch.cat([torch.full_like(choice[:, None], -1), pairs.numbers], dim=1)
        antecedents = numbers.gather(1, choice[:, None]).squeeze(1)
        loss = None
        if gold is not None:
            clusters = clusters_of(candidates, *gold)
            loss = antecedent_loss(pairs, clusters[kept])
            if config.coref_singletons:
                target = (clusters > 0).to(scores.dtype)
                loss = loss + binary_cross_entropy_with_logits(scores, target, reduction="sum")
        return spans, mention_scores.detach(), antecedents, loss

    @torch.no_grad()
    def find_clusters(
        self, tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str] | Sequence[Sequence[str]]
    ) -> list[list[dict]]:
        """Find the clusters of a document.

        Args:
            tokenizer: The [`ElmoTokenizer`] of the model.
            sentences: The sentences, as texts or as lists of words.

        Returns:
            Clusters in the order of their first mentions, each a list of mentions: `sentence`, its number from 0,
            `start` and `end`, the place of its first word in the sentence and of the word after its last, and `text`.
        """
        document, places, texts = encode_document(tokenizer, sentences)
        output = self(torch.as_tensor(document, device=self.device)[None])
        row = output.spans[0].tolist(), output.mention_logits[0].tolist(), output.antecedents[0].tolist()
        clusters = []
        for cluster in clusters_of_antecedents(*row, self.config.coref_singletons):
            clusters.append([])
            for first, last in cluster:
                (sentence, start), end = places[first], places[last][1] + 1
                text = " ".join(texts[sentence][start:end])
                clusters[-1].append({"sentence": sentence, "start": start, "end": end, "text": text})
        return clusters


# ---- spans


class SpanRepresentation(nn.Module):
    """A span as the concatenation of its first and last word in context, a mean of its words weighted by attention, and
    an embedding of its width (Lee et al. 2017, section 4), and its score as a mention."""

    def __init__(self, config: ElmoConfig, context_size: int, word_size: int):
        super().__init__()
        self.max_width, hidden = config.coref_max_width, config.coref_hidden_size
        widths = context_size, context_size, word_size, config.coref_feature_size
        self.size = sum(widths)
        self.attention = nn.Linear(context_size, 1, bias=False)  # a bias would cancel in the softmax
        self.width_embeddings = nn.Embedding(config.coref_max_width, config.coref_feature_size)
        self.mention_layers = sum_of_linear(widths, hidden)
        self.mention_score = Score(hidden, config.head_dropout)
        self.attention.init_weight = init.xavier_uniform_

    def forward(self, spans: Tensor, words: Tensor, context: Tensor) -> Tensor:
        """Return the representations `(K, D)` of spans `(K, 2)`."""
        ends = context[spans[:, 0]], context[spans[:, 1]]
        widths = self.width_embeddings(spans[:, 1] - spans[:, 0])
        return torch.cat([*ends, self.attended(spans, words, self.attention(context)), widths], dim=1)

    def attended(self, spans: Tensor, values: Tensor, attention: Tensor) -> Tensor:
        """Return the mean of the values `(T, V)` of each span's words by the softmax of their scores `(T, 1)`."""
        places = spans[:, :1] + torch.arange(self.max_width, device=spans.device)
        inside = places <= spans[:, 1:]
        places = places.clamp(max=len(values) - 1)
        weights = masked_softmax(attention.squeeze(1)[places], inside)
        return embedding_bag(places, values, per_sample_weights=weights.to(values.dtype), mode="sum")

    def mention_scores(self, spans: Tensor, words: Tensor, context: Tensor) -> Tensor:
        """Return the score of each span `(N, 2)` as a mention, `(N,)`."""
        first, last, head, width = self.mention_layers
        attention, widths = self.attention(context), width(self.width_embeddings.weight)
        first, last, head = first(context), last(context), head(words)

        def score(block: Tensor) -> Tensor:
            ends = first[block[:, 0]] + last[block[:, 1]] + widths[block[:, 1] - block[:, 0]]
            return self.mention_score(ends + self.attended(block, head, attention))

        return in_blocks(score, spans, SPAN_BLOCK)


class AntecedentScores(NamedTuple):
    """Candidate antecedents of K spans."""

    numbers: Tensor  # (K, A)
    scores: Tensor  # (K, A), the lowest number where there is no candidate
    is_candidate: Tensor  # (K, A) of bool


class AntecedentScorer(nn.Module):
    """Scores of pairs of spans.

    With `coref_coarse_to_fine`, the candidates of a span are those with the best bilinear score, which is part of the
    final one (Lee et al. 2018, section 4); otherwise the nearest. With a `coref_depth` above 1, spans are refined by
    their expected antecedents before they are scored again (section 3).
    """

    def __init__(self, config: ElmoConfig, size: int):
        super().__init__()
        self.max_antecedents, self.depth = config.coref_max_antecedents, config.coref_depth
        hidden, feature_size = config.coref_hidden_size, config.coref_feature_size
        self.distance_embeddings = nn.Embedding(len(DISTANCES), feature_size)
        self.layers = sum_of_linear((size, size, size, feature_size), hidden)
        self.score = Score(hidden, config.head_dropout)
        self.coarse = nn.Linear(size, size, bias=False) if config.coref_coarse_to_fine else None
        self.gate = nn.Linear(2 * size, size) if config.coref_depth > 1 else None
        for linear in (self.coarse, self.gate):
            if linear is not None:
                linear.init_weight = init.xavier_uniform_

    def forward(self, spans: Tensor, mention_scores: Tensor) -> AntecedentScores:
        """Score the antecedents of spans `(K, D)` with their scores as mentions `(K,)`."""
        numbers, is_candidate = self.candidates(spans, mention_scores)
        depth = self.depth if len(spans) else 1
        for turn in range(depth):
            scores = self.pair_scores(spans, mention_scores, numbers)
            scores = scores.masked_fill(~is_candidate, torch.finfo(scores.dtype).min)
            found = AntecedentScores(numbers, scores, is_candidate)
            if turn + 1 < depth:
                spans = self.refined(spans, found)
        return found

    @torch.no_grad()
    def candidates(self, spans: Tensor, mention_scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers of each span's candidates `(K, A)`, and which of them are before it."""
        count = len(spans)
        most, all_spans = min(self.max_antecedents, count), torch.arange(count, device=spans.device)
        if self.coarse is None:
            numbers = all_spans[:, None] - 1 - all_spans[:most]
            return numbers.clamp(min=0), numbers >= 0
        numbers = []
        for rows in all_spans.split(SPAN_BLOCK // 16):
            scores = self.coarse(spans[rows]) @ spans.T + mention_scores
            scores = scores.masked_fill(all_spans >= rows[:, None], -torch.inf)
            numbers.append(scores.topk(most, dim=1).indices.sort(dim=1).values)
        numbers = torch.cat(numbers)
        return numbers, numbers < all_spans[:, None]

    def pair_scores(self, spans: Tensor, mention_scores: Tensor, numbers: Tensor) -> Tensor:
        """Return the score of each pair, `(K, A)`."""
        own, other, both, distance = self.layers
        own, other, distances = own(spans), other(spans), distance(self.distance_embeddings.weight)
        coarse = None if self.coarse is None else self.coarse(spans)

        def score(rows: Tensor) -> Tensor:
            antecedents = numbers[rows]
            others = spans[antecedents]
            buckets = distance_buckets(rows[:, None] - antecedents)
            products = both(spans[rows][:, None] * others)
            scores = self.score(own[rows][:, None] + other[antecedents] + products + distances[buckets])
            scores = scores + mention_scores[rows][:, None] + mention_scores[antecedents]
            if coarse is not None:
                scores = scores + (others @ coarse[rows][..., None]).squeeze(-1)
            return scores

        return in_blocks(score, torch.arange(len(spans), device=spans.device), PAIR_BLOCK)

    def refined(self, spans: Tensor, found: AntecedentScores) -> Tensor:
        """Return spans `(K, D)` mixed with the expected ones of their antecedents; a span without is its own."""
        weights = torch.cat([found.scores.new_zeros(len(spans), 1), found.scores], dim=1).softmax(dim=1)
        expected = embedding_bag(found.numbers, spans, per_sample_weights=weights[:, 1:].contiguous(), mode="sum")
        expected = expected + weights[:, :1] * spans
        gate = torch.sigmoid(self.gate(torch.cat([spans, expected], dim=1)))
        return gate * spans + (1 - gate) * expected


class Score(nn.Module):
    """The rest of a scorer behind its first linear layer: ReLU, a hidden layer with ReLU, one number."""

    def __init__(self, size: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.hidden, self.output = nn.Linear(size, size), nn.Linear(size, 1)
        for linear in (self.hidden, self.output):
            linear.init_weight = init.xavier_uniform_

    def forward(self, x: Tensor) -> Tensor:
        """From `(..., H)` to `(...)`."""
        x = self.dropout(torch.relu(x))
        return self.output(self.dropout(torch.relu(self.hidden(x)))).squeeze(-1)


def sum_of_linear(widths: Sequence[int], size: int) -> nn.ModuleList:
    """Return the parts of one linear layer over a concatenation: a layer for each width, the first with the bias."""
    parts = nn.ModuleList(nn.Linear(width, size, bias=not number) for number, width in enumerate(widths))
    bound = (6 / (sum(widths) + size)) ** 0.5  # of the whole layer
    for part in parts:
        part.init_weight = partial(init.uniform_, a=-bound, b=bound)
    return parts


def in_blocks(function: Callable[[Tensor], Tensor], rows: Tensor, size: int) -> Tensor:
    """Concatenate the results for blocks of rows. In training, blocks are computed again in the backward pass."""
    blocks = rows.split(size)
    if len(blocks) > 1 and torch.is_grad_enabled():
        return torch.cat([checkpoint(function, block, use_reentrant=False) for block in blocks])
    return torch.cat([function(block) for block in blocks])


def candidate_spans(sentences: Tensor, inner: Tensor, max_width: int) -> Tensor:
    """Return all spans of up to `max_width` words inside of sentences, `(N, 2)`: first and last word, in order; from
    each word's sentence `(T,)`, and which are `inner`, words of the text `(T,)`."""
    length = len(sentences)
    firsts = torch.arange(length, device=sentences.device)[:, None].expand(-1, max_width)
    lasts = firsts + torch.arange(max_width, device=sentences.device)
    ends = lasts.clamp(max=length - 1)
    is_span = (lasts < length) & inner[firsts] & inner[ends] & (sentences[firsts] == sentences[ends])
    return torch.stack([firsts[is_span], lasts[is_span]], dim=1)


def keep_best(spans: Tensor, scores: Tensor, count: int) -> Tensor:
    """Return the numbers, in order, of at most `count` spans `(N, 2)` with the best scores `(N,)`.

    A span that crosses a better one is left out; it may lie inside of it (Lee et al. 2017, section 5).
    """
    kept: list[int] = []
    last_of_first: dict[int, int] = {}  # the last word of the longest kept span that begins at a word
    first_of_last: dict[int, int] = {}  # the first word of the longest kept span that ends at a word
    places = spans.tolist()
    for number in scores.detach().argsort(descending=True, stable=True).tolist():
        if len(kept) == count:
            break
        first, last = places[number]
        crosses = any(last_of_first.get(word, -1) > last for word in range(first + 1, last + 1)) or any(
            first_of_last.get(word, first) < first for word in range(first, last)
        )
        if not crosses:
            kept.append(number)
            last_of_first[first] = max(last, last_of_first.get(first, last))
            first_of_last[last] = min(first, first_of_last.get(last, first))
    return torch.tensor(sorted(kept), dtype=torch.long, device=spans.device)


def distance_buckets(distances: Tensor) -> Tensor:
    """Return the bucket of each distance: 1, 2, 3, 4, 5 to 7, 8 to 15, 16 to 31, 32 to 63, and more."""
    bounds = torch.tensor(DISTANCES[1:], device=distances.device)
    return torch.bucketize(distances, bounds, right=True)


# ---- clusters


def clusters_of(spans: Tensor, mentions: Tensor, labels: Tensor) -> Tensor:
    """Return the cluster of each span `(N, 2)`, counted from 1; 0 for spans that are not among the annotated mentions
    `(M, 2)`, whose clusters `(M,)` are counted from 0."""
    known = {tuple(place): label + 1 for place, label in zip(mentions.tolist(), labels.tolist())}
    found = [known.get((first, last), 0) for first, last in spans.tolist()]
    return torch.tensor(found, dtype=torch.long, device=spans.device)


def antecedent_loss(pairs: AntecedentScores, clusters: Tensor) -> Tensor:
    """Return the negative log-probability, summed over spans, that a span has one of its antecedents, or none if none
    of its candidates is one. Clusters `(K,)` are counted from 1; 0 is none."""
    is_antecedent = (clusters[pairs.numbers] == clusters[:, None]) & (clusters[:, None] > 0) & pairs.is_candidate
    is_right = torch.cat([~is_antecedent.any(dim=1, keepdim=True), is_antecedent], dim=1)
    scores = torch.cat([pairs.scores.new_zeros(len(clusters), 1), pairs.scores], dim=1)
    right = scores.masked_fill(~is_right, torch.finfo(scores.dtype).min)
    return (scores.logsumexp(dim=1) - right.logsumexp(dim=1)).sum()


def clusters_of_antecedents(
    spans: Sequence[Sequence[int]], mention_logits: Sequence[float], antecedents: Sequence[int], keep_singletons: bool
) -> list[list[tuple[int, int]]]:
    """Return the clusters that the spans of a row of [`ElmoCoreferenceOutput`] form with their antecedents, by their
    first mentions; with `keep_singletons` also those of one mention, if its score is above 0."""
    clusters: list[list[int]] = []
    cluster_of: dict[int, list[int]] = {}
    for number, antecedent in enumerate(antecedents):
        if spans[number][0] == NO_SPAN:
            break
        if antecedent not in cluster_of:
            clusters.append([])
        cluster_of[number] = cluster_of.get(antecedent, clusters[-1])
        cluster_of[number].append(number)
    kept = (own for own in clusters if len(own) > 1 or (keep_singletons and mention_logits[own[0]] > 0))
    return [[(int(spans[number][0]), int(spans[number][1])) for number in own] for own in kept]


def encode_document(
    tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str] | Sequence[Sequence[str]]
) -> tuple[list[list[int]], list[tuple[int, int] | None], list[list[str]]]:
    """Encode a document as one row, its sentences one after another; `ValueError` if there is none, or no `<S>`.

    Returns:
        Rows of character ids `(T, W)`; for each of the T words the number of its sentence and its place there, None for
        special tokens; and the words of each sentence.
    """
    if isinstance(sentences, str) or not len(sentences):
        raise ValueError("a document must be a list of its sentences, texts or lists of words, and have at least one")
    if not tokenizer.add_bos_token:
        raise ValueError("coreference finds sentences by their `<S>`: set the tokenizer's `add_bos_token` to True")
    is_split = not isinstance(sentences[0], str)
    texts = [list(words) if is_split else tokenizer.tokenize(words) for words in sentences]
    rows: list[list[int]] = []
    places: list[tuple[int, int] | None] = []
    for number, ids in enumerate(tokenizer(texts, is_split_into_words=True)["input_ids"]):
        count = len(texts[number])
        rows += ids
        places += [None, *((number, place) for place in range(count)), *[None] * (len(ids) - count - 1)]
    return rows, places, texts
