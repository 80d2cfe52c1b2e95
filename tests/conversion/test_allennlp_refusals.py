# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""What of AllenNLP's task models has no counterpart, or does not fit, is refused by name, in one line."""

import copy
import json

import pytest
import torch
from allennlp_archives import ELMO, HIDDEN, Shapes, namespaces, vocabulary_members, write_task

from hf_elmo.cli import main
from hf_elmo.conversion import convert

PREFIX = "text_field_embedder.token_embedder_elmo._elmo."
LABELS = ["O", "B-X", "I-X"]
WIDTH = HIDDEN + 4
MODEL = {
    "type": "crf_tagger",
    "label_encoding": "BIO",
    "text_field_embedder": {"token_embedders": {"elmo": ELMO, "tokens": {"type": "embedding", "embedding_dim": 4}}},
    "encoder": {"type": "lstm", "input_size": WIDTH, "hidden_size": 5},
    "feedforward": {"input_dim": 5, "num_layers": 1, "hidden_dims": 4, "activations": "relu"},
}
INDEXERS = {"elmo": {"type": "elmo_characters"}, "tokens": {"type": "single_id"}}


def tensors():
    shapes = Shapes().add("text_field_embedder.token_embedder_tokens.weight", 9, 4)
    shapes.torch_rnn("encoder._module", 4, WIDTH, 5).feedforward("_feedforward", 5, 4)
    shapes.linear("tag_projection_layer._module", 3, 4).add("crf.transitions", 3, 3)
    shapes["crf._constraint_mask"] = torch.ones(5, 5)
    return shapes.add("crf.start_transitions", 3).add("crf.end_transitions", 3)


def refusal(tmp_path, model=MODEL, indexers=INDEXERS, state=None, **options):
    """Convert an archive, and return the error, after checking its form and that nothing was written."""
    state = tensors() if state is None else state
    archive, _ = write_task(tmp_path / "model.tar.gz", model, indexers, state, namespaces(LABELS), PREFIX, **options)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared by the tests)
        convert(archive, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    text = str(caught.value)
    assert text.startswith(f"{archive}: ")
    assert "\n" not in text
    assert text.endswith("; --encoder-only converts its ELMo alone")
    return text


def changed(path, value):
    """Return the settings of the model with one of them changed; the path has dots."""
    model = copy.deepcopy(MODEL)
    *sections, last = path.split(".")
    section = model
    for name in sections:
        section = section[name]
    section[last] = value
    return model


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("type", "constituency_parser", "a constituency_parser has no counterpart: a head that scores spans and a"),
        ("type", "biaffine_parser", "a biaffine_parser has no counterpart: a head that scores arcs"),
        ("type", "language_model", "such as its bidirectional_language_model_transformer is missing"),
        ("encoder.type", "stacked_self_attention", "model.encoder.type is 'stacked_self_attention', which has no"),
        ("encoder.type", None, "model.encoder.type is missing; known are lstm, gru, rnn, augmented_lstm,"),
        ("encoder.hidden_size", 6, "encoder._module.weight_ih_l0 must be (24, 16) by config.json"),
        ("encoder.hidden_size", "5", "model.encoder.hidden_size must be int, but is '5'"),
        ("encoder.input_size", 9, "model.encoder.input_size is 9, but the vectors before it are 16 wide"),
        ("encoder.stateful", True, "model.encoder is stateful, which has no counterpart"),
        ("encoder.num_layers", 2, "lacks encoder.weight_ih_l1 (20, 5), which config.json asks for"),
        ("encoder.magic", 2, "model.encoder has settings that have no counterpart: magic"),
        ("magic", {}, "model has settings that have no counterpart: magic"),
        ("feedforward.activations", "maxmin", "model.feedforward.activations is 'maxmin', which has no counterpart"),
        ("feedforward.activations", ["relu", "relu"], "model.feedforward.activations must have 1 values"),
        ("feedforward.dropout", 1.5, "model.feedforward.dropout must be from 0 to below 1, but is 1.5"),
        ("feedforward", None, "tag_projection_layer._module.weight must be (3, 5) by config.json"),
        ("dropout", True, "model.dropout must be int or float, but is True"),
        ("label_namespace", "tags", "vocabulary/tags.txt: no such file in the archive"),
        ("label_namespace", "tokens", "tag_projection_layer._module.weight must be (9, 4) by config.json"),
        ("include_start_end_transitions", False, "config.json does not explain 2 tensors: crf.end_transitions (3,)"),
        ("text_field_embedder.type", "fancy", "model.text_field_embedder.type is 'fancy', which has no counterpart"),
        (
            "text_field_embedder.token_embedders.tokens.type",
            "pretrained_transformer",
            "token_embedders.tokens.type is 'pretrained_transformer', which has no counterpart; known are embedding",
        ),
        (
            "text_field_embedder.token_embedders.pos",
            {"embedding_dim": 4},
            "the embedder pos reads pos, but dataset_reader.token_indexers has elmo, tokens",
        ),
        (
            "text_field_embedder.token_embedders.tokens.embedding_dim",
            5,
            "token_embedder_tokens.weight must be (any, 5) by config.json and the other tensors, but is (9, 4)",
        ),
        (
            "text_field_embedder.token_embedders.elmo.projection_dim",
            3,
            "lacks text_field_embedder.token_embedder_elmo._p",
        ),
    ],
)
def test_settings(tmp_path, path, value, complaint):
    assert complaint in refusal(tmp_path, changed(path, value))


@pytest.mark.parametrize(
    ("indexer", "complaint"),
    [
        ({"type": "pos_tag"}, "token_indexers.tokens.type is 'pos_tag', which has no counterpart; known are single_id"),
        ({"end_tokens": ["@end@"]}, "token_indexers.tokens.end_tokens adds words to a text, which has no counterpart"),
        ({"feature_name": "tag_"}, "token_indexers.tokens reads tag_ of words, of which only the text is known here"),
        ({"use_lemma": True}, "token_indexers.tokens reads lemmas"),
        ({"namespace": "../labels"}, "'../labels' is no name of a namespace"),
        ({"namespace": "token_characters"}, "has 9 rows, but the namespace token_characters has 16 entries"),
    ],
)
def test_indexers(tmp_path, indexer, complaint):
    assert complaint in refusal(tmp_path, indexers={**INDEXERS, "tokens": indexer})


def test_every_tensor_is_accounted_for(tmp_path):
    state = tensors().add("mystery._module.weight", 2, 3)
    complaint = "config.json does not explain 1 tensors: mystery._module.weight (2, 3)"
    assert complaint in refusal(tmp_path, state=state)
    state = tensors()
    del state["crf.transitions"]
    assert "lacks crf.transitions (3, 3), which config.json asks for" in refusal(tmp_path, state=state)
    state = tensors()
    state["crf.transitions"][0, 0] = torch.nan
    assert "crf.transitions" in refusal(tmp_path, state=state)


def test_a_vocabulary_that_does_not_fit(tmp_path):
    more = vocabulary_members(namespaces([*LABELS, "B-Y"]))
    assert "must be (4, 4) by config.json" in refusal(tmp_path, members=more)
    without = {"vocabulary/tokens.txt": b"the\nbank\n"}
    assert "lacks @@UNKNOWN@@, which a padded namespace has" in refusal(tmp_path, members=without)
    latin = {"vocabulary/tokens.txt": "@@UNKNOWN@@\n\u00e9t\u00e9\n".encode("latin-1")}
    assert "not readable as a vocabulary in UTF-8" in refusal(tmp_path, members=latin)


def test_the_command_says_what_it_recognized_and_what_it_refuses(tmp_path, capsys):
    archive, _ = write_task(
        tmp_path / "model.tar.gz", MODEL, INDEXERS, tensors(), namespaces(LABELS), PREFIX, reader={"type": "conll2003"}
    )
    assert main(["convert", str(archive), str(tmp_path / "model")]) == 0
    output = capsys.readouterr()
    assert "its crf_tagger became ElmoForTokenClassification, 3 labels: O, B-X, I-X" in output.out
    assert "where the archive's reader (conll2003) takes words, or the tokens of spaCy" in output.err
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "| labels | `O`, `B-X`, `I-X` |" in card
    assert "It is a `crf_tagger` of AllenNLP" in card
    assert str(tmp_path) not in card

    assert main(["convert", str(archive), str(tmp_path / "alone"), "--encoder-only", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["task_model"] is None
    assert any(note.startswith("the crf_tagger around the ELMo is not carried over") for note in found["notes"])

    parser = changed("type", "constituency_parser")
    write_task(tmp_path / "parser.tar.gz", parser, INDEXERS, tensors(), namespaces(LABELS), PREFIX)
    assert main(["convert", str(tmp_path / "parser.tar.gz"), str(tmp_path / "parser")]) == 2
    assert "a constituency_parser has no counterpart" in capsys.readouterr().err
    assert not (tmp_path / "parser").exists()
