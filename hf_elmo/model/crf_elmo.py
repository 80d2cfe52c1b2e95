# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""A linear-chain conditional random field: the labels of a sentence chosen together (Lafferty et al. 2001).

    score of labels y   s(y) = start[y_1] + sum_t scores[t, y_t] + sum_t transitions[y_t, y_t+1] + end[y_n]
    training            the likelihood exp s(y) / Z, Z over all sequences; a word without a label is summed over
    prediction          the sequence of highest score among those that the labels' scheme allows (Viterbi 1967)

Letters in shapes: B batch, T words, K labels. A mask, of any pattern, says which words are in the chain: those left out
are skipped, as if they were not there. All is computed in single precision at least, all rows and labels at once.
"""

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .label_schemes_elmo import forbidden_transitions

FORBIDDEN = -1e4  # what a transition that the scheme forbids costs: taken only where there is no other way
LOWEST = -100.0  # the score of a label that no allowed sequence has: its probability is 0, yet its logarithm finite
STEP = 2.0**-20  # by how much other labels stay below those of the best sequence: also a softmax keeps it apart


class LinearChainCrf(nn.Module):
    """The weights of the chain, and what is computed with them.

    The schemes forbid at prediction only. In training all sequences count, so that labels which break the scheme, as
    real data have them, get an ordinary finite loss.
    """

    def __init__(self, num_labels: int):
        super().__init__()
        self.transitions = nn.Parameter(torch.empty(num_labels, num_labels))  # from row to column
        self.start = nn.Parameter(torch.empty(num_labels))
        self.end = nn.Parameter(torch.empty(num_labels))

    def reset_parameters(self):
        """Small initial values: any label may follow any other."""
        for weight in (self.transitions, self.start, self.end):
            init.uniform_(weight, a=-0.1, b=0.1)

    def forward(self, scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """The negative log-likelihood of each row, `(B,)`; 0 for a row without labels or without words.

        Args:
            scores (`(B, T, K)`): Of each label for each word.
            labels (`(B, T)`): Label of each word; -100 where it is not known.
            mask (`(B, T)` of bool): Which words are in the chain.
        """
        known = (labels != -100) & mask
        allowed = ~known[..., None] | (labels[..., None] == torch.arange(scores.shape[2], device=scores.device))
        # The highest score of each word counts in neither sum, so that their difference is of small numbers.
        scores = at_least_single(scores) - scores.detach().amax(dim=2, keepdim=True)
        both = torch.cat([scores, scores.masked_fill(~allowed, -torch.inf)])
        log_partition, log_likelihood = self.log_partition(both, torch.cat([mask, mask])).view(2, -1).unbind()
        return log_partition - log_likelihood

    def log_partition(self, scores: Tensor, mask: Tensor) -> Tensor:
        """The logarithm of the summed exponentials of the scores of all sequences, `(B,)`; 0 for a row without words.

        Args:
            scores (`(B, T, K)`), mask (`(B, T)` of bool): as in `forward`; minus infinity excludes a label.
        """
        if not scores.shape[1]:
            return scores.new_zeros(scores.shape[0])
        scores, lengths, _ = left_aligned(at_least_single(scores), mask)
        transitions, start, end = (weight.to(scores.dtype) for weight in (self.transitions, self.start, self.end))
        sums = prefix_scores(scores, lengths, transitions, start, torch.logsumexp)[-1]
        return torch.where(lengths > 0, torch.logsumexp(sums + end, dim=-1), 0)

    def max_marginals(self, scores: Tensor, mask: Tensor, label_names: list[str]) -> Tensor:
        """For each word and label the highest score of a sequence that has it, minus that of the best sequence.

        Of `(B, T, K)`. The best sequence has 0 at each of its labels, all other labels less: so the largest of a word
        is its label in the best sequence, which is one sequence also where several are equally good. Words that are
        not in the chain have 0 for all labels.

        Args:
            scores (`(B, T, K)`), mask (`(B, T)` of bool): as in `forward`.
            label_names (`list[str]`): The labels' names, of which `forbidden_transitions` reads what is allowed.
        """
        scores = at_least_single(scores)
        if not scores.shape[1]:
            return scores
        scores, lengths, order = left_aligned(scores, mask)
        chain = forbidden_transitions(label_names, scores.device)
        transitions, start, end = (
            weight.to(scores.dtype).masked_fill(forbidden, FORBIDDEN)
            for weight, forbidden in zip((self.transitions, self.start, self.end), chain)
        )
        mirror = (lengths[:, None] - 1 - torch.arange(scores.shape[1], device=scores.device)).clamp(min=0)
        mirror = mirror[..., None].expand_as(scores)
        sums = prefix_scores(  # from the first word on, and from the last one back
            torch.stack([scores, scores.gather(1, mirror)]),
            lengths,
            torch.stack([transitions, transitions.T])[:, None],
            torch.stack([start, end])[:, None],
            torch.amax,
        )
        ahead, behind = torch.stack(sums, dim=2)  # each (B, T, K)
        through = ahead + behind.gather(1, mirror) - scores
        through = through - through.amax(dim=2, keepdim=True)
        best = best_sequence(ahead.detach(), lengths, transitions.detach(), end.detach())
        on_best = best[..., None] == torch.arange(scores.shape[2], device=scores.device)
        through = torch.where(
            on_best, 0.0, through.clamp(min=LOWEST, max=-STEP)
        )  # also where rounding, or a tie, has it
        spread = torch.zeros_like(through).scatter(1, order[..., None].expand_as(through), through)
        return spread.masked_fill(~mask[..., None], 0)


def prefix_scores(scores: Tensor, lengths: Tensor, transitions: Tensor, start: Tensor, reduce) -> list[Tensor]:
    """For each word the scores `(..., B, K)` of its labels with all that comes before, reduced over the latter.

    Args:
        scores (`(..., B, T, K)`): Of words that begin at the left.
        lengths (`(B,)`): Words of each row; behind its last word a row keeps what that one has.
        transitions (`(..., K, K)`), start (`(..., K)`): Weights of the chain.
        reduce: `torch.logsumexp`, or `torch.amax`.
    """
    first, *others = scores.unbind(-2)
    sums = [start + first]
    for word, score in enumerate(others, start=1):
        reached = reduce(sums[-1][..., None] + transitions, dim=-2) + score
        sums.append(torch.where((word < lengths)[:, None], reached, sums[-1]))
    return sums


@torch.no_grad()
def best_sequence(sums: Tensor, lengths: Tensor, transitions: Tensor, end: Tensor) -> Tensor:
    """The labels `(B, T)` of the best sequence, walked back from its last word; behind that, its label again.

    Args:
        sums (`(B, T, K)`): The highest scores of sequences up to each word's label, as `prefix_scores` gives them.
        lengths (`(B,)`), transitions (`(K, K)`), end (`(K,)`): as there.
    """
    label = (sums[:, -1] + end).argmax(dim=1)
    into, labels = transitions.T, [label]
    for word in reversed(range(sums.shape[1] - 1)):
        before = (sums[:, word] + into[label]).argmax(dim=1)
        label = torch.where(word < lengths - 1, before, label)
        labels.append(label)
    return torch.stack(labels[::-1], dim=1)


def left_aligned(scores: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The words of each row's chain side by side from the left, what is not in it behind, as 0.

    Returns:
        the scores `(B, T, K)`, the number of words in each chain `(B,)`, and where each column was `(B, T)`.
    """
    order = mask.byte().argsort(dim=1, descending=True, stable=True)
    scores = scores.masked_fill(~mask[..., None], 0)  # what stands there, NaN included, must not reach gradients
    return scores.gather(1, order[..., None].expand_as(scores)), mask.sum(dim=1), order


def at_least_single(scores: Tensor) -> Tensor:
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


__all__ = ["LinearChainCrf"]
