"""Products of 8-bit integers against their definition, and the LSTM made of them against its reference.

In float64 no value lies so close to the edge between two codes that two orders of computation round it differently. So
the structure is compared in float64, to 1e-10, and the kernel with the plain product in float32, bit for bit.
"""

import pytest
import torch
from lstm_cases import SHAPE_ID, SHAPES, Tagged, int8_weight, make_case
from lstm_cases import fast as lstm
from lstm_cases import reference as int8_reference

from hf_elmo.model import lstm_elmo
from hf_elmo.model.int8_elmo import (
    Int8Weight,
    int8_layer,
    int8_product,
    processor_reason,
    quantize_rows,
    quantize_weight,
)
from hf_elmo.model.lstm_elmo import Backend, Direction, last_lstm_path, lstm_path
from hf_elmo.model.lstm_packed_elmo import workers

MATRICES = ("weight_ih", "weight_hh", "weight_hr")
ORDER = ("x", "weight_ih", "bias", "weight_hh", "weight_hr")
KERNEL = Backend("int8", "int8 weights, oneDNN's kernel")
needs_kernel = pytest.mark.skipif(processor_reason() is not None, reason=f"oneDNN's kernel: {processor_reason()}")


def int8_case(shape, dtype, **options):
    """`make_case` with quantized matrices: the arguments of `lstm` up to the mask."""
    tensors, mask, _ = make_case(shape, dtype, **options)
    for name in MATRICES:
        tensors[name] = None if tensors[name] is None else int8_weight(tensors[name])
    return [*(tensors[name] for name in ORDER), (tensors["h"], tensors["c"]), mask]


def flat(result):
    outputs, (h, c) = result
    return outputs, h, c


def without_kernel(arguments):
    return [a._replace(packed=None) if isinstance(a, Int8Weight) else a for a in arguments]


# ---- the arithmetic


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_weight_is_rounded_by_half_a_step_at_most(dtype):
    weight = torch.randn(7, 33).to(dtype)
    weight[3] = 0
    weight[4] *= 1e-20
    codes, scales = quantize_weight(weight)
    assert codes.dtype == torch.int8
    assert codes.abs().amax(dim=1).tolist() == [127, 127, 127, 0, 127, 127, 127]
    error = (codes * scales[:, None] - weight).abs()
    assert (error <= scales[:, None] * 0.50001).all()
    assert error[3].max() == 0


def test_codes_of_a_row_are_its_own():
    x = torch.randn(5, 33)
    x[1] = 0
    x[2, 7], x[3, 8] = 1e30, -1e30
    x[4] *= 1e-30
    codes, largest = quantize_rows(x)
    assert codes.dtype == torch.uint8
    assert torch.equal(largest.flatten()[[0, 2, 3, 4]], x.abs().amax(dim=1)[[0, 2, 3, 4]])
    expected = (x / largest * 127).round().long() + 128
    assert (codes.long() - expected).abs().max() <= 1  # halves may go up or down
    assert (codes.long() == expected).float().mean() > 0.99
    assert (codes[1] == 128).all()
    assert (codes[2, 7], codes[3, 8]) == (255, 1)
    for row, alone in zip(codes, x):
        assert torch.equal(quantize_rows(alone[None])[0][0], row)


@needs_kernel
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (3, 7, 33), (2, 64, 512), (19, 512, 1024), (300, 130, 70)])
def test_the_kernel_is_the_exact_product(shape):
    """Bit for bit: a sum of integers, made a float, times a scale."""
    rows, width, channels = shape
    weight = int8_weight(torch.randn(channels, width))
    codes = torch.randint(1, 256, (rows, width), dtype=torch.uint8)
    codes[0] = 255
    weight.codes[0] = 127
    weight = int8_weight(weight.codes.float() * weight.scales[:, None])
    sums = (codes.long() - 128) @ weight.codes.long().T
    if width > 1:
        assert sums.abs().max() > 127 * 127 * width // 2, "the case does not come near the largest sum"
    assert torch.equal(int8_product(weight, torch.float32)(codes), sums.float() * (weight.scales / 127))
    if width <= 1040:  # sums below 2^24, which float32 holds
        plain = int8_product(weight._replace(packed=None), torch.float32)
        assert torch.equal(plain(codes), int8_product(weight, torch.float32)(codes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_layer_is_the_product_of_rounded_factors(dtype):
    x, weight, bias = torch.randn(2, 5, 33).to(dtype), torch.randn(7, 33), torch.randn(7)
    y = int8_layer(int8_weight(weight), dtype, bias)(x)
    assert (y.shape, y.dtype) == ((2, 5, 7), dtype)
    codes, scales = quantize_weight(weight.double())
    step = x.double().abs().amax(-1, keepdim=True) / 127
    rounded = (x.double() / step).round() * step
    expected = rounded @ (codes * scales[:, None]).T + bias
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=0.1 if dtype == torch.bfloat16 else 2e-5)
    assert (expected - (x.double() @ weight.double().T + bias)).abs().max() < 0.3


def test_nan_and_infinity_stay_in_their_row():
    layer = int8_layer(int8_weight(torch.randn(7, 33)), torch.float32)
    x = torch.randn(4, 33)
    clean = layer(x)
    x[1, 5], x[2, 6] = float("nan"), float("inf")
    y = layer(x)
    assert torch.equal(y[[0, 3]], clean[[0, 3]])
    assert not y[1:3].isfinite().any()
    assert layer(x[:0]).shape == (0, 7)


# ---- the recurrence


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("mask", ["none", "right padding", "left padding", "holes"])
@pytest.mark.parametrize("projection", [True, False], ids=["projected", "unprojected"])
@pytest.mark.parametrize("clip", [None, 0.2], ids=["free", "binding"])
@pytest.mark.parametrize("shape", SHAPES, ids=SHAPE_ID)
def test_int8_is_its_reference(shape, clip, projection, mask, reverse):
    arguments = int8_case(shape, torch.float64, projection=projection, mask=mask)
    before = [a.clone() if isinstance(a, torch.Tensor) else a for a in arguments]
    options = {"reverse": reverse, "cell_clip": clip, "projection_clip": clip}
    expected = flat(int8_reference(*arguments, forget_bias=1.0, **options))
    if clip is not None and mask == "none":
        assert (expected[2].abs() == clip).any(), "the case does not exercise the cell clip"
        if projection:
            assert (expected[0].abs() == clip).any(), "the case does not exercise the projection clip"
    actual = flat(lstm(*arguments, **options))
    assert last_lstm_path().name == "int8"
    for ours, theirs in zip(actual, expected):
        assert ours.dtype == torch.float64
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    if arguments[-1] is not None:
        assert (actual[0][~arguments[-1]] == 0).all()
    for a, b in zip(before, arguments):  # nothing that was given is written to
        assert not isinstance(a, torch.Tensor) or torch.equal(a, b)


def test_its_reference_is_near_the_lstm_of_floats():
    tensors, mask, _ = make_case((5, 9, 33, 65, 32), torch.float64, mask="holes", gain=0.2)
    floats = [*(tensors[name] for name in ORDER), (tensors["h"], tensors["c"]), mask]
    integers = int8_case((5, 9, 33, 65, 32), torch.float64, mask="holes", gain=0.2)
    for ours, theirs in zip(flat(lstm(*integers, cell_clip=0.5)), flat(lstm(*floats, cell_clip=0.5))):
        assert 0 < (ours - theirs).norm() < 0.02 * theirs.norm()


@pytest.fixture(scope="module")
def wide_case():
    """Large enough for two workers; sums of products stay below 2^24."""
    arguments = int8_case((128, 5, 512, 1025, 1024), torch.float32, gain=0.05)
    arguments[0] *= 20
    arguments[-1] = torch.arange(5) < torch.linspace(1, 5, 128).long()[:, None]
    return arguments


def both_ways(arguments, **options):
    x, *weights, state, mask = arguments
    directions = [Direction(x, *weights, state), Direction(x, *weights, reverse=True)]
    results = lstm_elmo.lstm(directions, mask, **options)
    return [tensor for result in results for tensor in flat(result)]


@needs_kernel
def test_the_kernel_changes_no_bit(wide_case):
    options = {"cell_clip": 0.5, "projection_clip": 0.3}
    threads = torch.get_num_threads()
    with torch.no_grad():
        actual = both_ways(wide_case, **options)
        assert last_lstm_path() == KERNEL
        expected = both_ways(without_kernel(wide_case), **options)
        assert last_lstm_path() == ("int8", "int8 weights, multiplied as floats: they are not packed")
    assert (expected[2].abs() == 0.5).any()
    assert (expected[0].abs() == torch.tensor(0.3)).any()
    assert all(map(torch.equal, actual, expected))
    assert torch.get_num_threads() == threads
    if threads > 1:
        assert workers.cache_info().currsize, "the case is too small for workers"


def test_a_sentence_has_its_vectors_in_any_batch(wide_case):
    """Bit for bit: each row has scales of its own."""
    x, *weights, (h, c), mask = wide_case
    outputs, last_h, last_c = flat(lstm(x, *weights, (h, c), mask, cell_clip=0.5))
    for row in (0, 7, 127):
        here = slice(row, row + 1)
        length = int(mask[row].sum())
        alone = flat(lstm(x[here, :length], *weights, (h[here], c[here]), None, cell_clip=0.5))
        assert torch.equal(alone[0][0], outputs[row, :length])
        assert torch.equal(alone[1][0], last_h[row])
        assert torch.equal(alone[2][0], last_c[row])


def test_a_text_may_be_cut_and_its_state_passed_on(wide_case):
    x, *weights, (h, c), _ = wide_case
    x, state = x[:16], (h[:16], c[:16])
    outputs, last_h, last_c = flat(lstm(x, *weights, state, cell_clip=0.5))
    first, state = lstm(x[:, :2], *weights, state, cell_clip=0.5)
    second, (h, c) = lstm(x[:, 2:], *weights, state, cell_clip=0.5)
    assert all(map(torch.equal, (torch.cat([first, second], dim=1), h, c), (outputs, last_h, last_c)))


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_values_at_skipped_tokens_reach_nothing(poison):
    x, *rest, mask = int8_case((5, 7, 4, 9, 5), torch.float32, mask="holes")
    clean = flat(lstm(x, *rest, mask))
    x = x.masked_fill(~mask[..., None], poison)
    assert all(map(torch.equal, flat(lstm(x, *rest, mask)), clean))


def test_words_in_half_precision_are_computed_in_float32():
    x, *rest, mask = int8_case((5, 7, 4, 9, 5), torch.float32, mask="holes")
    x = x.bfloat16()
    expected = flat(lstm(x.float(), *rest, mask))
    h, c = rest[-1]
    for ours, theirs in zip(flat(lstm(x, *rest[:-1], (h, c), mask)), expected):
        assert ours.dtype == torch.bfloat16
        assert torch.equal(ours, theirs.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(map(torch.equal, flat(lstm(x.float(), *rest, mask)), expected))
        assert all(map(torch.equal, flat(lstm(x.float(), *without_kernel(rest), mask)), expected))


@pytest.mark.parametrize("wanted", ["x", "bias", "h", "c"])
@pytest.mark.parametrize("backend", ["int8", "reference"])
def test_gradients_are_refused(wanted, backend):
    x, weight_ih, bias, weight_hh, weight_hr, (h, c), mask = int8_case((3, 4, 4, 9, 5), torch.float32)
    leaf = {"x": x, "bias": bias, "h": h, "c": c}[wanted].requires_grad_()
    with lstm_path(backend), pytest.raises(ValueError, match="int8 layers have no gradients"):
        lstm(x, weight_ih, bias, weight_hh, weight_hr, (h, c), mask)
    with lstm_path(backend), torch.no_grad():
        assert not lstm(x, weight_ih, bias, weight_hh, weight_hr, (h, c), mask)[0].requires_grad
    leaf.requires_grad_(False)
    with lstm_path(backend):
        lstm(x, weight_ih, bias, weight_hh, weight_hr, (h, c), mask)


def test_the_backend_says_why():
    arguments = int8_case((3, 4, 4, 9, 5), torch.float32, mask="right padding")
    floats, _, _ = make_case((3, 4, 4, 9, 5), torch.float32)
    floats = [floats[name] for name in ORDER]

    def backend(*arguments):
        lstm(*arguments)
        return last_lstm_path()

    unsupported = processor_reason()
    assert backend(*arguments) == (
        KERNEL if unsupported is None else ("int8", f"int8 weights, multiplied as floats: {unsupported}")
    )
    double = int8_case((3, 4, 4, 9, 5), torch.float64)
    assert "float64" in backend(*double).reason
    assert backend(arguments[0].as_subclass(Tagged), *arguments[1:]) == ("reference", "Tagged is no plain tensor")
    with lstm_path("reference"):
        assert backend(*arguments) == ("reference", "forced by lstm_path")
    with lstm_path("int8"):
        assert backend(*arguments) == ("int8", "forced by lstm_path")
        with pytest.raises(
            ValueError, match="'int8' cannot run here: it needs int8 weights; load with `quantization_c"
        ):
            lstm(*floats)
    for other in ("packed", "triton"):
        with lstm_path(other), pytest.raises(ValueError, match=f"'{other}' cannot run here: it multiplies floats"):
            lstm(*arguments)
