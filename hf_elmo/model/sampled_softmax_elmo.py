# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The word softmax of a language model with a large vocabulary, in bounded memory.

    full     -log softmax(W x + b)[target], over chunks of positions
    sampled  the same over the target and S words drawn for the step (Jean et al. 2015), each score lowered by the
             logarithm of how often its word is expected among the drawn ones

Letters in shapes: N positions, P projection width, V words, S sampled words.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .linear_elmo import differentiable_linear, may_skip_calls

MAX_SCORES = 1 << 25  # scores held at once by the full softmax: 128 MiB of float32


class Candidates(NamedTuple):
    """Negative samples: distinct `ids` `(S,)`, and the number of draws until as many were found."""

    ids: Tensor
    num_draws: int


def draw_candidates(num_samples: int, vocab_size: int, generator: torch.Generator | None = None) -> Candidates:
    """Draw distinct words, rank k with probability log((k + 2) / (k + 1)) / log(V + 1), until there are `num_samples`.

    This is TensorFlow's log-uniform candidate sampler; it fits vocabularies sorted by falling frequency.

    Args:
        num_samples (`int`): S, below `vocab_size`.
        vocab_size (`int`): V.
        generator (`torch.Generator` on the CPU, *optional*): Random number generator; by default the global one.

    Raises:
        `ValueError`: if there are not more words than samples.
    """
    if not 0 < num_samples < vocab_size:
        raise ValueError(
            f"the number of negative samples must be from 1 to {vocab_size - 1}, as the vocabulary has {vocab_size} "
            f"words, but is {num_samples}"
        )
    draws = torch.empty(0, dtype=torch.long)
    while True:
        uniform = torch.rand(2 * num_samples, dtype=torch.float64, generator=generator)
        ids = (uniform * math.log(vocab_size + 1)).exp().long() - 1
        draws = torch.cat([draws, ids.clamp(0, vocab_size - 1)])
        distinct, place = draws.unique(return_inverse=True)
        if len(distinct) >= num_samples:
            break
    order = torch.arange(len(draws))
    first_draw = torch.full_like(distinct, len(draws)).scatter_reduce_(0, place, order, "amin")
    found = first_draw.argsort()[:num_samples]
    return Candidates(distinct[found], int(first_draw[found[-1]]) + 1)


def expected_counts(ids: Tensor, num_samples: int, num_draws: int, vocab_size: int) -> Tensor:
    """The expected count of each word among `num_samples` distinct words found in `num_draws`: 1 - (1 - p)^draws."""
    ranks = ids.double()
    probability = torch.log1p(1 / (ranks + 1)) / math.log(vocab_size + 1)
    if num_draws == num_samples:  # no word was drawn twice: TensorFlow then counts plain draws
        return probability * num_draws
    return -torch.expm1(num_draws * torch.log1p(-probability))


def sampled_softmax_loss(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    sampled_ids: Tensor,
    target_counts: Tensor,
    sampled_counts: Tensor,
    sparse: bool = False,
) -> Tensor:
    """Return the loss of each position against its target and the sampled words, `tf.nn.sampled_softmax_loss`.

    A sampled word that is a position's own target does not count there. Only the rows of targets and samples are read.

    Args:
        x (`(N, P)`): Outputs of the language model.
        weight (`(V, P)`), bias (`(V,)`): The softmax layer.
        targets (`(N,)`): Words to be predicted.
        sampled_ids (`(S,)`): Distinct words, common to all positions.
        target_counts (`(N,)`), sampled_counts (`(S,)`): Expected counts of targets and samples.
        sparse (`bool`): Whether the gradient of `weight` is a sparse tensor of the rows read.

    Returns:
        `(N,)` losses, natural logarithm.
    """
    ids = torch.cat([targets, sampled_ids])
    target_rows, sampled_rows = F.embedding(ids, weight, sparse=sparse).split([len(targets), len(sampled_ids)])
    target_bias, sampled_bias = bias[ids].split([len(targets), len(sampled_ids)])
    target_scores = (x * target_rows).sum(dim=-1) + target_bias - target_counts.log().to(bias.dtype)
    product = differentiable_linear if may_skip_calls(x, weight, with_gradients=True) else F.linear
    sampled_scores = product(x, sampled_rows, sampled_bias).to(bias.dtype) - sampled_counts.log().to(bias.dtype)
    hits = targets[:, None] == sampled_ids
    sampled_scores = sampled_scores.masked_fill(hits, torch.finfo(sampled_scores.dtype).min)
    scores = torch.cat([target_scores[:, None], sampled_scores], dim=1)
    return scores.logsumexp(dim=1) - target_scores


def full_softmax_loss(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each position against all words, `(N,)`, with at most `MAX_SCORES` scores held at a time."""

    def chunk_loss(x: Tensor, targets: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(x, weight, bias).float(), targets, reduction="none")

    size = max(1, MAX_SCORES // len(weight))
    if len(x) <= size:
        return chunk_loss(x, targets, weight, bias)
    chunks = zip(x.split(size), targets.split(size))
    if torch.is_grad_enabled():  # scores of a chunk are computed again for its gradient, not kept
        return torch.cat([checkpoint(chunk_loss, *chunk, weight, bias, use_reentrant=False) for chunk in chunks])
    return torch.cat([chunk_loss(*chunk, weight, bias) for chunk in chunks])
