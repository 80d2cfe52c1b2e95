"""Cases of the recurrence: random tensors, masks of all kinds, and calls that return all that can be compared."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hf_elmo.model.int8_elmo import Int8Weight, pack_for_kernel, quantize_weight
from hf_elmo.model.lstm_elmo import lstm, lstm_path, run_reference
from hf_elmo.model.lstm_packed_elmo import BLOCK_TOKENS, CellOptions, Direction

WEIGHTS = ("weight_ih", "bias", "weight_hh", "weight_hr")
SHAPES = [(1, 1, 3, 5, 2), (3, 7, 4, 9, 5), (5, 2, 7, 33, 8), (19, 17, 2, 4, 3)]  # B, T, I, C, P
assert SHAPES[-1][0] * SHAPES[-1][1] > BLOCK_TOKENS, "the last shape has tokens for more than one block"
SHAPE_ID = "B{0[0]}-T{0[1]}-I{0[2]}-C{0[3]}-P{0[4]}".format
# Largest difference, relative to the largest expected number where that is above 1.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 3e-6}


class Tagged(torch.Tensor):
    """A tensor subclass, as quantizing and sharding libraries put in the place of weights."""


def int8_weight(weight: Tensor) -> Int8Weight:
    """Quantize a matrix of floats, and pack it for oneDNN's kernel where that runs."""
    codes, scales = quantize_weight(weight)
    return Int8Weight(codes, scales, pack_for_kernel(codes))


def make_mask(kind: str, B: int, T: int, generator: torch.Generator) -> Tensor | None:
    """Return `(B, T)` bool: a pattern with, unless every token is present, a row without any token."""
    lengths = torch.randint(0, T + 1, (B, 1), generator=generator)
    lengths[:1] = 0
    if kind == "none":
        return None
    if kind == "right padding":
        return torch.arange(T) < lengths
    if kind == "left padding":
        return torch.arange(T) >= T - lengths
    mask = torch.rand(B, T, generator=generator) < 0.6
    mask[B // 2] = False
    return mask


def make_case(
    shape: tuple[int, ...], dtype: torch.dtype, projection: bool = True, mask: str = "none", gain: float = 0.6
) -> tuple[dict[str, Tensor | None], Tensor | None, tuple[Tensor, Tensor, Tensor]]:
    """Return the tensors of a direction by name, a mask, and cotangents for outputs, h and c."""
    B, T, I, C, P = shape  # noqa: E741
    P = P if projection else C
    generator = torch.Generator().manual_seed(sum(shape))

    def random(*sizes: int) -> Tensor:
        return (torch.randn(*sizes, generator=generator, dtype=torch.float64) * gain).to(dtype)

    tensors = {"x": random(B, T, I), "weight_ih": random(4 * C, I), "bias": random(4 * C)}
    tensors |= {"weight_hh": random(4 * C, P), "weight_hr": random(P, C) if projection else None}
    tensors |= {"h": random(B, P), "c": random(B, C)}
    cotangents = random(B, T, P), random(B, P), random(B, C)
    return tensors, make_mask(mask, B, T, generator), cotangents


def reference(
    x, weight_ih, bias, weight_hh, weight_hr=None, state=None, mask=None, *,
    reverse=False, forget_bias=1.0, cell_clip=None, projection_clip=None,
):  # fmt: skip
    """Run `lstm_reference` on the fields of a `Direction`."""
    direction = Direction(x, weight_ih, bias, weight_hh, weight_hr, state, reverse)
    return run_reference(direction, mask, CellOptions(forget_bias, cell_clip, projection_clip))


def fast(x, weight_ih, bias, weight_hh, weight_hr=None, state=None, mask=None, *, reverse=False, **options):
    """Run `lstm` on the fields of a `Direction`."""
    return lstm([Direction(x, weight_ih, bias, weight_hh, weight_hr, state, reverse)], mask, **options)[0]


def packed(*args, **options):
    with lstm_path("packed"):
        return fast(*args, **options)


def run(
    function: Callable, tensors: dict[str, Tensor | None], mask: Tensor | None, cotangents: tuple, **options: Any
) -> dict[str, Tensor]:
    """Return everything that can be compared: outputs, h, c and the gradient of each tensor."""
    leaves = {name: None if t is None else t.clone().requires_grad_() for name, t in tensors.items()}
    state = leaves["h"], leaves["c"]
    outputs, (h, c) = function(leaves["x"], *(leaves[name] for name in WEIGHTS), state, mask, **options)
    torch.autograd.backward((outputs, h, c), cotangents)
    gradients = {f"gradient of {name}": leaf.grad for name, leaf in leaves.items() if leaf is not None}
    return {"outputs": outputs.detach(), "h": h.detach(), "c": c.detach(), **gradients}


def flat(function: Callable, mask: Tensor | None, **options: Any) -> Callable:
    """Return the LSTM as a function of seven tensors, for torch's own checks of gradients."""

    def call(x, weight_ih, bias, weight_hh, weight_hr, h, c):
        outputs, state = function(x, weight_ih, bias, weight_hh, weight_hr, (h, c), mask, **options)
        return outputs, *state

    return call


def assert_equal(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert actual.keys() == expected.keys()
    for name, wanted in expected.items():
        assert actual[name].dtype == wanted.dtype, name
        assert actual[name].shape == wanted.shape, name
        error = (actual[name] - wanted).abs().max().item()
        assert error <= tolerance * max(1, wanted.abs().max().item()), f"{name} is off by {error}"  # NaN fails too


def wide_case() -> tuple[dict[str, Tensor | None], Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Return a case wide and long enough for oneDNN's products and its layout of the weights, for several blocks, each
    prepared in several groups of steps by the backward, and for two workers."""
    tensors, _, cotangents = make_case((17, 21, 512, 1025, 1024), torch.float32, gain=0.05)
    tensors["x"] *= 20
    return tensors, torch.arange(21) < torch.linspace(3, 21, 17).long()[:, None], cotangents
