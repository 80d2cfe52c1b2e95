# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""What becomes of the layers: alignment to another language's, and the mix, the ELMo representation of a word."""

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .configuration_elmo import ElmoConfig


class ElmoAlignment(nn.Module):
    """Alignment to the model of another language (Schuster et al. 2019, arXiv:1902.09492, section 4).

    A matrix A (2P, 2P) maps a layer h (B, T, 2P) to h A^T, the space of the other model's same layer. The layers above
    are computed from h itself; hidden states and mixes hold the aligned layer. The matrices of `config.aligned_layers`
    are constants, saved as buffers `layer_1`, ... and never trained; the identity until loaded.
    """

    def __init__(self, config: ElmoConfig):
        super().__init__()
        self.numbers = list(config.aligned_layers)
        for number in self.numbers:
            self.register_buffer(f"layer_{number}", torch.eye(config.hidden_size))

    def reset_parameters(self) -> None:
        for matrix in self.buffers():
            init.copy_(matrix, torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device))

    def forward(self, layers: list[Tensor]) -> list[Tensor]:
        """From `L + 1` tensors `(B, T, 2P)` to as many, those with a matrix aligned."""
        matrices = {number: getattr(self, f"layer_{number}") for number in self.numbers}
        return [layer @ matrices[k].T if k in matrices else layer for k, layer in enumerate(layers)]


class ElmoScalarMix(nn.Module):
    """A learnt weighted sum of the layers, `gamma * sum_k softmax(weights)_k h_k` (Peters et al. 2018, section 3.2).

    The Trainer's weight decay, where one is set, reaches `weights` too: it is the penalty of section 3.3, which keeps
    the mix close to the mean of the layers.
    """

    def __init__(self, config: ElmoConfig):
        super().__init__()
        self.layer_norm = config.mix_layer_norm
        self.initial_weights = config.mix_initial_weights or [0.0] * (config.num_hidden_layers + 1)
        self.weights = nn.Parameter(torch.zeros(config.num_hidden_layers + 1), requires_grad=config.mix_trainable)
        self.gamma = nn.Parameter(torch.ones(1), requires_grad=config.mix_trainable)

    @torch.no_grad()
    def initialize_untrained(self) -> None:
        """Set the initial weights if the weights are still all 0 and gamma is 1."""
        untrained = not (self.weights.is_meta or self.weights.any() or (self.gamma != 1).any())
        if untrained and any(self.initial_weights):
            self.weights.copy_(torch.tensor(self.initial_weights))

    def forward(self, layers: list[Tensor], mask: Tensor, second: Tensor | None = None) -> Tensor:
        """Mix the layers of a batch.

        Args:
            layers (each `(B, T, 2P)`), mask (`(B, T)`): All layers, and where there is a word.
            second (`(B, T)`, *optional*): Which words belong to second texts, which are normalized by themselves.
        """
        if self.layer_norm:
            texts = [mask] if second is None else [mask & ~second, mask & second]
            layers = [sum(normalized_over_words(layer, text) for text in texts) for layer in layers]
        weights = self.gamma * torch.softmax(self.weights, dim=0)
        return sum(weight * layer for weight, layer in zip(weights, layers))


def normalized_over_words(layer: Tensor, mask: Tensor) -> Tensor:
    """Normalize a layer `(B, T, 2P)` as AllenNLP's scalar mix does: by one mean and variance over all words of the
    batch, special tokens included."""
    words = mask[..., None].to(layer.dtype)
    count = words.sum().clamp(min=1) * layer.shape[-1]
    mean = (layer * words).sum() / count
    variance = ((layer - mean) * words).square().sum() / count
    return (layer - mean) / torch.sqrt(variance + 1e-13) * words
