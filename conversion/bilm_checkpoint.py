# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""TensorFlow checkpoints of bilm-tf: the names of its variables, and the reader of a checkpoint with options.json.

lm/char_embed   lm/CNN/...   lm/CNN_high_{k}/...   lm/CNN_proj/...   lm/softmax/{W,b}
lm/RNN_{d}/rnn/multi_rnn_cell/cell_{l}/lstm_cell/{kernel,bias,projection/kernel}   and an .../Adagrad slot of each
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from . import bilm_folder
from .bilm_config import read_config
from .bilm_folder import find_options
from .bilm_hdf5 import read_weights
from .options import read_options
from .original import Format, Original, Source, StoredTensor
from .tensorflow_checkpoint import checkpoint_files, read_checkpoint
from .word_list import find_word_list

LSTM_VARIABLE = re.compile(
    r"(RNN_\d)/(?:RNN|rnn)/(?:(?:MultiRNNCell/Cell|multi_rnn_cell/cell_)(\d+)/)?(?:rnn/)?(?:LSTMCell|lstm_cell)/(.+)"
)
LSTM_DATASETS = {"kernel": "W_0", "bias": "B", "projection/kernel": "W_P_0"}


def is_checkpoint(path: Path) -> bool:
    """Return whether a path is a checkpoint of TensorFlow: its folder, its prefix or one of its files."""
    if path.is_dir():
        return any(path.glob("*.index")) or (path / "checkpoint").is_file()
    return path.suffix == ".index" or path.with_name(f"{path.name}.index").is_file()


def read_bilm(source: Source) -> Original:
    """Read a checkpoint; or, where a folder holds hdf5 weights too, those unless the checkpoint is preferred."""
    if not (source.path.is_dir() and bilm_folder.has_weights(source.path)):
        return read_bilm_checkpoint(source)
    chosen, other = ("checkpoint", "hdf5") if source.prefer == "checkpoint" else ("hdf5", "checkpoint")
    original = read_bilm_checkpoint(source) if chosen == "checkpoint" else bilm_folder.read_bilm_folder(source)
    original.notes.append(
        f"{source.path} holds hdf5 weights and a checkpoint of TensorFlow; read the {chosen}, "
        f"--prefer {other} reads the other"
    )
    return original


def read_bilm_checkpoint(source: Source) -> Original:
    """Read the weights of a checkpoint, its softmax, and Adagrad's accumulators."""
    folder = source.path if source.path.is_dir() else source.path.parent
    options_file = source.options or find_options(folder / "checkpoint")
    options = read_options(options_file)
    checkpoint = read_checkpoint(source.path)
    stored = bilm_variables(checkpoint)
    config, notes = read_config(options, stored, options_file)
    state, unused = read_weights(stored, config)
    notes += [f"{source.path} holds {name}, which is no part of an ELMo; left out" for name in unused]
    files = [options_file, *checkpoint_files(source.path)]
    vocabulary = source.vocabulary or find_word_list(folder)
    return Original(FORMAT.name, config, state, files, notes, vocabulary, adagrad_accumulators(checkpoint))


FORMAT = Format("TensorFlow checkpoint", is_checkpoint, read_bilm)


def bilm_variables(checkpoint: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Return the weights of a biLM, softmax included, by their names in bilm-tf's hdf5 files.

    Reads the names of training (`lm/...`) and of the modules of TensorFlow Hub (`bilm/...`, also below `module/`).
    Optimizer slots, `global_step`, `train_perplexity` and the module's `aggregation/...` are left out.
    """
    return rename(checkpoint, slot=None)


def adagrad_accumulators(checkpoint: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Return Adagrad's sum of squared gradients for every number of the weights, by the names of the weights."""
    return rename(checkpoint, slot="Adagrad")


def rename(checkpoint: Mapping[str, StoredTensor], slot: str | None) -> dict[str, StoredTensor]:
    datasets = {}
    for name, tensor in checkpoint.items():
        variable, _, last = name.rpartition("/")
        if variable not in checkpoint:  # only slots lie below another variable
            variable, last = name, None
        inside = re.fullmatch(r"(?:module/)?(?:lm|bilm)/(.+)", variable)
        if inside and last == slot:
            dataset = dataset_name(inside[1])
            if dataset in datasets:
                raise ValueError(f"{tensor.file}: {name} is one of two variables that mean {dataset}; expected one")
            datasets[dataset] = tensor._replace(read=partial(read_floats, name, tensor))
    return datasets


def read_floats(name: str, tensor: StoredTensor) -> np.ndarray:
    numbers = tensor.read()
    if numbers.dtype.kind != "f":
        raise ValueError(f"{tensor.file}: {name} must hold floating-point numbers, but holds {numbers.dtype}")
    return numbers


def dataset_name(variable: str) -> str:
    """Return the name in bilm-tf's hdf5 files of a variable, given without its scope."""
    if lstm := LSTM_VARIABLE.fullmatch(variable):
        direction, layer, last = lstm.groups(default="0")  # one layer alone has no MultiRNNCell around it
        return f"{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell/{LSTM_DATASETS.get(last, last)}"
    return variable
