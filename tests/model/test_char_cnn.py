"""The character CNN at inference gives what its layers give when they are called, and calls them where it must."""

import pytest
import torch
from shaken import shake
from torch.testing import assert_close

from hf_elmo import ElmoConfig, ElmoModel
from hf_elmo.model.char_cnn_elmo import (
    largest_values,
    largest_values_by_one_product,
    largest_values_with_gradients,
    padded_from,
    without_common_padding,
)

EXACT = {"rtol": 1e-6, "atol": 1e-6}
W = 12


def words_of_lengths(*lengths, padding=261) -> torch.Tensor:
    """Random ids of characters `(N, W)`, and at the end of each row the same padding."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 250, (len(lengths), W), generator=generator)
    for row, length in enumerate(lengths):
        ids[row, length:] = padding
    return ids


@pytest.fixture(params=["relu", "tanh"])
def encoder(request):
    config = ElmoConfig(
        char_embedding_size=4,
        char_cnn_filters=[[1, 4], [2, 8], [3, 6], [7, 5]],
        char_cnn_activation=request.param,
        max_characters_per_token=W,
        projection_size=6,
        cell_size=10,
    )
    return shake(ElmoModel(config)).char_encoder.requires_grad_(False)


def slow(encoder, words: torch.Tensor) -> torch.Tensor:
    """Every character of every word, by calls of the layers."""
    return encoder.encode_characters(encoder.embeddings(words))


LENGTHS = [(3, 1, 12, 7, 2, 5, 11, 0, 6), (4,), (12, 11), (), (2, 2, 2)]


@pytest.mark.parametrize("lengths", LENGTHS, ids=lambda lengths: f"lengths {lengths}")
def test_equals_calls_of_the_layers(encoder, lengths):
    words = words_of_lengths(*lengths)
    expected = slow(encoder, words)
    for convolution in encoder.convolutions:
        convolution.forward = None  # a call would be an error
    assert_close(encoder(words), expected, **EXACT)


@pytest.mark.parametrize("windows", [1, 30, 2048], ids="at most {} windows".format)
@pytest.mark.parametrize("lengths", LENGTHS, ids=lambda lengths: f"lengths {lengths}")
def test_groups_of_any_size(encoder, lengths, windows):
    words = words_of_lengths(*lengths)
    characters = encoder.embeddings(words).transpose(1, 2)
    expected = torch.cat([convolution(characters).amax(dim=-1) for convolution in encoder.convolutions], dim=1)
    filters = [(convolution.weight, convolution.bias) for convolution in encoder.convolutions]
    assert_close(largest_values(words, encoder.embeddings.weight, filters, windows), expected, **EXACT)


def test_padding_decides_the_maximum_where_it_is_highest(encoder):
    """A word has windows of nothing but padding, unless it fills the row: these have no other maximum."""
    with torch.no_grad():
        encoder.embeddings.weight[261] = 5.0
    words = words_of_lengths(3, 12, 11, 8, 5, 6)
    assert_close(encoder(words), slow(encoder, words), **EXACT)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(encoder, dtype):
    encoder, words = encoder.to(dtype), words_of_lengths(3, 12, 1)
    bound = {torch.float64: 1e-12, torch.bfloat16: 0.05}[dtype]
    assert_close(encoder(words), slow(encoder, words), rtol=0, atol=bound)


@pytest.mark.parametrize("device", ["CPU", "CPU, small groups", "GPU"])
@pytest.mark.parametrize("lengths", [(3, 1, 12, 7), (2, 3), (12,), (5, 6, 7, 5)], ids="lengths {}".format)
def test_products_with_gradients_are_the_layers_with_theirs(encoder, lengths, device):
    """As a CPU and a GPU compute it: words may fill their rows, or share columns of padding that are left out."""
    encoder = encoder.double().requires_grad_()
    words, results = words_of_lengths(*sorted(lengths)), []
    filters = [(convolution.weight, convolution.bias) for convolution in encoder.convolutions]
    for fast in (False, True):
        encoder.zero_grad()
        if fast:
            characters = encoder.embeddings(without_common_padding(words, widest=7))
            if device == "GPU":
                maxima = largest_values_by_one_product(characters, filters)
            else:
                few = 20 if device == "CPU, small groups" else 1 << 18
                maxima = largest_values_with_gradients(characters, sorted(lengths), filters, few)
            vectors = encoder.finish(encoder.activation(maxima))
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
        assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_training_in_autocast_rounds_as_calls_of_the_layers_do(encoder):
    encoder.requires_grad_()
    words = words_of_lengths(3, 1, 12, 7, 2, 5, 11, 0, 6)

    def results(compute, autocast: bool) -> list[torch.Tensor]:
        encoder.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            vectors = compute(words)
        (vectors.float() * torch.linspace(-1, 1, vectors.numel()).view_as(vectors)).sum().backward()
        return [vectors, *(parameter.grad.clone() for parameter in encoder.parameters())]

    exact, called = (results(lambda words: slow(encoder, words), autocast) for autocast in (False, True))
    for convolution in encoder.convolutions:
        convolution.forward = None  # a call would be an error
    ours = results(encoder, True)
    assert ours[0].dtype == called[0].dtype == torch.bfloat16
    for mine, other, wanted in zip(ours, called, exact):
        assert mine.dtype == other.dtype
        # Of two windows that differ by less than the rounding, each may have another one as the largest.
        assert (mine - wanted).norm() <= 4 * (other - wanted).norm()


def test_one_product_in_autocast(encoder):
    words, filters = words_of_lengths(3, 12, 1), [(c.weight, c.bias) for c in encoder.convolutions]
    with torch.autocast("cpu", torch.bfloat16):
        vectors = encoder.finish(encoder.activation(largest_values_by_one_product(encoder.embeddings(words), filters)))
    assert vectors.dtype == torch.bfloat16
    assert_close(vectors.float(), slow(encoder, words), rtol=0, atol=0.05)


def test_filters_without_any_word():
    features = largest_values(
        torch.zeros(0, W, dtype=torch.long), torch.ones(262, 4), [(torch.ones(3, 4, 2), torch.ones(3))]
    )
    assert features.shape == (0, 3)


def test_where_padding_starts():
    assert padded_from(words_of_lengths(3, 0, 12, 11)).tolist() == [3, 0, 11, 11]


@pytest.mark.parametrize("reason", ["hook", "transform", "subclass"])
def test_the_layers_are_called_where_something_looks_into_the_call(encoder, reason):
    words, calls = words_of_lengths(3, 5, 2), []
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
