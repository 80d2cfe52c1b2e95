# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Models of the NLPL repository: the model card from meta.json, and the choice between hdf5 and checkpoint."""

import gzip
import json
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from checkpoint_writer import lay_out, write
from lanes import first_fast
from small_original import OPTIONS

from hf_elmo import ElmoModel, ElmoTokenizer
from hf_elmo.conversion import convert
from hf_elmo.conversion.nlpl import card_facts
from hf_elmo.conversion.random_weights import random_weights, write_files

WORDS = ["<S>", "</S>", "<UNK>", "bank"]
META = {
    "id": 210,
    "handle": "http://vectors.nlpl.eu/repository/11/210.zip",
    "creators": [{"name": "A. Author", "email": "a@b.no"}],
    "license": "https://creativecommons.org/licenses/by/4.0/",
    "algorithm": {"id": 8, "name": "Embeddings from Language Models (ELMo)"},
    "corpus": [
        {
            "description": "Norwegian Wikipedia",
            "language": "nor",
            "tokens": 160_000_000,
            "tool": "UDPipe",
            "lemmatized": True,
            "case preserved": True,
        }
    ],
}


def nlpl_folder(folder, meta=META):
    write_files(folder, OPTIONS, random_weights(OPTIONS), "model.hdf5")
    (folder / "meta.json").write_text(meta if isinstance(meta, str) else json.dumps(meta), encoding="utf-8")
    with gzip.open(folder / "vocab.txt.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(WORDS) + "\n")
    return folder


def add_checkpoint(folder, words=4):
    """Add a checkpoint of other weights, with a softmax."""
    variables = {}
    for name, array in random_weights(OPTIONS, seed=9, words=words).items():
        for theirs, ours in (("/W_0", "/kernel"), ("/B", "/bias"), ("/W_P_0", "/projection/kernel")):
            name = name.replace(theirs, ours) if name.startswith("RNN") else name
        variables[f"lm/{name}"] = array
    write(folder, *lay_out(variables))


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_the_card_says_what_the_repository_records(tmp_path, form):
    source = nlpl_folder(tmp_path / "210")
    if form == "zip":
        with zipfile.ZipFile(tmp_path / "210.zip", "w") as file:
            for path in source.iterdir():
                file.write(path, path.name)
        source = tmp_path / "210.zip"
    conversion = convert(source, tmp_path / "model")
    assert conversion.format == "NLPL model, bilm-tf hdf5"
    assert conversion.notes == ["the model was trained on lemmas and needs lemmas as input"]
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    for text in ("language: 'no'", "license: cc-by-4.0", "corpus: Norwegian Wikipedia", "tokens: 160000000"):
        assert text in card
    assert "By UDPipe" in card
    assert "authors: name A. Author" in card
    assert "needs lemmas as input" in card
    assert ElmoTokenizer.from_pretrained(tmp_path / "model").word_vocab == WORDS


def test_options_of_the_command_win_over_the_repository(tmp_path):
    convert(nlpl_folder(tmp_path / "210"), tmp_path / "model", license="mit", language="nb")
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "license: mit" in card
    assert "language: nb" in card


@pytest.mark.parametrize("prefer", [None, "hdf5", "checkpoint"])
def test_the_choice_between_hdf5_and_checkpoint(tmp_path, prefer):
    folder = nlpl_folder(tmp_path / "210")
    add_checkpoint(folder)
    conversion = convert(folder, tmp_path / "model", prefer=prefer)
    read, other = ("checkpoint", "hdf5") if prefer == "checkpoint" else ("hdf5", "checkpoint")
    assert any(f"read the {read}, --prefer {other} reads the other" in note for note in conversion.notes)
    assert conversion.config.word_vocab_size == (4 if read == "checkpoint" else 0)


def test_a_choice_where_there_is_none_is_said_to_change_nothing(tmp_path):
    notes = convert(nlpl_folder(tmp_path / "files"), tmp_path / "model", prefer="checkpoint").notes
    assert "--prefer checkpoint changed nothing: the weights are there in one form only" in notes


@pytest.mark.parametrize(
    "meta",
    first_fast(
        ["[]", "{", "null", '{"corpus": 3}', '{"corpus": [3, {"language": ["a"]}], "license": {"a": [1]}}', "[" * 9999],
        2,
    ),
)
def test_a_meta_json_of_another_kind_is_no_obstacle(tmp_path, meta):
    convert(nlpl_folder(tmp_path / "210", meta), tmp_path / "model")
    assert (tmp_path / "model" / "README.md").is_file()


def test_facts():
    assert card_facts({"corpus": [{"language": "eng"}, {"language": "rus"}]})["language"] == "en, ru"
    assert card_facts({"rights": "Creative Commons CC-BY-NC-SA"})["license"] == "cc-by-nc-sa-4.0"
    assert "license" not in card_facts({"license": "ask us"})


def test_outputs_of_the_fixture(tmp_path, fixtures_dir):
    folder = fixtures_dir / "nlpl_small"
    tokenizer = ElmoTokenizer()
    sentences = json.loads((folder / "sentences.json").read_text(encoding="utf-8"))
    words = [line.split() if isinstance(line, str) else line for line in sentences]
    batch = tokenizer(words, is_split_into_words=True, padding=True, return_tensors="pt")
    for source in ("model.zip", "model_dir"):
        convert(folder / source, tmp_path / source)
        model = ElmoModel.from_pretrained(tmp_path / source).eval()
        with torch.no_grad(), np.load(folder / "expected.npz") as expected:
            layers = torch.stack(model(**batch, output_hidden_states=True).hidden_states, 1)
            wanted = torch.from_numpy(expected["batch32/all/nowarmup/vectors"]).float()
            for row, sentence in enumerate(words):
                found = layers[row, :, 1 : len(sentence) + 1]
                torch.testing.assert_close(found, wanted[row, :, : len(sentence)], rtol=0, atol=5e-6)


@pytest.mark.slow
def test_a_list_of_words_that_unpacks_to_much_more_is_refused(tmp_path):
    """Inside an archive of a plausible size, and before it is all in memory."""
    folder = nlpl_folder(tmp_path / "files")
    for file in folder.glob("vocab*"):
        file.unlink()
    with gzip.open(folder / "vocab.txt.gz", "wb", compresslevel=1) as file:
        for _ in range(200):
            file.write(bytes(1 << 20))
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    tracemalloc.start()
    try:
        with pytest.raises(
            ValueError, match=r"vocab\.txt\.gz: unpacks to more than [\d,]+ bytes; expected one word a l"
        ):
            convert(tmp_path / "model.zip", tmp_path / "model")
        assert tracemalloc.get_traced_memory()[1] < 180 << 20
    finally:
        tracemalloc.stop()
    assert not (tmp_path / "model").exists()
