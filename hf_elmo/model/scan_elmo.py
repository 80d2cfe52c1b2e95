# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""A loop over time steps: a plain one, or one that a traced graph holds for any number of steps."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan as traced_scan

State = TypeVar("State", Tensor, tuple[Tensor, ...])


def scan(
    step: Callable[[State, tuple[Tensor, ...]], tuple[State, Tensor]],
    state: State,
    inputs: tuple[Tensor, ...],
    reverse: bool = False,
) -> tuple[State, Tensor]:
    """Compute `state, outputs[t] = step(state, (input[t], ...))` for one time step after the other.

    `torch.compile` and `torch.export` trace one step and a loop. A graph of a single step would hold for that only.

    Args:
        step: A module's function, or a `partial` of one, as a graph needs.
        state: The state before the first step; each step returns one of the same shapes and dtypes.
        inputs (each `(T, ...)`): At least one.
        reverse: Whether to go from the last step to the first; outputs stay in place.

    Returns:
        The last state and the outputs `(T, ...)`. Without any step, there are no outputs: `(0,)`.
    """
    count = inputs[0].shape[0]
    if torch.compiler.is_compiling() and count > 1:
        return traced_scan(partial(unaliased_step, step), state, inputs, dim=0, reverse=reverse)
    outputs: list[Tensor] = [inputs[0].new_empty(0)] * count
    for t in reversed(range(count)) if reverse else range(count):
        state, outputs[t] = step(state, tuple(tensor[t] for tensor in inputs))
    return state, torch.stack(outputs) if outputs else inputs[0].new_empty(0)


def unaliased_step(step: Callable, state: State, inputs: tuple[Tensor, ...]) -> tuple[State, Tensor]:
    """Run a step; in a graph, no two of its results may share memory."""
    state, output = step(state, inputs)
    return state, output.clone()
