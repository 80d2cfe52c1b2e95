"""The character CNN gives what its layers give when they are called, and calls them where it must."""

import pytest
import torch
from shaken import shake
from torch.nn import functional as F
from torch.testing import assert_close

from hf_elmo import ElmoConfig, ElmoModel
from hf_elmo.model import char_cnn_elmo
from hf_elmo.model.char_cnn_elmo import (
    largest_values,
    largest_values_by_one_product,
    padded_from,
    without_common_padding,
)

EXACT = {"rtol": 1e-12, "atol": 1e-12}
W = 12


def words_of_lengths(*lengths, padding=261) -> torch.Tensor:
    """Random ids of characters `(N, W)`, and at the end of each row the same padding."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 250, (len(lengths), W), generator=generator)
    for row, length in enumerate(lengths):
        ids[row, length:] = padding
    return ids


@pytest.fixture(params=["relu", "tanh"])
def encoder(request, monkeypatch):
    monkeypatch.setattr(char_cnn_elmo, "FEW_VALUES", 0)
    config = ElmoConfig(
        char_embedding_size=4,
        char_cnn_filters=[[1, 4], [2, 8], [3, 6], [7, 5]],
        char_cnn_activation=request.param,
        max_characters_per_token=W,
        projection_size=6,
        cell_size=10,
    )
    return shake(ElmoModel(config)).char_encoder.requires_grad_(False).double()


def slow(encoder, words: torch.Tensor) -> torch.Tensor:
    """Every character of every word, by calls of the layers."""
    return encoder.encode_characters(encoder.embeddings(words))


LENGTHS = [(3, 1, 12, 7, 2, 5, 11, 0, 6), (4,), (12, 11), (), (2, 2, 2)]


@pytest.mark.parametrize("lengths", LENGTHS, ids=lambda lengths: f"lengths {lengths}")
def test_equals_calls_of_the_layers(encoder, lengths):
    words = words_of_lengths(*lengths)
    expected = slow(encoder, words)
    for convolution in encoder.convolutions if lengths else ():
        convolution.forward = None  # a call would be an error
    assert_close(encoder(words), expected, **EXACT)


def fast(encoder, words: torch.Tensor, most: int = 1 << 21) -> torch.Tensor:
    """The maxima of words, the shortest first, by rows of distinct characters."""
    characters, places = words.unique(return_inverse=True)
    filters = [(convolution.weight, convolution.bias) for convolution in encoder.convolutions]
    return largest_values(places, padded_from(words).tolist(), encoder.embeddings(characters), filters, most)


@pytest.mark.parametrize("most", [1, 100, 2048], ids="at most {} values".format)
@pytest.mark.parametrize("lengths", LENGTHS[:3], ids=lambda lengths: f"lengths {lengths}")
def test_groups_of_any_size(encoder, lengths, most, monkeypatch):
    monkeypatch.setattr(char_cnn_elmo, "WORDS", 4)
    monkeypatch.setattr(char_cnn_elmo, "GROUP_WORDS", 2)
    words = words_of_lengths(*sorted(lengths))
    characters = encoder.embeddings(words).transpose(1, 2)
    expected = torch.cat([convolution(characters).amax(dim=-1) for convolution in encoder.convolutions], dim=1)
    assert_close(fast(encoder, words, most), expected, **EXACT)


def test_padding_decides_the_maximum_where_it_is_highest(encoder):
    """A word has windows of nothing but padding, unless it fills the row: these have no other maximum."""
    with torch.no_grad():
        encoder.embeddings.weight[261] = 5.0
    words = words_of_lengths(3, 12, 11, 8, 5, 6)
    assert_close(encoder(words), slow(encoder, words), **EXACT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_precisions(encoder, dtype):
    encoder, words = encoder.to(dtype), words_of_lengths(3, 12, 1)
    bound = {torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]
    assert_close(encoder(words), slow(encoder, words), rtol=bound, atol=bound)


@pytest.mark.parametrize("device", ["CPU", "CPU, few values", "GPU"])
@pytest.mark.parametrize("lengths", [(3, 1, 12, 7), (2, 3), (12,), (5, 6, 7, 5)], ids="lengths {}".format)
def test_products_with_gradients_are_the_layers_with_theirs(encoder, lengths, device):
    """As a CPU and a GPU compute it: words may fill their rows, or share columns of padding that are left out."""
    encoder.requires_grad_()
    words, results = words_of_lengths(*sorted(lengths)), []
    filters = [(convolution.weight, convolution.bias) for convolution in encoder.convolutions]
    for path in ("slow", device):
        encoder.zero_grad()
        if path == "GPU":
            characters = encoder.embeddings(without_common_padding(words, widest=7))
            vectors = encoder.finish(encoder.activation(largest_values_by_one_product(characters, filters)))
        elif path != "slow":
            vectors = encoder.finish(encoder.activation(fast(encoder, words, 20 if "few" in path else 1 << 21)))
        else:
            vectors = slow(encoder, words)
        (vectors * torch.linspace(-1, 1, vectors.numel()).view_as(vectors)).sum().backward()
        results.append([vectors, *(parameter.grad.clone() for parameter in encoder.parameters())])
    for actual, expected in zip(results[1], results[0]):
        assert_close(actual, expected, rtol=0, atol=1e-12)


def test_training_computes_equal_words_once_in_groups_of_like_length(encoder):
    encoder.requires_grad_()
    words = words_of_lengths(3, 1, 12, 7, 2, 5, 11, 0, 6)
    words = torch.cat([words, words.flip(0)])
    results = []
    for vectors in (encoder(words), slow(encoder, words)):
        encoder.zero_grad()
        (vectors * torch.linspace(-1, 1, vectors.numel()).view_as(vectors)).sum().backward()
        results.append([vectors, *(parameter.grad.clone() for parameter in encoder.parameters())])
    for actual, expected in zip(*results):
        assert_close(actual, expected, **EXACT)


def test_autocast_rounds_what_the_convolutions_return_and_nothing_before(encoder):
    encoder.requires_grad_().float()
    words, results = words_of_lengths(1, 2, 3, 5, 7, 11, 12), []
    convolutions = [encoder.embeddings.weight, *encoder.convolutions.parameters()]
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            maxima, vectors = fast(encoder, words), encoder(words)
        assert maxima.dtype == vectors.dtype == (torch.bfloat16 if autocast else torch.float32)
        cotangent = torch.linspace(-1, 1, maxima.numel()).view_as(maxima).bfloat16().to(maxima.dtype)
        results.append([maxima.bfloat16(), *torch.autograd.grad(maxima, convolutions, cotangent)])
    for actual, expected in zip(*results):
        assert torch.equal(actual, expected)
    assert_close(vectors, slow(encoder, words), rtol=0, atol=0.05, check_dtype=False)


def test_one_product_in_autocast(encoder):
    encoder.float()
    words, filters = words_of_lengths(3, 12, 1), [(c.weight, c.bias) for c in encoder.convolutions]
    with torch.autocast("cpu", torch.bfloat16):
        vectors = encoder.finish(encoder.activation(largest_values_by_one_product(encoder.embeddings(words), filters)))
    assert vectors.dtype == torch.bfloat16
    assert_close(vectors.float(), slow(encoder, words), rtol=0, atol=0.05)


def test_windows_with_equal_values_share_the_gradient():
    """Those of a filter of zeros, too, as all windows of a word are equal there."""
    places, characters = torch.tensor([[0, 1, 2, 3, 3]]), torch.arange(8.0).view(4, 2).double()
    weight = torch.zeros(1, 2, 2, dtype=torch.float64, requires_grad=True)
    largest_values(places, [3], characters, [(weight, torch.zeros(1).double())]).sum().backward()
    expected = weight.detach().clone().requires_grad_()
    F.conv1d(characters[places].transpose(1, 2), expected).amax(dim=-1).sum().backward()
    assert_close(weight.grad, expected.grad)


def test_where_padding_starts():
    assert padded_from(words_of_lengths(3, 0, 12, 11)).tolist() == [3, 0, 11, 11]


@pytest.mark.parametrize("reason", ["hook", "transform", "subclass"])
def test_the_layers_are_called_where_something_looks_into_the_call(encoder, reason):
    encoder, words, calls = encoder.float(), words_of_lengths(3, 5, 2), []
    convolution = encoder.convolutions[1]
    original = convolution.forward
    convolution.forward = lambda x: calls.append(x) or original(x)
    if reason == "hook":
        encoder.convolutions[0].register_forward_hook(lambda *call: None)
    elif reason == "subclass":
        replacement = type("Adapter", (torch.nn.Conv1d,), {})(4, 4, 1)
        replacement.load_state_dict(encoder.convolutions[0].state_dict())
        encoder.convolutions[0] = replacement
    if reason == "transform":
        torch.func.functional_call(encoder, {}, (words,))  # by itself no transform
        assert not calls
        torch.func.jvp(lambda scale: encoder(words) * scale, (torch.ones(()),), (torch.ones(()),))
    else:
        encoder(words)
    assert calls
