# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The character encoder: one vector for a word from its characters, without context.

    character ids -> embeddings -> convolutions -> maximum over positions, activation -> highways -> projection

N words   W characters per word   E embedding width   F filters of a convolution   D filters of all   P projection width

Equal words are computed once. At inference on a CPU the convolutions run several times as fast as the calls of their
layers: words are grouped with words of like length and computed only over the characters that exist and one window of
padding, because further windows of padding are all the same. Each convolution is then one product of matrices, small
enough that its result is still in the cache when its maximum is computed.
"""

import itertools
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from transformers import initialization as init

from .configuration_elmo import ElmoConfig
from .linear_elmo import (
    add_product_,
    apply_linear,
    linear,
    may_skip_calls,
    onednn_linear,
    onednn_supports,
    unsupported_reason,
)

WINDOWS = 2048  # computed at a time, so that their products take only a few megabytes
VALUES = 1 << 18  # of filters, computed at a time with gradients
HASH_FACTOR = -7046029254386353131  # 2^64 divided by the golden ratio, as a signed number: spreads small ids over bits


class ElmoHighway(nn.Module):
    """A highway layer (Srivastava et al. 2015): a gate chooses between a transformed and the unchanged input."""

    def __init__(self, features: int):
        super().__init__()
        self.transform = nn.Linear(features, features)
        self.carry = nn.Linear(features, features)  # the original's name; it gates the *transformed* input
        for layer in (self.transform, self.carry):
            layer.init_weight = partial(init.normal_, std=features**-0.5)
        self.carry.init_bias = -2.0

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(apply_linear(self.carry, x))
        return torch.lerp(x, torch.relu(apply_linear(self.transform, x)), gate)


class ElmoCharacterEncoder(nn.Module):
    """Encode words by their characters: embeddings, convolutions, maximum, highways, projection.

    With `word_embedding_size`, the last id of a row is the word's, whose embedding precedes the features of the
    characters at the projection, as in ELMoForManyLangs (Che et al. 2018).
    """

    def __init__(self, config: ElmoConfig):
        super().__init__()
        size, features = config.char_embedding_size, config.char_features
        self.activation = {"relu": torch.relu, "tanh": torch.tanh}[config.char_cnn_activation]
        self.embeddings = nn.Embedding(config.vocab_size, size, padding_idx=config.pad_token_id)
        self.convolutions = nn.ModuleList(nn.Conv1d(size, count, width) for width, count in config.char_cnn_filters)
        self.highways = nn.ModuleList(ElmoHighway(features) for _ in range(config.num_highway_layers))
        self.word_embeddings = None
        if config.word_embedding_size:
            table = config.word_embedding_count, config.word_embedding_size
            self.word_embeddings = nn.Embedding(*table, padding_idx=config.pad_token_id)
            features += config.word_embedding_size
        self.projection = nn.Linear(features, config.projection_size) if config.use_char_projection else None
        for convolution, (width, _) in zip(self.convolutions, config.char_cnn_filters):
            if config.char_cnn_activation == "relu":
                convolution.init_weight = partial(init.uniform_, a=-0.05, b=0.05)
            else:
                convolution.init_weight = partial(init.normal_, std=(width * size) ** -0.5)
        if self.projection is not None:
            self.projection.init_weight = partial(init.normal_, std=features**-0.5)

    def forward(self, rows: Tensor) -> Tensor:
        """From ids `(N, W)`, or character embeddings `(N, W, E)`, to vectors `(N, P)`."""
        if rows.is_floating_point():
            return self.encode_characters(rows)
        if torch.compiler.is_compiling():  # the number of distinct words is unknown to a graph
            characters, words = self.split_rows(rows)
            return self.encode_characters(self.embeddings(characters), words)
        types, inverse = unique_rows(rows)
        types, words = self.split_rows(types)
        filters = [(convolution.weight, convolution.bias) for convolution in self.convolutions]
        layers = self.embeddings, *self.convolutions
        called = any(unsupported_reason(layer, nn.Conv1d, nn.Embedding) for layer in layers)
        if not called and may_skip_calls(self.embeddings.weight, *itertools.chain(*filters)):
            maxima = largest_values(types, self.embeddings.weight, filters)
            return self.finish(self.activation(maxima), words)[inverse]
        types = without_common_padding(types, max(convolution.kernel_size[0] for convolution in self.convolutions))
        if not called and len(types):
            if types.is_cuda:
                maxima = largest_values_by_one_product(self.embeddings(types), filters)
                return self.finish(self.activation(maxima), words)[inverse]
            weights = self.embeddings.weight, *itertools.chain(*filters)
            if may_skip_calls(*weights, with_gradients=True, with_autocast=True):
                lengths, order = padded_from(types).sort()
                characters = self.embeddings(types[order])
                if torch.is_autocast_enabled("cpu"):
                    characters = characters.to(torch.get_autocast_dtype("cpu"))
                maxima = largest_values_with_gradients(characters, lengths.tolist(), filters)
                vectors = self.finish(self.activation(maxima), None if words is None else words[order])
                return vectors[order.argsort()[inverse]]
        return self.encode_characters(self.embeddings(types), words)[inverse]

    def split_rows(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Split rows into the ids of characters, and the ids of words `(N,)` where these have embeddings."""
        return (rows, None) if self.word_embeddings is None else (rows[:, :-1], rows[:, -1])

    def encode_characters(self, characters: Tensor, words: Tensor | None = None) -> Tensor:
        """From character embeddings `(N, W, E)`, and ids of words `(N,)` if they count, to vectors `(N, P)`."""
        characters = characters.transpose(1, 2)  # (N, E, W)
        # The maximum is over all positions, padding included: the original was trained that way.
        features = [self.activation(convolution(characters).amax(dim=-1)) for convolution in self.convolutions]
        return self.finish(torch.cat(features, dim=-1), words)

    def finish(self, features: Tensor, words: Tensor | None = None) -> Tensor:
        """From the filters' features of each word `(N, D)` to vectors `(N, P)`."""
        for highway in self.highways:
            features = highway(features)
        if words is not None:
            features = torch.cat([self.word_embeddings(words), features], dim=-1)
        return features if self.projection is None else apply_linear(self.projection, features)


def largest_values(
    types: Tensor, embeddings: Tensor, filters: list[tuple[Tensor, Tensor]], group_windows: int = WINDOWS
) -> Tensor:
    """Return the largest value of each filter in each word, `(N, D)`, before the activation.

    Args:
        types (`(N, W)`): Character ids of words; equal ids at the end of a row are padding.
        embeddings (`(V, E)`): Character embeddings.
        filters (`(F, E, width)` and `(F,)` each): Weights and biases of the convolutions.
        group_windows: The most windows computed at a time.
    """
    lengths, order = padded_from(types).sort()
    lengths, types = lengths.tolist(), types[order]
    widths = [weight.shape[2] for weight, _ in filters]
    weights = [weight.transpose(1, 2).flatten(1) for weight, _ in filters]  # (F, width E)
    size, count, start = embeddings.shape[1], len(types), 0
    largest_group = power_of_two(max(1, group_windows // max(widths)))
    maxima = embeddings.new_empty(count + largest_group, sum(map(len, weights)))
    while start < count:
        n = power_of_two(max(1, group_windows // (lengths[start] + max(widths))))
        n = min(n, 1 << (count - start - 1).bit_length())
        last = min(start + n, count) - 1
        columns = min(types.shape[1], round_up(lengths[last] + max(widths), 4))
        rows = torch.arange(start, start + n, device=types.device).clamp(max=last)  # the last word fills up the group
        characters = embeddings[types[rows, :columns]]  # (n, columns, E)
        parts = maxima[start : start + n].split([len(weight) for weight in weights], dim=1)
        for width, weight, part in zip(widths, weights, parts):
            shape = n, columns - width + 1, width * size
            windows = characters.as_strided(shape, (columns * size, size, 1)).flatten(0, 1)
            values = onednn_linear(windows, weight) if onednn_supports(weight) else F.linear(windows, weight)
            torch.amax(values.unflatten(0, shape[:2]), dim=1, out=part)
        start = last + 1
    maxima = maxima[:count] + torch.cat([bias for _, bias in filters])
    return torch.empty_like(maxima).index_copy_(0, order, maxima)


def largest_values_by_one_product(characters: Tensor, filters: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the largest value of each filter in each word, `(N, D)`, before the activation. Differentiable.

    All filters are padded with zeros to the widest one, and multiplied at once with the windows of that width. On a
    GPU this is several times as fast, above all backward, as a convolution for each width, whose few input channels
    leave most of the GPU idle.

    Args:
        characters (`(N, W, E)`): Character embeddings of words.
        filters (`(F, E, width)` and `(F,)` each): Weights and biases of the convolutions.
    """
    widths = [weight.shape[2] for weight, _ in filters]
    widest, missing = max(widths), max(widths) - min(widths)
    weight = torch.cat([F.pad(weight, (0, widest - width)) for width, (weight, _) in zip(widths, filters)])
    windows = F.pad(characters, (0, 0, 0, missing)).unfold(1, widest, 1)  # (N, W - narrowest + 1, E, widest)
    values = F.linear(windows.flatten(2), weight.flatten(1))
    # Narrower filters have more windows than the widest one; windows that reach beyond the word's row do not exist.
    starts = torch.arange(windows.shape[1], device=characters.device)
    counts = torch.tensor(
        [characters.shape[1] - width + 1 for width, (part, _) in zip(widths, filters) for _ in range(len(part))],
        device=characters.device,
    )
    values = values.masked_fill(starts[:, None] >= counts, -torch.inf)
    return values.max(dim=1).values + torch.cat([bias for _, bias in filters]).to(values.dtype)  # autocast's, too


def largest_values_with_gradients(
    characters: Tensor, lengths: list[int], filters: list[tuple[Tensor, Tensor]], group_values: int = VALUES
) -> Tensor:
    """Return the largest value of each filter in each word, `(N, D)`, before the activation; for training on a CPU.

    As in `largest_values`, words are computed in groups of like length, over the windows that differ. The values are
    not kept for their gradients, but only where each is the largest, a byte in place of four.

    Args:
        characters (`(N, W, E)`): Character embeddings of words, the shortest word first.
        lengths: Number of characters of each word; after them come equal vectors, the padding.
        filters (`(F, E, width)` and `(F,)` each): Weights and biases of the convolutions.
        group_values: About how many values are computed at a time.
    """
    dtype = characters.dtype
    weights = [weight.transpose(1, 2).flatten(1).to(dtype) for weight, _ in filters]  # (F, width E)
    maxima = [LargestValues.apply(characters, weight, lengths, group_values) for weight in weights]
    return torch.cat(maxima, dim=1) + torch.cat([bias for _, bias in filters]).to(dtype)


class LargestValues(torch.autograd.Function):
    """The largest product of each row of `weight` `(F, width E)` with the windows of each word `(W, E)`: `(N, F)`."""

    @staticmethod
    def forward(ctx: Any, characters: Tensor, weight: Tensor, lengths: list[int], group_values: int) -> Tensor:
        windows_of_row, ctx.groups, end = characters.shape[1] - weight.shape[1] // characters.shape[2] + 1, [], 0
        while end < len(lengths):
            start = end
            end = min(start + max(1, group_values // ((lengths[start] + 1) * len(weight))), len(lengths))
            ctx.groups.append((slice(start, end), min(lengths[end - 1] + 1, windows_of_row)))
        maxima, found = characters.new_empty(len(lengths), len(weight)), []
        for words, num_windows in ctx.groups:
            values = linear(windows_of(characters[words], num_windows, weight.shape[1]), weight)
            values = values.unflatten(0, (-1, num_windows))
            torch.amax(values, dim=1, out=maxima[words])
            found.append(values == maxima[words, None])
        ctx.save_for_backward(characters, weight, *found)
        return maxima

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        characters, weight, *found = ctx.saved_tensors
        sums = torch.promote_types(weight.dtype, torch.float32)  # of many words
        for_characters, for_weight = (torch.zeros_like(part, dtype=sums) for part in (characters, weight))
        transposed, size = weight.T.contiguous(), characters.shape[2]
        for (words, num_windows), largest in zip(ctx.groups, found):
            windows = windows_of(characters[words], num_windows, weight.shape[1])
            # Equal windows share the gradient, as they do in the gradient of `amax`.
            largest = largest.to(weight.dtype)
            largest = largest.mul_((gradient[words] / largest.sum(dim=1))[:, None]).flatten(0, 1)
            add_product_(for_weight, largest, windows)
            parts = linear(largest, transposed).view(-1, num_windows, weight.shape[1] // size, size)
            for place, part in enumerate(parts.unbind(2)):
                for_characters[words, place : place + num_windows] += part
        return for_characters.to(weight.dtype), for_weight.to(weight.dtype), None, None


def windows_of(characters: Tensor, num_windows: int, width: int) -> Tensor:
    """Return the first windows of each word `(W, E)`, `(N num_windows, width)`, the width counted in numbers."""
    strides = characters.stride(0), characters.stride(1), 1
    return characters.as_strided((len(characters), num_windows, width), strides).contiguous().flatten(0, 1)


def padded_from(types: Tensor) -> Tensor:
    """Return where the padding of each row of ids `(N, W)` starts: the equal ids at its end."""
    return ((types != types[:, -1:]) * torch.arange(1, types.shape[1] + 1, device=types.device)).amax(dim=1)


def power_of_two(number: int) -> int:
    """Round down to a power of two."""
    return 1 << (number.bit_length() - 1)


def round_up(number: int, step: int) -> int:
    return -(-number // step) * step


def unique_rows(rows: Tensor, hash_factor: int = HASH_FACTOR) -> tuple[Tensor, Tensor]:
    """Return the distinct rows of `(N, W)` ids, and for each row its place among them.

    Rows are compared by a 64-bit hash, several times faster than sorting whole rows; then in full, so that a collision
    costs time, never correctness.
    """
    multipliers = torch.arange(1, rows.shape[1] + 1, device=rows.device) * hash_factor
    mixed = (rows.long() + 1) * multipliers
    hashes = (mixed ^ (mixed >> 29)).sum(dim=1)
    values, inverse = hashes.unique(return_inverse=True)
    first = torch.empty_like(values).scatter_(0, inverse, torch.arange(len(rows), device=rows.device))
    types = rows[first]
    if not torch.equal(types[inverse], rows):
        return rows.unique(dim=0, return_inverse=True)
    return types, inverse


def without_common_padding(types: Tensor, widest: int) -> Tensor:
    """Cut the last columns of `(N, W)` ids that only repeat each row's last id, as padding does.

    All windows of such columns are the same, and one of them is enough for the maximum: so `widest` columns stay.
    """
    varied = (types != types[:, -1:]).any(dim=0)
    used = int(varied.nonzero().max()) + 1 if varied.any() else 0
    return types[:, : used + widest]


def without_features(input_ids: Tensor, config: ElmoConfig) -> Tensor:
    """Return rows of ids `(..., W)` without those of `word_features`, which heads read; rows may lack them."""
    is_whole = isinstance(input_ids, Tensor) and input_ids.shape[-1:] == (config.ids_per_token,)
    return input_ids[..., : config.ids_per_token - config.feature_ids] if is_whole else input_ids
