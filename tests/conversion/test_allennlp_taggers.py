# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Taggers of AllenNLP in many configurations, against an independent computation from the same archive."""

import json

import pytest
import torch
from allennlp_archives import ELMO, HIDDEN, OPTIONS, SENTENCES, Shapes, namespaces, write_task
from allennlp_witness import Witness, best_tags
from lanes import first_fast
from transformers import AutoTokenizer

from hf_elmo import ElmoForTokenClassification, ElmoModel
from hf_elmo.conversion import convert

TOLERANCE = {"rtol": 1e-5, "atol": 5e-6}  # processors add in different orders
PREFIX = "text_field_embedder.token_embedder_elmo._elmo."
BIO = ["O", "B-X", "I-X", "I-Y", "B-Y"]
INDEXERS = {
    "elmo": {"type": "elmo_characters"},
    "tokens": {"type": "single_id", "lowercase_tokens": True},
    "token_characters": {"type": "characters", "min_padding_length": 3},
}
WORDS = {"type": "embedding", "embedding_dim": 4}
CNN = {"type": "cnn", "embedding_dim": 3, "num_filters": 4, "ngram_filter_sizes": [2, 3]}
CHARACTERS = {"type": "character_encoding", "embedding": {"embedding_dim": 3}, "encoder": CNN}


def word_tensors(shapes, wrapper="._module"):
    place = "text_field_embedder.token_embedder_"
    shapes.add(f"{place}tokens.weight", 9, 4).add(f"{place}token_characters._embedding{wrapper}.weight", 17, 3)
    return shapes.cnn(f"{place}token_characters._encoder{wrapper}", 3, 4, [2, 3])


def embedders(**changed):
    return {"token_embedders": {"elmo": ELMO, "tokens": WORDS, "token_characters": CHARACTERS} | changed}


WIDTH = 4 + 8 + HIDDEN


def converted(tmp_path, options_file, *arguments, **options):
    """Write an archive and convert it: the conversion, the model, its tokenizer and the witness."""
    archive, config = write_task(tmp_path / "model.tar.gz", *arguments, PREFIX, **options)
    conversion = convert(archive, tmp_path / "model", options=options_file)
    model = ElmoForTokenClassification.from_pretrained(tmp_path / "model").eval()
    witness = Witness(config, arguments[2], arguments[3], old=options.get("members") is not None)
    return conversion, model, AutoTokenizer.from_pretrained(tmp_path / "model"), witness


@pytest.fixture(scope="session")
def options_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("options") / "options.json"
    path.write_text(json.dumps(OPTIONS))
    return path


def run(model, tokenizer, **inputs):
    """Return the output for all sentences in one batch, and ELMo's vectors of each sentence."""
    batch = tokenizer(SENTENCES, is_split_into_words=True, padding=True, return_tensors="pt")
    with torch.no_grad():
        output = model(**batch, **inputs)
        mix = model.elmo(**batch).last_hidden_state
    return output, [mix[row, 1 : len(words) + 1] for row, words in enumerate(SENTENCES)]


def assert_scores(witness, model, tokenizer):
    output, elmo = run(model, tokenizer)
    scores = output.logits if output.scores is None else output.scores
    for row, (words, vectors) in enumerate(zip(SENTENCES, elmo)):
        expected = witness.tag(words, vectors)
        torch.testing.assert_close(scores[row, 1 : len(words) + 1], expected, **TOLERANCE)
    return output


# ---- encoders


def encoder(kind, **settings):
    return {"type": kind, "input_size": WIDTH, "hidden_size": 5, **settings}


ENCODERS = {
    "lstm": (
        encoder("lstm", bidirectional=True, num_layers=2, dropout=0.3),
        lambda s: s.torch_rnn("encoder._module", 4, WIDTH, 5, layers=2, both=True),
        10,
    ),
    "lstm forward": (encoder("lstm"), lambda s: s.torch_rnn("encoder._module", 4, WIDTH, 5), 5),
    "lstm no bias": (
        encoder("lstm", bias=False),
        lambda s: s.torch_rnn("encoder._module", 4, WIDTH, 5, bias=False),
        5,
    ),
    "gru": (
        encoder("gru", bidirectional=True, num_layers=2),
        lambda s: s.torch_rnn("encoder._module", 3, WIDTH, 5, layers=2, both=True),
        10,
    ),
    "gru no bias": (
        encoder("gru", bias=False),
        lambda s: s.torch_rnn("encoder._module", 3, WIDTH, 5, bias=False),
        5,
    ),
    "rnn": (encoder("rnn", nonlinearity="relu"), lambda s: s.torch_rnn("encoder._module", 1, WIDTH, 5), 5),
    "alternating": (
        encoder("alternating_lstm", num_layers=3, recurrent_dropout_probability=0.1),
        lambda s: [s.highway_lstm(f"encoder._module.layer_{n}.cell", (WIDTH, 5, 5)[n], 5) for n in range(3)],
        5,
    ),
    "alternating of 0.9": (
        encoder("alternating_lstm", num_layers=2),
        lambda s: [s.highway_lstm(f"encoder._module.layer_{n}", (WIDTH, 5)[n], 5) for n in range(2)],
        5,
    ),
    "stacked": (
        encoder("stacked_bidirectional_lstm", num_layers=2, layer_dropout_probability=0.2),
        lambda s: [
            s.highway_lstm(f"encoder._module.{side}_layer_{n}.cell", (WIDTH, 10)[n], 5, bias=False)
            for n in range(2)
            for side in ("forward", "backward")
        ],
        10,
    ),
    "stacked without highway": (
        encoder("stacked_bidirectional_lstm", num_layers=1, use_highway=False),
        lambda s: [
            s.highway_lstm(f"encoder._module.{side}_layer_0.cell", WIDTH, 5, highway=False, bias=False)
            for side in ("forward", "backward")
        ],
        10,
    ),
    "augmented backward": (
        encoder("augmented_lstm", go_forward=False),
        lambda s: s.highway_lstm("encoder._module.cell", WIDTH, 5),
        5,
    ),
    "feedforward": (
        {
            "type": "feedforward",
            "feedforward": {"input_dim": WIDTH, "num_layers": 2, "hidden_dims": [6, 3], "activations": ["tanh", "elu"]},
        },
        lambda s: s.feedforward("encoder._feedforward", WIDTH, 6, 3),
        3,
    ),
    "compose": (
        {
            "type": "compose",
            "encoders": [{"type": "pass_through", "input_dim": WIDTH}, encoder("lstm", bidirectional=True)],
        },
        lambda s: s.torch_rnn("encoder.encoder1._module", 4, WIDTH, 5, both=True),
        10,
    ),
}


@pytest.mark.parametrize("name", first_fast(ENCODERS, 2))
def test_encoders(tmp_path, options_file, name):
    settings, add, width = ENCODERS[name]
    shapes = word_tensors(Shapes())
    add(shapes)
    shapes.linear("tag_projection_layer._module", 5, width)
    model = {"type": "simple_tagger", "text_field_embedder": embedders(), "encoder": settings}
    members = {"files_to_archive.json": b"{}", "meta.json": b"{}"} if "0.9" in name else None
    found = converted(tmp_path, options_file, model, INDEXERS, shapes, namespaces(BIO), members=members)
    _, model, tokenizer, witness = found
    assert_scores(witness, model, tokenizer)
    assert [*model.config.id2label.values()] == BIO


# ---- words


LSTM_OF_CHARACTERS = {"type": "lstm", "input_size": 3, "hidden_size": 2, "bidirectional": True}
EMBEDDERS = {
    "characters by an LSTM": (
        {"token_characters": {**CHARACTERS, "encoder": LSTM_OF_CHARACTERS}},
        {"token_characters": {"type": "characters", "character_tokenizer": {"lowercase_characters": True}}},
        lambda s, place: s.torch_rnn(f"{place}token_characters._encoder._module._module", 4, 3, 2, both=True),
        ["._encoder._module.conv"],
        4 + 4 + HIDDEN,
    ),
    "bytes between marks": (
        {},
        {
            "token_characters": {
                "type": "characters",
                "character_tokenizer": {"byte_encoding": "utf-8", "start_tokens": [259], "end_tokens": [260]},
            }
        },
        lambda s, place: s.add(f"{place}token_characters._embedding._module.weight", 262, 3),
        [],
        WIDTH,
    ),
    "characters between names": (
        {},
        {
            "token_characters": {
                "type": "characters",
                "character_tokenizer": {"start_tokens": ["T"], "end_tokens": ["E"]},
            }
        },
        lambda s, place: s,
        [],
        WIDTH,
    ),
    "projections": (
        {
            "elmo": {**ELMO, "projection_dim": 7},
            "tokens": {**WORDS, "projection_dim": 2, "max_norm": 0.9, "trainable": False},
        },
        {"tokens": {"type": "single_id"}},
        lambda s, place: s.linear(f"{place}elmo._projection", 7, HIDDEN).linear(f"{place}tokens._projection", 2, 4),
        [],
        2 + 8 + 7,
    ),
    "convolutions are projected": (
        {"token_characters": {**CHARACTERS, "encoder": {**CNN, "output_dim": 3, "conv_layer_activation": "tanh"}}},
        {},
        lambda s, place: s.linear(f"{place}token_characters._encoder._module.projection_layer", 3, 8),
        [],
        4 + 3 + HIDDEN,
    ),
}


@pytest.mark.parametrize("name", first_fast(EMBEDDERS, 2))
def test_embedders(tmp_path, options_file, name):
    changed, indexers, add, dropped, width = EMBEDDERS[name]
    shapes = word_tensors(Shapes())
    for key in [key for key in shapes if any(part in key for part in dropped)]:
        del shapes[key]
    add(shapes, "text_field_embedder.token_embedder_")
    shapes.linear("tag_projection_layer._module", 5, width)
    model = {
        "type": "simple_tagger",
        "text_field_embedder": embedders(**changed),
        "encoder": {"type": "pass_through", "input_dim": width},
    }
    _, model, tokenizer, witness = converted(
        tmp_path, options_file, model, INDEXERS | indexers, shapes, namespaces(BIO)
    )
    assert_scores(witness, model, tokenizer)


def test_the_layout_before_token_embedders(tmp_path, options_file):
    """Embedders stood in the section itself, a map named their indexers, and convolutions read padding too."""
    shapes = word_tensors(Shapes(), wrapper="").linear("tag_projection_layer._module", 5, WIDTH)
    new = {"type": "simple_tagger", "text_field_embedder": embedders(), "encoder": {"type": "pass_through"}}
    old = {**new, "text_field_embedder": {**embedders()["token_embedders"], "allow_unmatched_keys": True}}
    old["text_field_embedder"]["embedder_to_indexer_map"] = {"elmo": ["e"], "tokens": ["t"], "token_characters": ["c"]}
    indexers = {"e": INDEXERS["elmo"], "t": INDEXERS["tokens"], "c": INDEXERS["token_characters"]}
    members = {"files_to_archive.json": b"{}", "meta.json": b"{}"}
    arguments = old, indexers, shapes, namespaces(BIO)
    _, model, tokenizer, _ = converted(tmp_path, options_file, *arguments, members=members)
    config = {"model": new, "dataset_reader": {"token_indexers": INDEXERS}}
    assert_scores(Witness(config, shapes, namespaces(BIO), old=True), model, tokenizer)


# ---- sequences of tags


def crf_archive(constraint, ends=True, labels=BIO, **settings):
    """Return the settings and tensors of a tagger over ELMo alone, with a function of what may follow what."""
    shapes = Shapes(3).linear("tag_projection_layer._module", len(labels), 4)
    shapes.feedforward("_feedforward", HIDDEN, 4).add("crf.transitions", len(labels), len(labels), scale=2)
    mask = torch.ones(len(labels) + 2, len(labels) + 2)
    for before, name in [(None, "START"), *enumerate(labels)]:
        for after, following in [(None, "END"), *enumerate(labels)]:
            row, column = (len(labels) if before is None else before), (len(labels) + 1 if after is None else after)
            mask[row, column] = constraint(name, following)
    shapes["crf._constraint_mask"] = mask
    if ends:
        shapes.add("crf.start_transitions", len(labels)).add("crf.end_transitions", len(labels))
    feedforward = {"input_dim": HIDDEN, "num_layers": 1, "hidden_dims": 4, "activations": "leaky_relu", "dropout": 0.1}
    model = {
        "type": "crf_tagger",
        "text_field_embedder": {"token_embedders": {"elmo": ELMO}},
        "encoder": {"type": "pass_through", "input_dim": HIDDEN},
        "feedforward": feedforward,
        "dropout": 0.25,
        "include_start_end_transitions": ends,
        **settings,
    }
    return model, {"elmo": {"type": "elmo_characters"}}, shapes, namespaces(labels)


def anything(before, after):
    return True


def bio(before, after):
    return not after.startswith("I") or (before[0] in "BI" and before[1:] == after[1:])


def iob1(before, after):
    return not after.startswith("B") or before[1:] == after[1:]


def odd(before, after):
    return (before, after) not in (("START", "O"), ("O", "O"), ("B-X", "END"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("constraint", "ends", "expected"),
    first_fast(
        [
            (bio, True, "labels"),
            (odd, True, "stored"),
            (anything, True, "none"),
            (bio, False, "labels"),
            (iob1, False, "stored"),
        ],
        2,
    ),
)
def test_constraints_of_a_conditional_random_field(tmp_path, options_file, constraint, ends, expected):
    found = crf_archive(constraint, ends, label_encoding="BIO")
    _, model, tokenizer, witness = converted(tmp_path, options_file, *found)
    output = assert_scores(witness, model, tokenizer)
    assert model.config.tagger_constraints == expected
    assert model.config.head_dropout == 0.25
    weights = [witness.state.get(f"crf.{name}") for name in ("transitions", "start_transitions", "end_transitions")]

    def allowed(before, after):
        return constraint("START" if before is None else BIO[before], "END" if after is None else BIO[after])

    for row, words in enumerate(SENTENCES):
        places = slice(1, len(words) + 1)
        best = best_tags(output.scores[row, places], allowed, *weights)
        assert output.logits[row, places].argmax(-1).tolist() == best


def test_labels_of_a_padded_namespace(tmp_path, options_file):
    labels = ["@@PADDING@@", "@@UNKNOWN@@", "x", "y"]
    model, indexers, shapes, _ = crf_archive(anything, labels=labels, label_namespace="pos")
    vocabulary = {"pos": labels}
    _, model, tokenizer, witness = converted(tmp_path, options_file, model, indexers, shapes, vocabulary)
    assert [*model.config.id2label.values()] == labels
    assert_scores(witness, model, tokenizer)


# ---- semantic roles


def srl_archive(labels):
    shapes = Shapes(4).add("binary_feature_embedding.weight", 2, 3)
    for layer, width in enumerate((HIDDEN + 3, 5)):
        shapes.highway_lstm(f"encoder._module.layer_{layer}.cell", width, 5)
    shapes.linear("tag_projection_layer._module", len(labels), 5)
    model = {
        "type": "srl",
        "text_field_embedder": {"token_embedders": {"elmo": ELMO}},
        "initializer": [["tag_projection_layer.*weight", {"type": "orthogonal"}]],
        "encoder": {"type": "alternating_lstm", "input_size": HIDDEN + 3, "hidden_size": 5, "num_layers": 2},
        "binary_feature_dim": 3,
        "embedding_dropout": 0.1,
    }
    return model, {"elmo": {"type": "elmo_characters"}}, shapes, namespaces(labels)


def test_semantic_roles(tmp_path, options_file):
    labels = ["O", "I-ARG0", "B-V", "B-ARG0", "I-V"]
    conversion, model, tokenizer, witness = converted(tmp_path, options_file, *srl_archive(labels))
    assert any("token_type_ids" in note for note in conversion.notes)
    predicates = torch.tensor([[0, 0, 0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0], [0] * 8])
    output, elmo = run(model, tokenizer, token_type_ids=predicates)

    def allowed(before, after):
        if after is None or not labels[after].startswith("I"):
            return True
        return before is not None and labels[before] in (labels[after], "B" + labels[after][1:])

    for row, (words, vectors) in enumerate(zip(SENTENCES, elmo)):
        places = slice(1, len(words) + 1)
        expected = witness.tag(words, vectors, predicates[row, places].tolist())
        torch.testing.assert_close(output.scores[row, places], expected, **TOLERANCE)
        best = best_tags(torch.softmax(expected, dim=-1), allowed)
        assert output.logits[row, places].argmax(-1).tolist() == best


def test_semantic_roles_ask_for_the_predicate(tmp_path, options_file):
    _, model, tokenizer, _ = converted(tmp_path, options_file, *srl_archive(["O", "B-V"]))
    with pytest.raises(ValueError, match=r"`token_type_ids` .* = \(3, 8\) must be 1 at the words of the predicate"):
        run(model, tokenizer)
    with pytest.raises(ValueError, match=r"must be 1 at the words of the predicate and 0 elsewhere$"):
        run(model, tokenizer, token_type_ids=torch.full((3, 8), 2))


def test_the_encoder_alone(tmp_path, options_file):
    archive, _ = write_task(tmp_path / "model.tar.gz", *srl_archive(["O", "B-V"]), PREFIX)
    conversion = convert(archive, tmp_path / "model", options=options_file, encoder_only=True)
    assert any("the srl around the ELMo is not carried over" in note for note in conversion.notes)
    assert ElmoModel.from_pretrained(tmp_path / "model").config.architectures == ["ElmoModel"]
