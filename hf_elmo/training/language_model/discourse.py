# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""A loss beside that of the language model, by which the occurrences of a word in one discourse have similar vectors.

A word mostly has one sense in a discourse (Gale, Church and Yarowsky 1992, "One sense per discourse"). The states of a
language model depend on its sense, but more on what the neighboring words let expect: a bank that lends is a subject,
and a bank where an account is opened stands behind a preposition. This loss (InfoNCE, van den Oord et al. 2018,
equation 4) needs no labels, only text in its order. For a word it draws D places of a file, far from each other, and at
each place two sentences with the word that are near each other. Of the 2D vectors v of the word, each is to be nearest
to the one of the same place:

    loss = -log( exp(cos(v, v') / 0.1) / sum over all others w of exp(cos(v, w) / 0.1) )

It is computed for each biLSTM layer, and averaged over vectors and layers.
"""

from __future__ import annotations

import logging
import random
from array import array
from collections import Counter
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

TEMPERATURE = 0.1
NUM_PLACES = 8  # D
MAX_WORDS = 32  # of a sentence; longer ones are not drawn
REACH = 30  # sentences from one occurrence to the next one of the same discourse, at most
APART = 200  # sentences between two places, at least
TOO_FREQUENT = 150  # most frequent words, which mostly have no sense of their own


class Discourses:
    """A text in its order, of which sentences are drawn that have a word in common. Four bytes a word are in memory.

    What is drawn depends on nothing but the text, the seed and the number of the draw.

    Args:
        corpus: The text. Each shard has its own places.
        table: Encodes words.
        seed: Seed of the draws.

    Raises:
        `ValueError`: if no word occurs often enough.
    """

    def __init__(self, corpus: Corpus, table: WordTable, seed: int):
        self.table, self.seed = table, seed
        ids: dict[str, int] = {}
        self.sentences: list[array] = []
        starts = []  # of the shards
        for shard in corpus.shards:
            starts.append(len(self.sentences))
            for line in corpus.sentences(shard):
                self.sentences.append(array("i", [ids.setdefault(word, len(ids)) for word in corpus.words_of(line)]))
        self.words = list(ids)
        counts = Counter(word for sentence in self.sentences for word in sentence)
        frequent = {word for word, _ in counts.most_common(TOO_FREQUENT)}
        chosen = {n for n, word in enumerate(self.words) if n not in frequent and word.isalpha()}
        self.pairs: list[array] = []  # for each word of each shard, the numbers of its pairs of sentences
        self.word_of: list[int] = []
        for start, end in zip(starts, [*starts[1:], len(self.sentences)]):
            for word, pairs in self.pairs_of(range(start, end), chosen).items():
                # Each place that is drawn excludes at most two of these, so that every draw finds D.
                if len(far_apart(pairs, range(0, len(pairs), 2))) >= 2 * NUM_PLACES:
                    self.pairs.append(pairs)
                    self.word_of.append(word)
        if not self.pairs:
            raise ValueError(
                f"--discourse_weight: no word occurs twice within {REACH} sentences of at most {MAX_WORDS} words at "
                f"{2 * NUM_PLACES} places of a file: give files of more text, in its order"
            )
        self.cumulative = list(accumulate(len(pairs) ** 0.5 for pairs in self.pairs))

    @classmethod
    def from_arguments(
        cls, corpus: Corpus, table: WordTable, text: TextArguments, model: ModelArguments, args: PretrainingArguments
    ) -> Discourses | None:
        """Return the discourses of a run, or None for one without. `ValueError` where it cannot have any."""
        weight = args.discourse_weight or 0
        if weight < 0:
            raise ValueError(f"--discourse_weight must be at least 0, but is {weight:g}")
        others = {"--streaming": text.streaming, "--freeze_encoder": model.freeze_encoder, "--fsdp": args.fsdp}
        if weight and (other := next((name for name, value in others.items() if value), None)):
            raise ValueError(f"--discourse_weight {weight:g} cannot be combined with {other}: leave one of them out")
        if not weight:
            return None
        found = cls(corpus, table, args.seed)
        numbers = len(set(found.word_of)), sum(map(len, found.pairs)) // 2
        logger.info("%s words are compared by discourse, in %s pairs of sentences", *map("{:,}".format, numbers))
        return found

    def pairs_of(self, numbers: Iterable[int], chosen: set[int]) -> dict[int, array]:
        """Return of each chosen word the sentences, two by two, in which it occurs again within `REACH`."""
        last: dict[int, int] = {}
        pairs: dict[int, array] = {}
        for number in numbers:
            if len(self.sentences[number]) > MAX_WORDS:
                continue
            for word in chosen.intersection(self.sentences[number]):
                before = last.get(word)
                if before is not None and number - before <= REACH:
                    pairs.setdefault(word, array("i")).extend((before, number))
                last[word] = number
        return pairs

    def draw(self, number: int) -> tuple[int, list[int]]:
        """Draw a word and the 2D sentences in which it is compared, those of one place side by side."""
        rng = random.Random(f"{self.seed}/{number}")
        (choice,) = rng.choices(range(len(self.pairs)), cum_weights=self.cumulative)
        pairs = self.pairs[choice]
        order = rng.sample(range(0, len(pairs), 2), len(pairs) // 2)
        places = far_apart(pairs, order, NUM_PLACES)
        return self.word_of[choice], [sentence for place in places for sentence in pairs[place : place + 2]]

    def batch(self, numbers: Iterable[int]) -> dict[str, Tensor]:
        """Return character ids of the sentences of several draws, `input_ids` `(B, T, W)`, and the index of the word
        that is compared in each of them, `positions` `(B,)`."""
        rows, positions = [], []
        for number in numbers:
            word, sentences = self.draw(number)
            for sentence in sentences:
                positions.append(1 + self.sentences[sentence].index(word))
                rows.append([BOS_WORD, *(self.words[word] for word in self.sentences[sentence]), EOS_WORD])
        self.table.make_space()
        length = max(map(len, rows))
        places = np.array([self.table.places_of(row + [PADDING] * (length - len(row))) for row in rows])
        ids = torch.from_numpy(self.table.characters[places].astype(np.int64))
        return {"input_ids": ids, "positions": torch.tensor(positions)}


def far_apart(pairs: array, order: Iterable[int], most: int | None = None) -> list[int]:
    """Return the indices of pairs, in an order, that are far from all before them; at most `most` of them."""
    found: list[int] = []
    for place in order:
        if all(abs(pairs[place] - pairs[other]) >= APART + REACH for other in reversed(found)):
            found.append(place)
            if len(found) == most:
                break
    return found


def discourse_loss(layers: Iterable[Tensor], positions: Tensor) -> Tensor:
    """Return the loss of several draws, a scalar.

    Args:
        layers: Of each layer, the vectors of all words of all sentences, `(B, T, 2P)`, B a multiple of 2D.
        positions (`(B,)`): Index of the word that is compared in each sentence.
    """
    rows = torch.arange(len(positions), device=positions.device)
    partner = rows[: 2 * NUM_PLACES] ^ 1
    losses = []
    for layer in layers:
        vectors = F.normalize(layer[rows, positions].float(), dim=-1).unflatten(0, (-1, 2 * NUM_PLACES))
        scores = vectors @ vectors.transpose(1, 2) / TEMPERATURE
        scores = scores.masked_fill(torch.eye(2 * NUM_PLACES, dtype=torch.bool, device=scores.device), -torch.inf)
        losses.append(F.cross_entropy(scores.flatten(0, 1), partner.repeat(len(vectors))))
    return torch.stack(losses).mean()
