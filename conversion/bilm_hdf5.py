# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The weight file of bilm-tf and AllenNLP as a table: dataset, shape, parameters of the model, transform.

    char_embed (261, E)    CNN/W_cnn_{i} (1, width, E, count)    CNN/b_cnn_{i}    CNN_high_{k}/{W,b}_{carry,transform}
    CNN_proj/{W,b}_proj    RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell/{W_0,B,W_P_0}    softmax/{W,b}

TensorFlow multiplies from the left, y = x W, so its matrices are transposed. Numbers only change places, and a file
that is converted there and back is the same bit by bit.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import torch
from torch import Tensor
from tqdm.auto import tqdm

from hf_elmo.model.configuration_elmo import ElmoConfig

from .original import StoredTensor

CELL = "RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
# The name under which bilm-tf dumps the cell of a model with one layer; its own reader asks for the name above.
ONLY_CELL = "RNN_{direction}/RNN/LSTMCell"


class Layout(NamedTuple):
    """A transform from one tensor of the file to tensors of the model, and its inverse."""

    read: Callable[[Tensor], tuple[Tensor, ...]]
    write: Callable[..., Tensor]


class Rule(NamedTuple):
    """One tensor of the format: `parameters` are names in the state dict of `ElmoModel`, or of `lm_head`."""

    dataset: str
    shape: tuple[int, ...]
    parameters: tuple[str, ...]
    layout: Layout


def with_padding_row(table: Tensor) -> Tensor:
    """Add row 0: inference ids are the training ids plus one, because 0 stands for padding."""
    return torch.cat([table.new_zeros(1, table.shape[1]), table])


def swap_gates(rows: Tensor) -> Tensor:
    """Reorder gates from TensorFlow's i, g, f, o to i, f, g, o, or back: the swap is its own inverse."""
    i, g, f, o = rows.chunk(4)
    return torch.cat([i, f, g, o])


def read_kernel(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Split the matrix that multiplies `[x ; h]` into the weights of the input and of the previous output."""
    input_rows, output_rows = kernel.chunk(2)
    return swap_gates(input_rows.T), swap_gates(output_rows.T)


def write_kernel(input_gates: Tensor, recurrent_gates: Tensor) -> Tensor:
    return torch.cat([swap_gates(input_gates).T, swap_gates(recurrent_gates).T])


AS_IS = Layout(lambda tensor: (tensor,), lambda tensor: tensor)
TRANSPOSED = Layout(lambda matrix: (matrix.T,), lambda weight: weight.T)
SHIFTED = Layout(lambda table: (with_padding_row(table),), lambda weight: weight[1:])
CONVOLUTION = Layout(  # (1, width, E, count) there, (count, E, width) here
    lambda kernel: (kernel.squeeze(0).permute(2, 1, 0),),
    lambda weight: weight.permute(2, 1, 0).unsqueeze(0),
)
# The 1 of the forget gate is added at run time, by both programs.
GATES = Layout(lambda bias: (swap_gates(bias),), swap_gates)
KERNEL = Layout(read_kernel, write_kernel)


def gates_without(folded: float) -> Layout:
    """Return the layout of a bias that already contains the forget gate's 1, or a part of it (`folded`)."""

    def write(bias: Tensor) -> Tensor:
        i, f, g, o = bias.chunk(4)
        return swap_gates(torch.cat([i, f - float(folded), g, o]))

    def read(bias: Tensor) -> tuple[Tensor, ...]:
        i, f, g, o = swap_gates(bias).chunk(4)
        return (torch.cat([i, f + float(folded), g, o]),)

    return Layout(read, write)


def rules(config: ElmoConfig) -> Iterator[Rule]:
    """Yield a rule for every tensor of a model in the original format, in the order in which data flows."""
    size, features = config.char_embedding_size, config.char_features
    width, cell = config.projection_size, config.cell_size
    found = original_format(config)
    bias = GATES if config.forget_bias == 1 else gates_without(1 - config.forget_bias)

    if config.char_cnn_filters:
        rows = found.get("character_rows", config.vocab_size - 1)
        table = SHIFTED if rows == config.vocab_size - 1 else AS_IS
        yield Rule("char_embed", (rows, size), ("char_encoder.embeddings.weight",), table)
        for i, (length, count) in enumerate(config.char_cnn_filters):
            ours = f"char_encoder.convolutions.{i}"
            yield Rule(f"CNN/W_cnn_{i}", (1, length, size, count), (f"{ours}.weight",), CONVOLUTION)
            yield Rule(f"CNN/b_cnn_{i}", (count,), (f"{ours}.bias",), AS_IS)
        for k in range(config.num_highway_layers):
            for gate in ("carry", "transform"):
                ours = f"char_encoder.highways.{k}.{gate}"
                yield Rule(f"CNN_high_{k}/W_{gate}", (features, features), (f"{ours}.weight",), TRANSPOSED)
                yield Rule(f"CNN_high_{k}/b_{gate}", (features,), (f"{ours}.bias",), AS_IS)
        if config.use_char_projection:
            ours = "char_encoder.projection"
            yield Rule("CNN_proj/W_proj", (features, width), (f"{ours}.weight",), TRANSPOSED)
            yield Rule("CNN_proj/b_proj", (width,), (f"{ours}.bias",), AS_IS)
    else:
        yield Rule("embedding", (config.vocab_size - 1, width), ("word_embeddings.weight",), SHIFTED)

    for direction, lstm in enumerate(("forward_lstm", "backward_lstm")):
        for layer in range(config.num_hidden_layers):
            theirs = found.get("cell", CELL).format(direction=direction, layer=layer)
            ours = f"layers.{layer}.{lstm}"
            gates = (f"{ours}.input_gates.weight", f"{ours}.recurrent_gates.weight")
            yield Rule(f"{theirs}/W_0", (2 * width, 4 * cell), gates, KERNEL)
            yield Rule(f"{theirs}/B", (4 * cell,), (f"{ours}.input_gates.bias",), bias)
            if config.use_cell_projection:
                yield Rule(f"{theirs}/W_P_0", (cell, width), (f"{ours}.projection.weight",), TRANSPOSED)

    if config.word_vocab_size:
        yield Rule("softmax/W", (config.word_vocab_size, width), ("lm_head.weight",), AS_IS)
        yield Rule("softmax/b", (config.word_vocab_size,), ("lm_head.bias",), AS_IS)


def original_format(config: ElmoConfig) -> dict[str, Any]:
    """Return the properties of the original files that no field of the configuration holds (see `read_config`)."""
    found = getattr(config, "original_format", None)
    return found if isinstance(found, dict) else {}


def read_weights(stored: Mapping[str, StoredTensor], config: ElmoConfig) -> tuple[dict[str, Tensor], list[str]]:
    """Read the tensors of a model one by one.

    Args:
        stored: Tensors by their names in this format, from one file or several.
        config: The configuration that the tensors must fit.
    Returns:
        The tensors by their names in the state dict, and the names and shapes of those that were not used.
    Raises:
        ValueError: A tensor is missing, has another shape than `config` asks for, or holds no finite floats.
    """
    table = list(rules(config))
    check_shapes(stored, table)
    state = {}
    for rule in tqdm(table, desc="Reading weights", unit="tensor", leave=False, disable=None):
        tensor = torch.from_numpy(stored[rule.dataset].read())
        check_finite(rule.dataset, tensor, stored[rule.dataset].file)
        for parameter, part in zip(rule.parameters, rule.layout.read(tensor), strict=True):
            state[parameter] = part.contiguous()
    used = {rule.dataset for rule in table}
    return state, [f"{name} {tensor.shape}" for name, tensor in stored.items() if name not in used]


def check_shapes(stored: Mapping[str, StoredTensor], table: Iterable[Rule]):
    """Check that every tensor of the table is stored, with its shape."""
    files = ", ".join(sorted({str(tensor.file) for tensor in stored.values()}))
    missing = [f"{rule.dataset} {rule.shape}" for rule in table if rule.dataset not in stored]
    if missing:
        others = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ValueError(
            f"{files}: missing {', '.join(missing[:3])}{others}; expected every tensor of the model that the others "
            "and the options describe; give a complete file, or the options that belong to it"
        )
    for rule in table:
        if stored[rule.dataset].shape != rule.shape:
            raise ValueError(
                f"{stored[rule.dataset].file}: {rule.dataset} must be {rule.shape} to fit the other tensors and the "
                f"options, but is {stored[rule.dataset].shape}; do weights and options belong together?"
            )


def check_finite(name: str, tensor: Tensor, file: Path):
    """Check that a tensor holds no NaN and no infinite number."""
    if not tensor.numel():
        return
    low, high = tensor.aminmax()  # one pass and no copy; a NaN becomes both
    if not (low.isfinite() and high.isfinite()):
        bad = int((~tensor.isfinite()).sum())
        raise ValueError(
            f"{file}: {name} holds {bad:,} NaN or infinite numbers among {tensor.numel():,}; expected finite weights: "
            "did training diverge, or is the file damaged?"
        )


def write_weights(path: Path, state: Mapping[str, Tensor], config: ElmoConfig):
    """Write the tensors of a model as bilm-tf does. `state` holds them by their names in `ElmoModel`."""
    with h5py.File(path, "w") as file:
        for rule in tqdm(list(rules(config)), desc="Writing weights", unit="tensor", leave=False, disable=None):
            parts = (state[parameter] for parameter in rule.parameters)
            tensor = rule.layout.write(*(part.float() if part.dtype == torch.bfloat16 else part for part in parts))
            file.create_dataset(rule.dataset, data=tensor.numpy())
        if original_format(config).get("cell") == ONLY_CELL:
            for direction in range(2):  # a second name of the same tensors, for readers that ask for it
                file[CELL.format(direction=direction, layer=0)] = file[ONLY_CELL.format(direction=direction)]
