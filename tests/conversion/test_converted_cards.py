# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The code on the card of every kind of converted model runs as it is printed, without the package."""

import json

import pytest
from allennlp_archives import ELMO, HIDDEN, Shapes, namespaces, write_task
from card_blocks import card_block, run_blocks
from pair_archives import decomposable_attention, esim, rnn

import hf_elmo
from hf_elmo.conversion import convert

pytestmark = pytest.mark.slow  # a process that opens all models

ARCHIVES = ("elmo_only", "ner_crf_bioul", "sentiment_classifier", "sst_bcn", "squad_bidaf")
FORMATS = ("bilm_small", "nlpl_small/model.zip", "elmoformanylangs_small", "tfhub_style", "bilm_checkpoint/checkpoint")
ROLES = ["O", "B-V", "I-V", "B-ARG0", "I-ARG0"]
TEXT = "I went to the river bank .".split()


def write_roles(path):
    shapes = Shapes(4).add("binary_feature_embedding.weight", 2, 3)
    shapes.highway_lstm("encoder._module.layer_0.cell", HIDDEN + 3, 5).linear("tag_projection_layer._module", 5, 5)
    model = {
        "type": "srl",
        "text_field_embedder": {"token_embedders": {"elmo": ELMO}},
        "encoder": {"type": "alternating_lstm", "input_size": HIDDEN + 3, "hidden_size": 5, "num_layers": 1},
        "binary_feature_dim": 3,
    }
    indexers, prefix = {"elmo": {"type": "elmo_characters"}}, "text_field_embedder.token_embedder_elmo._elmo."
    return write_task(path, model, indexers, shapes, namespaces(ROLES), prefix)[0]


def write_pairs(path, model, shapes):
    model["text_field_embedder"] = {"token_embedders": {"elmo": ELMO}}
    indexers, prefix = {"elmo": {"type": "elmo_characters"}}, "_text_field_embedder.token_embedder_elmo._elmo."
    return write_task(path, model, indexers, shapes, namespaces(["yes", "no"]), prefix)[0]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def results(home, fixtures_dir):
    """What the block of each card computes."""
    similarity = {"matrix_attention": {"type": "dot_product"}}
    (home / "sources").mkdir()
    sources = {name: fixtures_dir / "allennlp_archives" / name / "model.tar.gz" for name in ARCHIVES}
    sources |= {name.split("/")[0]: fixtures_dir / name for name in FORMATS}
    sources["roles"] = write_roles(home / "sources" / "roles.tar.gz")
    sources["esim"] = write_pairs(
        home / "sources" / "esim.tar.gz", *esim(HIDDEN, 2, rnn("lstm", HIDDEN, 3), similarity)
    )
    sources["decomposable"] = write_pairs(
        home / "sources" / "decomposable.tar.gz", *decomposable_attention(HIDDEN, 2, similarity)
    )
    for name, source in sources.items():
        convert(source, home / name)
    return run_blocks({name: card_block(home / name) for name in sources}, home)


def labels(home, name):
    config = json.loads((home / name / "config.json").read_text(encoding="utf-8"))
    return set(config["id2label"].values())


@pytest.mark.parametrize("name", [name.split("/")[0] for name in FORMATS])
def test_vectors(home, results, name):
    width = hf_elmo.ElmoConfig.from_pretrained(home / name).hidden_size
    assert results[name] == [2, len(TEXT) + 2, width]


@pytest.mark.parametrize("name", ["elmo_only", "ner_crf_bioul", "roles"])
def test_labels_of_words(home, results, name):
    assert len(results[name]) == len(TEXT) + 2
    assert set(results[name][1:-1]) <= labels(home, name)


def test_roles_are_those_of_the_predicate(home, results):
    """The card gives the second word as the predicate, as a call with the same token_type_ids does."""
    block = card_block(home / "roles")
    assert 'batch["token_type_ids"] = (batch["attention_mask"].cumsum(1) == 3).long()' in block
    model = hf_elmo.ElmoForTokenClassification.from_pretrained(home / "roles").eval()
    tokenizer = hf_elmo.ElmoTokenizer.from_pretrained(home / "roles")
    batch = tokenizer(TEXT, is_split_into_words=True, return_tensors="pt")
    batch["token_type_ids"] = batch["attention_mask"].new_tensor([[0, 0, 1, 0, 0, 0, 0, 0, 0]])
    found = [model.config.id2label[label] for label in model(**batch).logits.argmax(-1)[0].tolist()]
    assert results["roles"] == found


@pytest.mark.parametrize("name", ["sentiment_classifier", "sst_bcn", "esim", "decomposable"])
def test_labels_of_texts(home, results, name):
    assert results[name] in labels(home, name)


def test_answers(results):
    first, last, answer = results["squad_bidaf"]
    before = len("<S> Where did I go ? </S> <S>".split())
    assert before <= first <= last < before + len(TEXT)
    assert answer.replace(".", " .").split() == TEXT[first - before : last + 1 - before]
