# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""A loss beside that of the language model, by which the vectors of a word are similar where its contexts are.

The states of a language model depend on the sense of a word, but more on what the neighboring words let expect: a bank
that lends is a subject, and a bank where an account is opened stands behind a preposition. Which senses a word has can
be seen without labels, from the other words of its sentences (Schuetze 1998, "Automatic word sense discrimination"):

1.  Each content word has a vector: the positive pointwise mutual information of the content words around it, reduced
    by a singular value decomposition (Levy, Goldberg and Dagan 2015, with their exponents 0.75 and 0.5).
2.  A context vector is the sum of the vectors of a sentence's other words, each times the logarithm of its inverse
    frequency.
3.  The loss draws occurrences of one word, and asks that their states v be similar where their context vectors c are:

        p(j | i) = exp(cos(c_i, c_j) / 0.1) / sum over all k but i of exp(cos(c_i, c_k) / 0.1)
        q(j | i) = exp(cos(v_i, v_j) / 0.2) / sum over all k but i of exp(cos(v_i, v_k) / 0.2)
        loss = the mean of KL(p(. | i) || q(. | i)) over all i, and over both biLSTM layers
"""

from __future__ import annotations

import logging
import random
from array import array
from collections.abc import Iterable
from itertools import accumulate

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...model.character_ids_elmo import BOS_WORD, EOS_WORD
from .arguments import ModelArguments, PretrainingArguments, TextArguments
from .corpus import Corpus
from .streams import PADDING, WordTable

logger = logging.getLogger("hf_elmo.training")

CONTEXT_TEMPERATURE = 0.1  # of p
STATE_TEMPERATURE = 0.2  # of q; a lower one costs the language model more, and orders the states less well
NUM_OCCURRENCES = 16  # of one word in a draw
MAX_WORDS = 32  # of a sentence; longer ones are not drawn
MIN_LETTERS = 3  # of a content word
MIN_CONTENT_WORDS = 3  # of a sentence, beside the word itself
TOO_FREQUENT = 200  # most frequent words, which mostly have no sense of their own
NUM_CONTENT_WORDS = 20_000  # the most frequent others, of letters alone
NUM_DIMENSIONS = 2_000  # the most frequent of them, of which co-occurrences are counted
VECTOR_SIZE = 100
WINDOW = 8  # content words to each side


class Occurrences:
    """The occurrences of the content words of a text, and the similarity of their contexts.

    What is drawn depends on nothing but the text, the seed and the number of the draw. Four bytes a word are in memory.

    Args:
        corpus: The text, in its order.
        table: Encodes words.
        seed: Seed of the draws.

    Raises:
        `ValueError`: if no word occurs often enough.
    """

    def __init__(self, corpus: Corpus, table: WordTable, seed: int):
        self.table, self.seed = table, seed
        ids: dict[str, int] = {}
        self.sentences = [array("i", [ids.setdefault(word, len(ids)) for word in sentence]) for sentence in corpus]
        self.words = list(ids)
        text = np.concatenate([np.frombuffer(sentence, np.int32) for sentence in self.sentences])
        counts = np.bincount(text, minlength=len(self.words))
        frequent = np.argsort(-counts, kind="stable")[TOO_FREQUENT:]
        content = [n for n in frequent if self.words[n].isalpha() and len(self.words[n]) >= MIN_LETTERS]
        content = content[:NUM_CONTENT_WORDS]
        self.row = np.full(len(self.words), -1)  # in the vectors of content words, or -1
        self.row[content] = np.arange(len(content))
        self.occurrences: list[array] = [array("i") for _ in content]  # of each content word, its sentences
        for number, sentence in enumerate(self.sentences):
            rows = {row for row in self.row[sentence].tolist() if row >= 0}
            if len(sentence) <= MAX_WORDS and len(rows) > MIN_CONTENT_WORDS:
                for row in rows:
                    self.occurrences[row].append(number)
        often = [row for row, numbers in enumerate(self.occurrences) if len(numbers) >= 2 * NUM_OCCURRENCES]
        if not often:
            raise ValueError(
                f"--sense_weight: no word occurs in {2 * NUM_OCCURRENCES} sentences of at most {MAX_WORDS} words that "
                f"have {MIN_CONTENT_WORDS} other content words: give more text"
            )
        self.drawn = [(content[row], self.occurrences[row]) for row in often]
        self.cumulative = list(accumulate(len(numbers) ** 0.5 for _, numbers in self.drawn))
        rows = self.row[text]
        weights = np.log(len(text) / np.maximum(counts[content], 1)).astype(np.float32)
        self.vectors = word_vectors(rows[rows >= 0], len(content)) * torch.from_numpy(weights)[:, None]

    @classmethod
    def from_arguments(
        cls, corpus: Corpus, table: WordTable, text: TextArguments, model: ModelArguments, args: PretrainingArguments
    ) -> Occurrences | None:
        """Return the occurrences for a run, or None for one without this loss. `ValueError` where it cannot be had."""
        weight = args.sense_weight or 0
        if weight < 0:
            raise ValueError(f"--sense_weight must be at least 0, but is {weight:g}")
        others = {"--streaming": text.streaming, "--freeze_encoder": model.freeze_encoder, "--fsdp": args.fsdp}
        if weight and (other := next((name for name, value in others.items() if value), None)):
            raise ValueError(f"--sense_weight {weight:g} cannot be combined with {other}: leave one of them out")
        if not weight:
            return None
        found = cls(corpus, table, args.seed)
        numbers = len(found.drawn), sum(len(sentences) for _, sentences in found.drawn)
        logger.info("The senses of %s words are compared, in %s occurrences", *map("{:,}".format, numbers))
        return found

    def draw(self, number: int) -> tuple[int, list[int]]:
        """Draw a word and the sentences in which it is compared."""
        rng = random.Random(f"{self.seed}/{number}")
        ((word, sentences),) = rng.choices(self.drawn, cum_weights=self.cumulative)
        return word, rng.sample(sentences, NUM_OCCURRENCES)

    def batch(self, numbers: Iterable[int]) -> dict[str, Tensor]:
        """Return the sentences of D draws: character ids, `input_ids` `(16D, T, W)`; the index of the word that is
        compared in each, `positions` `(16D,)`; and the cosines of contexts, `similarities` `(D, 16, 16)`."""
        rows, positions, similarities = [], [], []
        for number in numbers:
            word, sentences = self.draw(number)
            for sentence in sentences:
                positions.append(1 + self.sentences[sentence].index(word))
                rows.append([BOS_WORD, *(self.words[one] for one in self.sentences[sentence]), EOS_WORD])
            contexts = F.normalize(torch.stack([self.context(sentence, word) for sentence in sentences]), dim=-1)
            similarities.append(contexts @ contexts.T)
        self.table.make_space()
        length = max(map(len, rows))
        places = np.array([self.table.places_of(row + [PADDING] * (length - len(row))) for row in rows])
        ids = torch.from_numpy(self.table.characters[places].astype(np.int64))
        return {"input_ids": ids, "positions": torch.tensor(positions), "similarities": torch.stack(similarities)}

    def context(self, sentence: int, word: int) -> Tensor:
        """Return the context vector of a word in a sentence, `(VECTOR_SIZE,)`."""
        rows = [row for row in self.row[self.sentences[sentence]].tolist() if row >= 0 and row != self.row[word]]
        return self.vectors[rows].sum(0)


def word_vectors(text: np.ndarray, num_words: int) -> Tensor:
    """Return a vector of length 1 for each content word, `(num_words, VECTOR_SIZE)`.

    Args:
        text: Content words in their order, by numbers from 0, the more frequent ones first.
        num_words: How many different ones there are.
    """
    size = min(NUM_DIMENSIONS, num_words)
    stream, counts = torch.from_numpy(text).long(), torch.zeros(num_words * size)
    for distance in range(1, WINDOW + 1):
        for words, others in ((stream[:-distance], stream[distance:]), (stream[distance:], stream[:-distance])):
            counted = others < size
            places = words[counted] * size + others[counted]
            counts.index_add_(0, places, torch.ones(len(places)))
    counts = counts.view(num_words, size)
    expected = counts.sum(0) ** 0.75
    expected = counts.sum(1, keepdim=True) * (expected / expected.sum())
    information = (counts / expected).log_().nan_to_num_(0.0).clamp_(min=0)
    # The left singular vectors times the roots of the singular values, by the eigenvectors of the smaller square
    squares, basis = torch.linalg.eigh(information.T @ information)
    squares, basis = squares[-VECTOR_SIZE:].clamp(min=1e-6), basis[:, -VECTOR_SIZE:]
    return F.normalize(information @ (basis * squares**-0.25), dim=-1)


def sense_loss(layers: Iterable[Tensor], positions: Tensor, similarities: Tensor) -> Tensor:
    """Return the loss of D draws, a scalar.

    Args:
        layers: Of each layer, the vectors of all words of all sentences, `(16D, T, 2P)`.
        positions (`(16D,)`): Index of the word that is compared in each sentence.
        similarities (`(D, 16, 16)`): Cosines of the context vectors.
    """
    rows = torch.arange(len(positions), device=positions.device)
    itself = torch.eye(NUM_OCCURRENCES, dtype=torch.bool, device=positions.device)
    wanted = (similarities / CONTEXT_TEMPERATURE).masked_fill(itself, -torch.inf).softmax(-1)
    losses = []
    for layer in layers:
        vectors = F.normalize(layer[rows, positions].float(), dim=-1).unflatten(0, (-1, NUM_OCCURRENCES))
        # A finite number in place of minus infinity, whose product with 0 is none
        scores = (vectors @ vectors.transpose(1, 2) / STATE_TEMPERATURE).masked_fill(itself, -1e4)
        losses.append(F.kl_div(scores.log_softmax(-1), wanted, reduction="sum") / len(positions))
    return torch.stack(losses).mean()
