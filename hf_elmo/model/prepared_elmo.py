# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Weights that are kept in the layouts of fast products, for as long as a user asks for it.

On a CPU, float32 weights are read faster in oneDNN's own layout, and transposed where they are multiplied with a single
row. A forward makes such copies where they repay within it; inside `with prepared(model):` they are made once.
"""

import contextlib
import threading
from collections.abc import Iterator

import torch
from torch import Tensor, nn

SAMPLED_NUMBERS = 1000  # of each weight, about, that are compared before a copy is used
COPIED_ROWS = 32  # oneDNN has one layout for all numbers of rows but 1


@contextlib.contextmanager
def prepared(model: nn.Module) -> Iterator[None]:
    """Keep the weights of a model's linear layers prepared for products on a CPU, in all threads.

    Forwards without gradients use the copies, and each copy is made when it is first needed. They take about as much
    memory as the float32 weights, until the outermost block of a model ends. Other weights, as those of int8 layers,
    which are always prepared, half precision, or on a GPU, are used as they are.

    A weight may change inside the block: its copies are made again. Noticed is whatever torch counts as a change, and
    what is written past that, to `.data` or by numpy, by some thousand numbers spread over each weight.

    Args:
        model: An ELMo encoder, or any model around one.

    Raises:
        `ValueError`: if it is no model.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"`prepared` takes a model, but got a {type(model).__name__}")
    weights = [module.weight for module in model.modules() if type(module) is nn.Linear]
    with _lock:
        for weight in weights:
            _copies.setdefault(id(weight), Copies(weight)).blocks += 1
    try:
        yield
    finally:
        with _lock:
            for weight in weights:
                copies = _copies[id(weight)]
                copies.blocks -= 1
                if not copies.blocks:
                    del _copies[id(weight)]


class Copies:
    """The copies of a weight, which hold until it changes.

    Args:
        weight: The weight. A reference to it is kept, so that no other one gets its id.
    """

    def __init__(self, weight: Tensor):
        self.weight, self.blocks = weight, 0
        self.version: tuple | None = None
        self.sample = self.sampled = torch.empty(0)  # numbers of the weight as they are, and as they were
        self.reordered: Tensor | None = None
        self.transposed: Tensor | None = None

    def forget_if_changed(self) -> None:
        """Drop the copies of what the weight was before."""
        weight = self.weight.detach()
        version = weight.data_ptr(), weight.shape, weight.dtype, None if weight.is_inference() else weight._version
        if version != self.version or not torch.equal(self.sample, self.sampled):
            step = max(1, weight.numel() // SAMPLED_NUMBERS) | 1  # odd, to meet other columns in each row
            self.version, self.sample = version, weight.view(-1)[::step]
            self.sampled, self.reordered, self.transposed = self.sample.clone(), None, None


_copies: dict[int, Copies] = {}  # by the id of the weight
_lock = threading.Lock()


def copies_of(weight: Tensor) -> Copies | None:
    """Return where copies of a weight are kept, those of an earlier value dropped; None outside the blocks."""
    copies = _copies.get(id(weight)) if _copies else None
    if copies is None or not weight.is_contiguous():
        return None
    with _lock:
        copies.forget_if_changed()
    return copies


def reordered(weight: Tensor, repays: bool = False, may_be_prepared: bool = True) -> Tensor:
    """Return a weight in oneDNN's layout: a copy that is kept, or a new one where this repays; else the weight itself.

    Args:
        weight: A dense float32 weight on the CPU.
        repays: Whether the copy is used so often that it repays without being kept.
        may_be_prepared: Whether a copy that is kept may be used.
    """
    copies = copies_of(weight) if may_be_prepared else None
    if copies is None:
        return torch.ops.mkldnn._reorder_linear_weight(weight, COPIED_ROWS) if repays else weight
    if copies.reordered is None:
        copies.reordered = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), COPIED_ROWS)
    return copies.reordered


def transposed(weight: Tensor) -> Tensor:
    """Return `weight.T`: a copy that is kept, else a view."""
    copies = copies_of(weight)
    if copies is None:
        return weight.T
    if copies.transposed is None:
        copies.transposed = weight.detach().T.contiguous()
    return copies.transposed
