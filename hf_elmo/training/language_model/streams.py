# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Training batches in the layout of bilm-tf: each row of a batch reads its own endless stream of sentences.

A sentence is `<S> w1 .. wn </S>` for the forward direction and `</S> wn .. w1 <S>` for the backward direction. Whenever
a row has used up its sentence, it gets the next one of the corpus. Every token but the last of a sentence is an input,
and the token after it is the target. Streams are cut into windows of `num_steps` tokens; window follows window in the
same row, so that the LSTM's state can be carried from one to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from ...model.character_ids_elmo import BOS_WORD, EOS_WORD, UNKNOWN_WORD
from ...model.tokenization_elmo import ElmoTokenizer
from .arguments import PretrainingArguments
from .corpus import Corpus, SentenceQueue

PADDING = None
Words = list[list[str | None]]  # (rows, steps)
Sentences = TypeVar("Sentences", bound=Iterator[list[str]])


class Window(NamedTuple):
    """Words that are read and words to be predicted, each (rows, steps), or their places in a table."""

    inputs: Words
    targets: Words


class Streams(Generic[Sentences]):
    """Rows of endless text in one direction.

    Args:
        sentences: Iterator from which the rows get their sentences, in the order in which they need them.
        backward: Whether sentences are read from their end.
        table: If given, windows hold the places of words in this table, looked up once for each sentence.
    """

    def __init__(self, sentences: Sentences, num_rows: int, backward: bool = False, table: WordTable | None = None):
        self.sentences, self.backward, self.table = sentences, backward, table
        self.words: list[list[str]] = [[] for _ in range(num_rows)]  # the sentence of each row
        self.restore(self.words)

    def window(self, num_steps: int) -> Window:
        """Return the next `num_steps` tokens of all rows.

        `StopIteration` if `sentences` ends before all rows are full.
        """
        if self.table is not None and self.generation != self.table.generation:  # the table has been emptied
            self.restore(self.state())
        inputs, targets = [], []
        for row in range(len(self.rows)):
            row_inputs, row_targets = [], []
            while len(row_inputs) < num_steps:
                if self.used[row] >= len(self.rows[row]) - 1:
                    words = next(self.sentences)
                    words = [EOS_WORD, *reversed(words), BOS_WORD] if self.backward else [BOS_WORD, *words, EOS_WORD]
                    self.words[row], self.rows[row], self.used[row] = words, self.places_of(words), 0
                tokens, start = self.rows[row], self.used[row]
                end = min(len(tokens) - 1, start + num_steps - len(row_inputs))
                row_inputs += tokens[start:end]
                row_targets += tokens[start + 1 : end + 1]
                self.used[row] = end
            inputs.append(row_inputs)
            targets.append(row_targets)
        return Window(inputs, targets)

    def places_of(self, words: list[str]) -> list:
        """Return what windows hold of a sentence."""
        return words if self.table is None else self.table.places_of(words)

    def state(self) -> list[list[str]]:
        """Return the rest of each row's sentence, from the token that was read last."""
        return [words[used:] for words, used in zip(self.words, self.used)]

    def restore(self, state: list[list[str]]) -> None:
        self.words, self.used = [list(words) for words in state], [0] * len(state)
        self.rows = [self.places_of(words) for words in self.words]
        self.generation = None if self.table is None else self.table.generation


class WordTable:
    """Character ids and vocabulary ids of words; each word is encoded once.

    Args:
        encode: Function from a list of words to an array `(words, W)` of character ids.
        vocabulary: Words in the order of their ids.
        max_words: Number of words to remember; at the limit all of them are dropped.
    """

    def __init__(self, encode: Callable[[list[str]], np.ndarray], vocabulary: list[str], max_words: int = 1 << 20):
        self.encode, self.max_words = encode, max_words
        self.ids = {PADDING: -100, **{word: number for number, word in enumerate(vocabulary)}}
        self.unknown_id = self.ids[UNKNOWN_WORD]
        self.generation = 0  # how often all words were dropped, after which places have no meaning
        self.clear()

    def clear(self) -> None:
        """Drop all words."""
        self.index: dict[str | None, int] = {}  # rows of `characters` and `word_ids`
        self.characters, self.word_ids = np.zeros((0, 0)), np.zeros(0)
        self.generation += 1

    @classmethod
    def from_tokenizer(cls, tokenizer: ElmoTokenizer) -> WordTable:
        """Return the table of a tokenizer that has a word vocabulary."""

        def encode(words: list[str]) -> np.ndarray:
            row = tokenizer(words, is_split_into_words=True, add_special_tokens=False, return_tensors="np")
            return row["input_ids"][0]

        return cls(encode, tokenizer.word_vocab)

    def places_of(self, words: list[str | None]) -> list[int]:
        """Return the place of each word in the table, to which new words are added."""
        try:
            return [self.index[word] for word in words]
        except KeyError:
            self.add([word for word in dict.fromkeys(words) if word not in self.index and word is not PADDING])
            return [self.index[word] for word in words]

    def make_space(self) -> None:
        """Drop all words if there are too many."""
        if len(self.index) > self.max_words:
            self.clear()

    def add(self, words: list[str]) -> None:
        encoded = self.encode(words or [UNKNOWN_WORD])[: len(words)]
        if not self.index:
            self.index[PADDING] = 0
            self.characters = np.zeros((1 << 14, encoded.shape[1]), dtype=encoded.dtype)
            self.word_ids = np.full(1 << 14, self.ids[PADDING], dtype=np.int64)
        start, end = len(self.index), len(self.index) + len(words)
        if end > len(self.characters):
            more = 2 * end - len(self.characters)
            self.characters = np.pad(self.characters, ((0, more), (0, 0)))
            self.word_ids = np.pad(self.word_ids, (0, more))
        self.characters[start:end] = encoded
        self.word_ids[start:end] = [self.ids.get(word, self.unknown_id) for word in words]
        self.index.update(zip(words, range(start, end)))

    def batch(self, forward: Window, backward: Window) -> dict[str, Tensor]:
        """Return the model's inputs for a window of words of each direction.

        The backward window is reversed into the natural order of the text, which the model reads from its end. The
        rows of both windows have the same lengths, and are padded to the longest.
        """
        self.make_space()
        length = max(map(len, forward.inputs))
        natural = (*forward, *([row[::-1] for row in words] for words in backward))
        padded = [[row + [PADDING] * (length - len(row)) for row in words] for words in natural]
        return self.batch_of_places(*(np.array([self.places_of(row) for row in words]) for words in padded))

    def batch_of_places(
        self, inputs: np.ndarray, targets: np.ndarray, backward_inputs: np.ndarray, backward_targets: np.ndarray
    ) -> dict[str, Tensor]:
        """Return the model's inputs for the places `(rows, steps)` of words, in the natural order of the text."""
        rows = self.characters[np.concatenate([inputs, backward_inputs])].astype(np.int64)
        labels = self.word_ids[np.stack([targets, backward_targets], axis=1)]
        return {
            "input_ids": torch.from_numpy(rows[: len(inputs)]),
            "backward_input_ids": torch.from_numpy(rows[len(inputs) :]),
            "labels": torch.from_numpy(labels),
        }


@dataclass(eq=False)
class TrainingWindows(IterableDataset):
    """The batches of one process, and their position in the text, which can be saved.

    The rows of a training step are those of all processes for the first batch of a gradient accumulation, then for its
    second batch, and so on. A step of 2n rows is therefore the same for one process, for two processes of n rows, and
    for two accumulated batches of n rows. Every process reads all the text, and encodes only its own rows.
    """

    table: WordTable
    forward: Streams[SentenceQueue]  # of all rows of a step
    backward: Streams[SentenceQueue]
    num_steps: int  # tokens in a row of a window
    rows_per_batch: int  # of one process
    process: int = 0
    num_processes: int = 1
    num_windows: int | None = None  # in an epoch; None for text that was not counted, which has no epochs

    def __post_init__(self):
        for streams in (self.forward, self.backward):
            streams.table = self.table
            streams.restore(streams.state())
        self.num_batches = len(self.forward.rows) // (self.rows_per_batch * self.num_processes)  # of a step
        self.windows_read = 0

    @classmethod
    def from_corpus(
        cls, corpus: Corpus, table: WordTable, args: PretrainingArguments, num_tokens: int | None, shuffle: bool = True
    ) -> TrainingWindows:
        """Return the batches of a run; each direction reads the corpus in an order of its own.

        Args:
            num_tokens: Number of words and sentences of the text; None for text that was not counted.
            shuffle: Whether sentences are shuffled in each epoch.

        Raises:
            `ValueError`: if the text is too short for one step, or if it was not counted and the run has no end.
        """
        rows = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
        num_windows = None if num_tokens is None else num_tokens // (rows * args.unroll_steps)
        if num_windows is None and args.max_steps <= 0:
            raise ValueError("--streaming does not count the text: give --max_steps")
        if num_windows == 0:
            raise ValueError(
                f"the text has {num_tokens} words, and one step needs {rows} streams of {args.unroll_steps}: give more "
                "text, or lower --per_device_train_batch_size or --unroll_steps"
            )
        forward, backward = (
            Streams(SentenceQueue(corpus, f"{args.seed}/{name}" if shuffle else None), rows, name == "backward")
            for name in ("forward", "backward")
        )
        process = args.process_index, args.world_size
        return cls(table, forward, backward, args.unroll_steps, args.train_batch_size, *process, num_windows)

    def __len__(self) -> int:
        if self.num_windows is None:
            raise TypeError("text that was not counted has no length")
        return self.num_windows * self.num_batches

    def __iter__(self) -> Iterator[dict]:
        """Return the batches of one epoch; the streams continue where they stopped.

        After `restore`, the part of the epoch that was read before consists of empty batches, because the Trainer asks
        for all batches of the epoch and skips the first ones.
        """
        done = self.windows_read % self.num_windows if self.num_windows else self.windows_read
        for _ in range(done * self.num_batches):
            yield {}
        while True:
            self.table.make_space()
            forward, backward = self.forward.window(self.num_steps), self.backward.window(self.num_steps)
            parts = [*map(np.array, forward), *(np.array(places)[:, ::-1] for places in backward)]
            self.windows_read += 1
            for batch in range(self.num_batches):
                first = (batch * self.num_processes + self.process) * self.rows_per_batch
                rows = slice(first, first + self.rows_per_batch)
                yield {"accumulation": batch, **self.table.batch_of_places(*(part[rows] for part in parts))}
            if self.num_windows and self.windows_read % self.num_windows == 0:
                return

    def state(self) -> dict:
        """Return the position after the last window that was read, as JSON can hold it."""
        forward, backward = (
            {"rows": streams.state(), "position": streams.sentences.position}
            for streams in (self.forward, self.backward)
        )
        return {"windows_read": self.windows_read, "forward": forward, "backward": backward}

    def restore(self, state: dict) -> None:
        self.windows_read = state["windows_read"]
        for streams, saved in ((self.forward, state["forward"]), (self.backward, state["backward"])):
            streams.restore(saved["rows"])
            streams.sentences.restore(saved["position"])
