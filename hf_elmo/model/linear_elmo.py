# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Products of matrices for inputs whose number of rows varies from one product to the next.

On a CPU, oneDNN multiplies float32 up to four times as fast as torch.mm. It takes some 10 microseconds longer to begin,
and for each shape it compiles a kernel of half a megabyte, and keeps the last thousand of them. So small products are
left to torch.mm, and of the others the numbers of rows are rounded up to few different ones.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

WORTH_ONEDNN = 1 << 20  # multiplications
MOST_FRESH = 1 << 20  # numbers; larger memory comes from the system each time, which costs more than the product


def few(rows: int) -> int:
    """`rows` rounded up, by a sixteenth of it at most."""
    step = max(1, (1 << rows.bit_length()) // 32)
    return -(-rows // step) * step


def padded(x: Tensor, rows: int) -> Tensor:
    """`x` and, below it, rows of zeros."""
    return x if len(x) == rows else F.pad(x, (0, 0, 0, rows - len(x)))


def suits_onednn(rows: int, weight: Tensor) -> bool:
    return weight.is_mkldnn or (rows * weight.numel() >= WORTH_ONEDNN and may_be_onednn(weight))


def may_be_onednn(weight: Tensor) -> bool:
    return weight.dtype == torch.float32 and weight.device.type == "cpu" and torch.backends.mkldnn.is_available()


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias, of this very shape."""
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")


def padded_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias, by oneDNN, with few different numbers of rows."""
    return onednn_linear(padded(x, few(len(x))), weight, bias)[: len(x)]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias, by whatever is fastest."""
    return (padded_linear if suits_onednn(len(x), weight) else F.linear)(x, weight, bias)


def put_linear(out: Tensor, x: Tensor, weight: Tensor):
    """out = x @ weight.T. oneDNN writes to new memory only."""
    if suits_onednn(len(x), weight):
        out.copy_(padded_linear(x, weight))
    else:
        torch.mm(x, weight.T, out=out)


def add_linear_(total: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """total += x @ weight.T."""
    if total.dtype != x.dtype or suits_onednn(len(x), weight):
        return total.add_(linear(x, weight))
    return total.addmm_(x, weight.T)


def add_product_(total: Tensor, left: Tensor, right: Tensor):
    """total += left.T @ right. The sum over blocks is never rounded to half precision."""
    if suits_onednn(len(left), total):
        left, right = (padded(part, few(len(part))) for part in (left, right))
        rows = max(1, MOST_FRESH // total.shape[1])
        for part, left_part in zip(total.split(rows), left.split(rows, dim=1)):
            part += onednn_linear(left_part.T, right.T)
    elif total.dtype == left.dtype:
        total.addmm_(left.T, right)
    else:
        total += left.T @ right
