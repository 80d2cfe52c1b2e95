"""The reference against witnesses of its own, and the properties that it shares with the packed backend."""

import pytest
import torch
from lstm_cases import WEIGHTS, assert_equal, fast, flat, make_case, packed, reference, run
from torch import nn

from hf_elmo.model.lstm_elmo import direction_of_layers, last_lstm_path, lstm


@pytest.mark.parametrize("function", [reference, packed], ids=["reference", "packed"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_without_clips_and_forget_bias_it_is_torchs_lstm(function, direction):
    """A second witness, independent of this repository."""
    B, T, D, C, P = 5, 9, 4, 7, 3
    torch.manual_seed(0)
    witness = nn.LSTM(D, C, proj_size=P, batch_first=True, bidirectional=True, dtype=torch.float64)
    suffix = "_reverse" if direction == "backward" else ""
    parameters = {
        n: getattr(witness, f"{n}_l0{suffix}") for n in ("weight_ih", "bias_ih", "bias_hh", "weight_hh", "weight_hr")
    }
    lengths = torch.tensor([9, 1, 4, 6, 3])
    x = torch.randn(B, T, D, dtype=torch.float64, requires_grad=True)
    state = torch.randn(2, B, P, dtype=torch.float64), torch.randn(2, B, C, dtype=torch.float64)
    which = int(direction == "backward")

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


@pytest.mark.parametrize("function", [reference, packed], ids=["reference", "packed"])
def test_the_gradient_of_a_clip_passes_at_its_bounds_and_not_beyond(function):
    """With gates that are exactly 0 or 1 (i, f, o = 0, 1, 1), c stays as it was and h is its hyperbolic tangent."""
    x, weight_ih, weight_hh = torch.zeros(5, 1, 1), torch.zeros(4, 1), torch.zeros(4, 1)
    bias, weight_hr = torch.tensor([-1000.0, 1000.0, 0.0, 1000.0]), torch.ones(1, 1)
    c = torch.tensor([[0.5], [-0.5], [0.25], [0.5 + 2**-20], [-2.0]], requires_grad=True)
    state = torch.zeros(5, 1), c
    _, (_, last) = function(x, weight_ih, bias, weight_hh, weight_hr, state, cell_clip=0.5)
    assert torch.equal(torch.autograd.grad(last.sum(), c)[0].flatten(), torch.tensor([1.0, 1, 1, 0, 0]))

    bound = function(x, weight_ih, bias, weight_hh, weight_hr, state)[0][0].item()
    assert bound == pytest.approx(c[0].tanh().item(), abs=2e-7)
    outputs, _ = function(x, weight_ih, bias, weight_hh, weight_hr, state, projection_clip=bound)
    passed = torch.autograd.grad(outputs.sum(), c)[0].flatten() != 0
    assert passed.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize("function", [reference, packed], ids=["reference", "packed"])
def test_values_at_skipped_tokens_reach_nothing(function, poison):
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


@pytest.mark.parametrize("function", [reference, packed], ids=["reference", "packed"])
def test_a_text_may_be_cut_anywhere_and_its_state_passed_on(function):
    tensors, _, _ = make_case((3, 8, 4, 9, 5), torch.float64)
    weights = [tensors[name] for name in WEIGHTS]
    whole, final = function(tensors["x"], *weights, cell_clip=0.3, projection_clip=0.2)
    state, pieces = None, []
    for piece in tensors["x"].split(3, dim=1):
        outputs, state = function(piece, *weights, state, cell_clip=0.3, projection_clip=0.2)
        pieces.append(outputs)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(state, final, rtol=0, atol=1e-12)


@pytest.mark.parametrize("function", [reference, packed], ids=["reference", "packed"])
@pytest.mark.parametrize(("B", "T"), [(0, 4), (3, 0)])
def test_no_rows_and_no_words(function, B, T):
    tensors, _, _ = make_case((B, T, 4, 9, 5), torch.float64)
    inputs = [t.requires_grad_() for t in tensors.values()]
    outputs, h, c = flat(function, None)(*inputs)
    assert outputs.shape == (B, T, 5)
    assert torch.equal(h, tensors["h"])
    assert torch.equal(c, tensors["c"])
    assert torch.autograd.grad(c.sum(), tensors["c"])[0].eq(1).all()


@pytest.mark.parametrize("function", [reference, packed], ids=["reference", "packed"])
def test_bfloat16_sums_in_float32(function):
    tensors, mask, cotangents = make_case((5, 30, 4, 9, 5), torch.bfloat16, mask="right padding", gain=0.4)
    exact = run(reference, {n: t.double() for n, t in tensors.items()}, mask, [c.double() for c in cotangents])
    for name, actual in run(function, tensors, mask, cotangents).items():
        assert actual.dtype == torch.bfloat16
        assert (actual - exact[name]).abs().max() < 0.02 * exact[name].abs().max(), name


def test_autocast_multiplies_in_bfloat16_and_keeps_gradients_in_float32():
    tensors, mask, cotangents = make_case((5, 9, 4, 9, 5), torch.float32, mask="right padding", gain=0.4)
    exact = run(reference, tensors, mask, cotangents)
    for function in (reference, packed):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            results = run(function, tensors, mask, [c.bfloat16() for c in cotangents])
        for name, actual in results.items():
            assert actual.dtype == (torch.float32 if "gradient" in name else torch.bfloat16), name
            error = (actual - exact[name]).abs().max() / exact[name].abs().max()
            assert 1e-5 < error < 0.02, f"{name}: {error}"
        doubles = {name: t.double() for name, t in tensors.items()}
        with torch.autocast("cpu"):  # leaves float64 alone
            assert run(function, doubles, mask, [c.double() for c in cotangents])["outputs"].dtype == torch.float64


class Layer(nn.Module):
    """One direction as a module, which exporters need."""

    def __init__(self, function, D=4, C=9, P=5):
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(torch.randn(size) for size in [(4 * C, D), (4 * C,), (4 * C, P), (P, C)])

    def forward(self, x, mask):
        return self.function(x, *self.weights, None, mask, reverse=True, cell_clip=0.3, projection_clip=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("strict", [False, True], ids=["traced", "strict"])
def test_export_with_any_batch_size(strict):
    """Of the reference, which `lstm` selects for a graph."""
    torch.manual_seed(0)
    layer = Layer(fast)
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(
        layer, (torch.randn(3, 6, 4), torch.rand(3, 6) < 0.6), dynamic_shapes=(batch, batch), strict=strict
    )
    for B, with_gradients in ((2, True), (7, False)):  # with gradients a call takes as long as the export
        x, mask = torch.randn(B, 6, 4), torch.rand(B, 6) < 0.6
        with torch.set_grad_enabled(with_gradients):
            for actual, expected in zip(leaves(program.module()(x, mask)), leaves(layer(x, mask))):
                torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def leaves(results):
    return torch.utils._pytree.tree_leaves(results)


@pytest.mark.slow
def test_compiled_code_holds_the_whole_recurrence():
    torch.manual_seed(0)
    layer = Layer(fast)
    x, mask = torch.randn(3, 6, 4, requires_grad=True), torch.rand(3, 6) < 0.6
    outputs, _ = torch.compile(layer, backend="aot_eager", fullgraph=True)(x, mask)
    expected, _ = layer(x, mask)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-6)
    ours, theirs = (torch.autograd.grad(out.square().sum(), [x, *layer.parameters()]) for out in (outputs, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_layers_in_the_place_of_weights_are_called():
    tensors, mask, _ = make_case((3, 6, 4, 9, 5), torch.float64, mask="holes")
    layers = []
    for weight, bias in (("weight_ih", tensors["bias"]), ("weight_hh", None), ("weight_hr", None)):
        layer = nn.Linear(*reversed(tensors[weight].shape), bias=bias is not None, dtype=torch.float64)
        layer.weight.data = tensors[weight]
        if bias is not None:
            layer.bias.data = bias
        layers.append(layer)
    options = {"cell_clip": 0.3, "projection_clip": 0.2}
    for state in ((tensors["h"], tensors["c"]), None):
        expected = reference(tensors["x"], *(tensors[n] for n in WEIGHTS), state, mask, reverse=True, **options)
        plain = direction_of_layers(tensors["x"], *layers, state, reverse=True)
        torch.testing.assert_close(lstm([plain], mask, **options)[0], expected, rtol=0, atol=1e-10)
        assert last_lstm_path() == ("packed", "plain tensors")
        handle = layers[1].register_forward_hook(lambda *call: None)
        hooked = direction_of_layers(tensors["x"], *layers, state, reverse=True)
        torch.testing.assert_close(lstm([hooked], mask, **options)[0], expected, rtol=0, atol=0)
        assert last_lstm_path() == ("reference", "recurrent_gates must be called: it has hooks")
        handle.remove()
