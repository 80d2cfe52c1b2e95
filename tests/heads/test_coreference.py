"""Coreference: the end-to-end span model against its equations, word by word and pair by pair."""

import pytest
import torch
import toy_tasks
from shaken import shake
from torch.nn.functional import relu
from torch.testing import assert_close

import hf_elmo
from hf_elmo.model import coreference_elmo, lstm_elmo
from hf_elmo.model.coreference_elmo import (
    candidate_spans,
    clusters_of_antecedents,
    distance_buckets,
    encode_document,
    keep_best,
)

DOCUMENT = [["Ada", "met", "Max", "in", "Rome", "."], ["She", "saw", "him"], ["Eve", "and", "Tom", "left", "again"]]
MENTIONS = [[1, 1], [9, 9], [3, 3], [11, 11], [14, 16], [5, 5]]  # places in the row, with its special tokens
CLUSTERS = [0, 0, 1, 1, 2, 3]
OPTIONS = {
    "nearest antecedents": {"coref_coarse_to_fine": False, "coref_max_antecedents": 3},
    "coarse to fine": {"coref_max_antecedents": 3},
    "refined": {"coref_depth": 3, "coref_singletons": True},
}
EXACT = {"rtol": 1e-4, "atol": 1e-5}


def coreference_model(**options):
    torch.manual_seed(0)
    sizes = {"coref_size": 6, "coref_hidden_size": 7, "coref_feature_size": 5, "coref_max_width": 3}
    config = toy_tasks.config(word_vocab_size=0, **{**sizes, **options})
    return shake(hf_elmo.ElmoForCoreferenceResolution(config), scale=0.25).eval()


def encoded(document=DOCUMENT):
    return torch.tensor(encode_document(toy_tasks.tokenizer(), document)[0])[None]


def with_gold():
    return {"mention_spans": torch.tensor([MENTIONS]), "labels": torch.tensor([CLUSTERS])}


# ---- The plain model: every representation in full, one at a time


def whole(parts):
    """One linear layer out of its parts."""
    weight = torch.cat([part.weight for part in parts], dim=1)
    return lambda x: x @ weight.T + parts[0].bias


def score_of(score, first):
    return score.output(relu(score.hidden(relu(first)))).squeeze(-1)


def plain_words(model):
    words, context, sentences = [], [], []
    for number, sentence in enumerate(DOCUMENT):
        vectors = model.elmo(encoded([sentence])).last_hidden_state
        words += vectors[0]
        context += model.context(vectors, torch.ones(vectors.shape[:2], dtype=torch.bool))[0]
        sentences += [None, *[number] * len(sentence), None]
    return words, context, sentences


def plain_spans(model, words, context, sentences):
    rows = {}
    for first in range(len(words)):
        for last in range(first, min(first + model.config.coref_max_width, len(words))):
            if sentences[first] is not None and sentences[first] == sentences[last]:
                attention = torch.stack([model.spans.attention(context[n]) for n in range(first, last + 1)]).softmax(0)
                head = sum(weight * words[n] for weight, n in zip(attention, range(first, last + 1)))
                width = model.spans.width_embeddings.weight[last - first]
                rows[first, last] = torch.cat([context[first], context[last], head, width])
    return rows


def plain_pair_scores(model, g, mention):
    scorer, scores = model.antecedents, torch.full((len(g), len(g)), -torch.inf)
    for i in range(len(g)):
        for j in range(i):
            distance = scorer.distance_embeddings.weight[int(distance_buckets(torch.tensor(i - j)))]
            pair = whole(scorer.layers)(torch.cat([g[i], g[j], g[i] * g[j], distance]))
            scores[i, j] = score_of(scorer.score, pair) + mention[i] + mention[j]
            if scorer.coarse is not None:
                scores[i, j] += scorer.coarse(g[i]) @ g[j]
    return scores


def plain_candidates(model, g, mention):
    ranks = torch.full((len(g), len(g)), -torch.inf)
    for i in range(len(g)):
        for j in range(i):
            coarse = model.antecedents.coarse
            ranks[i, j] = j if coarse is None else coarse(g[i]) @ g[j] + mention[j]
    most = min(model.config.coref_max_antecedents, len(g))
    allowed = torch.zeros_like(ranks, dtype=torch.bool)
    return allowed.scatter(1, ranks.topk(most, dim=1).indices, True) & ranks.isfinite()


def plain_model(model):
    rows = plain_spans(model, *plain_words(model))
    places, g = list(rows), torch.stack(list(rows.values()))
    mention = score_of(model.spans.mention_score, whole(model.spans.mention_layers)(g))
    kept = []
    for n in mention.argsort(descending=True).tolist():
        first, last = places[n]
        crossing = [(a, b) for a, b in (places[k] for k in kept) if a < first <= b < last or first < a <= last < b]
        if not crossing and len(kept) < int(model.config.coref_span_ratio * sum(map(len, DOCUMENT))):
            kept.append(n)
    kept = sorted(kept)
    g, m = g[kept], mention[kept]
    allowed = plain_candidates(model, g, m)
    for turn in range(model.config.coref_depth):
        scores = torch.cat([torch.zeros(len(g), 1), plain_pair_scores(model, g, m).masked_fill(~allowed, -1e9)], 1)
        if turn + 1 < model.config.coref_depth:
            shares = scores.softmax(1)
            expected = torch.stack([row[0] * own + row[1:] @ g for row, own in zip(shares, g)])
            gate = model.antecedents.gate(torch.cat([g, expected], 1)).sigmoid()
            g = gate * g + (1 - gate) * expected
    cluster = {tuple(span): number for span, number in zip(MENTIONS, CLUSTERS)}
    loss = 0.0
    for i, n in enumerate(kept):
        right = [j + 1 for j in range(i) if allowed[i, j] and places[n] in cluster]
        right = [j for j in right if cluster.get(places[kept[j - 1]]) == cluster[places[n]]] or [0]
        loss = loss - scores[i].log_softmax(0)[right].logsumexp(0)
    if model.config.coref_singletons:
        for place, one in zip(places, mention):
            loss = loss - torch.nn.functional.logsigmoid(one if place in cluster else -one)
    return [places[n] for n in kept], m, scores.argmax(1) - 1, loss / len(MENTIONS)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_model_is_its_equations(options):
    model = coreference_model(**options)
    output = model(encoded(), **with_gold())
    spans, scores, antecedents, loss = plain_model(model)
    assert [tuple(span) for span in output.spans[0].tolist()] == spans
    assert_close(output.mention_logits[0], scores.detach(), **EXACT)
    assert output.antecedents[0].tolist() == antecedents.tolist()
    assert_close(output.loss, loss, **EXACT)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_blocks_change_neither_results_nor_gradients(options, monkeypatch):
    model = coreference_model(**options)

    def gradients():
        model.zero_grad()
        output = model(encoded(), **with_gold())
        output.loss.backward()
        return output, {name: weight.grad.clone() for name, weight in model.named_parameters()}

    (at_once, expected), sizes = gradients(), {"SPAN_BLOCK": 32, "PAIR_BLOCK": 2}
    for name, size in sizes.items():
        monkeypatch.setattr(coreference_elmo, name, size)
    monkeypatch.setattr(lstm_elmo, "BATCH_TOKENS", 1)
    in_blocks, found = gradients()
    assert_close(in_blocks.loss, at_once.loss, **EXACT)
    assert at_once.antecedents.equal(in_blocks.antecedents)
    for name, gradient in expected.items():
        assert gradient.abs().sum() > 0, name
        assert_close(found[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_a_document_depends_neither_on_padding_nor_on_others_nor_on_where_layers_come_from():
    model = coreference_model()
    long, short = encoded(), encoded([["Eve", "left"], ["She", "met", "Max"]])
    alone = model(short)
    for side in ("right", "left"):
        batch = torch.zeros(2, long.shape[1], long.shape[2], dtype=torch.long)
        shift = long.shape[1] - short.shape[1] if side == "left" else 0
        batch[0], batch[1, shift : shift + short.shape[1]] = long[0], short[0]
        for options in ({}, {"layers": model.compute_layers(batch)}):
            output = model(batch, **options)
            count = alone.spans.shape[1]
            assert_close(output.mention_logits[1, :count], alone.mention_logits[0], **EXACT)
            assert output.antecedents[1, :count].equal(alone.antecedents[0])
            assert output.spans[1, :count].equal(alone.spans[0] + shift)
            assert set(output.spans[1, count:].flatten().tolist()) <= {-100}


def test_each_sentence_is_read_by_itself():
    model = coreference_model()
    layers = model.compute_layers(encoded())[0]
    expected = [model.elmo(encoded([words]), output_hidden_states=True).hidden_states for words in DOCUMENT]
    assert_close(layers, torch.cat([torch.stack(one, dim=2)[0] for one in expected]), **EXACT)


def test_documents_without_words_or_mentions():
    for options in OPTIONS.values():
        model = coreference_model(**options)
        empty = model(torch.zeros(1, 4, 12, dtype=torch.long))
        assert empty.spans.shape == (1, 0, 2)
        output = model(encoded(), mention_spans=torch.zeros(1, 0, 2).long(), labels=torch.zeros(1, 0).long())
        output.loss.backward()
        assert output.loss.isfinite()


def test_wrong_inputs_are_named():
    model = coreference_model()
    with pytest.raises(ValueError, match=r"`mention_spans` must be \(1, 6, 2\), \(B, M, 2\), but is None"):
        model(encoded(), labels=torch.tensor([CLUSTERS]))
    with pytest.raises(ValueError, match="by their `<S>`: give `input_ids`"):
        model(inputs_embeds=torch.zeros(1, 2, 12, 8))
    with pytest.raises(ValueError, match="a document must be a list of its sentences"):
        model.find_clusters(toy_tasks.tokenizer(), "Ada left.")


# ---- Parts


def test_spans_stay_inside_of_sentences():
    sentences = torch.tensor([0, 0, 0, 0, 1, 1])
    inner = torch.tensor([False, True, True, False, False, True])
    assert candidate_spans(sentences, inner, 2).tolist() == [[1, 1], [1, 2], [2, 2], [5, 5]]
    assert candidate_spans(sentences[:0], inner[:0], 2).shape == (0, 2)


def test_kept_spans_may_nest_but_not_cross():
    spans = torch.tensor([[0, 3], [1, 2], [2, 5], [3, 3], [4, 5]])
    assert keep_best(spans, torch.tensor([3.0, 2.0, 2.5, 1.0, 0.5]), 4).tolist() == [0, 1, 3, 4]
    assert keep_best(spans, torch.tensor([3.0, 2.0, 5.0, 1.0, 0.5]), 4).tolist() == [2, 3, 4]
    assert keep_best(spans, torch.tensor([3.0, 2.0, 5.0, 1.0, 0.5]), 1).tolist() == [2]


def test_distances_are_in_nine_buckets():
    distances = torch.tensor([1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 63, 64, 1000])
    assert distance_buckets(distances).tolist() == [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8]


def test_antecedents_chain_into_clusters():
    spans = [[1, 1], [2, 3], [3, 3], [5, 5], [7, 8], [-100, -100]]
    antecedents, scores = [-1, -1, 0, 2, -1, -100], [-5.0, 1.0, -5.0, -5.0, -1.0, -100.0]
    linked = [(1, 1), (3, 3), (5, 5)]
    assert clusters_of_antecedents(spans, scores, antecedents, keep_singletons=False) == [linked]
    assert clusters_of_antecedents(spans, scores, antecedents, keep_singletons=True) == [linked, [(2, 3)]]


def test_clusters_are_found_in_texts_and_in_words():
    model, tokenizer = coreference_model(coref_singletons=True), toy_tasks.tokenizer()
    torch.nn.init.constant_(model.spans.mention_score.output.bias, 100.0)
    clusters = model.find_clusters(tokenizer, DOCUMENT)
    assert clusters == model.find_clusters(tokenizer, [" ".join(words) for words in DOCUMENT])
    mentions = [mention for cluster in clusters for mention in cluster]
    assert len(mentions) == int(0.4 * sum(map(len, DOCUMENT)))
    for mention in mentions:
        words = DOCUMENT[mention["sentence"]][mention["start"] : mention["end"]]
        assert mention["text"] == " ".join(words)
