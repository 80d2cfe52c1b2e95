"""All layers in one call: one by one and as a wavefront, the same numbers."""

import pytest
import torch
from test_lstm import TOLERANCE, make_mask
from torch.testing import assert_close

from hf_elmo import ElmoConfig, ElmoModel
from hf_elmo.lstm_elmo import Direction, last_lstm_path, lstm_path, lstm_reference
from hf_elmo.lstm_int8_elmo import int8_weight
from hf_elmo.lstm_layers_elmo import bilstm_layers

CLIPS = {"cell_clip": 0.3, "projection_clip": 0.1}
WAVEFRONT = "plain tensors, the layers as a wavefront"
B, T, C, P = 4, 120, 512, 128  # as small as is worth four workers


@pytest.fixture
def four_threads():
    """As on a machine with a thread for each direction of two layers; here they may have to share cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(threads)


def make_layers(dtype, projection=True, state=True, count=2):
    """Pairs of directions with random weights; only the lowest have words."""
    generator = torch.Generator().manual_seed(0)
    width = P if projection else C

    def random(*sizes, gain=1.0):
        return (torch.randn(*sizes, generator=generator, dtype=torch.float64) * gain).to(dtype)

    def direction(reverse):
        x = random(B, T, width)
        weights = random(4 * C, width, gain=width**-0.5), random(4 * C), random(4 * C, width, gain=width**-0.5)
        w_proj = random(P, C, gain=2 * C**-0.5) if projection else None
        return Direction(x, *weights, w_proj, (random(B, width, gain=0.1), random(B, C)) if state else None, reverse)

    lowest, *others = ([direction(False), direction(True)] for _ in range(count))
    return [lowest, *([d._replace(x=None) for d in pair] for pair in others)]


def by_the_reference(layers, mask, add_inputs, **clips):
    words, results = [d.x for d in layers[0]], []
    for pair, add_input in zip(layers, add_inputs):
        done = [lstm_reference(x, *d[1:6], mask, reverse=d.reverse, **clips) for d, x in zip(pair, words)]
        here = True if mask is None else mask[..., None]
        words = [y + x * here if add_input else y for (y, _), x in zip(done, words)]
        results.append(tuple((y, state) for y, (_, state) in zip(words, done)))
    return results


@pytest.mark.parametrize("mask", ["none", "right padding", "left padding", "holes"])
@pytest.mark.parametrize("projection", [True, False], ids=["projected", "unprojected"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_a_wavefront_is_the_reference(four_threads, dtype, projection, mask):
    layers = make_layers(dtype, projection, state=mask != "holes")
    mask = make_mask(mask, B, T, torch.Generator().manual_seed(5))
    expected = by_the_reference(layers, mask, [False, True], **CLIPS)
    with torch.no_grad():
        actual = bilstm_layers(layers, mask, add_inputs=[False, True], **CLIPS)
    assert last_lstm_path() == ("packed", WAVEFRONT)
    assert_close(actual, expected, rtol=0, atol=10 * TOLERANCE[dtype])
    for (_, (h, c)), _ in expected:
        assert (c.abs() == torch.tensor(0.3, dtype=dtype)).any()
        assert (h.abs() == torch.tensor(0.1, dtype=dtype)).any() or not projection


def test_layers_one_by_one_are_the_reference():
    layers = make_layers(torch.float64)
    mask = make_mask("holes", B, T, torch.Generator().manual_seed(5))
    expected = by_the_reference(layers, mask, [True, True], **CLIPS)
    with lstm_path("reference"), torch.no_grad():
        assert_close(bilstm_layers(layers, mask, add_inputs=[True, True], **CLIPS), expected, rtol=0, atol=0)
        assert last_lstm_path() == ("reference", "forced by lstm_path")


def test_a_wavefront_of_integers(four_threads):
    """Bit for bit: each row has scales of its own, whatever the blocks."""
    layers = [
        [d._replace(**{name: int8_weight(getattr(d, name)) for name in ("w_ih", "w_hh", "w_proj")}) for d in pair]
        for pair in make_layers(torch.float32)
    ]
    mask = make_mask("right padding", B, T, torch.Generator().manual_seed(5))
    with torch.no_grad():
        actual = bilstm_layers(layers, mask, add_inputs=[False, True], **CLIPS)
        assert last_lstm_path().name == "int8"
        assert last_lstm_path().reason.endswith("the layers as a wavefront")
        torch.set_num_threads(1)
        expected = bilstm_layers(layers, mask, add_inputs=[False, True], **CLIPS)
        assert "wavefront" not in last_lstm_path().reason
    assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.parametrize("length", [0, 1, 9])
def test_too_few_words_for_a_wavefront(four_threads, length):
    layers = make_layers(torch.float64, state=False)
    layers[0] = [d._replace(x=d.x[:, :length]) for d in layers[0]]
    with torch.no_grad():
        actual = bilstm_layers(layers, None, add_inputs=[False, True], **CLIPS)
    assert last_lstm_path() == ("packed", "plain tensors")
    expected = by_the_reference(layers, None, [False, True], **CLIPS)
    assert_close(actual, expected, rtol=0, atol=TOLERANCE[torch.float64])


def test_gradients_pass_layers_one_by_one(four_threads):
    layers = make_layers(torch.float64)
    weight = layers[0][0].w_hh.requires_grad_()
    (outputs, _), _ = bilstm_layers(layers, None, add_inputs=[False, True], **CLIPS)[1]
    assert last_lstm_path() == ("packed", "plain tensors")
    (expected, _), _ = by_the_reference(layers, None, [False, True], **CLIPS)[1]
    found, wanted = (torch.autograd.grad(y.square().sum(), weight)[0] for y in (outputs, expected))
    assert wanted.abs().max() > 0
    assert_close(found, wanted, rtol=1e-9, atol=1e-10)


@pytest.fixture
def wide_model():
    """A model whose layers are worth four workers."""
    config = ElmoConfig(char_cnn_filters=[[1, 4], [2, 8]], num_highway_layers=1, cell_size=C, projection_size=P)
    torch.manual_seed(0)
    return ElmoModel(config).eval()


def words(B, T):
    return torch.randint(1, 262, (B, T, 50), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_model_whose_layers_are_a_wavefront(four_threads, wide_model, mode):
    ids = words(B, T)
    ids[1, 70:] = 0
    with mode():
        actual = wide_model(input_ids=ids, output_hidden_states=True, use_state=True)
        assert last_lstm_path() == ("packed", WAVEFRONT)
        again = wide_model(input_ids=ids, state=actual.state, output_hidden_states=True)
    with lstm_path("reference"), torch.no_grad():
        expected = wide_model(input_ids=ids, output_hidden_states=True, use_state=True)
        expected_again = wide_model(input_ids=ids, state=expected.state, output_hidden_states=True)
    assert_close((actual.hidden_states, actual.state), (expected.hidden_states, expected.state), rtol=0, atol=1e-5)
    assert_close(
        (again.hidden_states, again.state), (expected_again.hidden_states, expected_again.state), rtol=0, atol=1e-5
    )


def test_whatever_stands_between_two_layers_keeps_them_apart(four_threads, wide_model):
    ids, calls = words(B, T), []

    def run():
        with torch.no_grad():
            wide_model(input_ids=ids)
        return last_lstm_path()

    assert run() == ("packed", WAVEFRONT)
    hook = wide_model.layers[1].register_forward_hook(lambda *call: calls.append(call))
    assert run() == ("packed", "plain tensors")
    assert len(calls) == 1
    hook.remove()
    wide_model.layers[0].dropout.p = 0.5
    assert run() == ("packed", WAVEFRONT)  # nothing drops out in evaluation
    wide_model.train()
    assert run() == ("packed", "plain tensors")


def test_a_frozen_encoder_is_a_wavefront_while_something_above_it_learns(four_threads, wide_model):
    wide_model.freeze_encoder()
    output = wide_model.train()(input_ids=words(B, T)).last_hidden_state
    assert last_lstm_path() == ("packed", WAVEFRONT)
    output.sum().backward()
    assert wide_model.scalar_mixes[0].gamma.grad is not None
