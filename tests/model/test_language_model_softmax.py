"""The softmax over words: the sampled one against TensorFlow's and against chance, the full one in bounded memory."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from hf_elmo.model import language_model_elmo
from hf_elmo.model.language_model_elmo import (
    draw_candidates,
    expected_counts,
    full_softmax_loss,
    sampled_softmax_loss,
)


@pytest.fixture(scope="module")
def original(fixtures_dir):
    """`tf.nn.sampled_softmax_loss` with given samples: inputs, losses and gradients of their sum."""
    with np.load(fixtures_dir / "bilm_checkpoint" / "sampled_softmax.npz") as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.mark.parametrize("sparse", [False, True])
def test_losses_and_gradients_are_tensorflows(original, sparse):
    x, weight, bias = (original[name].clone().requires_grad_() for name in ("inputs", "weights", "biases"))
    assert torch.isin(original["labels"], original["sampled_ids"]).sum() == 12, "no accidental hits in the case"
    losses = sampled_softmax_loss(
        x,
        weight,
        bias,
        original["labels"],
        original["sampled_ids"],
        original["true_expected_count"],
        original["sampled_expected_count"],
        sparse=sparse,
    )
    losses.sum().backward()
    assert weight.grad.is_sparse == sparse
    for actual, name in (
        (losses, "loss"),
        (x.grad, "grad_inputs"),
        (weight.grad.to_dense(), "grad_weights"),
        (bias.grad, "grad_biases"),
    ):
        assert_close(actual, original[name], rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_expected_counts_are_tensorflows(original):
    vocab_size, samples = len(original["weights"]), len(original["sampled_ids"])
    # The number of draws is not in the file; the most frequent word's count gives it away.
    counts = {
        draws: expected_counts(original["sampled_ids"], samples, draws, vocab_size) for draws in range(samples, 400)
    }
    draws = min(counts, key=lambda draws: (counts[draws] - original["sampled_expected_count"]).abs().max())
    assert_close(counts[draws].float(), original["sampled_expected_count"], rtol=1e-5, atol=0)
    expected = expected_counts(original["labels"], samples, draws, vocab_size)
    assert_close(expected.float(), original["true_expected_count"], rtol=1e-5, atol=0)


def test_plain_counts_when_every_draw_was_new():
    ids = torch.arange(10)
    probability = torch.log((ids + 2.0) / (ids + 1.0)) / np.log(11)
    assert_close(expected_counts(ids, 3, 3, 10).float(), 3 * probability)
    assert probability.sum() == pytest.approx(1)


@pytest.mark.slow
def test_candidates_are_draws_of_the_log_uniform_law_without_repetition():
    """Against the exact law of three successive draws: each by its probability among the words not yet drawn."""
    vocab_size, samples, rounds = 7, 3, 8000
    probability = torch.log1p(1 / torch.arange(1.0, vocab_size + 1)) / np.log(vocab_size + 1)
    expected = torch.zeros(vocab_size, vocab_size, vocab_size)
    for first, second, third in permutations(range(vocab_size), samples):
        p, q, r = probability[[first, second, third]]
        expected[first, second, third] = p * q / (1 - p) * r / (1 - p - q)
    assert expected.sum() == pytest.approx(1, abs=1e-5)

    generator = torch.Generator().manual_seed(7)
    found, draws = torch.zeros_like(expected), 0
    for _ in range(rounds):
        ids, num_draws = draw_candidates(samples, vocab_size, generator)
        found[tuple(ids)] += 1 / rounds
        draws += num_draws / rounds
    deviation = (expected * (1 - expected) / rounds).sqrt()
    assert ((found - expected).abs() <= 4.5 * deviation).all()
    # Having seen words of probability p and q together, the next new one takes 1 / (1 - p - q) draws in the mean.
    pairs = expected.sum(dim=2)
    waiting = 1 + (pairs.sum(1) / (1 - probability)).sum() + (pairs / (1 - probability[:, None] - probability)).sum()
    assert draws == pytest.approx(float(waiting), rel=0.02)

    once, again = (draw_candidates(5, 60, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(once[0], again[0])
    assert once[1] == again[1]


def test_all_but_one_word_can_be_drawn_and_not_more():
    ids = draw_candidates(7, 8)[0].tolist()
    assert len(set(ids) & set(range(8))) == 7
    for samples in (0, 8, 9):
        with pytest.raises(ValueError, match=r"negative samples must be from 1 to 7.*but is"):
            draw_candidates(samples, 8)


@pytest.mark.slow
def test_sampled_softmax_has_its_optimum_where_the_full_one_has():
    """At the true distribution the expected gradient of both losses is 0; elsewhere that of the sampled one is not.

    Each round draws candidates for all targets at once, and weights these by their true probability.
    """
    vocab_size, samples, rounds = 24, 6, 500
    generator = torch.Generator().manual_seed(0)
    truth = torch.softmax(torch.randn(vocab_size, generator=generator), 0)
    targets, x, weight = torch.arange(vocab_size), torch.ones(vocab_size, 1), torch.zeros(vocab_size, 1)

    def mean_gradient(scores):
        bias = scores.clone().requires_grad_()
        per_round = []
        for _ in range(rounds):
            ids, draws = draw_candidates(samples, vocab_size, generator)
            counts = [expected_counts(i, samples, draws, vocab_size) for i in (targets, ids)]
            losses = sampled_softmax_loss(x, weight, bias, targets, ids, *counts)
            per_round.append(torch.autograd.grad(losses @ truth, bias)[0])
        gradients = torch.stack(per_round)
        return gradients.mean(0), gradients.std(0) / rounds**0.5

    mean, error = mean_gradient(truth.log())
    assert (mean.abs() < 4.5 * error + 2e-3).all()
    mean, error = mean_gradient(torch.zeros(vocab_size))
    assert (mean.abs() > 8 * error).any()


def test_full_softmax_in_chunks_is_the_whole_one(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((23, 5), (40, 5), (40,)))
    targets = torch.randint(40, (23,), generator=generator)

    def run():
        leaves = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
        losses = full_softmax_loss(*leaves, targets)
        losses.square().sum().backward()
        return losses.detach(), *(leaf.grad for leaf in leaves)

    whole = run()
    assert_close(whole[0], torch.nn.functional.cross_entropy(x @ weight.T + bias, targets, reduction="none"))
    largest = 0
    cross_entropy = torch.nn.functional.cross_entropy

    def watched(scores, *args, **kwargs):
        nonlocal largest
        largest = max(largest, scores.numel())
        return cross_entropy(scores, *args, **kwargs)

    monkeypatch.setattr(language_model_elmo, "MAX_SCORES", 100)
    monkeypatch.setattr(language_model_elmo.F, "cross_entropy", watched)
    for actual, expected in zip(run(), whole):
        assert_close(actual, expected)
    with torch.no_grad():
        assert_close(full_softmax_loss(x, weight, bias, targets), whole[0])
    assert 0 < largest <= 100
