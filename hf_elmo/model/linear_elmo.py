# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Products of linear layers on a CPU, and whether a layer's weight may be used in place of a call of the layer.

On a CPU with AVX-512, oneDNN multiplies float32 up to four times as fast as torch.mm, and with AVX2 it is ahead for
large weights and fewer than some hundred rows. A call costs some 10 microseconds more, and for each new shape oneDNN
compiles a kernel of half a megabyte and keeps the last thousand of them. So small products are left to torch.mm, and
for the others the number of rows is rounded up to one of few.

Float32 weights are read faster in oneDNN's own layout, and transposed where they are multiplied with a single row. A
forward makes such copies where they repay within it; inside `with prepared(model):` they are made once.
"""

import contextlib
import itertools
import sys
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

ONEDNN_THRESHOLD = 1 << 20  # multiplications from which on oneDNN is faster
# With AVX2, torch.mm is faster for weights that the cache holds, for many rows, for results of far more terms, as a
# projection's, and for the gradients of weights, which are added to sums. Decided by instructions and not by a
# measurement, so that all runs on a machine give the same bits.
ONEDNN_SUMS = torch.backends.cpu.get_cpu_capability() != "AVX2"
SMALLEST_WEIGHT = 0 if ONEDNN_SUMS else 1 << 21  # numbers
MANY_ROWS = sys.maxsize if ONEDNN_SUMS else 512
MANY_ROWS_OF_LONG_SUMS = sys.maxsize if ONEDNN_SUMS else 64  # with a copy of the weight in oneDNN's layout
LONG_SUMS = 4  # times as many terms as results
REPAYING_STEPS = 16  # after which a copy of the weight in oneDNN's layout has repaid
TRANSPOSED_ROWS = 4  # from which on torch.mm computes long sums faster with a transposed copy of the weight
SAMPLED_NUMBERS = 1000  # of each weight, about, that are compared before a copy is used
COPIED_ROWS = 32  # oneDNN has one layout for all numbers of rows but 1
LARGEST_RESULT = 1 << 20  # numbers; memory for a larger one is requested from the system, slower than the product


def round_up_rows(rows: int) -> int:
    """Round up, by a sixteenth at most, to one of few numbers of rows."""
    step = max(1, (1 << rows.bit_length()) // 32)
    return -(-rows // step) * step


def pad_rows(x: Tensor, rows: int) -> Tensor:
    """Append rows of zeros to `x` until it has `rows` rows."""
    return x if len(x) == rows else F.pad(x, (0, 0, 0, rows - len(x)))


def onednn_supports(weight: Tensor) -> bool:
    return weight.dtype == torch.float32 and weight.device.type == "cpu" and torch.backends.mkldnn.is_available()


def may_repay_onednn(weight: Tensor) -> bool:
    """Return whether there are numbers of rows for which oneDNN multiplies faster with a weight."""
    return weight.numel() >= SMALLEST_WEIGHT and onednn_supports(weight)


def has_long_sums(weight: Tensor) -> bool:
    return weight.shape[1] >= LONG_SUMS * len(weight)


def onednn_is_faster(rows: int, weight: Tensor) -> bool:
    """Return whether oneDNN should multiply so many rows with a weight. A weight in its own layout leaves no choice."""
    is_enough = 1 < rows < MANY_ROWS and rows * weight.numel() >= ONEDNN_THRESHOLD
    is_apt = is_enough and may_repay_onednn(weight) and (ONEDNN_SUMS or not has_long_sums(weight))
    return weight.is_mkldnn or is_apt


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias, with a kernel for exactly this shape."""
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")


def onednn_linear_rounded(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias, with a kernel for the rounded number of rows."""
    return onednn_linear(pad_rows(x, round_up_rows(len(x))), weight, bias)[: len(x)]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias, by the faster library."""
    return (onednn_linear_rounded if onednn_is_faster(len(x), weight) else F.linear)(x, weight, bias)


class OneDnnLinear(torch.autograd.Function):
    """x @ weight.T + bias and its gradients, by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return onednn_linear_rounded(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        for_bias, rows = gradient.sum(0) if needs_bias else None, round_up_rows(len(x))
        gradient = pad_rows(gradient.contiguous(), rows)
        for_x = onednn_linear(gradient, weight.T)[: len(x)] if needs_x else None
        # Its memory is needed anyway: parts of it that stay in the cache would have to be copied.
        for_weight = onednn_linear(gradient.T, pad_rows(x.contiguous(), rows).T) if needs_weight else None
        return for_x, for_weight, for_bias


class StepWeight:
    """A weight `(N, K)` of products without gradients that many steps need, in the forms that are read fastest: by the
    rows of the first step, which has the most, and the number of steps. If it `may_be_prepared`, copies that are kept
    while it is prepared are used."""

    def __init__(self, weight: Tensor, rows: int, steps: int, may_be_prepared: bool = True):
        # The fewest rows for which oneDNN is faster, see `onednn_is_faster`, and those from which on it is not.
        self.onednn_rows = max(2, -(-ONEDNN_THRESHOLD // weight.numel())) if may_repay_onednn(weight) else sys.maxsize
        self.many_rows = MANY_ROWS_OF_LONG_SUMS if has_long_sums(weight) else sys.maxsize
        self.weight, self.transposed = weight, weight.T
        if self.onednn_rows <= rows < self.many_rows:
            self.weight = reordered(weight, steps >= REPAYING_STEPS, may_be_prepared)
        elif rows == 1 and len(weight) > weight.shape[1] and may_be_prepared and onednn_supports(weight):
            self.transposed = transposed(weight)
        elif not ONEDNN_SUMS and rows >= TRANSPOSED_ROWS and has_long_sums(weight) and steps >= REPAYING_STEPS:
            self.transposed = transposed(weight, True, may_be_prepared)

    def product_(self, out: Tensor, x: Tensor, beta: int = 0) -> Tensor:
        """out = beta * out + x @ weight.T, with beta 0 or 1."""
        if self.onednn_rows <= x.shape[0] < self.many_rows:
            product = onednn_linear_rounded(x, self.weight)
        elif out.dtype == x.dtype:
            return out.addmm_(x, self.transposed, beta=beta)
        else:
            product = x @ self.transposed
        return out.add_(product) if beta else out.copy_(product)


def add_product_(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left.T @ right. A sum over blocks in float32 is never rounded to half precision."""
    has_product = left.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if left.dtype != total.dtype and left.is_cpu and not has_product:
        # oneDNN fails where the processor has no such product.
        left, right = left.to(total.dtype), right.to(total.dtype)
    if ONEDNN_SUMS and onednn_is_faster(len(left), total):
        left, right = (pad_rows(part, round_up_rows(len(part))) for part in (left, right))
        longer, size = int(total.shape[1] > len(total)), max(1, LARGEST_RESULT // min(total.shape))
        factors = [[left], [right]]
        factors[longer] = factors[longer][0].split(size, dim=1)
        for part, (left_part, right_part) in zip(total.split(size, dim=longer), itertools.product(*factors)):
            # Weights must be dense: for others, oneDNN falls back to a loop that is far slower.
            part += onednn_linear(left_part.T, right_part.contiguous().T)
    elif total.dtype == left.dtype:
        total.addmm_(left.T, right)
    else:
        total += left.T @ right


def unsupported_reason(layer: nn.Module, *kinds: type[nn.Module]) -> str | None:
    """Return why a layer must be called and its weight alone does not say what it computes, or None.

    Adapters, quantization and offloading replace the layer or its weight, or hook its call. `kinds` are the classes
    whose weight can be used; `nn.Linear` by default.
    """
    if type(layer) not in (kinds or (nn.Linear,)):
        return f"it is a {type(layer).__name__}"
    if type(layer.weight) is not nn.Parameter:
        return f"its weight is a {type(layer.weight).__name__}"
    if layer.weight.is_meta:
        return "its weight is elsewhere until it is called"
    if hasattr(layer, "_hf_hook") or layer._forward_hooks or layer._forward_pre_hooks:
        return "it has hooks"
    return None


def is_observed() -> bool:
    """Return whether a compiler, an exporter or a transform looks into the calls of layers and functions."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active()


def may_skip_calls(*tensors: Tensor | None, with_gradients: bool = False, with_autocast: bool = False) -> bool:
    """Return whether faster products may replace calls of layers with these weights.

    That is on a CPU, where neither a compiler, an exporter, a transform nor autocast looks into the calls, and without
    gradients, unless the products have them, or cast as autocast does.
    """
    if is_observed():
        return False
    tensors = [tensor for tensor in tensors if tensor is not None]
    is_elsewhere = any(tensor.device.type != "cpu" for tensor in tensors)
    if is_elsewhere or (torch.is_autocast_enabled("cpu") and not with_autocast):
        return False
    return with_gradients or not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))


def apply_linear(layer: nn.Module, x: Tensor) -> Tensor:
    """Return `layer(x)` for a linear layer and `x` `(N, features)`, by a faster product where there is one."""
    tensors = x, layer.weight, layer.bias
    if unsupported_reason(layer) or len(x) == 0 or not may_skip_calls(*tensors, with_gradients=True):
        return layer(x)
    if len(x) < MANY_ROWS and may_repay_onednn(layer.weight) and may_skip_calls(*tensors):
        return onednn_linear_rounded(x, reordered(layer.weight), layer.bias)
    return differentiable_linear(*tensors)


def differentiable_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x @ weight.T + bias, by the faster library. Differentiable once."""
    if x.dtype != weight.dtype or not onednn_is_faster(len(x), weight):
        return F.linear(x, weight, bias)
    return OneDnnLinear.apply(x, weight, bias)


# ---- prepared weights


@contextlib.contextmanager
def prepared(model: nn.Module) -> Iterator[None]:
    """Keep the weights of a model's linear layers prepared for products on a CPU, in all threads.

    Forwards without gradients use the copies, and each copy is made when it is first needed. They take about as much
    memory as the float32 weights, until the outermost block of a model ends. Other weights, as those of int8 layers,
    which are always prepared, half precision, or on a GPU, are used as they are.

    A weight may change inside the block: its copies are made again. Noticed is whatever torch counts as a change, and
    what is written past that, to `.data` or by numpy, by some thousand numbers spread over each weight.

    Args:
        model: An ELMo encoder, or any model around one.

    Raises:
        `ValueError`: if it is no model.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"`prepared` takes a model, but got a {type(model).__name__}")
    weights = [module.weight for module in model.modules() if type(module) is nn.Linear]
    with _lock:
        for weight in weights:
            _copies.setdefault(id(weight), Copies(weight)).blocks += 1
    try:
        yield
    finally:
        with _lock:
            for weight in weights:
                copies = _copies[id(weight)]
                copies.blocks -= 1
                if not copies.blocks:
                    del _copies[id(weight)]


class Copies:
    """The copies of a weight, which hold until it changes. The reference to the weight keeps its id its own."""

    def __init__(self, weight: Tensor):
        self.weight, self.blocks = weight, 0
        self.version: tuple | None = None
        self.sample = self.sampled = torch.empty(0)  # numbers of the weight as they are, and as they were
        self.reordered: Tensor | None = None
        self.transposed: Tensor | None = None

    def forget_if_changed(self) -> None:
        """Drop the copies of what the weight was before."""
        weight = self.weight.detach()
        version = weight.data_ptr(), weight.shape, weight.dtype, None if weight.is_inference() else weight._version
        if version != self.version or not torch.equal(self.sample, self.sampled):
            step = max(1, weight.numel() // SAMPLED_NUMBERS) | 1  # odd, to meet other columns in each row
            self.version, self.sample = version, weight.view(-1)[::step]
            self.sampled, self.reordered, self.transposed = self.sample.clone(), None, None


_copies: dict[int, Copies] = {}  # by the id of the weight
_lock = threading.Lock()


def copies_of(weight: Tensor) -> Copies | None:
    """Return where copies of a weight are kept, those of an earlier value dropped; None outside the blocks."""
    copies = _copies.get(id(weight)) if _copies else None
    if copies is None or not weight.is_contiguous():
        return None
    with _lock:
        copies.forget_if_changed()
    return copies


def reordered(weight: Tensor, repays: bool = False, may_be_prepared: bool = True) -> Tensor:
    """Return a dense float32 weight on the CPU in oneDNN's layout: a copy that is kept, if it may be used, or a new one
    if it is used so often that it repays; else the weight itself."""
    copies = copies_of(weight) if may_be_prepared else None
    if copies is None:
        return torch.ops.mkldnn._reorder_linear_weight(weight, COPIED_ROWS) if repays else weight
    if copies.reordered is None:
        copies.reordered = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), COPIED_ROWS)
    return copies.reordered


def transposed(weight: Tensor, repays: bool = False, may_be_prepared: bool = True) -> Tensor:
    """Return `weight.T`: a copy that is kept, if it may be used, or a new one if it repays; else a view."""
    copies = copies_of(weight) if may_be_prepared else None
    if copies is None:
        return weight.T.contiguous() if repays else weight.T
    if copies.transposed is None:
        copies.transposed = weight.detach().T.contiguous()
    return copies.transposed
