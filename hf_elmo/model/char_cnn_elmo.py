# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The character encoder: one vector for a word from its characters, without context.

    character ids -> embeddings -> convolutions -> maximum over positions, activation -> highways -> projection

N words   W characters per word   E embedding width   F filters of a convolution   D filters of all   P projection width

Equal words are computed once. On a CPU the convolutions of many words run several times as fast as the calls of their
layers. The few distinct characters are multiplied with the filters, each character at each place of a window once, and
a window is the sum of its characters' rows. Words are computed only over the characters that exist and one window of
padding, because further windows of padding are all the same.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from transformers import initialization as init

from .configuration_elmo import ElmoConfig
from .linear_elmo import apply_linear, may_skip_calls, round_up_rows, unsupported_reason

WORDS = 4096  # computed at a time
VALUES = 1 << 21  # of filters in windows, computed at a time
FEW_VALUES = 1 << 18  # fewer are computed as fast by calls of the layers
GROUP_WORDS = 8  # at least, of which each has as many windows as the longest
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
        types, inverse = unique_rows(rows)
        types, words = (types, None) if self.word_embeddings is None else (types[:, :-1], types[:, -1])
        filters = [(convolution.weight, convolution.bias) for convolution in self.convolutions]
        layers = self.embeddings, *self.convolutions
        reasons = (unsupported_reason(layer, nn.Conv1d, nn.Embedding) for layer in layers)
        called = torch.compiler.is_compiling() or any(reasons)
        types = without_common_padding(types, max(convolution.kernel_size[0] for convolution in self.convolutions))
        if not called and len(types):
            if types.is_cuda:
                maxima = largest_values_by_one_product(self.embeddings(types), filters)
                return self.finish(self.activation(maxima), words)[inverse]
            weights = self.embeddings.weight, *itertools.chain(*filters)
            many = types.numel() * sum(len(bias) for _, bias in filters) >= FEW_VALUES
            if many and may_skip_calls(*weights, with_gradients=True, with_autocast=True):
                order = padded_from(types).argsort()
                inverse, missing = order.argsort()[inverse], round_up_rows(len(types)) - len(types)
                order = torch.cat([order[:1].expand(missing), order])  # the rows that products would add anyway
                types = types[order]
                characters, places = types.unique(return_inverse=True)
                maxima = largest_values(places, padded_from(types).tolist(), self.embeddings(characters), filters)
                vectors = self.finish(self.activation(maxima), None if words is None else words[order])
                return vectors[missing + inverse]
        return self.encode_characters(self.embeddings(types), words)[inverse]

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


def largest_values_by_one_product(characters: Tensor, filters: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the largest value of each filter in each word, `(N, D)`, before the activation. Differentiable.

    All filters are padded with zeros to the widest one, and multiplied at once with the windows of that width. On a
    GPU this is several times as fast, above all backward, as a convolution for each width, whose few input channels
    leave most of the GPU idle.

    The words are embeddings of characters `(N, W, E)`, the filters weights `(F, E, width)` and biases `(F,)`.
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


def largest_values(
    places: Tensor, lengths: list[int], characters: Tensor, filters: list[tuple[Tensor, Tensor]], most: int = VALUES
) -> Tensor:
    """Return the largest value of each filter in each word, `(N, D)`, before the activation; on a CPU.

    Differentiable once. Sums are at least of float32, in autocast too.

    Args:
        places (`(N, W)`): The characters of words, as rows of `characters`; the shortest word first.
        lengths: Number of characters of each word; after them come equal ones, the padding.
        characters (`(V, E)`), filters (`(F, E, width)` and `(F,)` each): Embeddings of characters; convolutions.
        most: About how many values are computed at a time.
    """
    pieces = []
    for start in range(0, len(places), WORDS):
        words, maxima = places[start : start + WORDS], []
        groups = groups_of_like_length(lengths[start : start + WORDS])
        for weight, _ in filters:
            width = weight.shape[2]
            windows = words.unfold(1, width, 1) * width + torch.arange(width)  # see `window_values`
            shapes = [(len(group), min(group[-1] + 1, windows.shape[1])) for group in groups]
            parts = zip(windows.split([n for n, _ in shapes]), shapes)
            rows = torch.cat([part[:, :count].flatten(0, 1) for part, (_, count) in parts])
            size = max(1, most // max(len(rows), len(characters) * width))
            maxima += [LargestValues.apply(characters, part, rows, shapes) for part in weight.split(size)]
        pieces.append(torch.cat(maxima, dim=1))
    maxima = torch.cat(pieces) + torch.cat([bias for _, bias in filters])
    return maxima.to(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else characters.dtype)


class LargestValues(torch.autograd.Function):
    """The largest value of each filter of `weight` `(F, E, width)` in the windows of each word, `(N, F)`.

    The values of all windows are computed again for the gradients, in less time than it takes to keep them.
    """

    @staticmethod
    def forward(ctx: Any, characters: Tensor, weight: Tensor, rows: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
        ctx.save_for_backward(characters, weight, rows)
        ctx.shapes = shapes
        return torch.cat([part.amax(1) for part in by_word(window_values(characters, weight, rows), shapes)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, rows = ctx.saved_tensors
        with torch.enable_grad():
            inputs = [part.detach().requires_grad_() for part in inputs]
            values = window_values(inputs[0], inputs[1], rows)
        for_values = values.detach()  # in the memory of the values, which their gradients do not need
        words = by_word(for_values, ctx.shapes)
        for part, d_maxima in zip(words, gradient.split([n for n, _ in ctx.shapes])):
            part.eq_(part.amax(1, keepdim=True))
            # Equal windows share the gradient, as they do in the gradient of `amax`.
            part.mul_((d_maxima / part.sum(1))[:, None])
        return *torch.autograd.grad(values, inputs, for_values), None, None


def window_values(characters: Tensor, weight: Tensor, rows: Tensor) -> Tensor:
    """Return the value of each filter in each window, `(windows, F)`, at least of float32: the sum of what each of its
    characters adds at its place.

    Args:
        characters (`(V, E)`), weight (`(F, E, width)`): Embeddings of characters, and filters.
        rows (`(windows, width)`): Character times width plus place, for all of a window's characters.
    """
    count, size, width = weight.shape
    dtype = torch.promote_types(weight.dtype, torch.float32)
    with torch.autocast("cpu", enabled=False):
        table = characters.to(dtype) @ weight.to(dtype).permute(1, 2, 0).reshape(size, width * count)
        return F.embedding_bag(rows, table.view(-1, count), mode="sum")


def by_word(values: Tensor, shapes: list[tuple[int, int]]) -> list[Tensor]:
    """Return the values `(windows, F)` of groups of words, `(words, windows, F)` each."""
    parts = values.split([words * windows for words, windows in shapes])
    return [part.unflatten(0, shape) for part, shape in zip(parts, shapes)]


def groups_of_like_length(lengths: list[int]) -> list[list[int]]:
    """Split ascending lengths into groups of one length, or at least of `GROUP_WORDS` words."""
    groups = [[]]
    for length in lengths:
        if len(groups[-1]) >= GROUP_WORDS and length > groups[-1][-1]:
            groups.append([])
        groups[-1].append(length)
    return groups


def padded_from(types: Tensor) -> Tensor:
    """Return where the padding of each row of ids `(N, W)` starts: the equal ids at its end."""
    return ((types != types[:, -1:]) * torch.arange(1, types.shape[1] + 1, device=types.device)).amax(dim=1)


def unique_rows(rows: Tensor, hash_factor: int = HASH_FACTOR) -> tuple[Tensor, Tensor | slice]:
    """Return the distinct rows of `(N, W)` ids, and for each row its place among them.

    Rows are compared by a 64-bit hash, several times faster than sorting whole rows; then in full, so that a collision
    costs time, never correctness. A graph cannot depend on their number: there, all rows are returned.
    """
    if torch.compiler.is_compiling():
        return rows, slice(None)
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

    All windows of such columns are the same, and one of them is enough for the maximum: so `widest` columns stay. A
    graph cannot depend on the number of columns: there, all of them stay.
    """
    if torch.compiler.is_compiling():
        return types
    varied = (types != types[:, -1:]).any(dim=0)
    used = int(varied.nonzero().max()) + 1 if varied.any() else 0
    return types[:, : used + widest]


def encode_words(encode: Callable[[Tensor], Tensor], words: Tensor, mask: Tensor) -> Tensor:
    """Apply a function from words `(N, ...)` to vectors `(N, D)` where `mask` `(B, T)` is True: `(B, T, D)`, else 0."""
    if torch.compiler.is_compiling():  # the number of words is unknown to a graph
        return torch.where(mask[..., None], encode(words.flatten(0, 1)).unflatten(0, mask.shape), 0)
    return at_words(encode(words[mask]), mask)


def at_words(vectors: Tensor, mask: Tensor) -> Tensor:
    """Return vectors `(N, ...)` of words at their places, `(B, T, ...)`, 0 where `mask` `(B, T)` is False."""
    places = mask.view(*mask.shape, *[1] * (vectors.dim() - 1))
    return vectors.new_zeros(*mask.shape, *vectors.shape[1:]).masked_scatter(places, vectors)


def without_features(input_ids: Tensor, config: ElmoConfig) -> Tensor:
    """Return rows of ids `(..., W)` without those of `word_features`, which heads read; rows may lack them."""
    is_whole = isinstance(input_ids, Tensor) and input_ids.shape[-1:] == (config.ids_per_token,)
    return input_ids[..., : config.ids_per_token - config.feature_ids] if is_whole else input_ids
