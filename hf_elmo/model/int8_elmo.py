# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Products of 8-bit integers, and linear layers made of them.

A weight is stored as integers from -127 to 127 and one scale for each output channel. An input is quantized at each
product in the same way, with one scale for each row, so that a row's result never depends on other rows:

    y[r, n] = scale_x[r] * scale_w[n] * sum_k q_x[r, k] q_w[n, k] + bias[n]
    q = round(v / scale), scale = max |v| / 127

The sum is one of integers, and exact. oneDNN computes it where the processor has instructions for it (VNNI), in about a
sixth of the time of float32; elsewhere, and where the computation is traced, the same integers are multiplied as
floats. Everything between two products is computed in float32, or in float64 for inputs of that type. Rounded products
have no gradient: whatever needs one is refused.
"""

import functools
import weakref
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .linear_elmo import linear, onednn_supports, pad_rows, reordered, round_up_rows

LEVELS = 127  # on each side of 0
ZERO = LEVELS + 1  # the unsigned code of an input of 0: oneDNN multiplies unsigned inputs by signed weights


class Int8Weight(NamedTuple):
    """A quantized weight matrix, in place of a tensor of floats."""

    codes: Tensor  # (N, K), int8
    scales: Tensor  # (N,), the value of code 1 in each output channel
    packed: Tensor | None = None  # the codes in oneDNN's layout; without, they are multiplied as floats

    @property
    def shape(self) -> torch.Size:
        return self.codes.shape


def quantize_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the codes `(N, K)` and scales `(N,)` of a matrix `(N, K)`."""
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    largest = weight.abs().amax(dim=1)
    scales = torch.where(largest > 0, largest / LEVELS, 1)
    return (weight / scales[:, None]).round().to(torch.int8), scales


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the unsigned codes of rows `(..., K)`, `ZERO` for 0, and the largest absolute value of each `(..., 1)`."""
    largest = x.abs().amax(dim=-1, keepdim=True).clamp_(min=torch.finfo(x.dtype).tiny)
    codes = torch.addcdiv(x.new_full((), ZERO + 0.5), x, largest, value=LEVELS)
    return codes.to(torch.uint8), largest  # the conversion rounds down


def int8_product(weight: Int8Weight, dtype: torch.dtype, many_calls: bool = False) -> Callable[[Tensor], Tensor]:
    """Return the function from codes `(n, K)` to products `(n, N)` that remain to be multiplied by each row's largest
    value; with `many_calls`, floats are brought into the layout of fast products first."""
    scales = weight.scales.to(dtype) / LEVELS
    if weight.packed is None or dtype != torch.float32:  # the kernel has float32 results
        values = weight.codes.to(dtype)
        if many_calls and onednn_supports(values):
            values = reordered(values, repays=True, may_be_prepared=False)
        multiply = linear if values.is_mkldnn else F.linear

        def product(codes: Tensor) -> Tensor:
            with torch.autocast(codes.device.type, enabled=False):  # 16 bits would hold the codes, but not their sums
                return multiply(codes.to(dtype) - ZERO, values).mul_(scales)

    else:
        zeros = torch.zeros(len(scales), dtype=torch.int32, device="cpu")

        def product(codes: Tensor) -> Tensor:
            rows, codes = len(codes), pad_rows(codes, round_up_rows(len(codes)))
            return torch.ops.onednn.qlinear_pointwise.default(
                codes, 1.0, ZERO, weight.packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
            )[:rows]

    return product


def int8_layer(weight: Int8Weight, dtype: torch.dtype, bias: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """Return the linear layer of `weight` and `bias`, a function from `(..., K)` to `(..., N)`, both of type `dtype`.

    Calling it raises a `ValueError` if a gradient would have to pass.
    """
    inner = torch.promote_types(dtype, torch.float32)
    product = int8_product(weight, inner)

    def layer(x: Tensor) -> Tensor:
        refuse_gradients(x, bias)
        codes, largest = quantize_rows(x.to(inner))
        y = product(codes.flatten(0, -2)).unflatten(0, codes.shape[:-1]) * largest
        return (y if bias is None else y + bias).to(dtype)

    return layer


def refuse_gradients(*tensors: Tensor | None) -> None:
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
        raise ValueError(
            "int8 layers have no gradients, not even for their inputs and biases: train what is above a frozen encoder "
            "(`freeze_encoder()`), or load its weights in float32"
        )


def pack_for_kernel(codes: Tensor) -> Tensor | None:
    """Return codes `(N, K)` in the layout of oneDNN's kernel, or None where the kernel cannot run."""
    if codes.device.type != "cpu" or processor_reason():
        return None
    return torch.ops.onednn.qlinear_prepack(codes, None)


def kernel_reason(x: Tensor, weight: Int8Weight) -> str | None:
    """Return why oneDNN's integer product cannot run on rows like `x`, or None."""
    if x.device.type != "cpu":
        return f"it runs on CPUs, not on {x.device.type}"
    if x.dtype == torch.float64:
        return "its results are float32, not float64"
    return processor_reason() or ("they are not packed" if weight.packed is None else None)


@functools.lru_cache
def processor_reason() -> str | None:
    """Return why this machine's processor cannot run the kernel, or None."""
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
    actual, expected = (int8_product(weight, torch.float32)(x) for weight in (packed, plain))
    return None if torch.equal(actual, expected) else "it is inexact on this processor"


class Int8Linear(nn.Module):
    """A linear layer with weights of 8 bits, which quantizes its input row by row.

    Its state is `weight` `(N, K)` int8, `weight_scale` `(N,)`, the value of code 1 in each output channel, and `bias`
    `(N,)`.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.zeros(out_features, in_features, dtype=torch.int8), requires_grad=False)
        self.register_buffer("weight_scale", torch.ones(out_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.packing: tuple | None = None

    def forward(self, x: Tensor) -> Tensor:
        """From `(..., K)` to `(..., N)`; `ValueError` if a gradient would have to pass."""
        return int8_layer(self.int8_weight(), x.dtype, self.bias)(x)

    def int8_weight(self) -> Int8Weight:
        """Return the weight for products."""
        return Int8Weight(self.weight, self.weight_scale, self.packed())

    def packed(self) -> Tensor | None:
        """Return the weight in oneDNN's layout, kept until the weight changes; None where oneDNN cannot run."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active():
            return None
        weight = self.weight
        version = weight.data_ptr(), None if weight.is_inference() else weight._version
        if self.packing is None or self.packing[0]() is not weight or self.packing[1] != version:
            self.packing = weakref.ref(weight), version, pack_for_kernel(weight.detach())
        return self.packing[2]

    def __getstate__(self) -> dict:
        """Return what a copy or a pickle of the layer holds: not what can be packed again."""
        return {**self.__dict__, "packing": None}

    def dequantized(self) -> nn.Linear:
        """Return the layer as floats: the same function, but for the rounding of its input."""
        linear = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        linear.weight = nn.Parameter(self.weight * self.weight_scale[:, None])
        linear.bias = self.bias
        return linear

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
