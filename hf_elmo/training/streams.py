"""The original's layout of training data: one endless stream of sentences a batch row, cut into windows.

A sentence is `<S> w1 .. wn </S>` for the forward direction and `</S> wn .. w1 <S>` for the backward direction. Each row
takes the next sentence whenever it has used one up; each word but a sentence's last is an input, and the word after it
what is to be predicted. Windows follow one another in the row, so that an LSTM's state can be carried along it.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import IterableDataset

from .vocabulary import BEGIN, END, UNKNOWN

PADDING = None
Words = list[list[str | None]]  # (rows, steps)


class Window(NamedTuple):
    """`inputs` and `targets`, each (rows, steps) words."""

    inputs: Words
    targets: Words


class Streams:
    """Rows of endless text in one direction.

    Args:
        sentences (iterator of lists of words): Where rows take their sentences from, in the order of need.
        num_rows (`int`): Number of rows.
        backward (`bool`): Whether sentences are turned round.
    """

    def __init__(self, sentences: Iterator[list[str]], num_rows: int, backward: bool = False):
        self.sentences, self.backward = sentences, backward
        self.rows: list[list[str]] = [[] for _ in range(num_rows)]  # what is left of each row's sentence
        self.used = [0] * num_rows

    def window(self, num_steps: int) -> Window:
        """The next `num_steps` words of all rows; `StopIteration` where `sentences` ends before they are full."""
        inputs, targets = [], []
        for row in range(len(self.rows)):
            row_inputs, row_targets = [], []
            while len(row_inputs) < num_steps:
                if self.used[row] >= len(self.rows[row]) - 1:
                    words = next(self.sentences)
                    words = [END, *reversed(words), BEGIN] if self.backward else [BEGIN, *words, END]
                    self.rows[row], self.used[row] = words, 0
                words, start = self.rows[row], self.used[row]
                end = min(len(words) - 1, start + num_steps - len(row_inputs))
                row_inputs += words[start:end]
                row_targets += words[start + 1 : end + 1]
                self.used[row] = end
            inputs.append(row_inputs)
            targets.append(row_targets)
        return Window(inputs, targets)

    def state(self) -> list[list[str]]:
        """What is left of each row's sentence, the word read last in front."""
        return [words[used:] for words, used in zip(self.rows, self.used)]

    def restore(self, state: list[list[str]]):
        self.rows, self.used = [list(words) for words in state], [0] * len(state)


class WordTable:
    """Words as rows of character ids and as vocabulary ids, each word spelled once. `PADDING` is no word.

    Args:
        spell (`list[str] -> (words, W)` array): The tokenizer's rows of words, boundary words included.
        vocabulary (`list[str]`): The words that have an id.
        max_words (`int`): Number of words remembered; when it is reached, all are forgotten.
    """

    def __init__(self, spell: Callable[[list[str]], np.ndarray], vocabulary: list[str], max_words: int = 1 << 20):
        self.spell, self.max_words = spell, max_words
        self.ids = {PADDING: -100, **{word: number for number, word in enumerate(vocabulary)}}
        self.unknown_id = self.ids[UNKNOWN]
        self.places: dict[str | None, int] = {}
        self.characters = np.zeros((0, 0))

    @classmethod
    def of(cls, tokenizer) -> "WordTable":
        """The table of an [`ElmoTokenizer`] that carries a word vocabulary."""

        def spell(words: list[str]) -> np.ndarray:
            row = tokenizer(words, is_split_into_words=True, add_special_tokens=False, return_tensors="np")
            return row["input_ids"][0]

        return cls(spell, tokenizer.word_vocab)

    def rows(self, words: Words) -> np.ndarray:
        """Character ids `(rows, steps, W)`, 0 for padding."""
        if len(self.places) > self.max_words:
            self.places = {}
        unseen = list({word: None for row in words for word in row if word not in self.places and word is not PADDING})
        if unseen or not self.places:
            self.learn(unseen)
        places = self.places
        return self.characters[[[places[word] for word in row] for row in words]]

    def learn(self, words: list[str]):
        spelled = self.spell(words or [UNKNOWN])[: len(words)]
        if not self.places:
            self.places[PADDING] = 0
            self.characters = np.zeros((1 << 14, spelled.shape[1]), dtype=spelled.dtype)
        start, end = len(self.places), len(self.places) + len(words)
        if end > len(self.characters):
            grown = np.zeros((2 * end, spelled.shape[1]), dtype=spelled.dtype)
            grown[:start] = self.characters[:start]
            self.characters = grown
        self.characters[start:end] = spelled
        self.places.update(zip(words, range(start, end)))

    def labels(self, words: Words) -> np.ndarray:
        """Vocabulary ids `(rows, steps)`, that of the unknown word where a word has none, -100 for padding."""
        ids, unknown = self.ids, self.unknown_id
        return np.array([[ids.get(word, unknown) for word in row] for row in words], dtype=np.int64)

    def batch(self, ahead: Window, behind: Window) -> dict[str, torch.Tensor]:
        """What the model takes: the window of the forward direction and that of the backward direction, which is turned
        to the text's natural order, as the model reads it from its end. Rows of both are equally long, then padded."""
        inputs, targets = map(padded, ahead)
        length = len(inputs[0])
        backward_inputs, backward_targets = (padded([row[::-1] for row in words], length) for words in behind)
        rows = self.rows(inputs + backward_inputs).astype(np.int64)
        labels = np.stack([self.labels(targets), self.labels(backward_targets)], axis=1)
        return {
            "input_ids": torch.from_numpy(rows[: len(inputs)]),
            "backward_input_ids": torch.from_numpy(rows[len(inputs) :]),
            "labels": torch.from_numpy(labels),
        }


def padded(words: list[list[str]], length: int | None = None) -> Words:
    length = length or max(map(len, words))
    return [row + [PADDING] * (length - len(row)) for row in words]


class TrainingWindows(IterableDataset):
    """The batches of one process, window after window of the streams of all processes, and the place to go on from.

    The rows of a step lie side by side: those of all processes for the first batch of a gradient accumulation, then for
    its second batch, and so on. So a step of 2n rows is the same for one process, for two of n rows, and for two
    batches of n rows that one process accumulates. Every process reads all the text, and spells only its own rows.

    Args:
        table ([`WordTable`]): Spells words.
        forward, backward ([`Streams`]): All rows of a step.
        num_steps (`int`): Words of a window.
        rows_per_batch (`int`): Rows of one batch of one process.
        process, num_processes (`int`): Which process this is, of how many.
        num_windows (`int`, *optional*): Windows of an epoch; without it there are no epochs.
    """

    def __init__(
        self,
        table: WordTable,
        forward: Streams,
        backward: Streams,
        num_steps: int,
        rows_per_batch: int,
        process: int = 0,
        num_processes: int = 1,
        num_windows: int | None = None,
    ):
        self.table, self.forward, self.backward, self.num_steps = table, forward, backward, num_steps
        self.rows_per_batch, self.process, self.num_processes = rows_per_batch, process, num_processes
        self.num_batches = len(forward.rows) // (rows_per_batch * num_processes)  # of an accumulation
        self.num_windows = num_windows
        self.windows_read = 0

    def __len__(self) -> int:
        if self.num_windows is None:
            raise TypeError("a text that was not counted has no length")
        return self.num_windows * self.num_batches

    def __iter__(self) -> Iterator[dict]:
        """One epoch: the streams go on where they stopped. After `restore` its part that was read before comes as empty
        batches, for the Trainer asks for it again in order to skip it."""
        begun = self.windows_read % self.num_windows if self.num_windows else self.windows_read
        for _ in range(begun * self.num_batches):
            yield {}
        while True:
            ahead, behind = self.forward.window(self.num_steps), self.backward.window(self.num_steps)
            self.windows_read += 1
            for batch in range(self.num_batches):
                first = (batch * self.num_processes + self.process) * self.rows_per_batch
                rows = slice(first, first + self.rows_per_batch)
                yield {"accumulation": batch} | self.table.batch(
                    Window(ahead.inputs[rows], ahead.targets[rows]), Window(behind.inputs[rows], behind.targets[rows])
                )
            if self.num_windows and self.windows_read % self.num_windows == 0:
                return

    def state(self) -> dict:
        """The place after the last window read, for `restore`; can be written as JSON."""
        return {
            "windows_read": self.windows_read,
            **{
                name: {"rows": streams.state(), "position": streams.sentences.position}
                for name, streams in (("forward", self.forward), ("backward", self.backward))
            },
        }

    def restore(self, state: dict):
        self.windows_read = state["windows_read"]
        for name, streams in (("forward", self.forward), ("backward", self.backward)):
            streams.restore(state[name]["rows"])
            streams.sentences.restore(state[name]["position"])
