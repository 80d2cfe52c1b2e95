"""The packed path of the LSTM: `lstm_reference` without padding, and its gradients written by hand.

Step s computes the s-th word of every row that has one, longest rows first: padding is never computed, a finished row
costs nothing, and the rows that are alive are always the first ones. The words of several steps, a block, share one
input product and, in the backward, one product for each weight's gradient.

N words of the batch   n rows alive at a step   B, T, I, C, P and the order of the gates as in the reference

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
from torch.nn import functional as F

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


def make_plan(mask, reverse):
    """The plan for a `mask` `(B, T)` of any pattern, each row walked from its last word if `reverse`."""
    length = mask.shape[1]
    counts, rows = mask.sum(dim=1).sort(descending=True, stable=True)
    mask = mask[rows].flip(1) if reverse else mask[rows]
    walk = mask.byte().argsort(dim=1, descending=True, stable=True)  # (B, T) a row's words in order, then its gaps
    if reverse:
        walk = length - 1 - walk
    alive = torch.arange(length, device=mask.device)[:, None] < counts  # (T, B)
    words = (walk + rows[:, None] * length).T[alive]
    blocks, stop = [], 0
    for n in filter(None, alive.sum(dim=1).tolist()):
        start, stop = stop, stop + n
        if not blocks or stop - blocks[-1][0][0] > BLOCK:
            blocks.append([])
        blocks[-1].append((start, stop))
    return Plan(words, rows, blocks)


@torch.no_grad()
def packed_forward(plan, options, save, x, w_ih, bias, w_hh, w_proj, h, c):
    """One direction, from its seven tensors; c, and all that is not a product, is at least float32.

    Returns:
        outputs `(B, T, P)`, h `(B, P)` and c `(B, C)` after the last word, and if `save` what the backward needs: h of
        all words before its clip `(N, P)`, then for each step its gates `(n, 4C)` and its c before the clip `(n, C)`.
    """
    shape, cell = (*x.shape[:2], h.shape[1]), c.shape[1]
    projection_clip = None if w_proj is None else options.projection_clip
    x, h, c = x.flatten(0, 1)[plan.words], h[plan.rows], c[plan.rows]
    bias = bias.clone()
    bias[cell : 2 * cell] += options.forget_bias
    w_hh = for_many_steps(w_hh, len(h), sum(map(len, plan.blocks)))
    live_h, live_c, hidden, steps = h, c, [h[:0]], []
    for block in plan.blocks:
        first, end = block[0][0], block[-1][1]
        gates_x = linear(x[first:end], w_ih, bias)
        for start, stop in block:
            if stop - start != len(live_h):
                live_h, live_c = h[: stop - start], c[: stop - start]
            gates = add_linear(gates_x[start - first : stop - first], live_h, w_hh).to(c.dtype)
            i, f, g, o = gates.view(-1, 4, cell).unbind(1)
            gates[:, : 2 * cell].sigmoid_()
            tanh_(g)
            o.sigmoid_()
            unclipped_c = torch.mul(f, live_c, out=None if save else live_c).addcmul_(i, g)
            clip(unclipped_c, options.cell_clip, out=live_c)
            m = tanh_(live_c.clone()).mul_(o).to(h.dtype)
            unclipped_h = m if w_proj is None else linear(m, w_proj)
            clip(unclipped_h, projection_clip, out=live_h)
            hidden.append(unclipped_h)
            if save:
                steps += [gates, unclipped_c]
    hidden = torch.cat(hidden)
    outputs = spread(clip(hidden, projection_clip), plan.words, shape)
    return outputs, spread(h, plan.rows), spread(c, plan.rows), *([hidden, *steps] if save else [])


@torch.no_grad()
def packed_backward(plan, options, needs, saved, cotangents, x, w_ih, bias, w_hh, w_proj, h, c):
    """The gradients of one direction for its seven tensors, None where not in `needs`.

    Args:
        saved: what `packed_forward` returned beyond its results.
        cotangents (`(B, T, P)`, `(B, P)`, `(B, C)`): gradients for outputs, h and c.
    """
    if not any(needs):
        return [None] * 7
    needs_x, needs_w_ih, needs_bias, needs_w_hh, needs_w_proj, *_ = needs
    originals = x, w_ih, bias, w_hh, w_proj, h, c
    cell, product_dtype, sum_dtype = c.shape[1], h.dtype, c.dtype
    projection_clip = None if w_proj is None else options.projection_clip
    hidden, *steps = saved
    outputs = clip(hidden, projection_clip)
    d_outputs, dh, dc = cotangents[0].flatten(0, 1)[plan.words], *(d[plan.rows].to(sum_dtype) for d in cotangents[1:])
    x, h, c = x.flatten(0, 1)[plan.words], h[plan.rows], c[plan.rows]

    if needs_w_hh:
        ranges = [step for block in plan.blocks for step in block]
        lasting = [outputs[a : a + stop - start] for (a, _), (start, stop) in itertools.pairwise(ranges)]
        previous_h = torch.cat([h[: len(outputs) and ranges[0][1]], *lasting])  # (N, P)
    d_x = torch.empty_like(x) if needs_x else None
    d_w_ih, d_bias, d_w_hh, d_w_proj = (
        torch.zeros_like(weight, dtype=sum_dtype) if needed else None
        for weight, needed in zip((w_ih, bias, w_hh, w_proj), needs[1:5])
    )
    largest = max((block[-1][1] - block[0][0] for block in plan.blocks), default=0)
    block_d_gates = c.new_empty(largest, 4 * cell)
    if needs_w_proj:
        block_dh, block_m = dh.new_empty(largest, h.shape[1]), c.new_empty(largest, cell)

    for block in reversed(plan.blocks):
        first, end = block[0][0], block[-1][1]
        for start, stop in reversed(block):
            n, here = stop - start, slice(start - first, stop - first)
            live_dh, live_dc = dh[:n], dc[:n]
            unclipped_c, gates = steps.pop(), steps.pop()
            i, f, g, o = gates.view(-1, 4, cell).unbind(1)
            d_i, d_f, d_g, d_o = block_d_gates[here].view(-1, 4, cell).unbind(1)
            tanh_c = tanh_(clip(unclipped_c, options.cell_clip, out=torch.empty_like(unclipped_c)))
            previous_c = clip(steps[-1][:n], options.cell_clip) if steps else c[:n]

            live_dh += d_outputs[start:stop]
            if projection_clip is not None:
                live_dh.masked_fill_(hidden[start:stop].abs() > projection_clip, 0)
            if needs_w_proj:
                block_dh[here] = live_dh
                torch.mul(o, tanh_c, out=block_m[here])
            dm = live_dh if w_proj is None else linear(live_dh.to(product_dtype), w_proj.T).to(sum_dtype)
            sigmoid_backward(dm * tanh_c, o, grad_input=d_o)
            live_dc += tanh_backward(dm * o, tanh_c)
            if options.cell_clip is not None:
                live_dc.masked_fill_(unclipped_c.abs() > options.cell_clip, 0)
            sigmoid_backward(live_dc * g, i, grad_input=d_i)
            sigmoid_backward(live_dc * previous_c, f, grad_input=d_f)
            tanh_backward_to(live_dc * i, g, grad_input=d_g)
            live_dc *= f
            live_dh.copy_(linear(block_d_gates[here].to(product_dtype), w_hh.T))
        d_gates = block_d_gates[: end - first].to(product_dtype)
        if needs_x:
            d_x[first:end] = linear(d_gates, w_ih.T)
        if needs_bias:
            d_bias += d_gates.sum(0)
        if needs_w_ih:
            add_product(d_w_ih, d_gates, x[first:end])
        if needs_w_hh:
            add_product(d_w_hh, d_gates, previous_h[first:end])
        if needs_w_proj:
            add_product(d_w_proj, block_dh[: end - first].to(product_dtype), block_m[: end - first].to(product_dtype))
    if needs_x:
        d_x = spread(d_x, plan.words, originals[0].shape)
    gradients = d_x, d_w_ih, d_bias, d_w_hh, d_w_proj, spread(dh, plan.rows), spread(dc, plan.rows)
    return [d.to(t.dtype) if needed else None for d, t, needed in zip(gradients, originals, needs)]


sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward_to = torch.ops.aten.tanh_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward.default


def clip(x, bound, out=None):
    """`x` itself if there is nothing to clip and no `out` to write to."""
    if bound is None:
        return x if out is None else out.copy_(x)
    return torch.clamp(x, -bound, bound, out=out)


def tanh_(x):
    """tanh in place; for many x as 2 sigmoid(2 x) - 1, four times as fast on the CPU, within 2e-7 in float32."""
    return x.tanh_() if x.numel() < 8192 else x.mul_(2).sigmoid_().mul_(2).sub_(1)


def spread(packed, places, shape=None):
    """Rows of `packed` to their places in a tensor of zeros of `shape` (default: the places are a permutation)."""
    shape = packed.shape if shape is None else shape
    return packed.new_zeros(shape).view(-1, shape[-1]).index_copy_(0, places, packed).view(shape)


def linear(x, weight, bias=None):
    """x @ weight.T + bias."""
    if suits_onednn(weight):
        return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def add_linear(total, x, weight):
    """total + x @ weight.T, perhaps in place of `total`."""
    if suits_onednn(weight):
        return torch.ops.mkldnn._linear_pointwise.binary(x, total, weight, None, "add")
    return total.addmm_(x, weight.T)


def for_many_steps(weight, rows, steps):
    """`weight` in oneDNN's own layout where that repays the copy."""
    if rows < 4 or steps < 16 or not suits_onednn(weight):
        return weight
    return torch.ops.mkldnn._reorder_linear_weight(weight, rows)


def suits_onednn(weight):
    """oneDNN multiplies few rows by many weights up to four times as fast as torch.mm, but takes longer to begin."""
    return (
        weight.numel() >= 1 << 20
        and weight.dtype == torch.float32
        and weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
    )


def add_product(total, left, right):
    """total += left.T @ right. The sum over blocks is never rounded to half precision."""
    if total.dtype == left.dtype:
        total.addmm_(left.T, right)
    else:
        total += left.T @ right


def concurrently(function, jobs):
    """`[function(*job) for job in jobs]` for jobs that begin with a plan and end with the seven tensors of a direction.

    Two large ones on the CPU run at the same time, each with half of the threads: fewer cores wait for each other.
    """
    threads = torch.get_num_threads()
    if len(jobs) == 2 and threads > 1 and jobs[0][-1].device.type == "cpu":
        plan, *_, w_hh, _, _, _ = jobs[0]
        if len(plan.words) * w_hh.numel() > 1 << 22:  # multiplications, about a millisecond
            return list(two_workers(os.getpid(), threads).map(lambda job: function(*job), jobs))
    return [function(*job) for job in jobs]


@functools.lru_cache(maxsize=1)
def two_workers(process, threads):
    """Two threads that share their caller's `threads`. A forked child inherits none: hence the process in the key."""
    workers = ThreadPoolExecutor(2, "lstm_elmo", torch.set_num_threads, (threads // 2,))
    both = threading.Barrier(2)
    list(workers.map(lambda _: both.wait(), range(2)))
    torch.set_num_threads(threads)  # the workers have also set what later threads start with
    return workers
