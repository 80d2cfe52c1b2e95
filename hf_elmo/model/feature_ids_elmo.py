# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Words to rows of ids that hold, after ELMo's characters, the ids that a task head's own embeddings read.

    row = W character ids of ELMo, then for each feature either the id of the word, or ids of its characters and zeros

Features are those of AllenNLP's token indexers `single_id` and `characters`: a word, perhaps in lower case, has the id
of a vocabulary; characters are code points with a vocabulary, or bytes as id byte + 1. Id 0 is padding. The features
of padding and of `<S>` and `</S>` are zeros. ELMo cuts words at W - 2 bytes; features read them whole, up to `length`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging

from .character_ids_elmo import WordRows

FEATURES_FILE = "word_features.json"
logger = logging.get_logger(__name__)


class FeatureRows(WordRows):
    """Table from a word to the bytes of its row of int32 ids.

    Args:
        num_characters: Number W of ELMo's ids in a row.
        bos, eos: The special tokens of a sentence.
        content: `"vocabularies"`, ids by name; and `"features"`, a list of dicts with `type` (`"word"` or
            `"characters"`), `vocabulary` (None for bytes), `unknown` (id of what is not in it, or None), `lowercase`,
            and for characters `length`, `start` and `end` (ids before and after them).
        limit: Number of words at which the table is emptied.
    """

    id_type = np.int32

    def __init__(self, num_characters: int, bos: str, eos: str, content: dict, limit: int = 1 << 17):
        self.num_characters, self.content, self.has_warned = num_characters, content, False
        self.features, self.vocabularies = content["features"], content["vocabularies"]
        width = num_characters + sum(map(feature_length, self.features))
        super().__init__(width, bos, eos, limit=limit)
        self.longest = num_characters - 2

    def row(self, characters: list[int]) -> bytes:
        elmo = WordRows.row(self, characters)
        ids = np.frombuffer(elmo, self.dtype)[: self.num_characters]
        return ids.tobytes() + bytes(self.padding[len(ids) * self.dtype.itemsize :])

    def encode_word(self, word: str) -> tuple[bytes, int]:
        row, size = super().encode_word(word)
        if word in (self.bos, self.eos):
            return row, size
        ids = [number for feature in self.features for number in self.feature_ids(feature, word)]
        elmo = row[: self.num_characters * self.dtype.itemsize]
        return elmo + np.array(ids, self.dtype).tobytes(), size

    def feature_ids(self, feature: dict, word: str) -> list[int]:
        """Return the ids of one feature of a word, as many as it has in each row."""
        word = word.lower() if feature.get("lowercase") else word
        known, unknown = self.vocabularies.get(feature["vocabulary"]), feature.get("unknown")
        if feature["type"] == "word":
            return [self.known_id(known, word, unknown)]
        if known is None:
            ids = [byte + 1 for byte in word.encode("utf-8", "ignore")]
        else:
            ids = [self.known_id(known, character, unknown) for character in word]
        ids, length = [*feature["start"], *ids, *feature["end"]], feature["length"]
        if len(ids) > length and not self.has_warned:
            self.has_warned = True
            logger.warning(f"A word of {len(ids)} characters was cut to its first {length}: {word[:60]!r}")
        return ids[:length] + [0] * (length - len(ids))

    def known_id(self, known: dict[str, int], name: str, unknown: int | None) -> int:
        number = known.get(name, unknown)
        if number is None:
            raise ValueError(f"{name!r:.80} is not in the vocabulary of this model, which has no id for unknown words")
        return number

    def __reduce__(self) -> tuple:
        return type(self), (self.num_characters, self.bos, self.eos, self.content, self.limit)

    def decode(self, row: list[int]) -> str | int:
        """Return the word of a row, or the id of a special token, by ELMo's characters."""
        return super().decode(row[: self.num_characters])

    def is_special(self, row: list[int]) -> bool:
        """Return whether a row is padding, `<S>` or `</S>`."""
        return super().is_special(row[: self.num_characters])


def feature_length(feature: dict) -> int:
    """Return how many ids of a row belong to a feature."""
    return feature["length"] if feature["type"] == "characters" else 1


def read_features(path: str | Path) -> dict:
    """Read the features of a saved tokenizer.

    Raises:
        `ValueError`: in one line, if the file does not hold features and their vocabularies.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as features of words ({error})") from None
    if not isinstance(content, dict) or {*content} != {"features", "vocabularies"}:
        raise ValueError(f"{path}: expected an object with `features` and `vocabularies`")
    features, vocabularies = content["features"], content["vocabularies"]
    tables = [*vocabularies.values()] if isinstance(vocabularies, dict) else [None]
    numbers = [number for ids in tables if isinstance(ids, dict) for number in ids.values()]
    if not all(isinstance(ids, dict) for ids in tables) or not all(
        type(n) is int and 0 <= n < 1 << 30 for n in numbers
    ):
        raise ValueError(f"{path}: each of `vocabularies` must map names to ids from 0")
    for feature in features if isinstance(features, list) else [None]:
        check_feature(feature, vocabularies, path)
    return content


def check_feature(feature: Any, vocabularies: dict, path: str | Path):
    """Raise a `ValueError` that names the file if a feature is not one."""
    kind = feature.get("type") if isinstance(feature, dict) else None
    if kind not in ("word", "characters"):
        raise ValueError(f"{path}: `features` must be a list of features of the type `word` or `characters`")
    name = feature.get("vocabulary")
    if name not in vocabularies and not (name is None and kind == "characters"):
        known = ", ".join(vocabularies) or "none"
        raise ValueError(f"{path}: a feature has the vocabulary {name!r}, but there is {known}")
    if kind == "characters":
        length, ids = feature.get("length"), [feature.get("start"), feature.get("end")]
        if type(length) is not int or not 0 < length <= 10_000:
            raise ValueError(f"{path}: `length` must be from 1 to 10000, but is {length!r}")
        if not all(isinstance(part, list) and all(type(number) is int for number in part) for part in ids):
            raise ValueError(f"{path}: `start` and `end` must be lists of ids")


def write_features(content: dict, path: str | Path):
    """Write the features of a tokenizer: JSON, UTF-8."""
    Path(path).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
