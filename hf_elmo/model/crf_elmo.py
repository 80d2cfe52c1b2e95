# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""A linear-chain conditional random field (CRF), which labels a sentence as a whole (Lafferty et al. 2001).

    score of labels y   s(y) = start[y_1] + sum_t scores[t, y_t] + sum_t transitions[y_t, y_t+1] + end[y_n]
    training            the likelihood exp s(y) / Z, where Z sums over all sequences; unlabeled words are summed over
    prediction          the sequence of highest score among those that the label scheme allows (Viterbi 1967)

Letters in shapes: B batch, T words, K labels. A mask of any pattern selects the words of the chain; others are skipped
as if they did not exist. All rows and labels are computed at once, in single precision or better.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .scan_elmo import scan

Forbidden = tuple[Tensor, Tensor, Tensor]  # transitions (K, K) from row to column, starts (K,) and ends (K,), of bool
FORBIDDEN = -1e4  # score of a transition that the scheme forbids, so low that any allowed sequence is better
LOWEST = -100.0  # score of a label that no allowed sequence has: probability 0, but a finite logarithm
SRL_START = 1e5  # score of labels at the start of a sentence in AllenNLP's `srl`
STEP = 2.0**-20  # distance of other labels from those of the best sequence, large enough to survive a softmax


class LinearChainCrf(nn.Module):
    """The weights of the chain, with likelihood and prediction.

    The label scheme constrains prediction only; gold sequences that violate it, as real data contain, still get a
    finite loss.
    """

    def __init__(self, num_labels: int):
        super().__init__()
        self.transitions = nn.Parameter(torch.empty(num_labels, num_labels))  # from row to column
        self.start = nn.Parameter(torch.empty(num_labels))
        self.end = nn.Parameter(torch.empty(num_labels))

    def reset_parameters(self):
        """Set small initial values: any label may follow any other."""
        for weight in (self.transitions, self.start, self.end):
            init.uniform_(weight, a=-0.1, b=0.1)

    def forward(self, scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """The negative log-likelihood of each row, `(B,)`; 0 for a row without labels or without words.

        Args:
            scores (`(B, T, K)`): Score of each label for each word.
            labels (`(B, T)`): Label of each word; -100 if it is not known.
            mask (`(B, T)` of bool): Which words are in the chain.
        """
        known = (labels != -100) & mask
        allowed = ~known[..., None] | (labels[..., None] == torch.arange(scores.shape[2], device=scores.device))
        # The highest score of each word cancels in the difference; without it, the two sums are small numbers.
        scores = at_least_single(scores) - scores.detach().amax(dim=2, keepdim=True)
        both = torch.cat([scores, scores.masked_fill(~allowed, -torch.inf)])
        log_partition, log_likelihood = self.log_partition(both, torch.cat([mask, mask])).view(2, -1).unbind()
        return log_partition - log_likelihood

    def log_partition(self, scores: Tensor, mask: Tensor) -> Tensor:
        """The logarithm of the sum of exp s(y) over all sequences y, `(B,)`; 0 for a row without words. Arguments are
        those of `forward`; a score of minus infinity excludes a label."""
        if not scores.shape[1]:
            return scores.new_zeros(scores.shape[0])
        scores, lengths, _ = left_aligned(at_least_single(scores), mask)
        transitions, start, end = (weight.to(scores.dtype) for weight in (self.transitions, self.start, self.end))
        sums = prefix_scores(scores, lengths, transitions, start, torch.logsumexp)[:, -1]
        return torch.where(lengths > 0, torch.logsumexp(sums + end, dim=-1), 0)

    def weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scores of transitions `(K, K)`, of the start and of the end, `(K,)` each."""
        return self.transitions, self.start, self.end


class StoredConstraints(nn.Module):
    """Which labels may follow which, stored with the weights: `allowed` `(K + 2, K + 2)`, from row to column, where
    row K is the start and column K + 1 the end of a sentence."""

    def __init__(self, num_labels: int):
        super().__init__()
        self.register_buffer("allowed", torch.empty(num_labels + 2, num_labels + 2, dtype=torch.bool))

    def reset_parameters(self):
        """Allow everything."""
        init.constant_(self.allowed, True)

    def forbidden(self) -> Forbidden:
        """Return what is forbidden, as `max_marginals` takes it."""
        forbidden = ~self.allowed
        return forbidden[:-2, :-2], forbidden[-2, :-2], forbidden[:-2, -1]


def max_marginals(
    scores: Tensor,
    mask: Tensor,
    forbidden: Forbidden,
    weights: tuple[Tensor, Tensor, Tensor] | None = None,
    as_srl: bool = False,
) -> Tensor:
    """For each word and label, `(B, T, K)`, the highest score of a sequence with it, minus that of the best sequence.

    The labels of the best sequence have 0 and all others less, so the largest of each word belongs to its label in
    the best sequence, which is a single one even if several are equally good. Words that are not in the chain have
    0 for all labels.

    Args:
        scores (`(B, T, K)`): Score of each label for each word.
        mask (`(B, T)` of bool): Which words are in the chain.
        forbidden (`(K, K)`, `(K,)` and `(K,)` of bool): Which transitions from row to column, labels at the start, and
            labels at the end no selected sequence has.
        weights (of the same shapes, *optional*): Scores of transitions, of the start and of the end; by default 0.
        as_srl: Whether the best sequence is the one that `srl_sequence` selects.
    """
    scores = at_least_single(scores)
    if not scores.shape[1]:
        return scores
    scores, lengths, order = left_aligned(scores, mask)
    weights = [scores.new_zeros(part.shape) for part in forbidden] if weights is None else weights
    transitions, start, end = (
        weight.to(scores.dtype).masked_fill(part, FORBIDDEN) for weight, part in zip(weights, forbidden)
    )
    mirror = (lengths[:, None] - 1 - torch.arange(scores.shape[1], device=scores.device)).clamp(min=0)
    mirror = mirror[..., None].expand_as(scores)
    both_directions = prefix_scores(  # from the first word on, and from the last word back
        torch.stack([scores, scores.gather(1, mirror)]),
        lengths,
        torch.stack([transitions, transitions.T])[:, None],
        torch.stack([start, end])[:, None],
        torch.amax,
    )
    forward, backward = both_directions  # each (B, T, K)
    through = forward + backward.gather(1, mirror) - scores
    through = through - through.amax(dim=2, keepdim=True)
    if as_srl:
        best = srl_sequence(scores, lengths, forbidden)
    else:
        into, end = transitions.detach(), end.detach()
        best = best_sequence(forward.detach(), lengths, into, end, partial(torch.argmax, dim=1))
    on_best = best[..., None] == torch.arange(scores.shape[2], device=scores.device)
    # Rounding and ties give 0 to other labels too: they are lowered.
    through = torch.where(on_best, 0.0, through.clamp(min=LOWEST, max=-STEP))
    spread = torch.zeros_like(through).scatter(1, order[..., None].expand_as(through), through)
    return spread.masked_fill(~mask[..., None], 0)


def prefix_scores(
    scores: Tensor, lengths: Tensor, transitions: Tensor, start: Tensor, reduce: Callable[..., Tensor]
) -> Tensor:
    """For each word, the scores `(..., B, T, K)` of all sequences that end with each of its labels, reduced.

    Args:
        scores (`(..., B, T, K)`): Scores of labels, the words of each chain at the left.
        lengths (`(B,)`): Words of each row; after its last word, a row repeats the result of that word.
        transitions (`(..., K, K)`), start (`(..., K)`): Weights of the chain.
        reduce: `torch.logsumexp` for the sum of all sequences, `torch.amax` for the best.
    """
    words = torch.arange(scores.shape[-2], device=scores.device)[:, None, None]
    goes_on = (words > 0) & (words < lengths[:, None])  # (T, B, 1)
    each_word = scores.movedim(-2, 0)
    step = partial(prefix_step, reduce, transitions)
    return scan(step, start + each_word[0], (each_word, goes_on))[1].movedim(0, -2)


def prefix_step(
    reduce: Callable[..., Tensor], transitions: Tensor, sums: Tensor, inputs: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """Go on to the next word: from sums `(..., B, K)`, with its scores and whether its row has it."""
    score, goes_on = inputs
    reached = reduce(sums[..., None] + transitions, dim=-2) + score
    sums = torch.where(goes_on, reached, sums)
    return sums, sums


@torch.no_grad()
def best_sequence(
    sums: Tensor, lengths: Tensor, transitions: Tensor, end: Tensor, select: Callable[[Tensor], Tensor]
) -> Tensor:
    """Backtrace the labels `(B, T)` of the best sequence from its last word; after it, its label is repeated.

    Args:
        sums (`(B, T, K)`): Results of `prefix_scores` with `torch.amax`, whose other arguments are given again.
        select: Selects a largest of each row, `(B, K)` to `(B,)`.
    """
    last = select(sums[:, -1] + end)
    is_before_last = torch.arange(sums.shape[1], device=sums.device)[:, None] < lengths - 1  # (T, B)
    step = partial(backtrace_step, select, transitions.T)
    return scan(step, last, (sums.transpose(0, 1), is_before_last), reverse=True)[1].T


def backtrace_step(
    select: Callable[[Tensor], Tensor], into: Tensor, label: Tensor, inputs: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """Go back to the previous word, `(B,)` to `(B,)`, by the scores `(K, K)` into each label."""
    sums, is_before_last = inputs
    label = torch.where(is_before_last, select(sums + into[label]), label)
    return label, label


@torch.no_grad()
def srl_sequence(scores: Tensor, lengths: Tensor, forbidden: Forbidden) -> Tensor:
    """Return the labels `(B, T)` that AllenNLP's `srl` selects out of scores `(B, T, K)`.

    It adds them in single precision to the 100,000 that labels at the start have, where others have 0. So sums are
    rounded to multiples of 1/128, often to equal ones, of which `torch.topk` takes any, always the same; not on a GPU.
    """
    transitions, end = (
        torch.zeros_like(part, dtype=torch.float32).masked_fill(part, -torch.inf) for part in forbidden[::2]
    )
    sums = prefix_scores(scores.float(), lengths, transitions, SRL_START * ~forbidden[1], torch.amax)
    return best_sequence(sums, lengths, transitions, end, srl_largest)


def srl_largest(sums: Tensor) -> Tensor:
    """Return the one of the largest of each row that `torch.topk` takes out of all labels, the start and the end."""
    return nn.functional.pad(sums, (0, 2), value=-torch.inf).topk(1, dim=1).indices[:, 0]


def left_aligned(scores: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move the words of each row's chain to the left; others follow, with scores of 0. Return the scores `(B, T, K)`,
    the number of words of each chain `(B,)`, and the former place of each column `(B, T)`."""
    lengths = mask.sum(dim=1)
    # A stable sort of the mask, by counting: an exported graph has no other
    column = torch.where(mask, mask.cumsum(dim=1), lengths[:, None] + (~mask).cumsum(dim=1)) - 1
    places = torch.arange(mask.shape[1], device=mask.device).expand_as(column)
    order = torch.zeros_like(column).scatter(1, column, places)
    scores = scores.masked_fill(~mask[..., None], 0)  # NaN there must not reach gradients
    return scores.gather(1, order[..., None].expand_as(scores)), lengths, order


def at_least_single(scores: Tensor) -> Tensor:
    """Scores in single precision or better."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
