# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Models of ELMoForManyLangs: code points, word embeddings, their dictionaries, and the outputs of the original."""

import json
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import torch
from fresh_process import REPOSITORY, run_python
from many_langs_weights import CHARACTERS, SETTINGS, WORDS, write_model
from transformers import AutoModel, AutoTokenizer

from hf_elmo import ElmoConfig, ElmoForPreTraining, ElmoModel, ElmoTokenizer
from hf_elmo.conversion import convert, looks_unconverted

SENTENCES = [["the", "bank", "b\u00e9zz\u4e00"], ["b" * 60, "\u6c49", "<bos>", ""], ["\U0001f600."]]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many-langs")
    convert(write_model(folder / "original"), folder / "model")
    return folder / "model"


def row(word, name=None):
    """The ids of a word as the original has them, each plus one, with the id of the word last."""
    cut = name or word[:48]
    ids = [CHARACTERS.index("<eow>")]
    ids += [CHARACTERS.index(name)] if name else [CHARACTERS.index(c if c in CHARACTERS else "<oov>") for c in cut]
    ids += [CHARACTERS.index("<bow>")]
    ids += [CHARACTERS.index("<pad>")] * (50 - len(ids))
    return [number + 1 for number in [*ids, WORDS.index(cut if cut in WORDS else "<oov>")]]


def test_rows_are_those_of_the_original(converted):
    tokenizer = ElmoTokenizer.from_pretrained(converted)
    batch = tokenizer(SENTENCES, is_split_into_words=True, padding=True)
    expected = [
        [row("", "<bos>"), *(row(word, word if word == "<bos>" else None) for word in words), row("", "<eos>")]
        for words in SENTENCES
    ]
    expected = [rows + [[0] * 51] * (6 - len(rows)) for rows in expected]
    assert [list(map(list, rows)) for rows in batch["input_ids"]] == expected
    assert tokenizer.num_cut_words == 1
    assert tokenizer.vocab_size == len(CHARACTERS) + 1


def test_decoding_is_exact(converted):
    tokenizer = ElmoTokenizer.from_pretrained(converted)
    ids = tokenizer(SENTENCES[0], is_split_into_words=True)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<bos>", "the", "bank", "b\u00e9zz\ufffd", "<eos>"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the bank b\u00e9zz\ufffd"
    assert tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True) == [1, 0, 0, 0, 1]
    assert tokenizer.convert_tokens_to_ids("<eos>") == CHARACTERS.index("<eos>") + 1
    assert tokenizer("the bank.").tokens() == ["<bos>", "the", "bank", ".", "<eos>"]


def test_the_tokenizer_is_saved_loaded_and_pickled(converted, tmp_path):
    tokenizer = ElmoTokenizer.from_pretrained(converted)
    expected = tokenizer(SENTENCES, is_split_into_words=True)["input_ids"]
    tokenizer.save_pretrained(tmp_path)
    assert "/" not in (tmp_path / "tokenizer_config.json").read_text(encoding="utf-8").replace("</", "")
    for other in (ElmoTokenizer.from_pretrained(tmp_path), pickle.loads(pickle.dumps(tokenizer))):
        assert other(SENTENCES, is_split_into_words=True)["input_ids"] == expected


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[", "not readable as dictionaries"),
        ("[]", "expected an object with the dictionary of `characters`"),
        ('{"characters": {"a": -1}}', "characters must map names to ids from 0"),
        ('{"characters": {"a": 1}}', "characters lacks <bos>, <eos>, <oov>"),
    ],
)
def test_damaged_dictionaries(converted, tmp_path, content, complaint):
    shutil.copytree(converted, tmp_path / "model")
    (tmp_path / "model" / "dictionaries.json").write_text(content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below)
        ElmoTokenizer.from_pretrained(tmp_path / "model")
    assert complaint in str(caught.value)


def test_a_word_counts_beside_its_characters(converted):
    model, tokenizer = ElmoModel.from_pretrained(converted).eval(), ElmoTokenizer.from_pretrained(converted)
    batch = tokenizer([["bank"]], is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        known = model(**batch).last_hidden_state
        batch["input_ids"][0, 1, -1] = WORDS.index("<oov>") + 1
        assert not torch.allclose(known, model(**batch).last_hidden_state)
    batch["input_ids"][0, 1, -1] = len(WORDS) + 1
    with pytest.raises(ValueError, match="`input_ids` must be from 0 to 8, but go from 2 to 9"):
        model(**batch)
    with pytest.raises(ValueError, match="this model reads words too: give `input_ids`"):
        model(inputs_embeds=torch.zeros(1, 3, 50, 4))


@pytest.mark.parametrize("legacy", [True, False])
def test_characters_alone(tmp_path, legacy):
    conversion = convert(write_model(tmp_path / "original", words=False, legacy=legacy), tmp_path / "model")
    assert (conversion.config.ids_per_token, conversion.config.word_embedding_size) == (50, 0)
    model, tokenizer = (kind.from_pretrained(tmp_path / "model") for kind in (ElmoModel, ElmoTokenizer))
    batch = tokenizer(SENTENCES, is_split_into_words=True, padding=True, return_tensors="pt")
    assert batch["input_ids"].shape == (3, 6, 50)
    assert model(**batch).last_hidden_state.shape == (3, 6, 12)


def test_words_alone(tmp_path):
    folder = write_model(tmp_path / "original")
    state = torch.load(folder / "token_embedder.pkl", weights_only=True)
    state = {name: tensor for name, tensor in state.items() if name.startswith(("word_emb", "projection"))}
    state["projection.weight"] = state["projection.weight"][:, :3].clone()
    torch.save(state, folder / "token_embedder.pkl")
    (folder / "char.dic").unlink()
    convert(folder, tmp_path / "model")
    model, tokenizer = (kind.from_pretrained(tmp_path / "model") for kind in (ElmoModel, ElmoTokenizer))
    batch = tokenizer([["the", "zzz"]], is_split_into_words=True, return_tensors="pt")
    assert batch["input_ids"][0, :, 0].tolist() == [2, 5, 1, 3]
    table = state["word_emb_layer.embedding.weight"] @ state["projection.weight"].T + state["projection.bias"]
    found = model(**batch).token_embeddings[0]
    torch.testing.assert_close(found, table[[1, 4, 0, 2]], rtol=0, atol=1e-6)


def test_a_zip_file_and_what_is_left_out(tmp_path):
    folder = write_model(tmp_path / "original")
    torch.save({"column_emb.weight": torch.zeros(2)}, folder / "classifier.pkl")
    (folder / "cnn_sample.json").unlink()
    with zipfile.ZipFile(tmp_path / "144.zip", "w") as file:
        for path in folder.iterdir():
            file.write(path, path.name)
    assert "hf-elmo convert" in looks_unconverted(tmp_path / "144.zip")
    assert "ELMoForManyLangs" in looks_unconverted(folder)
    settings, classifier = convert(tmp_path / "144.zip", tmp_path / "model").notes
    assert "has no settings of the network; assumed those of the published models" in settings
    assert "classifier.pkl, the softmax over the words of a batch, has no counterpart; left out" in classifier
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "simplified and traditional" in card
    assert "more than 48 characters is cut to its first 48" in card


def test_there_is_no_way_to_bilm(converted, tmp_path):
    with pytest.raises(ValueError, match="the character ids of bilm-tf are bytes; use --to elmoformanylangs"):
        convert(converted, tmp_path / "back", to="hdf5")
    convert(converted, tmp_path / "int8", dtype="int8")
    assert AutoTokenizer.from_pretrained(tmp_path / "int8").num_cut_words == 0


def contents(folder):
    """Everything that the original reads of a folder: tensors with their names, dictionaries, settings."""
    states = {name: torch.load(folder / name, weights_only=True) for name in ("token_embedder.pkl", "encoder.pkl")}
    numbers = {f"{file}: {name}": tensor.tolist() for file, state in states.items() for name, tensor in state.items()}
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.dic")}
    settings = json.loads((folder / json.loads((folder / "config.json").read_text())["config_path"]).read_text())
    return numbers, texts, {name: settings[name] for name in ("encoder", "token_embedder", "dropout")}


@pytest.mark.parametrize("words", [True, False])
def test_the_way_back_is_exact(tmp_path, words):
    settings = json.loads(json.dumps(SETTINGS))
    settings["token_embedder"]["word_dim"] = 3 if words else 0
    folder = write_model(tmp_path / "original", words=words, settings=settings)
    (folder / "config.json").write_text('{"config_path": "cnn_sample.json"}')
    convert(folder, tmp_path / "model")
    assert convert(tmp_path / "model", tmp_path / "back", to="elmoformanylangs").notes == []
    assert contents(tmp_path / "back") == contents(folder)
    convert(folder, tmp_path / "copy", to="elmoformanylangs")
    assert contents(tmp_path / "copy") == contents(folder)


def test_a_forget_gate_with_a_bias_of_its_own_is_folded_in(converted, tmp_path):
    """A model that was pretrained here adds 1 at run time; the original adds nothing."""
    model = ElmoModel.from_pretrained(converted)
    model.config.forget_bias = 1.0
    model.save_pretrained(tmp_path / "model")
    shutil.copy(converted / "dictionaries.json", tmp_path / "model")
    convert(tmp_path / "model", tmp_path / "back", to="elmoformanylangs")
    convert(tmp_path / "back", tmp_path / "again")
    again = ElmoModel.from_pretrained(tmp_path / "again")
    ids = ElmoTokenizer.from_pretrained(converted)("the bank", return_tensors="pt")
    expected = ElmoModel.from_pretrained(tmp_path / "model")(**ids).last_hidden_state
    torch.testing.assert_close(again(**ids).last_hidden_state, expected)
    assert again.config.forget_bias == 0


def test_models_that_the_format_cannot_hold(converted, tmp_path):
    tiny = ElmoConfig(char_cnn_filters=[[1, 4]], projection_size=4, cell_size=6)
    ElmoModel(tiny).save_pretrained(tmp_path / "bytes")
    with pytest.raises(ValueError, match="reads bytes or words, but ELMoForManyLangs reads code points; use --to hdf5"):
        convert(tmp_path / "bytes", tmp_path / "back", to="elmoformanylangs")
    model = ElmoModel.from_pretrained(converted)
    model.config.use_skip_connections = False
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="ELMoForManyLangs has no model with use_skip_connections=False"):
        convert(tmp_path / "model", tmp_path / "back", to="elmoformanylangs")
    model.config.use_skip_connections = True
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="lacks the dictionaries of its tokenizer"):
        convert(tmp_path / "model", tmp_path / "back", to="elmoformanylangs")
    with pytest.raises(ValueError, match="--to elmoformanylangs writes the weights as the original reads them; leave"):
        convert(converted, tmp_path / "back", to="elmoformanylangs", dtype="int8")


def spoiled(**changes):
    settings = json.loads(json.dumps(SETTINGS))
    for name, value in changes.items():
        section, option = name.split("__")
        settings[section][option] = value
    return settings


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (spoiled(encoder__name="lstm"), "encoder.name must be 'elmo', but is 'lstm'"),
        (spoiled(token_embedder__name="lstm"), "token_embedder.name must be 'cnn', but is 'lstm'"),
        (spoiled(token_embedder__max_characters_per_token=2), "max_characters_per_token must be from 3 to 10000"),
        (spoiled(encoder__cell_clip=-1), "encoder.cell_clip must be a positive number or null, but is -1"),
        (spoiled(token_embedder__activation="gelu"), "gelu"),
    ],
)
def test_settings_that_cannot_be(tmp_path, settings, complaint):
    folder = write_model(tmp_path / "original", settings=settings)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below)
        convert(folder, tmp_path / "model")
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("a\t99\n", "line 1: expected a token, a tab and an id below 37, but found 'a\\t99'"),
        ("a\tb\tc\n", "line 1: expected a token, a tab and an id"),
        ("a 3\n", "line 1: expected a token, a tab and an id"),
        ("a\t3\n", "lacks <oov> and <pad> and <bos> and <eos>"),
    ],
)
def test_dictionaries_that_cannot_be(tmp_path, line, complaint):
    folder = write_model(tmp_path / "original")
    (folder / "char.dic").write_text(line)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below)
        convert(folder, tmp_path / "model")
    assert f"{folder / 'char.dic'}" in str(caught.value)
    assert complaint in str(caught.value)


LAYERS = {"layer-1": lambda layers: layers.mean(0), "layer-2": lambda layers: layers}
LAYERS |= {f"layer{number}": lambda layers, number=number: layers[number] for number in range(3)}


def test_the_fixture_comes_back_bit_by_bit(tmp_path, fixtures_dir):
    folder = fixtures_dir / "elmoformanylangs_small"
    convert(folder, tmp_path / "model")
    convert(tmp_path / "model", tmp_path / "back", to="elmoformanylangs")
    shutil.copytree(folder, tmp_path / "fixture")
    (tmp_path / "fixture" / "config.json").write_text('{"config_path": "cnn_50_100_512_4096_sample.json"}')
    assert contents(tmp_path / "back") == contents(tmp_path / "fixture")


def test_outputs_of_the_fixture(tmp_path, fixtures_dir):
    folder = fixtures_dir / "elmoformanylangs_small"
    convert(folder, tmp_path / "model")
    model, tokenizer = (kind.from_pretrained(tmp_path / "model") for kind in (AutoModel, AutoTokenizer))
    calls = json.loads((folder / "sentences.json").read_text(encoding="utf-8"))
    with np.load(folder / "expected.npz") as expected, torch.no_grad():
        for call, sentences in calls.items():
            order = sorted(range(len(sentences)), key=lambda i: -len(sentences[i]))
            words = [sentences[i] for i in order]
            batch = tokenizer(words, is_split_into_words=True, padding=True, return_tensors="pt")
            wanted = np.concatenate([expected[f"char_ids/{call}"], expected[f"word_ids/{call}"][..., None]], -1) + 1
            for row, length in enumerate(expected[f"lens/{call}"]):
                assert batch["input_ids"][row, :length].tolist() == wanted[row, :length].tolist()
            layers = torch.stack(model(**batch, output_hidden_states=True).hidden_states, 1)
            for row, number in enumerate(order):
                found = layers[row, :, 1 : len(words[row]) + 1]
                alone = torch.from_numpy(expected[f"single/{call}/sent{number}"])
                torch.testing.assert_close(found, alone, rtol=0, atol=5e-6)
                for name, combine in LAYERS.items() if call == "call1" else ():  # the state is 0 in the first call only
                    output = torch.from_numpy(expected[f"{name}/{call}/sent{number}"])
                    torch.testing.assert_close(combine(found), output, rtol=0, atol=5e-6)


@pytest.mark.slow
def test_training_continues_with_the_same_characters(converted, tmp_path):
    (tmp_path / "text.txt").write_text("the bank of b\u00e9 \u6c49\n" * 40, encoding="utf-8")
    script = ["-m", "hf_elmo.training.pretrain", "--model_name_or_path", converted, "--output_dir", tmp_path / "run"]
    settings = ["--max_steps", 2, "--per_device_train_batch_size", 4, "--train_files", tmp_path / "text.txt"]
    run_python(*script, *settings, home=tmp_path, PYTHONPATH=str(REPOSITORY))
    model, tokenizer = (kind.from_pretrained(tmp_path / "run") for kind in (ElmoForPreTraining, ElmoTokenizer))
    batch = tokenizer([["the", "\u6c49"]], is_split_into_words=True, return_tensors="pt")
    before = ElmoTokenizer.from_pretrained(converted)(
        [["the", "\u6c49"]], is_split_into_words=True, return_tensors="pt"
    )
    assert torch.equal(batch["input_ids"], before["input_ids"])
    assert model.config.word_vocab_size == tokenizer.word_vocab_size > 3
    assert model.config.ids_per_token == 51
    assert tokenizer.convert_words_to_labels("bank") >= 3
