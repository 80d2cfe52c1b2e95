# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Layers of task heads that a configuration describes, as `task_layers` and `word_features` do: dicts with a `type`.

    sequences to sequences, `build_encoder`
        lstm, gru, rnn               size, layers, bidirectional, dropout; rnn also activation
        augmented_lstm               size, reverse, highway, input_bias, recurrent_dropout
        alternating_lstm             size, layers, highway, input_bias, recurrent_dropout: He et al. 2017, section 2.1
        stacked_bidirectional_lstm   the same, and layer_dropout
        feedforward                  sizes, activations, dropout
        pass_through
        compose                      encoders, one after the other
    sequences to vectors, `build_pooler`
        bag_of_embeddings            averaged
        cnn                          widths, filters, activation, size (of a projection), counts_padding
        first_word, last_word
        all recurrent encoders       their final outputs
    vectors to vectors, `build_feedforward`
        feedforward, maxout          sizes, activations or pools, dropout

Letters in shapes: B batch, T words, I input width, D output width, H width of one direction. A mask is True where there
is a word, in any pattern; outputs elsewhere are 0.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from .pooling_elmo import masked_mean
from .scan_elmo import scan
from .task_layers_elmo import TaskBiLstm, VariationalDropout, init_glorot_gates, init_orthogonal_gates

NAMED_AS_IN_TORCH = "mish relu relu6 elu leaky_relu hardtanh softplus softshrink softsign tanhshrink selu gelu".split()
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {name: getattr(F, name) for name in NAMED_AS_IN_TORCH}
ACTIVATIONS |= {"linear": lambda x: x, "swish": F.silu, "log_sigmoid": F.logsigmoid}
ACTIVATIONS |= {"sigmoid": torch.sigmoid, "tanh": torch.tanh}


# ---- recurrent cells


class RecurrentCell(nn.Module):
    """A cell that is run step by step: `step` goes from the products of the input and of the state to the next state,
    whose first part is the output. `rows` are the widths of these products, as multiples of `size`; that of the input
    may have no bias. `dropout` is variational, on the output that the next step reads."""

    num_states = 1

    def __init__(self, input_size: int, size: int, rows: tuple[int, int], input_bias: bool = True, dropout: float = 0):
        super().__init__()
        self.size, self.rate = size, dropout
        self.input_gates = nn.Linear(input_size, rows[0] * size, bias=input_bias)
        self.state_gates = nn.Linear(size, rows[1] * size)
        for layer in (self.input_gates, self.state_gates):
            layer.init_weight = partial(init.uniform_, a=-(size**-0.5), b=size**-0.5)

    def run(self, x: Tensor, mask: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
        """From `(B, T, I)` and `(B, T)` to outputs `(B, T, H)` and the final output `(B, H)`."""
        gates = self.input_gates(x.masked_fill(~mask[..., None], 0))
        state = tuple(gates.new_zeros(x.shape[0], self.size) for _ in range(self.num_states))
        kept = F.dropout(torch.ones_like(state[0]), self.rate, self.training)
        inputs = gates.transpose(0, 1), mask.transpose(0, 1)[..., None]
        state, outputs = scan(partial(masked_step, self, kept), state, inputs, reverse)
        return outputs.transpose(0, 1) if x.shape[1] else gates.new_zeros(x.shape[0], 0, self.size), state[0]

    def step(self, gates: Tensor, products: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        raise NotImplementedError


def masked_step(
    cell: RecurrentCell, kept: Tensor, state: tuple[Tensor, ...], inputs: tuple[Tensor, ...]
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Compute one time step of a cell, which leaves the state as it was where there is no word: from the factors of
    dropout `(B, H)`, the state, the product of the input `(B, ...)`, and the mask `(B, 1)`."""
    gates, present = inputs
    following = cell.step(gates, cell.state_gates(state[0] * kept), state)
    state = tuple(torch.where(present, new, old) for new, old in zip(following, state))
    return state, state[0].masked_fill(~present, 0)


class GruCell(RecurrentCell):
    """A gated recurrent unit, with torch's equations and order of gates (r, z, n)."""

    def __init__(self, input_size: int, size: int):
        super().__init__(input_size, size, (3, 3))

    def step(self, gates: Tensor, products: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (r, z, n), (state_r, state_z, state_n) = gates.chunk(3, -1), products.chunk(3, -1)
        r, z = torch.sigmoid(r + state_r), torch.sigmoid(z + state_z)
        return (torch.lerp(torch.tanh(n + r * state_n), state[0], z),)


class RnnCell(RecurrentCell):
    """A plain recurrent unit, `activation(W x + U h + b)`."""

    def __init__(self, input_size: int, size: int, activation: str = "tanh"):
        super().__init__(input_size, size, (1, 1))
        self.activation = ACTIVATIONS[activation]

    def step(self, gates: Tensor, products: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (self.activation(gates + products),)


class HighwayLstmCell(RecurrentCell):
    """An LSTM with a highway from its input to its output (Zhang et al. 2016; He et al. 2017, equations 4 to 6).

        h = r * o tanh(c) + (1 - r) * W x

    Gates are i, f, g, o, r and the product W x. Without highway, it is an LSTM with variational dropout.
    """

    num_states = 2

    def __init__(
        self, input_size: int, size: int, highway: bool = True, input_bias: bool = True, recurrent_dropout: float = 0.0
    ):
        super().__init__(input_size, size, (6, 5) if highway else (4, 4), input_bias, recurrent_dropout)
        self.highway = highway
        self.input_gates.init_weight = init_glorot_gates
        self.state_gates.init_weight = init_orthogonal_gates

    def reset_parameters(self):
        """Set the bias of the forget gate to 1."""
        bias = torch.zeros_like(self.state_gates.bias)
        bias[self.size : 2 * self.size] = 1
        init.copy_(self.state_gates.bias, bias)

    def step(self, gates: Tensor, products: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        size = self.size
        sums = gates[:, : 4 * size] + products[:, : 4 * size]
        i, f, g, o = sums.chunk(4, -1)
        c = torch.sigmoid(i) * torch.tanh(g) + torch.sigmoid(f) * state[1]
        h = torch.sigmoid(o) * torch.tanh(c)
        if self.highway:
            r = torch.sigmoid(gates[:, 4 * size : 5 * size] + products[:, 4 * size :])
            h = torch.lerp(gates[:, 5 * size :], h, r)
        return h, c


class StackedCells(nn.Module):
    """Layers of cells, which `make_cell` makes from the width of their input. `directions` says for each layer whether
    each of its cells runs backward: forward only, both side by side, or in turn. Inputs of layers from the second one
    on have dropout; if `variational`, of the same features at all words."""

    def __init__(
        self,
        input_size: int,
        make_cell: Callable[[int], RecurrentCell],
        directions: Sequence[Sequence[bool]],
        dropout: float = 0.0,
        variational: bool = False,
    ):
        super().__init__()
        self.directions, self.dropout = directions, (VariationalDropout if variational else nn.Dropout)(dropout)
        self.layers = nn.ModuleList()
        for layer in directions:
            self.layers.append(nn.ModuleList(make_cell(input_size) for _ in layer))
            input_size = sum(cell.size for cell in self.layers[-1])
        self.output_size = input_size

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """From `(B, T, I)` and `(B, T)` to `(B, T, output_size)`."""
        return self.encode(x, mask)[0]

    def encode(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the outputs, and the final outputs `(B, output_size)` of the last layer."""
        last = None
        for index, (cells, directions) in enumerate(zip(self.layers, self.directions)):
            x = self.dropout(x) if index else x
            results = [cell.run(x, mask, reverse) for cell, reverse in zip(cells, directions)]
            x, last = (torch.cat(part, dim=-1) for part in zip(*results))
        return x, last


# ---- other encoders


class FeedForward(nn.Module):
    """Linear layers of these output `sizes`, each followed by its activation, a name out of `ACTIVATIONS`, and dropout.
    With `pools`, each output is the maximum of so many that stand side by side (maxout, Goodfellow et al. 2013)."""

    def __init__(
        self,
        input_size: int,
        sizes: Sequence[int],
        activations: Sequence[str],
        dropout: Sequence[float],
        pools: Sequence[int] | None = None,
    ):
        super().__init__()
        self.pools, widths = [1] * len(sizes) if pools is None else pools, [input_size, *sizes]
        triples = zip(widths, sizes, self.pools)
        self.layers = nn.ModuleList(nn.Linear(width, size * pool) for width, size, pool in triples)
        self.activations = [ACTIVATIONS[name] for name in activations]
        self.rates, self.output_size = dropout, widths[-1]
        for layer in self.layers:
            layer.init_weight = init.xavier_uniform_

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """From `(..., I)` to `(..., D)`; 0 where `mask` is given and False."""
        for layer, pool, activation, rate in zip(self.layers, self.pools, self.activations, self.rates):
            x = activation(layer(x).unflatten(-1, (-1, pool)).amax(dim=-1))
            x = F.dropout(x, rate, self.training)
        return x if mask is None else x.masked_fill(~mask[..., None], 0)


def maxout(input_size: int, sizes: Sequence[int], pools: Sequence[int], dropout: Sequence[float]) -> FeedForward:
    return FeedForward(input_size, sizes, ["linear"] * len(sizes), dropout, pools)


def pass_through(input_size: int) -> FeedForward:
    return FeedForward(input_size, (), (), ())


class Compose(nn.Module):
    """Encoders, one after the other."""

    def __init__(self, input_size: int, encoders: Sequence[dict]):
        super().__init__()
        self.encoders = nn.ModuleList()
        for described in encoders:
            self.encoders.append(build_encoder(described, input_size))
            input_size = self.encoders[-1].output_size
        self.output_size = input_size

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for encoder in self.encoders:
            x = encoder(x, mask)
        return x


# ---- poolers


class BagOfEmbeddings(nn.Module):
    """The sum of all words, or their mean."""

    def __init__(self, input_size: int, averaged: bool = False):
        super().__init__()
        self.averaged, self.output_size = averaged, input_size

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return masked_mean(x, mask) if self.averaged else x.masked_fill(~mask[..., None], 0).sum(dim=1)


class OneWord(nn.Module):
    """The first word, or the last; zeros for a text without words."""

    def __init__(self, is_last: bool, input_size: int):
        super().__init__()
        self.is_last, self.output_size = is_last, input_size

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        number = mask.cumsum(dim=1)
        selected = mask & (number == (number[:, -1:] if self.is_last else 1))
        return x.masked_fill(~selected[..., None], 0).sum(dim=1)


class CnnPooler(nn.Module):
    """Convolutions over words, `filters` of each of the `widths` in words, and the maximum of each filter (Zhang and
    Wallace 2016), perhaps projected to `size`. If `counts_padding`, windows over the zeros after a text count too, as
    in AllenNLP before 1.2.1: a text is then read as if at least a window of zeros followed it. Otherwise, a filter that
    is wider than the text gives 0."""

    def __init__(
        self,
        input_size: int,
        filters: int,
        widths: Sequence[int],
        activation: str = "relu",
        size: int | None = None,
        counts_padding: bool = False,
    ):
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(input_size, filters, width) for width in widths)
        self.activation, self.counts_padding = ACTIVATIONS[activation], counts_padding
        self.projection = None if size is None else nn.Linear(filters * len(widths), size)
        self.output_size = filters * len(widths) if size is None else size
        for convolution in self.convolutions:
            convolution.init_weight = init.xavier_uniform_

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """From `(B, T, I)` and `(B, T)` to `(B, D)`."""
        order = mask.byte().argsort(dim=1, descending=True, stable=True)[..., None].expand_as(x)
        x = x.masked_fill(~mask[..., None], 0).gather(1, order).transpose(1, 2)  # words at the left
        lengths, maxima = mask.sum(dim=1), []
        for convolution in self.convolutions:
            width = convolution.kernel_size[0]
            values = self.activation(convolution(F.pad(x, (0, width))))
            if not self.counts_padding:
                places = torch.arange(values.shape[2], device=x.device)
                values = values.masked_fill((places > (lengths - width)[:, None])[:, None], -torch.inf)
            highest = values.amax(dim=2)
            maxima.append(highest.masked_fill(highest == -torch.inf, 0))
        pooled = torch.cat(maxima, dim=-1)
        return pooled if self.projection is None else self.projection(pooled)


class LastState(nn.Module):
    """The final outputs of a recurrent encoder's last layer, of both directions if it has two."""

    def __init__(self, encoder: TaskBiLstm | StackedCells):
        super().__init__()
        self.encoder, self.output_size = encoder, encoder.output_size

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.encoder.encode(x, mask)[1]


# ---- descriptions


def recurrent(
    kind: str, input_size: int, size: int, layers: int = 1, bidirectional: bool = False, dropout: float = 0, **options
) -> TaskBiLstm | StackedCells:
    if kind == "lstm":
        return TaskBiLstm(input_size, size, layers, dropout, bidirectional, **options)
    make = partial(GruCell if kind == "gru" else RnnCell, size=size, **options)
    return StackedCells(input_size, make, [[False, True][: 1 + bidirectional]] * layers, dropout)


def highway_lstms(
    kind: str, input_size: int, size: int, layers: int = 1, reverse: bool = False, layer_dropout: float = 0.0, **options
) -> StackedCells:
    make = partial(HighwayLstmCell, size=size, **options)
    directions = {
        "augmented_lstm": [[reverse]],
        "alternating_lstm": [[bool(layer % 2)] for layer in range(layers)],
        "stacked_bidirectional_lstm": [[False, True]] * layers,
    }[kind]
    return StackedCells(input_size, make, directions, layer_dropout, variational=True)


HIGHWAYS = ("augmented_lstm", "alternating_lstm", "stacked_bidirectional_lstm")
Layers = dict[str, Callable[..., nn.Module]]
RECURRENT: Layers = {kind: partial(recurrent, kind) for kind in ("lstm", "gru", "rnn")}
RECURRENT |= {kind: partial(highway_lstms, kind) for kind in HIGHWAYS}
ENCODERS: Layers = {**RECURRENT, "feedforward": FeedForward, "pass_through": pass_through, "compose": Compose}
POOLERS: Layers = {"bag_of_embeddings": BagOfEmbeddings, "cnn": CnnPooler}
POOLERS |= {"first_word": partial(OneWord, False), "last_word": partial(OneWord, True)}
FEEDFORWARDS: Layers = {"feedforward": FeedForward, "maxout": maxout}


def build(kinds: Layers, described: dict, input_size: int) -> nn.Module:
    """Return the layer that a dict describes; `ValueError` for another type, and for options that it does not have."""
    options = dict(described)
    kind = options.pop("type", None)
    if kind not in kinds:
        raise ValueError(f"the `type` of a layer must be one of {', '.join(kinds)}, but is {kind!r}")
    try:
        return kinds[kind](input_size, **options)
    except (TypeError, KeyError, RuntimeError) as error:
        raise ValueError(f"a layer of the type {kind!r} cannot be made of {options!r:.200}: {error}") from None


def build_encoder(described: dict, input_size: int) -> nn.Module:
    """Return an encoder from `(B, T, I)` and a mask `(B, T)` to `(B, T, output_size)`."""
    return build(ENCODERS, described, input_size)


def build_pooler(described: dict, input_size: int) -> nn.Module:
    """Return a pooler from `(B, T, I)` and a mask `(B, T)` to `(B, output_size)`."""
    if described.get("type") in RECURRENT:
        return LastState(build(RECURRENT, described, input_size))
    return build(POOLERS | RECURRENT, described, input_size)


def build_feedforward(described: dict, input_size: int) -> nn.Module:
    """Return layers from `(..., I)` to `(..., output_size)`."""
    return build(FEEDFORWARDS, described, input_size)
