# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Classifiers of AllenNLP in many configurations, against an independent computation from the same archive."""

import json

import pytest
import torch
from allennlp_archives import ELMO, HIDDEN, OPTIONS, SENTENCES, Shapes, namespaces, write_task
from allennlp_witness import Witness
from lanes import first_fast
from transformers import AutoTokenizer, pipeline

from hf_elmo import ElmoForSequenceClassification
from hf_elmo.conversion import convert

CLASSES = ["10", "2", "yes"]
INDEXERS = {"elmo": {"type": "elmo_characters"}, "tokens": {"type": "single_id"}}
EMBEDDERS = {"token_embedders": {"elmo": ELMO, "tokens": {"type": "embedding", "embedding_dim": 4}}}
WIDTH = HIDDEN + 4
PREFIX = "_text_field_embedder.token_embedder_elmo._elmo."
TABLE = "_text_field_embedder.token_embedder_tokens.weight"


def converted(tmp_path, model, tensors, prefix, mixes=1, **options):
    """Write an archive and convert it: the model, its tokenizer and the witness."""
    (tmp_path / "options.json").write_text(json.dumps(OPTIONS))
    vocabulary = namespaces(CLASSES)
    archive, config = write_task(
        tmp_path / "model.tar.gz", model, INDEXERS, tensors, vocabulary, prefix, mixes, **options
    )
    convert(archive, tmp_path / "model", options=tmp_path / "options.json")
    model = ElmoForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    return model, AutoTokenizer.from_pretrained(tmp_path / "model"), Witness(config, tensors, vocabulary)


def logits_and_mixes(model, tokenizer):
    """Return the logits of all sentences in one batch, and the mixes of each sentence."""
    batch = tokenizer(SENTENCES, is_split_into_words=True, padding=True, return_tensors="pt")
    with torch.no_grad():
        mixes = model.elmo(**batch).mixes
        logits = model(**batch).logits
    places = [(row, slice(1, len(words) + 1)) for row, words in enumerate(SENTENCES)]
    return logits, [[mix[row, place] for mix in mixes] for row, place in places]


POOLERS = {
    "cnn": (
        {"type": "cnn", "embedding_dim": WIDTH, "num_filters": 3, "output_dim": 5, "conv_layer_activation": "tanh"},
        lambda s: s.cnn("_seq2vec_encoder", WIDTH, 3, (2, 3, 4, 5), 5),
        5,
    ),
    "sum": ({"type": "boe", "embedding_dim": WIDTH}, lambda s: s, WIDTH),
    "mean": ({"type": "bag_of_embeddings", "embedding_dim": WIDTH, "averaged": True}, lambda s: s, WIDTH),
    "first word": ({"type": "cls_pooler", "embedding_dim": WIDTH}, lambda s: s, WIDTH),
    "last word": ({"type": "cls_pooler", "embedding_dim": WIDTH, "cls_is_last_token": True}, lambda s: s, WIDTH),
    "stacked": (
        {"type": "stacked_bidirectional_lstm", "input_size": WIDTH, "hidden_size": 3, "num_layers": 2},
        lambda s: [
            s.highway_lstm(f"_seq2vec_encoder._module.{side}_layer_{n}.cell", (WIDTH, 6)[n], 3, bias=False)
            for n in range(2)
            for side in ("forward", "backward")
        ],
        6,
    ),
    "lstm": (
        {"type": "lstm", "input_size": WIDTH, "hidden_size": 3, "num_layers": 2, "bidirectional": True},
        lambda s: s.torch_rnn("_seq2vec_encoder._module", 4, WIDTH, 3, layers=2, both=True),
        6,
    ),
    "gru": (
        {"type": "gru", "input_size": WIDTH, "hidden_size": 3},
        lambda s: s.torch_rnn("_seq2vec_encoder._module", 3, WIDTH, 3),
        3,
    ),
    "alternating": (
        {"type": "alternating_lstm", "input_size": WIDTH, "hidden_size": 3, "num_layers": 2},
        lambda s: [s.highway_lstm(f"_seq2vec_encoder._module.layer_{n}.cell", (WIDTH, 3)[n], 3) for n in range(2)],
        3,
    ),
}


@pytest.mark.parametrize("name", first_fast(POOLERS))
def test_poolers(tmp_path, name):
    settings, add, width = POOLERS[name]
    shapes = Shapes(7).add(TABLE, 9, 4)
    add(shapes)
    shapes.linear("_classification_layer", 3, width)
    model = {"type": "basic_classifier", "text_field_embedder": EMBEDDERS, "seq2vec_encoder": settings, "dropout": 0.1}
    model, tokenizer, witness = converted(tmp_path, model, shapes, PREFIX)
    logits, mixes = logits_and_mixes(model, tokenizer)
    expected = [witness.classify(words, *mix) for words, mix in zip(SENTENCES, mixes)]
    torch.testing.assert_close(logits, torch.stack(expected), rtol=1e-6, atol=5e-6)
    assert [*model.config.id2label.values()] == CLASSES
    assert (model.config.head_dropout, model.input_dropout.p) == (0.1, 0.0)


def test_an_encoder_and_a_feedforward_around_the_pooling(tmp_path):
    shapes = Shapes(8).add(TABLE, 9, 4).torch_rnn("_seq2seq_encoder._module", 4, WIDTH, 3, both=True)
    shapes.feedforward("_feedforward", 6, 4, 5).linear("_classification_layer", 3, 5)
    feedforward = {"input_dim": 6, "num_layers": 2, "hidden_dims": [4, 5], "activations": ["relu", "tanh"]}
    model = {
        "type": "basic_classifier",
        "text_field_embedder": EMBEDDERS,
        "seq2seq_encoder": {"type": "lstm", "input_size": WIDTH, "hidden_size": 3, "bidirectional": True},
        "seq2vec_encoder": {"type": "bag_of_embeddings", "embedding_dim": 6},
        "feedforward": feedforward,
    }
    reader = {"tokenizer": {"type": "letters_digits"}}
    model, tokenizer, witness = converted(tmp_path, model, shapes, PREFIX, reader=reader)
    logits, mixes = logits_and_mixes(model, tokenizer)
    expected = [witness.classify(words, *mix) for words, mix in zip(SENTENCES, mixes)]
    torch.testing.assert_close(logits, torch.stack(expected), rtol=0, atol=5e-6)

    text = "The river-bank was closed in 1984b."
    words = ["The", "river", "-", "bank", "was", "closed", "in", "1984", "b", "."]
    assert tokenizer.tokenize(text) == words
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer)
    batch = tokenizer([words], is_split_into_words=True, return_tensors="pt")
    best = int(model(**batch).logits.argmax())
    assert classify(text)[0]["label"] == CLASSES[best]


BCN = {
    "both": (True, True, True),
    "input": (True, False, True),
    "output": (False, True, True),
    "elmo": (True, False, False),
}


@pytest.mark.parametrize("name", first_fast(BCN))
def test_biattentive_classification_network(tmp_path, name):
    at_input, at_output, has_words = BCN[name]
    width = (4 if has_words else 0) + (HIDDEN if at_input else 0)
    shapes = Shapes(9).feedforward("_pre_encode_feedforward", width, 5)
    shapes.torch_rnn("_encoder._module", 4, 5, 3, both=True).torch_rnn("_integrator._module", 3, 18, 2, both=True)
    pooled = 4 + (HIDDEN if at_output else 0)
    shapes.linear("_self_attentive_pooling_projection", 1, pooled)
    maxout = name in ("both", "input")
    if maxout:
        shapes.linear("_output_layer._linear_layers.0", 4 * 2, 4 * pooled).linear(
            "_output_layer._linear_layers.1", 6, 4
        )
        output = {"num_layers": 2, "output_dims": [4, 3], "pool_sizes": 2, "dropout": [0.2, 0.0]}
    else:
        shapes.feedforward("_output_layer", 4 * pooled, 4, 3)
        output = {"num_layers": 2, "hidden_dims": [4, 3], "activations": ["relu", "linear"]}
    if has_words:
        shapes.add(TABLE, 9, 4)
    elmo = {"options_file": "o", "weight_file": "w", "num_output_representations": at_input + at_output}
    model = {
        "type": "bcn",
        "text_field_embedder": {
            "token_embedders": {"tokens": EMBEDDERS["token_embedders"]["tokens"]} if has_words else {}
        },
        "elmo": elmo,
        "use_input_elmo": at_input,
        "use_integrator_output_elmo": at_output,
        "embedding_dropout": 0.2,
        "pre_encode_feedforward": {"input_dim": width, "num_layers": 1, "hidden_dims": 5, "activations": "relu"},
        "encoder": {"type": "lstm", "input_size": 5, "hidden_size": 3, "bidirectional": True},
        "integrator": {"type": "gru", "input_size": 18, "hidden_size": 2, "bidirectional": True},
        "integrator_dropout": 0.1,
        "output_layer": {"input_dim": 4 * pooled, **output},
    }
    model, tokenizer, witness = converted(tmp_path, model, shapes, "_elmo.", mixes=at_input + at_output)
    logits, mixes = logits_and_mixes(model, tokenizer)
    expected = [witness.bcn(words, mix) for words, mix in zip(SENTENCES, mixes)]
    torch.testing.assert_close(logits, torch.stack(expected), rtol=1e-6, atol=1e-5)
    assert (model.config.num_mixes, model.input_dropout.p) == (at_input + at_output, 0.2)
    pair = tokenizer([SENTENCES[0]], [SENTENCES[1]], is_split_into_words=True, return_tensors="pt")
    with pytest.raises(ValueError, match="this model labels single texts, but row 0 has a pair"):
        model(**pair)
