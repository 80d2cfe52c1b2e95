"""The softmax over words: the sampled one against TensorFlow's and against chance, the full one in bounded memory."""

import math
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
    log_sum_exp,
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


def softmax_case(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((23, 5), (40, 5), (40,)))
    return [tensor.to(dtype) for tensor in (x, weight, bias)], torch.randint(40, (23,), generator=generator)


def losses_and_gradients(function, tensors, *arguments):
    """Weigh each loss differently, as a mean would not show gradients that are mixed up between positions."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    losses = function(*leaves, *arguments)
    losses.square().sum().backward()
    return losses.detach(), *(leaf.grad for leaf in leaves)


@pytest.fixture(params=[None, (7, 9), (23, 40)], ids=["kept", "blocks", "one block"])
def block(request, monkeypatch):
    """Whether the scores of a batch are kept for the gradient, or computed again by blocks of this size."""
    if request.param is not None:
        monkeypatch.setattr(language_model_elmo, "KEPT_SCORES", 1)
        monkeypatch.setattr(language_model_elmo, "CPU_BLOCK", request.param)


def test_full_softmax_is_the_cross_entropy(block):
    tensors, targets = softmax_case()

    def cross_entropy(x, weight, bias):
        return torch.nn.functional.cross_entropy(x @ weight.T + bias, targets, reduction="none")

    expected = losses_and_gradients(cross_entropy, tensors)
    for actual, wanted in zip(losses_and_gradients(full_softmax_loss, tensors, targets), expected):
        assert_close(actual, wanted, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        assert_close(full_softmax_loss(*tensors, targets), expected[0])


def test_an_excluded_column_has_no_part_in_sum_and_gradients(block):
    tensors, excluded = softmax_case()
    excluded[::3] = -1

    def masked(x, weight, bias):
        return (x @ weight.T + bias).masked_fill(torch.arange(40) == excluded[:, None], -torch.inf).logsumexp(1)

    expected = losses_and_gradients(masked, tensors)
    for actual, wanted in zip(losses_and_gradients(log_sum_exp, tensors, excluded), expected):
        assert_close(actual, wanted, rtol=1e-12, atol=1e-12)


def test_compiled_the_sum_is_the_same(block):
    tensors, excluded = softmax_case(torch.float32)
    expected = losses_and_gradients(log_sum_exp, tensors, excluded)
    compiled = torch.compile(log_sum_exp, backend="aot_eager", fullgraph=True)
    for actual, wanted in zip(losses_and_gradients(compiled, tensors, excluded), expected):
        assert_close(actual, wanted)


def test_half_precision_adds_up_in_float32(block):
    tensors, excluded = softmax_case(torch.bfloat16)
    expected = losses_and_gradients(log_sum_exp, [tensor.double() for tensor in tensors], excluded)
    actual = losses_and_gradients(log_sum_exp, tensors, excluded)
    assert [part.dtype for part in actual] == [torch.float32] + 3 * [torch.bfloat16]
    for part, wanted in zip(actual, expected):
        assert_close(part.double(), wanted, rtol=0, atol=0.02 * float(wanted.abs().max()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = losses_and_gradients(log_sum_exp, [tensor.float() for tensor in tensors], excluded)
    assert [part.dtype for part in cast] == 4 * [torch.float32]
    for part, wanted in zip(cast, actual):
        assert_close(part, wanted.float())


def test_scores_of_many_words_are_never_in_memory_at_once():
    tensors, targets = [torch.zeros(600, 8), torch.zeros(40_000, 8), torch.zeros(40_000)], torch.zeros(600).long()
    limit = 4 * max(language_model_elmo.KEPT_SCORES, math.prod(language_model_elmo.CPU_BLOCK))
    assert 4 * limit < 4 * 600 * 40_000
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        losses_and_gradients(full_softmax_loss, tensors, targets)
    allocated = [event.self_cpu_memory_usage for event in profile.events()]
    assert max(allocated) > 0
    assert max(allocated) <= limit


def test_only_gradients_that_are_needed_are_computed(block):
    tensors, targets = softmax_case()
    expected = losses_and_gradients(full_softmax_loss, tensors, targets)[1:]
    for needed in range(3):
        leaves = [tensor.clone().requires_grad_(place == needed) for place, tensor in enumerate(tensors)]
        full_softmax_loss(*leaves, targets).square().sum().backward()
        assert [leaf.grad is not None for leaf in leaves] == [place == needed for place in range(3)]
        assert_close(leaves[needed].grad, expected[needed])


def test_no_targets_have_no_losses():
    tensors, targets = softmax_case()
    losses, *gradients = losses_and_gradients(full_softmax_loss, [tensors[0][:0], *tensors[1:]], targets[:0])
    assert losses.shape == (0,)
    assert all(not gradient.any() for gradient in gradients)
