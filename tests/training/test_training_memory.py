"""What the backward keeps and computes: nothing for frozen parts, and for the others no gates if told so."""

import pytest
import torch

from hf_elmo.model import lstm_packed_elmo

pytestmark = pytest.mark.slow  # each test trains

BATCH, WORDS, P, LAYERS = 2, 3, 6, 2  # of `tiny_model` and its `dummy_inputs`


def numbers_kept(model):
    """The output, and how many numbers its graph keeps beside the model's own."""
    own, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def pack(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(**model.dummy_inputs, output_hidden_states=True)
    return output, sum(kept.values())


def recurrences(tensor):
    """The recurrences' nodes in the graph of a tensor."""
    found, waiting = set(), [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [parent for parent, _ in node.next_functions]
    return [node for node in found if node.name() == "PackedLstmBackward"]


def gradients(model):
    output = model(**model.dummy_inputs)
    weights = torch.linspace(-1, 1, output.last_hidden_state.numel()).view_as(output.last_hidden_state)
    (output.last_hidden_state * weights).sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.fixture
def model(tiny_model):
    return tiny_model.train()  # without dropout


def test_of_a_frozen_encoder_nothing_is_kept(model):
    model.requires_grad_(False)
    output, kept = numbers_kept(model)
    assert output.last_hidden_state.grad_fn is None
    assert kept == 0


def test_a_mix_learns_from_frozen_layers_alone(model):
    expected = gradients(model)
    model.freeze_encoder()
    output, kept = numbers_kept(model)
    assert not recurrences(output.last_hidden_state)
    assert all(layer.grad_fn is None for layer in output.hidden_states)
    layers = (LAYERS + 1) * BATCH * WORDS * 2 * P
    assert layers <= kept <= layers + 4 * (LAYERS + 1), "more than the layers and the few weights of the mix"
    found = gradients(model)
    assert found.keys() == {"scalar_mixes.0.weights", "scalar_mixes.0.gamma"}
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-6)


def test_below_the_lowest_learning_layer_there_is_no_graph(model):
    expected = gradients(model)
    model.requires_grad_(False)
    model.layers[1].requires_grad_(True)
    output, _ = numbers_kept(model)
    assert output.hidden_states[1].grad_fn is None
    (node,) = recurrences(output.last_hidden_state)
    assert sum(parent is not None for parent, _ in node.next_functions) == 8, "two directions of four weights"
    found = gradients(model)
    assert found.keys() == {name for name in expected if name.startswith("layers.1.")}
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-6)


def test_through_a_frozen_layer_only_its_input_s_gradient_goes(model, monkeypatch):
    expected, sums = gradients(model), []
    add_product_ = lstm_packed_elmo.add_product_

    def spied_on(total, left, right):
        sums.append(total.shape)
        add_product_(total, left, right)

    monkeypatch.setattr(lstm_packed_elmo, "add_product_", spied_on)
    model.requires_grad_(False)
    model.char_encoder.requires_grad_(True)
    found = gradients(model)
    assert not sums, "gradients of frozen weights were computed"
    assert found.keys() == {name for name in expected if name.startswith("char_encoder.")}
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-6)

    model.requires_grad_(False)
    model.layers[0].forward_lstm.recurrent_gates.requires_grad_(True)
    (name,) = gradients(model)
    assert name == "layers.0.forward_lstm.recurrent_gates.weight"
    (shape,) = sums  # transposed or not, as is faster on the processor
    assert sorted(shape) == sorted(model.layers[0].forward_lstm.recurrent_gates.weight.shape)


def test_recomputed_gates_are_not_kept_and_change_no_gradient(model):
    expected, (_, kept) = gradients(model), numbers_kept(model)
    model.config.recompute_gates = True
    less = numbers_kept(model)[1]
    cells = 5 * model.config.cell_size * 2 * LAYERS * BATCH * WORDS  # the gates and c of all words
    beginnings = model.config.cell_size * 2 * LAYERS * BATCH  # c where a block begins
    assert kept - less == cells - beginnings
    found = gradients(model)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-5)
