# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Rules for state dicts of PyTorch, and the parts that AllenNLP and ELMoForManyLangs have in common.

Both keep gates in the order i, f, g, o, put all biases of a layer into `state_linearity`, and use AllenNLP's highways.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from hf_elmo.model.configuration_elmo import ElmoConfig

from .torch_file import checked


class Rule(NamedTuple):
    """One tensor of a state dict, the parameters that it becomes, and the transform between them."""

    name: str
    shape: tuple[int, ...]
    parameters: tuple[str, ...]
    read: Callable[[Tensor], tuple[Tensor, ...]]


def as_is(tensor: Tensor) -> tuple[Tensor, ...]:
    return (tensor,)


def split_highway(rows: Tensor) -> tuple[Tensor, ...]:
    """Split into transform and carry. AllenNLP gates the input, the model the transformed input: the sign differs."""
    transform, carry = rows.chunk(2)
    return transform, -carry


def with_padding_row(table: Tensor) -> tuple[Tensor, ...]:
    """Add row 0: ids are those of the dictionary plus one, because 0 stands for padding."""
    return (torch.cat([table.new_zeros(1, table.shape[1]), table]),)


INVERSES: dict[Callable, Callable[..., Tensor]] = {  # transforms of the rules, and what undoes them bit by bit
    as_is: lambda tensor: tensor,
    split_highway: lambda transform, carry: torch.cat([transform, -carry]),
    with_padding_row: lambda table: table[1:],
}


def undo_rules(rules: Iterable[Rule], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a state dict in the foreign format. `state` holds them by their names in `ElmoModel`."""
    written = {}
    for rule in rules:
        tensor = INVERSES[rule.read](*(state[name] for name in rule.parameters))
        written[rule.name] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).contiguous().clone()
    return written


def convolution_rules(config: ElmoConfig, prefix: str) -> Iterator[Rule]:
    """Yield the rules of the convolutions, whose names begin with `prefix`, a number and a dot."""
    for i, (length, count) in enumerate(config.char_cnn_filters):
        ours, theirs = f"char_encoder.convolutions.{i}", f"{prefix}{i}"
        yield Rule(f"{theirs}.weight", (count, config.char_embedding_size, length), (f"{ours}.weight",), as_is)
        yield Rule(f"{theirs}.bias", (count,), (f"{ours}.bias",), as_is)


def highway_rules(config: ElmoConfig, prefix: str) -> Iterator[Rule]:
    """Yield the rules of the highway layers, whose names begin with `prefix`, a number and a dot."""
    features = config.char_features
    for k in range(config.num_highway_layers):
        for part, shape in (("weight", (2 * features, features)), ("bias", (2 * features,))):
            ours = tuple(f"char_encoder.highways.{k}.{gate}.{part}" for gate in ("transform", "carry"))
            yield Rule(f"{prefix}{k}.{part}", shape, ours, split_highway)


def lstm_rules(config: ElmoConfig, prefix: str) -> Iterator[Rule]:
    """Yield the rules of all LSTM layers, whose names begin with `prefix` and the direction."""
    width, cell = config.projection_size, config.cell_size
    for direction in ("forward", "backward"):
        for layer in range(config.num_hidden_layers):
            theirs, ours = f"{prefix}{direction}_layer_{layer}", f"layers.{layer}.{direction}_lstm"
            for name, shape, parameter in (
                ("input_linearity.weight", (4 * cell, width), "input_gates.weight"),
                ("state_linearity.weight", (4 * cell, width), "recurrent_gates.weight"),
                ("state_linearity.bias", (4 * cell,), "input_gates.bias"),
                ("state_projection.weight", (width, cell), "projection.weight"),
            ):
                yield Rule(f"{theirs}.{name}", shape, (f"{ours}.{parameter}",), as_is)


def apply_rules(rules: Iterable[Rule], state: Mapping[str, Tensor], file: Path) -> tuple[dict[str, Tensor], set[str]]:
    """Return the converted tensors by the names of their parameters, and the names of those that were used.

    Raises:
        ValueError: A tensor is missing, has another shape than its rule, or holds no finite floats.
    """
    converted, used = {}, set()
    for rule in rules:
        if rule.name not in state:
            raise ValueError(f"{file}: lacks {rule.name} {rule.shape}; expected every tensor of the model")
        parts = rule.read(checked(rule.name, state[rule.name], rule.shape, file))
        converted |= {name: part.contiguous() for name, part in zip(rule.parameters, parts, strict=True)}
        used.add(rule.name)
    return converted, used
