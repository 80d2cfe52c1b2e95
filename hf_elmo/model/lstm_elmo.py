# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The projected, clipped LSTM of ELMo (Peters et al., 2018, section 3; after Jozefowicz et al., 2016).

B batch   T time steps   I input width   C cell width   P projection width   gates always in the order i, f, g, o

    i, f, g, o = split(W_ih x[t] + bias + W_hh h)
    c = clip(sigmoid(f + forget_bias) * c + sigmoid(i) * tanh(g), cell_clip)
    h = clip(W_hr (sigmoid(o) * tanh(c)), projection_clip)

Without a projection (P == C) the last line is h = sigmoid(o) * tanh(c), never clipped. The carried state is the clipped
c and the clipped h. A clip of None is off. A token whose mask is False is skipped: its output is 0, and the state stays
as it was.

`lstm_reference` is the definition of correct. `lstm` computes the same by one of these backends: "packed", without
padding and with a backward written by hand; "triton", the same as kernels for GPUs; "int8", the packed one with
products of 8-bit integers and without gradients; "reference" itself, where the recurrence is traced or the weights
alone do not say what a layer computes.
"""

import contextlib
import contextvars
import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .int8_elmo import Int8Linear, Int8Weight, int8_layer, kernel_reason, refuse_gradients
from .linear_elmo import unsupported_reason
from .lstm_packed_elmo import PACKED, BackwardTask, CellOptions, Direction, Engine, Task, spread
from .packed_order_elmo import groups_of_like_length, pack, pack_sentences
from .scan_elmo import scan

LstmState = tuple[Tensor, Tensor]  # h (B, P) and c (B, C)
Results = list[tuple[Tensor, LstmState | None]]  # outputs (B, T, P) and final state of each direction
SENTENCE_ROWS = 256  # that run at the same time where sentences follow each other
BATCH_TOKENS = 4096  # of sentences that follow each other, where they are computed in batches


def lstm_reference(
    x: Tensor,
    input_gates: Callable[[Tensor], Tensor],
    recurrent_gates: Callable[[Tensor], Tensor],
    projection: Callable[[Tensor], Tensor] | None,
    state: LstmState,
    mask: Tensor | None = None,
    *,
    reverse: bool = False,
    forget_bias: float = 1.0,
    cell_clip: float | None = None,
    projection_clip: float | None = None,
) -> tuple[Tensor, LstmState]:
    """Run the recurrence step by step. Slow, differentiable by autograd, traceable, and the definition of correct.

    A graph of `torch.compile` or `torch.export` holds one step and a loop (see `scan`).

    Args:
        x (`(B, T, I)`): Input.
        input_gates (`(B, T, I) -> (B, T, 4C)`): Input product and bias.
        recurrent_gates (`(B, P) -> (B, 4C)`): Recurrent product.
        projection (`(B, C) -> (B, P)`, or None where P == C): Projection.
        state (`(B, P)` and `(B, C)`): h and c before the first time step.
        mask (`(B, T)` bool, or None for all True): True where there is a token, in any pattern.
        reverse: Whether each row runs from its last token to its first; outputs stay in place.
        forget_bias: Added to the forget gate.
        cell_clip, projection_clip (positive, or None for off): Bounds of c and of the projected h.
    Returns:
        outputs `(B, T, P)`, 0 where the mask is False, and the state after the last token.
    """
    if mask is not None:  # a skipped token, be it NaN, must reach neither results nor gradients
        x = x.masked_fill(~mask[..., None], 0)
    gates_x = input_gates(x)
    state = state[0].to(gates_x.dtype), state[1].to(at_least_float32(gates_x.dtype))
    numbers = forget_bias, cell_clip, projection_clip
    if torch.compiler.is_compiling():  # numbers may be symbols there, which the loop of a graph does not take
        numbers = tuple(None if number is None else state[1].new_full((), number) for number in numbers)
    step = partial(lstm_step, recurrent_gates, projection, *numbers)
    inputs = (gates_x,) if mask is None else (gates_x, mask[..., None])
    (h, c), outputs = scan(step, state, tuple(part.transpose(0, 1) for part in inputs), reverse)
    outputs = outputs.transpose(0, 1) if x.shape[1] else h.new_zeros(h.shape[0], 0, h.shape[1])
    return outputs, (h, c.to(h.dtype))


def lstm_step(
    recurrent_gates: Callable[[Tensor], Tensor],
    projection: Callable[[Tensor], Tensor] | None,
    forget_bias: float | Tensor,
    cell_clip: float | Tensor | None,
    projection_clip: float | Tensor | None,
    state: LstmState,
    inputs: tuple[Tensor, ...],
) -> tuple[LstmState, Tensor]:
    """Compute one time step of the equations: from the previous state to the next one, and the output `(B, P)`. Inputs
    are the input's part of the gates, `(B, 4C)`, and the mask, `(B, 1)`, if there is one."""
    (h, c), (gates_x, *mask) = state, inputs
    gates = (gates_x + recurrent_gates(h)).to(c.dtype)
    i, f, g, o = gates.chunk(4, dim=-1)  # (B, C) each
    next_c = clip((f + forget_bias).sigmoid() * c + i.sigmoid() * g.tanh(), cell_clip)
    next_h = (o.sigmoid() * next_c.tanh()).to(h.dtype)
    if projection is not None:
        next_h = clip(projection(next_h), projection_clip)  # (B, P)
    if not mask:
        return (next_h, next_c), next_h
    present = mask[0]
    return (torch.where(present, next_h, h), torch.where(present, next_c, c)), next_h.masked_fill(~present, 0)


def clip(x: Tensor, bound: float | Tensor | None) -> Tensor:
    if bound is None:
        return x
    bound = bound.to(x.dtype) if isinstance(bound, Tensor) else bound
    return x.clamp(-bound, bound)


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Return the type of c and of the gates: c sums over many steps, too many for half precision."""
    return torch.promote_types(dtype, torch.float32)


# ---- selection of the backend


class Backend(NamedTuple):
    """An implementation of the recurrence, one of `BACKENDS`, and why it was selected."""

    name: str
    reason: str


BACKENDS = ("packed", "triton", "int8", "reference")
_forced_backend: contextvars.ContextVar[str | None] = contextvars.ContextVar("forced_backend", default=None)
_last_backend: contextvars.ContextVar[Backend | None] = contextvars.ContextVar("last_backend", default=None)


@contextlib.contextmanager
def lstm_path(name: str) -> Iterator[None]:
    """Force the backend of all recurrences inside the `with`, in this thread or asyncio task only.

    Args:
        name: "packed", "triton", "int8" or "reference".
    Raises:
        ValueError: there is no such backend; and inside the `with`, where it cannot run.
    """
    if name not in BACKENDS:
        raise ValueError(f"there is no LSTM backend {name!r}; the backends are {', '.join(BACKENDS)}")
    token = _forced_backend.set(name)
    try:
        yield
    finally:
        _forced_backend.reset(token)


def last_lstm_path() -> Backend | None:
    """Return the `Backend` of the last recurrence in this thread or asyncio task; None before the first one, and for
    compiled code."""
    return _last_backend.get()


def select_backend(directions: list[Direction]) -> Backend:
    """Select the backend for a call, and record it for `last_lstm_path`; `ValueError` if the forced one cannot run."""
    if torch.compiler.is_compiling():
        return Backend("reference", "torch.compile and torch.export trace the recurrence")
    first, forced = directions[0], _forced_backend.get()
    only_reference = next(filter(None, map(only_reference_reason, directions)), None)
    if forced:
        if forced != "reference" and (reason := only_reference or unavailable_reason(forced, first)):
            raise ValueError(f"the LSTM backend {forced!r} cannot run here: {reason}")
        backend = Backend(forced, "forced by lstm_path")
    elif only_reference:
        backend = Backend("reference", only_reference)
    elif first.is_int8:
        reason = kernel_reason(first.x, first.weight_hh)
        reason = f"multiplied as floats: {reason}" if reason else "oneDNN's kernel"
        backend = Backend("int8", f"int8 weights, {reason}")
    elif not first.x.is_cuda:
        backend = Backend("packed", slow_bfloat16_reason(first) or "plain tensors")
    elif reason := unavailable_reason("triton", first):
        backend = Backend("packed", f"plain tensors on a GPU without Triton: {reason}")
    else:
        backend = Backend("triton", "plain tensors on a GPU")
    _last_backend.set(backend)
    return backend


def only_reference_reason(direction: Direction) -> str | None:
    """Return why only the reference can run a direction, or None."""
    if direction.must_call:
        return direction.must_call
    if torch.jit.is_tracing():
        return "torch.jit traces the recurrence"
    if torch._C._are_functorch_transforms_active():
        return "a torch.func transform looks into the recurrence"
    for tensor in direction.tensors():
        tensor = tensor.codes if isinstance(tensor, Int8Weight) else tensor
        if tensor is not None and type(tensor) not in (Tensor, nn.Parameter):
            return f"{type(tensor).__name__} is no plain tensor"
        if tensor is not None and tensor.is_meta:
            return "tensors on the meta device have no lengths to pack by"
    return None


def slow_bfloat16_reason(direction: Direction) -> str | None:
    """Return, and warn once, that a direction multiplies bfloat16 on a processor that has no instruction for it."""
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else direction.x.dtype
    capabilities = torch.cpu.get_capabilities() if direction.x.device.type == "cpu" else {}
    if dtype != torch.bfloat16 or capabilities.get("architecture") != "x86_64":
        return None
    if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
        return None
    reason = "this processor has no products of bfloat16 (AVX512-BF16 or AMX), so that float32 is faster"
    warnings.warn(reason, stacklevel=2)  # shown once
    return reason


def unavailable_reason(name: str, direction: Direction) -> str | None:
    """Return why a fast backend cannot run a direction of plain tensors, or None."""
    if direction.is_int8 and name != "int8":
        return "it multiplies floats, and these weights are int8"
    if name == "int8" and not direction.is_int8:
        return "it needs int8 weights; load with `quantization_config=ElmoInt8Config()`"
    if name != "triton":
        return None
    try:
        from .lstm_elmo_triton import unsupported_input_reason
    except ImportError as error:
        return str(error)
    return unsupported_input_reason(direction.x)


# ---- the calls


def direction_of_layers(
    x: Tensor,
    input_gates: nn.Module,
    recurrent_gates: nn.Module,
    projection: nn.Module | None = None,
    state: LstmState | None = None,
    reverse: bool = False,
) -> Direction:
    """Return a direction of linear layers: with their weights where these can be used in place of calls, else with the
    layers themselves in the place of weights."""
    layers = {"input_gates": input_gates, "recurrent_gates": recurrent_gates, "projection": projection}
    layers = {name: layer for name, layer in layers.items() if layer is not None}
    int8 = all(type(layer) is Int8Linear for layer in layers.values())
    reasons = {name: unsupported_reason(layer, Int8Linear if int8 else nn.Linear) for name, layer in layers.items()}
    for name, reason in reasons.items():
        if reason is not None:
            if state is None:
                state = zero_state(x, input_gates.out_features, recurrent_gates.in_features)
            must_call = f"{name} must be called: {reason}"
            return Direction(x, input_gates, None, recurrent_gates, projection, state, reverse, must_call)
    weight_ih, weight_hh, *weight_hr = (layer.int8_weight() if int8 else layer.weight for layer in layers.values())
    return Direction(x, weight_ih, input_gates.bias, weight_hh, weight_hr[0] if weight_hr else None, state, reverse)


def lstm(
    directions: list[Direction],
    mask: Tensor | None = None,
    forget_bias: float = 1.0,
    cell_clip: float | None = None,
    projection_clip: float | None = None,
    recompute: bool = False,
    lengths: list[int] | None = None,
) -> Results:
    """Compute `lstm_reference` for one direction, or two at the same time, by the fastest backend that can run.

    Args:
        directions: The directions, of equal shapes.
        mask, forget_bias, cell_clip, projection_clip: As in `lstm_reference`.
        recompute: Whether to keep for the backward P numbers a token in place of P + 5C, and compute the gates twice.
            The reference keeps what autograd keeps.
        lengths: Lengths of sentences that lie one after the other in `x` `(1, T, I)`. Each starts from a state of zero,
            and no state is returned. The packed backend computes them in a fixed number of rows, where the next
            sentence begins as soon as one ends; the others, and every one with gradients, compute batches of them.
    Returns:
        for each direction outputs `(B, T, P)` and the state after the last token.
    """
    options = CellOptions(forget_bias, cell_clip, projection_clip)
    backend = select_backend(directions)
    if lengths is not None and (backend.name not in ("packed", "int8") or torch.is_grad_enabled()):
        return run_batches(directions, lengths, options)
    if backend.name == "reference":
        return [run_reference(direction, mask, options) for direction in directions]
    if backend.name == "triton":
        from .lstm_elmo_triton import TRITON

        return run_packed(TRITON, directions, mask, options, recompute)
    return run_packed(PACKED, directions, mask, options, recompute, lengths)


def run_reference(direction: Direction, mask: Tensor | None, options: CellOptions) -> tuple[Tensor, LstmState]:
    """Run `lstm_reference`, with a function in the place of each weight."""

    def layer(weight: Tensor | Int8Weight | nn.Module | None, bias: Tensor | None = None) -> Callable | None:
        if isinstance(weight, Int8Weight):
            return int8_layer(weight._replace(packed=None), x.dtype, bias)
        return partial(F.linear, weight=weight, bias=bias) if isinstance(weight, Tensor) else weight

    x, weight_ih, bias, weight_hh, weight_hr, *_ = direction.tensors()
    state = zero_state(x, *weight_hh.shape) if direction.state is None else direction.state
    layers = layer(weight_ih, bias), layer(weight_hh), layer(weight_hr)
    return lstm_reference(x, *layers, state, mask, reverse=direction.reverse, **options._asdict())


def zero_state(x: Tensor, gates: int, projected: int) -> LstmState:
    batch = x.shape[0]  # not len(x), which would fix the batch of an exported graph
    return x.new_zeros(batch, projected), x.new_zeros(batch, gates // 4)


# ---- packed backends in autograd's graph


def run_packed(
    engine: Engine,
    directions: list[Direction],
    mask: Tensor | None,
    options: CellOptions,
    recompute: bool,
    lengths: list[int] | None = None,
) -> Results:
    """Run a packed backend over the rows of a batch, or over sentences in rows that are always busy."""
    x = directions[0].x
    mask = x.new_ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
    directions = [in_compute_types(direction) for direction in directions]
    if lengths is None:
        orders = [pack(mask, direction.reverse, engine.block_tokens) for direction in directions]
    else:
        orders = [pack_sentences(lengths, SENTENCE_ROWS, direction.reverse) for direction in directions]
        rows = len(orders[0].sorted_indices)
        states = [tuple(part.new_zeros(rows, part.shape[1]) for part in d.state) for d in directions]
        directions = [replace(direction, state=state) for direction, state in zip(directions, states)]
    clips = [options if d.weight_hr is not None else options._replace(projection_clip=None) for d in directions]
    keep = "cells" if recompute else "gates"
    tasks = [Task(order, clip, keep, direction) for order, clip, direction in zip(orders, clips, directions)]
    tensors = [tensor for direction in directions for tensor in direction.tensors()]
    floats = [tensor for tensor in tensors if isinstance(tensor, Tensor)]
    if directions[0].is_int8:
        refuse_gradients(*floats)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in floats):
        results = list(groups(PackedLstm.apply(engine, mask, tasks, *tensors), 3))
    else:
        results = [result[:3] for result in engine.forward([task._replace(keep=None) for task in tasks])]
    dtype = directions[0].x.dtype
    states = [(h.to(dtype), c.to(dtype)) if lengths is None else None for _, h, c in results]
    return [(outputs.to(dtype), state) for (outputs, *_), state in zip(results, states)]


def in_compute_types(direction: Direction) -> Direction:
    """Cast a direction's tensors as autocast would for its products, and c at least to float32; fill in a state."""
    tensors, state, device = direction.tensors()[:5], direction.state, direction.x.device.type
    autocast = torch.is_autocast_enabled(device) and direction.x.dtype != torch.float64
    if autocast and not direction.is_int8:
        tensors = [None if tensor is None else tensor.to(torch.get_autocast_dtype(device)) for tensor in tensors]
    x, *_, weight_hh, _ = tensors
    h, c = zero_state(x, *weight_hh.shape) if state is None else state
    cell_dtype = at_least_float32(x.dtype)
    state = h.to(cell_dtype if direction.is_int8 else x.dtype), c.to(cell_dtype)
    return Direction.of_tensors([*tensors, *state], direction.reverse)


def groups(values: Any, size: int) -> Iterator[tuple]:
    return zip(*[iter(values)] * size)


def run_batches(directions: list[Direction], lengths: list[int], options: CellOptions) -> Results:
    """Run batches of sentences of similar length, as rows with padding."""
    found: list[list[Tensor]] = [[] for _ in directions]
    places = []
    for tokens, mask in groups_of_like_length(lengths, BATCH_TOKENS):
        tokens, mask = tokens.to(directions[0].x.device), mask.to(directions[0].x.device)
        rows = []
        for direction in directions:
            state = direction.state and tuple(part.new_zeros(len(tokens), part.shape[1]) for part in direction.state)
            rows.append(replace(direction, x=direction.x[0][tokens], state=state))
        for parts, (outputs, _) in zip(found, lstm(rows, mask, **options._asdict())):
            parts.append(outputs[mask])
        places.append(tokens[mask])
    order = torch.cat(places)
    return [(spread(torch.cat(parts), order)[None], None) for parts in found]


class PackedLstm(torch.autograd.Function):
    """One node of the graph for all steps of one or two directions, each with its seven tensors."""

    @staticmethod
    def forward(ctx: Any, engine: Engine, mask: Tensor, tasks: list[Task], *tensors: Tensor | None) -> tuple[Tensor]:
        needs = groups(ctx.needs_input_grad[3:], 7)
        tasks = [task if any(needed) else task._replace(keep=None) for task, needed in zip(tasks, needs)]
        results = engine.forward(tasks)
        ctx.engine, ctx.mask, ctx.counts = engine, mask, [len(result.kept) for result in results]
        ctx.tasks = [task._replace(direction=None) for task in tasks]
        ctx.save_for_backward(*tensors, *(tensor for result in results for tensor in result.kept))
        return tuple(tensor for result in results for tensor in result[:3])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        saved = iter(ctx.saved_tensors)
        sevens = [list(itertools.islice(saved, 7)) for _ in ctx.tasks]
        kept = [list(itertools.islice(saved, count)) for count in ctx.counts]
        needs, cotangents = groups(ctx.needs_input_grad[3:], 7), groups(cotangents, 3)
        if torch.is_grad_enabled():  # create_graph=True: the gradients are to be differentiated themselves
            pieces = zip(ctx.tasks, needs, cotangents, sevens)
            gradients = [differentiable_backward(ctx.mask, *piece) for piece in pieces]
        else:
            directions = list(map(Direction.of_tensors, sevens))
            tasks = [task._replace(direction=direction) for task, direction in zip(ctx.tasks, directions)]
            gradients = ctx.engine.backward(list(map(BackwardTask, tasks, needs, kept, cotangents)))
        return None, None, None, *itertools.chain(*gradients)


def differentiable_backward(
    mask: Tensor, task: Task, needs: tuple[bool, ...], cotangents: tuple[Tensor, ...], tensors: list[Tensor | None]
) -> list[Tensor | None]:
    if not any(needs):
        return [None] * 7
    # Views, because one tensor may be an ancestor of another: each gradient must count its own argument only.
    tensors = [None if tensor is None else tensor.view_as(tensor) for tensor in tensors]
    direction = Direction.of_tensors(tensors, task.order.reverse)
    outputs, state = run_reference(direction, mask, task.options)
    wanted = [tensor for tensor, needed in zip(tensors, needs) if needed]
    found = iter(torch.autograd.grad((outputs, *state), wanted, cotangents, create_graph=True, allow_unused=True))
    return [next(found) if needed else None for needed in needs]
