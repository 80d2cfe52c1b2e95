# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Alignment of layers to the model of another language (Schuster et al. 2019, arXiv:1902.09492, section 4).

A matrix A (2P, 2P) maps a layer h (B, T, 2P) to h A^T, the space of the other model's same layer. The layers above are
computed from h itself; hidden states and mixes hold the aligned layer. The matrices are constants of the model: they
are saved with it, and never trained.
"""

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .configuration_elmo import ElmoConfig


class ElmoAlignment(nn.Module):
    """The matrices of the layers `config.aligned_layers`, as buffers `layer_1`, ...; the identity until loaded."""

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
