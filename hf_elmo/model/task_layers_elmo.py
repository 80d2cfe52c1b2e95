# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Layers of task heads: biLSTMs, attention between the words of texts, dropout and normalization.

Letters in shapes: B batch, T and S words, I input width, D width of a word's vector, C width of one direction of a
biLSTM. A mask is True where there is a word, in any pattern; values elsewhere affect neither results nor gradients. A
text without words gives zeros.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .lstm_elmo import Direction, direction_of_layers, lstm
from .pooling_elmo import attend, masked_max, masked_softmax

# ---- biLSTM


class TaskLstm(nn.Module):
    """One direction of a layer: an LSTM without projection and clips, with a bias of 1 on its forget gate."""

    def __init__(self, input_size: int, size: int, reverse: bool):
        super().__init__()
        self.reverse = reverse
        self.input_gates = nn.Linear(input_size, 4 * size)
        self.recurrent_gates = nn.Linear(size, 4 * size, bias=False)
        self.input_gates.init_weight = init_glorot_gates
        self.recurrent_gates.init_weight = init_orthogonal_gates

    def direction(self, x: Tensor) -> Direction:
        """Return the direction to run, over `x` `(B, T, I)`."""
        return direction_of_layers(x, self.input_gates, self.recurrent_gates, reverse=self.reverse)


class TaskBiLstm(nn.Module):
    """A stack of biLSTM layers, of `size` numbers in each direction. Each layer reads both directions of the layer
    below, from the second one on with dropout. Without layers, the output is the input; if not `bidirectional`, there
    is no backward direction."""

    def __init__(
        self, input_size: int, size: int, num_layers: int = 1, dropout: float = 0.0, bidirectional: bool = True
    ):
        super().__init__()
        width = 2 * size if bidirectional else size
        self.output_size = width if num_layers else input_size
        self.dropout = nn.Dropout(dropout)
        widths = [input_size, *[width] * (num_layers - 1)][:num_layers]
        self.forward_lstms = nn.ModuleList(TaskLstm(width, size, reverse=False) for width in widths)
        backward = widths if bidirectional else ()
        self.backward_lstms = nn.ModuleList(TaskLstm(width, size, reverse=True) for width in backward)

    def forward(self, x: Tensor, mask: Tensor | None, lengths: list[int] | None = None) -> Tensor:
        """From `x` `(B, T, I)` and a mask `(B, T)` to `(B, T, output_size)`, 0 where there is no word; or from
        `(1, T, I)` and the `lengths` of sentences that follow each other."""
        return self.encode(x, mask, lengths)[0]

    def encode(self, x: Tensor, mask: Tensor | None, lengths: list[int] | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the outputs, and the final outputs of the last layer's directions side by side, `(B, output_size)`;
        None without layers or with `lengths`."""
        last = None
        backward = [[half] for half in self.backward_lstms] or [[]] * len(self.forward_lstms)
        for index, (half, other) in enumerate(zip(self.forward_lstms, backward)):
            x = self.dropout(x) if index else x
            results = lstm([direction.direction(x) for direction in (half, *other)], mask, lengths=lengths)
            x = torch.cat([outputs for outputs, _ in results], dim=-1)
            last = None if lengths else torch.cat([final for _, (final, _) in results], dim=-1)
        return x, last


def encode_separately(encoder: nn.Module, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Apply `encoder(x, mask)`, which returns 0 where its mask is False, to the two texts of each row, independently of
    each other: from words `(B, T, I)`, of which `first` and `second` `(B, T)` tell the texts, to `(B, T, D)`."""
    if not torch.compiler.is_compiling() and not second.any():  # a graph cannot depend on this
        return encoder(x, first)
    rows = x.shape[0]
    both = encoder(torch.cat([x, x]), torch.cat([first, second]))
    return both[:rows] + both[rows:]  # chunk(2) would fix the number of rows in a graph


def init_glorot_gates(weight: Tensor):
    """Initialize input weights `(4C, I)`, each gate with Glorot and Bengio's uniform distribution."""
    bound = (6 / (weight.shape[0] // 4 + weight.shape[1])) ** 0.5
    init.uniform_(weight, a=-bound, b=bound)


def init_orthogonal_gates(weight: Tensor):
    """Initialize recurrent weights `(n C, C)`, each gate orthogonal; in single precision, as lower ones lack QR."""
    size = weight.shape[1]
    gates = [nn.init.orthogonal_(torch.empty(size, size, device=weight.device)) for _ in range(len(weight) // size)]
    init.copy_(weight, torch.cat(gates))


# ---- attention


class TrilinearSimilarity(nn.Module):
    """Scores of pairs of words, `u x + v y + (w * x) y` with learnt vectors u, v, w (Seo et al. 2017, section 2)."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Linear(width, 1, bias=False)
        self.second = nn.Linear(width, 1, bias=False)
        bound = (6 / (width + 1)) ** 0.5
        self.product = Scale(width, partial(init.uniform_, a=-bound, b=bound))
        for part in (self.first, self.second):
            part.init_weight = init.xavier_uniform_

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """From `(B, T, D)` and `(B, S, D)` to `(B, T, S)`."""
        return self.first(x) + self.second(y).transpose(1, 2) + self.product(x) @ y.transpose(1, 2)


class Scale(nn.Module):
    """A learnt factor for each feature."""

    def __init__(self, width: int, init_weight: Callable[[Tensor], Tensor]):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.init_weight = init_weight

    def reset_parameters(self):
        self.init_weight(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class BidirectionalAttention(nn.Module):
    """Attention from the context to the question and back (Seo et al. 2017, section 2, layer 4)."""

    def __init__(self, width: int, similarity: nn.Module | None = None):
        super().__init__()
        self.similarity = TrilinearSimilarity(width) if similarity is None else similarity

    def forward(self, context: Tensor, question: Tensor, context_mask: Tensor, question_mask: Tensor) -> Tensor:
        """Concatenate each context word, the question as it attends to it, the product of both, and the product of the
        word with the mean of the context words that are most similar to some question word: from `(B, T, D)`,
        `(B, S, D)`, `(B, T)` and `(B, S)` to `(B, T, 4D)`."""
        scores = self.similarity(context, question)
        from_question = attend(scores, question, question_mask[:, None])
        nearest = masked_max(scores, question_mask[:, None], dim=-1)  # (B, T)
        from_context = attend(nearest[:, None], context, context_mask[:, None])  # (B, 1, D)
        return torch.cat([context, from_question, context * from_question, context * from_context], dim=-1)


class SelfAttention(nn.Module):
    """Attention of each word to the other words of its text, or to nothing (Clark and Gardner 2018, section 3.1).

    "Nothing" has a learnt score and a vector of zeros, as in the authors' code. A text of one word has nothing else.
    """

    def __init__(self, width: int):
        super().__init__()
        self.similarity = TrilinearSimilarity(width)
        self.nothing = Scale(1, partial(init.constant_, val=-1.0))

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """Concatenate each word, the others as it attends to them, and the product of both: from `(B, T, D)` and
        `(B, T)` to `(B, T, 3D)`."""
        scores = self.similarity(words, words)
        nothing = self.nothing(torch.ones_like(scores[..., :1]))
        itself = torch.eye(words.shape[1], dtype=torch.bool, device=words.device)
        places = torch.cat([mask[:, None] & ~itself, torch.ones_like(nothing, dtype=torch.bool)], dim=-1)
        weights = masked_softmax(torch.cat([scores, nothing], dim=-1), places)[..., :-1]
        others = weights @ words
        return torch.cat([words, others, words * others], dim=-1)


# ---- dropout, normalization


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


class BatchNormalization(nn.BatchNorm1d):
    """Batch normalization without weights, as a linear layer follows.

    In training, a batch of one row, which has no variance, is normalized by the running averages.
    """

    def __init__(self, width: int):
        super().__init__(width, affine=False)

    def reset_parameters(self):
        init.zeros_(self.running_mean)
        init.ones_(self.running_var)
        init.zeros_(self.num_batches_tracked)

    def forward(self, x: Tensor) -> Tensor:
        """From `(B, D)` to the same."""
        if x.shape[0] > 1 or not self.training:
            return super().forward(x)
        return nn.functional.batch_norm(x, self.running_mean, self.running_var, eps=self.eps)
