"""Token-embedding caches of bilm-tf: a model that reads words by them is the model that they were computed with."""

import json

import h5py
import numpy as np
import pytest
import torch
from numpy_bilm import all_layers, word_vector
from small_original import OPTIONS

from hf_elmo import ElmoModel, ElmoTokenizer
from hf_elmo.cli import main
from hf_elmo.conversion import convert
from hf_elmo.conversion.random_weights import random_weights, write_files

WORDS = ["<S>", "</S>", "<UNK>", "the", "bank", "\u00e9t\u00e9", "w" * 60]
TENSORS = random_weights(OPTIONS, seed=9)


@pytest.fixture(scope="module")
def characters(tmp_path_factory):
    """The converted model that reads characters, whose tokenizer gives the ids of the words."""
    folder = tmp_path_factory.mktemp("characters")
    write_files(folder / "original", OPTIONS, TENSORS)
    convert(folder / "original", folder / "model")
    return folder / "model"


@pytest.fixture
def folder(characters, tmp_path):
    """Weights, word list and cache, whose rows numpy computes in float64 from the weights."""
    write_files(tmp_path / "original", OPTIONS, TENSORS)
    (tmp_path / "original" / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS), encoding="utf-8")
    tokenizer = ElmoTokenizer.from_pretrained(characters)
    ids = np.array(tokenizer([WORDS], is_split_into_words=True, add_special_tokens=False)["input_ids"][0])
    ids[0], ids[1] = tokenizer("a")["input_ids"][0], tokenizer("a")["input_ids"][-1]
    write_cache(tmp_path / "original" / "cache.hdf5", np.stack([word_vector(TENSORS, OPTIONS, row) for row in ids]))
    return tmp_path / "original"


def write_cache(file, rows):
    with h5py.File(file, "w") as opened:
        opened["embedding"] = rows.astype(np.float32)


@torch.no_grad()
def layers(folder, words):
    model, tokenizer = (kind.from_pretrained(folder) for kind in (ElmoModel, ElmoTokenizer))
    batch = tokenizer([words], is_split_into_words=True, return_tensors="pt")
    return batch["input_ids"], torch.stack(model.eval()(**batch, output_hidden_states=True).hidden_states)[:, 0]


@pytest.mark.slow
def test_words_of_the_cache_have_the_vectors_of_the_character_model(folder, characters, tmp_path):
    notes = convert(folder, tmp_path / "model", embeddings=folder / "cache.hdf5").notes
    assert "cache.hdf5 agrees with the weights' character encoder, which it replaces, in 7 of 7 words" in notes[0]
    assert notes[1:] == [f"a word that is not among the 7 of {folder / 'vocab.txt'} is read as <UNK>"]
    sentence = ["the", "bank", "\u00e9t\u00e9", "w" * 60]
    ids, found = layers(tmp_path / "model", sentence)
    assert ids.tolist() == [[[1], [4], [5], [6], [7], [2]]]
    _, expected = layers(characters, sentence)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)
    options = {key: value for key, value in OPTIONS.items() if key != "char_cnn"}
    with h5py.File(folder / "cache.hdf5") as file:
        tensors = {**TENSORS, "embedding": file["embedding"][()]}
    witness = all_layers({name: array for name, array in tensors.items() if name != "char_embed"}, options, ids[0])
    torch.testing.assert_close(found.double(), torch.from_numpy(np.stack(witness)), rtol=0, atol=5e-6)


def test_other_words_are_read_as_unk_and_the_card_says_so(folder, tmp_path):
    convert(folder, tmp_path / "model", embeddings=folder / "cache.hdf5")
    (ids, one), (_, other) = (layers(tmp_path / "model", ["the", word]) for word in ("zebra", "<UNK>"))
    assert ids[0, 2].tolist() == [WORDS.index("<UNK>") + 1]
    assert torch.equal(one, other)
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "is read as <UNK>" in card
    assert "The model reads whole words" in card
    assert "cache.hdf5" in card


def test_a_cache_beside_weights_that_need_it_is_read(folder, tmp_path):
    """Weights of which only the LSTM is left, as bilm-tf needs with a cache."""
    with h5py.File(folder / "weights.hdf5", "a") as file:
        for name in [name for name in file if name.startswith(("char", "CNN"))]:
            del file[name]
    conversion = convert(folder, tmp_path / "model")
    assert "the weights have no character encoder that" in conversion.notes[0]
    assert (conversion.config.vocab_size, conversion.config.char_cnn_filters) == (8, [])
    assert set(conversion.files) == {"options.json", "weights.hdf5", "cache.hdf5"}
    convert(tmp_path / "model", tmp_path / "back", to="hdf5")
    with h5py.File(folder / "cache.hdf5") as before, h5py.File(tmp_path / "back" / "weights.hdf5") as after:
        assert np.array_equal(before["embedding"][()], after["embedding"][()])
    assert json.loads((tmp_path / "back" / "options.json").read_text())["n_tokens_vocab"] == 7


def test_a_cache_beside_a_character_encoder_is_not_needed(folder, tmp_path):
    conversion = convert(folder, tmp_path / "model")
    assert conversion.config.char_cnn_filters
    assert len(conversion.notes) == 1
    assert (
        "cache.hdf5, token embeddings of a word list, is not needed to read characters; left out"
        in (conversion.notes[0])
    )


def test_a_cache_without_words_is_read_but_not_compared(folder, tmp_path):
    (folder / "vocab.txt").unlink()
    first, second = convert(folder, tmp_path / "model", embeddings=folder / "cache.hdf5").notes
    assert "could not be compared with the weights' character encoder, as there is no word list" in first
    assert "give the list with --vocab" in second


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda rows: rows[::-1], "row 0 differs by"),
        (lambda rows: np.where(np.arange(7)[:, None] == 4, rows + 0.01, rows), "gives 'bank'; expected cache, word"),
        (lambda rows: rows[:5], "embedding must be (7, 6), by the words of"),
        (lambda rows: rows[:, :5], "embedding must be (7, 6), by the words of"),
        (lambda rows: rows * np.nan, "NaN or infinite numbers"),
        (lambda rows: rows[0], "expected token embeddings, one dataset embedding (words, width)"),
    ],
)
def test_rows_of_another_model_or_list_are_refused(folder, tmp_path, change, complaint):
    with h5py.File(folder / "cache.hdf5") as file:
        rows = file["embedding"][()]
    write_cache(tmp_path / "other.hdf5", change(rows))
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below)
        convert(folder, tmp_path / "model", embeddings=tmp_path / "other.hdf5")
    assert f"{tmp_path / 'other.hdf5'}: " in str(caught.value)
    assert complaint in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_the_command(folder, characters, tmp_path, capsys):
    cache, model = str(folder / "cache.hdf5"), str(tmp_path / "model")
    assert main(["convert", cache, model, "--options", str(folder / "options.json")]) == 2
    complaint = "token embeddings computed by a model, not the model; give its weights, and this file with --embeddings"
    assert complaint in capsys.readouterr().err
    assert main(["convert", str(characters), model, "--embeddings", cache, "--dtype", "int8"]) == 2
    assert "--embeddings goes with weights in bilm-tf hdf5, not safetensors" in capsys.readouterr().err
    assert main(["convert", str(folder), model, "--embeddings", cache]) == 0
    assert "note: " in capsys.readouterr().err
