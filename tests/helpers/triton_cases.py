"""The Triton kernels against the reference. `test_lstm_triton.py` runs this file, in a process of its own: on a GPU, or
on the CPU by Triton's interpreter, which has to be switched on before triton is imported."""

import os
from itertools import product

import pytest
import torch
from lstm_cases import WEIGHTS, assert_equal, fast, make_case, reference, run

from hf_elmo.model.lstm_elmo import last_lstm_path, lstm, lstm_path, run_packed
from hf_elmo.model.lstm_packed_elmo import CellOptions, Direction

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
SHAPES = {"one word": (1, 1, 3, 5, 2), "small": (3, 4, 4, 9, 5), "many programs": (70, 2, 7, 40, 18)}  # B, T, I, C, P


@pytest.fixture(autouse=True)
def few_parts(request, monkeypatch):
    """Leave the many parts of a sum to the largest shape: most are empty at the others, where the interpreter takes as
    long for each."""
    if DEVICE == "cpu" and "many programs" not in request.node.name:
        monkeypatch.setattr("hf_elmo.model.lstm_elmo_triton.SPLITS", 2)


def triton(*args, **kwargs):
    with lstm_path("triton"):
        return fast(*args, **kwargs)


def moved(values, dtype=None):
    return [None if value is None else value.to(DEVICE, dtype) for value in values]


def check(function, tensors, mask, cotangents, tolerance, dtype=torch.float32, **options):
    """Every result and gradient, against the reference in float64 on the same (rounded) numbers."""
    there = dict(zip(tensors, moved(tensors.values(), dtype)))
    actual = run(function, there, None if mask is None else mask.to(DEVICE), moved(cotangents, dtype), **options)
    exact = {name: None if t is None else t.to(dtype).double() for name, t in tensors.items()}
    expected = run(reference, exact, mask, [c.to(dtype).double() for c in cotangents], **options)
    assert all(result.dtype == dtype for result in actual.values())
    assert_equal({name: t.cpu().double() for name, t in actual.items()}, expected, tolerance)
    return expected


# Every kind of direction at one size, and each kernel at the others: the interpreter is slow
OPTIONS = [*product(["small"], [True, False], [None, 0.2], [False, True])]
OPTIONS += [
    (shape, projection, 0.2, projection) for shape in SHAPES if shape != "small" for projection in (True, False)
]


@pytest.mark.parametrize(("shape", "projection", "clip", "reverse"), OPTIONS)
def test_outputs_states_and_all_gradients(shape, projection, clip, reverse):
    case = make_case(SHAPES[shape], torch.float32, projection, "none" if shape == "one word" else "holes")
    options = {"reverse": reverse, "cell_clip": clip, "projection_clip": clip}
    expected = check(triton, *case, 2e-5, **options)
    assert last_lstm_path() == ("triton", "forced by lstm_path")
    if clip is not None:
        assert (expected["c"].abs() == clip).any(), "the case does not exercise the cell clip"
        assert (expected["outputs"].abs() == clip).any() or not projection


@pytest.mark.parametrize(("mask", "recompute"), [("none", False), ("right padding", True), ("left padding", False)])
def test_any_mask_and_several_blocks(mask, recompute):
    def in_blocks_of_8(*fields, cell_clip, projection_clip):
        from hf_elmo.model.lstm_elmo_triton import TRITON

        *tensors, state, mask = fields
        options = CellOptions(1.0, cell_clip, projection_clip)
        return run_packed(TRITON._replace(block_tokens=8), [Direction(*tensors, state)], mask, options, recompute)[0]

    case = make_case((5, 4, 4, 9, 3), torch.float32, mask=mask)
    check(in_blocks_of_8, *case, 2e-5, cell_clip=0.3, projection_clip=0.2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(dtype):
    """Only what is stored is rounded: sums, gates and cells are float32."""
    case = make_case((5, 4, 4, 9, 5), torch.float32, mask="holes", gain=0.3)
    check(triton, *case, 4 * torch.finfo(dtype).eps, dtype, cell_clip=0.3, projection_clip=0.2)


def test_both_directions_at_once():
    tensors, mask, cotangents = make_case((3, 4, 4, 9, 5), torch.float32, mask="holes")

    def both(x, weight_ih, bias, weight_hh, weight_hr, state, mask, backend="triton", **options):
        directions = [
            Direction(x, weight_ih, bias, weight_hh, weight_hr, state),
            Direction(x, weight_ih, bias, weight_hh * 0.5, weight_hr, reverse=True),
        ]
        with lstm_path(backend):
            first, second = lstm(directions, mask, **options)
        return first[0] + second[0], tuple(a + b for a, b in zip(first[1], second[1]))

    options = {"cell_clip": 0.3, "projection_clip": 0.2}
    expected = run(
        lambda *args, **kwargs: both(*args, backend="packed", **kwargs), tensors, mask, cotangents, **options
    )
    there = dict(zip(tensors, moved(tensors.values())))
    actual = run(both, there, mask.to(DEVICE), moved(cotangents), **options)
    assert_equal({name: t.cpu() for name, t in actual.items()}, expected, 2e-5)


def test_a_frozen_direction_beside_a_learning_one():
    tensors, mask, _ = make_case((3, 4, 4, 9, 5), torch.float32, mask="holes")
    x, *weights = moved(tensors[name] for name in ("x", *WEIGHTS))
    learning = [w.clone().requires_grad_() for w in weights]
    with lstm_path("triton"):
        directions = Direction(x, *weights), Direction(x, *learning, reverse=True)
        (frozen_outputs, _), (outputs, _) = lstm(directions, mask.to(DEVICE))
    (frozen_outputs.sum() + outputs.sum()).backward()
    expected = [w.double().requires_grad_() for w in weights]
    reference(x.double(), *expected, None, mask.to(DEVICE), reverse=True)[0].sum().backward()
    for ours, theirs in zip(learning, expected):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=2e-5, atol=2e-5)


def test_repeated_steps_of_one_shape_read_their_own_tokens():
    """From the second run on, a GPU replays a graph of the steps."""
    for seed, length in enumerate((3, 3, 5, 1)):
        tensors, _, _ = make_case((3, length, 4, 9, 5), torch.float32, gain=0.5 + 0.1 * seed)
        x, *weights = (tensors[name] for name in ("x", *WEIGHTS))
        outputs, (h, c) = triton(*moved([x, *weights]))
        expected, state = reference(x, *weights)
        torch.testing.assert_close((outputs.cpu(), h.cpu(), c.cpu()), (expected, *state), rtol=0, atol=2e-5)


def test_training_after_inference_mode():
    """The memory of a step outlives the call that made it."""
    case = make_case((2, 3, 3, 11, 6), torch.float32)  # a shape of its own, whose first call is in inference mode
    x, *weights = moved(case[0][name] for name in ("x", *WEIGHTS))
    with torch.inference_mode():
        triton(x, *weights)
    with torch.no_grad():
        triton(x, *weights)
    check(triton, *case, 2e-5)


def test_no_tokens():
    tensors, _, cotangents = make_case((3, 4, 4, 9, 5), torch.float32)
    check(triton, tensors, torch.zeros(3, 4, dtype=torch.bool), cotangents, 0)


def test_unsupported_types_are_refused_in_a_line():
    tensors, _, _ = make_case((3, 4, 4, 9, 5), torch.float64)
    x, *weights = moved(tensors[name] for name in ("x", *WEIGHTS))
    with pytest.raises(ValueError, match=r"'triton' cannot run here: it computes in float32, .* not in float64"):
        triton(x, *weights)


@pytest.mark.skipif(DEVICE == "cpu", reason="the interpreter is never selected")
def test_on_a_gpu_the_kernels_are_chosen():
    tensors, _, _ = make_case((3, 4, 4, 9, 5), torch.float32)
    fast(*moved(tensors[name] for name in ("x", *WEIGHTS)))
    assert last_lstm_path() == ("triton", "plain tensors on a GPU")
