# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The scalar mix of the layers: the ELMo representation of a word (Peters et al. 2018, section 3.2)."""

import torch
from torch import Tensor, nn

from .configuration_elmo import ElmoConfig


class ElmoScalarMix(nn.Module):
    """A learnt weighted sum of the layers, `gamma * sum_k softmax(weights)_k h_k` (Peters et al. 2018, equation 1).

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
