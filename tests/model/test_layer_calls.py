"""A model calls its layers one by one, so that whatever wraps, hooks, compiles or replaces a layer has its effect."""

import pytest
import torch
from lanes import first_fast
from torch import nn
from torch.testing import assert_close

from hf_elmo import ElmoConfig, ElmoModel
from hf_elmo.model import lstm_packed_elmo
from hf_elmo.model.lstm_elmo import last_lstm_path, lstm_path

B, T, C, P = 4, 12, 32, 12
PACKED = ("packed", "plain tensors")


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def make_model(cell_size, projection_size):
    sizes = {"cell_size": cell_size, "projection_size": projection_size}
    torch.manual_seed(0)
    return ElmoModel(ElmoConfig(char_cnn_filters=[[1, 4], [2, 8]], num_highway_layers=1, **sizes)).eval()


@pytest.fixture(scope="module")
def wide_model():
    """A model whose layers are worth two workers."""
    return make_model(2048, 576)


@pytest.fixture
def model(monkeypatch):
    """A small model with two workers all the same."""
    monkeypatch.setattr(lstm_packed_elmo, "WORKER_THRESHOLD", 0)
    return make_model(C, P)


def words(B, T):
    return torch.randint(1, 262, (B, T, 50), generator=torch.Generator().manual_seed(0))


def in_two_calls(model):
    """Return all layers and the state of two calls, of which the second goes on from the state of the first."""
    ids = words(B, T)
    ids[1, 7:] = 0
    first = model(input_ids=ids, output_hidden_states=True, use_state=True)
    second = model(input_ids=ids, state=first.state, output_hidden_states=True)
    return (first.hidden_states, first.state), second.hidden_states


@pytest.fixture(scope="module")
def expected_of_two_calls(wide_model):
    with lstm_path("reference"), torch.no_grad():
        return in_two_calls(wide_model)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_model_of_two_workers_is_the_reference(two_threads, wide_model, expected_of_two_calls, mode):
    with mode():
        actual = in_two_calls(wide_model)
    assert last_lstm_path() == PACKED
    assert_close(actual, expected_of_two_calls, rtol=0, atol=1e-5)


class Wrapper(nn.Module):
    """A wrapper that shards or watches a layer: called in its place, with all its attributes."""

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


def backend_of(model):
    with torch.no_grad():
        model(input_ids=words(B, T))
    return last_lstm_path()


@pytest.fixture
def calls():
    return []


@pytest.mark.parametrize("layer", first_fast([0, 1]))
@pytest.mark.parametrize("place", ["layer", "dropout", "recurrent_gates"])
@pytest.mark.parametrize("hook", first_fast(["register_forward_hook", "register_forward_pre_hook"]))
def test_a_hook_is_called(two_threads, model, calls, layer, place, hook):
    layer = model.layers[layer]
    module = {"layer": layer, "dropout": layer.dropout, "recurrent_gates": layer.forward_lstm.recurrent_gates}[place]
    handle = getattr(module, hook)(lambda *call: calls.append(call))
    backend_of(model)
    assert calls
    handle.remove()
    assert backend_of(model) == PACKED


def test_a_hook_of_all_modules_is_called(two_threads, model, calls):
    handle = nn.modules.module.register_module_forward_hook(lambda module, *call: calls.append(type(module).__name__))
    try:
        assert backend_of(model) == PACKED
    finally:
        handle.remove()
    assert calls.count("ElmoLayer") == 2


def test_a_layer_in_something_else_is_called(two_threads, model):
    with torch.no_grad():
        expected = model(input_ids=words(B, T)).last_hidden_state
    model.layers[1] = Wrapper(model.layers[1])
    with torch.no_grad():
        assert_close(model(input_ids=words(B, T)).last_hidden_state, expected, rtol=0, atol=1e-5)
    assert last_lstm_path() == PACKED
    assert model.layers[1].calls == 1


@pytest.mark.slow
def test_a_compiled_layer_runs_compiled(two_threads, model):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    model.layers[0].compile(backend=backend)
    model.layers[1] = torch.compile(model.layers[1], backend=backend)
    with torch.no_grad():
        model(input_ids=words(1, 3))
    assert len(graphs) >= 2


def test_another_dropout_is_called(two_threads, model):
    before = model(input_ids=words(B, T)).last_hidden_state.detach()
    for layer in model.layers:
        layer.dropout = nn.Identity()
    for mode in (True, False):
        with torch.set_grad_enabled(mode):
            assert_close(model.train()(input_ids=words(B, T)).last_hidden_state, before, rtol=0, atol=1e-5)
    model.layers[0].dropout = Noise()
    assert backend_of(model) == PACKED
    with torch.no_grad():
        assert (model(input_ids=words(B, T)).last_hidden_state - before).abs().max() > 0.01


def test_a_state_that_learns(two_threads, model):
    """Through layers that are frozen."""
    model.requires_grad_(False)
    state = torch.zeros(B, 2, 2, P, requires_grad=True), torch.zeros(B, 2, 2, C)
    output = model(input_ids=words(B, T), state=state).last_hidden_state
    assert last_lstm_path() == PACKED
    output.sum().backward()
    assert state[0].grad.abs().max() > 0


def test_a_mix_learns_above_a_frozen_encoder(two_threads, model):
    model.freeze_encoder()
    output = model.train()(input_ids=words(B, T)).last_hidden_state
    assert last_lstm_path() == PACKED
    output.sum().backward()
    assert model.scalar_mixes[0].gamma.grad is not None
