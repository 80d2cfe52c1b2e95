"""Labels of spans and of pairs of spans, against a loop over spans and words."""

import pytest
import torch
import toy_tasks
from shaken import shake
from torch.nn.functional import layer_norm

import hf_elmo

SENTENCES = [["Ada", "met", "Tom", "in", "Rome"], ["Eve", "left"]]
SPANS = torch.tensor([[[1, 1], [3, 5]], [[2, 5], [8, 9]], [[8, 8], [1, 1]]])  # places in the row, behind each <S>


def model_of(count: int, **options):
    torch.manual_seed(0)
    sizes = {"spans_per_label": count, "span_size": 6, "span_hidden_size": 7, "num_labels": 3}
    return shake(hf_elmo.ElmoForSpanClassification(toy_tasks.config(**sizes, **options)))


def document() -> torch.Tensor:
    """Both sentences in one row, `(T, W)`."""
    ids = toy_tasks.tokenizer()(SENTENCES, is_split_into_words=True)["input_ids"]
    return torch.tensor(ids[0] + ids[1])


def by_hand(model, spans) -> torch.Tensor:
    """Scores of one item, a span at a time, from vectors of each sentence alone."""
    vectors = []
    for words in SENTENCES:
        batch = toy_tasks.tokenizer()([words], is_split_into_words=True, return_tensors="pt")
        vectors.append(model.elmo(**batch).last_hidden_state[0])
    words, pooled = torch.cat(vectors), []
    for pool, (first, last) in zip(model.pooling, spans.tolist()):
        inside = [pool.projection(words[place]) for place in range(first, last + 1)]
        scores = torch.stack([vector @ pool.attention.score.weight[0] for vector in inside]).exp()
        pooled.append(sum(vector * score for vector, score in zip(inside, scores)) / scores.sum())
    hidden = torch.tanh(model.hidden(torch.cat(pooled)))
    normal = layer_norm(hidden, hidden.shape, model.normalization.weight, model.normalization.bias)
    return model.classifier(normal)


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 2])
def test_scores_are_those_of_each_span_by_itself(count, tmp_path):
    model, ids = model_of(count), document()
    spans = SPANS[:, :count]
    expected = torch.stack([by_hand(model, item) for item in spans])
    assert expected.std(dim=0).min() > 1e-3
    logits = model(ids[None], spans=spans[None]).logits
    torch.testing.assert_close(logits[0], expected, rtol=1e-4, atol=1e-5)
    assert len(list(model.pooling)) == count

    # A row with padding in front and behind, beside another, and from layers computed before
    row = torch.cat([torch.zeros_like(ids[:2]), ids, torch.zeros_like(ids[:1])])
    batch = torch.stack([row, torch.cat([ids, torch.zeros_like(ids[:3])])])
    moved = torch.stack([spans + 2, spans.flip(0)])
    inputs = {"input_ids": batch, "attention_mask": (batch[..., 0] != 0).long(), "spans": moved}
    for more in ({}, {"layers": model.compute_layers(batch, inputs["attention_mask"])}):
        found = model(**inputs, **more).logits
        torch.testing.assert_close(found, torch.stack([expected, expected.flip(0)]), rtol=1e-4, atol=1e-5)

    model.save_pretrained(tmp_path)
    again = hf_elmo.ElmoForSpanClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(again(ids[None], spans=spans[None]).logits, logits)


def test_losses_by_softmax_and_by_sigmoids():
    model, ids = model_of(2), document()
    inputs = {"input_ids": ids[None], "spans": SPANS[None]}
    logits = model(**inputs).logits[0]
    one = model(**inputs, labels=torch.tensor([[2, -100, 0]])).loss
    torch.testing.assert_close(one, -(logits.log_softmax(-1)[[0, 2], [2, 0]]).mean())
    several = torch.tensor([[[1.0, 0, 1], [0, 0, 0], [-100, -100, -100]]])
    probabilities = logits[:2].sigmoid()
    right = torch.where(several[0, :2] == 1, probabilities, 1 - probabilities)
    output = model(**inputs, labels=several)
    torch.testing.assert_close(output.loss, -right.log().mean())
    torch.testing.assert_close(model(**inputs, labels=several, num_items_in_batch=12).loss, output.loss / 2)
    output.loss.backward()
    assert model.elmo.scalar_mixes[0].weights.grad.abs().sum() > 0


@pytest.mark.parametrize("spans", [None, SPANS[None, :, :1], SPANS])
def test_spans_of_another_shape_are_refused(spans):
    with pytest.raises(ValueError, match=r"`spans` must be \(B, N, 2, 2\), first and last words, but are"):
        model_of(2)(document()[None], spans=spans)
