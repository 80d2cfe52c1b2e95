"""Models inside `with prepared(model)`: the same results, changed weights that are noticed, and nothing left behind."""

import copy
import pickle
import threading

import pytest
import torch
from shaken import shake
from test_model_backends import ragged
from torch import nn
from torch.testing import assert_close

import hf_elmo
from hf_elmo import ElmoConfig, ElmoForTokenClassification, ElmoModel
from hf_elmo.model import linear_elmo
from hf_elmo.model.linear_elmo import onednn_is_faster, prepared

EXACT = {"rtol": 0, "atol": 1e-6}
BATCHES = [(7,), (20, 3), (18, 17, 5, 1, 9, 9, 2, 4)]
ONE, SEVERAL = (3,), (4, 1, 2)  # sentences: from two rows on, other copies are used
CONFIG = {
    "char_cnn_filters": [[1, 32], [2, 32]],
    "cell_size": 512,
    "projection_size": 256,
    "cell_clip": 0.05,
    "projection_clip": 0.05,
}
onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")


@pytest.fixture(autouse=True, scope="module")
def small_weights_repay():
    """Use copies of small weights on every processor, as large ones would take long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_elmo, "SMALLEST_WEIGHT", 0)
        yield


@pytest.fixture(scope="module")
def wide_model(small_weights_repay) -> ElmoModel:
    """A model whose recurrent weights are wide enough for oneDNN from two rows on."""
    model = shake(ElmoModel(ElmoConfig(**CONFIG)), scale=0.02).eval()
    assert onednn_is_faster(2, model.layers[0].forward_lstm.recurrent_gates.weight)
    return model


@pytest.fixture
def model(wide_model) -> ElmoModel:
    return copy.deepcopy(wide_model)


@torch.no_grad()
def results(model: nn.Module, lengths: tuple[int, ...] = SEVERAL) -> torch.Tensor:
    return torch.stack(model(**ragged(*lengths), output_hidden_states=True).hidden_states)


def copies(layer: nn.Linear) -> linear_elmo.Copies:
    return linear_elmo.copies_of(layer.weight)


@onednn
def test_the_results_are_those_of_the_plain_weights(wide_model):
    expected = [results(wide_model, lengths) for lengths in BATCHES]
    assert expected[-1].abs().max() > 0.05 - 1e-6, "the clip does not bind"
    lstm = wide_model.layers[1].backward_lstm
    with prepared(wide_model):
        for lengths, plain in zip(BATCHES, expected):
            assert_close(results(wide_model, lengths), plain, **EXACT)
            assert_close(results(wide_model, lengths), plain, **EXACT)
            kept = copies(lstm.recurrent_gates)
            assert (kept.transposed is not None, kept.reordered is not None) == (True, len(lengths) > 1)
        first = kept.reordered
        results(wide_model, lengths)
        assert copies(lstm.recurrent_gates).reordered is first
        for layer in (lstm.input_gates, lstm.projection, wide_model.char_encoder.projection):
            assert copies(layer).reordered is not None
    assert copies(lstm.recurrent_gates) is None
    assert torch.equal(results(wide_model, lengths), plain)


def test_sentences_in_rows_that_are_always_busy(wide_model):
    lengths = [3, 30, 8, 1]
    words = torch.randn(1, sum(lengths), 256, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def run() -> torch.Tensor:
        return wide_model(token_embeddings=words, sentence_lengths=lengths).last_hidden_state

    expected = run()
    with prepared(wide_model):
        assert_close(run(), expected, **EXACT)


def in_place(layer: nn.Linear) -> None:
    with torch.no_grad():
        layer.weight *= 1.5


def past_the_count(layer: nn.Linear) -> None:
    layer.weight.data *= 1.5


def through_numpy(layer: nn.Linear) -> None:
    layer.weight.detach().numpy()[:] *= 1.5


def other_memory(layer: nn.Linear) -> None:
    layer.weight.data = layer.weight.data * 1.5


def other_parameter(layer: nn.Linear) -> None:
    layer.weight = nn.Parameter(layer.weight.detach() * 1.5)


def loaded(layer: nn.Linear) -> None:
    layer.load_state_dict({name: tensor * 1.5 for name, tensor in layer.state_dict().items()})


def in_training(layer: nn.Linear) -> None:
    layer.weight.grad = torch.ones_like(layer.weight)
    torch.optim.SGD([layer.weight], lr=0.1).step()


CHANGES = [in_place, past_the_count, through_numpy, other_memory, other_parameter, loaded, in_training]


@pytest.mark.parametrize(
    "lengths", [SEVERAL, pytest.param(ONE, marks=pytest.mark.slow)], ids=["several", "one sentence"]
)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_changed_weights_are_noticed(model, change, lengths):
    lstm = model.layers[0].forward_lstm
    for layer in (lstm.input_gates, lstm.recurrent_gates, lstm.projection, model.char_encoder.projection):
        with prepared(model):
            before = results(model, lengths)
            change(layer)
            changed = results(model, lengths)
        assert not torch.allclose(changed, before, **EXACT)
        assert_close(changed, results(model, lengths), **EXACT)


def test_nested_blocks_errors_and_nothing_left_behind(model):
    head = shake(ElmoForTokenClassification(ElmoConfig(**CONFIG))).eval()
    head.elmo = model

    def fail():
        with prepared(head), prepared(model):
            with prepared(model):
                results(model)
            assert copies(model.char_encoder.projection) is not None
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert linear_elmo._copies == {}
    with prepared(model):
        model.layers[0].forward_lstm.projection = nn.Linear(512, 256, bias=False)
    assert linear_elmo._copies == {}
    with pytest.raises(ValueError, match="`prepared` takes a model, but got a str"), prepared("elmo"):
        pass


def test_gradients_are_those_of_the_plain_weights(model):
    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        model(**ragged(*SEVERAL)).last_hidden_state.square().sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    expected = gradients()
    with prepared(model):
        results(model)
        assert all(map(torch.equal, gradients(), expected))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_other_types_have_the_same_results(model, dtype):
    model.to(dtype)
    expected = results(model)
    with prepared(model):
        assert torch.equal(results(model), expected)


def test_a_type_that_changes_inside(model):
    with prepared(model):
        results(model)
        model.double()
        changed = results(model)
    assert torch.equal(changed, results(model))


def test_int8_layers_have_the_same_results(model):
    model.use_int8_layers()
    expected = results(model)
    with prepared(model):
        assert torch.equal(results(model), expected)


def test_other_threads_use_the_copies_and_copies_of_the_model_do_not(model):
    expected, found = results(model), []
    with prepared(model):
        thread = threading.Thread(target=lambda: found.append(results(model)))
        thread.start()
        thread.join()
        assert_close(found[0], expected, **EXACT)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert copies(other.char_encoder.projection) is None
            assert torch.equal(results(other), expected)
        with torch.inference_mode():
            inside = results(model)
        assert_close(inside, expected, **EXACT)


def test_the_public_name():
    assert hf_elmo.prepared is prepared
