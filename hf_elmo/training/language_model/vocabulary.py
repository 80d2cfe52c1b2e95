# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The word vocabulary of a language model, `vocab.txt`: one word a line, most frequent first, ids by line number."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

BEGIN, END, UNKNOWN = SPECIAL_WORDS = "<S>", "</S>", "<UNK>"


def read_vocabulary(path: str | Path) -> list[str]:
    """Read a vocabulary file, words in the order of their ids.

    A byte order mark, any kind of line ends, white space around words and blank lines at the end are dropped.

    Raises:
        `ValueError`: naming the line, for what would shift ids or merge words: blank lines further up, repeated words,
            missing special words.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = Path(path).read_bytes()[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: not UTF-8; convert the vocabulary to UTF-8") from None
    words = [line.strip() for line in text.rstrip("\n").split("\n")]
    lines = {}
    for number, word in enumerate(words, start=1):
        if not word:
            raise ValueError(
                f"{path}, line {number}: empty; a word's line number is its id, so lines cannot be skipped"
            )
        if word in lines:
            raise ValueError(f"{path}, line {number}: {word!r} again, which is also in line {lines[word]}")
        lines[word] = number
    for word in SPECIAL_WORDS:
        if word not in lines:
            raise ValueError(
                f"{path}: the word {word} is missing; a vocabulary needs {', '.join(SPECIAL_WORDS)}, by custom as its "
                "first three lines"
            )
    return words


def build_vocabulary(counts: Counter[str], max_size: int | None = None, min_count: int = 1) -> list[str]:
    """Return the special words, then the counted ones, most frequent first, ties in the order of their characters.

    Args:
        counts: How often each word occurs in the text.
        max_size: Maximum number of words, including the special ones.
        min_count: How often a word must occur in the text.
    """
    words = [word for word, count in counts.items() if count >= min_count and word not in SPECIAL_WORDS]
    words.sort(key=lambda word: (-counts[word], word))
    return [*SPECIAL_WORDS, *words][:max_size]


def write_vocabulary(words: Iterable[str], path: str | Path) -> None:
    """Write `vocab.txt`."""
    Path(path).write_text("".join(f"{word}\n" for word in words), encoding="utf-8", newline="\n")
