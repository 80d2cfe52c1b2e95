"""The path "graph" of the LSTM, without gradients: for GPUs where Triton's kernels cannot run.

A GPU waits for most of a step's small operations: torch takes longer to start them than they run. So several steps are
captured as a CUDA graph and replayed, one launch for all of them. A replay repeats the same operations on the same
memory. Hence every step computes all rows, those too that are done, whose state a mask keeps; and words, weights and
state are copied to where the graph reads them. (The weights once a call: a step reads them all anyway.) The two
directions are one batched product. Elsewhere, as in the tests, the same steps run without a capture.

The order of the words is the packed path's. D directions, N, I, C and P as in `lstm_packed_elmo`; R rows of the graph.
"""

import contextlib
import functools
import threading

import torch
from torch.nn import functional as F

from .lstm_packed_elmo import clip, spread, step_sizes, with_forget_bias

STEPS = 8  # of a graph


@torch.no_grad()
def graph_forward(jobs):
    """For each job, a direction, what `packed_forward` returns of the same arguments where nothing is kept."""
    if len({(w_hh.shape, w_proj is None) for *_, w_hh, w_proj, _, _ in jobs}) > 1:
        return [graph_forward([job])[0] for job in jobs]
    plan, options, _, x, *_, w_proj, h, c = jobs[0]
    rows, P, C = rows_of_graph(len(h)), h.shape[1], c.shape[1]
    with on(x.device):
        steps = steps_of(
            *place(x), torch.backends.cuda.matmul.fp32_precision, len(jobs), rows, C, P, x.dtype, c.dtype,
            w_proj is not None, options.cell_clip, options.projection_clip,
        )  # fmt: skip
        steps.prepare()
        for direction, (plan, *_, w_hh, w_proj, h, c) in enumerate(jobs):
            steps.begin(direction, w_hh, w_proj, h[plan.rows], c[plan.rows])
        alive, places, counts = layout([size for block in plan.blocks for size in step_sizes(block)], rows, x.device)
        words = [x.flatten(0, 1)[plan.words].split(counts) for plan, _, _, x, *_ in jobs]
        weights = [(w_ih, with_forget_bias(bias, options)) for _, options, _, _, w_ih, bias, *_ in jobs]
        hidden = [[x.new_empty(0, P)] for _ in jobs]
        for alive_now, places_now, *words_now in zip(alive.split(STEPS), places.split(counts), *words):
            gates_x = [F.linear(x, w_ih, bias) for x, (w_ih, bias) in zip(words_now, weights)]
            for found, direction_hidden in zip(hidden, steps.take(gates_x, alive_now, places_now)):
                found.append(direction_hidden)
        results = []
        for direction, (plan, _, _, x, *_, h, _) in enumerate(jobs):
            outputs = spread(torch.cat(hidden[direction]), plan.words, (*x.shape[:2], P))
            state = (memory[direction, : len(h)] for memory in (steps.h, steps.c))
            results.append((outputs, *(spread(part, plan.rows) for part in state)))
        return results


def layout(sizes, rows, device):
    """Where the words of steps of these sizes lie.

    Returns:
        which rows are alive at each step `(S, R, 1)`, for whole graphs of steps; the place of each of the N words
        among the `STEPS * R` of its graph `(N,)`; and how many words each graph takes, a list.
    """
    counts = [sum(sizes[first : first + STEPS]) for first in range(0, len(sizes), STEPS)]
    sizes = torch.tensor(sizes + [0] * (-len(sizes) % STEPS), dtype=torch.long)
    alive = torch.arange(rows) < sizes[:, None]
    places = alive.flatten().nonzero().flatten() % (STEPS * rows)
    return alive[..., None].to(device), places.to(device), counts


class Steps:
    """So many steps of D directions: the memory they work on and, on a GPU from the second use on, their graph."""

    @torch.inference_mode(False)  # memory made in inference mode could not be written to elsewhere
    def __init__(self, device, directions, rows, C, P, dtype, cell_dtype, projected, cell_clip, projection_clip):
        zeros = functools.partial(torch.zeros, dtype=dtype, device=device)
        self.cell_clip, self.projection_clip = cell_clip, projection_clip
        self.w_hh = zeros(directions, 4 * C, P)
        self.w_proj = zeros(directions, P, C) if projected else None
        self.h, self.c = zeros(directions, rows, P), zeros(directions, rows, C, dtype=cell_dtype)
        self.gates_x, self.hidden = zeros(directions, STEPS, rows, 4 * C), zeros(directions, STEPS, rows, P)
        self.alive = zeros(STEPS, rows, 1, dtype=torch.bool)
        self.graph, self.uses = None, 0

    def prepare(self):
        """Capture the graph where that is possible and pays, as torch's notes on CUDA graphs ask: after a run on a
        stream that is not the default one."""
        self.uses += 1
        if self.uses != 2 or not self.h.is_cuda:
            return
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.compute()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            self.compute()
        self.graph = graph

    def begin(self, direction, w_hh, w_proj, h, c):
        self.w_hh[direction].copy_(w_hh)
        if w_proj is not None:
            self.w_proj[direction].copy_(w_proj)
        self.h[direction, : len(h)].copy_(h)
        self.c[direction, : len(c)].copy_(c)

    def take(self, gates_x, alive, places):
        """From each direction's input product `(N, 4C)` to its outputs `(N, P)`, for the N words of these steps."""
        self.alive.copy_(alive)
        for memory, product in zip(self.gates_x, gates_x):
            memory.flatten(0, 1).index_copy_(0, places, product)
        if self.graph is None:
            self.compute()
        else:
            self.graph.replay()
        return [memory.flatten(0, 1)[places] for memory in self.hidden]

    def compute(self):
        """What is captured."""
        h, c = self.h, self.c
        for gates_x, alive, hidden in zip(self.gates_x.unbind(1), self.alive, self.hidden.unbind(1)):
            gates = gates_x.to(c.dtype) + torch.bmm(h, self.w_hh.mT)
            i, f, g, o = gates.chunk(4, dim=-1)  # (D, R, C) each
            next_c = clip(f.sigmoid() * c + i.sigmoid() * g.tanh(), self.cell_clip)
            next_h = (o.sigmoid() * next_c.tanh()).to(h.dtype)
            if self.w_proj is not None:
                next_h = clip(torch.bmm(next_h, self.w_proj.mT), self.projection_clip)
            hidden.copy_(next_h)
            h, c = torch.where(alive, next_h, h), torch.where(alive, next_c, c)
        self.h.copy_(h)
        self.c.copy_(c)


@functools.lru_cache(maxsize=8)
def steps_of(device, stream, thread, precision, *shapes_and_clips):
    """A graph keeps the precision of its products."""
    return Steps(device, *shapes_and_clips)


def rows_of_graph(rows):
    """So many that few shapes come up."""
    return max(8, 1 << (rows - 1).bit_length())


def place(x):
    """Whose memory it is: another stream or thread must not find its words there."""
    return x.device, torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0, threading.get_ident()


def on(device):
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
