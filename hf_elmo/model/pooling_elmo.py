# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""From all layers to one vector of a word, and from the vectors of a text's words to one: alignment, mix and pooling.

Letters in shapes: B batch, T and S words, W characters per word, D width of a word's vector. A mask is True where there
is a word, in any pattern; values elsewhere affect neither results nor gradients. A text without words gives zeros.
"""

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .configuration_elmo import ElmoConfig


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """The softmax of `scores` over the last dimension where `mask` is True; 0 elsewhere, all 0 if it is nowhere."""
    lowest = torch.finfo(scores.dtype).min  # finite, so that a row without any place has no NaN
    return scores.masked_fill(~mask, lowest).softmax(-1).masked_fill(~mask, 0)


def attend(scores: Tensor, words: Tensor, mask: Tensor) -> Tensor:
    """For each of T words, average S other words, weighted by the softmax of their scores: `(B, T, D)`, from scores
    `(B, T, S)`, words `(B, S, D)`, and which of them each may attend to, `(B, T, S)` or `(B, 1, S)`."""
    return masked_softmax(scores, mask) @ words


def masked_mean(words: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the words where `mask` is True: `(B, T, D)` and `(B, T)` to `(B, D)`."""
    weights = mask[..., None].to(words.dtype)
    return (words * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def masked_max(values: Tensor, mask: Tensor, dim: int = 1) -> Tensor:
    """Return the maximum along one dimension of the values where `mask` is True; 0 if there are none."""
    if not values.shape[dim]:
        return values.sum(dim)
    highest = values.masked_fill(~mask, torch.finfo(values.dtype).min).amax(dim)
    return highest.masked_fill(~mask.any(dim), 0)


def masked_min(values: Tensor, mask: Tensor) -> Tensor:
    """Return the minimum along dimension 1 of the values where `mask` is True; 0 if there are none."""
    return -masked_max(-values, mask)


class SelfAttentivePooling(nn.Module):
    """The mean of words, weighted by the softmax of a learnt score of each (McCann et al. 2017, section 5)."""

    def __init__(self, width: int):
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)  # a bias would cancel in the softmax
        self.score.init_weight = init.xavier_uniform_

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """From `(B, T, D)` and `(B, T)` to `(B, D)`."""
        return attend(self.score(words).transpose(1, 2), words, mask[:, None]).squeeze(1)


class SentencePooling(nn.Module):
    """One vector for each text: the pooled vectors of its words, without padding, `<S>` and `</S>`.

    The configuration's `sentence_pooling` selects `"mean"`, `"max"` or `"attention"`, the mean of words that is
    weighted by a learnt score of each. Untrained, all scores are 0, so that it is the mean.
    """

    def __init__(self, config: ElmoConfig):
        super().__init__()
        self.config = config
        self.attention = None
        if config.sentence_pooling == "attention":
            self.attention = SelfAttentivePooling(config.hidden_size)
            self.attention.score.init_weight = init.zeros_

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """From vectors of words `(B, T, D)` and where they are `(B, T)` to `(B, D)`."""
        if self.attention is not None:
            return self.attention(words, mask)
        return masked_max(words, mask[..., None]) if self.config.sentence_pooling == "max" else masked_mean(words, mask)


def special_tokens_mask(words: Tensor, config: ElmoConfig, characters: Tensor | None = None) -> Tensor:
    """Return where a word is `<S>` or `</S>`, `(B, T)` of bool; arguments are those of `starts_with`."""
    begins, ends = (starts_with(words, config, ids, characters) for ids in (config.bos_token_id, config.eos_token_id))
    return begins | ends


def starts_with(
    words: Tensor, config: ElmoConfig, ids: int | list[int] | None, characters: Tensor | None = None
) -> Tensor:
    """Return where a word's first character is the given one, or one of several, `(B, T)` of bool.

    It is the second character of a row, after "begin of word", or the only id of a model of whole words. A
    configuration may name one id for a special token, several or none. `words` are `input_ids` `(B, T, W)`, or
    `inputs_embeds` `(B, T, W, E)`, in which a character is recognized by its embedding in `characters` `(V, E)`.
    """
    place = min(1, config.max_characters_per_token - 1)
    ids = ids if isinstance(ids, (list, tuple)) else [] if ids is None else [ids]
    if words.is_floating_point():
        found = [(words[..., place, :] == row).all(dim=-1) for number in ids for row in characters[number : number + 1]]
    else:
        found = [words[..., place] == number for number in ids]
    return sum(found[1:], found[0]) if found else words.new_zeros(words.shape[:2], dtype=torch.bool)


class ElmoAlignment(nn.Module):
    """Alignment to the model of another language (Schuster et al. 2019, arXiv:1902.09492, section 4).

    A matrix A (2P, 2P) maps a layer h (B, T, 2P) to h A^T, the space of the other model's same layer. The layers above
    are computed from h itself; hidden states and mixes hold the aligned layer. The matrices of `config.aligned_layers`
    are constants, saved as buffers `layer_1`, ... and never trained; the identity until loaded.
    """

    def __init__(self, config: ElmoConfig):
        super().__init__()
        self.numbers = list(config.aligned_layers)
        for number in self.numbers:
            self.register_buffer(f"layer_{number}", torch.eye(config.hidden_size))

    def reset_parameters(self) -> None:
        for matrix in self.buffers():
            init.copy_(matrix, torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device))

    def forward(self, layers: list[Tensor]) -> list[Tensor]:
        """From `L + 1` tensors `(B, T, 2P)` to as many, those with a matrix aligned."""
        matrices = {number: getattr(self, f"layer_{number}") for number in self.numbers}
        return [layer @ matrices[k].T if k in matrices else layer for k, layer in enumerate(layers)]


class ElmoScalarMix(nn.Module):
    """A learnt weighted sum of the layers, `gamma * sum_k softmax(weights)_k h_k` (Peters et al. 2018, section 3.2).

    The Trainer's weight decay, where one is set, reaches `weights` too: it is the penalty of section 3.3, which keeps
    the mix close to the mean of the layers.
    """

    def __init__(self, config: ElmoConfig):
        super().__init__()
        self.layer_norm = config.mix_layer_norm
        self.initial_weights = config.mix_initial_weights or [0.0] * (config.num_hidden_layers + 1)
        self.weights = nn.Parameter(torch.zeros(config.num_hidden_layers + 1), requires_grad=config.mix_trainable)
        self.gamma = nn.Parameter(torch.ones(1), requires_grad=config.mix_trainable)

    @torch.no_grad()
    def initialize_untrained(self) -> None:
        """Set the initial weights if the weights are still all 0 and gamma is 1."""
        untrained = not (self.weights.is_meta or self.weights.any() or (self.gamma != 1).any())
        if untrained and any(self.initial_weights):
            self.weights.copy_(torch.tensor(self.initial_weights))

    def forward(self, layers: list[Tensor], mask: Tensor, second: Tensor | None = None) -> Tensor:
        """Mix all layers of a batch, each `(B, T, 2P)`, with the mask `(B, T)` of words, and perhaps of those of second
        texts, which are normalized by themselves."""
        if self.layer_norm:
            texts = [mask] if second is None else [mask & ~second, mask & second]
            layers = [sum(normalized_over_words(layer, text) for text in texts) for layer in layers]
        weights = self.gamma * torch.softmax(self.weights, dim=0)
        return sum(weight * layer for weight, layer in zip(weights, layers))


def normalized_over_words(layer: Tensor, mask: Tensor) -> Tensor:
    """Normalize a layer `(B, T, 2P)` as AllenNLP's scalar mix does: by one mean and variance over all words of the
    batch, special tokens included."""
    words = mask[..., None].to(layer.dtype)
    count = words.sum().clamp(min=1) * layer.shape[-1]
    mean = (layer * words).sum() / count
    variance = ((layer - mean) * words).square().sum() / count
    return (layer - mean) / torch.sqrt(variance + 1e-13) * words
