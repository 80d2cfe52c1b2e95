# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Words to rows of character ids, as at inference in bilm-tf (`UnicodeCharsVocabulary`), and the word vocabulary file.

    id           0        1 ... 256    257 258      259 260      261
    stands for   padding  byte 0-255   <S> </S>     start, end   fill
                 (row)                 (whole word) of a word    of a row

A row has W ids: 259, the UTF-8 bytes of the word, 260, and 261 to the end. In models with words as input, W is 1 and a
row is the word's line number in the vocabulary plus one.
"""

import gzip
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, pre_tokenizers
from tokenizers.models import Unigram, WordLevel
from transformers.utils import logging

logger = logging.get_logger(__name__)

PAD_ID, BOS_ID, EOS_ID, WORD_START_ID, WORD_END_ID, FILL_ID = 0, 257, 258, 259, 260, 261
NUM_CHARACTERS = 262
BOS_WORD, EOS_WORD, UNKNOWN_WORD = "<S>", "</S>", "<UNK>"

# One Python integer for each id: those above 256 would be objects of their own, of 28 bytes, in every list.
INTEGERS = np.array(range(NUM_CHARACTERS), dtype=object)


class WordRows(dict):
    """Table from a word to the bytes of its row, encoded on the first lookup and kept, since text repeats its words.

    The ids are int16, or int32 where a row is one word id (W = 1). Words that had to be cut are not kept, so that each
    of their occurrences is counted in `num_cut`.

    A row has `width` W ids. The special tokens of a sentence have rows of their own. Where W is 1, `word_ids` are the
    line numbers of the word vocabulary.
    """

    start_id, num_ids = WORD_START_ID, NUM_CHARACTERS  # the first id of each row, and their number, where W is not 1
    id_type = np.int16
    limit = 1 << 17  # number of words at which the table is emptied
    unit, original = "bytes", "the original ELMo"  # for the warning that a word was cut

    def __init__(self, width: int, bos: str, eos: str, word_ids: dict[str, int] | None = None):
        self.width, self.bos, self.eos, self.word_ids, self.num_cut = width, bos, eos, word_ids, 0
        self.dtype = np.dtype(np.int32 if width == 1 else self.id_type)
        self.padding = bytes(width * self.dtype.itemsize)
        self.longest = max(width - 2, 0)  # characters for which a row has room
        self.bos_row, self.eos_row = map(self.__missing__, (BOS_WORD, EOS_WORD) if width == 1 else (bos, eos))

    def __missing__(self, word: str) -> bytes:
        if not isinstance(word, str):
            raise ValueError(f"every word must be a string, but one is {word!r} ({type(word).__name__})")
        row, size = self.encode_word(word)
        if size > self.longest:
            if not self.num_cut:
                logger.warning(
                    f"A word of {size} {self.unit} was cut to its first {self.longest}, as {self.original} does: "
                    f"{word[:60]!r}. Further cuts are only counted, in `tokenizer.num_cut_words`."
                )
            self.num_cut += 1
        elif len(word) <= 64:  # longer ones, of word ids or lone surrogates, are rare and would make the table large
            if len(self) >= self.limit:
                self.clear()
            self[word] = row
        return row

    def encode_word(self, word: str) -> tuple[bytes, int]:
        """Return the row of a word, and its number of characters; 0 for special tokens and word ids."""
        if self.width == 1:
            return np.int32(self.word_ids.get(word, self.word_ids[UNKNOWN_WORD]) + 1).tobytes(), 0
        if word in (self.bos, self.eos):
            return self.row([BOS_ID if word == self.bos else EOS_ID]), 0
        characters = word.encode("utf-8", "ignore")
        return self.row([byte + 1 for byte in characters[: self.longest]]), len(characters)

    def row(self, characters: list[int]) -> bytes:
        """Return the row of a word of at most W - 2 character ids."""
        ids = [WORD_START_ID, *characters, WORD_END_ID]
        return np.array(ids + [FILL_ID] * (self.width - len(ids)), self.dtype).tobytes()

    def __reduce__(self) -> tuple:  # copies and other processes start with an empty table
        return type(self), (self.width, self.bos, self.eos, self.word_ids)

    def encode(self, words: list[str]) -> list[bytes]:
        """Return the rows of words."""
        try:
            return [*map(self.__getitem__, words)]
        except TypeError:  # a word that cannot be looked up is no string either
            raise ValueError("every word must be a string, but one is a list: lists are nested too deep") from None

    def ids(self, rows: list[bytes]) -> np.ndarray:
        """Return `(len(rows), W)` ids, int16 or int32."""
        return np.frombuffer(b"".join(rows), self.dtype).reshape(-1, self.width)

    def decode(self, row: list[int]) -> str | int:
        """Return the word of a row; for special tokens and word ids their id, which has a name."""
        if self.width == 1:
            return row[0]
        if BOS_ID in row or EOS_ID in row:
            return BOS_ID if BOS_ID in row else EOS_ID
        return bytes(character - 1 for character in row if 0 < character <= 256).decode("utf-8", "ignore")

    def names(self) -> list[str]:
        """Return the names of all character ids but padding, in their order."""
        return [*(f"<0x{byte:02X}>" for byte in range(256)), self.bos, self.eos, "<W>", "</W>", "<_>"]

    def is_special(self, row: list[int]) -> bool:
        """Return whether a row is padding, `<S>` or `</S>`."""
        if self.width == 1:
            return row[0] == PAD_ID or row[0] - 1 in (self.word_ids[BOS_WORD], self.word_ids[EOS_WORD])
        return not any(row) or BOS_ID in row or EOS_ID in row


def rust_tokenizer(rows: WordRows, pad: str, pattern: str) -> Tokenizer:
    """Return a Rust tokenizer that has a name for each id, and splits raw text by a pattern."""
    if rows.width == 1:
        if pad in rows.word_ids:
            raise ValueError(f"pad_token must be no word of the vocabulary, but is {pad!r}")
        names = {word: number + 1 for word, number in rows.word_ids.items()} | {pad: PAD_ID}
        tokenizer = Tokenizer(WordLevel(names, unk_token=UNKNOWN_WORD))
    else:
        tokenizer = Tokenizer(Unigram([(name, 0.0) for name in [pad, *rows.names()]], unk_id=PAD_ID))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    return tokenizer


class IdLists(list):
    """Lists of rows of ids as they are handed out: for each example (T, W) integers.

    pyarrow stores them as int16 (int32 where W is 1), so a `datasets.map(batched=True)` needs 2 bytes an id. Without
    `batched`, `datasets` sees only the lists of single examples, and stores `input_ids` as int32, as of any tokenizer.
    """

    @classmethod
    def from_arrays(cls, arrays: Iterable[np.ndarray]) -> "IdLists":
        """Return the lists of `(T, W)` arrays of ids, in which equal ids of int16 arrays are one object."""
        return cls(INTEGERS[array].tolist() if array.dtype == np.int16 else array.tolist() for array in arrays)

    def __arrow_array__(self, type: Any = None) -> Any:
        pyarrow = sys.modules["pyarrow"]  # only pyarrow calls this
        rows = [row for example in self for row in example]
        width = len(rows[0]) if rows else 0
        try:
            ids = np.array(rows, np.int32 if width == 1 else np.int16).reshape(len(rows), width)
        except (OverflowError, TypeError, ValueError):  # somebody changed them: other values, or other lengths
            return pyarrow.array([*self], type)
        row_starts = np.arange(0, ids.size + 1, width, dtype=np.int32) if width else np.zeros(1, np.int32)
        example_starts = np.cumsum([0, *map(len, self)], dtype=np.int32)
        rows = pyarrow.ListArray.from_arrays(row_starts, pyarrow.array(ids.ravel()))
        array = pyarrow.ListArray.from_arrays(example_starts, rows)
        return array if type is None else array.cast(type)


def read_word_vocabulary(path: str | Path) -> list[str]:
    """Read the words of a vocabulary file, in the order of their ids.

    The format is bilm-tf's: one word a line, its line number its id, without the white space around it; lines that are
    `!!!MAXTERMID` do not count, and a byte order mark is ignored. The file may be gzipped.

    Raises:
        `ValueError`: with file and line, if it cannot be read, or `<S>`, `</S>` or `<UNK>` is missing.
    """
    words = [word for word in read_lines(path) if word != "!!!MAXTERMID"]
    if missing := [word for word in (BOS_WORD, EOS_WORD, UNKNOWN_WORD) if word not in words]:
        raise ValueError(
            f"the word vocabulary {path} lacks {', '.join(missing)}: it needs <S>, </S> and <UNK> among its "
            f"{len(words)} lines, one word a line, most frequent first"
        )
    return words


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a vocabulary file without white space around them; errors as of `read_word_vocabulary`."""
    opened = gzip.open if str(path).endswith(".gz") else open
    try:
        with opened(path, "rb") as file:
            data = file.read()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: not UTF-8; convert the vocabulary to UTF-8") from None
    except (OSError, EOFError) as error:
        raise ValueError(f"the word vocabulary {path} cannot be read: {error}") from None
    return [line.strip() for line in io.StringIO(text, newline=None)]


def write_word_vocabulary(words: list[str], path: str | Path):
    """Write a vocabulary file: one word a line, UTF-8."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{word}\n" for word in words)
