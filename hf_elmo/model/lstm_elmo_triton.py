"""The recurrence as Triton kernels, for GPUs: two launches a word forward, three backward, for both directions at once.

A step needs what all programs made of the step before, and the weights of the original (W_hh 16384 by 512) fit no
single multiprocessor. So a step is a row of kernels, each of which waits for the one before as any two launches do;
no program ever waits for another, and none can wait forever. The kernels of a step are the same for every step, every
sentence and every layer of one shape: where a step's words are is read from memory, and so are the addresses of all
tensors. That lets a CUDA graph of several steps be captured once and replayed: a whole recurrence is a few launches.

An axis of the grid is for what shares nothing, its lanes: the two directions.

The order of the words, what is kept for the backward and everything that is a product over many words are the packed
path's. c and gates are float32; the products are as `torch.backends.cuda.matmul.fp32_precision` says, exact float32 by
default. B, C, P, M and n as in `lstm_packed_elmo`.
"""

import contextlib
import functools
import threading

import torch
from torch.nn import functional as F

from .lstm_packed_elmo import Backward, clip, spread, step_sizes, with_forget_bias, words_of

try:
    import triton
    from triton import language as tl
except ImportError as error:
    raise ImportError("it needs the package triton: pip install triton") from error

LARGEST_BLOCK = 2048  # words: their (M, 4C) gates are the largest memory of an inference
SPLITS = 16  # of the longest sum, over 4C, so that it occupies the whole GPU; added up in a fixed order
STEPS_OF_A_GRAPH = 8
LARGEST_ROWS = 64  # of a program
SLOTS = tl.constexpr(16)  # of the table of addresses, for each lane; the first one is that of the steps
DTYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


@triton.jit
def sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def tanh(x):
    return 2 / (1 + tl.exp(-2 * x)) - 1


@triton.jit
def clipped(x, bound):
    return tl.where(x > bound, bound, tl.where(x < -bound, -bound, x))  # NaN stays NaN


@triton.jit
def address(table, slot, dtype):
    """The `slot`-th address of this program's lane."""
    return tl.multiple_of(tl.load(table + tl.program_id(2) * SLOTS + slot).to(tl.pointer_type(dtype)), 16)


@triton.jit
def begin_step(progress, kernel: tl.constexpr):
    """The step at which the `kernel`-th kernel of a step is. The next kernel, launched later, is told by this one."""
    step = tl.load(progress + kernel)
    if (tl.program_id(0) == 0) & (tl.program_id(1) == 0) & (tl.program_id(2) == 0):
        tl.store(progress + kernel + 1, step)
    return step


@triton.jit
def end_step(progress, kernel: tl.constexpr):
    """As `begin_step`, for the last kernel of a step."""
    step = tl.load(progress + kernel)
    if (tl.program_id(0) == 0) & (tl.program_id(1) == 0) & (tl.program_id(2) == 0):
        tl.store(progress, step + 1)
    return step


@triton.jit
def forward_cells(
    table, progress, cell_clip, C: tl.constexpr, P: tl.constexpr, DTYPE: tl.constexpr, KEEP: tl.constexpr,
    FACTOR: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, CELLS: tl.constexpr, INNER: tl.constexpr,
    TRANSPOSED: tl.constexpr,
):  # fmt: skip
    """gates = activate(gates_x + W_hh h); c = clip(f c + i g); m = o tanh(c)."""
    step = begin_step(progress, 0)
    steps = address(table, 0, tl.int64)
    start, n = tl.load(steps + 3 * step), tl.load(steps + 3 * step + 1)
    if tl.program_id(1) * ROWS < n:
        w_hh, h, c = address(table, 1, DTYPE), address(table, 2, DTYPE), address(table, 3, tl.float32)
        m, gates_x = address(table, 4, DTYPE), address(table, 5, DTYPE)
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
            w, inside = w_hh + (down * (4 * C) + cells if TRANSPOSED else cells * P + down), (cells < C) & (down < P)
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
            kept = address(table, 6, tl.float32) + (start + rows) * (4 * C) + cells
            tl.store(kept, i, here)
            tl.store(kept + C, f, here)
            tl.store(kept + 2 * C, g, here)
            tl.store(kept + 3 * C, o, here)
            tl.store(address(table, 7, tl.float32) + (start + rows) * C + cells, unclipped_c, here)


@triton.jit
def forward_outputs(
    table, progress, projection_clip, C: tl.constexpr, P: tl.constexpr, DTYPE: tl.constexpr, PROJECTED: tl.constexpr,
    FACTOR: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
    SLICES: tl.constexpr, TRANSPOSED: tl.constexpr,
):  # fmt: skip
    """hidden = W_proj m, or m where there is no projection; h = clip(hidden)."""
    step = end_step(progress, 1)
    steps = address(table, 0, tl.int64)
    start, n = tl.load(steps + 3 * step), tl.load(steps + 3 * step + 1)
    if tl.program_id(1) * ROWS < n:
        h, m, hidden = address(table, 2, DTYPE), address(table, 4, DTYPE), address(table, 8, DTYPE)
        rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
        columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
        here = (rows < n) & (columns < P)
        if PROJECTED:
            w_proj = address(table, 9, DTYPE)
            # The tile is small and the sum long: warps take slices of it, so that a thread has products enough.
            sums = tl.zeros((SLICES, ROWS, COLUMNS), tl.float32)
            slices = tl.arange(0, SLICES)[:, None, None] * INNER
            rows_3d, columns_3d = rows[None, :, :], columns[None, :, :]
            for first in range(0, C, SLICES * INNER):
                across = first + slices + tl.arange(0, INNER)[None, None, :]
                down = first + slices + tl.arange(0, INNER)[None, :, None]
                m_part = tl.load(m + rows_3d * C + across, (rows_3d < n) & (across < C), 0.0).to(FACTOR)
                w = w_proj + (down * P + columns_3d if TRANSPOSED else columns_3d * C + down)
                w_part = tl.load(w, (columns_3d < P) & (down < C), 0.0).to(FACTOR)
                sums = tl.dot(m_part, w_part, sums, input_precision=PRECISION)
            result = tl.sum(sums, 0).to(DTYPE)
        else:
            result = tl.load(m + rows * C + columns, here, 0.0)
        tl.store(hidden + (start + rows) * P + columns, result, here)
        tl.store(h + rows * P + columns, clipped(result.to(tl.float32), projection_clip).to(DTYPE), here)


@triton.jit
def backward_outputs(
    table, progress, projection_clip, B: tl.constexpr, P: tl.constexpr, DTYPE: tl.constexpr, PARTS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """dh = what comes from above and from the step behind, 0 where h was clipped."""
    step = begin_step(progress, 0)
    steps = address(table, 0, tl.int64)
    start, n = tl.load(steps + 3 * step), tl.load(steps + 3 * step + 1)
    if tl.program_id(1) * ROWS < n:
        parts, dh = address(table, 2, tl.float32), address(table, 4, tl.float32)
        rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
        columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
        here = (rows < n) & (columns < P)
        places = (start + rows) * P + columns
        total = tl.load(dh + places, here, 0.0)
        for part in range(PARTS):
            total += tl.load(parts + part * (B * P) + rows * P + columns, here, 0.0)
        hidden = tl.load(address(table, 5, DTYPE) + places, here, 0.0).to(tl.float32)
        tl.store(dh + places, tl.where(tl.abs(hidden) > projection_clip, 0.0, total), here)


@triton.jit
def backward_cells(
    table, progress, cell_clip, C: tl.constexpr, P: tl.constexpr, DTYPE: tl.constexpr, PROJECTED: tl.constexpr,
    FACTOR: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, CELLS: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    """The gradients for the gates before their activation, and for c; m once more, for the gradient of W_proj."""
    step = begin_step(progress, 1)
    steps = address(table, 0, tl.int64)
    start, n, before = tl.load(steps + 3 * step), tl.load(steps + 3 * step + 1), tl.load(steps + 3 * step + 2)
    if tl.program_id(1) * ROWS < n:
        dh, dc = address(table, 4, tl.float32), address(table, 3, tl.float32)
        rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
        cells = tl.program_id(0) * CELLS + tl.arange(0, CELLS)[None, :]
        here = (rows < n) & (cells < C)
        if PROJECTED:
            w_proj = address(table, 6, DTYPE)
            dm = tl.zeros((ROWS, CELLS), tl.float32)
            for first in range(0, P, INNER):
                across, down = first + tl.arange(0, INNER)[None, :], first + tl.arange(0, INNER)[:, None]
                dh_part = tl.load(dh + (start + rows) * P + across, (rows < n) & (across < P), 0.0)
                dh_part = dh_part.to(DTYPE).to(FACTOR)
                w_part = tl.load(w_proj + down * C + cells, (down < P) & (cells < C), 0.0).to(FACTOR)
                dm = tl.dot(dh_part, w_part, dm, input_precision=PRECISION)
        else:
            dm = tl.load(dh + (start + rows) * P + cells, here, 0.0)
        gates = address(table, 7, tl.float32) + (start + rows) * (4 * C) + cells
        i, f = tl.load(gates, here, 0.0), tl.load(gates + C, here, 0.0)
        g, o = tl.load(gates + 2 * C, here, 0.0), tl.load(gates + 3 * C, here, 0.0)
        unclipped_c = address(table, 8, tl.float32)
        # The c of the step before lies in this block, or the block begins with this step and with `first_c`.
        in_block = tl.full((ROWS, CELLS), before, tl.int64) >= 0
        earlier = tl.load(unclipped_c + (before + rows) * C + cells, here & in_block, 0.0)
        first_c = tl.load(address(table, 9, tl.float32) + rows * C + cells, here & ~in_block, 0.0)
        previous_c = tl.where(in_block, clipped(earlier, cell_clip), first_c)
        own_c = tl.load(unclipped_c + (start + rows) * C + cells, here, 0.0)
        tanh_c = tanh(clipped(own_c, cell_clip))
        d_c = tl.load(dc + rows * C + cells, here, 0.0) + dm * o * (1 - tanh_c * tanh_c)
        d_c = tl.where(tl.abs(own_c) > cell_clip, 0.0, d_c)
        d_gates = address(table, 10, tl.float32) + (start + rows) * (4 * C) + cells
        tl.store(d_gates, d_c * g * i * (1 - i), here)
        tl.store(d_gates + C, d_c * previous_c * f * (1 - f), here)
        tl.store(d_gates + 2 * C, d_c * i * (1 - g * g), here)
        tl.store(d_gates + 3 * C, dm * tanh_c * o * (1 - o), here)
        tl.store(dc + rows * C + cells, d_c * f, here)
        tl.store(address(table, 11, tl.float32) + (start + rows) * C + cells, o * tanh_c, here)


@triton.jit
def backward_hidden(
    table, progress, B: tl.constexpr, C: tl.constexpr, P: tl.constexpr, DTYPE: tl.constexpr, PARTS: tl.constexpr,
    FACTOR: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    """The gradient for the h before this step, as `PARTS` sums over parts of the 4C gates."""
    step = end_step(progress, 2)
    steps = address(table, 0, tl.int64)
    start, n = tl.load(steps + 3 * step), tl.load(steps + 3 * step + 1)
    if tl.program_id(1) * ROWS < n:
        w_hh, parts, d_gates = address(table, 1, DTYPE), address(table, 2, tl.float32), address(table, 10, tl.float32)
        part, block = tl.program_id(0) % PARTS, tl.program_id(0) // PARTS
        rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
        columns = block * COLUMNS + tl.arange(0, COLUMNS)[None, :]
        sums = tl.zeros((ROWS, COLUMNS), tl.float32)
        for first in range(part * INNER, 4 * C, PARTS * INNER):
            across, down = first + tl.arange(0, INNER)[None, :], first + tl.arange(0, INNER)[:, None]
            d_part = tl.load(d_gates + (start + rows) * (4 * C) + across, (rows < n) & (across < 4 * C), 0.0)
            w_part = tl.load(w_hh + down * P + columns, (down < 4 * C) & (columns < P), 0.0).to(FACTOR)
            sums = tl.dot(d_part.to(DTYPE).to(FACTOR), w_part, sums, input_precision=PRECISION)
        tl.store(parts + part * (B * P) + rows * P + columns, sums, (rows < n) & (columns < P))


def trouble(x):
    """Why the kernels cannot run on words like `x`, or None."""
    if x.dtype not in DTYPES:
        return f"it computes in float32, bfloat16 and float16, not in {str(x.dtype).removeprefix('torch.')}"
    if not x.is_cuda and isinstance(forward_cells, triton.runtime.JITFunction):
        return "it needs a GPU (or TRITON_INTERPRET=1 in the environment of a new process, to be run by an interpreter)"
    if x.is_cuda and torch.cuda.get_device_capability(x.device)[0] < 8:
        return "it needs a GPU of compute capability 8.0 or later"
    return None


@torch.no_grad()
def triton_forward(jobs):
    """For each job, a direction, what `packed_forward` returns of the same arguments."""
    alike = {(keep, w_hh.shape, w_proj is None) for _, _, keep, _, _, _, w_hh, w_proj, _, _ in jobs}
    if len(alike) > 1:
        return [triton_forward([job])[0] for job in jobs]
    walks = [Forward(plan, options, *tensors, keep) for plan, options, keep, _, *tensors in jobs]
    words = [x.flatten(0, 1)[plan.words] for plan, _, _, x, *_ in jobs]
    for index, block in enumerate(walks[0].plan.blocks):
        take([(walk, index, x[words_of(block)]) for walk, x in zip(walks, words)])
    return [walk.results(x.shape[:2]) for walk, (_, _, _, x, *_) in zip(walks, jobs)]


@torch.no_grad()
def take(jobs):
    """Take walks of one shape over a block each, at the same time.

    Args:
        jobs: of each walk, a `Forward`, itself, the number of its block and the block's words `(M, I)`.
    Returns:
        h of each block before its clip `(M, P)`.
    """
    walk, *_ = jobs[0]
    h, c = walk.h, walk.c
    with device_guard(h.device):
        step = forward_step(
            *buffer_key(h), len(jobs), h.dtype, rows_of_grid(len(h)), c.shape[1], h.shape[1], walk.keep == "gates",
            walk.w_proj is not None, bound(walk.cell_clip), bound(walk.projection_clip), precision(),
        )  # fmt: skip
        tensors = [walk.addresses(index, x) for walk, index, x in jobs]
        step.run(tensors, [forward_steps(walk.plan.blocks[index]) for walk, index, _ in jobs])
    return [walk.hidden[words_of(walk.plan.blocks[index])] for walk, index, _ in jobs]


def forward_steps(block):
    return [(start, stop - start, 0) for start, stop in shifted(block)]


class Forward:
    """One direction on its way from block to block, as `Forward` of the packed path."""

    @torch.no_grad()
    def __init__(self, plan, options, w_ih, bias, w_hh, w_proj, h, c, keep=None):
        self.plan, self.keep, self.cell_clip = plan, keep, options.cell_clip
        self.projection_clip = None if w_proj is None else options.projection_clip
        self.w_ih, self.bias, self.w_hh = w_ih, with_forget_bias(bias, options), for_product(w_hh)
        self.w_proj = None if w_proj is None else for_product(w_proj)
        self.h, self.c = h[plan.rows], c[plan.rows]
        self.m, self.hidden, self.kept = h.new_empty(c.shape), h.new_empty(len(plan.words), h.shape[1]), []

    def addresses(self, index, x):
        """What the kernels of a forward step read and write, in the order of their slots."""
        block = self.plan.blocks[index]
        gates_x = gates = F.linear(x, self.w_ih, self.bias)
        unclipped_c = None
        if self.keep == "gates":
            gates = gates_x if gates_x.dtype == self.c.dtype else torch.empty_like(gates_x, dtype=self.c.dtype)
            unclipped_c = self.c.new_empty(len(gates), self.c.shape[1])
            self.kept += [gates, unclipped_c]
        elif self.keep == "cells":
            self.kept.append(self.c[: step_sizes(block)[0]].clone())
        self.gates_x = gates_x  # lives until the kernels that read it are under way
        hidden = self.hidden[words_of(block)]
        return [self.w_hh, self.h, self.c, self.m, gates_x, gates, unclipped_c, hidden, self.w_proj]

    def state(self):
        """h `(B, P)` and c `(B, C)` in the order of the batch."""
        return spread(self.h, self.plan.rows), spread(self.c, self.plan.rows)

    def results(self, shape):
        """Of words in a batch of this shape `(B, T)`."""
        outputs = spread(clip(self.hidden, self.projection_clip), self.plan.words, (*shape, self.h.shape[1]))
        return outputs, *self.state(), *([self.hidden, *self.kept] if self.keep else [])


@torch.no_grad()
def triton_backward(jobs):
    """For each job what `packed_backward` returns of the same arguments."""
    alike = {(any(needs), w_hh.shape, w_proj is None) for _, _, _, needs, *_, w_hh, w_proj, _, _ in jobs}
    if len(alike) > 1:
        return [triton_backward([job])[0] for job in jobs]
    plan, options, _, needs, _, _, x, *_, w_proj, h, c = jobs[0]
    if not any(needs):
        return [[None] * 7 for _ in jobs]
    rows = rows_of_grid(len(h))
    with device_guard(x.device):
        walks = [Backward(*job) for job in jobs]
        parts = [c.new_zeros(SPLITS, rows, h.shape[1]) for _ in jobs]
        for part, walk in zip(parts, walks):
            part[0, : len(h)] = walk.dh
        step = backward_step(
            *buffer_key(x), len(jobs), x.dtype, rows, c.shape[1], h.shape[1], w_proj is not None,
            bound(options.cell_clip), bound(walks[0].projection_clip), precision(),
        )  # fmt: skip
        for index in reversed(range(len(plan.blocks))):
            starts, sizes = zip(*((start, stop - start) for start, stop in shifted(plan.blocks[index])))
            blocks = [backward_tensors(walk, part, index) for walk, part in zip(walks, parts)]
            steps = list(zip(starts, sizes, [-1, *starts]))[::-1]
            step.run(blocks, [steps] * len(jobs))
            for walk, (*_, dh, _, _, _, _, _, d_gates, m) in zip(walks, blocks):
                walk.add(index, d_gates, dh, m)
        for part, walk in zip(parts, walks):
            walk.dh = part.sum(0)[: len(h)]
        return [walk.gradients() for walk in walks]


def backward_tensors(walk, parts, index):
    """What the kernels of a backward step read and write, in the order of their slots."""
    gates, unclipped_c, first_c = walk.block_cells(index)
    w_hh, w_proj = walk.tensors[3:5]
    return [
        aligned(w_hh),
        parts,
        walk.dc,
        walk.block_dh(index),
        walk.hidden[words_of(walk.plan.blocks[index])],
        None if w_proj is None else aligned(w_proj),
        gates,
        unclipped_c,
        first_c.contiguous(),
        torch.empty_like(gates),
        torch.empty_like(unclipped_c),
    ]


class Step:
    """The kernels of a step, in their order, and the memory that tells them what to work on.

    On a GPU, once this is used again, several steps are captured as a CUDA graph and replayed.
    """

    @torch.inference_mode(False)  # memory made in inference mode could not be written to elsewhere
    def __init__(self, device, lanes, launches):
        self.launches = launches
        self.table = torch.zeros(lanes, SLOTS.value, dtype=torch.int64, device=device)
        self.progress = torch.zeros(4, dtype=torch.int32, device=device)
        self.graph, self.runs = None, 0

    def launch(self):
        for launch in self.launches:
            launch(self.table, self.progress)

    def run(self, tensors, steps):
        """Take each lane's steps, a list of (first word, words, first word of the step before) within its block."""
        count = max(map(len, steps))
        padded = count + -count % STEPS_OF_A_GRAPH  # a replay goes past the end, where nothing is done
        steps = [lane + [(0, 0, 0)] * (padded - len(lane)) for lane in steps]
        steps = uploaded(steps, self.table.device)
        addresses = [[0 if t is None else t.data_ptr() for t in (lane, *row)] for lane, row in zip(steps, tensors)]
        addresses = [row + [0] * (SLOTS.value - len(row)) for row in addresses]
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


@functools.lru_cache(maxsize=64)
def forward_step(
    device, stream, thread, lanes, dtype, rows, C, P, keep, projected, cell_clip, projection_clip, precision
):  # fmt: skip
    ROWS, DTYPE, INNER = min(rows, LARGEST_ROWS), DTYPES[dtype], 128 // dtype.itemsize
    TRANSPOSED = exact(dtype, precision)
    OUTPUT_ROWS, COLUMNS = tile_of_outputs(rows)

    def cells(table, progress):
        forward_cells[(triton.cdiv(C, 32), rows // ROWS, lanes)](
            table, progress, cell_clip, C, P, DTYPE, keep, factor(DTYPE), precision, ROWS, 32, INNER, TRANSPOSED
        )

    def outputs(table, progress):
        forward_outputs[(triton.cdiv(P, COLUMNS), rows // OUTPUT_ROWS, lanes)](
            table, progress, projection_clip, C, P, DTYPE, projected, factor(DTYPE), precision, OUTPUT_ROWS, COLUMNS,
            INNER, 128 // COLUMNS, TRANSPOSED,
        )  # fmt: skip

    return Step(device, lanes, [cells, outputs])


@functools.lru_cache(maxsize=64)
def backward_step(
    device, stream, thread, lanes, dtype, rows, C, P, projected, cell_clip, projection_clip, precision
):  # fmt: skip
    ROWS, DTYPE = min(rows, LARGEST_ROWS), DTYPES[dtype]
    blocks = rows // ROWS

    def outputs(table, progress):
        backward_outputs[(triton.cdiv(P, 64), rows // 8, lanes)](
            table, progress, projection_clip, rows, P, DTYPE, SPLITS, 8, 64
        )

    def cells(table, progress):
        backward_cells[(triton.cdiv(C, 32), blocks, lanes)](
            table, progress, cell_clip, C, P, DTYPE, projected, factor(DTYPE), precision, ROWS, 32, 32
        )

    def hidden(table, progress):
        backward_hidden[(triton.cdiv(P, 64) * SPLITS, blocks, lanes)](
            table, progress, rows, C, P, DTYPE, SPLITS, factor(DTYPE), precision, ROWS, 64, 32
        )

    return Step(device, lanes, [outputs, cells, hidden])


def device_guard(device):
    """Make `device` the current one, where launches and new streams go."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def buffer_key(x):
    """Return whose memory a step may use: another stream or thread must not find its words there."""
    return x.device, torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0, threading.get_ident()


def uploaded(numbers, device):
    """A tensor of whole numbers on the device, without waiting for what that is at."""
    numbers = torch.tensor(numbers, device="cpu")
    return numbers.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else numbers


def tile_of_outputs(rows):
    """What one program computes of the h of so many rows: at the original's size 128 programs compute 32 or 64 rows."""
    return 32 if rows > 64 else 16, 32 if rows > 32 else 16


def rows_of_grid(rows):
    """So many that few shapes of the grid come up."""
    return max(16, triton.next_power_of_2(rows))


def bound(clip):
    return float("inf") if clip is None else float(clip)


def factor(dtype):
    """What products multiply. The interpreter knows none of bfloat16; in float32 they are the same."""
    return dtype if isinstance(forward_cells, triton.runtime.JITFunction) else tl.float32


def precision():
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"


def exact(dtype, precision):
    """Whether tensor cores cannot do the products."""
    return dtype == torch.float32 and precision == "ieee"


def for_product(weight):
    """As the kernels of the forward read it: transposed for exact products.

    Without tensor cores the threads of a warp read the weights of neighboring outputs from shared memory at once. These
    would all lie in one bank if each output had a row of its own.
    """
    return aligned(weight.T if exact(weight.dtype, precision()) else weight)


def aligned(tensor):
    """The kernels read memory without gaps, 16 bytes at a time."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def shifted(block):
    """The steps as ranges of their block's words."""
    return [(start - block[0][0], stop - block[0][0]) for start, stop in block]
