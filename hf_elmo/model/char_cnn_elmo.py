# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The character CNN at inference on a CPU: what its layers compute when they are called, several times as fast.

N words   W characters a word   E width of a character   F filters   D features of all convolutions

Words are computed with words of like length, and only over the characters that exist and one window of padding beyond
them, for further windows of padding are the same again. A convolution is one product of matrices, and small enough that
its result is still in the cache when its maximum is taken.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .linear_elmo import may_be_onednn, onednn_linear

WINDOWS = 2048  # of characters, computed at a time: their products are some megabytes


def may_run_fast(*tensors: Tensor) -> bool:
    """Whether what is here may take the place of calls of layers with these weights: nothing looks into the calls."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active():
        return False
    if torch.is_autocast_enabled("cpu") or any(tensor.device.type != "cpu" for tensor in tensors):
        return False
    return not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))


def highest_activations(types: Tensor, embeddings: Tensor, filters: list[tuple[Tensor, Tensor]]) -> Tensor:
    """For each word the highest value of each filter, `(N, D)`, before the activation.

    Args:
        types (`(N, W)`): Character ids of words; what ends a row and is all the same is padding.
        embeddings (`(V, E)`): Of characters.
        filters (`(F, E, width)` and `(F,)` each): Weights and biases of the convolutions.
    """
    lengths, order = characters_used(types).sort()
    lengths, types = lengths.tolist(), types[order]
    widths = [weight.shape[2] for weight, _ in filters]
    weights = [weight.transpose(1, 2).flatten(1) for weight, _ in filters]  # (F, width E)
    size, count, start = embeddings.shape[1], len(types), 0
    largest = power_of_two(max(1, WINDOWS // max(widths)))
    maxima = embeddings.new_empty(count + largest, sum(map(len, weights)))
    while start < count:
        n = min(power_of_two(max(1, WINDOWS // (lengths[start] + max(widths)))), 1 << (count - start - 1).bit_length())
        last = min(start + n, count) - 1
        columns = min(types.shape[1], rounded_up(lengths[last] + max(widths), 4))
        rows = torch.arange(start, start + n, device=types.device).clamp(max=last)  # the last word fills up
        characters = embeddings[types[rows, :columns]]  # (n, columns, E)
        parts = maxima[start : start + n].split([len(weight) for weight in weights], dim=1)
        for width, weight, part in zip(widths, weights, parts):
            shape = n, columns - width + 1, width * size
            windows = characters.as_strided(shape, (columns * size, size, 1))
            torch.amax(product(windows.flatten(0, 1), weight).unflatten(0, shape[:2]), dim=1, out=part)
        start = last + 1
    maxima = maxima[:count] + torch.cat([bias for _, bias in filters])
    return torch.empty_like(maxima).index_copy_(0, order, maxima)


def characters_used(types: Tensor) -> Tensor:
    """How many characters of each row `(N, W)` come before those at its end that are all the same."""
    return ((types != types[:, -1:]) * torch.arange(1, types.shape[1] + 1, device=types.device)).amax(dim=1)


def power_of_two(number: int) -> int:
    """The largest one that is not above `number`."""
    return 1 << (number.bit_length() - 1)


def rounded_up(number: int, step: int) -> int:
    return -(-number // step) * step


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x @ weight.T, by oneDNN however small it is: the shapes are few."""
    return onednn_linear(x, weight) if len(x) and may_be_onednn(weight) else F.linear(x, weight)
