"""A model with every weight shaken, because zeros hide mistakes."""

import torch


def shake(model, seed=0, scale=0.3):
    """Give every parameter, biases and mixes too, a value of its own: zeros hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)
    return model.eval()
