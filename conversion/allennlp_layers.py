# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Layers of AllenNLP's task models, as `task_encoders_elmo` describes them: settings and tensors to both of ours.

A reader takes a section of config.json and the beginning of the names of its tensors, `theirs`, and returns a `Layer`
whose tensors are named as in the module that the description builds. To add a layer, write its reader and its line in a
table. Numbers stay as they are, but the two biases of torch's LSTM become one, without the 1 that our LSTM adds itself.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hf_elmo.model.task_encoders_elmo import ACTIVATIONS

from .allennlp_model import Settings, TaskArchive

MOST_NESTED = 20  # encoders inside one another; more can only be a damaged file


class Layer(NamedTuple):
    """A layer as `task_encoders_elmo` describes it, the width of its output, and its tensors by their names there."""

    described: dict[str, Any]
    size: int
    tensors: dict[str, Tensor]

    def named(self, place: str) -> dict[str, Tensor]:
        """Return the tensors by their names in a model that has the layer at a place."""
        return {f"{place}.{name}": tensor for name, tensor in self.tensors.items()}


Reader = Callable[[TaskArchive, Settings, str, int], Layer]


def read_layer(
    kinds: dict[str, Reader],
    archive: TaskArchive,
    settings: Settings,
    theirs: str,
    width: int,
    default: str | None = None,
) -> Layer:
    """Read the layer of a section by its `type`, and check that every entry of the section was taken.

    Args:
        kinds: The readers by type.
        archive, settings, theirs: The archive, the section, and the beginning of the names of its tensors.
        width: Width of the input.
        default: The type of a section without one.

    Raises:
        ValueError: The type or an entry has no counterpart, or a tensor does not fit.
    """
    kind = settings.choice("type", default, kinds)
    layer = kinds[kind](archive, settings, theirs, width)
    settings.finish()
    return layer


def check_width(settings: Settings, name: str, width: int):
    """Take a declared width of the input, which must be the true one."""
    declared = settings.pop(name, width, int)
    if declared != width:
        raise ValueError(
            f"{settings.file}: {settings.place}.{name} is {declared}, but the vectors before it are {width} wide"
        )


# ---- recurrent layers


def refuse_state(settings: Settings):
    if settings.pop("stateful", False, bool):
        raise ValueError(
            f"{settings.file}: {settings.place} is stateful, which has no counterpart: no state is carried"
        )


def read_torch_recurrent(kind: str) -> Reader:
    """Return the reader of an `lstm`, `gru` or `rnn` of torch."""
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[kind]

    def read(archive: TaskArchive, settings: Settings, theirs: str, width: int) -> Layer:
        check_width(settings, "input_size", width)
        refuse_state(settings)
        size, layers = settings.size("hidden_size"), settings.size("num_layers", 1)
        both, dropout = settings.pop("bidirectional", False, bool), settings.rate("dropout")
        described = {"type": kind, "size": size, "layers": layers, "bidirectional": both, "dropout": dropout}
        if kind == "rnn":
            described["activation"] = settings.choice("nonlinearity", "tanh", ("tanh", "relu"))
        settings.ignore("bias", "batch_first")  # which tensors there are says it
        tensors = {}
        for layer in range(layers):
            for number, suffix in enumerate(["", "_reverse"][: 1 + both]):
                name = f"l{layer}{suffix}"
                weight_ih = archive.take(f"{theirs}.weight_ih_{name}", gates * size, width)
                weight_hh = archive.take(f"{theirs}.weight_hh_{name}", gates * size, size)
                biases = [torch.zeros(gates * size) for _ in range(2)]  # not one tensor of two names
                if archive.has(f"{theirs}.bias_ih_{name}"):
                    biases = [archive.take(f"{theirs}.bias_{side}_{name}", gates * size) for side in ("ih", "hh")]
                if kind == "lstm":
                    ours = f"{('forward', 'backward')[number]}_lstms.{layer}"
                    parts = {"input_gates.weight": weight_ih, "recurrent_gates.weight": weight_hh}
                    parts["input_gates.bias"] = without_forget_bias(biases[0] + biases[1])
                else:
                    ours = f"layers.{layer}.{number}"
                    parts = {"input_gates.weight": weight_ih, "state_gates.weight": weight_hh}
                    parts |= {"input_gates.bias": biases[0], "state_gates.bias": biases[1]}
                tensors |= {f"{ours}.{part}": tensor for part, tensor in parts.items()}
            width = size * (1 + both)
        return Layer(described, width, tensors)

    return read


def without_forget_bias(bias: Tensor) -> Tensor:
    """Subtract from a bias `(4C,)` the 1 that `TaskBiLstm` adds to its forget gates."""
    bias = bias.clone()
    bias[len(bias) // 4 : len(bias) // 2] -= 1
    return bias


def read_highway_lstms(kind: str) -> Reader:
    """Return the reader of an `augmented_lstm`, `alternating_lstm` or `stacked_bidirectional_lstm`."""

    def names(layer: int) -> list[str]:
        """Return what follows the name of the encoder, for each direction of a layer."""
        return {
            "augmented_lstm": [""],
            "alternating_lstm": [f".layer_{layer}"],
            "stacked_bidirectional_lstm": [f".forward_layer_{layer}", f".backward_layer_{layer}"],
        }[kind]

    def read(archive: TaskArchive, settings: Settings, theirs: str, width: int) -> Layer:
        check_width(settings, "input_size", width)
        refuse_state(settings)
        size, highway = settings.size("hidden_size"), settings.pop("use_highway", True, bool)
        described = {"type": kind, "size": size, "highway": highway}
        described["recurrent_dropout"] = settings.rate("recurrent_dropout_probability")
        layers = 1
        if kind == "augmented_lstm":
            described["reverse"] = not settings.pop("go_forward", True, bool)
        else:
            layers = described["layers"] = settings.size("num_layers")
        if kind == "stacked_bidirectional_lstm":
            described["layer_dropout"] = settings.rate("layer_dropout_probability")
        settings.ignore("use_input_projection_bias")  # which tensors there are says it
        has_bias = described["input_bias"] = archive.has(f"{theirs}{names(0)[0]}.input_linearity.bias")
        tensors, rows = {}, (6, 5) if highway else (4, 4)
        for layer in range(layers):
            for number, name in enumerate(names(layer)):
                ours, of = f"layers.{layer}.{number}", f"{theirs}{name}"
                tensors |= archive.linear(
                    f"{of}.input_linearity", f"{ours}.input_gates", rows[0] * size, width, has_bias
                )
                tensors |= archive.linear(f"{of}.state_linearity", f"{ours}.state_gates", rows[1] * size, size)
            width = size * len(names(layer))
        return Layer(described, width, tensors)

    return read


def read_alone(reader: Reader) -> Reader:
    """Return the reader of an encoder of which only the final outputs are read."""

    def read(archive: TaskArchive, settings: Settings, theirs: str, width: int) -> Layer:
        layer = reader(archive, settings, theirs, width)
        return layer._replace(tensors=layer.named("encoder"))

    return read


# ---- other layers


def read_activation(value: Any, settings: Settings, name: str) -> str:
    """Return the name of an activation, which may be a section with a type and no more."""
    if isinstance(value, dict) and value.keys() == {"type"}:
        value = value["type"]
    if not isinstance(value, str) or value not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(
            f"{settings.file}: {settings.place}.{name} is {value!r:.60}, which has no counterpart; known are {known}"
        )
    return value


def read_feedforward(archive: TaskArchive, settings: Settings, theirs: str, width: int) -> Layer:
    """Read a `FeedForward`: linear layers, each with an activation and dropout."""
    check_width(settings, "input_dim", width)
    count = settings.size("num_layers")
    sizes = settings.each("hidden_dims", count, None, int)
    activations = settings.each("activations", count, None, str, dict)
    activations = [read_activation(value, settings, "activations") for value in activations]
    dropout = [settings.check_rate("dropout", rate) for rate in settings.each("dropout", count, 0.0, int, float)]
    settings.finish()
    described = {"type": "feedforward", "sizes": sizes, "activations": activations, "dropout": dropout}
    return Layer(described, sizes[-1], linear_layers(archive, theirs, sizes, width))


def linear_layers(archive: TaskArchive, theirs: str, sizes: list[int], width: int) -> dict[str, Tensor]:
    tensors = {}
    for number, (inputs, outputs) in enumerate(zip([width, *sizes], sizes)):
        tensors |= archive.linear(f"{theirs}._linear_layers.{number}", f"layers.{number}", outputs, inputs)
    return tensors


def read_maxout(archive: TaskArchive, settings: Settings, theirs: str, width: int) -> Layer:
    """Read a `Maxout`: linear layers, of whose outputs each is the maximum of several."""
    check_width(settings, "input_dim", width)
    count = settings.size("num_layers")
    sizes = settings.each("output_dims", count, None, int)
    pools = settings.each("pool_sizes", count, None, int)
    dropout = [settings.check_rate("dropout", rate) for rate in settings.each("dropout", count, 0.0, int, float)]
    settings.finish()
    tensors = {}
    for number, (inputs, outputs, pool) in enumerate(zip([width, *sizes], sizes, pools)):
        tensors |= archive.linear(f"{theirs}._linear_layers.{number}", f"layers.{number}", outputs * pool, inputs)
    described = {"type": "maxout", "sizes": sizes, "pools": pools, "dropout": dropout}
    return Layer(described, sizes[-1], tensors)


def read_feedforward_or_maxout(archive: TaskArchive, settings: Settings, theirs: str, width: int) -> Layer:
    """Read what may be either, as the output of a `bcn`."""
    is_maxout = "pool_sizes" in settings
    return (read_maxout if is_maxout else read_feedforward)(archive, settings, theirs, width)


def read_feedforward_encoder(archive: TaskArchive, settings: Settings, theirs: str, width: int) -> Layer:
    return read_feedforward(archive, settings.required("feedforward"), f"{theirs}._feedforward", width)


def read_pass_through(archive: TaskArchive, settings: Settings, theirs: str, width: int) -> Layer:
    check_width(settings, "input_dim", width)
    return Layer({"type": "pass_through"}, width, {})


def read_compose(archive: TaskArchive, settings: Settings, theirs: str, width: int) -> Layer:
    """Read encoders that are applied one after the other."""
    if settings.place.count(".encoders.") > MOST_NESTED:
        raise ValueError(f"{settings.file}: {settings.place:.60}... nests more than {MOST_NESTED} encoders")
    parts, described, tensors = settings.pop("encoders", [], list), [], {}
    for number, content in enumerate(parts):
        section = Settings(content, f"{settings.place}.encoders.{number}", settings.file)
        layer = read_encoder(archive, section, f"{theirs}.encoder{number}", width)
        described.append(layer.described)
        tensors |= layer.named(f"encoders.{number}")
        width = layer.size
    return Layer({"type": "compose", "encoders": described}, width, tensors)


def read_bag(archive: TaskArchive, settings: Settings, theirs: str, width: int) -> Layer:
    check_width(settings, "embedding_dim", width)
    return Layer({"type": "bag_of_embeddings", "averaged": settings.pop("averaged", False, bool)}, width, {})


def read_cnn(archive: TaskArchive, settings: Settings, theirs: str, width: int) -> Layer:
    """Read a `CnnEncoder`."""
    check_width(settings, "embedding_dim", width)
    filters = settings.size("num_filters")
    widths = settings.pop("ngram_filter_sizes", [2, 3, 4, 5], list)
    if not widths or not all(type(length) is int and 0 < length < 1000 for length in widths):
        raise ValueError(f"{settings.file}: {settings.place}.ngram_filter_sizes must be widths, but is {widths!r:.80}")
    activation = read_activation(
        settings.pop("conv_layer_activation", "relu", str, dict), settings, "conv_layer_activation"
    )
    size = settings.pop("output_dim", None, int)
    described = {"type": "cnn", "filters": filters, "widths": widths, "activation": activation, "size": size}
    described["counts_padding"] = archive.counts_padding
    tensors = {}
    for number, length in enumerate(widths):
        tensors[f"convolutions.{number}.weight"] = archive.take(
            f"{theirs}.conv_layer_{number}.weight", filters, width, length
        )
        tensors[f"convolutions.{number}.bias"] = archive.take(f"{theirs}.conv_layer_{number}.bias", filters)
    pooled = filters * len(widths)
    if size is not None:
        tensors |= archive.linear(f"{theirs}.projection_layer", "projection", size, pooled)
    return Layer(described, size or pooled, tensors)


def read_cls(archive: TaskArchive, settings: Settings, theirs: str, width: int) -> Layer:
    check_width(settings, "embedding_dim", width)
    kind = "last_word" if settings.pop("cls_is_last_token", False, bool) else "first_word"
    return Layer({"type": kind}, width, {})


RECURRENT: dict[str, Reader] = {
    **{kind: read_torch_recurrent(kind) for kind in ("lstm", "gru", "rnn")},
    **{kind: read_highway_lstms(kind) for kind in ("augmented_lstm", "alternating_lstm", "stacked_bidirectional_lstm")},
}
ENCODERS: dict[str, Reader] = {
    **RECURRENT,
    "feedforward": read_feedforward_encoder,
    "pass_through": read_pass_through,
    "compose": read_compose,
}
POOLERS: dict[str, Reader] = {
    **{kind: read_alone(reader) for kind, reader in RECURRENT.items()},
    "bag_of_embeddings": read_bag,
    "boe": read_bag,
    "cnn": read_cnn,
    "cls_pooler": read_cls,
}


def read_encoder(archive: TaskArchive, settings: Settings, theirs: str, width: int) -> Layer:
    """Read a `Seq2SeqEncoder`."""
    return read_layer(ENCODERS, archive, settings, theirs, width)


def read_pooler(archive: TaskArchive, settings: Settings, theirs: str, width: int) -> Layer:
    """Read a `Seq2VecEncoder`."""
    return read_layer(POOLERS, archive, settings, theirs, width)
