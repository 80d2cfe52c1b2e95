"""The path "graph": its steps against the reference, without a capture on the CPU and, where there is a GPU, with."""

import pytest
import torch
from test_lstm import SHAPES, TOLERANCE, WEIGHTS, assert_equal, make_case

from hf_elmo.model import lstm_elmo
from hf_elmo.model.lstm_elmo import Direction, bilstm, last_lstm_path, lstm, lstm_path, lstm_reference
from hf_elmo.model.lstm_graph_elmo import STEPS, steps_of

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU to capture graphs on")),
]
LONGER = (5, 2 * STEPS + 3, 4, 9, 5)  # B, T, D, C, P; T is no whole number of graphs


@pytest.fixture(autouse=True)
def no_steps_of_another_test():
    steps_of.cache_clear()


@torch.no_grad()
def run(path, tensors, mask, device="cpu", **options):
    x, *weights = (None if tensors[name] is None else tensors[name].to(device) for name in ("x", *WEIGHTS))
    state = None if tensors["h"] is None else (tensors["h"].to(device), tensors["c"].to(device))
    with lstm_path(path):
        outputs, (h, c) = lstm(x, *weights, state, None if mask is None else mask.to(device), **options)
    return {"outputs": outputs.cpu(), "h": h.cpu(), "c": c.cpu()}


@pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "behind"])
@pytest.mark.parametrize("mask", ["none", "right padding", "left padding", "holes"])
@pytest.mark.parametrize("projection", [True, False], ids=["projected", "unprojected"])
@pytest.mark.parametrize("clip", [None, 0.2], ids=["free", "binding"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", [SHAPES[0], LONGER, SHAPES[-1]], ids="B{0[0]}-T{0[1]}-D{0[2]}-C{0[3]}-P{0[4]}".format)
@pytest.mark.parametrize("device", DEVICES)
def test_graph_is_the_reference(device, shape, dtype, clip, projection, mask, reverse):
    tensors, mask, _ = make_case(shape, dtype, projection, mask)
    options = {"reverse": reverse, "cell_clip": clip, "projection_clip": clip}
    expected = run("reference", tensors, mask, **options)
    if clip is not None and mask is None:
        assert (expected["c"].abs() == torch.tensor(clip, dtype=dtype)).any(), "the cell clip does not bind"
        assert not projection or (expected["outputs"].abs() == torch.tensor(clip, dtype=dtype)).any()
    for _ in range(3):  # on a GPU, from the second on by replays
        assert_equal(run("graph", tensors, mask, device, **options), expected, TOLERANCE[dtype])


@pytest.mark.parametrize("device", DEVICES)
def test_calls_of_one_shape_share_memory_and_nothing_else(device):
    """Other words, weights, lengths and rows, with and without a state, and NaN where nothing may look."""
    results = []
    for B, T, gain in [(5, 9, 0.6), (5, 9, 0.3), (8, 17, 0.5), (2, 3, 0.7), (6, 1, 0.4)]:
        tensors, mask, _ = make_case((B, T, 4, 9, 5), torch.float64, mask="holes", gain=gain)
        tensors["x"][~mask] = torch.nan
        if T == 9:
            tensors["h"] = tensors["c"] = None
        results.append((run("graph", tensors, mask, device), run("reference", tensors, mask)))
    assert steps_of.cache_info().currsize == 1
    for actual, expected in results:  # all are compared at the end: no call writes into what another returned
        assert_equal(actual, expected, TOLERANCE[torch.float64])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("behind_projected", [True, False], ids=["alike", "different"])
def test_both_directions_at_once(device, behind_projected):
    tensors, mask, _ = make_case(LONGER, torch.float64, mask="holes")
    other, _, _ = make_case((*LONGER[:3], 9, 5), torch.float64, behind_projected, gain=0.4)
    x, *weights = (tensors[name].to(device) for name in ("x", *WEIGHTS))
    ahead = Direction(x, *weights, (tensors["h"].to(device), tensors["c"].to(device)))
    others = [None if other[name] is None else other[name].to(device) for name in WEIGHTS]
    behind = Direction(x, *others, reverse=True)

    def both(path):
        with torch.no_grad(), lstm_path(path):
            return bilstm(ahead, behind, mask.to(device), cell_clip=0.3, projection_clip=0.2)

    expected = both("reference")
    for _ in range(3):
        torch.testing.assert_close(both("graph"), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("B", "T"), [(0, 4), (3, 0)])
def test_no_rows_and_no_words(device, B, T):
    tensors, _, _ = make_case((B, T, 4, 9, 5), torch.float64)
    for mask in (None, torch.ones(B, T, dtype=torch.bool)):
        actual = run("graph", tensors, mask, device)
        assert torch.equal(actual["h"], tensors["h"])
        assert torch.equal(actual["c"], tensors["c"])
        assert actual["outputs"].shape == (B, T, 5)


@pytest.mark.parametrize("device", DEVICES)
def test_bfloat16_sums_in_float32_beyond_the_end_of_a_graph(device):
    """With gates that are exactly 1, c grows by 1 at each word; in bfloat16 it would stay at 256."""
    B, T = 2, 300
    x, w_ih, w_hh = (torch.zeros(size, dtype=torch.bfloat16, device=device) for size in ((B, T, 1), (4, 1), (4, 1)))
    bias = torch.full((4,), 1000.0, dtype=torch.bfloat16, device=device)
    with torch.no_grad(), lstm_path("graph"):
        outputs, (h, c) = lstm(x, w_ih, bias, w_hh)
    assert outputs.dtype == h.dtype == c.dtype == torch.bfloat16
    assert c.flatten().tolist() == [300, 300]

    tensors, mask, _ = make_case((5, 30, 4, 9, 5), torch.bfloat16, mask="right padding", gain=0.4)
    exact = run("reference", {name: t.double() for name, t in tensors.items()}, mask)
    for name, actual in run("graph", tensors, mask, device).items():
        assert (actual - exact[name]).abs().max() < 0.02 * exact[name].abs().max(), name


@pytest.mark.parametrize("device", DEVICES)
def test_inference_mode_autocast_and_plain_calls_take_turns(device):
    tensors, mask, _ = make_case(LONGER, torch.float32, mask="right padding", gain=0.4)
    expected = run("reference", tensors, mask)
    with torch.inference_mode():
        assert_equal(run("graph", tensors, mask, device), expected, TOLERANCE[torch.float32])
    with torch.autocast(device, dtype=torch.bfloat16):
        outputs = run("graph", tensors, mask, device)["outputs"]
    assert outputs.dtype == torch.bfloat16
    assert 1e-5 < (outputs - expected["outputs"]).abs().max() < 0.02
    for _ in range(2):
        assert_equal(run("graph", tensors, mask, device), expected, TOLERANCE[torch.float32])


def test_forced_on_the_cpu_it_says_that_nothing_is_captured():
    tensors, mask, _ = make_case(LONGER, torch.float32)
    run("graph", tensors, mask)
    assert last_lstm_path() == ("graph", "forced by lstm_path, without capture: no CUDA device")


@pytest.mark.parametrize("wanting", ["x", "w_hh", "h"])
def test_gradients_are_refused_in_a_line(wanting):
    tensors, _, _ = make_case((2, 3, 4, 9, 5), torch.float32)
    tensors[wanting].requires_grad_()
    x, *weights = (tensors[name] for name in ("x", *WEIGHTS))
    with lstm_path("graph"):
        with pytest.raises(ValueError, match=r"'graph' has no gradients: run it under `torch.no_grad\(\)`"):
            lstm(x, *weights, (tensors["h"], tensors["c"]))
        with torch.no_grad():
            lstm(x, *weights, (tensors["h"], tensors["c"]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU to capture graphs on")
def test_on_a_gpu_without_triton_it_is_chosen_and_captured(monkeypatch):
    monkeypatch.setattr(lstm_elmo, "why_no_triton", lambda x: "it is not wanted here")
    tensors, _, _ = make_case(LONGER, torch.float32)
    x, *weights = (tensors[name].cuda() for name in ("x", *WEIGHTS))
    expected, _ = lstm_reference(x, *weights)
    for _ in range(3):
        torch.testing.assert_close(lstm(x, *weights)[0], expected, rtol=0, atol=1e-5)
    assert last_lstm_path() == ("graph", "no gradients are wanted, and no Triton: it is not wanted here")
    lstm(x.requires_grad_(), *weights)[0].sum().backward()
    assert last_lstm_path() == ("packed", "gradients are wanted, and no Triton: it is not wanted here")
    x.requires_grad_(False)
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: pytest.fail("replayed"))
    with pytest.raises(pytest.fail.Exception, match="replayed"):  # so that is what ran above
        lstm(x, *weights)
