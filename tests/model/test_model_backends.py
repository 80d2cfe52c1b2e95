"""The whole model: the backend of its recurrence and the reason for it, forced backends, compilation and export."""

import pytest
import torch
from shaken import shake
from torch import nn
from torch.testing import assert_close

from hf_elmo import ElmoForTokenClassification, ElmoModel, last_lstm_path, lstm_path

EXACT = {"rtol": 0, "atol": 1e-6}


def ragged(*lengths: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """A batch of sentences of random words; padding lies on the left of every second row."""
    generator = torch.Generator().manual_seed(seed)
    T = max(lengths)
    ids = torch.randint(1, 262, (len(lengths), T, 50), generator=generator)
    mask = torch.zeros(len(lengths), T, dtype=torch.long)
    for row, length in enumerate(lengths):
        words = slice(T - length, T) if row % 2 else slice(length)
        mask[row, words] = 1
    return {"input_ids": ids * mask[..., None], "attention_mask": mask}


def test_the_backend_and_the_reason(tiny_model):
    for mode in (torch.no_grad, torch.enable_grad, torch.inference_mode):
        with mode():
            tiny_model(**ragged(5, 3))
        assert last_lstm_path() == ("packed", "plain tensors")
    fast = tiny_model(**ragged(5, 3)).last_hidden_state
    with lstm_path("reference"):
        assert_close(tiny_model(**ragged(5, 3)).last_hidden_state, fast, **EXACT)
        assert last_lstm_path() == ("reference", "forced by lstm_path")


def test_the_backend_of_a_head(tiny_config):
    head = shake(ElmoForTokenClassification(tiny_config))
    with lstm_path("reference"):
        expected = head(**ragged(5, 3)).logits
        assert last_lstm_path().name == "reference"
    assert_close(head(**ragged(5, 3)).logits, expected, **EXACT)
    assert last_lstm_path().name == "packed"


class Adapter(nn.Linear):
    """A layer that must be called: it computes more than the product with its weight."""

    def forward(self, x):
        return super().forward(x) + x.sum(-1, keepdim=True)


def test_layers_that_must_be_called_are_the_reason(tiny_model):
    plain = tiny_model(**ragged(5, 3)).last_hidden_state
    calls = []
    gates = tiny_model.layers[1].backward_lstm.recurrent_gates
    handle = gates.register_forward_hook(lambda *call: calls.append(call))
    assert_close(tiny_model(**ragged(5, 3)).last_hidden_state, plain, **EXACT)
    assert len(calls) == 5
    assert last_lstm_path() == ("reference", "recurrent_gates must be called: it has hooks")
    handle.remove()

    projection = tiny_model.layers[1].forward_lstm.projection
    adapter = Adapter(projection.in_features, projection.out_features, bias=False)
    adapter.load_state_dict(projection.state_dict())
    tiny_model.layers[1].forward_lstm.projection = adapter
    assert not torch.allclose(tiny_model(**ragged(5, 3)).last_hidden_state, plain)
    assert last_lstm_path() == ("reference", "projection must be called: it is a Adapter")
    with lstm_path("reference"):
        tiny_model(**ragged(5, 3))
    with lstm_path("packed"), pytest.raises(ValueError, match="'packed' cannot run here: projection must be called"):
        tiny_model(**ragged(5, 3))


@pytest.mark.slow
def test_compiled_for_batches_and_lengths_that_change(tiny_config):
    """One graph holds everything, for any number of sentences and words. (A convolution has another below 16 words.)
    The tagger's own LSTM, for any of both, is in the graph of test_integrations.py, and compiled in test_trainer.py."""
    torch._dynamo.reset()
    tiny_config.num_hidden_layers, tiny_config.tagger_layers = 1, 0
    tiny_config.char_cnn_filters = [[1, 4], [2, 8]]
    model = shake(ElmoForTokenClassification(tiny_config))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=True)
    with torch.no_grad():
        compiled(**ragged(9, 2))
        with torch.compiler.set_stance("fail_on_recompile"):
            for lengths in ((6, 1, 2), (2, 7, 3, 3, 1), (19, 1)):
                batch = ragged(*lengths, seed=len(lengths))
                assert_close(compiled(**batch)[0], model(**batch)[0], rtol=1e-5, atol=1e-6)
    torch._dynamo.reset()


@pytest.mark.slow
def test_exported_from_bytecode_with_ragged_masks_for_any_batch_and_length(tiny_config):
    """As strict export does it, by the tracer of `torch.compile`; test_integrations.py has the other one."""
    tiny_config.num_hidden_layers = 1
    model = shake(ElmoModel(tiny_config))
    dynamic = {0: torch.export.Dim("batch"), 1: torch.export.Dim("words")}
    shapes = {"input_ids": dynamic, "attention_mask": dynamic}
    with torch.no_grad():
        program = torch.export.export(model, (), kwargs=ragged(3, 2), dynamic_shapes=shapes, strict=True).module()
        for lengths in ((3, 2), (1, 13, 2, 2), (3, 3, 3, 1, 2, 5)):
            again = ragged(*lengths, seed=1)
            assert_close(program(**again)[0], model(**again)[0], rtol=1e-5, atol=1e-6)


def test_another_default_device_changes_nothing(tiny_model):
    """Intermediate tensors are made on the device of the words."""
    with torch.no_grad():
        expected = tiny_model(**ragged(5, 3)).last_hidden_state
        batch = ragged(5, 3)
        with torch.device("meta"):
            assert_close(tiny_model(**batch).last_hidden_state, expected, rtol=0, atol=0)
