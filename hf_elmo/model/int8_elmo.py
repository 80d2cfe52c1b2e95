"""Products of 8-bit integers, and the LSTM made of them.

A weight is stored as integers from -127 to 127 and one scale for each output channel. An input is quantized at each
product in the same way, with one scale for each row, so that a row's result never depends on other rows:

    y[r, n] = scale_x[r] * scale_w[n] * sum_k q_x[r, k] q_w[n, k] + bias[n]
    q = round(v / scale), scale = max |v| / 127

The sum is one of integers, and exact. oneDNN computes it where the processor has instructions for it (VNNI), in about a
sixth of the time of float32; elsewhere, and where something traces the computation, the same integers are multiplied as
floats. Everything between two products is computed in float32, or in float64 for inputs of that type.

`int8_forward` is `packed_forward` over such products. There is no backward: whatever needs one is refused.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .linear_elmo import few, padded
from .lstm_packed_elmo import clip, spread, step_sizes, words_of

LEVELS = 127  # on each side of 0
CHEAPER = 4  # than floats: a step, about
ZERO = LEVELS + 1  # what 0 is among the unsigned codes of inputs: oneDNN multiplies unsigned inputs by signed weights


class Int8Weight(NamedTuple):
    """A quantized matrix, in place of a tensor of floats."""

    codes: Tensor  # (N, K), int8
    scales: Tensor  # (N,), what a code of each output channel is worth
    packed: Tensor | None = None  # the codes in oneDNN's layout; without, they are multiplied as floats

    @property
    def shape(self) -> torch.Size:
        return self.codes.shape

    def numel(self) -> int:
        return self.codes.numel()


def quantize_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The codes `(N, K)` and scales `(N,)` of a matrix `(N, K)`."""
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    largest = weight.abs().amax(dim=1)
    scales = torch.where(largest > 0, largest / LEVELS, 1)
    return (weight / scales[:, None]).round().to(torch.int8), scales


def int8_weight(weight: Tensor) -> Int8Weight:
    """A matrix `(N, K)` of floats, quantized and ready for the kernel if that can run."""
    codes, scales = quantize_weight(weight)
    return Int8Weight(codes, scales, pack_for_kernel(codes))


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows `(..., K)` as unsigned codes around `ZERO`, and the largest absolute value of each row `(..., 1)`."""
    largest = x.abs().amax(dim=-1, keepdim=True).clamp_(min=torch.finfo(x.dtype).tiny)
    codes = torch.addcdiv(x.new_full((), ZERO + 0.5), x, largest, value=LEVELS)
    return codes.to(torch.uint8), largest  # the conversion rounds down


def int8_product(weight: Int8Weight, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """The function from codes `(n, K)` to products `(n, N)` of a type, only not yet times the rows' largest values."""
    scales = weight.scales.to(dtype) / LEVELS
    if weight.packed is None or dtype != torch.float32:  # the kernel has float32 results
        values = weight.codes.to(dtype)

        def product(codes):
            with torch.autocast(codes.device.type, enabled=False):  # 16 bits would hold the codes, but not their sums
                return F.linear(codes.to(dtype) - ZERO, values) * scales

    else:
        zeros = torch.zeros(len(scales), dtype=torch.int32, device="cpu")

        def product(codes):
            rows, codes = len(codes), padded(codes, few(len(codes)))
            return torch.ops.onednn.qlinear_pointwise.default(
                codes, 1.0, ZERO, weight.packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
            )[:rows]

    return product


def int8_layer(weight: Int8Weight, dtype: torch.dtype, bias: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """The linear layer of `weight` and `bias`, a function from `(..., K)` to `(..., N)`, both in type `dtype`.

    Raises (when it is called):
        ValueError: a gradient would have to pass it.
    """
    inner = torch.promote_types(dtype, torch.float32)
    product = int8_product(weight, inner)

    def layer(x):
        refuse_gradients(x, bias)
        codes, largest = quantize_rows(x.to(inner))
        y = product(codes.flatten(0, -2)).unflatten(0, codes.shape[:-1]) * largest
        return (y if bias is None else y + bias).to(dtype)

    return layer


def refuse_gradients(*tensors: Tensor | None) -> None:
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
        raise ValueError(
            "int8 layers have no gradients, for their inputs and biases neither: train what is above a frozen encoder "
            "(`freeze_encoder()`), or load its weights in float32"
        )


@torch.no_grad()
def int8_forward(plan, options, x, w_ih, bias, w_hh, w_proj, h, c):
    """One direction of `packed_forward` with an `Int8Weight` in the place of each matrix.

    Returns:
        outputs `(B, T, P)`, h `(B, P)` and c `(B, C)` after the last word.
    """
    walk, words = Int8Forward(plan, options, w_ih, bias, w_hh, w_proj, h, c), x.flatten(0, 1)[plan.words]
    hidden = [walk.take(index, words[words_of(block)]) for index, block in enumerate(plan.blocks)]
    hidden = torch.cat([walk.h[:0], *hidden])
    return spread(clip(hidden, walk.projection_clip), plan.words, (*x.shape[:2], h.shape[1])), *walk.state()


class Int8Forward:
    """One direction on its way from block to block, as `Forward` of the packed path, which keeps nothing."""

    @torch.no_grad()
    def __init__(self, plan, options, w_ih, bias, w_hh, w_proj, h, c):
        self.plan, self.cell_clip, cell = plan, options.cell_clip, c.shape[1]
        self.projection_clip = None if w_proj is None else options.projection_clip
        # The gate g comes out doubled, so that all four pass one sigmoid: tanh(g) = 2 sigmoid(2 g) - 1.
        double = torch.ones_like(bias, dtype=c.dtype)
        double[2 * cell : 3 * cell] = 2
        self.bias = bias.to(c.dtype) * double
        self.bias[cell : 2 * cell] += options.forget_bias
        self.input_gates, self.recurrent_gates = (
            int8_product(weight._replace(scales=weight.scales * double), c.dtype) for weight in (w_ih, w_hh)
        )
        self.project = None if w_proj is None else int8_product(w_proj._replace(scales=w_proj.scales * 2), c.dtype)
        self.h, self.c = h[plan.rows].to(c.dtype), c[plan.rows]

    @torch.no_grad()
    def take(self, index, x):
        """From a block's words `(M, I)` to their h before its clip `(M, P)`, in the type of c."""
        block, live_h, live_c, hidden = self.plan.blocks[index], self.h, self.c, []
        codes_x, largest_x = quantize_rows(x.to(live_c.dtype))
        gates_x = self.input_gates(codes_x)
        torch.addcmul(self.bias, gates_x, largest_x, out=gates_x)
        for gates in gates_x.split(step_sizes(block)):
            if len(gates) != len(live_h):
                live_h, live_c = self.h[: len(gates)], self.c[: len(gates)]
            codes_h, largest_h = quantize_rows(live_h)
            gates.addcmul_(self.recurrent_gates(codes_h), largest_h).sigmoid_()
            i, f, g, o = gates.view(len(gates), 4, -1).unbind(1)
            live_c.mul_(f).addcmul_(i, g, value=2).sub_(i)
            clip(live_c, self.cell_clip, out=live_c)
            half_m = torch.mul(live_c, 2).sigmoid_().sub_(0.5).mul_(o)
            if self.project is None:
                unclipped_h = half_m.mul_(2)
            else:
                codes_m, largest_half = quantize_rows(half_m)
                unclipped_h = self.project(codes_m).mul_(largest_half)
            clip(unclipped_h, self.projection_clip, out=live_h)
            hidden.append(unclipped_h)
        return torch.cat(hidden)

    def state(self):
        """h `(B, P)` and c `(B, C)` in the order of the batch."""
        return spread(self.h, self.plan.rows), spread(self.c, self.plan.rows)


def pack_for_kernel(codes: Tensor) -> Tensor | None:
    """Codes `(N, K)` in the layout of oneDNN's kernel, or None where it cannot run."""
    if codes.device.type != "cpu" or machine_trouble():
        return None
    return torch.ops.onednn.qlinear_prepack(codes, None)


def why_no_kernel(x: Tensor, weight: Int8Weight) -> str | None:
    """What keeps oneDNN's product of integers from running on rows like `x`, in words; None where it runs."""
    if x.device.type != "cpu":
        return f"it runs on CPUs, not on {x.device.type}"
    if x.dtype == torch.float64:
        return "its results are float32, not float64"
    return machine_trouble() or ("they are not packed" if weight.packed is None else None)


@functools.lru_cache
def machine_trouble() -> str | None:
    """What keeps the kernel from running on this machine's processor."""
    if not torch.backends.mkldnn.is_available():
        return "torch was built without oneDNN"
    capabilities = torch.cpu.get_capabilities()
    if not (capabilities.get("avx512_vnni") or capabilities.get("avx_vnni")):
        return "this processor has no VNNI instructions"
    # Instructions before VNNI add two products in 16 bits, where these overflow.
    codes = torch.full((16, 64), LEVELS, dtype=torch.int8, device="cpu")
    plain = Int8Weight(codes, torch.full((16,), float(LEVELS), device="cpu"))
    packed = plain._replace(packed=torch.ops.onednn.qlinear_prepack(codes, None))
    x = torch.full((2, 64), ZERO + LEVELS, dtype=torch.uint8, device="cpu")
    x[1] = ZERO - LEVELS
    found, expected = (int8_product(weight, torch.float32)(x) for weight in (packed, plain))
    return None if torch.equal(found, expected) else "it is inexact on this processor"
