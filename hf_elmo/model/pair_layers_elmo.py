# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""How task heads compare the words of two texts: similarities, which a configuration describes by dicts with a `type`.

    dot_product, cosine
    scaled_dot_product          the product divided by the root of the width
    bilinear                    activation, input_biases
    linear                      combination, activation: as Seo et al. 2017, section 2, with "x,y,x*y"

Letters in shapes: B batch, T and S words, D width of a word's vector.
"""

import re
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .task_encoders_elmo import ACTIVATIONS, Layers, build

PIECE = re.compile(r"[xy]|x[-+*/]y|y[-+*/]x")  # of a combination


class Product(nn.Module):
    """The product of two words' vectors, perhaps divided by the root of their width, or by their norms."""

    def __init__(self, width: int, kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """From `(B, T, D)` and `(B, S, D)` to `(B, T, S)`, as all similarities."""
        if self.kind == "cosine":
            least = max(1e-13, torch.finfo(x.dtype).tiny)
            x, y = (vectors / (vectors.norm(dim=-1, keepdim=True) + least) for vectors in (x, y))
        scores = x @ y.transpose(-1, -2)
        return scores / x.shape[-1] ** 0.5 if self.kind == "scaled_dot_product" else scores


class BilinearSimilarity(nn.Module):
    """The score `activation(x W y + b)`; with `input_biases`, x and y have a further feature that is 1."""

    def __init__(self, width: int, activation: str = "linear", input_biases: bool = False):
        super().__init__()
        size = width + bool(input_biases)
        self.weight, self.bias = nn.Parameter(torch.empty(size, size)), nn.Parameter(torch.empty(1))
        self.input_biases, self.activation = input_biases, ACTIVATIONS[activation]

    def reset_parameters(self):
        init.xavier_uniform_(self.weight)
        init.zeros_(self.bias)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.input_biases:
            x, y = (torch.cat([vectors, torch.ones_like(vectors[..., :1])], dim=-1) for vectors in (x, y))
        return self.activation(x @ self.weight @ y.transpose(-1, -2) + self.bias)


class LinearSimilarity(nn.Module):
    """The score `activation(w [...] + b)`, where `...` joins what `combination` lists, with commas between: `x`, `y`,
    and `x*y`, `x+y`, `x-y` or `x/y`, feature by feature."""

    def __init__(self, width: int, combination: str = "x,y", activation: str = "linear"):
        super().__init__()
        self.pieces = combination.split(",")
        if wrong := [piece for piece in self.pieces if not PIECE.fullmatch(piece)]:
            raise ValueError(f"a combination lists x, y, x*y, x+y, x-y and x/y, but {combination!r} has {wrong[0]!r}")
        self.weight, self.bias = nn.Parameter(torch.empty(len(self.pieces) * width)), nn.Parameter(torch.empty(1))
        self.activation = ACTIVATIONS[activation]

    def reset_parameters(self):
        bound = (6 / (len(self.weight) + 1)) ** 0.5
        init.uniform_(self.weight, a=-bound, b=bound)
        init.zeros_(self.bias)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        scores = self.bias.expand(*x.shape[:-1], y.shape[-2])
        for piece, weight in zip(self.pieces, self.weight.chunk(len(self.pieces))):
            scores = scores + self.score(piece, weight, x, y)
        return self.activation(scores)

    @staticmethod
    def score(piece: str, weight: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Score pairs by one piece, without a vector for each pair."""
        of_x, of_y = (x @ weight)[..., :, None], (y @ weight)[..., None, :]
        match piece:
            case "x" | "y":
                return of_x if piece == "x" else of_y
            case "x+y" | "y+x":
                return of_x + of_y
            case "x-y" | "y-x":
                return of_x - of_y if piece == "x-y" else of_y - of_x
            case "x/y":  # zeros of padding must not give NaN
                return (x * weight) @ torch.where(y == 0, 1, y).reciprocal().transpose(-1, -2)
            case "y/x":
                return torch.where(x == 0, 1, x).reciprocal() @ (y * weight).transpose(-1, -2)
            case _:
                return (x * weight) @ y.transpose(-1, -2)


SIMILARITIES: Layers = {kind: partial(Product, kind=kind) for kind in ("dot_product", "scaled_dot_product", "cosine")}
SIMILARITIES |= {"bilinear": BilinearSimilarity, "linear": LinearSimilarity}


def build_similarity(described: dict[str, Any], width: int) -> nn.Module:
    """Return the similarity that a dict describes, from `(B, T, D)` and `(B, S, D)` to scores `(B, T, S)`."""
    return build(SIMILARITIES, described, width)


def score_words(similarity: nn.Module, words: Tensor, second: Tensor) -> Tensor:
    """Score each word of a row `(B, T, D)` for each other, `(B, T, T)`. The similarity reads words of the first text as
    x, of the `second` `(B, T)` as y; scores of words of the same text mean nothing."""
    scores = similarity(words, words)
    return torch.where(second[..., None], scores.transpose(1, 2), scores)


def words_of_other_text(mask: Tensor, second: Tensor) -> Tensor:
    """Return for each word which words are of the other text of its row, `(B, T, T)`, from two masks `(B, T)`."""
    return (second[:, :, None] != second[:, None]) & mask[:, None]


def require_pairs(first: Tensor, second: Tensor, encoder: str):
    """Raise a `ValueError` if a row has one text only; `first` and `second` are which words are of either text."""
    if torch.compiler.is_compiling():  # a graph cannot depend on this
        return
    alone = first.any(dim=1) & ~second.any(dim=1)
    if alone.any():
        raise ValueError(
            f"a model with sequence_encoder={encoder!r} compares two texts, but row {int(alone.nonzero()[0])} has one "
            "`<S>`: give pairs, tokenizer(first, second), or use sequence_encoder='pooling' or 'bcn'"
        )
