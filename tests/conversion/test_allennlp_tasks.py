# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Task models out of AllenNLP's archives: outputs, labels and tags of the original software, recorded in fixtures."""

import json

import numpy as np
import pytest
import torch
from lanes import first_fast
from transformers import AutoTokenizer, pipeline

import hf_elmo
from hf_elmo.conversion import convert

TOLERANCE = {"rtol": 0, "atol": 2e-5}
TAGGERS = ("elmo_only", "ner_crf_bioul")
CLASSIFIERS = ("sentiment_classifier", "sst_bcn")


@pytest.fixture(scope="module")
def converted(fixtures_dir, tmp_path_factory):
    """Return a function from the name of a fixture to its converted folder."""
    folder = tmp_path_factory.mktemp("converted")

    def convert_once(name):
        if not (folder / name).exists():
            convert(fixtures_dir / "allennlp_archives" / name / "model.tar.gz", folder / name)
        return folder / name

    return convert_once


def opened(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model = getattr(hf_elmo, config["architectures"][0]).from_pretrained(folder)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def recorded(fixtures_dir, name):
    """Yield the words of each recorded batch, its arrays by name, and what is expected of each instance."""
    folder = fixtures_dir / "allennlp_archives" / name
    batches = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))["batches"]
    results = json.loads((folder / "expected.json").read_text(encoding="utf-8"))["results"]["stateless"]
    with np.load(folder / "expected.npz") as arrays:
        for number, (batch, expected) in enumerate(zip(batches, results, strict=True)):
            start = f"stateless/batch{number}/"
            found = {key[len(start) :]: torch.from_numpy(arrays[key]) for key in arrays if key.startswith(start)}
            indices = {key: arrays[key] for key in arrays if key.startswith(f"inputs/batch{number}/")}
            yield [instance["tokens"] for instance in batch], found, expected, indices


@pytest.mark.parametrize("name", first_fast(TAGGERS))
def test_taggers_give_the_recorded_scores_and_tags(fixtures_dir, converted, name):
    model, tokenizer = opened(converted(name))
    for words, arrays, expected, _ in recorded(fixtures_dir, name):
        batch = tokenizer(words, is_split_into_words=True, padding=True, return_tensors="pt")
        with torch.no_grad():
            output = model(**batch)
        scores = output.logits if output.scores is None else output.scores
        for row, (sentence, result) in enumerate(zip(words, expected, strict=True)):
            places = slice(1, len(sentence) + 1)
            torch.testing.assert_close(scores[row, places], arrays["logits"][row, : len(sentence)], **TOLERANCE)
            best = output.logits[row, places].argmax(-1).tolist()
            assert [model.config.id2label[label] for label in best] == result["tags"]


@pytest.mark.parametrize("name", first_fast(CLASSIFIERS))
def test_classifiers_give_the_recorded_scores_and_labels(fixtures_dir, converted, name):
    model, tokenizer = opened(converted(name))
    for words, arrays, expected, _ in recorded(fixtures_dir, name):
        batch = tokenizer(words, is_split_into_words=True, padding=True, return_tensors="pt")
        with torch.no_grad():
            logits = model(**batch).logits
        torch.testing.assert_close(logits, arrays["logits"], **TOLERANCE)
        labels = [model.config.id2label[label] for label in logits.argmax(-1).tolist()]
        assert labels == [result["label"] for result in expected]


@pytest.mark.parametrize("name", ["ner_crf_bioul", "sentiment_classifier", "sst_bcn"])
def test_rows_hold_the_recorded_ids(fixtures_dir, converted, name):
    """ELMo's characters, then ids of words and of characters, whole words of more than 48 bytes too."""
    tokenizer = AutoTokenizer.from_pretrained(converted(name))
    order = sorted({"token_characters", "tokens"} if name == "ner_crf_bioul" else {"tokens"})
    for words, _, _, indices in recorded(fixtures_dir, name):
        ids = tokenizer(words, is_split_into_words=True, padding=True, return_tensors="np")["input_ids"]
        for row, sentence in enumerate(words):
            places, here = slice(1, len(sentence) + 1), slice(0, len(sentence))
            by_name = {key.split("/")[-1]: array[row, here] for key, array in indices.items()}
            assert np.array_equal(ids[row, places, :50], by_name["elmo"])
            column = 50
            for feature in order:
                expected = by_name[feature].reshape(len(sentence), -1)
                width = 128 if feature == "token_characters" else 1
                padded = np.pad(expected, ((0, 0), (0, width - expected.shape[1])))
                assert np.array_equal(ids[row, places, column : column + width], padded)
                column += width
            assert column == ids.shape[2]


def test_the_pipeline_gives_the_tags_of_the_archive(fixtures_dir, converted):
    folder = converted("ner_crf_bioul")
    tagger = pipeline("ner", model=str(folder))
    for words, _, expected, _ in recorded(fixtures_dir, "ner_crf_bioul"):
        for sentence, result in zip(words, expected, strict=True):
            found = tagger([sentence], is_split_into_words=True, ignore_labels=[])[0]
            assert [word["entity"] for word in found] == result["tags"]


def test_the_pipeline_gives_the_tags_of_raw_text(fixtures_dir, converted):
    """Where the archive's reader took the same words; that it need not, the card says."""
    folder = converted("ner_crf_bioul")
    tagger, same = pipeline("ner", model=str(folder)), 0
    for words, _, expected, _ in recorded(fixtures_dir, "ner_crf_bioul"):
        for sentence, result in zip(words, expected, strict=True):
            text = " ".join(sentence)
            if tagger.tokenizer.tokenize(text) == sentence:
                found = tagger(text, ignore_labels=[])
                assert [word["entity"] for word in found] == result["tags"]
                same += 1
    assert same >= 8
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "Raw text is split like the Penn Treebank, where the archive's reader (" in card
    assert "give words with is_split_into_words=True where the difference counts." in card
    assert json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))["split"] == "treebank"


@pytest.mark.parametrize("name", first_fast(["ner_crf_bioul", "sst_bcn"]))
def test_a_converted_model_round_trips(tmp_path, converted, name):
    model, tokenizer = opened(converted(name))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, same_tokenizer = opened(tmp_path)
    words = [["Warren", "Beatty", "visited", "New", "Zealand"], ["\u00c9t\u00e9", "x" * 200]]
    options = {"is_split_into_words": True, "padding": True, "return_tensors": "pt"}
    batch, same = tokenizer(words, **options), same_tokenizer(words, **options)
    assert torch.equal(batch["input_ids"], same["input_ids"])
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, again(**same).logits)
