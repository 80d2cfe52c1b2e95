# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Texts to look at, their vectors in all layers, and the occurrences of a word in them.

A corpus is a file with a sentence per line, or a table of occurrences: tab-separated columns `index`, the place of the
word in the sentence from 0, `sentence`, split into words, and a label or sense, `label_or_sense`, `sense` or `label`.
"""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from ..embedding import embed_sentences
from ..loading import best_device, load_encoder, load_tokenizer
from ..model.modeling_elmo import ElmoModel
from ..model.tokenization_elmo import ElmoTokenizer
from ..text_files import numbered_lines
from ..training.data.tables import Row, find_column, peek, read_table
from ..training.language_model.corpus import TextFiles, choose_split

SENSE_COLUMNS = ("label_or_sense", "sense", "label")
CONTEXT = 5  # words on either side of an occurrence that are shown


class Encoder(NamedTuple):
    """An encoder and its tokenizer."""

    name: str
    model: ElmoModel
    tokenizer: ElmoTokenizer

    @property
    def layers(self) -> list[str]:
        """Names of the layers whose vectors `embed` gives: those of the model, and the mix."""
        names = [f"layer {number}" for number in range(self.model.config.num_hidden_layers + 1)]
        return names if self.model.config.mix_layer_norm else [*names, "mix"]  # such a mix depends on the batch

    def embed(self, sentences: Sequence[list[str]]) -> Iterator[np.ndarray]:
        """Yield the vectors of each sentence, `(layers, words, 2P)`, in the order of `layers`; the mix is the first."""
        weights = self.model.mix_weights()[0].cpu().numpy() * float(self.model.mix_scales()[0])
        with tqdm(total=sum(map(len, sentences)), unit="word", unit_scale=True, disable=None, leave=False) as bar:
            for vectors in embed_sentences(self.model, self.tokenizer, sentences, layers="all"):
                layers = vectors.float().numpy().transpose(1, 0, 2)
                bar.update(layers.shape[1])
                mix = np.tensordot(weights, layers, axes=1)[None]
                yield np.concatenate([layers, mix])[: len(self.layers)]


def encoder_of(options: Namespace, topic: str) -> Encoder:
    """Load the encoder of the one model that is named.

    Raises:
        `ValueError`: in one line, if there is no such model, or several are named.
    """
    if len(options.model) > 1:
        raise ValueError(f"{topic} is about one model: give --model once; `layers` compares several")
    (name,) = options.model
    model = load_encoder(name).to(best_device())
    return Encoder(name, model, load_tokenizer(name))


class Occurrence(NamedTuple):
    """A word in a sentence, its sense where that is known, and where it was read."""

    words: list[str]
    place: int
    sense: str | None
    source: str

    def shown(self) -> str:
        """Return the word in brackets with the words around it."""
        start = max(0, self.place - CONTEXT)
        left, right = self.words[start : self.place], self.words[self.place + 1 : self.place + 1 + CONTEXT]
        parts = ["..."] * (start > 0) + left + [f"[{self.words[self.place]}]"] + right
        return " ".join(parts + ["..."] * (self.place + 1 + CONTEXT < len(self.words)))


def read_sentences(options: Namespace, tokenizer: ElmoTokenizer, topic: str) -> list[list[str]]:
    """Return the first sentences of the corpus as lists of words."""
    if options.corpus is None:
        raise ValueError(f"{topic} needs a corpus: --corpus FILE, a sentence per line")
    corpus = TextFiles([options.corpus])
    choose_split(corpus, options.split, tokenizer.split)
    sentences = [*islice((words for words in corpus if words), options.max_sentences)]
    if not sentences:
        raise ValueError(f"{options.corpus}: there is no sentence in it")
    return sentences


def read_occurrences(options: Namespace, tokenizer: ElmoTokenizer, topic: str) -> list[Occurrence]:
    """Return the occurrences of `--word` in the corpus, whatever its case, at most `--max-occurrences`."""
    if options.corpus is None or options.word is None:
        raise ValueError(f"{topic} needs a word and a corpus: --word WORD --corpus FILE, a sentence per line")
    first = next((line for _, line in numbered_lines(options.corpus)), "")
    if {"index", "sentence"} <= set(first.lower().split("\t")):
        found = occurrences_of_table(options.corpus, options.word)
    else:
        sentences = read_sentences(options, tokenizer, topic)
        wanted = options.word.lower()
        found = (
            Occurrence(words, index, None, f"sentence {number}")
            for number, words in enumerate(sentences, start=1)
            for index, word in enumerate(words)
            if word.lower() == wanted
        )
    occurrences = [*islice(found, options.max_occurrences)]
    if len(occurrences) < 2:
        raise ValueError(
            f"{options.corpus}: {options.word!r} is there {len(occurrences)} times; two are needed at least"
        )
    return occurrences


def occurrences_of_table(path: str, word: str) -> Iterator[Occurrence]:
    """Yield the rows of a table of occurrences whose word begins like the wanted one: `banks` is an occurrence of
    `bank`."""
    head, names, rows = peek(read_table(path))
    place = head[0][0] if head else None
    columns = [find_column(names, None, usual, place) for usual in (("index",), ("sentence",))]
    sense = find_column(names, None, SENSE_COLUMNS, place, needed=False)
    for row in rows:
        words, index = words_of(row, *columns)
        if words[index].lower().startswith(word.lower()):
            yield Occurrence(words, index, row[1].get(sense) or None, str(row[0]))


def words_of(row: Row, index_column: str, sentence_column: str) -> tuple[list[str], int]:
    place, cells = row
    words = cells[sentence_column].split()
    index = cells[index_column].strip()
    if not index.isdecimal() or int(index) >= len(words):
        raise ValueError(
            f"{place}: {index_column} must be a word's number from 0 to {len(words) - 1}, but is {index!r}"
        )
    return words, int(index)


def vectors_of(encoder: Encoder, occurrences: Sequence[Occurrence]) -> np.ndarray:
    """Return the vectors of occurrences, `(layers, N, 2P)`; each sentence is computed once."""
    sentences: dict[tuple[str, ...], int] = {}
    places = [sentences.setdefault(tuple(one.words), len(sentences)) for one in occurrences]
    by_sentence: dict[int, list[int]] = {}
    for number, place in enumerate(places):
        by_sentence.setdefault(place, []).append(number)
    found: list = [None] * len(occurrences)
    for place, vectors in enumerate(encoder.embed([list(words) for words in sentences])):
        for number in by_sentence[place]:
            found[number] = vectors[:, occurrences[number].place].copy()
    return np.stack(found, axis=1)


def normalized(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1; one without length stays 0."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def layer_number(options: Namespace, encoder: Encoder, default: str = "top") -> int:
    """Return the number of the layer that `--layer` names: a number, `top` or `mix`."""
    count = encoder.model.config.num_hidden_layers
    chosen = options.layer or default
    numbers = {name.removeprefix("layer "): number for number, name in enumerate(encoder.layers)} | {"top": count}
    if chosen not in numbers:
        raise ValueError(f"--layer must be one of {', '.join(numbers)}, but is {chosen!r}")
    return numbers[chosen]
