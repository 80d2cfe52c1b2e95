# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Layers that a configuration describes: masks of any pattern, texts without words, and descriptions of none."""

import pytest
import torch
import toy_tasks
from torch.testing import assert_close

from hf_elmo import ElmoForTokenClassification
from hf_elmo.model.task_encoders_elmo import build_encoder, build_feedforward, build_pooler

LAYERS = {
    "gru": {"type": "gru", "size": 3, "layers": 2, "bidirectional": True},
    "rnn": {"type": "rnn", "size": 3},
    "augmented": {"type": "augmented_lstm", "size": 3, "reverse": True},
    "alternating": {"type": "alternating_lstm", "size": 3, "layers": 3},
    "stacked": {"type": "stacked_bidirectional_lstm", "size": 3, "layers": 2, "highway": False, "input_bias": False},
    "lstm": {"type": "lstm", "size": 3, "layers": 2},
    "feedforward": {"type": "feedforward", "sizes": [3], "activations": ["gelu"], "dropout": [0.1]},
    "compose": {"type": "compose", "encoders": [{"type": "pass_through"}, {"type": "gru", "size": 3}]},
}
POOLERS = {
    "cnn": {"type": "cnn", "filters": 2, "widths": [1, 2, 5], "activation": "tanh"},
    "old cnn": {"type": "cnn", "filters": 2, "widths": [2, 3], "counts_padding": True, "size": 4},
    "sum": {"type": "bag_of_embeddings"},
    "first": {"type": "first_word"},
    "last": {"type": "last_word"},
    "last state": {"type": "gru", "size": 3, "bidirectional": True},
}
MASK = torch.tensor([[0, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]]).bool()


def made(build, described):
    torch.manual_seed(0)
    layer = build(described, 4).eval()
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return layer


@pytest.mark.parametrize("name", LAYERS)
def test_encoders_read_only_the_words_of_a_mask(name):
    encoder, x = made(build_encoder, LAYERS[name]), torch.randn(4, 6, 4)
    x[~MASK] = torch.nan
    x.requires_grad_()
    outputs = encoder(x, MASK)
    assert outputs.shape == (4, 6, encoder.output_size)
    assert not outputs[~MASK].any()
    for row, places in enumerate(MASK[:3]):
        alone = encoder(x[row, places][None], torch.ones(1, int(places.sum()), dtype=torch.bool))[0]
        assert_close(outputs[row, places], alone, rtol=0, atol=1e-6)
    outputs.sum().backward()
    assert x.grad[MASK].any(dim=-1).all()
    if name != "feedforward":  # whose gradients of NaN are NaN, as a layer of each word by itself has them
        assert not x.grad[~MASK].any()


@pytest.mark.parametrize("name", POOLERS)
def test_poolers_read_only_the_words_of_a_mask(name):
    pooler, x = made(build_pooler, POOLERS[name]), torch.randn(4, 6, 4)
    pooled = pooler(x.masked_fill(~MASK[..., None], 7.0), MASK)
    assert pooled.shape == (4, pooler.output_size)
    for row, places in enumerate(MASK[:3]):
        alone = pooler(x[row, places][None], torch.ones(1, int(places.sum()), dtype=torch.bool))
        assert_close(pooled[row], alone[0], rtol=0, atol=1e-6)
    if name != "old cnn":
        assert not pooled[3].any()


@pytest.mark.parametrize(
    ("build", "described", "complaint"),
    [
        (build_encoder, {"type": "tcn"}, "must be one of lstm, gru, rnn, .*, but is 'tcn'"),
        (build_encoder, {}, "must be one of lstm, gru, rnn, .*, but is None"),
        (build_encoder, {"type": "lstm", "width": 3}, "a layer of the type 'lstm' cannot be made of .*width"),
        (build_encoder, {"type": "rnn", "size": 3, "activation": "x"}, "a layer of the type 'rnn' cannot be made of"),
        (build_pooler, {"type": "feedforward"}, "must be one of bag_of_embeddings, cnn"),
        (build_feedforward, {"type": "maxout", "sizes": [3]}, "a layer of the type 'maxout' cannot be made of"),
    ],
)
def test_descriptions_of_no_layer(build, described, complaint):
    with pytest.raises(ValueError, match=complaint):
        build(described, 4)


def test_recurrent_dropout_is_of_training_only():
    encoder = made(build_encoder, {"type": "alternating_lstm", "size": 3, "layers": 2, "recurrent_dropout": 0.5})
    x, mask = torch.randn(2, 5, 4), torch.ones(2, 5, dtype=torch.bool)
    assert torch.equal(encoder(x, mask), encoder(x, mask))
    encoder.train()
    assert not torch.equal(encoder(x, mask), encoder(x, mask))


def test_a_labeler_of_roles_decodes_by_logarithms_unless_told_otherwise():
    """Two words whose best sequences differ: probabilities .6 .4 and .55 .45 against a pair that BIO forbids."""
    names = ["O", "B-X", "I-X"]
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}
    options = {"tagger_crf": False, "tagger_layers": 0, "tagger_constraints": "labels", **labels}
    probabilities = torch.tensor([[[0.90, 0.09, 0.01], [0.01, 0.11, 0.88]]])
    chain = torch.ones(1, 2, dtype=torch.bool)
    found = []
    for sums in (False, True):
        model = ElmoForTokenClassification(toy_tasks.config(**options, tagger_sums_probabilities=sums))
        found.append(model.best_sequences(probabilities.log(), chain).argmax(-1)[0].tolist())
    # allowed: O B .0990 (sum 1.01), B I .0792 (sum .97), O O .009 (sum .91)
    assert found == [[0, 1], [0, 1]]
    probabilities = torch.tensor([[[0.80, 0.15, 0.05], [0.02, 0.12, 0.86]]])
    # allowed: O B .096 (sum .92), B I .129 (sum 1.01)
    assert model.best_sequences(probabilities.log(), chain).argmax(-1)[0].tolist() == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "described",
    [{"type": "gru", "size": 3, "bidirectional": True}, {"type": "alternating_lstm", "size": 3, "layers": 2}],
    ids=["gru", "alternating"],
)
def test_a_graph_holds_for_any_number_of_words(described):
    """Cells of one state and of two, each in both directions."""
    encoder, x = made(build_encoder, described), torch.randn(4, 6, 4)
    words = torch.export.Dim("words", min=2)
    shapes = {1: words}, {1: words}
    graph = torch.export.export(encoder, (x, MASK), dynamic_shapes=shapes, strict=True).module()
    longer, mask = torch.randn(4, 9, 4), torch.cat([MASK, MASK[:, :3]], dim=1)
    with torch.no_grad():
        assert_close(graph(longer, mask), encoder(longer, mask), rtol=0, atol=1e-6)
