# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints of bilm-tf: names of variables, conversion, and the state of the optimizer."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from checkpoint_writer import lay_out, write
from lanes import first_fast
from safetensors.torch import load_file
from transformers import AutoTokenizer

from hf_elmo import ElmoForPreTraining
from hf_elmo.cli import main
from hf_elmo.conversion import convert
from hf_elmo.conversion.bilm_checkpoint import adagrad_accumulators, bilm_variables, dataset_name
from hf_elmo.conversion.output import ACCUMULATORS as ACCUMULATORS_FILE
from hf_elmo.conversion.random_weights import OPTIONS, random_weights
from hf_elmo.conversion.tensorflow_checkpoint import read_checkpoint
from hf_elmo.conversion.verify import verify


def assert_equal(tensors, arrays):
    assert set(tensors) == set(arrays)
    for name, array in arrays.items():
        numbers = tensors[name].read()
        assert tensors[name].shape == numbers.shape == array.shape, name
        assert numbers.dtype == array.dtype, name
        assert numbers.tobytes() == array.tobytes(), name


# ---- bilm-tf's names


@pytest.mark.parametrize(
    ("variable", "dataset"),
    [
        ("char_embed", "char_embed"),
        ("CNN/W_cnn_0", "CNN/W_cnn_0"),
        ("CNN_high_1/b_carry", "CNN_high_1/b_carry"),
        ("softmax/W", "softmax/W"),
        ("embedding", "embedding"),
        ("RNN_0/rnn/multi_rnn_cell/cell_1/lstm_cell/kernel", "RNN_0/RNN/MultiRNNCell/Cell1/LSTMCell/W_0"),
        ("RNN_1/rnn/multi_rnn_cell/cell_0/lstm_cell/bias", "RNN_1/RNN/MultiRNNCell/Cell0/LSTMCell/B"),
        (
            "RNN_1/rnn/multi_rnn_cell/cell_10/lstm_cell/projection/kernel",
            "RNN_1/RNN/MultiRNNCell/Cell10/LSTMCell/W_P_0",
        ),
        ("RNN_0/rnn/lstm_cell/projection/kernel", "RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell/W_P_0"),
        ("RNN_0/RNN/MultiRNNCell/Cell1/rnn/lstm_cell/kernel", "RNN_0/RNN/MultiRNNCell/Cell1/LSTMCell/W_0"),
        ("RNN_0/RNN/MultiRNNCell/Cell1/LSTMCell/W_P_0", "RNN_0/RNN/MultiRNNCell/Cell1/LSTMCell/W_P_0"),
    ],
)
def test_names_of_variables(variable, dataset):
    assert dataset_name(variable) == dataset


@pytest.mark.parametrize("scope", ["lm/", "bilm/", "module/bilm/"])
def test_weights_slots_and_the_rest_are_distinguished(tmp_path, scope):
    names = [f"{scope}{name}" for name in ("char_embed", "softmax/b", "RNN_0/rnn/lstm_cell/bias")]
    arrays = {name: np.full(2, i, np.float32) for i, name in enumerate(names)}
    arrays |= {f"{name}/Adagrad": array + 10 for name, array in arrays.items()}
    arrays |= {f"{names[0]}/Adam_1": np.zeros(2), "global_step": np.int64(7), "aggregation/weights": np.zeros(3)}
    checkpoint = read_checkpoint(write(tmp_path, *lay_out(arrays)))
    bias = "RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell/B"
    assert {name: tensor.read()[0] for name, tensor in bilm_variables(checkpoint).items()} == {
        "char_embed": 0, "softmax/b": 1, bias: 2,
    }  # fmt: skip
    assert {name: tensor.read()[0] for name, tensor in adagrad_accumulators(checkpoint).items()} == {
        "char_embed": 10, "softmax/b": 11, bias: 12,
    }  # fmt: skip


def test_two_variables_of_one_meaning_are_refused(tmp_path):
    arrays = {"lm/char_embed": np.zeros(1), "bilm/char_embed": np.ones(1)}
    with pytest.raises(ValueError, match="one of two variables that mean char_embed"):
        bilm_variables(read_checkpoint(write(tmp_path, *lay_out(arrays))))


# ---- The original's checkpoints


def test_checkpoint_of_bilm(fixtures_dir):
    folder = fixtures_dir / "bilm_checkpoint"
    checkpoint = read_checkpoint(folder / "checkpoint")
    weights, slots = bilm_variables(checkpoint), adagrad_accumulators(checkpoint)
    assert len(checkpoint) == 72
    assert set(checkpoint) - {"global_step", "train_perplexity"} == {
        name for name in checkpoint if name.startswith("lm/")
    }
    assert checkpoint["global_step"].read() == 426
    with h5py.File(folder / "weights.hdf5") as file:
        datasets = []
        file.visititems(lambda name, item: datasets.append(name) if isinstance(item, h5py.Dataset) else None)
        assert set(weights) == {*datasets, "softmax/W", "softmax/b"}
        assert_equal({name: weights[name] for name in datasets}, {name: file[name][...] for name in datasets})
    assert weights["softmax/W"].shape == (5000, 16)
    assert {name: slot.shape for name, slot in slots.items()} == {name: slot.shape for name, slot in weights.items()}

    with np.load(folder / "training_trace" / "final_variables.npz") as later:
        for name, tensor in checkpoint.items():
            if name.endswith("/Adagrad"):  # sums of squares: they start at 1 and only grow
                assert (tensor.read() >= 1).all()
                assert (later[name] >= tensor.read()).all(), name


def test_variables_of_a_tensorflow_hub_module(fixtures_dir):
    folder = fixtures_dir / "tfhub_style"
    listed = json.loads((folder / "variables.json").read_text())
    tensors = read_checkpoint(folder / "variables")
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == listed["variables"]
    assert tensors["aggregation/weights"].read().tolist() == listed["aggregation/weights"]
    assert tensors["aggregation/scaling"].read() == listed["aggregation/scaling"]
    assert all(np.isfinite(tensor.read()).all() for tensor in tensors.values())
    assert set(bilm_variables(tensors)) >= {"char_embed", "RNN_1/RNN/MultiRNNCell/Cell1/LSTMCell/W_P_0"}


# ---- From a checkpoint to a model


def checkpoint_and_hdf5(folder: Path, n_layers: int = 2, words: int = 11) -> tuple[Path, Path, dict[str, np.ndarray]]:
    """One model in both formats of bilm-tf, and every variable of its checkpoint."""
    options = {**OPTIONS, "lstm": {**OPTIONS["lstm"], "dim": 12, "projection_dim": 6, "n_layers": n_layers}}
    tensors = random_weights(options, words=words)
    checkpoint, hdf5 = folder / "checkpoint", folder / "hdf5"
    for place in (checkpoint, hdf5):
        place.mkdir()
        (place / "options.json").write_text(json.dumps(options))
    with h5py.File(hdf5 / "weights.hdf5", "w") as file:
        for name, array in tensors.items():
            file[name] = array

    generator, variables = np.random.default_rng(1), {}
    for name, array in tensors.items():
        name = re.sub(r"(RNN_\d)/RNN/MultiRNNCell/Cell(\d+)/LSTMCell", r"\1/rnn/multi_rnn_cell/cell_\2/lstm_cell", name)
        if n_layers == 1:
            name = name.replace("multi_rnn_cell/cell_0/", "")
        for end, variable in (("/W_0", "/kernel"), ("/B", "/bias"), ("/W_P_0", "/projection/kernel")):
            name = name.replace(f"lstm_cell{end}", f"lstm_cell{variable}")
        variables[f"lm/{name}"] = array
        variables[f"lm/{name}/Adagrad"] = 1 + generator.random(array.shape, np.float32)
    variables |= {"global_step": np.int64(7), "train_perplexity": np.float32(99)}
    write(checkpoint, *lay_out(variables, 2))
    return checkpoint, hdf5, variables


@pytest.mark.parametrize("n_layers", first_fast([2, 1]))
@pytest.mark.parametrize("words", [0, 11])
def test_a_checkpoint_and_its_hdf5_dump_become_the_same_model(tmp_path, n_layers, words):
    checkpoint, hdf5, _ = checkpoint_and_hdf5(tmp_path, n_layers, words)
    for source in (checkpoint, hdf5):
        convert(source, tmp_path / f"from_{source.name}")
    one, other = (load_file(tmp_path / f"from_{source.name}" / "model.safetensors") for source in (checkpoint, hdf5))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", ["model.ckpt-1", "model.ckpt-1.index"])
def test_a_checkpoint_among_several_is_converted_by_its_name(tmp_path, name):
    checkpoint, _, _ = checkpoint_and_hdf5(tmp_path)
    for name_of_another in ("model.ckpt-2.index", "model.ckpt-2.data-00000-of-00001"):
        (checkpoint / name_of_another).write_bytes(b"of no use")
    conversion = convert(checkpoint / name, tmp_path / "out")
    data = [f"model.ckpt-1.data-0000{shard}-of-00002" for shard in (0, 1)]
    assert list(conversion.files) == ["options.json", "model.ckpt-1.index", *data]
    with pytest.raises(ValueError, match=r"found model\.ckpt-1\.index, model\.ckpt-2\.index; give the one to read"):
        convert(checkpoint, tmp_path / "other")


def test_the_optimizer_is_kept_on_request(tmp_path):
    checkpoint, _, variables = checkpoint_and_hdf5(tmp_path)
    convert(checkpoint, tmp_path / "out", keep_optimizer=True)
    sums = load_file(tmp_path / "out" / ACCUMULATORS_FILE)
    slots = {
        name.removesuffix("/Adagrad"): torch.tensor(value) for name, value in variables.items() if "Adagrad" in name
    }
    model = ElmoForPreTraining.from_pretrained(tmp_path / "out")
    shapes = {name: weight.shape for name, weight in model.named_parameters() if "scalar_mixes" not in name}
    assert {name: value.shape for name, value in sums.items()} == shapes

    table = sums["elmo.char_encoder.embeddings.weight"]
    assert (table[0] == 1).all()
    assert torch.equal(table[1:], slots["lm/char_embed"])
    assert torch.equal(sums["lm_head.weight"], slots["lm/softmax/W"])
    cell = "lm/RNN_1/rnn/multi_rnn_cell/cell_1/lstm_cell"
    words, recurrent = slots[f"{cell}/kernel"].split(6)  # rows [x ; h], columns i, g, f, o
    i, g, f, o = words.split(12, dim=1)
    assert torch.equal(sums["elmo.layers.1.backward_lstm.input_gates.weight"], torch.cat([i, f, g, o], dim=1).T)
    i, g, f, o = recurrent.split(12, dim=1)
    assert torch.equal(sums["elmo.layers.1.backward_lstm.recurrent_gates.weight"], torch.cat([i, f, g, o], dim=1).T)
    i, g, f, o = slots[f"{cell}/bias"].split(12)
    assert torch.equal(sums["elmo.layers.1.backward_lstm.input_gates.bias"], torch.cat([i, f, g, o]))
    kernel = slots["lm/CNN/W_cnn_2"]  # (1, width, E, count)
    assert torch.equal(sums["elmo.char_encoder.convolutions.2.weight"], kernel[0].permute(2, 1, 0))
    gate = slots["lm/CNN_high_0/W_carry"]
    assert torch.equal(sums["elmo.char_encoder.highways.0.carry.weight"], gate.T)


def test_without_the_request_the_optimizer_is_left_out_and_said_so(tmp_path):
    checkpoint, _, _ = checkpoint_and_hdf5(tmp_path)
    conversion = convert(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out" / ACCUMULATORS_FILE).exists()
    assert conversion.notes == [f"{checkpoint} holds Adagrad's state; left out, as --keep-optimizer was not given"]


def test_an_optimizer_that_cannot_be_kept_is_refused_and_nothing_is_left(tmp_path):
    checkpoint, hdf5, variables = checkpoint_and_hdf5(tmp_path)
    with pytest.raises(ValueError, match="the format bilm-tf hdf5 has none"):
        convert(hdf5, tmp_path / "out", keep_optimizer=True)
    with pytest.raises(ValueError, match="hdf5 has no place for it"):
        convert(checkpoint, tmp_path / "out", to="hdf5", keep_optimizer=True)
    del variables["lm/softmax/b/Adagrad"]
    write(checkpoint, *lay_out(variables, 2))
    with pytest.raises(ValueError, match="missing softmax/b"):
        convert(checkpoint, tmp_path / "out", keep_optimizer=True)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", "hdf5"}


def test_weights_that_are_no_floating_point_numbers_are_refused(tmp_path):
    checkpoint, _, variables = checkpoint_and_hdf5(tmp_path)
    variables["lm/CNN/b_cnn_0"] = variables["lm/CNN/b_cnn_0"].astype(np.int32)
    write(checkpoint, *lay_out(variables, 2))
    with pytest.raises(ValueError, match="lm/CNN/b_cnn_0 must hold floating-point numbers, but holds int32"):
        convert(checkpoint, tmp_path / "out")


def test_a_damaged_tensor_leaves_no_folder(tmp_path, capsys):
    checkpoint, _, _ = checkpoint_and_hdf5(tmp_path)
    file = checkpoint / "model.ckpt-1.data-00000-of-00002"
    octets = bytearray(file.read_bytes())
    octets[0] ^= 1
    file.write_bytes(octets)
    assert main(["convert", str(checkpoint), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{file}: lm/char_embed: checksum mismatch" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_checkpoint_of_bilm_gives_the_layers_of_bilm(tmp_path, fixtures_dir):
    folder = fixtures_dir / "bilm_checkpoint"
    convert(folder / "checkpoint", tmp_path / "out", vocab=folder / "vocab.txt", keep_optimizer=True)
    verification = verify(tmp_path / "out", folder / "expected_layers.npz")
    assert verification.passed
    assert max(verification.differences) > 0  # something was compared
    assert AutoTokenizer.from_pretrained(tmp_path / "out").word_vocab[:3] == ["<S>", "</S>", "<UNK>"]
    assert load_file(tmp_path / "out" / ACCUMULATORS_FILE)["lm_head.weight"].shape == (5000, 16)
