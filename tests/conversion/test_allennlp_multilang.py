# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""AllenNLP's embedder of several languages: one of its ELMos, aligned, equals an independent computation."""

import json

import numpy as np
import pytest
import torch
from allennlp_archives import HIDDEN, Shapes, namespaces, vocabulary_members
from allennlp_weights import state_dict, write_archive
from numpy_bilm import all_layers
from small_original import OPTIONS

from hf_elmo import ElmoModel, ElmoTokenizer
from hf_elmo.cli import main
from hf_elmo.conversion import convert
from hf_elmo.conversion.random_weights import random_weights

PLACE = "text_field_embedder.token_embedder_elmo."
LANGUAGES = {"en": random_weights(OPTIONS, seed=11), "es": random_weights(OPTIONS, seed=12)}
MATRIX = np.random.default_rng(3).normal(size=(HIDDEN, HIDDEN)).astype(np.float32)
MATRICES = {"en": np.eye(HIDDEN, dtype=np.float32), "es": MATRIX}
MIX = (0.5, -1.0, 2.0, 1.5)
WORDS = ["El", "banco", "del", "r\u00edo"]


def tensors_of(languages, mix=MIX):
    """Return the embedder's state dict."""
    state = {}
    for language in languages:
        state |= state_dict(LANGUAGES[language], f"{PLACE}elmo_{language}.", [mix])
        state[f"{PLACE}aligning_{language}.weight"] = torch.from_numpy(MATRICES[language].copy())
    return state


def archive(folder, languages=("en", "es"), **settings):
    """Write a parser of several languages, with the options where AllenNLP 0.9 and before keeps them."""
    embedder = {
        "type": "elmo_token_embedder_multilang",
        "options_files": {language: f"https://x/{language}.json" for language in languages},
        "weight_files": {language: f"https://x/{language}.hdf5" for language in languages},
        "aligning_files": {"es": "https://x/es.pth"},
        **settings,
    }
    model = {"type": "biaffine_parser_multilang", "text_field_embedder": {"token_embedders": {"elmo": embedder}}}
    other = json.dumps(OPTIONS | {"lstm": OPTIONS["lstm"] | {"cell_clip": 0.1}}).encode()  # of the other language
    name = "fta/model.text_field_embedder.token_embedders.elmo.options_files"
    members = {f"{name}.{key}": other if key == "en" else json.dumps(OPTIONS).encode() for key in languages}
    state = tensors_of(languages) | {"arc_attention._bias": torch.ones(1)}
    return write_archive(folder / "model.tar.gz", state, {"model": model}, members)


def expected(language):
    """Return the aligned mix of the words in numpy."""
    ids = np.array(ElmoTokenizer()(WORDS, is_split_into_words=True)["input_ids"])
    *weights, gamma = MIX
    shares = np.exp(weights) / np.exp(weights).sum()
    mixed = gamma * np.einsum("l,ltd->td", shares, all_layers(LANGUAGES[language], OPTIONS, ids))
    return torch.from_numpy(mixed @ MATRICES[language].T.astype(np.float64))


@torch.no_grad()
def test_a_language_with_its_alignment(tmp_path):
    conversion = convert(archive(tmp_path), tmp_path / "model", part="es")
    assert conversion.config.aligned_layers == [0, 1, 2]
    notes = " ".join(conversion.notes)
    assert f"every layer, and so the mix, by {PLACE}aligning_es.weight" in notes
    assert "the biaffine_parser_multilang around the ELMo is not carried over" in notes
    model = ElmoModel.from_pretrained(tmp_path / "model").eval()
    batch = ElmoTokenizer.from_pretrained(tmp_path / "model")(WORDS, is_split_into_words=True, return_tensors="pt")
    mixed = model(**batch).last_hidden_state[0].double()
    torch.testing.assert_close(mixed, expected("es"), rtol=0, atol=5e-6)
    notes = convert(tmp_path / "model.tar.gz", tmp_path / "hdf5", part="es", to="hdf5").notes
    assert "the alignment to another language has no place in hdf5; left out" in notes
    with pytest.raises(ValueError, match="its layers are aligned already; leave out --alignment"):
        convert(tmp_path / "model.tar.gz", tmp_path / "twice", part="es", alignment=[tmp_path / "model.tar.gz"])


def test_the_language_that_others_are_aligned_to(tmp_path):
    conversion = convert(archive(tmp_path), tmp_path / "model", part=f"{PLACE}elmo_en")
    assert conversion.config.aligned_layers == []
    assert conversion.config.cell_clip == 0.1
    assert any("is the identity: other languages are aligned to this one" in note for note in conversion.notes)


def test_several_languages_ask_for_one(tmp_path, capsys):
    path = archive(tmp_path)
    assert main(["convert", str(path), str(tmp_path / "model")]) == 2
    message = capsys.readouterr().err
    assert f"holds 2 ELMos of different languages, {PLACE}elmo_en, {PLACE}elmo_es; choose one: --part en" in message
    assert main(["convert", str(path), str(tmp_path / "model"), "--part", "fr"]) == 2
    assert f"--part fr does not name one of its ELMos, which are {PLACE}elmo_en" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_what_an_alignment_cannot_be(tmp_path):
    path = archive(tmp_path, do_layer_norm=True)
    with pytest.raises(ValueError, match=r"aligns a mix of normalized layers \(do_layer_norm\), which has no counterp"):
        convert(path, tmp_path / "model", part="es")
    assert convert(path, tmp_path / "model", part="en").config.mix_layer_norm
    state = tensors_of(["es"]) | {f"{PLACE}aligning_es.weight": torch.ones(3, 3)}
    write_archive(tmp_path / "wrong.tar.gz", state, {"model": {"type": "x"}})
    with pytest.raises(ValueError, match=r"aligning_es.weight must be \(12, 12\) to fit the other tensors"):
        convert(tmp_path / "wrong.tar.gz", tmp_path / "wrong")


def test_a_task_model_over_one_language_is_refused_by_name(tmp_path):
    embedder = {"type": "elmo_token_embedder_multilang", "options_files": {"es": "o"}, "weight_files": {"es": "w"}}
    model = {
        "type": "simple_tagger",
        "text_field_embedder": {"token_embedders": {"elmo": embedder}},
        "encoder": {"type": "pass_through", "input_dim": HIDDEN},
    }
    config = {"model": model, "dataset_reader": {"token_indexers": {"elmo": {"type": "elmo_characters"}}}}
    state = tensors_of(["es"]) | Shapes().linear("tag_projection_layer._module", 2, HIDDEN)
    path = write_archive(tmp_path / "m.tar.gz", state, config, vocabulary_members(namespaces(["O", "X"])))
    with pytest.raises(
        ValueError, match=r"elmo\.type is 'elmo_token_embedder_multilang', which has no .*; --encoder-on"
    ):
        convert(path, tmp_path / "model")
    alone = convert(path, tmp_path / "model", encoder_only=True)
    assert alone.config.aligned_layers == [0, 1, 2]
