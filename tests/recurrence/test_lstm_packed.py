"""The packed backend against the reference: results, all gradients, and what the backward keeps."""

import os
import subprocess
import sys
from functools import partial

import pytest
import torch
from lanes import first_fast
from lstm_cases import (
    SHAPE_ID,
    SHAPES,
    TOLERANCE,
    WEIGHTS,
    assert_equal,
    flat,
    make_case,
    packed,
    reference,
    run,
)
from lstm_cases import wide_case as make_wide_case
from torch import nn

from hf_elmo.model.linear_elmo import onednn_is_faster
from hf_elmo.model.lstm_elmo import lstm
from hf_elmo.model.lstm_packed_elmo import Direction


@pytest.fixture(scope="module")
def wide_case():
    return make_wide_case()


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("mask", ["none", "right padding", "left padding", "holes"])
@pytest.mark.parametrize("projection", [True, False], ids=["projected", "unprojected"])
@pytest.mark.parametrize("clip", [None, 0.2], ids=["free", "binding"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=SHAPE_ID)
def test_packed_is_the_reference(shape, dtype, clip, projection, mask, reverse):
    tensors, mask, cotangents = make_case(shape, dtype, projection, mask)
    options = {"reverse": reverse, "cell_clip": clip, "projection_clip": clip}
    expected = run(reference, tensors, mask, cotangents, **options)
    if clip is not None and mask is None:
        bound = torch.tensor(clip, dtype=dtype)
        assert (expected["c"].abs() == bound).any(), "the case does not exercise the cell clip"
        assert (expected["c"].abs() < bound).any()
        assert expected["c"].abs().max() == bound
        if projection:
            assert (expected["outputs"].abs() == bound).any(), "the case does not exercise the projection clip"
            assert (expected["outputs"].abs() < bound).any()
            assert expected["outputs"].abs().max() == bound
        else:  # only the projected h is clipped
            assert 0 < expected["outputs"].abs().max() < bound
            options["projection_clip"] = 0.01
            assert_equal(run(reference, tensors, mask, cotangents, **options), expected, 0)
    assert_equal(run(packed, tensors, mask, cotangents, **options), expected, TOLERANCE[dtype])


@pytest.mark.parametrize("projection", [True, False], ids=["projected", "unprojected"])
@pytest.mark.parametrize("shape", SHAPES, ids=SHAPE_ID)
def test_recomputed_gates_give_the_same_gradients(shape, projection):
    options = {"reverse": True, "cell_clip": 0.2, "projection_clip": 0.2}
    case = make_case(shape, torch.float64, projection, "holes")
    expected = run(reference, *case, **options)
    assert_equal(run(partial(packed, recompute=True), *case, **options), expected, TOLERANCE[torch.float64])


def numbers_kept(function):
    """Return how many numbers a call keeps for its backward, its own arguments not counted, and its results."""
    kept = {}

    def pack(tensor):
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    tensors, _, _ = make_case((16, 24, 4, 9, 5), torch.float32)
    leaves = [t.requires_grad_() for t in tensors.values()]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        results = function(*leaves[:5], tuple(leaves[5:]))
    return sum(kept.values()) - sum(leaf.numel() for leaf in leaves), results


def test_the_numbers_kept_for_the_backward():
    """24 steps of 16 rows: 5 numbers a token for h, 5 * 9 for gates and c; or, for two blocks, c before each."""
    assert numbers_kept(packed)[0] == 24 * 16 * (5 + 5 * 9)
    assert numbers_kept(partial(packed, recompute=True))[0] == 24 * 16 * 5 + 2 * 16 * 9


@pytest.mark.slow
def test_packed_is_the_reference_at_widths_with_other_products(wide_case):
    tensors, mask, _ = wide_case
    if torch.backends.mkldnn.is_available():
        assert onednn_is_faster(2, tensors["weight_hh"])
    options = {"cell_clip": 0.5, "projection_clip": 0.3}
    expected = run(reference, *wide_case, **options)
    assert (expected["c"].abs() == 0.5).any()
    assert (expected["outputs"].abs() == torch.tensor(0.3)).any()
    actual = run(packed, *wide_case, **options)
    # A token on the other side of a bound has another gradient; float64 shows which of the two is right.
    assert_equal(actual, expected, 1e-5)
    again = run(partial(packed, recompute=True), *wide_case, **options)
    assert_equal(again, expected, 1e-5)
    x, *weights, h, c = (tensors[name].double() for name in ("x", *WEIGHTS, "h", "c"))
    exact, state = reference(x, *weights, (h, c), mask, **options)
    for name, wanted in zip(("outputs", "h", "c"), (exact, *state)):
        assert (actual[name] - wanted).abs().max() < 2e-6


@pytest.mark.parametrize("shape", first_fast([(3, 7, 4, 9, 5), "wide"]), ids=["small", "wide"])
def test_both_directions_at_once_are_each_alone(shape, request):
    """The directions share some tensors, as x in the first layer, whose gradients add up."""
    tensors, mask, cotangents = (
        request.getfixturevalue("wide_case") if shape == "wide" else make_case(shape, torch.float32, mask="holes")
    )
    options = {"cell_clip": 0.3, "projection_clip": 0.2}
    threads = torch.get_num_threads()

    def both(x, weight_ih, bias, weight_hh, weight_hr, state, mask, **options):
        directions = [
            Direction(x, weight_ih, bias, weight_hh, weight_hr, state),
            Direction(x, weight_ih, bias, weight_hh * 0.5, weight_hr, reverse=True),
        ]
        if together:
            first, second = lstm(directions, mask, **options)
        else:
            first, second = (lstm([direction], mask, **options)[0] for direction in directions)
        return (first[0] + second[0], tuple(a + b for a, b in zip(first[1], second[1])))

    together = False
    expected = run(both, tensors, mask, cotangents, **options)
    together = True
    assert_equal(run(both, tensors, mask, cotangents, **options), expected, 1e-5)
    assert torch.get_num_threads() == threads


def test_a_frozen_direction_beside_a_learning_one():
    tensors, mask, _ = make_case((3, 7, 4, 9, 5), torch.float64, mask="holes")
    x, *weights = (tensors[name] for name in ("x", *WEIGHTS))
    learning = [w.clone().requires_grad_() for w in weights]
    (frozen_outputs, _), (outputs, _) = lstm([Direction(x, *weights), Direction(x, *learning, reverse=True)], mask)
    (frozen_outputs.sum() + outputs.sum()).backward()
    expected = [w.clone().requires_grad_() for w in weights]
    reference(x, *expected, None, mask, reverse=True)[0].sum().backward()
    for ours, theirs in zip(learning, expected):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-10)
    assert all(w.grad is None for w in weights)


@pytest.mark.parametrize("wanted", ["x", *WEIGHTS, "h", "c"])
def test_each_gradient_alone(wanted):
    tensors, mask, cotangents = make_case((5, 6, 4, 9, 3), torch.float64, mask="holes")
    options = {"cell_clip": 0.3, "projection_clip": 0.2}
    expected = run(reference, tensors, mask, cotangents, **options)[f"gradient of {wanted}"]
    leaves = {name: t.clone().requires_grad_(name == wanted) for name, t in tensors.items()}
    state = leaves["h"], leaves["c"]
    outputs, (h, c) = packed(leaves["x"], *(leaves[name] for name in WEIGHTS), state, mask, **options)
    torch.autograd.backward((outputs, h, c), cotangents)
    torch.testing.assert_close(leaves[wanted].grad, expected, rtol=0, atol=1e-10)
    assert all(leaf.grad is None for name, leaf in leaves.items() if name != wanted)


def numeric_case(clip):
    """Return a call and its inputs, few enough for a derivative of each in steps."""
    tensors, _, _ = make_case((2, 3, 1, 3, 2), torch.float64)
    mask = torch.tensor([[True, False, True], [False, True, False]])
    call = flat(packed, mask, reverse=True, cell_clip=clip, projection_clip=clip)
    return call, [t.requires_grad_() for t in tensors.values()]


@pytest.mark.slow
def test_each_gradient_alone_on_another_processor():
    """With some instructions the gradients of the gates' weights are one sum, with others two."""
    others = "default" if torch.backends.cpu.get_cpu_capability() == "AVX2" else "avx2"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{__file__}::test_each_gradient_alone"]
    ran = subprocess.run(command, env=os.environ | {"ATEN_CPU_CAPABILITY": others}, capture_output=True, text=True)
    assert "7 passed" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.parametrize("clip", [None, 0.35], ids=["free", "binding"])
def test_gradients_are_numerically_right(clip):
    assert torch.autograd.gradcheck(*numeric_case(clip))


@pytest.mark.slow
@pytest.mark.parametrize("clip", [None, 0.35], ids=["free", "binding"])
def test_gradients_of_gradients_are_numerically_right(clip):
    assert torch.autograd.gradgradcheck(*numeric_case(clip))


def test_second_derivatives_count_each_path_once():
    """The input may depend on a weight: the gradient through the input must not be counted twice."""
    tensors, mask, _ = make_case((3, 4, 5, 5, 5), torch.float64, mask="holes")

    def penalty(function):
        weight_hr = tensors["weight_hr"].clone().requires_grad_()
        outputs, _ = function(
            tensors["x"] @ weight_hr, tensors["weight_ih"], tensors["bias"], tensors["weight_hh"], weight_hr, None, mask
        )
        (gradient,) = torch.autograd.grad(outputs.square().sum(), weight_hr, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), weight_hr)[0]

    torch.testing.assert_close(penalty(packed), penalty(reference), rtol=1e-10, atol=1e-10)


def test_a_graph_can_be_differentiated_twice():
    tensors, mask, cotangents = make_case((3, 7, 4, 9, 5), torch.float64, mask="holes")
    inputs = [t.requires_grad_() for t in tensors.values()]
    results = flat(packed, mask, cell_clip=0.3)(*inputs)
    first = torch.autograd.grad(results, inputs, cotangents, retain_graph=True)
    second = torch.autograd.grad(results, inputs, cotangents)
    assert all(torch.equal(a, b) for a, b in zip(first, second))


def test_fresh_memory_is_written_before_it_is_read():
    tensors, mask, cotangents = make_case((5, 7, 4, 9, 5), torch.float64, mask="holes")
    expected = run(packed, tensors, mask, cotangents)
    torch.use_deterministic_algorithms(True)  # fills fresh memory with NaN
    try:
        assert torch.utils.deterministic.fill_uninitialized_memory
        actual = run(packed, tensors, mask, cotangents)
    finally:
        torch.use_deterministic_algorithms(False)
    assert_equal(actual, expected, 0)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_a_row_is_the_same_alone_and_with_its_tokens_anywhere(reverse):
    tensors, mask, _ = make_case((5, 9, 4, 9, 5), torch.float64, mask="holes")
    weights = [tensors[name] for name in WEIGHTS]
    outputs, (h, c) = packed(tensors["x"], *weights, None, mask, reverse=reverse)
    for row in range(5):
        words = tensors["x"][row, mask[row]][None]
        alone, state = packed(words, *weights, reverse=reverse)
        torch.testing.assert_close(outputs[row, mask[row]][None], alone, rtol=0, atol=1e-12)
        torch.testing.assert_close((h[row : row + 1], c[row : row + 1]), state, rtol=0, atol=1e-12)


def test_gates_and_cells_are_saved_for_the_backward():
    B, T, D, C, P = 6, 11, 3, 40, 7
    tensors, _, _ = make_case((B, T, D, C, P), torch.float32)
    mask = torch.arange(T) < torch.arange(1, 2 * B, 2)[:, None]
    words = int(mask.sum())
    weights = [nn.Parameter(tensors[name]) for name in WEIGHTS]
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        packed(tensors["x"], *weights, None, mask)
    given = sum(t.numel() for t in tensors.values())
    assert sum(saved) == words * (4 * C + C + P) + given

    saved.clear()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        with torch.no_grad():
            outputs, _ = packed(tensors["x"], *weights, None, mask)
        packed(tensors["x"], *(w.detach() for w in weights), None, mask)
    assert not saved
    assert not outputs.requires_grad


def test_gradient_checkpointing_and_inference_mode():
    tensors, mask, cotangents = make_case((3, 7, 4, 9, 5), torch.float64, mask="holes")
    inputs = [t.requires_grad_() for t in tensors.values()]
    call = flat(packed, mask, cell_clip=0.3)
    expected = torch.autograd.grad(call(*inputs), inputs, cotangents)
    results = torch.utils.checkpoint.checkpoint(call, *inputs, use_reentrant=False)
    for ours, theirs in zip(torch.autograd.grad(results, inputs, cotangents), expected):
        assert torch.equal(ours, theirs)
    with torch.inference_mode():
        outputs, *_ = call(*inputs)
    assert torch.equal(outputs, results[0])
