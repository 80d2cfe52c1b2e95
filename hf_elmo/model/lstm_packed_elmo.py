# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The packed backend of the LSTM: `lstm_reference` without padding, and its gradients written by hand.

Tokens are computed in the order of `packed_order_elmo`: padding is never computed, a finished row costs nothing, and
the active rows are always the first ones. The tokens of several steps, a block, share one input product and, in the
backward, one product for each weight's gradient.

What the backward needs is kept in one of two ways. "gates": h, all gates and c, P + 5C numbers a token. "cells": h, P
numbers a token, and c before each block; then the backward computes the gates of a block again, with one product,
because the h that they depend on are known.

With an `Int8Weight` in the place of each matrix the same forward runs on integer products, and there is no backward.

N tokens in the batch   M tokens in a block   n active rows of a step   B, T, I, C, P and the order of the gates as in
`lstm_elmo`

Everything here works on plain tensors and outside autograd; `lstm_elmo` makes it a node of autograd's graph.
"""

import functools
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .int8_elmo import Int8Weight, int8_product, quantize_rows
from .linear_elmo import ONEDNN_SUMS, REPAYING_STEPS, StepWeight, add_product_, linear, onednn_is_faster, reordered
from .packed_order_elmo import BLOCK_TOKENS, Block, PackedOrder, blocks_of

CACHED_NUMBERS = 1 << 17  # that stay in the cache while the backward prepares the steps of so many tokens
READING_ROWS = 20  # reading a step's weights from memory takes as long as multiplying them with so many rows
# Cost of a step from which on each direction has a thread: between shorter operations, threads wait for Python. With
# AVX-512 it is that of about a millisecond; with AVX2 alone, whose products take longer, that of four small rows.
WORKER_THRESHOLD = 1 << 27 if ONEDNN_SUMS else 12 << 20
INT8_SPEEDUP = 4  # of a step by oneDNN's integer products, about


@dataclass
class Direction:
    """One direction of a layer: its input, its weights under torch's names, and the state that it starts from.

    Args:
        x (`(B, T, I)`): Input.
        weight_ih (`(4C, I)`), bias (`(4C,)`): Input weights.
        weight_hh (`(4C, P)`): Recurrent weights.
        weight_hr (`(P, C)`, or None where P == C): Projection.
        state (`(B, P)` and `(B, C)`, or None for zeros): h and c before the first time step.
        reverse: Whether each row runs from its last token to its first; outputs stay in place.
        must_call: Why linear layers stand in the place of the matrices and must be called; None with weights.
    """

    x: Tensor
    weight_ih: Tensor | Int8Weight | nn.Module
    bias: Tensor | None
    weight_hh: Tensor | Int8Weight | nn.Module
    weight_hr: Tensor | Int8Weight | nn.Module | None = None
    state: tuple[Tensor, Tensor] | None = None
    reverse: bool = False
    must_call: str | None = None

    @property
    def is_int8(self) -> bool:
        return isinstance(self.weight_hh, Int8Weight)

    @classmethod
    def of_tensors(cls, tensors: Sequence[Any], reverse: bool = False) -> "Direction":
        """Return the direction of seven tensors in the order of `tensors`."""
        x, weight_ih, bias, weight_hh, weight_hr, h, c = tensors
        return cls(x, weight_ih, bias, weight_hh, weight_hr, (h, c), reverse)

    def tensors(self) -> tuple[Any, ...]:
        """Return the seven fields that may need gradients, h and c last; matrices may be no tensors, as above."""
        return self.x, self.weight_ih, self.bias, self.weight_hh, self.weight_hr, *(self.state or (None, None))


class CellOptions(NamedTuple):
    """The numbers in the equations; None turns a clip off. There is no projection clip without a projection."""

    forget_bias: float
    cell_clip: float | None
    projection_clip: float | None


class Task(NamedTuple):
    """A direction to run: its state given, its tensors of the types that products and state have."""

    order: PackedOrder
    options: CellOptions
    keep: str | None  # "gates" or "cells" for the backward, None without one
    direction: Direction


class Result(NamedTuple):
    """The result of a forward over one direction."""

    outputs: Tensor  # (B, T, P)
    h: Tensor  # (B, P) after the last token
    c: Tensor  # (B, C)
    kept: list[Tensor]  # h before its clip (N, P), then for each block its gates and c before the clip, or c before it


class BackwardTask(NamedTuple):
    """A direction whose gradients are needed."""

    task: Task
    needs: tuple[bool, ...]  # which of the direction's seven tensors need a gradient
    kept: list[Tensor]
    cotangents: tuple[Tensor, Tensor, Tensor]  # gradients for outputs (B, T, P), h (B, P) and c (B, C)


class Engine(NamedTuple):
    """A packed backend: its forward and backward over all directions, and the most tokens of a block."""

    forward: Callable[[list[Task]], list[Result]]
    backward: Callable[[list[BackwardTask]], list[list[Tensor | None]]]
    block_tokens: int


# ---- forward


class FloatProducts:
    """The three products of a direction."""

    g_is_doubled = False

    def __init__(self, task: Task):
        direction, blocks, may_be_prepared = task.direction, task.order.blocks, task.keep is None
        self.weight_ih, self.bias = direction.weight_ih, with_forget_bias(direction.bias, task.options)
        if onednn_is_faster(max((sum(block.batch_sizes) for block in blocks), default=0), self.weight_ih):
            self.weight_ih = reordered(self.weight_ih, may_be_prepared=may_be_prepared)
        sizes = [size for block in blocks for size in block.batch_sizes]
        steps = max(sizes, default=0), len(sizes), may_be_prepared
        self.weight_hh, self.weight_hr = (
            None if weight is None else StepWeight(weight, *steps)
            for weight in (direction.weight_hh, direction.weight_hr)
        )
        self.cell_dtype = direction.state[1].dtype

    def input_gates(self, x: Tensor) -> Tensor:
        """From a block's input `(M, I)` to the input's part of the gates `(M, 4C)`."""
        return linear(x, self.weight_ih, self.bias).to(self.cell_dtype)

    def add_recurrent_gates_(self, gates: Tensor, h: Tensor) -> None:
        self.weight_hh.product_(gates, h, beta=1)

    def project(self, m: Tensor, out: Tensor) -> None:
        if self.weight_hr is None:
            out.copy_(m)
        else:
            self.weight_hr.product_(out, m.to(out.dtype))


class Int8Products:
    """The three products of a direction with int8 weights. The gate g comes out doubled: its scales are."""

    g_is_doubled = True

    def __init__(self, task: Task):
        direction, dtype = task.direction, task.direction.state[1].dtype
        cell = len(direction.bias) // 4
        double = torch.ones_like(direction.bias, dtype=dtype)
        double[2 * cell : 3 * cell] = 2
        self.bias = with_forget_bias(direction.bias.to(dtype), task.options) * double
        sizes = [size for block in task.order.blocks for size in block.batch_sizes]
        many_rows = len(sizes) >= REPAYING_STEPS and max(sizes) > 1
        self.input_product, self.recurrent_product = (
            int8_product(weight._replace(scales=weight.scales * double), dtype, many_calls)
            for weight, many_calls in ((direction.weight_ih, False), (direction.weight_hh, many_rows))
        )
        self.projection = None if direction.weight_hr is None else int8_product(direction.weight_hr, dtype)

    def input_gates(self, x: Tensor) -> Tensor:
        codes, largest = quantize_rows(x.to(self.bias.dtype))
        gates = self.input_product(codes)
        return torch.addcmul(self.bias, gates, largest, out=gates)

    def add_recurrent_gates_(self, gates: Tensor, h: Tensor) -> None:
        codes, largest = quantize_rows(h)
        gates.addcmul_(self.recurrent_product(codes), largest)

    def project(self, m: Tensor, out: Tensor) -> None:
        if self.projection is None:
            out.copy_(m)
        else:
            codes, largest = quantize_rows(m)
            torch.mul(self.projection(codes), largest, out=out)


@torch.no_grad()
def packed_forward(task: Task) -> Result:
    """Run one direction; c, and everything that is not a product, is at least float32."""
    order, (_, cell_clip, projection_clip), keep, direction = task
    products = (Int8Products if direction.is_int8 else FloatProducts)(task)
    x = direction.x.flatten(0, 1)[order.token_indices]
    h, c = (part[order.sorted_indices] for part in direction.state)
    m, cell = torch.empty_like(c), c.shape[1]
    hidden, kept = h.new_empty(len(x), h.shape[1]), []  # h before its clip
    begins = itertools.repeat(None) if order.begins is None else iter(order.begins)

    def run_block(block: Block) -> None:  # a function, so that the next block's gates lie in the same cached memory
        active_h, active_c, active_m = h, c, m
        gates = products.input_gates(x[block.tokens])
        block_c = c.new_empty(len(gates), cell) if keep == "gates" else None  # before its clip
        if keep is not None:
            kept.extend([gates, block_c] if keep == "gates" else [c[: block.batch_sizes[0]].clone()])
        parts = gates, *gates.view(-1, 4, cell).unbind(1), block_c, hidden[block.tokens]
        for size, (step_gates, i, f, g, o, step_c, step_h) in zip(block.batch_sizes, block.steps(*parts)):
            if size != active_h.shape[0]:
                active_h, active_c, active_m = (part[:size] for part in (h, c, m))
            if (rows := next(begins)) is not None:
                active_h.index_fill_(0, rows, 0)
                active_c.index_fill_(0, rows, 0)
            products.add_recurrent_gates_(step_gates, active_h)
            activate_(step_gates, g, products.g_is_doubled)
            step_c = torch.mul(f, active_c, out=active_c if step_c is None else step_c).addcmul_(i, g)
            clip(step_c, cell_clip, out=active_c)
            products.project(tanh(active_c, out=active_m).mul_(o), out=step_h)
            clip(step_h, projection_clip, out=active_h)

    for block in order.blocks:
        run_block(block)
    outputs = spread(clip(hidden, projection_clip), order.token_indices, (*direction.x.shape[:2], h.shape[1]))
    return Result(outputs, *state_in_batch_order(order, h, c), [hidden, *kept] if keep else [])


# ---- backward


@torch.no_grad()
def packed_backward(backward_task: BackwardTask) -> list[Tensor | None]:
    """Return the gradients of one direction for its seven tensors, None where not needed."""
    if not any(backward_task.needs):
        return [None] * 7
    backward = Backward(backward_task)
    order, (_, cell_clip, _), _, direction = backward_task.task
    dh, dc, dtype, cell = backward.dh, backward.dc, direction.x.dtype, backward.c.shape[1]
    largest = max((sum(block.batch_sizes) for block in order.blocks), default=0)
    weight_hh, weight_hr = direction.tensors()[3:5]
    d_gates_memory, m_memory = dc.new_empty(largest, 4, cell), dc.new_empty(largest, cell)
    for index, block in reversed(list(enumerate(order.blocks))):
        gates, unclipped_c, first_c = backward.block_cells(index)
        block_dh, beyond = backward.block_dh(index), backward.beyond_clip(index)
        d_gates, m = d_gates_memory[: len(gates)], m_memory[: len(gates)]
        groups = list(blocks_of(block.batch_sizes, CACHED_NUMBERS // cell))
        for before, group in reversed(list(zip([None, *groups], groups))):
            here = group.tokens
            previous_c = first_c
            if before is not None:
                previous_c = clip(unclipped_c[here.start - before.batch_sizes[-1] : here.start], cell_clip)
            slopes = d_gates[here]
            to_c, to_previous_c = local_slopes(
                gates[here], unclipped_c[here], previous_c, group.batch_sizes, cell_clip, slopes, m[here]
            )
            parts = block_dh[here], None if beyond is None else beyond[here], slopes, to_c, to_previous_c
            for step_dh, step_beyond, slope, to_c, to_previous_c in reversed(group.steps(*parts)):
                active_dh, active_dc = dh[: len(step_dh)], dc[: len(step_dh)]
                step_dh += active_dh
                if step_beyond is not None:
                    step_dh.masked_fill_(step_beyond, 0)
                dm = step_dh
                if weight_hr is not None:
                    dm = linear(step_dh.to(dtype), weight_hr.T).to(dc.dtype)
                active_dc.addcmul_(dm, to_c)
                slope[:, 3] *= dm  # turns slopes into gradients
                slope[:, :3] *= active_dc[:, None]
                active_dc *= to_previous_c
                active_dh.copy_(linear(slope.view(-1, 4 * cell).to(dtype), weight_hh.T))
        backward.add(index, d_gates.view(-1, 4 * cell), block_dh, m)
    return backward.gradients()


def local_slopes(
    gates: Tensor, unclipped_c: Tensor, previous_c: Tensor, batch_sizes: list[int], cell_clip: float | None,
    slopes: Tensor, m: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Compute all derivatives inside the cells of a few steps.

    Args:
        gates (`(M, 4C)`), unclipped_c (`(M, C)`): From the forward.
        previous_c (`(n, C)`): c before the first of the steps.
        batch_sizes: Active rows of the steps.
        slopes (`(M, 4, C)`): Written: the gates' gradients before the activation, divided by dc or, for o, by dm.
        m (`(M, C)`): Written: what is projected, o tanh(c).
    Returns:
        the derivative of m by c `(M, C)`, and that of c by the previous step's c `(M, C)`.
    """
    i, f, g, o = gates.view(slopes.shape).unbind(1)
    c = clip(unclipped_c, cell_clip)
    tanh_c = tanh(c)
    torch.mul(o, tanh_c, out=m)
    torch.addcmul(gates, gates, gates, value=-1, out=slopes.view(gates.shape))  # s (1 - s), the sigmoid's derivative
    slopes[:, 0] *= g
    slopes[:, 1] *= one_step_earlier(previous_c, c, batch_sizes)
    torch.addcmul(i, i * g, g, value=-1, out=slopes[:, 2])
    slopes[:, 3] *= tanh_c
    to_c = torch.addcmul(o, m, tanh_c, value=-1)
    if not is_exceeded(cell_clip, unclipped_c):
        return to_c, f
    unclipped = unclipped_c.abs() <= cell_clip
    slopes[:, :3] *= unclipped[:, None]
    return to_c, f * unclipped


def one_step_earlier(first: Tensor, values: Tensor, batch_sizes: list[int]) -> Tensor:
    """Return, for each of M consecutive tokens with `values` `(M, ...)`, the value one time step earlier in the same
    row; `first` `(n, ...)` are the values before the first of the steps, `batch_sizes` the steps' active rows."""
    steps = first, *values.split(batch_sizes)
    return torch.cat([step[:size] for step, size in zip(steps, batch_sizes)])


class Backward:
    """One direction's backward but for the loop over steps: what the loop needs, and the sums of what it computes.

    The loop runs the blocks from the last to the first. Between two steps, `dh` `(B, P)` and `dc` `(B, C)` are the
    gradients for the state, longest rows first.
    """

    def __init__(self, backward_task: BackwardTask):
        (self.order, self.options, self.keep, self.direction), self.needs, kept, cotangents = backward_task
        self.hidden, *self.kept = kept
        order, direction = self.order, self.direction
        self.x = direction.x.flatten(0, 1)[order.token_indices]
        self.h, self.c = (part[order.sorted_indices] for part in direction.state)
        self.d_outputs = cotangents[0].flatten(0, 1)[order.token_indices]
        self.dh, self.dc = (d[order.sorted_indices].to(self.c.dtype) for d in cotangents[1:])
        self.d_x = torch.empty_like(self.x) if self.needs[0] else None
        weights, needs = direction.tensors()[1:5], self.needs[1:5]
        self.widths = [needed * weight.shape[1] for weight, needed in zip(weights[::2], needs[::2])]
        # oneDNN computes both weights of the gates by one product, transposed, faster than by two.
        rows = len(direction.weight_hh)
        shapes = [(sum(self.widths), rows)] if ONEDNN_SUMS else [(rows, width) for width in self.widths]
        self.d_gate_weights = [self.c.new_zeros(shape) for shape in shapes]
        self.d_bias, self.d_weight_hr = (
            self.c.new_zeros(weight.shape) if needed else None for weight, needed in zip(weights[1::2], needs[1::2])
        )

    def block_dh(self, index: int) -> Tensor:
        """Return the gradients for a block's outputs `(M, P)`, in memory of their own."""
        return self.d_outputs[self.order.blocks[index].tokens].to(self.c.dtype)

    def beyond_clip(self, index: int) -> Tensor | None:
        """Return where the clip of h stops gradients `(M, P)`, or None where it stops none."""
        bound, hidden = self.options.projection_clip, self.hidden[self.order.blocks[index].tokens]
        return hidden.abs() > bound if is_exceeded(bound, hidden) else None

    def block_cells(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return a block's gates `(M, 4C)`, its c before the clip `(M, C)`, and c before the block `(n, C)`."""
        if self.keep == "cells":
            return *self.recomputed(index), self.kept[index]
        gates, unclipped_c = self.kept[2 * index : 2 * index + 2]
        rows = self.order.blocks[index].batch_sizes[0]
        if index == 0:
            return gates, unclipped_c, self.c[:rows]
        last_c = self.kept[2 * index - 1][-self.order.blocks[index - 1].batch_sizes[-1] :]
        return gates, unclipped_c, clip(last_c[:rows], self.options.cell_clip)

    def recomputed(self, index: int) -> tuple[Tensor, Tensor]:
        """Compute a block's gates and c before the clip again, from h, which is known, and c before the block."""
        block, c, direction = self.order.blocks[index], self.kept[index], self.direction
        bias = with_forget_bias(direction.bias, self.options)
        gates = linear(self.x[block.tokens], direction.weight_ih, bias).to(c.dtype)
        gates += linear(self.h_before(index), direction.weight_hh)
        i, f, g, _ = gates.view(len(gates), 4, -1).unbind(1)
        activate_(gates, g)
        unclipped_c = i * g
        for step_c, step_f in block.steps(unclipped_c, f):
            c = clip(step_c.addcmul_(step_f, c[: len(step_c)]), self.options.cell_clip)
        return gates, unclipped_c

    def h_before(self, index: int) -> Tensor:
        """Return h before each of a block's tokens `(M, P)`."""
        block, bound, first = self.order.blocks[index], self.options.projection_clip, self.h
        if index > 0:
            last = self.order.blocks[index - 1].batch_sizes[-1]
            first = clip(self.hidden[block.start - last : block.start], bound)
        return one_step_earlier(first, clip(self.hidden[block.tokens], bound), block.batch_sizes)

    def add(self, index: int, d_gates: Tensor, dh: Tensor, m: Tensor) -> None:
        """Add a block's part to the gradients: from those for its gates before the activation `(M, 4C)` and for its h
        before the clip `(M, P)`, and from what was projected, m `(M, C)`."""
        needs_x, _, needs_bias, _, needs_weight_hr, *_ = self.needs
        tokens, dtype = self.order.blocks[index].tokens, self.h.dtype
        if needs_bias:
            self.d_bias += d_gates.sum(0)
        d_gates = d_gates.to(dtype)
        if needs_x:
            self.d_x[tokens] = linear(d_gates, self.direction.tensors()[1].T)
        if any(self.widths):
            read = [part[:, :width] for part, width in zip((self.x[tokens], self.h_before(index)), self.widths)]
            factors = [(torch.cat(read, dim=1), d_gates)] if ONEDNN_SUMS else [(d_gates, part) for part in read]
            for total, (left, right) in zip(self.d_gate_weights, factors):
                if total.numel():
                    add_product_(total, left, right)
        if needs_weight_hr:
            add_product_(self.d_weight_hr, dh.to(dtype), m.to(dtype))

    def gradients(self) -> list[Tensor | None]:
        """Return the gradients for the seven tensors, None where not needed."""
        d_x, tensors = self.d_x, self.direction.tensors()
        d_x = None if d_x is None else spread(d_x, self.order.token_indices, self.direction.x.shape)
        d_weight_ih, d_weight_hh = (
            self.d_gate_weights[0].T.split(self.widths, dim=1) if ONEDNN_SUMS else self.d_gate_weights
        )
        weights = d_weight_ih, self.d_bias, d_weight_hh, self.d_weight_hr
        gradients = d_x, *weights, *state_in_batch_order(self.order, self.dh, self.dc)
        return [d.to(t.dtype) if needed else None for d, t, needed in zip(gradients, tensors, self.needs)]


# ---- parts of both


def with_forget_bias(bias: Tensor, options: CellOptions) -> Tensor:
    bias, cell = bias.clone(), len(bias) // 4
    bias[cell : 2 * cell] += options.forget_bias
    return bias


def clip(x: Tensor, bound: float | None, out: Tensor | None = None) -> Tensor:
    """Clip to both sides of 0; without a bound and an `out` to write to, return `x` itself."""
    if bound is None:
        return x if out is None else out.copy_(x)
    return torch.clamp(x, -bound, bound, out=out)


def is_exceeded(bound: float | None, x: Tensor) -> bool:
    """Return whether a clip changes `x`. On a GPU the answer would have to be waited for, and is yes with a clip."""
    if bound is None or not x.is_cpu:
        return bound is not None
    low, high = x.aminmax()
    return not (-bound <= low and high <= bound)  # so for NaN, too


# The hyperbolic tangent as 2 sigmoid(2 x) - 1: up to five times as fast on the CPU, and within 2e-7 in float32.
MINUS_ONE = torch.tensor(-1.0, device="cpu")


def tanh(x: Tensor, out: Tensor | None = None) -> Tensor:
    doubled = torch.add(x, x, out=out).sigmoid_()
    return torch.add(MINUS_ONE, doubled, alpha=2, out=doubled)


def activate_(gates: Tensor, g: Tensor, g_is_doubled: bool = False) -> None:
    """Apply the activations in place; `g` is the part of `gates` whose activation is the hyperbolic tangent."""
    if not g_is_doubled:
        g += g
    gates.sigmoid_()
    torch.add(MINUS_ONE, g, alpha=2, out=g)


def spread(packed: Tensor, indices: Tensor, shape: torch.Size | tuple[int, ...] | None = None) -> Tensor:
    """Return zeros of `shape` (default: that of `packed`) with the rows of `packed` at their places."""
    shape = packed.shape if shape is None else shape
    return packed.new_zeros(shape).view(-1, shape[-1]).index_copy_(0, indices, packed).view(shape)


def state_in_batch_order(order: PackedOrder, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    return spread(h, order.sorted_indices), spread(c, order.sorted_indices)


# ---- directions at the same time


def step_cost(direction: Direction) -> int:
    """Estimate the time of a step on the CPU, in multiplications of floats; 0 on other devices."""
    h, c = direction.state
    if c.device.type != "cpu":
        return 0
    is_fast = direction.is_int8 and direction.weight_hh.packed is not None
    return (len(h) + READING_ROWS) * 4 * c.shape[1] * h.shape[1] // (INT8_SPEEDUP if is_fast else 1)


def concurrently(function: Callable[[Any], Any], tasks: list[Any], cost: int) -> list[Any]:
    """Return `[function(task) for task in tasks]`, at the same time where there are threads and steps cost enough.

    Each worker has its share of the threads: fewer cores wait for each other.
    """
    threads = torch.get_num_threads()
    if not 1 < len(tasks) <= threads or cost < WORKER_THRESHOLD:
        return [function(task) for task in tasks]
    inference = torch.is_inference_mode_enabled()

    def run(task: Any) -> Any:
        with torch.inference_mode(inference):
            return function(task)

    try:
        results = workers(os.getpid(), threads, len(tasks)).map(run, tasks)
    except RuntimeError:  # the main thread has ended, after which no pool accepts tasks
        return [function(task) for task in tasks]
    return list(results)


@functools.lru_cache(maxsize=16)
def workers(process: int, threads: int, count: int) -> ThreadPoolExecutor:
    """Make `count` threads that share their caller's `threads`. A forked child inherits none: hence `process`."""

    def limit_threads() -> None:
        torch.get_num_threads()  # torch resets the thread count on its first call in a thread: so call before setting
        torch.set_num_threads(threads // count)

    pool = ThreadPoolExecutor(count, "lstm_elmo", limit_threads)
    all_started = threading.Barrier(count)
    list(pool.map(lambda _: all_started.wait(), range(count)))
    torch.set_num_threads(threads)  # the workers' calls also changed the count that later threads start with
    return pool


PACKED = Engine(
    lambda tasks: concurrently(packed_forward, tasks, step_cost(tasks[0].direction)),
    lambda tasks: concurrently(packed_backward, tasks, step_cost(tasks[0].task.direction)),
    BLOCK_TOKENS,
)
