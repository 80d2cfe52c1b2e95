"""The original's layout of training data: one endless stream of sentences a batch row, cut into windows.

A sentence is `<S> w1 .. wn </S>` for the forward direction and `</S> wn .. w1 <S>` for the backward direction. Each row
takes the next sentence whenever it has used one up; each word but a sentence's last is an input, and the word after it
what is to be predicted. Windows follow one another in the row, so that an LSTM's state can be carried along it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .vocabulary import BEGIN, END

Words = list[list[str]]  # (rows, steps)


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
    """Words as rows of character ids and as vocabulary ids, each word spelled once.

    Args:
        spell (`list[str] -> (words, W)` array): The tokenizer's rows of words, boundary words included.
        vocabulary (`list[str]`): The words that have an id.
        max_words (`int`): Number of words remembered; when it is reached, all are forgotten.
    """

    def __init__(self, spell, vocabulary: list[str], unknown: str, max_words: int = 1 << 20):
        self.spell, self.max_words = spell, max_words
        self.ids = {word: number for number, word in enumerate(vocabulary)}
        self.unknown_id = self.ids[unknown]
        self.forget()

    def forget(self):
        self.places: dict[str, int] = {}
        self.characters = None

    def rows(self, words: Words) -> np.ndarray:
        """Character ids `(rows, steps, W)`."""
        if len(self.places) > self.max_words:
            self.forget()
        places = self.places
        unseen = {word: None for row in words for word in row if word not in places}
        if unseen:
            spelled = self.spell(list(unseen))
            start = len(places)
            if self.characters is None or start + len(spelled) > len(self.characters):
                grown = np.zeros((max(1 << 14, 2 * (start + len(spelled))), spelled.shape[1]), dtype=spelled.dtype)
                if start:
                    grown[:start] = self.characters[:start]
                self.characters = grown
            self.characters[start : start + len(spelled)] = spelled
            places.update(zip(unseen, range(start, start + len(spelled))))
        return self.characters[[[places[word] for word in row] for row in words]]

    def labels(self, words: Words) -> np.ndarray:
        """Vocabulary ids `(rows, steps)`, that of the unknown word where a word has none."""
        ids, unknown = self.ids, self.unknown_id
        return np.array([[ids.get(word, unknown) for word in row] for row in words], dtype=np.int64)
