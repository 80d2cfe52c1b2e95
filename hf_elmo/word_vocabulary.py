"""Word vocabulary files in which each id has one word, and each word one id."""

from itertools import dropwhile
from pathlib import Path

from .model.character_ids_elmo import read_lines, read_word_vocabulary


def read_unique_words(path: str | Path) -> list[str]:
    """Read a vocabulary file as `read_word_vocabulary` does, but for empty lines at its end, which are ignored.

    Raises:
        `ValueError`: with file and line, as there, and for an empty line or a repeated word.
    """
    words, first = read_word_vocabulary(path), {}
    lines = [*dropwhile(lambda line: not line, reversed(read_lines(path)))][::-1]
    for number, word in enumerate(lines, start=1):
        if not word:
            raise ValueError(
                f"{path}, line {number}: empty; a word's line number is its id, so lines cannot be skipped"
            )
        if first.setdefault(word, number) != number:
            raise ValueError(f"{path}, line {number}: {word!r} again, which is also in line {first[word]}")
    return [*dropwhile(lambda word: not word, reversed(words))][::-1]
