"""The packed path of the LSTM: `lstm_reference` without padding, and its gradients written by hand.

Step s computes the s-th word of every row that has one, longest rows first: padding is never computed, a finished row
costs nothing, and the rows that are alive are always the first ones. The words of several steps, a block, share one
input product and, in the backward, one product for each weight's gradient.

What a backward needs is kept in one of two ways. "gates": all gates and cells, 5C numbers a word. "cells": the outputs,
P numbers a word, and c where a block begins; then the gates of a block are computed again when the backward gets there,
all at once, because the outputs that they depend on are known.

N words of the batch   M words of a block   n rows alive at a step   B, T, I, C, P and the order of the gates as in the
reference

Everything here works on plain tensors and outside autograd; `lstm_elmo` puts it into the graph.
"""

import functools
import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from .linear_elmo import add_linear_, add_product_, linear, put_linear, suits_onednn

GROUP = 1 << 17  # numbers: as many as stay in the cache while the backward prepares the steps of so many words
READING = 20  # rows
WORTH_A_WORKER = 1 << 27  # what a step costs, about a millisecond: between short operations, threads wait for Python
BLOCK = 256  # words: enough for the full speed of a product, few enough that its (256, 4C) result lies in reused memory


class Options(NamedTuple):
    """What `lstm_reference` takes besides tensors."""

    reverse: bool
    forget_bias: float
    cell_clip: float | None
    projection_clip: float | None


class Plan(NamedTuple):
    """The order in which the words of a batch are computed."""

    words: Tensor  # (N,) where they stand among the B * T
    rows: Tensor  # (B,) longest first
    blocks: list[list[tuple[int, int]]]  # the steps of each block, as ranges of the N words


def make_plan(mask, reverse, largest_block=BLOCK):
    """The plan for a `mask` `(B, T)` of any pattern, each row walked from its last word if `reverse`.

    A block has at most so many words, if not of one step.
    """
    length = mask.shape[1]
    counts, rows = mask.sum(dim=1).sort(descending=True, stable=True)
    mask = mask[rows].flip(1) if reverse else mask[rows]
    walk = mask.byte().argsort(dim=1, descending=True, stable=True)  # (B, T) a row's words in order, then its gaps
    if reverse:
        walk = length - 1 - walk
    alive = torch.arange(length, device=mask.device)[:, None] < counts  # (T, B)
    words = (walk + rows[:, None] * length).T[alive]
    stops = itertools.accumulate(filter(None, alive.sum(dim=1).tolist()), initial=0)
    return Plan(words, rows, grouped(itertools.pairwise(stops), largest_block))


def grouped(steps, words):
    """Steps in groups of at most so many words, if not of one step."""
    groups = []
    for start, stop in steps:
        if not groups or stop - groups[-1][0][0] > words:
            groups.append([])
        groups[-1].append((start, stop))
    return groups


def step_sizes(steps):
    return [stop - start for start, stop in steps]


def words_of(steps):
    return slice(steps[0][0], steps[-1][1])


def within(block, steps):
    """Where the words of some steps are among those of their block."""
    return slice(steps[0][0] - block[0][0], steps[-1][1] - block[0][0])


def by_step(steps, *parts):
    """Tensors of all words of some steps, cut into those of each step; None stays None."""
    sizes = step_sizes(steps)
    return list(zip(*([None] * len(sizes) if part is None else part.split(sizes) for part in parts)))


@torch.no_grad()
def packed_forward(plan, options, keep, x, w_ih, bias, w_hh, w_proj, h, c):
    """One direction, from its seven tensors; c, and all that is not a product, is at least float32.

    Args:
        keep: what for the backward, "gates" or "cells"; None if there will be none.
    Returns:
        outputs `(B, T, P)`, h `(B, P)` and c `(B, C)` after the last word, and what is kept: h of all words before its
        clip `(N, P)`, then for each block its gates `(M, 4C)` and its c before the clip `(M, C)`, or the c that it
        begins with `(n, C)`.
    """
    walk, words = Forward(plan, options, w_ih, bias, w_hh, w_proj, h, c, keep), x.flatten(0, 1)[plan.words]
    hidden = [walk.take(index, words[words_of(block)]) for index, block in enumerate(plan.blocks)]
    hidden = torch.cat([walk.h[:0], *hidden])
    outputs = spread(clip(hidden, walk.projection_clip), plan.words, (*x.shape[:2], h.shape[1]))
    return outputs, *walk.state(), *([hidden, *walk.kept] if keep else [])


class Forward:
    """One direction on its way from block to block; `h` `(B, P)` and `c` `(B, C)` are its state, longest rows first."""

    @torch.no_grad()
    def __init__(self, plan, options, w_ih, bias, w_hh, w_proj, h, c, keep=None):
        self.plan, self.keep, self.cell_clip = plan, keep, options.cell_clip
        self.projection_clip = None if w_proj is None else options.projection_clip
        self.w_ih, self.bias = w_ih, with_forget_bias(bias, options)
        self.w_hh, self.w_proj = for_many_steps(w_hh, plan), for_many_steps(w_proj, plan)
        self.h, self.c, self.kept = h[plan.rows], c[plan.rows], []
        self.m = torch.empty_like(self.c)

    @torch.no_grad()
    def take(self, index, x):
        """From a block's words `(M, I)` to their h before its clip `(M, P)`."""
        block, live_h, live_c, live_m = self.plan.blocks[index], self.h, self.c, self.m
        hidden, cell = live_h.new_empty(len(x), live_h.shape[1]), live_c.shape[1]
        block_gates = linear(x, self.w_ih, self.bias).to(live_c.dtype)
        block_c = live_c.new_empty(len(x), cell) if self.keep == "gates" else None
        if self.keep == "gates":
            self.kept += [block_gates, block_c]
        elif self.keep == "cells":
            self.kept.append(live_c[: step_sizes(block)[0]].clone())
        parts = block_gates, *block_gates.view(-1, 4, cell).unbind(1), block_c, hidden
        for gates, i, f, g, o, unclipped_c, unclipped_h in by_step(block, *parts):
            if len(gates) != len(live_h):
                live_h, live_c, live_m = (part[: len(gates)] for part in (self.h, self.c, self.m))
            activate_(add_linear_(gates, live_h, self.w_hh), g)
            unclipped_c = torch.mul(f, live_c, out=live_c if unclipped_c is None else unclipped_c).addcmul_(i, g)
            clip(unclipped_c, self.cell_clip, out=live_c)
            m = tanh(live_c, out=live_m).mul_(o).to(live_h.dtype)
            if self.w_proj is None:
                unclipped_h.copy_(m)
            else:
                put_linear(unclipped_h, m, self.w_proj)
            clip(unclipped_h, self.projection_clip, out=live_h)
        return hidden

    def state(self):
        """h `(B, P)` and c `(B, C)` in the order of the batch."""
        return spread(self.h, self.plan.rows), spread(self.c, self.plan.rows)


@torch.no_grad()
def packed_backward(plan, options, keep, needs, kept, cotangents, x, w_ih, bias, w_hh, w_proj, h, c):
    """The gradients of one direction for its seven tensors, None where not in `needs`.

    Args:
        keep, kept: what `packed_forward` was told, and what it returned beyond its results.
        cotangents (`(B, T, P)`, `(B, P)`, `(B, C)`): gradients for outputs, h and c.
    """
    if not any(needs):
        return [None] * 7
    backward = Backward(plan, options, keep, needs, kept, cotangents, x, w_ih, bias, w_hh, w_proj, h, c)
    cell, dh, dc = c.shape[1], backward.dh, backward.dc
    largest = max((sum(step_sizes(block)) for block in plan.blocks), default=0)
    d_gates_memory, m_memory = c.new_empty(largest, 4, cell), c.new_empty(largest, cell)
    for index in reversed(range(len(plan.blocks))):
        block = plan.blocks[index]
        gates, unclipped_c, first_c = backward.block_cells(index)
        block_dh, beyond = backward.block_dh(index), backward.beyond_clip(index)
        d_gates, m = d_gates_memory[: len(gates)], m_memory[: len(gates)]
        groups = grouped(block, GROUP // cell)
        for before, steps in reversed(list(zip([None, *groups], groups))):
            here, slopes = within(block, steps), d_gates[within(block, steps)]
            if before is not None:
                first_c = clip(unclipped_c[within(block, before[-1:])], options.cell_clip)
            to_c, to_previous_c = local_slopes(
                gates[here], unclipped_c[here], first_c, step_sizes(steps), options.cell_clip, slopes, m[here]
            )
            parts = block_dh[here], beyond if beyond is None else beyond[here], slopes, to_c, to_previous_c
            for step_dh, step_beyond, slope, to_c, to_previous_c in reversed(by_step(steps, *parts)):
                live_dh, live_dc = dh[: len(step_dh)], dc[: len(step_dh)]
                step_dh += live_dh
                if step_beyond is not None:
                    step_dh.masked_fill_(step_beyond, 0)
                dm = step_dh if w_proj is None else linear(step_dh.to(h.dtype), w_proj.T).to(dc.dtype)
                live_dc.addcmul_(dm, to_c)
                slope[:, 3] *= dm  # what were slopes become gradients
                slope[:, :3] *= live_dc[:, None]
                live_dc *= to_previous_c
                live_dh.copy_(linear(slope.view(-1, 4 * cell).to(h.dtype), w_hh.T))
        backward.add(index, d_gates.view(-1, 4 * cell), block_dh, m)
    return backward.gradients()


def local_slopes(gates, unclipped_c, first_c, sizes, cell_clip, slopes, m):
    """The derivatives of all that happens within a word, for the words of a few steps.

    Args:
        gates (`(M, 4C)`), unclipped_c (`(M, C)`): from the forward.
        first_c (`(n, C)`): before the first of the steps; sizes: of the steps.
        slopes (`(M, 4, C)`), m (`(M, C)`): to be filled: with what the gates' gradients are, divided by dc or, for o,
            by dm; and with what is projected.
    Returns:
        what dc grows by, divided by dm `(M, C)`, and what it is multiplied by on its way to the word before `(M, C)`.
    """
    i, f, g, o = gates.view(slopes.shape).unbind(1)
    c = clip(unclipped_c, cell_clip)
    tanh_c = tanh(c)
    torch.mul(o, tanh_c, out=m)
    torch.addcmul(gates, gates, gates, value=-1, out=slopes.view(gates.shape))  # s (1 - s), the sigmoid's derivative
    slopes[:, 0] *= g
    slopes[:, 1] *= step_before(first_c, c, sizes)
    torch.addcmul(i, i * g, g, value=-1, out=slopes[:, 2])
    slopes[:, 3] *= tanh_c
    to_c = torch.addcmul(o, m, tanh_c, value=-1)
    if cell_clip is None:
        return to_c, f
    unclipped = unclipped_c.abs() <= cell_clip
    slopes[:, :3] *= unclipped[:, None]
    return to_c, f * unclipped


def step_before(first, block, sizes):
    """Of each of a block's M words its row's word before, out of those before the block and the block's own."""
    steps = first, *block.split(sizes)
    return torch.cat([step[:n] for step, n in zip(steps, sizes)])


class Backward:
    """One direction's backward but for the walk from step to step: what the walk needs, and sums of what it finds.

    The walk takes the blocks from the last to the first. Between two steps, `dh` `(B, P)` and `dc` `(B, C)` are the
    gradients for the state, longest rows first.
    """

    def __init__(self, plan, options, keep, needs, kept, cotangents, x, w_ih, bias, w_hh, w_proj, h, c):
        self.plan, self.options, self.keep, self.needs = plan, options, keep, needs
        self.hidden, *self.kept = kept
        self.tensors = x, w_ih, bias, w_hh, w_proj, h, c
        self.projection_clip = None if w_proj is None else options.projection_clip
        self.x, self.h, self.c = x.flatten(0, 1)[plan.words], h[plan.rows], c[plan.rows]
        self.d_outputs = cotangents[0].flatten(0, 1)[plan.words]
        self.dh, self.dc = (d[plan.rows].to(c.dtype) for d in cotangents[1:])
        self.d_x = torch.empty_like(self.x) if needs[0] else None
        self.d_w_ih, self.d_bias, self.d_w_hh, self.d_w_proj = (
            c.new_zeros(weight.shape) if needed else None
            for weight, needed in zip((w_ih, bias, w_hh, w_proj), needs[1:5])
        )

    def block_dh(self, index):
        """The gradients for a block's outputs `(M, P)`, to be written to."""
        return self.d_outputs[words_of(self.plan.blocks[index])].to(self.c.dtype)

    def beyond_clip(self, index):
        """Where they stop at the clip `(M, P)`, or None."""
        if self.projection_clip is None:
            return None
        return self.hidden[words_of(self.plan.blocks[index])].abs() > self.projection_clip

    def block_cells(self, index):
        """A block's gates `(M, 4C)`, its c before the clip `(M, C)`, and the c that it begins with `(n, C)`."""
        n = step_sizes(self.plan.blocks[index])[0]
        if self.keep == "cells":
            return *self.recomputed(index), self.kept[index]
        gates, unclipped_c = self.kept[2 * index : 2 * index + 2]
        if index == 0:
            return gates, unclipped_c, self.c[:n]
        before = self.plan.blocks[index - 1]
        first_c = self.kept[2 * index - 1][within(before, before[-1:])]
        return gates, unclipped_c, clip(first_c, self.options.cell_clip)

    def recomputed(self, index):
        _, w_ih, bias, w_hh, *_ = self.tensors
        block, c = self.plan.blocks[index], self.kept[index]
        gates = linear(self.x[words_of(block)], w_ih, with_forget_bias(bias, self.options)).to(c.dtype)
        i, f, g, _ = add_linear_(gates, self.h_before(index), w_hh).view(len(gates), 4, -1).unbind(1)
        activate_(gates, g)
        unclipped_c, sizes = i * g, step_sizes(block)
        for step_c, step_f in zip(unclipped_c.split(sizes), f.split(sizes)):
            c = clip(step_c.addcmul_(step_f, c[: len(step_c)]), self.options.cell_clip)
        return gates, unclipped_c

    def h_before(self, index):
        """h before each of a block's words `(M, P)`."""
        block, sizes = self.plan.blocks[index], step_sizes(self.plan.blocks[index])
        first = self.h[: sizes[0]]
        if index > 0:
            start = self.plan.blocks[index - 1][-1][0]
            first = clip(self.hidden[start : start + sizes[0]], self.projection_clip)
        return step_before(first, clip(self.hidden[words_of(block)], self.projection_clip), sizes)

    def add(self, index, d_gates, dh, m):
        """Count a block's gradients: for its gates `(M, 4C)` before the activation and for its h `(M, P)` before the
        clip; m `(M, C)` is what was projected."""
        needs_x, needs_w_ih, needs_bias, needs_w_hh, needs_w_proj, *_ = self.needs
        words, dtype = words_of(self.plan.blocks[index]), self.h.dtype
        if needs_bias:
            self.d_bias += d_gates.sum(0)
        d_gates = d_gates.to(dtype)
        if needs_x:
            self.d_x[words] = linear(d_gates, self.tensors[1].T)
        if needs_w_ih:
            add_product_(self.d_w_ih, d_gates, self.x[words])
        if needs_w_hh:
            add_product_(self.d_w_hh, d_gates, self.h_before(index))
        if needs_w_proj:
            add_product_(self.d_w_proj, dh.to(dtype), m.to(dtype))

    def gradients(self):
        """For the seven tensors, None where not needed."""
        gradients = (
            self.d_x if self.d_x is None else spread(self.d_x, self.plan.words, self.tensors[0].shape),
            self.d_w_ih,
            self.d_bias,
            self.d_w_hh,
            self.d_w_proj,
            spread(self.dh, self.plan.rows),
            spread(self.dc, self.plan.rows),
        )
        return [d.to(t.dtype) if needed else None for d, t, needed in zip(gradients, self.tensors, self.needs)]


def with_forget_bias(bias, options):
    bias, cell = bias.clone(), len(bias) // 4
    bias[cell : 2 * cell] += options.forget_bias
    return bias


def clip(x, bound, out=None):
    """`x` itself if there is nothing to clip and no `out` to write to."""
    if bound is None:
        return x if out is None else out.copy_(x)
    return torch.clamp(x, -bound, bound, out=out)


# The hyperbolic tangent as 2 sigmoid(2 x) - 1: up to five times as fast on the CPU, and within 2e-7 in float32.
MINUS_ONE = torch.tensor(-1.0, device="cpu")


def tanh(x, out=None):
    doubled = torch.add(x, x, out=out).sigmoid_()
    return torch.add(MINUS_ONE, doubled, alpha=2, out=doubled)


def activate_(gates, g):
    """From sums to gates in place; `g` is the part of `gates` whose activation is the hyperbolic tangent."""
    g += g
    gates.sigmoid_()
    torch.add(MINUS_ONE, g, alpha=2, out=g)


def spread(packed, places, shape=None):
    """Rows of `packed` to their places in a tensor of zeros of `shape` (default: the places are a permutation)."""
    shape = packed.shape if shape is None else shape
    return packed.new_zeros(shape).view(-1, shape[-1]).index_copy_(0, places, packed).view(shape)


def for_many_steps(weight, plan):
    """`weight` in oneDNN's own layout where that repays the copy."""
    rows, steps = step_sizes(plan.blocks[0])[0] if plan.blocks else 0, sum(map(len, plan.blocks))
    if weight is None or rows < 2 or steps < 16 or not suits_onednn(rows, weight):
        return weight
    return torch.ops.mkldnn._reorder_linear_weight(weight, rows)


def concurrently(function, jobs, cost):
    """`[function(*job) for job in jobs]` for walks of which a step costs so much.

    Where there are threads and work enough, they run at the same time, each with its share of the threads: fewer cores
    wait for each other.
    """
    threads = torch.get_num_threads()
    if not 1 < len(jobs) <= threads or cost < WORTH_A_WORKER:
        return [function(*job) for job in jobs]
    inference = torch.is_inference_mode_enabled()

    def run(job):
        with torch.inference_mode(inference):
            return function(*job)

    try:
        results = workers(os.getpid(), threads, len(jobs)).map(run, jobs)
    except RuntimeError:  # the main thread has ended: no worker takes a job from those that are still at work
        return [function(*job) for job in jobs]
    return list(results)


def cost_of_step(h, c):
    """About the time of a step on the CPU, with weights of floats; 0 elsewhere.

    To read the weights takes as long as to multiply them with `READING` rows.
    """
    return (len(h) + READING) * 4 * c.shape[1] * h.shape[1] if c.device.type == "cpu" else 0


@functools.lru_cache(maxsize=16)
def workers(process, threads, count):
    """Threads that share their caller's `threads`. A forked child inherits none: hence the process in the key."""

    def begin():
        torch.get_num_threads()  # at its first call in a thread, torch sets what is set before anew
        torch.set_num_threads(threads // count)

    pool = ThreadPoolExecutor(count, "lstm_elmo", begin)
    all_there = threading.Barrier(count)
    list(pool.map(lambda _: all_there.wait(), range(count)))
    torch.set_num_threads(threads)  # the workers have also set what later threads start with
    return pool
