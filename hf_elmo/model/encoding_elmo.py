# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Rows of a batch: where their words, characters and sequences stand, and how rows are truncated and padded."""

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from reprlib import repr as short_repr

import numpy as np
import torch
from torch import Tensor
from transformers.tokenization_utils_base import PaddingStrategy, TruncationStrategy
from transformers.utils import TensorType, to_py_obj

from .character_ids_elmo import IdLists, WordRows

Specials = tuple[str | None, str | None]  # the tokens before and after a sequence; None where there is none


class Words(list):
    """The words of one sequence; their offsets refer to the raw `text`, or to each word itself if there is none."""

    text: str | None = None
    added: tuple[int, int] = (0, 0)  # how many of the first and of the last words are not of the text
    cached_offsets: list[tuple[int, int]] | None = None

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Start and end of each word; empty, at the text's ends, for words that are not of the text."""
        if self.cached_offsets is None:
            self.cached_offsets, end = [], 0
            before, behind = self.added
            for word in self[before : len(self) - behind]:
                # only white space lies between two words of a text, so the next occurrence is the word
                start = 0 if self.text is None else self.text.find(word, end)
                end = start + len(word)
                self.cached_offsets.append((start, end))
            end = len(self.text or "")
            self.cached_offsets = [(0, 0)] * before + self.cached_offsets + [(end, end)] * behind
        return self.cached_offsets

    def surround(self, before: list[str], behind: list[str]):
        """Put words before and behind those of the text, unless they are there."""
        missing = before if self[: len(before)] != before else [], behind
        if behind and self[-len(behind) :] == behind:
            missing = missing[0], []
        self[:] = [*missing[0], *self, *missing[1]]
        self.added = len(missing[0]), len(missing[1])


class ElmoEncoding:
    """One row of a batch, with the interface of `tokenizers.Encoding`, on which the methods of `BatchEncoding` rely. A
    row is `padding[0]` padding tokens; then for each of one or two sequences `<S>`, the window of its words that is in
    this row, and `</S>`; then `padding[1]` padding tokens. A word is one token."""

    def __init__(self, sequences: tuple[Words, ...], windows: tuple[range, ...], specials: Specials, pad_token: str):
        self.sequences, self.windows, self.specials, self.pad_token = sequences, windows, specials, pad_token
        self.bos, self.eos = ([] if token is None else [token] for token in specials)
        self.padding = (0, 0)

    def __len__(self) -> int:
        return sum(self.padding) + sum(len(self.bos) + len(window) + len(self.eos) for window in self.windows)

    def __repr__(self) -> str:
        return f"ElmoEncoding({self.tokens})"

    @property
    def n_sequences(self) -> int:
        return len(self.sequences)

    def row(
        self, values: Callable[[int, range], Iterable], bos: object = None, eos: object = None, padding: object = None
    ) -> list:
        """Return a value for each token: those of `values(sequence, window)` for words, constants for the others."""
        row = [padding] * self.padding[0]
        for number, window in enumerate(self.windows):
            row += [*[bos] * len(self.bos), *values(number, window), *[eos] * len(self.eos)]
        return row + [padding] * self.padding[1]

    def words(self, number: int, window: range) -> list[str]:
        """Return the words of one sequence that are in this row."""
        return self.sequences[number][window.start : window.stop]

    def rows(self, table: WordRows) -> list[bytes]:
        """Return the encoded rows of all tokens."""
        return self.row(lambda *part: table.encode(self.words(*part)), table.bos_row, table.eos_row, table.padding)

    @property
    def tokens(self) -> list[str]:
        return self.row(self.words, *self.specials, self.pad_token)

    @property
    def word_ids(self) -> list[int | None]:
        return self.row(lambda number, window: window)

    @property
    def sequence_ids(self) -> list[int | None]:
        return self.row(lambda number, window: [number] * len(window))

    @property
    def type_ids(self) -> list[int]:
        specials = len(self.bos) + len(self.eos)
        row = [0] * self.padding[0]
        for number, window in enumerate(self.windows):
            row += [number] * (len(window) + specials)
        return row + [0] * self.padding[1]

    @property
    def offsets(self) -> list[tuple[int, int]]:
        spans = [sequence.offsets for sequence in self.sequences]
        return self.row(lambda number, window: spans[number][window.start : window.stop], (0, 0), (0, 0), (0, 0))

    @property
    def special_tokens_mask(self) -> list[int]:
        return self.row(lambda number, window: [0] * len(window), 1, 1, 1)

    @property
    def attention_mask(self) -> list[int]:
        return self.row(lambda number, window: [1] * len(window), 1, 1, 0)

    def locate(self, token: int) -> tuple[int | None, int | None]:
        """Return sequence and word of a position, `None` for both of a special token or padding."""
        for number, window in enumerate(self.windows):
            first = self.first_token(number)
            if first <= token < first + len(window):
                return number, window[token - first]
        return None, None

    def first_token(self, number: int) -> int:
        """Return the position of a sequence's first word."""
        before = sum(len(window) + len(self.bos) + len(self.eos) for window in self.windows[:number])
        return self.padding[0] + before + len(self.bos)

    def token_to_sequence(self, token: int) -> int | None:
        return self.locate(token)[0]

    def token_to_word(self, token: int) -> int | None:
        return self.locate(token)[1]

    def token_to_chars(self, token: int) -> tuple[int, int] | None:
        number, word = self.locate(token)
        return None if word is None else self.sequences[number].offsets[word]

    def word_to_tokens(self, word: int, sequence: int = 0) -> tuple[int, int] | None:
        if sequence >= len(self.windows) or word not in self.windows[sequence]:
            return None
        token = self.first_token(sequence) + word - self.windows[sequence].start
        return token, token + 1

    def word_to_chars(self, word: int, sequence: int = 0) -> tuple[int, int] | None:
        return self.word_to_tokens(word, sequence) and self.sequences[sequence].offsets[word]

    def char_to_word(self, character: int, sequence: int = 0) -> int | None:
        if sequence >= len(self.windows):
            return None
        offsets = self.sequences[sequence].offsets
        return next((w for w in self.windows[sequence] if offsets[w][0] <= character < offsets[w][1]), None)

    def char_to_token(self, character: int, sequence: int = 0) -> int | None:
        word = self.char_to_word(character, sequence)
        return None if word is None else self.word_to_tokens(word, sequence)[0]


# ---- Examples


def read_examples(
    text: object, text_pair: object, split: Callable[[str], list[str]] | None, around: Sequence | None = None
) -> tuple[list[tuple[Words, ...]], bool]:
    """Return the words of each example's one or two sequences, and whether the examples came as a batch; `ValueError`
    for input of another form.

    Args:
        text, text_pair: As in a call of the tokenizer.
        split: Function that splits raw text, or `None` for words.
        around: Words that belong before and behind a first and a second sequence.
    """

    def sequences(*given: object) -> tuple[Words, ...]:
        words = tuple(map(sequence, given))
        for part, (before, behind) in zip(words, around or ()):
            part.surround(before, behind)
        return words

    def sequence(given: object) -> Words:
        if split is None:
            if not isinstance(given, (list, tuple)):
                raise ValueError(
                    "is_split_into_words=True takes a list of words or a batch of such lists, "
                    f"but a sequence is {shown(given)}: pass its words, or drop is_split_into_words"
                )
            return Words(given)
        if not isinstance(given, str):
            hint = ": pass is_split_into_words=True for lists of words" if isinstance(given, (list, tuple)) else ""
            raise ValueError(f"text must be a string or a list of strings, but a sequence is {shown(given)}{hint}")
        words = Words(split(given))
        words.text = given
        return words

    def is_pair(example: object) -> bool:
        part = (list, tuple) if split is None else str
        return isinstance(example, (list, tuple)) and len(example) == 2 and isinstance(example[0], part)

    if not isinstance(text, (list, tuple)) or (split is None and not (text and isinstance(text[0], (list, tuple)))):
        pair = (text,) if text_pair is None else (text, text_pair)
        return [sequences(*pair)], False
    if text_pair is None:
        return [sequences(*(one if is_pair(one) else (one,))) for one in text], True
    if not isinstance(text_pair, (list, tuple)) or len(text) != len(text_pair):
        raise ValueError(f"a batch of {len(text)} needs as many second sequences, but text_pair is {shown(text_pair)}")
    return [sequences(*pair) for pair in zip(text, text_pair)], True


def shown(given: object) -> str:
    """Return a value in one short line, for a message."""
    return " ".join(short_repr(given).split())


# ---- Truncation


def truncate(
    lengths: list[int], max_length: int | None, specials: Specials, strategy: TruncationStrategy, stride: int, side: str
) -> list[tuple[range, ...]]:
    """Return the windows of the rows that one or two sequences fill, as Rust tokenizers cut them.

    The first row is what truncation keeps; the further ones hold what overflows, each repeating `stride` words of the
    previous one. `lengths` are the sequences' numbers of words, the other arguments those of a call of the tokenizer.
    """
    if strategy == TruncationStrategy.DO_NOT_TRUNCATE:
        return [tuple(map(range, lengths))]
    count = len(lengths) * sum(token is not None for token in specials)
    room = max_length - count
    if room < 0:
        raise ValueError(
            f"max_length={max_length} is less than the {count} special tokens of a row: "
            "pass a larger max_length, or add_special_tokens=False"
        )
    excess = sum(lengths) - room
    if excess <= 0:
        return [tuple(map(range, lengths))]
    if strategy == TruncationStrategy.LONGEST_FIRST and len(lengths) == 2:
        short, long = min(lengths), max(lengths)
        long = max(short, room - short)
        if short + long > room:
            short, long = room // 2, room - room // 2
        kept = [short, long] if lengths[0] <= lengths[1] else [long, short]
    else:
        which = int(strategy == TruncationStrategy.ONLY_SECOND)
        if which >= len(lengths):
            raise ValueError("truncation='only_second' needs a second sequence: pass text_pair or another truncation")
        kept = list(lengths)
        kept[which] -= excess
        if kept[which] < 0:
            raise ValueError(  # "too short" is what the zero-shot pipeline looks for, which then truncates nothing
                f"truncation='{strategy.value}' cannot shorten {' + '.join(map(str, lengths))} words to {room}, as the "
                "sequence to cut is too short: pass truncation='longest_first' or a larger max_length"
            )
    first, *second = (sliding_windows(*sequence, stride, side) for sequence in zip(lengths, kept))
    if not second:
        return [(window,) for window in first]
    (second,) = second
    # Rust's order: what is kept, then what overflows of the first with all of the second, then of the second alone
    return [(first[0], second[0]), *product(first[1:], second), *product(first[:1], second[1:])]


def sliding_windows(length: int, kept: int, stride: int, side: str) -> list[range]:
    """Return ranges of at most `kept` of `length` words, each sharing `stride` words with the previous one."""
    if kept >= length or not kept:
        return [range(kept)]
    if stride >= kept:
        raise ValueError(f"stride={stride} must be smaller than the {kept} words of the sequence that fit into a row")
    windows = [range(start, min(start + kept, length)) for start in range(0, length - stride, kept - stride)]
    return windows if side == "right" else [range(length - w.stop, length - w.start) for w in windows]


# ---- Padding


def padded_length(lengths: list[int], strategy: PaddingStrategy, max_length: int | None, multiple: int | None) -> int:
    """Return the length to which shorter rows are padded, 0 for no padding."""
    if strategy == PaddingStrategy.DO_NOT_PAD:
        return 0
    length = max_length if strategy == PaddingStrategy.MAX_LENGTH else max(lengths, default=0)
    return -(-length // multiple) * multiple if multiple else length


def common_length(lengths: list[int]) -> int:
    """Return the one length that all rows of a tensor have; `ValueError` if they differ."""
    if len(set(lengths)) > 1:
        raise ValueError(
            f"rows of {min(lengths)} to {max(lengths)} words make no tensor: pass padding=True, "
            "or truncation=True and max_length with padding='max_length'"
        )
    return lengths[0] if lengths else 0


def id_arrays(columns: dict, width: int) -> list[np.ndarray]:
    """Return `input_ids` as one `(T, width)` array for each example; `ValueError` if another column has more or fewer
    examples, or rows have another width."""
    examples = [as_array(rows).reshape(len(rows), -1 if len(rows) else width) for rows in columns["input_ids"]]
    if wrong := [name for name, values in columns.items() if len(values) != len(examples)]:
        raise ValueError(f"{wrong[0]} has {len(columns[wrong[0]])} examples, but input_ids has {len(examples)}")
    if wrong := [rows for rows in examples if rows.shape[1] != width]:
        raise ValueError(f"input_ids must hold rows of {width} ids, but an example's rows hold {wrong[0].shape[1]}")
    return examples


def pad_columns(
    columns: dict, fillers: dict[str, int], length: int, on_the_left: bool, tensor_type: str | None
) -> None:
    """Pad, in place, the columns of a batch that have a filler; the others become lists.

    Args:
        columns: Values of each example, by name.
        fillers: The filler of each column that is padded.
        length, on_the_left: Length to which shorter rows are padded, 0 for no padding, and whether before them.
        tensor_type: "pt", "np", or `None` for lists.
    """
    for name, values in columns.items():
        if name not in fillers:
            columns[name] = to_py_obj(values)
            continue
        padded = []
        for row in map(as_array, values):
            missing = np.full((max(length - len(row), 0), *row.shape[1:]), fillers[name], row.dtype)
            padded.append(np.concatenate((missing, row) if on_the_left else (row, missing)))
        if tensor_type is not None:
            common_length([*map(len, padded)])
            columns[name] = as_tensor(np.stack(padded), tensor_type)
        elif name == "input_ids":
            columns[name] = IdLists.from_arrays(padded)
        else:
            columns[name] = [row.tolist() for row in padded]


# ---- Forms of ids


def dimensions_of(ids: object) -> int:
    """Return 0 for an id, 1 for (W,) ids, 2 for (T, W), 3 for (B, T, W). `[]` has 2: a sentence without words."""
    if hasattr(ids, "ndim"):
        return ids.ndim
    if not isinstance(ids, (list, tuple)):
        return 0
    if not ids:
        return 2
    return 1 + dimensions_of(max(ids, key=lambda part: len(part) if hasattr(part, "__len__") else 0))


def tensor_type_of(ids: object) -> str | None:
    """Return the form of ids: "pt" for tensors, "np" for arrays, both in lists too, `None` for lists of numbers."""
    while isinstance(ids, (list, tuple)) and ids:
        ids = ids[0]
    return "pt" if isinstance(ids, Tensor) else "np" if isinstance(ids, np.ndarray) else None


def as_array(values: object) -> np.ndarray:
    """Return numbers of any form as an array."""
    return values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values, dtype=np.int64)


def as_tensor(values: object, tensor_type: str) -> Tensor | np.ndarray:
    """Return numbers as an int64 tensor or array."""
    array = np.asarray(values, dtype=np.int64)
    return torch.from_numpy(array) if TensorType(tensor_type) == TensorType.PYTORCH else array
