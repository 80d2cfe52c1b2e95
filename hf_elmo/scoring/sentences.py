# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Log-probabilities of sentences and of their words, by both language models.

The forward model predicts each word, and then `</S>`, from the words before it; the backward model predicts each word,
and then `<S>`, from the words after it. So each scores n + 1 words of a sentence of n. The state is zero at the start
of each sentence, words that are not in the vocabulary count as `<UNK>`, and logarithms are natural.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from ..embedding import Sentence, check_sentence, check_sentences, evaluation_mode
from ..model.language_model_elmo import ElmoForPreTraining
from ..model.tokenization_elmo import ElmoTokenizer
from ..training.language_model.model import check_word_vocabulary

POOL = 512  # sentences that are sorted by length at once


@dataclass(frozen=True)
class SentenceScore:
    """The log-probabilities of a sentence of n words.

    Args:
        words: Its words.
        forward (`n + 1` numbers): Of each word and of `</S>`, from the words before it.
        backward (`n + 1` numbers): Of `<S>` and of each word, from the words after it.
        unknown: Number of words that are not in the vocabulary, and were scored as `<UNK>`.
    """

    words: list[str]
    forward: list[float]
    backward: list[float]
    unknown: int

    @property
    def forward_log_probability(self) -> float:
        """Return that of the sentence by the forward model."""
        return math.fsum(self.forward)

    @property
    def backward_log_probability(self) -> float:
        """Return that of the sentence by the backward model."""
        return math.fsum(self.backward)

    @property
    def log_probability(self) -> float:
        """Return the mean of both models' log-probabilities of the sentence."""
        return (self.forward_log_probability + self.backward_log_probability) / 2

    @property
    def perplexity(self) -> float:
        """Return exp of the mean loss of a word, of both directions."""
        return math.exp(-self.log_probability / len(self.forward))


def score_sentences(
    model: ElmoForPreTraining,
    tokenizer: ElmoTokenizer,
    sentences: Iterable[Sentence],
    words_per_batch: int = 4096,
) -> Iterator[SentenceScore]:
    """Score sentences one after the other, in their order and in bounded memory.

    Results do not depend on the batch. Evaluation mode is used without gradients; the model's own mode is restored.

    Args:
        model: A language model, on any device.
        tokenizer: Its tokenizer, with the word vocabulary of the softmax.
        sentences: Raw texts, which the tokenizer splits, or lists of words, or both.
        words_per_batch: Maximum number of tokens in a batch, padding included. A longer sentence is one by itself.

    Raises:
        `ValueError`: if the vocabulary is not the model's, or a sentence is neither a text nor a list of words.
    """
    check_sentences(sentences)
    check_word_vocabulary("the model", model.config.word_vocab_size, tokenizer.word_vocab)
    numbered = (check_sentence(sentence, number) for number, sentence in enumerate(sentences))

    def scores() -> Iterator[SentenceScore]:
        while pool := list(islice(numbered, POOL)):
            pool = [tokenizer.tokenize(sentence) if isinstance(sentence, str) else sentence for sentence in pool]
            results = {}
            waiting = sorted(range(len(pool)), key=lambda place: len(pool[place]))
            while waiting:
                rows = max(1, words_per_batch // (len(pool[waiting[-1]]) + 2))
                places = waiting[-rows:]
                del waiting[-rows:]
                results.update(zip(places, score_batch(model, tokenizer, [pool[place] for place in places])))
            yield from (results[place] for place in range(len(pool)))

    return scores()


@torch.no_grad()
def score_batch(model: ElmoForPreTraining, tokenizer: ElmoTokenizer, sentences: list[list[str]]) -> list[SentenceScore]:
    """Score the sentences of a batch."""
    batch = tokenizer(sentences, is_split_into_words=True, padding=True, padding_side="right", return_tensors="pt")
    unknown = tokenizer.convert_words_to_labels("<UNK>")
    labels = torch.full(batch["attention_mask"].shape, -100)
    for row, words in zip(labels, sentences):
        row[: len(words) + 2] = torch.tensor(tokenizer.convert_words_to_labels(["<S>", *words, "</S>"]))
    with evaluation_mode(model):
        losses = model(**batch.to(model.device), labels=labels.to(model.device)).word_losses.double().cpu()
    results = []
    for words, (forward, backward) in zip(sentences, (-losses).tolist()):
        count = sum(tokenizer.convert_words_to_labels(word) == unknown for word in words)
        results.append(SentenceScore(words, forward[: len(words) + 1], backward[1 : len(words) + 2], count))
    return results
