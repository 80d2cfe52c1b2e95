"""Texts to learn from: files with a sentence a line, plain or gzipped, or a data set of the `datasets` library."""

import glob
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Protocol

from .text_files import numbered_lines


class Corpus(Protocol):
    """Sentences in shards, each of which can be read again and again."""

    shards: Sequence[str]

    def sentences(self, shard: str) -> Iterator[str]:
        """The sentences of a shard, words parted by white space; none is empty."""


class TextFiles:
    """Files with one sentence a line, words parted by white space; each file is a shard. Empty lines are passed over.

    Args:
        patterns (`Iterable[str]`): Paths or globs (`**` for any depth); names that end in `.gz` are decompressed.

    Raises:
        `ValueError`: if a pattern fits no file; in reading, if a file is not UTF-8 or not gzip.
    """

    def __init__(self, patterns: Iterable[str]):
        found: dict[str, None] = {}
        for pattern in patterns:
            paths = [pattern] if Path(pattern).is_file() else sorted(glob.glob(pattern, recursive=True))
            files = [path for path in paths if Path(path).is_file()]
            if not files:
                raise ValueError(f"{pattern}: no such file, and no file fits it as a pattern")
            found.update(dict.fromkeys(files))
        self.shards = list(found)

    def sentences(self, shard: str) -> Iterator[str]:
        for _, line in numbered_lines(shard):
            if line and not line.isspace():
                yield line


class DatasetTexts:
    """A column of a `datasets.Dataset` or `IterableDataset`: texts whose lines are sentences, or lists of words.

    Raises:
        `ValueError`: if there is no such column; in reading, if a text is neither.
    """

    def __init__(self, dataset, column: str = "text"):
        if dataset.column_names is not None and column not in dataset.column_names:
            raise ValueError(f"the data set has no column {column!r}, only {', '.join(dataset.column_names)}")
        self.dataset, self.column = dataset.select_columns(column), column
        self.shards = ["dataset"]

    def sentences(self, shard: str) -> Iterator[str]:
        for number, row in enumerate(self.dataset):
            text = row[self.column]
            if isinstance(text, str):
                yield from (line for line in text.splitlines() if line and not line.isspace())
            elif isinstance(text, list) and all(isinstance(word, str) for word in text):
                if text:
                    yield " ".join(text)
            else:
                raise ValueError(
                    f"row {number} of the data set: {self.column!r} must be a text or a list of words, "
                    f"but is a {type(text).__name__}"
                )


def count_words(corpus: Corpus) -> tuple[Counter[str], int]:
    """How often each word stands in a corpus, and its number of sentences."""
    counts, num_sentences = Counter(), 0
    for shard in corpus.shards:
        for sentence in corpus.sentences(shard):
            counts.update(sentence.split())
            num_sentences += 1
    return counts, num_sentences


class SentenceQueue:
    """The sentences of a corpus, pass after pass without end, as lists of words; its position can be saved.

    In each pass the shards are put in a new order, and then the sentences within each block of `block_size`, which is
    the most that is held in memory. Shards that are smaller than a block, of different kinds of text maybe, are so
    mixed with their neighbors. Order and position depend on nothing but the arguments.

    Args:
        seed (`str`, *optional*): What the order is drawn from; None keeps the order of the corpus.
        block_size (`int`): Sentences shuffled together.
    """

    def __init__(self, corpus: Corpus, seed: str | None = None, block_size: int = 500_000):
        self.corpus, self.seed, self.block_size = corpus, seed, block_size
        self.restore({"epoch": 0, "block": 0, "sentence": 0})

    def restore(self, position: dict[str, int]):
        """Go to a position that was saved: `queue.position`."""
        self.position = dict(position)
        self.sentences = self.read(**position)

    def __next__(self) -> list[str]:
        return next(self.sentences)

    def __iter__(self):
        return self

    def read(self, epoch: int, block: int, sentence: int) -> Iterator[list[str]]:
        while True:
            shards = self.shuffled(list(self.corpus.shards), epoch)
            lines = chain.from_iterable(map(self.corpus.sentences, shards))
            first = next(islice(lines, block * self.block_size, None), None)
            if first is None and block == 0:
                raise ValueError(f"there is no sentence in {', '.join(self.corpus.shards)}")
            lines = chain([] if first is None else [first], lines)
            while lines_of_block := list(islice(lines, self.block_size)):
                lines_of_block = self.shuffled(lines_of_block, epoch, block)
                for place, line in enumerate(lines_of_block[sentence:], start=sentence):
                    self.position = {"epoch": epoch, "block": block, "sentence": place + 1}
                    yield line.split()
                block, sentence = block + 1, 0
            epoch, block, sentence = epoch + 1, 0, 0

    def shuffled(self, items: list, *key) -> list:
        if self.seed is not None:
            random.Random("/".join(map(str, (self.seed, *key)))).shuffle(items)
        return items
