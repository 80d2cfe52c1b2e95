"""The projected, clipped LSTM of ELMo (Peters et al., 2018, section 3; after Jozefowicz et al., 2016).

B batch   T words   I input width   C cell width   P projection width   gates always in the order i, f, g, o

    i, f, g, o = split(W_ih x[t] + bias + W_hh h)
    c = clip(sigmoid(f + forget_bias) * c + sigmoid(i) * tanh(g), cell_clip)
    h = clip(W_proj (sigmoid(o) * tanh(c)), projection_clip)

Without a projection (P == C) the last line is h = sigmoid(o) * tanh(c), never clipped. What recurs is the clipped c and
the clipped h. A clip of None is off. A word whose mask is False is skipped: its output is 0 and the state passes it.

`lstm_reference` is the definition of correct, word by word. `lstm` and `bilstm` compute the same on one of these paths:
"packed", without padding and with a backward written by hand; "triton", the same as kernels for GPUs; "int8", where the
weights are integers, each an `Int8Weight`; "reference" where something has to look into the recurrence. `lstm_path`
forces one by name, `last_lstm_path` tells which one ran and why.
"""

import contextlib
import contextvars
import itertools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch.nn import functional as F

from .int8_elmo import CHEAPER, Int8Weight, int8_forward, int8_layer, refuse_gradients, why_no_kernel
from .lstm_packed_elmo import BLOCK, Options, concurrently, cost_of_step, make_plan, packed_backward, packed_forward


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
    if mask is not None:  # what stands in a skipped word, NaN included, must reach neither results nor gradients
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
    """Which implementation, one of `PATHS`, and the reason in words."""

    name: str
    reason: str


PATHS = ("packed", "triton", "int8", "reference")
PLAIN = Path("packed", "plain tensors")
_forced_path = contextvars.ContextVar("forced_path", default=None)
_last_path = contextvars.ContextVar("last_path", default=None)


@contextlib.contextmanager
def lstm_path(name):
    """Force how recurrences run inside the `with`, in this thread or task only.

    Args:
        name: The path, one of `PATHS`.
    Raises:
        ValueError: there is no such path; and where it cannot run.
    """
    if name not in PATHS:
        raise ValueError(f"there is no LSTM path {name!r}; the paths are {', '.join(PATHS)}")
    token = _forced_path.set(name)
    try:
        yield
    finally:
        _forced_path.reset(token)


def last_lstm_path():
    """The `Path` of the last recurrence in this thread or task; None before the first and in compiled code."""
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
    return PLAIN


def tell_steps(reason):
    """Let `last_lstm_path` say that `lstm_steps` runs, the reference over callables, and why.

    Raises:
        ValueError: another path was forced.
    """
    if torch.compiler.is_compiling():
        return
    if (forced := _forced_path.get()) not in (None, "reference"):
        raise ValueError(f"the LSTM path {forced!r} needs weights and no calls of layers, but {reason}")
    tell_path(Path("reference", reason))


class Direction(NamedTuple):
    """One direction of a layer: the tensors, the state and the sense of `lstm_reference`."""

    x: torch.Tensor
    w_ih: torch.Tensor
    bias: torch.Tensor
    w_hh: torch.Tensor
    w_proj: torch.Tensor | None = None
    state: tuple[torch.Tensor, torch.Tensor] | None = None
    reverse: bool = False


def lstm(
    x, w_ih, bias, w_hh, w_proj=None, state=None, mask=None, *,
    reverse=False, forget_bias=1.0, cell_clip=None, projection_clip=None, recompute=False,
):  # fmt: skip
    """`lstm_reference`, fast: the same arguments, results and gradients.

    With `recompute` it keeps P numbers a word for the backward, which computes the gates once more, where it would
    keep P + 5C; the path "reference" keeps what autograd keeps.
    """
    direction = Direction(x, w_ih, bias, w_hh, w_proj, state, reverse)
    return run([direction], mask, recompute, forget_bias, cell_clip, projection_clip)[0]


def bilstm(ahead, behind, mask=None, *, forget_bias=1.0, cell_clip=None, projection_clip=None, recompute=False):
    """Two `Direction`s over words with the same mask, at the same time: the pair of what `lstm` returns for each."""
    return tuple(run([ahead, behind], mask, recompute, forget_bias, cell_clip, projection_clip))


def run(directions, mask, recompute, *options):
    path = settle_path(directions)
    options = [Options(direction.reverse, *options) for direction in directions]
    if path.name in ("packed", "triton"):
        return run_packed(kernels(path.name), directions, mask, options, "cells" if recompute else "gates")
    if path.name == "int8":
        return run_int8(directions, mask, options)
    reference = int8_reference if isinstance(directions[0].w_hh, Int8Weight) else lstm_reference
    return [reference(*d[:6], mask, **o._asdict()) for d, o in zip(directions, options)]


def settle_path(directions):
    """The `Path` that these directions take, which `last_lstm_path` tells from now on.

    Raises:
        ValueError: another path was forced than they can take.
    """
    if torch.compiler.is_compiling():
        return Path("reference", "torch.compile and torch.export trace the recurrence")
    path = choose_path(*itertools.chain(*map(plain_tensors, directions)))
    path = suit_device(suit_weights(path, directions[0]), directions)
    tell_path(path)
    return path


def tell_path(path):
    """What `last_lstm_path` tells from now on."""
    _last_path.set(path)


def plain_tensors(direction):
    """The words and the weights of a direction; of an `Int8Weight`, its two tensors."""
    for tensor in direction[:5]:
        if isinstance(tensor, Int8Weight):
            yield from (tensor.codes, tensor.scales)
        elif tensor is not None:
            yield tensor


def suit_weights(path, direction):
    """The path chosen for plain tensors, or "int8" where the weights are integers.

    Raises:
        ValueError: another path was forced than the weights can take.
    """
    int8 = isinstance(direction.w_hh, Int8Weight)
    if int8 and path == PLAIN:
        trouble = why_no_kernel(direction.x, direction.w_hh)
        return Path("int8", "int8 weights, " + (f"multiplied as floats: {trouble}" if trouble else "oneDNN's kernel"))
    if int8 and path.name not in ("int8", "reference"):
        raise ValueError(f"int8 weights cannot take the LSTM path {path.name!r}; their paths are int8, reference")
    if path.name == "int8" and not int8:
        raise ValueError("the LSTM path 'int8' needs int8 weights; load with `quantization_config=ElmoInt8Config()`")
    return path


def suit_device(path, directions):
    """The path chosen, or where a GPU has a better one, that.

    Raises:
        ValueError: "triton" was forced where it cannot run.
    """
    x = directions[0].x
    if path.name == "triton" and (trouble := why_no_triton(x)):
        raise ValueError(f"the LSTM path 'triton' cannot run here: {trouble}")
    if path != PLAIN or not x.is_cuda:
        return path
    if trouble := why_no_triton(x):
        return Path("packed", f"plain tensors on a GPU without Triton: {trouble}")
    return Path("triton", "plain tensors on a GPU")


def want_gradients(directions):
    tensors = itertools.chain(*((*plain_tensors(direction), *(direction.state or ())) for direction in directions))
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def why_no_triton(x):
    """Why Triton's kernels cannot run on words like `x`, or None."""
    try:
        from .lstm_elmo_triton import trouble
    except ImportError as error:
        return str(error)
    return trouble(x)


class Kernels(NamedTuple):
    """What walks the words of a plan: the results of `packed_forward` or `packed_backward` for each direction's job."""

    forward: Callable
    backward: Callable
    largest_block: int


def kernels(name):
    if name == "triton":
        from .lstm_elmo_triton import LARGEST_BLOCK, triton_backward, triton_forward

        return Kernels(triton_forward, triton_backward, LARGEST_BLOCK)
    return Kernels(partial(for_each, packed_forward), partial(for_each, packed_backward), BLOCK)


def for_each(function, jobs, cheaper=1):
    """Run jobs that end with the seven tensors of a direction; a step is so many times cheaper than one of floats."""
    *_, h, c = jobs[0]
    return concurrently(function, jobs, cost_of_step(h, c) // cheaper)


def run_int8(directions, mask, options):
    x = directions[0].x
    mask = x.new_ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
    plans = [make_plan(mask, option.reverse) for option in options]
    jobs = [(p, o, *seven_int8_tensors(direction)) for p, o, direction in zip(plans, options, directions)]
    return [(y.to(x.dtype), (h.to(x.dtype), c.to(x.dtype))) for y, h, c in for_each(int8_forward, jobs, CHEAPER)]


def seven_int8_tensors(direction):
    """The seven tensors of a direction, each matrix an `Int8Weight`; c is at least float32.

    Raises:
        ValueError: gradients are wanted.
    """
    x, _, bias, w_hh, _ = direction[:5]
    h, c = zero_state(x, w_hh) if direction.state is None else direction.state
    refuse_gradients(x, bias, h, c)
    return *direction[:5], h, c.to(at_least_float32(x.dtype))


def int8_reference(x, w_ih, bias, w_hh, w_proj=None, state=None, mask=None, **options):
    """`lstm_reference` with an `Int8Weight` in the place of each matrix, its integers multiplied as floats."""
    layers = [
        None if weight is None else int8_layer(weight._replace(packed=None), x.dtype, bias)
        for weight, bias in ((w_ih, bias), (w_hh, None), (w_proj, None))
    ]
    return lstm_steps(x, *layers, zero_state(x, w_hh) if state is None else state, mask, **options)


def run_packed(kernels, directions, mask, options, keep):
    x = directions[0].x
    mask = x.new_ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
    plans = [make_plan(mask, option.reverse, kernels.largest_block) for option in options]
    tensors = [seven_tensors(direction) for direction in directions]
    if want_gradients(directions):
        results = groups(Packed.apply(kernels, mask, plans, options, keep, *itertools.chain(*tensors)), 3)
    else:
        results = kernels.forward([(p, o, None, *t) for p, o, t in zip(plans, options, tensors)])
    return [(outputs, (h, c.to(h.dtype))) for outputs, h, c in results]


def groups(values, size):
    return zip(*[iter(values)] * size)


def seven_tensors(direction):
    """The seven tensors of a direction, cast as autocast would for their products."""
    tensors, state = direction[:5], direction.state
    device = direction.x.device.type
    if torch.is_autocast_enabled(device) and direction.x.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
        tensors = [tensor if tensor is None else tensor.to(dtype) for tensor in tensors]
    x, _, _, w_hh, _ = tensors
    h, c = zero_state(x, w_hh) if state is None else state
    return *tensors, h.to(x.dtype), c.to(at_least_float32(x.dtype))


class Packed(torch.autograd.Function):
    """One node of the graph for all words of one or two directions, each with its seven tensors."""

    @staticmethod
    def forward(ctx, kernels, mask, plans, options, keep, *tensors):
        ctx.keeps = [keep if any(needs) else None for needs in groups(ctx.needs_input_grad[5:], 7)]
        jobs = [(p, o, k, *t) for p, o, k, t in zip(plans, options, ctx.keeps, groups(tensors, 7))]
        results = kernels.forward(jobs)
        ctx.kernels, ctx.mask, ctx.plans, ctx.options = kernels, mask, plans, options
        ctx.counts = [len(result) - 3 for result in results]
        ctx.save_for_backward(*tensors, *itertools.chain(*(result[3:] for result in results)))
        return tuple(itertools.chain(*(result[:3] for result in results)))

    @staticmethod
    def backward(ctx, *cotangents):
        saved = iter(ctx.saved_tensors)
        tensors = [list(itertools.islice(saved, 7)) for _ in ctx.plans]
        intermediates = [list(itertools.islice(saved, count)) for count in ctx.counts]
        needs, cotangents = groups(ctx.needs_input_grad[5:], 7), groups(cotangents, 3)
        if torch.is_grad_enabled():  # create_graph=True: the gradients are to be differentiated themselves
            jobs = zip(ctx.options, needs, cotangents, tensors)
            gradients = [differentiable_backward(ctx.mask, *job) for job in jobs]
        else:
            jobs = zip(ctx.plans, ctx.options, ctx.keeps, needs, intermediates, cotangents, tensors)
            gradients = ctx.kernels.backward([(*job, *ts) for *job, ts in jobs])
        return None, None, None, None, None, *itertools.chain(*gradients)


def differentiable_backward(mask, options, needs, cotangents, tensors):
    if not any(needs):
        return [None] * 7
    # Views, because one tensor may be an ancestor of another: each gradient must count its own argument only.
    tensors = [None if tensor is None else tensor.view_as(tensor) for tensor in tensors]
    outputs, state = lstm_reference(*tensors[:5], tensors[5:], mask, **options._asdict())
    wanted = [tensor for tensor, needed in zip(tensors, needs) if needed]
    found = iter(torch.autograd.grad((outputs, *state), wanted, cotangents, create_graph=True, allow_unused=True))
    return [next(found) if needed else None for needed in needs]
