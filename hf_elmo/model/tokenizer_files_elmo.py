# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The files that a tokenizer may carry, the table of rows that they describe, and the options that are saved with them.

    vocab.txt           words that a language-model head predicts, or that are the input      `character_ids_elmo`
    dictionaries.json   ids of code points, and perhaps of words                              `row_variants_elmo`
    word_features.json  ids that follow those of ELMo in each row                             `row_variants_elmo`

Errors in them and in options are a `ValueError` of one line that names the file.
"""

import json
import os
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from .character_ids_elmo import WordRows, write_word_vocabulary
from .encoding_elmo import shown
from .row_variants_elmo import BOS, EOS, FIRST, LAST, OOV, PAD, CodePointRows, Dictionaries, FeatureRows
from .word_splitting_elmo import SPLITTING_RULES

VOCABULARY_FILE, DICTIONARIES_FILE, FEATURES_FILE = "vocab.txt", "dictionaries.json", "word_features.json"
FILES = {"vocab_file": VOCABULARY_FILE, "dictionaries_file": DICTIONARIES_FILE, "features_file": FEATURES_FILE}
# Passed by from_pretrained, or read by the base class out of a tokenizer.json; none of them describes this tokenizer
NOT_OPTIONS = (
    *("is_local", "local_files_only", "tokenizer_file", "tokenizer_object", "from_slow"),
    *("vocab", "merges", "post_processor", "tokenizer_padding", "tokenizer_truncation"),
)
MAX_WIDTH = 10_000
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
    contents: dict[str, Any] = {VOCABULARY_FILE: words, DICTIONARIES_FILE: dictionaries, FEATURES_FILE: features}
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


# ---- options


def check_option(name: str, value: object, tokenizer: type, source: str = ""):
    """Raise a `ValueError` that names an option of a tokenizer, and the file it is in, if its value does not fit."""
    match name:
        case "max_characters_per_token":
            fits = type(value) is int and (value == 1 or 3 <= value <= MAX_WIDTH)
            expected = f"at least 3 (a byte between two special ids) and at most {MAX_WIDTH}, or 1 for words as input"
        case "split":
            fits, expected = value in [*SPLITTING_RULES], f"one of {', '.join(map(repr, SPLITTING_RULES))}"
        case "model_max_length":
            fits, expected = value is None or (type(value) is int and value > 0), "a positive integer"
        case "pad_token_type_id":
            fits, expected = type(value) is int and value >= 0, "an integer, at least 0"
        case "pad_token" | "bos_token" | "eos_token" | "unk_token" | "sep_token" | "cls_token" | "mask_token":
            fits, expected = value is None or are_tokens([value]), "a word"
        case "added_words" | "extra_special_tokens" | "additional_special_tokens" | "model_specific_special_tokens":
            values = [*value.values()] if isinstance(value, dict) and name != "added_words" else value
            fits, expected = value is None or are_tokens(values), "a list of words"
        case "words_around":
            fits, expected = value is None or are_around(value), "[[before, behind], [before, behind]], lists of words"
        case "added_tokens_decoder":
            fits = isinstance(value, dict) and all(str(x).isdecimal() for x in value) and are_tokens([*value.values()])
            expected = "a dict from ids to words"
        case "add_bos_token" | "add_eos_token" | "clean_up_tokenization_spaces" | "split_special_tokens":
            fits, expected = isinstance(value, bool), "true or false"
        case "padding_side" | "truncation_side":
            fits, expected = value in ("left", "right"), "'left' or 'right'"
        case "model_input_names":
            fits, expected = isinstance(value, list) and all(isinstance(x, str) for x in value), "a list of names"
        case "chat_template":
            in_file = isinstance(value, list) and all(are_strings(x) and {*x} == {"name", "template"} for x in value)
            fits = value is None or isinstance(value, str) or are_strings(value) or in_file
            expected = "a string, or strings with names"
        case "processor_class" | "backend":
            fits, expected = value is None or isinstance(value, str), "a string"
        case "auto_map":
            fits, expected = isinstance(value, dict), "a dict from Auto classes to classes"
        case "init_inputs":
            fits, expected = value == [], "empty"
        case _:
            fits, expected = name == "vocab_file" or not hasattr(tokenizer, name), "left out, as it is no option"
    if not fits:
        raise ValueError(f"{source}{name} must be {expected}, but is {shown(value)}")


def check_options(path: str, tokenizer: type):
    """Raise a `ValueError` with path and field if a file of options is not one."""
    try:
        options = json.loads(Path(path).read_text(encoding="utf-8"))
        json.dumps(options, ensure_ascii=False).encode()  # not with lone surrogates
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON in UTF-8 ({' '.join(str(error).split())})") from None
    if not isinstance(options, dict):
        raise ValueError(f"{path}: must hold a JSON object, but holds {shown(options)}")
    for name in options.keys() - {*NOT_OPTIONS}:
        check_option(name, options[name], tokenizer, f"{path}: ")


def are_strings(values: object) -> bool:
    """Return whether all values of a dict are strings."""
    return isinstance(values, dict) and all(isinstance(value, str) for value in values.values())


def are_tokens(values: object) -> bool:
    """Return whether a list holds tokens: strings, `AddedToken`s, or dicts as these are saved."""
    flags = {"lstrip", "rstrip", "normalized", "single_word", "special"}
    for token in values if isinstance(values, (list, tuple)) else (None,):
        if isinstance(token, dict) and {*token} <= flags | {"content", "__type"}:
            token = token.get("content") if all(isinstance(token.get(flag, False), bool) for flag in flags) else None
        if not isinstance(token, AddedToken) and not (isinstance(token, str) and token):
            return False
    return True


def are_around(values: object) -> bool:
    """Return whether a value is two pairs of lists of words: before and behind a first and a second text."""
    parts = [side for pair in values if isinstance(pair, list) for side in pair] if isinstance(values, list) else []
    is_paired = isinstance(values, list) and len(parts) == 4 and all(len(pair) == 2 for pair in values)
    return is_paired and all(isinstance(side, list) and all(isinstance(word, str) for word in side) for side in parts)
