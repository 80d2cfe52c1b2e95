# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Text corpora of one sentence a line: files, plain or gzipped, or a dataset; split into words and counted."""

from __future__ import annotations

import glob
import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from ...model.character_ids_elmo import BOS_WORD, EOS_WORD, UNKNOWN_WORD
from ...model.word_splitting_elmo import SPLITTING_RULES, splitting_rule
from ...text_files import numbered_lines
from .arguments import TextArguments

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

SPECIAL_TOKENS = BOS_WORD, EOS_WORD, UNKNOWN_WORD
CLITIC = r"n['\u2019]t|['\u2019](?:s|m|d|ll|re|ve)"
SEPARATE = re.compile(rf"[.,;:?!]|{CLITIC}")
ATTACHED = re.compile(rf".*[^\W\d_](?:[,;:?!]|{CLITIC})")
ATTACHED_FULL_STOP = re.compile(r""".*[^\W\d_][.,;:?!]['"\u2019\u201d]*""")


class Corpus:
    """Sentences in shards that can be read any number of times; `split` names the rule that gives their words."""

    def __init__(self, shards: list[str], split: str = "whitespace"):
        self.shards, self.split = shards, split

    def sentences(self, shard: str) -> Iterator[str]:
        """Return the sentences of a shard; none is blank."""
        raise NotImplementedError

    def words_of(self, sentence: str) -> list[str]:
        return splitting_rule(self.split).findall(sentence)

    def digest(self) -> str | None:
        """Return a digest of the content without splitting it into words, or None where that cannot be had."""
        return None

    def __iter__(self) -> Iterator[list[str]]:
        """Return the words of every sentence, shard after shard."""
        return map(self.words_of, chain.from_iterable(map(self.sentences, self.shards)))


class TextFiles(Corpus):
    """Files with one sentence a line; each file is a shard. Blank lines are skipped.

    Args:
        patterns: Paths or globs (`**` for any depth); names that end in `.gz` are decompressed.

    Raises:
        `ValueError`: if a pattern matches no file; while reading, if a file is not UTF-8 or not gzip.
    """

    def __init__(self, patterns: Iterable[str], split: str = "whitespace"):
        found: dict[str, None] = {}
        for pattern in patterns:
            paths = [pattern] if Path(pattern).is_file() else sorted(glob.glob(pattern, recursive=True))
            files = [path for path in paths if Path(path).is_file()]
            if not files:
                raise ValueError(f"{pattern}: no such file, and no file matches it as a pattern")
            found.update(dict.fromkeys(files))
        super().__init__(list(found), split)

    def sentences(self, shard: str) -> Iterator[str]:
        return (line for _, line in numbered_lines(shard) if line.strip())

    def digest(self) -> str:
        seen = hashlib.sha256()
        for shard in self.shards:
            with open(shard, "rb") as file:
                while piece := file.read(2**20):
                    seen.update(piece)
            seen.update(b"\n---\n")
        return f"sha256:{seen.hexdigest()[:32]}"


class DatasetTexts(Corpus):
    """A column of a dataset: texts with one sentence a line, or lists of words, which are not split further.

    `ValueError` if the dataset has no such column; while reading, if a value is neither.
    """

    def __init__(self, dataset: Dataset | IterableDataset, column: str = "text", split: str = "whitespace"):
        if dataset.column_names is not None and column not in dataset.column_names:
            raise ValueError(
                f"the dataset has no column {column!r}, only {', '.join(dataset.column_names)}: give --text_column"
            )
        super().__init__(["dataset"], split)
        self.dataset, self.column = dataset.select_columns(column), column
        self.has_words = any(isinstance(row[column], list) for row in islice(self.dataset, 1))

    def sentences(self, shard: str) -> Iterator[str]:
        for number, row in enumerate(self.dataset):
            value = row[self.column]
            if not self.has_words and isinstance(value, str):
                yield from filter(str.strip, value.splitlines())
            elif self.has_words and isinstance(value, list) and all(isinstance(word, str) for word in value):
                yield from [" ".join(value)] if value else []
            else:
                raise ValueError(
                    f"row {number} of the dataset: {self.column!r} must be a text or a list of words, in all rows "
                    f"alike, but is a {type(value).__name__}: give another column, --text_column"
                )

    def words_of(self, sentence: str) -> list[str]:
        return sentence.split() if self.has_words else super().words_of(sentence)


def open_corpus(text: TextArguments) -> Corpus:
    """Return the training text, not split yet.

    `ValueError` if neither files nor a dataset are given, or both, or they cannot be found.
    """
    if bool(text.train_files) == (text.dataset_name is not None):
        raise ValueError("give the training text: either --train_files or --dataset_name")
    if text.train_files:
        return TextFiles(text.train_files)
    from datasets import load_dataset

    dataset = load_dataset(
        text.dataset_name, text.dataset_config_name, split=text.dataset_split, streaming=text.streaming
    )
    return DatasetTexts(dataset, text.text_column)


def read_held_out(text: TextArguments, raw_split: str) -> list[list[str]] | None:
    """Return the words of each held-out sentence, or None if there is no held-out text.

    Args:
        raw_split: Rule for raw text.
    """
    if not text.validation_files:
        return None
    corpus = TextFiles(text.validation_files)
    choose_split(corpus, text.split, raw_split)
    sentences = list(corpus)
    if not sentences:
        raise ValueError(f"there is no sentence in {', '.join(corpus.shards)}")
    return sentences


# ---- Whether a text is split into words already


def attached_punctuation(corpus: Corpus, num_sentences: int = 1000, num_shards: int = 50) -> tuple[float, str | None]:
    """Estimate how much of the punctuation is attached to words, from the first sentences of the first shards.

    Returns:
        The share of commas, colons, question marks, ..., English clitics, and full stops at the ends of sentences that
        are attached to a word, as in `bank.`: near 1 in raw text, near 0 in split text; and the first such word.
    """
    separate, attached, example = 0, 0, None
    for shard in corpus.shards[:num_shards]:
        for sentence in islice(corpus.sentences(shard), num_sentences):
            *words, last = sentence.split()
            found = [word for word in words if ATTACHED.fullmatch(word)]
            found += [last] if ATTACHED_FULL_STOP.fullmatch(last) else []
            attached += len(found)
            separate += sum(1 for word in (*words, last) if SEPARATE.fullmatch(word))
            example = example or next(iter(found), None)
    return attached / max(1, attached + separate), example


def choose_split(corpus: Corpus, split: str | None, default: str) -> str:
    """Choose the rule that splits a corpus, set it in the corpus, and return a sentence that says which and why.

    Args:
        split: Name of a rule. Without it, text whose punctuation stands apart is left as it is (`whitespace`), and raw
            text is split by `default`.

    Raises:
        `ValueError`: if there is no such rule, or if only a part of the text is raw and no rule is given.
    """
    splitting_rule(split or default)
    share, example = attached_punctuation(corpus)
    if getattr(corpus, "has_words", False):
        return "The text consists of lists of words, which are not split further."
    if split is None and 0.1 < share < 0.9:
        raise ValueError(
            f"{share:.0%} of the punctuation is attached to words, as in {example!r}, the rest stands apart: give the "
            f"rule that splits the text, --split {'|'.join(SPLITTING_RULES)}"
        )
    is_raw = share > 0.1
    corpus.split = split or (default if is_raw else "whitespace")
    if corpus.split == "whitespace" and is_raw:
        return f"The text looks unsplit: {example!r} counts as one word. To separate punctuation: --split treebank."
    if split is not None:
        return f"The text is split into words by the rule {split!r}."
    if is_raw:
        return f"The text is raw ({example!r}), and is split into words by the rule {default!r}. For another: --split."
    return "The text is split into words already, and is left as it is. To split it nevertheless: --split treebank."


# ---- Counts


@dataclass
class TextStatistics:
    """Counts of a text, and a digest of all its sentences in their order, for which it has to be read once."""

    counts: Counter[str] = field(default_factory=Counter)  # of each word
    num_sentences: int = 0
    first_sentence: list[str] = field(default_factory=list)
    digest: str = ""

    @property
    def num_words(self) -> int:
        return self.counts.total()

    @property
    def num_tokens(self) -> int:
        """Number of words to predict in one direction: those of the text, and the end of each sentence."""
        return self.num_words + self.num_sentences

    def unknown_share(self, vocabulary: Iterable[str]) -> float:
        """Return the share of the words of the text that are not in a vocabulary."""
        known = sum(self.counts[word] for word in set(vocabulary))
        return 1 - known / max(1, self.num_words)


def count_words(corpus: Corpus) -> TextStatistics:
    """Read a corpus once, and count its words and sentences."""
    statistics, seen = TextStatistics(), hashlib.sha256()
    for words in corpus:
        if not statistics.num_sentences:
            statistics.first_sentence = words
        statistics.counts.update(words)
        statistics.num_sentences += 1
        seen.update(" ".join(words).encode("utf-8", "surrogatepass") + b"\n")
    if not statistics.num_sentences:
        raise ValueError(f"there is no sentence in {', '.join(corpus.shards)}")
    statistics.digest = f"sha256:{seen.hexdigest()[:32]}"
    return statistics


def build_vocabulary(counts: Counter[str], max_size: int | None = None, min_count: int = 1) -> list[str]:
    """Return a vocabulary: special tokens, then the counted words, most frequent first, ties sorted as strings.

    Args:
        max_size: Maximum number of words, including the special ones.
        min_count: How often a word must occur in the text.
    """
    words = [word for word, count in counts.items() if count >= min_count and word not in SPECIAL_TOKENS]
    words.sort(key=lambda word: (-counts[word], word))
    return [*SPECIAL_TOKENS, *words][:max_size]


class SentenceQueue:
    """The sentences of a corpus as lists of words, epoch after epoch without end; its position can be saved.

    In each epoch the shards are shuffled, then the sentences within each block of `block_size`, which is the most that
    is held in memory. Sentences of small shards are thus mixed with those of the next ones. Order and position depend
    on nothing but the arguments.

    Args:
        seed: Seed of the order; None keeps the order of the corpus.
        block_size: Number of sentences that are shuffled together.
    """

    def __init__(self, corpus: Corpus, seed: str | None = None, block_size: int = 500_000):
        self.corpus, self.seed, self.block_size = corpus, seed, block_size
        self.restore({"epoch": 0, "block": 0, "sentence": 0})

    def restore(self, position: dict[str, int]) -> None:
        """Go to a saved `position`."""
        self.position = dict(position)
        self.sentences = self.read(**position)

    def __next__(self) -> list[str]:
        return next(self.sentences)

    def __iter__(self) -> SentenceQueue:
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
                for number, line in enumerate(lines_of_block[sentence:], start=sentence):
                    self.position = {"epoch": epoch, "block": block, "sentence": number + 1}
                    yield self.corpus.words_of(line)
                block, sentence = block + 1, 0
            epoch, block, sentence = epoch + 1, 0, 0

    def shuffled(self, items: list[str], *key: int) -> list[str]:
        if self.seed is not None:
            random.Random("/".join(map(str, (self.seed, *key)))).shuffle(items)
        return items
