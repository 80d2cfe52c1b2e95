# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The recurrence as Triton kernels, for GPUs: two launches a step forward, three backward, for both directions at once.

A step needs the results of all programs of the previous step, and the weights of the original (W_hh 16384 by 512) do
not fit in a single multiprocessor. So a step is a sequence of kernels, each of which waits for the previous one as any
two launches do; no program ever waits for another, and none can wait forever. The kernels are the same for every step,
sentence and layer of one shape: the place of a step's tokens and the addresses of all tensors are read from memory. So
a CUDA graph of several steps can be captured once and replayed: a whole recurrence is a few launches.

The last axis of the grid is for the two directions, which share nothing.

The order of the tokens, the tensors kept for the backward and all products over many tokens are those of the packed
backend. c and gates are float32; the products follow `torch.backends.cuda.matmul.fp32_precision`, exact float32 by
default. B, C, P, M and n as in `lstm_packed_elmo`.
"""

import contextlib
import functools
import itertools
import threading
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .lstm_packed_elmo import (
    Backward,
    BackwardTask,
    Block,
    Engine,
    Result,
    Task,
    clip,
    spread,
    state_in_batch_order,
    with_forget_bias,
)

try:
    import triton
    from triton import language as tl
except ImportError as error:
    raise ImportError("it needs the package triton: pip install triton") from error

BLOCK_TOKENS = 2048  # their (M, 4C) gates are the largest memory of an inference
SPLITS = 16  # of the longest sum, over 4C, so that it occupies the whole GPU; added up in a fixed order
STEPS_OF_A_GRAPH = 8
LARGEST_ROWS = 64  # of a program
# The table of addresses has a row for each direction, with a slot for each tensor that a kernel may read or write.
SLOT_NAMES = (
    "steps", "weight_hh", "weight_hr", "h", "c", "m", "gates_x", "gates", "unclipped_c", "hidden", "first_c", "dh",
    "dh_parts", "dc", "d_gates",
)  # fmt: skip
(
    SLOT_STEPS, SLOT_WEIGHT_HH, SLOT_WEIGHT_HR, SLOT_H, SLOT_C, SLOT_M, SLOT_GATES_X, SLOT_GATES, SLOT_UNCLIPPED_C,
    SLOT_HIDDEN, SLOT_FIRST_C, SLOT_DH, SLOT_DH_PARTS, SLOT_DC, SLOT_D_GATES,
) = map(tl.constexpr, range(len(SLOT_NAMES)))  # fmt: skip
SLOTS = tl.constexpr(len(SLOT_NAMES))
DTYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


@triton.jit
def sigmoid(x: tl.tensor) -> tl.tensor:
    return 1 / (1 + tl.exp(-x))


@triton.jit
def tanh(x: tl.tensor) -> tl.tensor:
    return 2 / (1 + tl.exp(-2 * x)) - 1


@triton.jit
def clipped(x: tl.tensor, bound: tl.tensor) -> tl.tensor:
    return tl.where(x > bound, bound, tl.where(x < -bound, -bound, x))  # NaN stays NaN


@triton.jit
def address(table: tl.tensor, slot: tl.constexpr, dtype: tl.constexpr) -> tl.tensor:
    """Return the address in a slot of the table, in the row of this program's direction."""
    return tl.multiple_of(tl.load(table + tl.program_id(2) * SLOTS + slot).to(tl.pointer_type(dtype)), 16)


@triton.jit
def begin_step(progress: tl.tensor, kernel: tl.constexpr) -> tl.tensor:
    """Return the number of the step that the `kernel`-th kernel runs, and pass it on to the next kernel."""
    step = tl.load(progress + kernel)
    if (tl.program_id(0) == 0) & (tl.program_id(1) == 0) & (tl.program_id(2) == 0):
        tl.store(progress + kernel + 1, step)
    return step


@triton.jit
def end_step(progress: tl.tensor, kernel: tl.constexpr) -> tl.tensor:
    """Return the number of the step, as `begin_step` does, and count it for the next one: in a step's last kernel."""
    step = tl.load(progress + kernel)
    if (tl.program_id(0) == 0) & (tl.program_id(1) == 0) & (tl.program_id(2) == 0):
        tl.store(progress, step + 1)
    return step


@triton.jit
def forward_cells(
    table: tl.tensor, progress: tl.tensor, cell_clip: tl.tensor, C: tl.constexpr, P: tl.constexpr,
    DTYPE: tl.constexpr, KEEP: tl.constexpr, FACTOR: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr,
    CELLS: tl.constexpr, INNER: tl.constexpr, TRANSPOSED: tl.constexpr,
):  # fmt: skip
    """gates = activate(gates_x + W_hh h); c = clip(f c + i g); m = o tanh(c)."""
    step = begin_step(progress, 0)
    steps = address(table, SLOT_STEPS, tl.int64)
    start, n = tl.load(steps + 3 * step), tl.load(steps + 3 * step + 1)
    if tl.program_id(1) * ROWS < n:
        weight_hh, h, c = (
            address(table, SLOT_WEIGHT_HH, DTYPE),
            address(table, SLOT_H, DTYPE),
            address(table, SLOT_C, tl.float32),
        )
        m, gates_x = address(table, SLOT_M, DTYPE), address(table, SLOT_GATES_X, DTYPE)
        rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
        cells = tl.program_id(0) * CELLS + tl.arange(0, CELLS)[None, :]
        here = (rows < n) & (cells < C)
        i = tl.zeros((ROWS, CELLS), tl.float32)
        f = tl.zeros((ROWS, CELLS), tl.float32)
        g = tl.zeros((ROWS, CELLS), tl.float32)
        o = tl.zeros((ROWS, CELLS), tl.float32)
        for first in range(0, P, INNER):
            across, down = first + tl.arange(0, INNER)[None, :], first + tl.arange(0, INNER)[:, None]
            h_part = tl.load(h + rows * P + across, (rows < n) & (across < P), 0.0).to(FACTOR)
            w, inside = (
                weight_hh + (down * (4 * C) + cells if TRANSPOSED else cells * P + down),
                (cells < C) & (down < P),
            )
            gate = C if TRANSPOSED else C * P
            i = tl.dot(h_part, tl.load(w, inside, 0.0).to(FACTOR), i, input_precision=PRECISION)
            f = tl.dot(h_part, tl.load(w + gate, inside, 0.0).to(FACTOR), f, input_precision=PRECISION)
            g = tl.dot(h_part, tl.load(w + 2 * gate, inside, 0.0).to(FACTOR), g, input_precision=PRECISION)
            o = tl.dot(h_part, tl.load(w + 3 * gate, inside, 0.0).to(FACTOR), o, input_precision=PRECISION)
        gates = gates_x + (start + rows) * (4 * C) + cells
        i = sigmoid(i + tl.load(gates, here, 0.0).to(tl.float32))
        f = sigmoid(f + tl.load(gates + C, here, 0.0).to(tl.float32))
        g = tanh(g + tl.load(gates + 2 * C, here, 0.0).to(tl.float32))
        o = sigmoid(o + tl.load(gates + 3 * C, here, 0.0).to(tl.float32))
        unclipped_c = f * tl.load(c + rows * C + cells, here, 0.0) + i * g
        new_c = clipped(unclipped_c, cell_clip)
        tl.store(c + rows * C + cells, new_c, here)
        tl.store(m + rows * C + cells, (o * tanh(new_c)).to(DTYPE), here)
        if KEEP:
            kept = address(table, SLOT_GATES, tl.float32) + (start + rows) * (4 * C) + cells
            tl.store(kept, i, here)
            tl.store(kept + C, f, here)
            tl.store(kept + 2 * C, g, here)
            tl.store(kept + 3 * C, o, here)
            tl.store(address(table, SLOT_UNCLIPPED_C, tl.float32) + (start + rows) * C + cells, unclipped_c, here)


@triton.jit
def forward_outputs(
    table: tl.tensor, progress: tl.tensor, projection_clip: tl.tensor, C: tl.constexpr, P: tl.constexpr,
    DTYPE: tl.constexpr, PROJECTED: tl.constexpr, FACTOR: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, INNER: tl.constexpr, SLICES: tl.constexpr, TRANSPOSED: tl.constexpr,
):  # fmt: skip
    """hidden = W_hr m, or m where there is no projection; h = clip(hidden)."""
    step = end_step(progress, 1)
    steps = address(table, SLOT_STEPS, tl.int64)
    start, n = tl.load(steps + 3 * step), tl.load(steps + 3 * step + 1)
    if tl.program_id(1) * ROWS < n:
        h, m, hidden = address(table, SLOT_H, DTYPE), address(table, SLOT_M, DTYPE), address(table, SLOT_HIDDEN, DTYPE)
        rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
        columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
        here = (rows < n) & (columns < P)
        if PROJECTED:
            weight_hr = address(table, SLOT_WEIGHT_HR, DTYPE)
            # The tile is small and the sum long: each warp sums slices of it, so that a thread has products enough.
            sums = tl.zeros((SLICES, ROWS, COLUMNS), tl.float32)
            slices = tl.arange(0, SLICES)[:, None, None] * INNER
            rows_3d, columns_3d = rows[None, :, :], columns[None, :, :]
            for first in range(0, C, SLICES * INNER):
                across = first + slices + tl.arange(0, INNER)[None, None, :]
                down = first + slices + tl.arange(0, INNER)[None, :, None]
                m_part = tl.load(m + rows_3d * C + across, (rows_3d < n) & (across < C), 0.0).to(FACTOR)
                w = weight_hr + (down * P + columns_3d if TRANSPOSED else columns_3d * C + down)
                w_part = tl.load(w, (columns_3d < P) & (down < C), 0.0).to(FACTOR)
                sums = tl.dot(m_part, w_part, sums, input_precision=PRECISION)
            result = tl.sum(sums, 0).to(DTYPE)
        else:
            result = tl.load(m + rows * C + columns, here, 0.0)
        tl.store(hidden + (start + rows) * P + columns, result, here)
        tl.store(h + rows * P + columns, clipped(result.to(tl.float32), projection_clip).to(DTYPE), here)


@triton.jit
def backward_outputs(
    table: tl.tensor, progress: tl.tensor, projection_clip: tl.tensor, B: tl.constexpr, P: tl.constexpr,
    DTYPE: tl.constexpr, PARTS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """dh = the gradients from the outputs and from the following step, 0 where h was clipped."""
    step = begin_step(progress, 0)
    steps = address(table, SLOT_STEPS, tl.int64)
    start, n = tl.load(steps + 3 * step), tl.load(steps + 3 * step + 1)
    if tl.program_id(1) * ROWS < n:
        parts, dh = address(table, SLOT_DH_PARTS, tl.float32), address(table, SLOT_DH, tl.float32)
        rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
        columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
        here = (rows < n) & (columns < P)
        places = (start + rows) * P + columns
        total = tl.load(dh + places, here, 0.0)
        for part in range(PARTS):
            total += tl.load(parts + part * (B * P) + rows * P + columns, here, 0.0)
        hidden = tl.load(address(table, SLOT_HIDDEN, DTYPE) + places, here, 0.0).to(tl.float32)
        tl.store(dh + places, tl.where(tl.abs(hidden) > projection_clip, 0.0, total), here)


@triton.jit
def backward_cells(
    table: tl.tensor, progress: tl.tensor, cell_clip: tl.tensor, C: tl.constexpr, P: tl.constexpr,
    DTYPE: tl.constexpr, PROJECTED: tl.constexpr, FACTOR: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr,
    CELLS: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    """The gradients for the gates before their activation and for c; and m again, for the gradient of W_hr."""
    step = begin_step(progress, 1)
    steps = address(table, SLOT_STEPS, tl.int64)
    start, n, before = tl.load(steps + 3 * step), tl.load(steps + 3 * step + 1), tl.load(steps + 3 * step + 2)
    if tl.program_id(1) * ROWS < n:
        dh, dc = address(table, SLOT_DH, tl.float32), address(table, SLOT_DC, tl.float32)
        rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
        cells = tl.program_id(0) * CELLS + tl.arange(0, CELLS)[None, :]
        here = (rows < n) & (cells < C)
        if PROJECTED:
            weight_hr = address(table, SLOT_WEIGHT_HR, DTYPE)
            dm = tl.zeros((ROWS, CELLS), tl.float32)
            for first in range(0, P, INNER):
                across, down = first + tl.arange(0, INNER)[None, :], first + tl.arange(0, INNER)[:, None]
                dh_part = tl.load(dh + (start + rows) * P + across, (rows < n) & (across < P), 0.0)
                dh_part = dh_part.to(DTYPE).to(FACTOR)
                w_part = tl.load(weight_hr + down * C + cells, (down < P) & (cells < C), 0.0).to(FACTOR)
                dm = tl.dot(dh_part, w_part, dm, input_precision=PRECISION)
        else:
            dm = tl.load(dh + (start + rows) * P + cells, here, 0.0)
        gates = address(table, SLOT_GATES, tl.float32) + (start + rows) * (4 * C) + cells
        i, f = tl.load(gates, here, 0.0), tl.load(gates + C, here, 0.0)
        g, o = tl.load(gates + 2 * C, here, 0.0), tl.load(gates + 3 * C, here, 0.0)
        unclipped_c = address(table, SLOT_UNCLIPPED_C, tl.float32)
        # The previous step's c lies in this block, unless the block starts with this step: then it is `first_c`.
        in_block = tl.full((ROWS, CELLS), before, tl.int64) >= 0
        earlier = tl.load(unclipped_c + (before + rows) * C + cells, here & in_block, 0.0)
        first_c = tl.load(address(table, SLOT_FIRST_C, tl.float32) + rows * C + cells, here & ~in_block, 0.0)
        previous_c = tl.where(in_block, clipped(earlier, cell_clip), first_c)
        own_c = tl.load(unclipped_c + (start + rows) * C + cells, here, 0.0)
        tanh_c = tanh(clipped(own_c, cell_clip))
        d_c = tl.load(dc + rows * C + cells, here, 0.0) + dm * o * (1 - tanh_c * tanh_c)
        d_c = tl.where(tl.abs(own_c) > cell_clip, 0.0, d_c)
        d_gates = address(table, SLOT_D_GATES, tl.float32) + (start + rows) * (4 * C) + cells
        tl.store(d_gates, d_c * g * i * (1 - i), here)
        tl.store(d_gates + C, d_c * previous_c * f * (1 - f), here)
        tl.store(d_gates + 2 * C, d_c * i * (1 - g * g), here)
        tl.store(d_gates + 3 * C, dm * tanh_c * o * (1 - o), here)
        tl.store(dc + rows * C + cells, d_c * f, here)
        tl.store(address(table, SLOT_M, tl.float32) + (start + rows) * C + cells, o * tanh_c, here)


@triton.jit
def backward_hidden(
    table: tl.tensor, progress: tl.tensor, B: tl.constexpr, C: tl.constexpr, P: tl.constexpr, DTYPE: tl.constexpr,
    PARTS: tl.constexpr, FACTOR: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
):  # fmt: skip
    """The gradient for h before this step, as `PARTS` sums over parts of the 4C gates."""
    step = end_step(progress, 2)
    steps = address(table, SLOT_STEPS, tl.int64)
    start, n = tl.load(steps + 3 * step), tl.load(steps + 3 * step + 1)
    if tl.program_id(1) * ROWS < n:
        weight_hh, parts, d_gates = (
            address(table, SLOT_WEIGHT_HH, DTYPE),
            address(table, SLOT_DH_PARTS, tl.float32),
            address(table, SLOT_D_GATES, tl.float32),
        )
        part, block = tl.program_id(0) % PARTS, tl.program_id(0) // PARTS
        rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
        columns = block * COLUMNS + tl.arange(0, COLUMNS)[None, :]
        sums = tl.zeros((ROWS, COLUMNS), tl.float32)
        for first in range(part * INNER, 4 * C, PARTS * INNER):
            across, down = first + tl.arange(0, INNER)[None, :], first + tl.arange(0, INNER)[:, None]
            d_part = tl.load(d_gates + (start + rows) * (4 * C) + across, (rows < n) & (across < 4 * C), 0.0)
            w_part = tl.load(weight_hh + down * P + columns, (down < 4 * C) & (columns < P), 0.0).to(FACTOR)
            sums = tl.dot(d_part.to(DTYPE).to(FACTOR), w_part, sums, input_precision=PRECISION)
        tl.store(parts + part * (B * P) + rows * P + columns, sums, (rows < n) & (columns < P))


def unsupported_input_reason(x: Tensor) -> str | None:
    """Return why the kernels cannot run on an input like `x`, or None."""
    if x.dtype not in DTYPES:
        return f"it computes in float32, bfloat16 and float16, not in {str(x.dtype).removeprefix('torch.')}"
    if not x.is_cuda and isinstance(forward_cells, triton.runtime.JITFunction):
        return "it needs a GPU (or TRITON_INTERPRET=1 in the environment of a new process, to be run by an interpreter)"
    if x.is_cuda and torch.cuda.get_device_capability(x.device)[0] < 8:
        return "it needs a GPU of compute capability 8.0 or later"
    return None


@torch.no_grad()
def triton_forward(tasks: list[Task]) -> list[Result]:
    """Return for each task the result of `packed_forward`."""
    if len({(t.keep, t.direction.weight_hh.shape, t.direction.weight_hr is None) for t in tasks}) > 1:
        return [triton_forward([task])[0] for task in tasks]
    order, options, keep, direction = tasks[0]
    runs = [Forward(task) for task in tasks]
    h, c = runs[0].h, runs[0].c
    with device_guard(h.device):
        step = forward_step(
            *buffer_key(h), len(tasks), h.dtype, rows_of_grid(len(h)), c.shape[1], h.shape[1], keep == "gates",
            direction.weight_hr is not None, bound(options.cell_clip), bound(options.projection_clip), precision(),
        )  # fmt: skip
        for index, block in enumerate(order.blocks):
            step.run([run.block_tensors(index) for run in runs], step_table(block))
    return [run.result() for run in runs]


class Forward:
    """The tensors of one direction's forward; `h` `(B, P)` and `c` `(B, C)` are its state, longest rows first."""

    def __init__(self, task: Task):
        self.order, self.options, self.keep, self.direction = task
        direction, indices = task.direction, task.order.token_indices
        self.bias, self.weight_hh = with_forget_bias(direction.bias, task.options), for_product(direction.weight_hh)
        self.weight_hr = None if direction.weight_hr is None else for_product(direction.weight_hr)
        self.x = direction.x.flatten(0, 1)[indices]
        self.h, self.c = (part[task.order.sorted_indices] for part in direction.state)
        self.m, self.hidden = self.h.new_empty(self.c.shape), self.h.new_empty(len(indices), self.h.shape[1])
        self.kept: list[Tensor] = []

    def block_tensors(self, index: int) -> dict[str, Tensor | None]:
        """Return what the forward kernels of a block read and write, by the names of their slots."""
        block, c = self.order.blocks[index], self.c
        gates_x = gates = F.linear(self.x[block.tokens], self.direction.weight_ih, self.bias)
        unclipped_c = None
        if self.keep == "gates":
            gates = gates_x if gates_x.dtype == c.dtype else torch.empty_like(gates_x, dtype=c.dtype)
            unclipped_c = c.new_empty(len(gates), c.shape[1])
            self.kept += [gates, unclipped_c]
        elif self.keep == "cells":
            self.kept.append(c[: block.batch_sizes[0]].clone())
        return {
            "weight_hh": self.weight_hh,
            "weight_hr": self.weight_hr,
            "h": self.h,
            "c": c,
            "m": self.m,
            "gates_x": gates_x,
            "gates": gates,
            "unclipped_c": unclipped_c,
            "hidden": self.hidden[block.tokens],
        }

    def result(self) -> Result:
        shape = *self.direction.x.shape[:2], self.h.shape[1]
        outputs = spread(clip(self.hidden, self.options.projection_clip), self.order.token_indices, shape)
        kept = [self.hidden, *self.kept] if self.keep else []
        return Result(outputs, *state_in_batch_order(self.order, self.h, self.c), kept)


@torch.no_grad()
def triton_backward(tasks: list[BackwardTask]) -> list[list[Tensor | None]]:
    """Return for each task the gradients of `packed_backward`."""
    directions = [task.task.direction for task in tasks]
    alike = {(any(t.needs), d.weight_hh.shape, d.weight_hr is None) for t, d in zip(tasks, directions)}
    if len(alike) > 1:
        return [triton_backward([task])[0] for task in tasks]
    if not any(tasks[0].needs):
        return [[None] * 7 for _ in tasks]
    order, options, _, direction = tasks[0].task
    h, c = direction.state
    rows = rows_of_grid(len(h))
    with device_guard(h.device):
        backwards = [Backward(task) for task in tasks]
        all_parts = [c.new_zeros(SPLITS, rows, h.shape[1]) for _ in tasks]
        for parts, backward in zip(all_parts, backwards):
            parts[0, : len(h)] = backward.dh
        step = backward_step(
            *buffer_key(h), len(tasks), h.dtype, rows, c.shape[1], h.shape[1], direction.weight_hr is not None,
            bound(options.cell_clip), bound(options.projection_clip), precision(),
        )  # fmt: skip
        for index, block in reversed(list(enumerate(order.blocks))):
            tensors = [backward_tensors(backward, parts, index) for backward, parts in zip(backwards, all_parts)]
            step.run(tensors, step_table(block)[::-1])
            for backward, named in zip(backwards, tensors):
                backward.add(index, named["d_gates"], named["dh"], named["m"])
        for parts, backward in zip(all_parts, backwards):
            backward.dh = parts.sum(0)[: len(h)]
        return [backward.gradients() for backward in backwards]


def backward_tensors(backward: Backward, parts: Tensor, index: int) -> dict[str, Tensor | None]:
    """Return what the backward kernels of a block read and write, by the names of their slots."""
    gates, unclipped_c, first_c = backward.block_cells(index)
    direction = backward.direction
    return {
        "weight_hh": aligned(direction.weight_hh),
        "weight_hr": None if direction.weight_hr is None else aligned(direction.weight_hr),
        "gates": gates,
        "unclipped_c": unclipped_c,
        "first_c": first_c.contiguous(),
        "hidden": backward.hidden[backward.order.blocks[index].tokens],
        "dh": backward.block_dh(index),
        "dh_parts": parts,
        "dc": backward.dc,
        "d_gates": torch.empty_like(gates),
        "m": torch.empty_like(unclipped_c),
    }


class Step:
    """The kernels of a step, in their order, and the memory that says what they work on.

    On a GPU, from the second run on, several steps are captured as a CUDA graph and replayed.
    """

    @torch.inference_mode(False)  # memory made in inference mode could not be written to elsewhere
    def __init__(self, device: torch.device, directions: int, launches: list[Callable[[Tensor, Tensor], None]]):
        self.launches = launches
        self.table = torch.zeros(directions, SLOTS.value, dtype=torch.int64, device=device)
        self.progress = torch.zeros(4, dtype=torch.int32, device=device)
        self.graph, self.runs = None, 0

    def launch(self) -> None:
        for launch in self.launches:
            launch(self.table, self.progress)

    def run(self, tensors: list[dict[str, Tensor | None]], steps: list[tuple[int, int, int]]) -> None:
        """Run steps of a block, as `step_table` lists them, over each direction's tensors, named by slot."""
        count = len(steps)
        padding = -count % STEPS_OF_A_GRAPH  # a replay goes past the end, where nothing is done
        steps = uploaded(steps + [(0, 0, 0)] * padding, self.table.device)
        addresses = [
            [0 if t is None else t.data_ptr() for t in map({"steps": steps, **named}.get, SLOT_NAMES)]
            for named in tensors
        ]
        self.table.copy_(uploaded(addresses, self.table.device))
        self.progress.zero_()
        if self.runs == 1 and self.table.is_cuda:  # by now the kernels are compiled and loaded
            self.graph = torch.cuda.CUDAGraph()
            stream = torch.cuda.Stream(self.table.device)  # torch's own for captures may be of another device
            with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
                for _ in range(STEPS_OF_A_GRAPH):
                    self.launch()
        self.runs += 1
        if self.graph is None:
            for _ in range(count):
                self.launch()
        else:
            for _ in range(0, count, STEPS_OF_A_GRAPH):
                self.graph.replay()


def step_table(block: Block) -> list[tuple[int, int, int]]:
    """List each step's first token, its active rows, and the first token of the step before it (-1 for none), all
    counted within the block."""
    starts = list(itertools.accumulate(block.batch_sizes[:-1], initial=0))
    return list(zip(starts, block.batch_sizes, [-1, *starts]))


@functools.lru_cache(maxsize=64)
def forward_step(
    device: torch.device, stream: int, thread: int, directions: int, dtype: torch.dtype, rows: int, C: int, P: int,
    keep: bool, projected: bool, cell_clip: float, projection_clip: float, precision: str,
) -> Step:  # fmt: skip
    ROWS, DTYPE, INNER = min(rows, LARGEST_ROWS), DTYPES[dtype], 128 // dtype.itemsize
    TRANSPOSED = exact(dtype, precision)
    OUTPUT_ROWS, COLUMNS = tile_of_outputs(rows)

    def cells(table: Tensor, progress: Tensor) -> None:
        forward_cells[(triton.cdiv(C, 32), rows // ROWS, directions)](
            table, progress, cell_clip, C, P, DTYPE, keep, factor(DTYPE), precision, ROWS, 32, INNER, TRANSPOSED
        )

    def outputs(table: Tensor, progress: Tensor) -> None:
        forward_outputs[(triton.cdiv(P, COLUMNS), rows // OUTPUT_ROWS, directions)](
            table, progress, projection_clip, C, P, DTYPE, projected, factor(DTYPE), precision, OUTPUT_ROWS, COLUMNS,
            INNER, 128 // COLUMNS, TRANSPOSED,
        )  # fmt: skip

    return Step(device, directions, [cells, outputs])


@functools.lru_cache(maxsize=64)
def backward_step(
    device: torch.device, stream: int, thread: int, directions: int, dtype: torch.dtype, rows: int, C: int, P: int,
    projected: bool, cell_clip: float, projection_clip: float, precision: str,
) -> Step:  # fmt: skip
    ROWS, DTYPE = min(rows, LARGEST_ROWS), DTYPES[dtype]
    blocks = rows // ROWS

    def outputs(table: Tensor, progress: Tensor) -> None:
        backward_outputs[(triton.cdiv(P, 64), rows // 8, directions)](
            table, progress, projection_clip, rows, P, DTYPE, SPLITS, 8, 64
        )

    def cells(table: Tensor, progress: Tensor) -> None:
        backward_cells[(triton.cdiv(C, 32), blocks, directions)](
            table, progress, cell_clip, C, P, DTYPE, projected, factor(DTYPE), precision, ROWS, 32, 32
        )

    def hidden(table: Tensor, progress: Tensor) -> None:
        backward_hidden[(triton.cdiv(P, 64) * SPLITS, blocks, directions)](
            table, progress, rows, C, P, DTYPE, SPLITS, factor(DTYPE), precision, ROWS, 64, 32
        )

    return Step(device, directions, [outputs, cells, hidden])


def device_guard(device: torch.device) -> contextlib.AbstractContextManager:
    """Make `device` the current one, where launches and new streams go."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def buffer_key(x: Tensor) -> tuple[torch.device, int, int]:
    """Return the device, stream and thread of a call: calls of another stream or thread need buffers of their own."""
    return x.device, torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0, threading.get_ident()


def uploaded(numbers: list, device: torch.device) -> Tensor:
    """Return whole numbers as a tensor on the device, without waiting for the device's earlier work."""
    numbers = torch.tensor(numbers, device="cpu")
    return numbers.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else numbers


def tile_of_outputs(rows: int) -> tuple[int, int]:
    """Return the rows and columns of h that one program computes: at the original's size 128 programs compute 32 or 64
    rows."""
    return 32 if rows > 64 else 16, 32 if rows > 32 else 16


def rows_of_grid(rows: int) -> int:
    """Round up to a power of two, so that grids have few shapes."""
    return max(16, triton.next_power_of_2(rows))


def bound(clip: float | None) -> float:
    return float("inf") if clip is None else float(clip)


def factor(dtype: tl.dtype) -> tl.dtype:
    """Return the type of a product's factors. The interpreter has no bfloat16; float32 holds the same numbers."""
    return dtype if isinstance(forward_cells, triton.runtime.JITFunction) else tl.float32


def precision() -> str:
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"


def exact(dtype: torch.dtype, precision: str) -> bool:
    """Return whether tensor cores cannot do the products."""
    return dtype == torch.float32 and precision == "ieee"


def for_product(weight: Tensor) -> Tensor:
    """Return a weight as the kernels of the forward read it: transposed for exact products.

    Without tensor cores the threads of a warp read the weights of neighboring outputs from shared memory at once. These
    would all lie in one bank if each output had a row of its own.
    """
    return aligned(weight.T if exact(weight.dtype, precision()) else weight)


def aligned(tensor: Tensor) -> Tensor:
    """Return a tensor without gaps whose memory starts at a multiple of 16 bytes, which the kernels read at a time."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


TRITON = Engine(triton_forward, triton_backward, BLOCK_TOKENS)
