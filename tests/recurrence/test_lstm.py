"""The recurrence: the packed path against the reference, and the reference against witnesses of its own."""

import contextvars
import itertools
import multiprocessing
import subprocess
import sys
import threading
from functools import partial

import pytest
import torch
from torch import nn

from hf_elmo.model.linear_elmo import suits_onednn
from hf_elmo.model.lstm_elmo import Direction, bilstm, last_lstm_path, lstm, lstm_path, lstm_reference, lstm_steps
from hf_elmo.model.lstm_packed_elmo import BLOCK, workers

WEIGHTS = ("w_ih", "bias", "w_hh", "w_proj")
SHAPES = [(1, 1, 3, 5, 2), (3, 7, 4, 9, 5), (5, 2, 7, 33, 8), (19, 17, 2, 4, 3)]  # B, T, D (input), C, P
assert SHAPES[-1][0] * SHAPES[-1][1] > BLOCK, "the last shape has words for more than one block"
# Largest difference, relative to the largest expected number where that is above 1.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 3e-6}


def make_mask(kind, B, T, generator):
    """`(B, T)` bool: a pattern with, where it is no full one, a row without any word."""
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


def make_case(shape, dtype, projection=True, mask="none", gain=0.6):
    """Tensors for `lstm_reference` that all want gradients, a mask, and cotangents for outputs, h and c."""
    B, T, D, C, P = shape
    P = P if projection else C
    generator = torch.Generator().manual_seed(sum(shape))

    def random(*sizes):
        return (torch.randn(*sizes, generator=generator, dtype=torch.float64) * gain).to(dtype)

    tensors = {"x": random(B, T, D), "w_ih": random(4 * C, D), "bias": random(4 * C), "w_hh": random(4 * C, P)}
    tensors["w_proj"] = random(P, C) if projection else None
    tensors |= {"h": random(B, P), "c": random(B, C)}
    cotangents = random(B, T, P), random(B, P), random(B, C)
    return tensors, make_mask(mask, B, T, generator), cotangents


def run(function, tensors, mask, cotangents, **options):
    """Everything that can be compared: outputs, h, c and the gradient of each tensor."""
    leaves = {name: None if t is None else t.clone().requires_grad_() for name, t in tensors.items()}
    state = leaves["h"], leaves["c"]
    outputs, (h, c) = function(leaves["x"], *(leaves[name] for name in WEIGHTS), state, mask, **options)
    torch.autograd.backward((outputs, h, c), cotangents)
    gradients = {f"gradient of {name}": leaf.grad for name, leaf in leaves.items() if leaf is not None}
    return {"outputs": outputs.detach(), "h": h.detach(), "c": c.detach(), **gradients}


def packed(*args, **kwargs):
    with lstm_path("packed"):
        return lstm(*args, **kwargs)


def assert_equal(actual, expected, tolerance):
    assert actual.keys() == expected.keys()
    for name, wanted in expected.items():
        assert actual[name].dtype == wanted.dtype, name
        assert actual[name].shape == wanted.shape, name
        error = (actual[name] - wanted).abs().max().item()
        assert error <= tolerance * max(1, wanted.abs().max().item()), f"{name} is off by {error}"  # NaN fails too


@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "behind"])
@pytest.mark.parametrize("mask", ["none", "right padding", "left padding", "holes"])
@pytest.mark.parametrize("projection", [True, False], ids=["projected", "unprojected"])
@pytest.mark.parametrize("clip", [None, 0.2], ids=["free", "binding"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids="B{0[0]}-T{0[1]}-D{0[2]}-C{0[3]}-P{0[4]}".format)
def test_packed_is_the_reference(shape, dtype, clip, projection, mask, reverse):
    tensors, mask, cotangents = make_case(shape, dtype, projection, mask)
    options = {"reverse": reverse, "cell_clip": clip, "projection_clip": clip}
    expected = run(lstm_reference, tensors, mask, cotangents, **options)
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
            assert_equal(run(lstm_reference, tensors, mask, cotangents, **options), expected, 0)
    assert_equal(run(packed, tensors, mask, cotangents, **options), expected, TOLERANCE[dtype])


@pytest.mark.parametrize("projection", [True, False], ids=["projected", "unprojected"])
@pytest.mark.parametrize("shape", SHAPES, ids="B{0[0]}-T{0[1]}-D{0[2]}-C{0[3]}-P{0[4]}".format)
def test_gates_that_are_computed_again_give_the_same_gradients(shape, projection):
    options = {"reverse": True, "cell_clip": 0.2, "projection_clip": 0.2}
    case = make_case(shape, torch.float64, projection, "holes")
    expected = run(lstm_reference, *case, **options)
    assert_equal(run(partial(packed, recompute=True), *case, **options), expected, TOLERANCE[torch.float64])


def numbers_kept(function):
    """How many numbers the graph of a call keeps for its backward, its own arguments not counted."""
    kept = {}

    def pack(tensor):
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    tensors, _, _ = make_case((16, 24, 4, 9, 5), torch.float32)
    leaves = [t.requires_grad_() for t in tensors.values()]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        results = function(*leaves[:5], tuple(leaves[5:]))
    return sum(kept.values()) - sum(leaf.numel() for leaf in leaves), results


def test_what_is_kept_for_the_backward():
    """24 steps of 16 rows: 5 numbers a word for h, 5 * 9 for gates and c; or, for two blocks, c at their beginnings."""
    assert numbers_kept(packed)[0] == 24 * 16 * (5 + 5 * 9)
    assert numbers_kept(partial(packed, recompute=True))[0] == 24 * 16 * 5 + 2 * 16 * 9


@pytest.fixture(autouse=True)
def workers_for_little_work(monkeypatch):
    monkeypatch.setattr("hf_elmo.model.lstm_packed_elmo.WORTH_A_WORKER", 1 << 20)


@pytest.fixture(scope="module")
def wide_case():
    """Wide and long enough for oneDNN's products, its layout of the weights, several blocks and two workers."""
    tensors, _, cotangents = make_case((17, 21, 512, 513, 512), torch.float32, gain=0.05)
    mask = torch.arange(21) < torch.linspace(3, 21, 17).long()[:, None]
    tensors["x"] *= 20
    return tensors, mask, cotangents


def test_packed_is_the_reference_at_widths_with_other_products(wide_case):
    tensors, mask, cotangents = wide_case
    if torch.backends.mkldnn.is_available():
        assert suits_onednn(1, tensors["w_hh"])
    options = {"cell_clip": 0.5, "projection_clip": 0.3}
    expected = run(lstm_reference, *wide_case, **options)
    assert (expected["c"].abs() == 0.5).any()
    assert (expected["outputs"].abs() == torch.tensor(0.3)).any()
    actual = run(packed, *wide_case, **options)
    # One word on the other side of a bound has another gradient: float64 tells which of the two is right.
    assert_equal(actual, expected, 1e-5)
    exact = run(
        lstm_reference, {k: t.double() for k, t in tensors.items()}, mask, [c.double() for c in cotangents], **options
    )
    for name in ("outputs", "h", "c"):
        assert (actual[name] - exact[name]).abs().max() < 2e-6


@pytest.mark.parametrize("shape", [(3, 7, 4, 9, 5), "wide"], ids=["small", "wide"])
def test_both_directions_at_once_are_each_alone(shape, request):
    """Some tensors are shared by the directions, as x in the first layer: their gradients add up."""
    tensors, mask, cotangents = (
        request.getfixturevalue("wide_case") if shape == "wide" else make_case(shape, torch.float32, mask="holes")
    )
    options = {"cell_clip": 0.3, "projection_clip": 0.2}
    threads = torch.get_num_threads()

    def both(x, w_ih, bias, w_hh, w_proj, state, mask, **options):
        ahead = Direction(x, w_ih, bias, w_hh, w_proj, state)
        behind = Direction(x, w_ih, bias, w_hh * 0.5, w_proj, reverse=True)
        if together:
            first, second = bilstm(ahead, behind, mask, **options)
        else:
            first = lstm(*ahead[:6], mask, **options)
            second = lstm(*behind[:6], mask, reverse=True, **options)
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
    (ahead, _), (behind, _) = bilstm(Direction(x, *weights), Direction(x, *learning, reverse=True), mask)
    (ahead.sum() + behind.sum()).backward()
    expected = [w.clone().requires_grad_() for w in weights]
    lstm_reference(x, *expected, None, mask, reverse=True)[0].sum().backward()
    for ours, theirs in zip(learning, expected):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-10)
    assert all(w.grad is None for w in weights)


@pytest.mark.parametrize("function", [lstm_reference, packed], ids=["reference", "packed"])
def test_the_gradient_of_a_clip_passes_at_its_bounds_and_not_beyond(function):
    """With gates that are exactly 0 or 1 (i, f, o = 0, 1, 1), c stays as it was and h is its hyperbolic tangent."""
    x, w_ih, w_hh = torch.zeros(5, 1, 1), torch.zeros(4, 1), torch.zeros(4, 1)
    bias, w_proj = torch.tensor([-1000.0, 1000.0, 0.0, 1000.0]), torch.ones(1, 1)
    c = torch.tensor([[0.5], [-0.5], [0.25], [0.5 + 2**-20], [-2.0]], requires_grad=True)
    state = torch.zeros(5, 1), c
    _, (_, last) = function(x, w_ih, bias, w_hh, w_proj, state, cell_clip=0.5)
    assert torch.equal(torch.autograd.grad(last.sum(), c)[0].flatten(), torch.tensor([1.0, 1, 1, 0, 0]))

    bound = function(x, w_ih, bias, w_hh, w_proj, state)[0][0].item()
    assert bound == pytest.approx(c[0].tanh().item(), abs=2e-7)
    outputs, _ = function(x, w_ih, bias, w_hh, w_proj, state, projection_clip=bound)
    passed = torch.autograd.grad(outputs.sum(), c)[0].flatten() != 0
    assert passed.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("wanted", ["x", *WEIGHTS, "h", "c"])
def test_each_gradient_alone(wanted):
    tensors, mask, cotangents = make_case((5, 6, 4, 9, 3), torch.float64, mask="holes")
    options = {"cell_clip": 0.3, "projection_clip": 0.2}
    expected = run(lstm_reference, tensors, mask, cotangents, **options)[f"gradient of {wanted}"]
    leaves = {name: t.clone().requires_grad_(name == wanted) for name, t in tensors.items()}
    state = leaves["h"], leaves["c"]
    outputs, (h, c) = packed(leaves["x"], *(leaves[name] for name in WEIGHTS), state, mask, **options)
    torch.autograd.backward((outputs, h, c), cotangents)
    torch.testing.assert_close(leaves[wanted].grad, expected, rtol=0, atol=1e-10)
    assert all(leaf.grad is None for name, leaf in leaves.items() if name != wanted)


def flat(function, mask, **options):
    """The LSTM as a function of seven tensors, for torch's own checks of gradients."""

    def call(x, w_ih, bias, w_hh, w_proj, h, c):
        outputs, state = function(x, w_ih, bias, w_hh, w_proj, (h, c), mask, **options)
        return outputs, *state

    return call


@pytest.mark.parametrize("clip", [None, 0.35], ids=["free", "binding"])
def test_gradients_and_their_gradients_are_numerically_right(clip):
    tensors, _, _ = make_case((2, 3, 2, 3, 2), torch.float64)
    mask = torch.tensor([[True, False, True], [False, True, False]])
    call = flat(packed, mask, reverse=True, cell_clip=clip, projection_clip=clip)
    inputs = [t.requires_grad_() for t in tensors.values()]
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


def test_second_derivatives_count_each_path_once():
    """A weight that also makes the input: its gradient through the input must not be counted twice."""
    tensors, mask, _ = make_case((3, 4, 5, 5, 5), torch.float64, mask="holes")

    def penalty(function):
        w_proj = tensors["w_proj"].clone().requires_grad_()
        outputs, _ = function(
            tensors["x"] @ w_proj, tensors["w_ih"], tensors["bias"], tensors["w_hh"], w_proj, None, mask
        )
        (gradient,) = torch.autograd.grad(outputs.square().sum(), w_proj, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), w_proj)[0]

    torch.testing.assert_close(penalty(packed), penalty(lstm_reference), rtol=1e-10, atol=1e-10)


def test_a_graph_can_be_walked_twice():
    tensors, mask, cotangents = make_case((3, 7, 4, 9, 5), torch.float64, mask="holes")
    inputs = [t.requires_grad_() for t in tensors.values()]
    results = flat(packed, mask, cell_clip=0.3)(*inputs)
    first = torch.autograd.grad(results, inputs, cotangents, retain_graph=True)
    second = torch.autograd.grad(results, inputs, cotangents)
    assert all(torch.equal(a, b) for a, b in zip(first, second))


@pytest.mark.parametrize("function", [lstm_reference, packed], ids=["reference", "packed"])
@pytest.mark.parametrize("direction", ["ahead", "behind"])
def test_without_clips_and_forget_bias_it_is_torchs_lstm(function, direction):
    """A second witness, which knows nothing of this repository."""
    B, T, D, C, P = 5, 9, 4, 7, 3
    torch.manual_seed(0)
    witness = nn.LSTM(D, C, proj_size=P, batch_first=True, bidirectional=True, dtype=torch.float64)
    suffix = "_reverse" if direction == "behind" else ""
    parameters = {
        n: getattr(witness, f"{n}_l0{suffix}") for n in ("weight_ih", "bias_ih", "bias_hh", "weight_hh", "weight_hr")
    }
    lengths = torch.tensor([9, 1, 4, 6, 3])
    x = torch.randn(B, T, D, dtype=torch.float64, requires_grad=True)
    state = torch.randn(2, B, P, dtype=torch.float64), torch.randn(2, B, C, dtype=torch.float64)
    which = int(direction == "behind")

    sequence = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    sequence, (h, c) = witness(sequence, state)
    outputs = nn.utils.rnn.pad_packed_sequence(sequence, batch_first=True)[0].chunk(2, dim=-1)[which]
    expected = outputs, h[which], c[which]
    wanted = [x, *parameters.values()]
    cotangents = [torch.randn_like(t) for t in expected]
    gradients = dict(zip(["x", *parameters], torch.autograd.grad(expected, wanted, cotangents)))

    bias = (parameters["bias_ih"] + parameters["bias_hh"]).detach().requires_grad_()
    weights = [parameters["weight_ih"], bias, parameters["weight_hh"], parameters["weight_hr"]]
    mask = torch.arange(T) < lengths[:, None]
    outputs, ours = function(
        x, *weights, (state[0][which], state[1][which]), mask, reverse=bool(which), forget_bias=0.0
    )
    actual = outputs, *ours
    for ours, theirs in zip(actual, expected):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    names = ["x", "weight_ih", "bias_ih", "weight_hh", "weight_hr"]
    for name, gradient in zip(names, torch.autograd.grad(actual, [x, *weights], cotangents)):
        torch.testing.assert_close(gradient, gradients[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize("function", [lstm_reference, packed], ids=["reference", "packed"])
def test_what_stands_at_skipped_words_reaches_nothing(function, poison):
    tensors, mask, cotangents = make_case((5, 7, 4, 9, 5), torch.float32, mask="holes")
    clean = run(function, tensors, mask, cotangents, cell_clip=0.3, projection_clip=0.2)
    tensors["x"][~mask] = poison
    cotangents[0][~mask] = 1e6
    poisoned = run(function, tensors, mask, cotangents, cell_clip=0.3, projection_clip=0.2)
    assert_equal(poisoned, clean, 0)
    assert (poisoned["outputs"][~mask] == 0).all()
    assert (poisoned["gradient of x"][~mask] == 0).all()
    empty = ~mask.any(1)
    assert torch.equal(poisoned["h"][empty], tensors["h"][empty])
    assert torch.equal(poisoned["c"][empty], tensors["c"][empty])


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


@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "behind"])
def test_a_row_is_the_same_alone_and_its_words_may_be_anywhere(reverse):
    tensors, mask, _ = make_case((5, 9, 4, 9, 5), torch.float64, mask="holes")
    weights = [tensors[name] for name in WEIGHTS]
    outputs, (h, c) = packed(tensors["x"], *weights, None, mask, reverse=reverse)
    for row in range(5):
        words = tensors["x"][row, mask[row]][None]
        alone, state = packed(words, *weights, reverse=reverse)
        torch.testing.assert_close(outputs[row, mask[row]][None], alone, rtol=0, atol=1e-12)
        torch.testing.assert_close((h[row : row + 1], c[row : row + 1]), state, rtol=0, atol=1e-12)


@pytest.mark.parametrize("function", [lstm_reference, packed], ids=["reference", "packed"])
def test_a_text_may_be_cut_anywhere_and_its_state_handed_on(function):
    tensors, _, _ = make_case((3, 8, 4, 9, 5), torch.float64)
    weights = [tensors[name] for name in WEIGHTS]
    whole, final = function(tensors["x"], *weights, cell_clip=0.3, projection_clip=0.2)
    state, pieces = None, []
    for piece in tensors["x"].split(3, dim=1):
        outputs, state = function(piece, *weights, state, cell_clip=0.3, projection_clip=0.2)
        pieces.append(outputs)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(state, final, rtol=0, atol=1e-12)


@pytest.mark.parametrize("function", [lstm_reference, packed], ids=["reference", "packed"])
@pytest.mark.parametrize(("B", "T"), [(0, 4), (3, 0)])
def test_no_rows_and_no_words(function, B, T):
    tensors, _, _ = make_case((B, T, 4, 9, 5), torch.float64)
    inputs = [t.requires_grad_() for t in tensors.values()]
    outputs, h, c = flat(function, None)(*inputs)
    assert outputs.shape == (B, T, 5)
    assert torch.equal(h, tensors["h"])
    assert torch.equal(c, tensors["c"])
    assert torch.autograd.grad(c.sum(), tensors["c"])[0].eq(1).all()


@pytest.mark.parametrize("function", [lstm_reference, packed], ids=["reference", "packed"])
def test_bfloat16_sums_in_float32(function):
    tensors, mask, cotangents = make_case((5, 30, 4, 9, 5), torch.bfloat16, mask="right padding", gain=0.4)
    exact = run(lstm_reference, {n: t.double() for n, t in tensors.items()}, mask, [c.double() for c in cotangents])
    for name, actual in run(function, tensors, mask, cotangents).items():
        assert actual.dtype == torch.bfloat16
        assert (actual - exact[name]).abs().max() < 0.02 * exact[name].abs().max(), name


def test_autocast_multiplies_in_bfloat16_and_keeps_gradients_in_float32():
    tensors, mask, cotangents = make_case((5, 9, 4, 9, 5), torch.float32, mask="right padding", gain=0.4)
    exact = run(lstm_reference, tensors, mask, cotangents)
    for function in (lstm_reference, packed):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            results = run(function, tensors, mask, [c.bfloat16() for c in cotangents])
        for name, actual in results.items():
            assert actual.dtype == (torch.float32 if "gradient" in name else torch.bfloat16), name
            error = (actual - exact[name]).abs().max() / exact[name].abs().max()
            assert 1e-5 < error < 0.02, f"{name}: {error}"
        doubles = {name: t.double() for name, t in tensors.items()}
        with torch.autocast("cpu"):  # leaves float64 alone
            assert run(function, doubles, mask, [c.double() for c in cotangents])["outputs"].dtype == torch.float64


def test_what_is_saved_for_the_backward_is_gates_and_cells():
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


class Layer(nn.Module):
    """One direction, as exporters want it: a module."""

    def __init__(self, function, D=4, C=9, P=5):
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(torch.randn(size) for size in [(4 * C, D), (4 * C,), (4 * C, P), (P, C)])

    def forward(self, x, mask):
        return self.function(x, *self.weights, None, mask, reverse=True, cell_clip=0.3, projection_clip=0.2)


@pytest.mark.parametrize("function", [lstm_reference, lstm], ids=["reference", "lstm"])
@pytest.mark.parametrize("strict", [False, True], ids=["traced", "strict"])
def test_export_with_any_batch_size(function, strict):
    torch.manual_seed(0)
    layer = Layer(function)
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(
        layer, (torch.randn(3, 6, 4), torch.rand(3, 6) < 0.6), dynamic_shapes=(batch, batch), strict=strict
    )
    for B in (2, 7):
        x, mask = torch.randn(B, 6, 4), torch.rand(B, 6) < 0.6
        for actual, expected in zip(leaves(program.module()(x, mask)), leaves(layer(x, mask))):
            torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def leaves(results):
    return torch.utils._pytree.tree_leaves(results)


def test_compiled_code_holds_the_whole_recurrence():
    torch.manual_seed(0)
    layer = Layer(lstm)
    x, mask = torch.randn(3, 6, 4, requires_grad=True), torch.rand(3, 6) < 0.6
    outputs, _ = torch.compile(layer, backend="aot_eager", fullgraph=True)(x, mask)
    expected, _ = layer(x, mask)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-6)
    ours, theirs = (torch.autograd.grad(out.square().sum(), [x, *layer.parameters()]) for out in (outputs, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


class Tagged(torch.Tensor):
    """A tensor subclass, as quantizing and sharding libraries put in the place of weights."""


def test_the_path_is_chosen_by_what_can_run_and_says_why():
    tensors, mask, _ = make_case((3, 4, 4, 9, 5), torch.float32, mask="right padding")
    x, *weights = (tensors[name] for name in ("x", *WEIGHTS))

    def path(x, *weights):
        lstm(x, *weights, None, mask.to(x.device))
        return last_lstm_path()

    assert path(x, *weights) == ("packed", "plain tensors")
    assert path(x, weights[0].as_subclass(Tagged), *weights[1:]) == ("reference", "Tagged is no plain tensor")
    assert "meta" in path(*(t.to("meta") for t in (x, *weights))).reason
    with lstm_path("reference"):
        assert path(x, *weights) == ("reference", "forced by lstm_path")
        with lstm_path("packed"):
            assert path(x, *weights) == ("packed", "forced by lstm_path")
        assert path(x, *weights).name == "reference"
    assert path(x, *weights).name == "packed"

    gradient = torch.func.grad(lambda x: lstm(x, *weights, None, mask)[0].sum())(x)
    assert last_lstm_path().name == "reference"
    assert "torch.func" in last_lstm_path().reason
    leaf = x.clone().requires_grad_()
    lstm(leaf, *weights, None, mask)[0].sum().backward()
    torch.testing.assert_close(gradient, leaf.grad, rtol=1e-5, atol=1e-5)

    with (
        pytest.raises(ValueError, match="no LSTM path 'fast'; the paths are packed, triton, int8, reference"),
        lstm_path("fast"),
    ):
        pass


def test_a_forced_path_stays_in_its_thread():
    tensors, _, _ = make_case((3, 4, 4, 9, 5), torch.float32)
    x, *weights = (tensors[name] for name in ("x", *WEIGHTS))
    found = []

    def elsewhere():
        found.append(last_lstm_path())
        lstm(x, *weights)
        found.append(last_lstm_path().name)

    with lstm_path("reference"):
        lstm(x, *weights)
        thread = threading.Thread(target=contextvars.Context().run, args=(elsewhere,))
        thread.start()
        thread.join()
        assert last_lstm_path().name == "reference"
    assert found == [None, "packed"]


def test_steps_over_modules_are_the_reference():
    tensors, mask, _ = make_case((3, 6, 4, 9, 5), torch.float64, mask="holes")
    linears = []
    for weight, bias in (("w_ih", tensors["bias"]), ("w_hh", None), ("w_proj", None)):
        linear = nn.Linear(*reversed(tensors[weight].shape), bias=bias is not None, dtype=torch.float64)
        linear.weight.data = tensors[weight]
        if bias is not None:
            linear.bias.data = bias
        linears.append(linear)
    state = tensors["h"], tensors["c"]
    options = {"reverse": True, "cell_clip": 0.3, "projection_clip": 0.2}
    expected = lstm_reference(tensors["x"], *(tensors[name] for name in WEIGHTS), state, mask, **options)
    torch.testing.assert_close(lstm_steps(tensors["x"], *linears, state, mask, **options), expected, rtol=0, atol=0)


def in_child(queue, tensors, mask):
    x, *weights = (tensors[name] for name in ("x", *WEIGHTS))
    with torch.no_grad():
        (outputs, _), _ = bilstm(Direction(x, *weights), Direction(x, *weights, reverse=True), mask)
    queue.put(outputs[-1, -1, :4].tolist())  # few: torch's own threads for one operation do not survive a fork


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
def test_a_forked_child_starts_its_own_workers(wide_case):
    """Data loaders and `datasets.map` fork; the parent's threads do not live on in the child."""
    tensors, mask, _ = wide_case
    queue = multiprocessing.get_context("fork").Queue()
    in_child(queue, tensors, mask)
    expected = queue.get(timeout=60)
    if torch.get_num_threads() > 1:
        assert workers.cache_info().currsize, "the case is too small for workers"
    process = multiprocessing.get_context("fork").Process(target=in_child, args=(queue, tensors, mask))
    process.start()
    try:
        assert queue.get(timeout=60) == pytest.approx(expected, abs=1e-5)
    finally:
        process.kill()
        process.join()


def test_threads_may_share_the_workers(wide_case):
    tensors, mask, _ = wide_case
    x, *weights = (tensors[name] for name in ("x", *WEIGHTS))
    results = [None] * 4

    def call(index):
        with torch.no_grad():
            results[index] = bilstm(Direction(x, *weights), Direction(x, *weights, reverse=True), mask)[1][0]

    threads = [threading.Thread(target=call, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in itertools.pairwise(results):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


LATE = """
import threading, torch
from hf_elmo.model import lstm_packed_elmo
from hf_elmo.model.lstm_elmo import Direction, bilstm

lstm_packed_elmo.WORTH_A_WORKER = 1
torch.set_num_threads(2)
weights = [torch.randn(size) / 10 for size in ((2048, 128), (2048,), (2048, 128), (128, 512))]

def late():
    threading.main_thread().join()
    with torch.no_grad():
        x = torch.randn(4, 30, 128)
        (outputs, _), _ = bilstm(Direction(x, *weights), Direction(x, *weights, reverse=True))
    print(tuple(outputs.shape))

threading.Thread(target=late).start()
"""


def test_a_thread_that_outlives_the_main_one_computes_alone():
    run = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=120)
    assert run.stdout == "(4, 30, 128)\n", run.stderr[-2000:]
