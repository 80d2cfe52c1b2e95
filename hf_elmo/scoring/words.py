# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The words that a language model expects: after a text, before it, and in place of one of its words."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..embedding import Sentence, check_sentence, evaluation_mode
from ..model.language_model_elmo import ElmoLanguageModel
from ..model.tokenization_elmo import ElmoTokenizer
from ..training.language_model.model import check_word_vocabulary

DIRECTIONS = ("both", "forward", "backward")
SPECIAL = ("<S>", "</S>", "<UNK>")


class Candidate(NamedTuple):
    """A word, and its log-probability among all words of the softmax, natural logarithm."""

    word: str
    log_probability: float

    def as_dict(self) -> dict[str, str | float]:
        """Return both, and the probability, by their names."""
        return {**self._asdict(), "probability": math.exp(self.log_probability)}


def next_words(
    model: ElmoLanguageModel, tokenizer: ElmoTokenizer, text: Sentence, top_k: int = 10, specials: bool = False
) -> list[Candidate]:
    """Return the most probable words after a text, by the forward language model.

    Args:
        model: A language model of any of its classes.
        tokenizer: Its tokenizer, with the word vocabulary of the softmax.
        text: A raw text or a list of words, which begins a sentence.
        top_k: Number of words.
        specials: Whether `</S>`, the end of the sentence, and `<S>` and `<UNK>` may be among them.

    Raises:
        `ValueError`: if the vocabulary is not the model's, or `top_k` is below 1.
    """
    words = words_of(tokenizer, text)
    forward, _ = states(model, tokenizer, words)
    return best(tokenizer, model.lm_head(forward[len(words)]), top_k, specials)


def previous_words(
    model: ElmoLanguageModel, tokenizer: ElmoTokenizer, text: Sentence, top_k: int = 10, specials: bool = False
) -> list[Candidate]:
    """Return the most probable words before a text, which ends a sentence, by the backward language model.

    Arguments and errors are those of `next_words`.
    """
    _, backward = states(model, tokenizer, words_of(tokenizer, text))
    return best(tokenizer, model.lm_head(backward[1]), top_k, specials)


def substitutes(
    model: ElmoLanguageModel,
    tokenizer: ElmoTokenizer,
    text: Sentence,
    positions: list[int] | None = None,
    top_k: int = 10,
    direction: str = "both",
    specials: bool = False,
) -> list[list[Candidate]]:
    """Return the most probable words in place of words of a sentence, which are not read themselves.

    Args:
        model, tokenizer, top_k, specials: As in `next_words`.
        text: A raw text or a list of words.
        positions: Numbers of the words to replace, from 0. By default all.
        direction:
            `"forward"`: from the words before it, `"backward"`: from the words after it, `"both"`: in proportion to the
            product of both probabilities, as `ElmoForMaskedLM` and fill-mask compute it.

    Returns:
        a list of candidates for each position.

    Raises:
        `ValueError`: as in `next_words`; and if there is no such position or direction.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"`direction` must be one of {', '.join(map(repr, DIRECTIONS))}, but is {direction!r}")
    words = words_of(tokenizer, text)
    for position in positions or ():
        if not 0 <= position < len(words):
            raise ValueError(f"there is no word {position}: the sentence has {len(words)}, and the first is 0")
    places = torch.tensor(range(len(words)) if positions is None else positions, dtype=torch.long, device=model.device)
    forward, backward = states(model, tokenizer, words)
    before, after = forward[places], backward[places + 2]  # <S> is the first of them
    found = []
    for one_before, one_after in zip(before, after):  # one by one: all scores of a long text may not fit into memory
        if direction == "both":
            scores = model.lm_head(one_before + one_after) + model.lm_head.bias
        else:
            scores = model.lm_head(one_before if direction == "forward" else one_after)
        found.append(best(tokenizer, scores, top_k, specials))
    return found


def words_of(tokenizer: ElmoTokenizer, text: Sentence) -> list[str]:
    """Return the words of a text or of a list of them."""
    text = check_sentence(text, 0)
    return tokenizer.tokenize(text) if isinstance(text, str) else text


@torch.no_grad()
def states(model: ElmoLanguageModel, tokenizer: ElmoTokenizer, words: list[str]) -> tuple[Tensor, Tensor]:
    """Return the outputs `(n + 2, P)` of both directions, at `<S>`, at the n words, and at `</S>`."""
    check_word_vocabulary("the model", model.config.word_vocab_size, tokenizer.word_vocab)
    batch = tokenizer([words], is_split_into_words=True, return_tensors="pt").to(model.device)
    with evaluation_mode(model):
        vectors, mask = model.elmo.embed_words(**batch)
        layers, _ = model.elmo.run_layers(torch.cat([vectors, vectors], dim=-1), mask)
    return layers[-1][0].chunk(2, dim=-1)


@torch.no_grad()
def best(tokenizer: ElmoTokenizer, scores: Tensor, top_k: int, specials: bool) -> list[Candidate]:
    """Return the words of the highest scores `(V,)`."""
    if top_k < 1:
        raise ValueError(f"`top_k` must be at least 1, but is {top_k}")
    chances = scores.float().log_softmax(dim=-1)
    allowed = chances.clone()
    if not specials:
        allowed[tokenizer.convert_words_to_labels(list(SPECIAL))] = -torch.inf
    count = min(top_k, len(chances) - (0 if specials else len(SPECIAL)))
    found = allowed.topk(max(count, 0)).indices
    return [*map(Candidate, tokenizer.convert_labels_to_words(found), chances[found].tolist())]
