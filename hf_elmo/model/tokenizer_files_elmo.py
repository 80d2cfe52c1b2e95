# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The files that a tokenizer may carry, and the table of rows that they describe.

    vocab.txt           words that a language-model head predicts, or that are the input      `character_ids_elmo`
    dictionaries.json   ids of code points, and perhaps of words                              `code_points_elmo`
    word_features.json  ids that follow those of ELMo in each row                             `feature_ids_elmo`

Errors in them are a `ValueError` of one line that names the file.
"""

import json
import os
from pathlib import Path
from typing import Any

from .character_ids_elmo import WordRows, write_word_vocabulary
from .code_points_elmo import BOS, EOS, FIRST, LAST, OOV, PAD, CodePointRows, Dictionaries
from .feature_ids_elmo import FeatureRows

VOCABULARY_FILE, DICTIONARIES_FILE, FEATURES_FILE = "vocab.txt", "dictionaries.json", "word_features.json"
FILES = {"vocab_file": VOCABULARY_FILE, "dictionaries_file": DICTIONARIES_FILE, "features_file": FEATURES_FILE}
SPECIAL_NAMES = {"characters": (BOS, EOS, OOV, PAD, FIRST, LAST), "words": (BOS, EOS, OOV, PAD)}


def make_word_rows(
    width: int, bos: str, eos: str, word_ids: dict[str, int], dictionaries: Dictionaries | None, features: dict | None
) -> WordRows:
    """Return the table of encoded words, of W = `width` ids of ELMo, that fits to what a tokenizer carries."""
    if features is not None and (dictionaries is not None or width == 1):
        raise ValueError("`features_file` goes with characters that are bytes, without `dictionaries_file`")
    if dictionaries is not None:
        return CodePointRows(width, bos, eos, dictionaries)
    return WordRows(width, bos, eos, word_ids) if features is None else FeatureRows(width, bos, eos, features)


def write_files(
    folder: str, prefix: str, words: list[str] | None, dictionaries: Dictionaries | None, features: dict | None
) -> tuple[str, ...]:
    """Write what a tokenizer carries, each file with a prefix to its name, and return the paths."""
    contents = {VOCABULARY_FILE: words, DICTIONARIES_FILE: dictionaries, FEATURES_FILE: features}
    paths = {os.path.join(folder, prefix + file): part for file, part in contents.items() if part is not None}
    for path, content in paths.items():
        (write_word_vocabulary if content is words else write_json)(content, path)
    return tuple(paths)


def write_json(content: dict, path: str | Path):
    """Write dictionaries or features: JSON, UTF-8."""
    Path(path).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")


def read_json(path: str | Path, kind: str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as {kind} ({error})") from None


def check_ids(ids: Any, what: str):
    if not isinstance(ids, dict) or not all(type(number) is int and 0 <= number < 1 << 30 for number in ids.values()):
        raise ValueError(f"{what} must map names to ids from 0")


def read_dictionaries(path: str | Path) -> Dictionaries:
    """Read the dictionaries of a saved tokenizer."""
    found = read_json(path, "dictionaries")
    if not isinstance(found, dict) or not {"characters"} <= found.keys() <= SPECIAL_NAMES.keys():
        raise ValueError(f"{path}: expected an object with the dictionary of `characters`, and perhaps of `words`")
    for kind, ids in found.items():
        check_ids(ids, f"{path}: {kind}")
        if missing := [name for name in SPECIAL_NAMES[kind] if name not in ids]:
            raise ValueError(f"{path}: {kind} lacks {', '.join(missing)}")
    return found


def read_features(path: str | Path) -> dict:
    """Read the features of a saved tokenizer."""
    content = read_json(path, "features of words")
    if not isinstance(content, dict) or {*content} != {"features", "vocabularies"}:
        raise ValueError(f"{path}: expected an object with `features` and `vocabularies`")
    features, vocabularies = content["features"], content["vocabularies"]
    for ids in vocabularies.values() if isinstance(vocabularies, dict) else [None]:
        check_ids(ids, f"{path}: each of `vocabularies`")
    for feature in features if isinstance(features, list) else [None]:
        kind = feature.get("type") if isinstance(feature, dict) else None
        if kind not in ("word", "characters"):
            raise ValueError(f"{path}: `features` must be a list of features of the type `word` or `characters`")
        name, length = feature.get("vocabulary"), feature.get("length")
        if name not in vocabularies and not (name is None and kind == "characters"):
            known = ", ".join(vocabularies) or "none"
            raise ValueError(f"{path}: a feature has the vocabulary {name!r}, but there is {known}")
        if kind == "characters" and (type(length) is not int or not 0 < length <= 10_000):
            raise ValueError(f"{path}: `length` must be from 1 to 10000, but is {length!r}")
        ids = [feature.get("start"), feature.get("end")] if kind == "characters" else []
        if not all(isinstance(part, list) and all(type(number) is int for number in part) for part in ids):
            raise ValueError(f"{path}: `start` and `end` must be lists of ids")
    return content
