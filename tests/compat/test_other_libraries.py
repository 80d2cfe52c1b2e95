"""The calls of simple_elmo and ELMoForManyLangs, against the originals' numbers and this package's own."""

import json

import numpy as np
import pytest
import torch
from lanes import first_fast
from many_langs_weights import write_model
from shaken import shake
from small_original import OPTIONS
from toy_tasks import WORDS
from toy_tasks import config as toy_config

from hf_elmo import ElmoForPreTraining, ElmoTokenizer
from hf_elmo import ElmoModel as Encoder
from hf_elmo.compat.elmoformanylangs import Embedder
from hf_elmo.compat.simple_elmo import ElmoModel
from hf_elmo.conversion import convert
from hf_elmo.conversion.random_weights import random_weights, write_files
from hf_elmo.scoring import substitutes

SENTENCES = [["The", "bank", "was", "closed", "."], ["Zürich"], ["a", "b"]]


def close(found: np.ndarray, wanted: np.ndarray, tolerance: float = 5e-6) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)


# ---- simple_elmo


@pytest.mark.parametrize(("source", "sizes"), first_fast([("model_dir", [4]), ("model.zip", [1, 4, 32])]), ids=str)
def test_simple_elmos_vectors(fixtures_dir, source, sizes):
    """Of words; what the original left at padding is not copied, and neither are the defects of its averages."""
    folder = fixtures_dir / "nlpl_small"
    expected = np.load(folder / "expected.npz")
    sentences = json.loads((folder / "sentences.json").read_text(encoding="utf-8"))
    sentences = sentences if isinstance(sentences, list) else sentences["sentences"]
    model = ElmoModel()
    for size in sizes:
        model.load(folder / source, max_batch_size=size)
        for layers in ("average", "top", "all"):
            for warmup in (True, False):
                name = f"batch{size}/{layers}/{'warmup' if warmup else 'nowarmup'}"
                found = model.get_elmo_vectors(sentences, warmup=warmup, layers=layers)
                wanted = expected[f"{name}/vectors"]
                assert found.shape == wanted.shape
                for own, theirs, words in zip(found, wanted, sentences):
                    close(own[..., : len(words), :], theirs[..., : len(words), :])
                    assert not own[..., len(words) :, :].any()
                if layers == "top" or (layers == "average" and size == 1):
                    means = model.get_elmo_vector_average(sentences, warmup=warmup, layers=layers)
                    close(means, expected[f"{name}/sentence_average"])


@torch.no_grad()
def test_the_usage_of_simple_elmo(tmp_path):
    """As its documentation has it, with the import changed."""
    write_files(tmp_path / "original", OPTIONS, random_weights(OPTIONS))
    model = ElmoModel()
    with pytest.raises(ValueError, match="call load"):
        model.get_elmo_vectors(SENTENCES)
    model.load(str(tmp_path / "original"))
    assert model.get_elmo_vectors(SENTENCES).shape == (3, 5, 12)
    assert model.get_elmo_vectors(SENTENCES, layers="all").shape == (3, 3, 5, 12)
    averaged = model.get_elmo_vector_average(SENTENCES)
    close(np.linalg.norm(averaged, axis=-1), np.ones(3))
    close(model.get_elmo_vector_average([[]]), np.zeros((1, 12)))
    assert model.get_elmo_vectors([]).shape[0] == 0
    convert(tmp_path / "original", tmp_path / "model")
    encoder, tokenizer = Encoder.from_pretrained(tmp_path / "model"), ElmoTokenizer.from_pretrained(tmp_path / "model")
    alone = encoder(**tokenizer([SENTENCES[1]], is_split_into_words=True, return_tensors="pt")).last_hidden_state
    stateless = ElmoModel(stateful=False)
    stateless.load(tmp_path / "model", max_batch_size=1)
    close(stateless.get_elmo_vectors(SENTENCES)[1, :1], alone[0, 1:-1].numpy())
    for wrong, message in (({"layers": "mix"}, "one of average, top, all"), ({"texts": ["a b"]}, "is a text: 'a b'")):
        with pytest.raises(ValueError, match=message):
            model.get_elmo_vectors(**{"texts": SENTENCES, **wrong})
    with pytest.raises(ValueError, match="has no softmax over words and vocabulary"):
        model.load(tmp_path / "original", full=True)
    with pytest.raises(ValueError, match="substitutes need the softmax"):
        model.get_elmo_substitutes(["a b"])


def test_simple_elmos_substitutes(tmp_path):
    vocabulary = ["<S>", "</S>", "<UNK>", *WORDS]
    (tmp_path / "words.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    language_model = shake(ElmoForPreTraining(toy_config(word_vocab_size=len(vocabulary))), scale=0.6)
    tokenizer = ElmoTokenizer(str(tmp_path / "words.txt"), max_characters_per_token=12)
    language_model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    model = ElmoModel()
    model.load(tmp_path / "model", full=True)
    ((first, _, third), (alone,)) = model.get_elmo_substitutes(["Ada met Tom", "Eve"], topn=4)
    assert (first["word"], third["word"], alone["word"]) == ("Ada", "Tom", "Eve")
    for direction in ("forward", "backward"):
        ((*candidates,),) = substitutes(language_model, tokenizer, "Ada met Tom", [2], 4, direction)
        found = third[direction]
        assert found["candidate_words"] == [word for word, _ in candidates]
        assert found["candidates"] == tokenizer.convert_words_to_labels(found["candidate_words"])
        assert found["logp"] == pytest.approx([chance for _, chance in candidates], rel=1e-5)


# ---- ELMoForManyLangs


def test_many_langs_vectors(fixtures_dir):
    folder = fixtures_dir / "elmoformanylangs_small"
    expected = np.load(folder / "expected.npz")
    calls = json.loads((folder / "sentences.json").read_text(encoding="utf-8"))
    for layer in (-1, -2, 0, 1, 2):
        embedder = Embedder(folder)
        for call, sentences in calls.items():
            for number, vectors in enumerate(embedder.sents2elmo(sentences, output_layer=layer)):
                close(vectors, expected[f"layer{layer}/{call}/sent{number}"])
    single = Embedder(folder, stateful=False)
    for call, sentences in calls.items():
        for number, vectors in enumerate(single.sents2elmo(sentences, -2)):
            close(vectors, expected[f"single/{call}/sent{number}"])


def test_the_usage_of_many_langs(tmp_path):
    """As its documentation has it, with the import changed."""
    e = Embedder(str(write_model(tmp_path / "original")))
    sents = [["the", "bank", "."], ["\u6c49", "\u6c49"]]
    vectors = e.sents2elmo(sents)
    assert [part.shape for part in vectors] == [(3, 12), (2, 12)]
    assert not np.allclose(e.sents2elmo(sents)[0], vectors[0])
    e.reset_states()
    close(e.sents2elmo(sents)[0], vectors[0])
    assert [part.shape for part in e.sents2elmo([*sents, []], output_layer=-2)] == [(3, 3, 12), (3, 2, 12), (3, 0, 12)]
    alone = Embedder(tmp_path / "original", batch_size=1, stateful=False)
    close(alone.sents2elmo(sents)[0], vectors[0])
    assert e.sents2elmo([]) == []
    with pytest.raises(ValueError, match=r"`output_layer` must be from -2 \(all\) to 2, but is 3"):
        e.sents2elmo(sents, 3)
    with pytest.raises(ValueError, match="is a text: 'the bank'"):
        e.sents2elmo(["the bank"])
