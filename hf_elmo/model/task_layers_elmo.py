# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The biLSTM of task heads: plain LSTMs over words of any mask, at the pace of the encoder's packed recurrence."""

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .lstm_elmo import Direction, bilstm, lstm_steps
from .modeling_elmo import has_plain_weight


class TaskLstm(nn.Module):
    """One direction of a layer: an LSTM without projection and clips, whose forget gate starts open."""

    def __init__(self, input_size: int, size: int, reverse: bool):
        super().__init__()
        self.reverse = reverse
        self.input_gates = nn.Linear(input_size, 4 * size)
        self.recurrent_gates = nn.Linear(size, 4 * size, bias=False)
        self.input_gates.init_weight = glorot_gates
        self.recurrent_gates.init_weight = orthogonal_gates

    def is_plain(self) -> bool:
        """Whether its weights can be used in place of calls of its layers."""
        return has_plain_weight(self.input_gates) and has_plain_weight(self.recurrent_gates)

    def direction(self, x: Tensor) -> Direction:
        """What `bilstm` takes."""
        gates = self.input_gates.weight, self.input_gates.bias, self.recurrent_gates.weight
        return Direction(x, *gates, reverse=self.reverse)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """From `x` `(B, T, I)` to outputs `(B, T, C)` and the last state, by calls of its layers."""
        batch, size = x.shape[0], self.recurrent_gates.in_features
        state = x.new_zeros(batch, size), x.new_zeros(batch, size)
        layers = self.input_gates, self.recurrent_gates, None
        return lstm_steps(x, *layers, state, mask, reverse=self.reverse, forget_bias=1.0)


class TaskBiLstm(nn.Module):
    """Layers of a biLSTM, each over both directions of the one below, with dropout between them.

    Args:
        input_size (`int`): Width of a word's vector.
        size (`int`): Width of one direction.
        num_layers (`int`, defaults to 1): How many layers; without any, words stay as they are.
        dropout (`float`, defaults to 0): Of what layers from the second on read.
    """

    def __init__(self, input_size: int, size: int, num_layers: int = 1, dropout: float = 0.0):
        super().__init__()
        self.output_size = 2 * size if num_layers else input_size
        self.dropout = nn.Dropout(dropout)
        widths = [input_size, *[2 * size] * (num_layers - 1)][:num_layers]
        self.forward_lstms = nn.ModuleList(TaskLstm(width, size, reverse=False) for width in widths)
        self.backward_lstms = nn.ModuleList(TaskLstm(width, size, reverse=True) for width in widths)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """From `x` `(B, T, I)` and a mask `(B, T)` of any pattern to `(B, T, output_size)`, 0 at no word."""
        for index, lstms in enumerate(zip(self.forward_lstms, self.backward_lstms)):
            x = self.dropout(x) if index else x
            if all(lstm.is_plain() for lstm in lstms):
                results = bilstm(*(lstm.direction(x) for lstm in lstms), mask, forget_bias=1.0)
            else:  # adapters or quantized layers
                results = [lstm(x, mask) for lstm in lstms]
            x = torch.cat([outputs for outputs, _ in results], dim=-1)
        return x


class VariationalDropout(nn.Module):
    """Dropout of the same features at all words of a row (Gal and Ghahramani 2016)."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """From `(B, T, D)` to the same."""
        if not (self.training and self.rate):
            return x
        return x * nn.functional.dropout(torch.ones_like(x[:, :1]), self.rate)


def encode_apart(encoder: nn.Module, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """`encoder(x, mask)` over two texts in each row, neither of which sees the other, as one result in their places.

    Args:
        encoder: Gives 0 where its mask has no word.
        x (`(B, T, I)`): Words of both.
        first, second (`(B, T)` of bool): Which are words of the first and of the second text.
    """
    if not torch.compiler.is_compiling() and not second.any():  # a graph cannot tell
        return encoder(x, first)
    rows = x.shape[0]
    both = encoder(torch.cat([x, x]), torch.cat([first, second]))
    return both[:rows] + both[rows:]  # a graph with chunk(2) would be one for this number of rows only


def glorot_gates(weight: Tensor):
    """Glorot and Bengio's uniform values for the input weights of each gate, `(4C, I)`."""
    bound = (6 / (weight.shape[0] // 4 + weight.shape[1])) ** 0.5
    init.uniform_(weight, a=-bound, b=bound)


def orthogonal_gates(weight: Tensor):
    """Orthogonal recurrent weights for each gate, `(4C, C)`; made in single precision, for lower ones have no QR."""
    size = weight.shape[1]
    gates = [nn.init.orthogonal_(torch.empty(size, size, device=weight.device)) for _ in range(4)]
    init.copy_(weight, torch.cat(gates))


__all__ = ["TaskBiLstm", "VariationalDropout", "encode_apart"]
