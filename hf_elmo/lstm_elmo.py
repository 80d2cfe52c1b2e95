"""The projected, clipped LSTM of ELMo (Peters et al., 2018, section 3; after Jozefowicz et al., 2016).

B batch   T words   I input width   C cell width   P projection width   gates always in the order i, f, g, o

    i, f, g, o = split(W_ih x[t] + bias + W_hh h)
    c = clip(sigmoid(f + forget_bias) * c + sigmoid(i) * tanh(g), cell_clip)
    h = clip(W_proj (sigmoid(o) * tanh(c)), projection_clip)

Without a projection (P == C) the last line is h = sigmoid(o) * tanh(c), never clipped. What recurs is the clipped c and the
clipped h. A clip of None is off. A word whose mask is False is skipped: its output is 0 and the state passes it unchanged.

`lstm_reference` is the definition of correct, word by word. `lstm` and `bilstm`, which the model calls, compute the same on one
of two paths: "packed", without padding, with few large products and a backward written by hand, or "reference" where
something has to look into the recurrence. `lstm_path` forces one, `last_lstm_path` tells which one ran and why.
"""

import contextlib
import contextvars
import itertools
from typing import NamedTuple

import torch
from torch.nn import functional as F


def clip(x, bound):
    return x if bound is None else x.clamp(-bound, bound)


def at_least_float32(dtype):
    """What c and the gates are computed in: c sums over many words, too many for half precision."""
    return torch.promote_types(dtype, torch.float32)


def lstm_steps(
    x, input_gates, recurrent_gates, projection, state, mask=None, *,
    reverse=False, forget_bias=1.0, cell_clip=None, projection_clip=None,
):  # fmt: skip
    """The recurrence over callables, for layers whose weights are no plain tensors (adapters, quantized layers).

    Args:
        x (`(B, T, I)`): the words.
        input_gates (`(B, T, I) -> (B, T, 4C)`): input product and bias.
        recurrent_gates (`(B, P) -> (B, 4C)`): recurrent product.
        projection (`(B, C) -> (B, P)`, or None where P == C): output projection.
        state (`(B, P)`, `(B, C)`): h and c before the first word.
        mask, reverse, forget_bias, cell_clip, projection_clip: as in `lstm_reference`.
    Returns:
        outputs `(B, T, P)` and the state after the last word.
    """
    if (
        mask is not None
    ):  # what stands in a skipped word, NaN included, must reach neither results nor gradients
        x = x.masked_fill(~mask[..., None], 0)
    gates_x = input_gates(x)
    h, c = state[0].to(gates_x.dtype), state[1].to(at_least_float32(gates_x.dtype))
    words, outputs = range(x.shape[1]), [None] * x.shape[1]
    for t in reversed(words) if reverse else words:
        gates = (gates_x[:, t] + recurrent_gates(h)).to(c.dtype)
        i, f, g, o = gates.chunk(4, dim=-1)  # (B, C) each
        next_c = clip((f + forget_bias).sigmoid() * c + i.sigmoid() * g.tanh(), cell_clip)
        next_h = (o.sigmoid() * next_c.tanh()).to(h.dtype)
        if projection is not None:
            next_h = clip(projection(next_h), projection_clip)  # (B, P)
        if mask is None:
            h, c, outputs[t] = next_h, next_c, next_h
        else:
            here = mask[:, t, None]
            h, c = torch.where(here, next_h, h), torch.where(here, next_c, c)
            outputs[t] = next_h.masked_fill(~here, 0)
    outputs = torch.stack(outputs, dim=1) if outputs else h.new_zeros(h.shape[0], 0, h.shape[1])
    return outputs, (h, c.to(h.dtype))


def lstm_reference(
    x, w_ih, bias, w_hh, w_proj=None, state=None, mask=None, *,
    reverse=False, forget_bias=1.0, cell_clip=None, projection_clip=None,
):  # fmt: skip
    """Run the recurrence word by word. Slow, differentiable by autograd, traceable, and the definition of correct.

    Args:
        x (`(B, T, I)`): the words.
        w_ih (`(4C, I)`), bias (`(4C,)`): input weights.
        w_hh (`(4C, P)`): recurrent weights.
        w_proj (`(P, C)`, or None where P == C): projection weights.
        state (`(B, P)`, `(B, C)`, or None for zeros): h and c before the first word.
        mask (`(B, T)` bool, or None for all True): True where there is a word, in any pattern.
        reverse: walk each row from its last word to its first; outputs stay in place.
        forget_bias: added to the forget gate.
        cell_clip, projection_clip (positive, or None for off): bounds of c and of the projected h.
    Returns:
        outputs `(B, T, P)`, 0 where the mask is False, and the state (h `(B, P)`, c `(B, C)`) after the last word.
    """
    return lstm_steps(
        x,
        lambda x: F.linear(x, w_ih, bias),
        lambda h: F.linear(h, w_hh),
        None if w_proj is None else lambda m: F.linear(m, w_proj),
        zero_state(x, w_hh) if state is None else state,
        mask,
        reverse=reverse,
        forget_bias=forget_bias,
        cell_clip=cell_clip,
        projection_clip=projection_clip,
    )


def zero_state(x, w_hh):
    gates, projected = w_hh.shape
    return x.new_zeros(x.shape[0], projected), x.new_zeros(x.shape[0], gates // 4)


class Path(NamedTuple):
    """Which implementation, "packed" or "reference", and the reason in words."""

    name: str
    reason: str


PATHS = ("packed", "reference")
_forced_path = contextvars.ContextVar("forced_path", default=None)
_last_path = contextvars.ContextVar("last_path", default=None)


@contextlib.contextmanager
def lstm_path(name):
    """Force the path, one of `PATHS`, that `lstm` and `bilstm` take inside the `with`, in this thread or task only."""
    if name not in PATHS:
        raise ValueError(f"there is no LSTM path {name!r}; the paths are {', '.join(PATHS)}")
    token = _forced_path.set(name)
    try:
        yield
    finally:
        _forced_path.reset(token)


def last_lstm_path():
    """The `Path` of the last `lstm` or `bilstm` in this thread or task (None before the first; compiled code sets none)."""
    return _last_path.get()


def choose_path(*tensors):
    """The `Path` that suits these tensors, unless one is forced."""
    if forced := _forced_path.get():
        return Path(forced, "forced by lstm_path")
    if torch.jit.is_tracing():
        return Path("reference", "torch.jit traces the recurrence")
    if torch._C._are_functorch_transforms_active():
        return Path("reference", "a torch.func transform looks into the recurrence")
    for tensor in tensors:
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
            return Path("reference", f"{type(tensor).__name__} is no plain tensor")
        if tensor.is_meta:
            return Path("reference", "tensors on the meta device have no lengths to pack by")
    return Path("packed", "plain tensors")


class Direction(NamedTuple):
    """One direction of one layer: the tensors, state and sense of `lstm_reference`."""

    x: torch.Tensor
    w_ih: torch.Tensor
    bias: torch.Tensor
    w_hh: torch.Tensor
    w_proj: torch.Tensor | None = None
    state: tuple | None = None
    reverse: bool = False


def lstm(
    x, w_ih, bias, w_hh, w_proj=None, state=None, mask=None, *,
    reverse=False, forget_bias=1.0, cell_clip=None, projection_clip=None,
):  # fmt: skip
    """`lstm_reference`, fast: the same arguments, results and gradients."""
    direction = Direction(x, w_ih, bias, w_hh, w_proj, state, reverse)
    return lstm_directions(
        [direction], mask, forget_bias=forget_bias, cell_clip=cell_clip, projection_clip=projection_clip
    )[0]


def lstm_directions(directions, mask=None, *, forget_bias=1.0, cell_clip=None, projection_clip=None):
    """Independent `Direction`s over the same words, concurrently where that is faster.

    Returns:
        For each direction what `lstm` returns: outputs `(B, T, P)` and the state (h `(B, P)`, c `(B, C)`).
    """
    if torch.compiler.is_compiling():
        path = Path("reference", "torch.compile and torch.export trace the recurrence")
    else:
        path = choose_path(*(part for direction in directions for part in direction[:5] if part is not None))
        _last_path.set(path)
    options = Options(forget_bias, cell_clip, projection_clip)
    if path.name == "packed":
        return _packed(directions, mask, options)
    return [lstm_reference(*d[:6], mask, reverse=d.reverse, **options._asdict()) for d in directions]


# The packed path. Step s computes the s-th word of every row that has one, longest rows first, so that padding is never
# computed and a finished row costs nothing. All words of a block of steps share one input product and, in the backward,
# one product for each weight's gradient.

BLOCK = 256  # words: enough for the full speed of a product, few enough to keep its result (N, 4C) in reused memory


class Options(NamedTuple):
    forget_bias: float
    cell_clip: float | None
    projection_clip: float | None


class Step(NamedTuple):
    """One word of each row that is still alive: a range of the packed words."""

    start: int
    stop: int
    previous: (
        int | None
    )  # where the previous step starts, with the same rows in the same order and perhaps more


class Plan(NamedTuple):
    """The order in which the N words of a batch are computed."""

    words: torch.Tensor  # (N,) where they stand among the B * T
    rows: torch.Tensor  # (B,) longest first
    blocks: list  # of lists of consecutive steps
    reverse: bool


def _plan(mask, reverse):
    lengths, rows = mask.sum(dim=1).sort(descending=True, stable=True)
    walk = mask[rows].flip(1) if reverse else mask[rows]
    walk = walk.byte().argsort(
        dim=1, descending=True, stable=True
    )  # (B, T) words before gaps, both in their order
    if reverse:
        walk = mask.shape[1] - 1 - walk
    alive = torch.arange(mask.shape[1], device=mask.device)[:, None] < lengths  # (T, B)
    words = (walk + rows[:, None] * mask.shape[1]).T[alive]
    blocks, start, previous = [], 0, None
    for count in alive.sum(dim=1).tolist():
        if count == 0:
            break
        if not blocks or start + count - blocks[-1][0].start > BLOCK:
            blocks.append([])
        blocks[-1].append(Step(start, start + count, previous))
        start, previous = start + count, start
    return Plan(words, rows, blocks, reverse)


def _packed(directions, mask, options):
    x = directions[0].x
    present = x.new_ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
    plans = [_plan(present, direction.reverse) for direction in directions]
    tensors = []
    for d in directions:
        x, *weights = _autocast(*d[:5])
        h, c = zero_state(x, d.w_hh) if d.state is None else d.state
        tensors += [x, *weights, h.to(x.dtype), c.to(at_least_float32(x.dtype))]
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        results = _Packed.apply(plans, present, options, *tensors)
    else:
        results = [r for plan, ts in zip(plans, _by(7, tensors)) for r in _forward(plan, options, *ts)]
    return [(outputs, (h, c.to(h.dtype))) for outputs, h, c in _by(3, results)]


def _by(size, values):
    return [values[start : start + size] for start in range(0, len(values), size)]


def _split(values, counts):
    values = iter(values)
    return [list(itertools.islice(values, count)) for count in counts]


def _autocast(*tensors):
    """The tensors as autocast would hand them to a product."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return [t if t is None or t.dtype == torch.float64 else t.to(dtype) for t in tensors]


def _linear(x, weight, bias=None, add=None):
    """x @ weight.T, plus `bias` or `add`. oneDNN's product, several times as fast at few rows, takes float32 on the CPU."""
    if x.dtype == torch.float32 and x.device.type == "cpu" and torch.backends.mkldnn.is_available():
        if add is not None:
            return torch.ops.mkldnn._linear_pointwise.binary(x, add, weight, None, "add")
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias) if add is None else torch.addmm(add, x, weight.T)


def _clip_to(x, bound, out):
    return out.copy_(x) if bound is None else torch.clamp(x, -bound, bound, out=out)


@torch.no_grad()
def _forward(plan, options, x, w_ih, bias, w_hh, w_proj, h, c, saved=None):
    """One direction. Into the list `saved` go c and h before their clips and the gates, all that the backward needs."""
    shape, cell = (*x.shape[:2], h.shape[1]), c.shape[1]
    x = x.flatten(0, 1)[plan.words]  # (N, I)
    bias = bias.clone()
    bias[cell : 2 * cell] += options.forget_bias
    projection_clip = None if w_proj is None else options.projection_clip
    h, c = h[plan.rows], c[plan.rows]
    hidden = h.new_empty(len(x), h.shape[1])
    cells = None if saved is None else c.new_empty(len(x), cell)
    if saved is not None:
        saved += [cells, hidden]
    for block in plan.blocks:
        first = block[0].start
        gates_x = _linear(x[first : block[-1].stop], w_ih, bias)
        for start, stop, _ in block:
            live_h, live_c = h[: stop - start], c[: stop - start]
            gates = _linear(live_h, w_hh, add=gates_x[start - first : stop - first]).to(c.dtype)
            gates[:, : 2 * cell].sigmoid_()
            gates[:, 2 * cell : 3 * cell].tanh_()
            gates[:, 3 * cell :].sigmoid_()
            i, f, g, o = gates.chunk(4, dim=1)
            raw_c = live_c if saved is None else cells[start:stop]
            torch.mul(f, live_c, out=raw_c).addcmul_(i, g)
            _clip_to(raw_c, options.cell_clip, out=live_c)
            m = live_c.tanh().mul_(o).to(h.dtype)
            hidden[start:stop] = m if w_proj is None else _linear(m, w_proj)
            _clip_to(hidden[start:stop], projection_clip, out=live_h)
            if saved is not None:
                saved.append(gates)
    outputs = _scatter(clip(hidden, projection_clip), plan.words, shape)
    return outputs, _unsort(h, plan.rows), _unsort(c, plan.rows)


def _scatter(packed, words, shape):
    return packed.new_zeros(shape).flatten(0, 1).index_copy_(0, words, packed).view(shape)


def _unsort(x, rows):
    return torch.empty_like(x).index_copy_(0, rows, x)


@torch.no_grad()
def _backward(plan, options, x, w_ih, bias, w_hh, w_proj, h0, c0, saved, needs, d_outputs, dh, dc):
    """Gradients of one direction for its seven tensors, None where `needs` is False."""
    needs_x, needs_w_ih, needs_bias, needs_w_hh, needs_w_proj, *_ = needs
    cells, hidden, *gates = saved
    shape, cell = x.shape, c0.shape[1]
    x = x.flatten(0, 1)[plan.words]
    d_outputs = d_outputs.flatten(0, 1)[plan.words]
    h0, c0, dh, dc = h0[plan.rows], c0[plan.rows], dh[plan.rows].to(c0.dtype), dc[plan.rows]
    projection_clip = None if w_proj is None else options.projection_clip
    outputs = clip(hidden, projection_clip)

    d_x = torch.empty_like(x) if needs_x else None
    d_w_ih, d_bias, d_w_hh, d_w_proj = (
        weight.new_zeros(weight.shape, dtype=c0.dtype) if needed else None
        for weight, needed in [
            (w_ih, needs_w_ih),
            (bias, needs_bias),
            (w_hh, needs_w_hh),
            (w_proj, needs_w_proj),
        ]
    )
    largest = max((block[-1].stop - block[0].start for block in plan.blocks), default=0)
    d_gates_block = c0.new_empty(largest, 4 * cell)
    m_block, d_h_block = (
        (c0.new_empty(largest, cell), h0.new_empty(largest, h0.shape[1])) if needs_w_proj else (None, None)
    )

    for block in reversed(plan.blocks):
        first, end = block[0].start, block[-1].stop
        for start, stop, previous in reversed(block):
            count, here = stop - start, slice(start - first, stop - first)
            live_dh, live_dc = dh[:count], dc[:count]
            live_dh += d_outputs[start:stop]
            if projection_clip is not None:
                live_dh.masked_fill_(hidden[start:stop].abs() > projection_clip, 0)
            d_m = (
                live_dh if w_proj is None else _linear(live_dh.to(h0.dtype), w_proj.T).to(c0.dtype)
            )  # (B, C)
            i, f, g, o = gates.pop().chunk(4, dim=1)
            d_i, d_f, d_g, d_o = d_gates_block[here].chunk(4, dim=1)
            tanh_c = clip(cells[start:stop], options.cell_clip).tanh()
            if needs_w_proj:
                torch.mul(o, tanh_c, out=m_block[here])
                d_h_block[here] = live_dh
            _sigmoid_backward(d_m * tanh_c, o, grad_input=d_o)
            live_dc += _tanh_backward(d_m * o, tanh_c)
            if options.cell_clip is not None:
                live_dc.masked_fill_(cells[start:stop].abs() > options.cell_clip, 0)
            c_before = (
                c0[:count]
                if previous is None
                else clip(cells[previous : previous + count], options.cell_clip)
            )
            _sigmoid_backward(live_dc * g, i, grad_input=d_i)
            _sigmoid_backward(live_dc * c_before, f, grad_input=d_f)
            _tanh_backward(live_dc * i, g, grad_input=d_g)
            live_dc *= f
            live_dh.copy_(_linear(d_gates_block[here].to(h0.dtype), w_hh.T))
        d_gates = d_gates_block[: end - first].to(h0.dtype)
        if needs_x:
            d_x[first:end] = _linear(d_gates, w_ih.T)
        if needs_bias:
            d_bias += d_gates.sum(0)
        if needs_w_ih:
            _add_product(d_w_ih, d_gates, x[first:end])
        if needs_w_hh:
            h_before = [h0[: b - a] if p is None else outputs[p : p + b - a] for a, b, p in block]
            _add_product(d_w_hh, d_gates, torch.cat(h_before))
        if needs_w_proj:
            _add_product(d_w_proj, d_h_block[: end - first], m_block[: end - first].to(h0.dtype))
    if needs_x:
        d_x = _scatter(d_x, plan.words, shape)
    gradients = d_x, d_w_ih, d_bias, d_w_hh, d_w_proj, _unsort(dh, plan.rows), _unsort(dc, plan.rows)
    return [
        g.to(t.dtype) if needed else None
        for g, t, needed in zip(gradients, (x, w_ih, bias, w_hh, w_proj, h0, c0), needs)
    ]


_sigmoid_backward = torch.ops.aten.sigmoid_backward
_tanh_backward = torch.ops.aten.tanh_backward


def _add_product(total, left, right):
    """total += left.T @ right, never summing blocks in half precision."""
    if total.dtype == left.dtype:
        total.addmm_(left.T, right)
    else:
        total += left.T @ right


class _Packed(torch.autograd.Function):
    """One autograd node for all words of all directions. The tensors are seven for each direction."""

    @staticmethod
    def forward(ctx, plans, mask, options, *tensors):
        results, intermediates, counts = [], [], []
        for plan, direction in zip(plans, _by(7, tensors)):
            saved = []
            results += _forward(plan, options, *direction, saved=saved)
            intermediates += saved
            counts.append(len(saved))
        ctx.plans, ctx.mask, ctx.options, ctx.counts = plans, mask, options, counts
        ctx.save_for_backward(*tensors, *intermediates)
        return tuple(results)

    @staticmethod
    def backward(ctx, *cotangents):
        saved, inputs = ctx.saved_tensors, 7 * len(ctx.plans)
        gradients = [None] * 3
        for plan, direction, needs, cotangent, kept in zip(
            ctx.plans,
            _by(7, saved[:inputs]),
            _by(7, ctx.needs_input_grad[3:]),
            _by(3, cotangents),
            _split(saved[inputs:], ctx.counts),
        ):
            if torch.is_grad_enabled():  # create_graph=True: gradients that can be differentiated again
                gradients += _reference_backward(plan, ctx.mask, ctx.options, direction, needs, cotangent)
            else:
                gradients += _backward(plan, ctx.options, *direction, kept, needs, *cotangent)
        return tuple(gradients)


def _reference_backward(plan, mask, options, tensors, needs, cotangent):
    # Views, because a tensor may also be an ancestor of another one: each gradient must count its own argument only.
    views = [None if tensor is None else tensor.view_as(tensor) for tensor in tensors]
    *weights, h, c = views
    outputs, state = lstm_reference(*weights, (h, c), mask, reverse=plan.reverse, **options._asdict())
    wanted = [view for view, needed in zip(views, needs) if needed]
    found = iter(
        torch.autograd.grad((outputs, *state), wanted, cotangent, create_graph=True, allow_unused=True)
    )
    return [next(found) if needed else None for needed in needs]
