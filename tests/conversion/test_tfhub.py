# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Modules of TensorFlow Hub: their variables, their mix, and the settings that they do not record."""

import json

import h5py
import numpy as np
import pytest
import torch
from checkpoint_writer import lay_out, write
from lanes import first_fast
from transformers import AutoModel, AutoTokenizer

from hf_elmo import ElmoModel
from hf_elmo.conversion import convert
from hf_elmo.conversion.random_weights import OPTIONS, random_weights

NAMES = {"W_0": "rnn/lstm_cell/kernel", "B": "rnn/lstm_cell/bias", "W_P_0": "rnn/lstm_cell/projection/kernel"}


def module(folder, scope="", **changes):
    """Write a SavedModel's variables under the names of a module; `changes` replace or remove (None) some."""
    variables = {}
    for name, array in random_weights(OPTIONS).items():
        head, _, last = name.rpartition("/")
        name = f"{head.removesuffix('/LSTMCell')}/{NAMES[last]}" if last in NAMES else name
        variables[f"{scope}bilm/{name}"] = array
    variables[f"{scope}bilm/char_embed"] = np.concatenate(
        [np.zeros((1, 8), np.float32), variables[f"{scope}bilm/char_embed"]]
    )
    variables[f"{scope}aggregation/weights"] = np.array([0.5, -1, 2], np.float32)
    variables[f"{scope}aggregation/scaling"] = np.float32(1.5)
    for name, value in changes.items():
        variables.pop(f"{scope}aggregation/{name}")
        if value is not None:
            variables[f"{scope}aggregation/{name}"] = np.asarray(value, np.float32)
    entries, data = lay_out(variables)
    write(folder / "variables", entries, data)
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    return folder


@pytest.mark.parametrize("scope", first_fast(["", "module/"]))
@pytest.mark.parametrize("part", ["", "variables", "variables/model.ckpt-1.index"])
def test_the_mix_comes_from_the_aggregation(tmp_path, scope, part):
    (tmp_path / "module").mkdir()
    conversion = convert(module(tmp_path / "module", scope) / part, tmp_path / "out")
    assert conversion.format == "TensorFlow Hub module"
    model = ElmoModel.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(model.mix_weights()[0], torch.softmax(torch.tensor([0.5, -1, 2]), 0))
    assert model.mix_scales().tolist() == [1.5]
    assert (model.config.cell_clip, model.config.projection_clip, model.config.use_skip_connections) == (3, 3, True)
    assert len(conversion.notes) == 1
    assert "has no options; assumed those of the published models" in conversion.notes[0]


def test_options_are_taken_where_there_are_some(tmp_path):
    (tmp_path / "module").mkdir()
    folder = module(tmp_path / "module")
    changed = json.loads(json.dumps(OPTIONS))
    changed["lstm"]["cell_clip"] = 1.5
    (folder / "options.json").write_text(json.dumps(changed))
    conversion = convert(folder, tmp_path / "out")
    assert conversion.config.cell_clip == 1.5
    assert conversion.notes == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"scaling": None}, "lacks aggregation/scaling"),
        ({"weights": np.zeros(4)}, "aggregation/weights must hold 3 finite numbers for 2 LSTM layers, but is (4,)"),
        ({"scaling": np.nan}, "aggregation/scaling must hold 1 finite numbers"),
    ],
)
def test_a_mix_that_is_none_is_refused(tmp_path, changes, complaint):
    (tmp_path / "module").mkdir()
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below)
        convert(module(tmp_path / "module", **changes), tmp_path / "out")
    assert complaint in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_way_back_is_to_a_table_without_a_padding_row(tmp_path):
    """As bilm-tf writes it: AllenNLP prepends the row, and would take every character for its neighbor with another."""
    (tmp_path / "module").mkdir()
    convert(module(tmp_path / "module"), tmp_path / "out")
    convert(tmp_path / "out", tmp_path / "back", to="hdf5")
    with h5py.File(tmp_path / "back" / "weights.hdf5") as weights:
        for name, array in random_weights(OPTIONS).items():
            assert np.array_equal(weights[name][...], array), name


def test_a_saved_model_without_variables_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(ValueError, match=r"a SavedModel without variables; expected variables/variables\.index"):
        convert(tmp_path, tmp_path / "out")


def test_outputs_of_the_fixture(tmp_path, fixtures_dir):
    folder = fixtures_dir / "tfhub_style"
    convert(folder, tmp_path / "out")
    model, tokenizer = (kind.from_pretrained(tmp_path / "out") for kind in (AutoModel, AutoTokenizer))
    sentences = json.loads((folder / "sentences.json").read_text())
    with np.load(folder / "expected.npz") as expected, torch.no_grad():
        for i, words in enumerate(sentences):
            batch = tokenizer([words], is_split_into_words=True, return_tensors="pt")
            output = model(**batch, output_hidden_states=True)
            mix = output.last_hidden_state
            layers = [output.token_embeddings, *output.hidden_states[1:], mix]
            for name, layer in zip(("word_emb", "lstm_outputs1", "lstm_outputs2", "elmo"), layers, strict=True):
                wanted = torch.from_numpy(expected[f"sent{i}/{name}"])
                torch.testing.assert_close(layer[0, 1:-1], wanted, rtol=0, atol=5e-6)
            wanted = torch.from_numpy(expected[f"sent{i}/default"])
            torch.testing.assert_close(mix[0, 1:-1].mean(0), wanted.flatten(), rtol=0, atol=5e-6)
