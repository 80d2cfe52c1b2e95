"""Attention and pooling: what they compute is what plain loops over one text's words compute."""

import math

import pytest
import torch
from lanes import first_fast
from shaken import shake

from hf_elmo.model.pooling_elmo import SelfAttentivePooling, attend, masked_max, masked_mean, masked_min, masked_softmax
from hf_elmo.model.task_layers_elmo import (
    BatchNormalization,
    BidirectionalAttention,
    SelfAttention,
    TrilinearSimilarity,
)

B, T, S, D = 6, 5, 4, 3
# Any pattern of words: all, gaps, padding on either side, one word, none
CONTEXTS = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1], [0] * 5])
QUESTIONS = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 1], [0, 0, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0]])


@pytest.fixture
def texts():
    """Random words of contexts and questions, and their masks, in double precision."""
    torch.manual_seed(0)
    context, question = (torch.randn(B, words, D, dtype=torch.float64, requires_grad=True) for words in (T, S))
    return context, question, CONTEXTS.bool(), QUESTIONS.bool()


def layer(kind, *arguments):
    return shake(kind(*arguments).double(), scale=1.0)


def of_words(function, mask, *shape):
    """What `function(b)` gives for each row, one vector a word, put where its mask has words."""
    whole = torch.zeros(*mask.shape, *shape, dtype=torch.float64)
    for b in range(len(mask)):
        if mask[b].any():
            whole[b, mask[b]] = torch.stack(function(b))
    return whole


def dot(*vectors):
    return sum(math.prod(factors) for factors in zip(*(vector.tolist() for vector in vectors)))


def softmax(scores):
    exponentials = [math.exp(score) for score in scores]
    return [exponential / sum(exponentials) for exponential in exponentials]


def weighted(weights, words):
    return sum((weight * word for weight, word in zip(weights, words)), torch.zeros(D, dtype=torch.float64))


def trilinear_by_hand(similarity, x, y):
    first, second = similarity.first.weight[0], similarity.second.weight[0]
    return dot(first, x) + dot(second, y) + dot(similarity.product.weight, x, y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_masked_softmax(dtype):
    torch.manual_seed(0)
    scores, mask = (10 * torch.randn(B, T)).to(dtype), CONTEXTS.bool()
    weights = masked_softmax(scores.masked_fill(~mask, torch.nan), mask)
    for row, score, here in zip(weights, scores, mask):
        torch.testing.assert_close(row[here], score[here].softmax(0))
        assert not row[~here].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("pool", "expected"),
    [(masked_mean, lambda x: x.mean(0)), (masked_max, lambda x: x.amax(0)), (masked_min, lambda x: x.amin(0))],
)
def test_pooling(texts, pool, expected, dtype):
    words, mask = texts[0].detach().to(dtype) - 5, texts[2]  # of one sign, so that a zero from outside would show
    for result, row, here in zip(pool(words, mask if pool is masked_mean else mask[..., None]), words, mask):
        torch.testing.assert_close(result, expected(row[here]) if here.any() else torch.zeros(D, dtype=dtype))


@torch.no_grad()
def test_self_attentive_pooling(texts):
    words, _, mask, _ = texts
    pool = layer(SelfAttentivePooling, D)
    for result, row, here in zip(pool(words, mask), words, mask):
        weights = softmax([dot(pool.score.weight[0], word) for word in row[here]])
        torch.testing.assert_close(result, weighted(weights, row[here]))


@torch.no_grad()
def test_attend(texts):
    context, question, context_mask, question_mask = texts
    result = attend(context @ question.transpose(1, 2), question, question_mask[:, None])

    def by_hand(b):
        others = question[b, question_mask[b]]
        return [
            weighted(softmax([dot(word, other) for other in others]), others) for word in context[b, context_mask[b]]
        ]

    torch.testing.assert_close(result[context_mask], of_words(by_hand, context_mask, D)[context_mask])


@torch.no_grad()
def test_trilinear(texts):
    context, question, *_ = texts
    similarity = layer(TrilinearSimilarity, D)
    expected = [[[trilinear_by_hand(similarity, x, y) for y in ys] for x in xs] for xs, ys in zip(context, question)]
    torch.testing.assert_close(similarity(context, question), torch.tensor(expected, dtype=torch.float64))


@torch.no_grad()
def test_bidirectional_attention(texts):
    context, question, context_mask, question_mask = texts
    attention = layer(BidirectionalAttention, D)
    result = attention(context, question, context_mask, question_mask)

    def by_hand(b):
        words, others = context[b, context_mask[b]], question[b, question_mask[b]]
        scores = [[trilinear_by_hand(attention.similarity, word, other) for other in others] for word in words]
        from_context = weighted(softmax([max(row) for row in scores]), words)
        from_question = [weighted(softmax(row), others) for row in scores]
        return [torch.cat([w, q, w * q, w * from_context]) for w, q in zip(words, from_question)]

    torch.testing.assert_close(result[context_mask], of_words(by_hand, context_mask, 4 * D)[context_mask])


@torch.no_grad()
def test_self_attention(texts):
    words, _, mask, _ = texts
    attention = layer(SelfAttention, D)

    def by_hand(b):
        here = words[b, mask[b]]
        vectors = []
        for i, word in enumerate(here):
            others = [other for j, other in enumerate(here) if j != i]
            scores = [trilinear_by_hand(attention.similarity, word, other) for other in others]
            *weights, _ = softmax([*scores, attention.nothing.weight.item()])
            found = weighted(weights, others)
            vectors.append(torch.cat([word, found, word * found]))
        return vectors

    torch.testing.assert_close(attention(words, mask)[mask], of_words(by_hand, mask, 3 * D)[mask])


def test_batch_normalization():
    """In training by the batch, unless it has one row; else by running averages."""
    torch.manual_seed(0)
    normalize = BatchNormalization(D).double()
    x = 3 + 2 * torch.randn(8, D, dtype=torch.float64)
    torch.testing.assert_close(normalize(x), (x - x.mean(0)) / (x.var(0, correction=0) + normalize.eps).sqrt())
    used = (x - 0.1 * x.mean(0)) / (0.9 + 0.1 * x.var(0) + normalize.eps).sqrt()
    torch.testing.assert_close(normalize(x[:1]), used[:1])
    torch.testing.assert_close(normalize.eval()(x), used)


def layers(context_mask, question_mask):
    """Each layer as a function of context and question."""
    pool, similarity = layer(SelfAttentivePooling, D), layer(TrilinearSimilarity, D)
    both_ways, itself = layer(BidirectionalAttention, D), layer(SelfAttention, D)
    return {
        "mean": lambda c, q: masked_mean(c, context_mask),
        "max": lambda c, q: masked_max(c, context_mask[..., None]),
        "min": lambda c, q: masked_min(c, context_mask[..., None]),
        "attentive pooling": lambda c, q: pool(c, context_mask),
        "attend": lambda c, q: attend(similarity(c, q), q, question_mask[:, None]),
        "bidirectional": lambda c, q: both_ways(c, q, context_mask, question_mask),
        "self": lambda c, q: itself(c, context_mask),
    }


NAMES = list(layers(None, None))


@pytest.mark.parametrize("name", first_fast(NAMES, NAMES.index("bidirectional")))
def test_gradients_equal_finite_differences(texts, name):
    context, question, *masks = texts
    assert torch.autograd.gradcheck(layers(*masks)[name], (context, question))


@pytest.mark.parametrize("name", NAMES)
def test_values_outside_of_a_mask_do_not_matter(texts, name):
    context, question, context_mask, question_mask = texts
    function = layers(context_mask, question_mask)[name]

    def results(c, q):
        output = function(c, q)
        output = output[context_mask] if output.shape[:2] == context_mask.shape else output
        return output, torch.autograd.grad(output.square().sum(), (context, question), allow_unused=True)

    expected, gradients = results(context, question)
    junk = [
        torch.where(mask[..., None], words, 1e3 * torch.randn_like(words))
        for words, mask in ((context, context_mask), (question, question_mask))
    ]
    actual, again = results(*junk)
    torch.testing.assert_close(actual, expected)
    for one, other, mask in zip(again, gradients, (context_mask, question_mask)):
        if one is not None:
            torch.testing.assert_close(one[mask], other[mask])
            assert not one[~mask].any()


@pytest.mark.parametrize("name", NAMES)
def test_texts_of_length_0(name):
    empty = torch.zeros(2, 0, D, dtype=torch.float64)
    result = layers(*[torch.zeros(2, 0, dtype=torch.bool)] * 2)[name](empty, empty)
    assert result.shape[0] == 2
    assert not result.any()
