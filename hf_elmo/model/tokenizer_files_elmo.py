# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The files that a tokenizer may carry, and the table of rows that they describe."""

import os
from collections.abc import Callable
from typing import Any

from .character_ids_elmo import WordRows, write_word_vocabulary
from .code_points_elmo import DICTIONARIES_FILE, CodePointRows, Dictionaries, write_dictionaries
from .feature_ids_elmo import FEATURES_FILE, FeatureRows, write_features

VOCABULARY_FILE = "vocab.txt"
FILES = {"vocab_file": VOCABULARY_FILE, "dictionaries_file": DICTIONARIES_FILE, "features_file": FEATURES_FILE}


def make_word_rows(
    width: int, bos: str, eos: str, word_ids: dict[str, int], dictionaries: Dictionaries | None, features: dict | None
) -> WordRows:
    """Return the table of encoded words that fits to what a tokenizer carries.

    Args:
        width: Number W of ELMo's ids in a row.
        bos, eos: The special tokens of a sentence.
        word_ids: Line numbers of the word vocabulary, where W is 1.
        dictionaries: Ids of code points and words, see `code_points_elmo`.
        features: Ids that follow those of ELMo, see `feature_ids_elmo`.

    Raises:
        `ValueError`: for dictionaries and features together, and for features without characters.
    """
    if features is not None and (dictionaries is not None or width == 1):
        raise ValueError("`features_file` goes with characters that are bytes, without `dictionaries_file`")
    if dictionaries is not None:
        return CodePointRows(width, bos, eos, dictionaries)
    if features is not None:
        return FeatureRows(width, bos, eos, features)
    return WordRows(width, bos, eos, word_ids)


def write_files(
    folder: str, prefix: str, words: list[str] | None, dictionaries: Dictionaries | None, features: dict | None
) -> tuple[str, ...]:
    """Write what a tokenizer carries, each file with a prefix to its name, and return the paths."""
    paths: list[str] = []
    kinds: list[tuple[str, Any, Callable[[Any, str], None]]] = [
        (VOCABULARY_FILE, words, write_word_vocabulary),
        (DICTIONARIES_FILE, dictionaries, write_dictionaries),
        (FEATURES_FILE, features, write_features),
    ]
    for file, content, write in kinds:
        if content is not None:
            paths.append(os.path.join(folder, prefix + file))
            write(content, paths[-1])
    return tuple(paths)
