"""All layers in one call: one by one and as a wavefront, the same numbers."""

import subprocess
import sys
import threading

import pytest
import torch
from test_lstm import TOLERANCE, make_mask
from torch import nn
from torch.testing import assert_close

from hf_elmo import ElmoConfig, ElmoModel
from hf_elmo.model.lstm_elmo import Direction, last_lstm_path, lstm_path, lstm_reference
from hf_elmo.model.lstm_int8_elmo import int8_weight
from hf_elmo.model.lstm_layers_elmo import bilstm_layers
from hf_elmo.model.lstm_packed_elmo import workers

CLIPS = {"cell_clip": 0.3, "projection_clip": 0.1}
WAVEFRONT = "plain tensors, the layers as a wavefront"
B, T, C, P = 4, 120, 512, 128


@pytest.fixture
def four_threads(monkeypatch):
    """As on a machine with a thread for each direction of two layers, and where small steps are worth a worker."""
    monkeypatch.setattr("hf_elmo.model.lstm_packed_elmo.WORTH_A_WORKER", 1 << 20)
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


def test_a_wavefront_of_three_layers_and_one_long_row(four_threads):
    """All blocks are short, also where one row is left: else the layers would wait for each other."""
    layers = make_layers(torch.float64, count=3)
    mask = torch.arange(T) < torch.tensor([[20], [T], [15], [0]])
    expected = by_the_reference(layers, mask, [True, True, False], **CLIPS)
    for threads in (4, 6):
        torch.set_num_threads(threads)
        with torch.no_grad(), lstm_path(wavefront=True):
            actual = bilstm_layers(layers, mask, add_inputs=[True, True, False], **CLIPS)
        assert last_lstm_path() == ("packed", WAVEFRONT)
        assert_close(actual, expected, rtol=0, atol=10 * TOLERANCE[torch.float64])
    made = workers.cache_info().misses
    with torch.no_grad(), lstm_path(wavefront=True):
        bilstm_layers(layers, mask, add_inputs=[True, True, False], **CLIPS)
    assert workers.cache_info().misses == made, "workers are made anew at each call"


def test_a_wavefront_can_be_forced_and_forbidden(four_threads):
    layers = make_layers(torch.float64)
    long = {"add_inputs": [False, True], **CLIPS}
    with torch.no_grad(), lstm_path("packed", wavefront=False):
        expected = bilstm_layers(layers, None, **long)
    assert last_lstm_path() == ("packed", "forced by lstm_path")
    torch.set_num_threads(1)
    with torch.no_grad(), lstm_path(wavefront=True):
        assert_close(bilstm_layers(layers, None, **long), expected, rtol=0, atol=TOLERANCE[torch.float64])
    assert last_lstm_path() == ("packed", WAVEFRONT)
    empty = torch.zeros(B, T, dtype=torch.bool)
    with torch.no_grad(), lstm_path(wavefront=True):
        results = bilstm_layers(layers, empty, **long)
    assert all((outputs == 0).all() for pair in results for outputs, _ in pair)
    assert_close(results[1][0][1], layers[1][0].state, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("forced", "learning", "count", "message"),
    [
        ("reference", False, 2, "the path 'reference' has none"),
        (None, True, 2, "gradients are wanted"),
        (None, False, 1, "there is one only"),
    ],
)
def test_a_wavefront_that_cannot_be_is_refused(forced, learning, count, message):
    layers = make_layers(torch.float64, count=count)
    layers[0][0].w_hh.requires_grad_(learning)
    with pytest.raises(ValueError, match=f"the layers cannot run as a wavefront: {message}"):  # noqa: SIM117
        with lstm_path(forced, wavefront=True):
            bilstm_layers(layers, None, add_inputs=[False] * count, **CLIPS)


def test_layers_of_different_shapes_run_one_by_one(four_threads):
    layers = make_layers(torch.float64)
    layers[1] = [
        d._replace(
            w_hh=d.w_hh[: 4 * 300],
            w_ih=d.w_ih[: 4 * 300],
            bias=d.bias[: 4 * 300],
            w_proj=d.w_proj[:, :300],
            state=(d.state[0], d.state[1][:, :300]),
        )
        for d in layers[1]
    ]
    expected = by_the_reference(layers, None, [False, True], **CLIPS)
    with torch.no_grad():
        actual = bilstm_layers(layers, None, add_inputs=[False, True], **CLIPS)
    assert last_lstm_path() == ("packed", "plain tensors")
    assert_close(actual, expected, rtol=0, atol=10 * TOLERANCE[torch.float64])


def test_a_wavefront_under_autocast_is_the_layers_one_by_one(four_threads):
    layers = make_layers(torch.float32)
    results = []
    for wavefront in (True, False):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), lstm_path(wavefront=wavefront):
            results.append(bilstm_layers(layers, None, add_inputs=[False, True], **CLIPS))
    assert results[0][1][0][0].dtype == torch.bfloat16
    assert_close(*results, rtol=0, atol=0)


def test_threads_may_have_a_wavefront_each(four_threads):
    layers, results = make_layers(torch.float32), [None] * 3
    expected = by_the_reference(layers, None, [False, True], **CLIPS)

    def call(index):
        with torch.no_grad(), lstm_path(wavefront=True):
            results[index] = bilstm_layers(layers, None, add_inputs=[False, True], **CLIPS)

    threads = [threading.Thread(target=call, args=(index,)) for index in range(len(results))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        assert_close(result, expected, rtol=0, atol=10 * TOLERANCE[torch.float32])


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


class Wrapper(nn.Module):
    """What shards or watches a layer: it is called in its place, and has whatever it has."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.calls = layer, 0

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.layer, name)

    def forward(self, *args):
        self.calls += 1
        return self.layer(*args)


class Noise(nn.Module):
    def forward(self, x):
        return x + 1


def path_of(model):
    with torch.no_grad():
        model(input_ids=words(B, T))
    return last_lstm_path()


@pytest.fixture
def calls():
    return []


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("place", ["layer", "dropout", "recurrent_gates"])
@pytest.mark.parametrize("hook", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_hook_keeps_layers_apart(four_threads, wide_model, calls, layer, place, hook):
    layer = wide_model.layers[layer]
    module = {"layer": layer, "dropout": layer.dropout, "recurrent_gates": layer.forward_lstm.recurrent_gates}[place]
    assert path_of(wide_model) == ("packed", WAVEFRONT)
    handle = getattr(module, hook)(lambda *call: calls.append(call))
    assert WAVEFRONT not in path_of(wide_model).reason
    assert calls
    handle.remove()
    assert path_of(wide_model) == ("packed", WAVEFRONT)


def test_a_hook_of_all_modules_keeps_layers_apart(four_threads, wide_model, calls):
    handle = nn.modules.module.register_module_forward_hook(lambda module, *call: calls.append(type(module).__name__))
    try:
        assert path_of(wide_model) == ("packed", "plain tensors")
    finally:
        handle.remove()
    assert calls.count("ElmoLayer") == 2


def test_a_layer_in_something_else_is_called(four_threads, wide_model):
    with torch.no_grad():
        expected = wide_model(input_ids=words(B, T)).last_hidden_state
    wide_model.layers[1] = Wrapper(wide_model.layers[1])
    with torch.no_grad():
        assert_close(wide_model(input_ids=words(B, T)).last_hidden_state, expected, rtol=0, atol=1e-5)
    assert last_lstm_path() == ("packed", "plain tensors")
    assert wide_model.layers[1].calls == 1


def test_a_compiled_layer_runs_compiled(four_threads, wide_model):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    wide_model.layers[0].compile(backend=backend)
    wide_model.layers[1] = torch.compile(wide_model.layers[1], backend=backend)
    with torch.no_grad():
        wide_model(input_ids=words(1, 3))
    assert len(graphs) >= 2


def test_another_dropout_is_called(four_threads, wide_model):
    before = wide_model(input_ids=words(B, T)).last_hidden_state.detach()
    for layer in wide_model.layers:
        layer.dropout = nn.Identity()
    for mode in (True, False):
        with torch.set_grad_enabled(mode):
            assert_close(wide_model.train()(input_ids=words(B, T)).last_hidden_state, before, rtol=0, atol=1e-5)
    wide_model.layers[0].dropout = Noise()
    assert path_of(wide_model) == ("packed", "plain tensors")
    with torch.no_grad():
        assert (wide_model(input_ids=words(B, T)).last_hidden_state - before).abs().max() > 0.01


def test_dropout_keeps_layers_apart_where_it_drops(four_threads, wide_model):
    wide_model.layers[0].dropout.p = 0.5
    assert path_of(wide_model) == ("packed", WAVEFRONT)  # nothing drops out in evaluation
    assert path_of(wide_model.train()) == ("packed", "plain tensors")


def test_a_state_that_learns(four_threads, wide_model):
    """Through layers that are frozen."""
    wide_model.requires_grad_(False)
    state = torch.zeros(B, 2, 2, P, requires_grad=True), torch.zeros(B, 2, 2, C)
    output = wide_model(input_ids=words(B, T), state=state).last_hidden_state
    assert last_lstm_path() == ("packed", "plain tensors")
    output.sum().backward()
    assert state[0].grad.abs().max() > 0


def test_a_frozen_encoder_is_a_wavefront_while_something_above_it_learns(four_threads, wide_model):
    wide_model.freeze_encoder()
    output = wide_model.train()(input_ids=words(B, T)).last_hidden_state
    assert last_lstm_path() == ("packed", WAVEFRONT)
    output.sum().backward()
    assert wide_model.scalar_mixes[0].gamma.grad is not None
