# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Layers of task heads: attention between the words of texts, pooling of words to one vector, its normalization.

Letters in shapes: B batch, T and S words, D width of a word's vector. A mask is True where there is a word, in any
pattern; what stands elsewhere reaches neither results nor gradients. A text without words gives zeros.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from transformers import initialization as init


def masked_softmax(scores: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """The softmax of `scores` over the places where `mask` is True, 0 elsewhere; all 0 where there is no such place."""
    lowest = torch.finfo(scores.dtype).min  # which has an exponential, unlike the infinity of a row without any place
    return scores.masked_fill(~mask, lowest).softmax(dim).masked_fill(~mask, 0)


def masked_mean(words: Tensor, mask: Tensor) -> Tensor:
    """The mean of the words that are there: `(B, T, D)` and `(B, T)` to `(B, D)`."""
    weights = mask[..., None].to(words.dtype)
    return (words * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def masked_max(values: Tensor, mask: Tensor, dim: int = 1) -> Tensor:
    """The largest of the values where `mask` is True, along one dimension; 0 where there is no such place."""
    if not values.shape[dim]:
        return values.sum(dim)
    highest = values.masked_fill(~mask, torch.finfo(values.dtype).min).amax(dim)
    return highest.masked_fill(~mask.any(dim), 0)


def masked_min(values: Tensor, mask: Tensor, dim: int = 1) -> Tensor:
    """The smallest, else as `masked_max`."""
    return -masked_max(-values, mask, dim)


def attended(scores: Tensor, words: Tensor, mask: Tensor) -> Tensor:
    """For each of T words the mean of S others, weighted by the softmax of its scores for them.

    Args:
        scores (`(B, T, S)`): what each word has to do with each of the others.
        words (`(B, S, D)`): the others.
        mask (`(B, T, S)` or `(B, 1, S)`): which of them it may attend to.
    Returns:
        `(B, T, D)`
    """
    return masked_softmax(scores, mask) @ words


class SelfAttentivePooling(nn.Module):
    """The mean of words weighted by the softmax of a learnt score of each (McCann et al. 2017, section 5)."""

    def __init__(self, width: int):
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)  # a bias would shift all scores alike, which no softmax sees
        self.score.init_weight = init.xavier_uniform_

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """From `(B, T, D)` and `(B, T)` to `(B, D)`."""
        return attended(self.score(words).transpose(1, 2), words, mask[:, None]).squeeze(1)


class Trilinear(nn.Module):
    """Scores of pairs of words, `u x + v y + (w * x) y` with learnt vectors u, v, w (Seo et al. 2017, section 2)."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Linear(width, 1, bias=False)
        self.second = nn.Linear(width, 1, bias=False)
        bound = (6 / (width + 1)) ** 0.5
        self.product = Scale(width, partial(init.uniform_, a=-bound, b=bound))
        for part in (self.first, self.second):
            part.init_weight = init.xavier_uniform_

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """From `(B, T, D)` and `(B, S, D)` to `(B, T, S)`."""
        return self.first(x) + self.second(y).transpose(1, 2) + self.product(x) @ y.transpose(1, 2)


class Scale(nn.Module):
    """A learnt factor for each feature."""

    def __init__(self, width: int, init_weight: Callable[[Tensor], Tensor]):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.init_weight = init_weight

    def begin(self):
        self.init_weight(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class BidirectionalAttention(nn.Module):
    """Context and question see each other (Seo et al. 2017, section 2, layer 4)."""

    def __init__(self, width: int):
        super().__init__()
        self.similarity = Trilinear(width)

    def forward(self, context: Tensor, question: Tensor, context_mask: Tensor, question_mask: Tensor) -> Tensor:
        """Each context word beside what it attends to in the question, and its products with that and with the mean of
        those context words that are nearest to some question word.

        Args:
            context (`(B, T, D)`), context_mask (`(B, T)`), question (`(B, S, D)`), question_mask (`(B, S)`)
        Returns:
            `(B, T, 4D)`
        """
        scores = self.similarity(context, question)
        from_question = attended(scores, question, question_mask[:, None])
        nearest = masked_max(scores, question_mask[:, None], dim=-1)  # (B, T)
        from_context = attended(nearest[:, None], context, context_mask[:, None])  # (B, 1, D)
        return torch.cat([context, from_question, context * from_question, context * from_context], dim=-1)


class SelfAttention(nn.Module):
    """Each word attends to the other words of its text, or to nothing (Clark and Gardner 2018, section 3.1).

    How much a word attends to nothing is learnt: one more score beside those of the others, as in the authors' code. A
    text of one word has nothing else.
    """

    def __init__(self, width: int):
        super().__init__()
        self.similarity = Trilinear(width)
        self.nothing = Scale(1, partial(init.constant_, val=-1.0))

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """Each word beside what it attends to, and their product: `(B, T, D)` and `(B, T)` to `(B, T, 3D)`."""
        scores = self.similarity(words, words)
        nothing = self.nothing(torch.ones_like(scores[..., :1]))
        itself = torch.eye(words.shape[1], dtype=torch.bool, device=words.device)
        places = torch.cat([mask[:, None] & ~itself, torch.ones_like(nothing, dtype=torch.bool)], dim=-1)
        weights = masked_softmax(torch.cat([scores, nothing], dim=-1), places)[..., :-1]
        others = weights @ words
        return torch.cat([words, others, words * others], dim=-1)


class BatchNormalization(nn.BatchNorm1d):
    """Each feature by its mean and variance over the rows of a batch, and when used, by their running averages.

    It has no weights: a linear layer follows. A batch of one row, which has no variance, is taken as when used.
    """

    def __init__(self, width: int):
        super().__init__(width, affine=False)

    def begin(self):
        init.zeros_(self.running_mean)
        init.ones_(self.running_var)
        init.zeros_(self.num_batches_tracked)

    def forward(self, x: Tensor) -> Tensor:
        """From `(B, D)` to the same."""
        if x.shape[0] > 1 or not self.training:
            return super().forward(x)
        return nn.functional.batch_norm(x, self.running_mean, self.running_var, eps=self.eps)


__all__ = [
    "BatchNormalization",
    "BidirectionalAttention",
    "SelfAttention",
    "SelfAttentivePooling",
    "Trilinear",
    "attended",
    "masked_max",
    "masked_mean",
    "masked_min",
    "masked_softmax",
]
