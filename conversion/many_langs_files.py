# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Settings and dictionaries of ELMoForManyLangs: config.json, the file that it names, char.dic and word.dic."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .file_kinds import check_content
from .original import Source

CHARACTERS, WORDS = "char.dic", "word.dic"
CHARACTER_TABLE, WORD_TABLE = "char_emb_layer.embedding.weight", "word_emb_layer.embedding.weight"
SPECIAL = ("<oov>", "<pad>", "<bos>", "<eos>")
WHITE_SPACE = "\u3000"  # what the original takes a line for whose token is white space
PUBLISHED_SETTINGS = {  # of cnn_50_100_512_4096_sample.json, which the package of the original falls back to
    "encoder": {"name": "elmo", "cell_clip": 3, "proj_clip": 3},
    "token_embedder": {"name": "cnn", "activation": "relu", "max_characters_per_token": 50},
}
LONGEST_ROW = 10_000
Dictionaries = dict[str, dict[str, int]]


# ---- Settings


def read_settings(source: Source) -> tuple[Mapping[str, Any], list[str]]:
    """Return the settings of the network, from the file that config.json names or another one in the folder."""
    folder = source.path
    if source.options:
        candidates = [source.options]
    else:
        named = (
            str(read_json(folder / "config.json").get("config_path", "")) if (folder / "config.json").is_file() else ""
        )
        last = re.split(r"[/\\]", named)[-1]
        candidates = [folder / last] if last else []
        candidates += sorted(folder.rglob("*.json"))
    for file in candidates:
        if file.is_file() and {"encoder", "token_embedder"} <= (settings := read_json(file)).keys():
            return check_settings(settings, file), []
    if source.options:
        raise ValueError(
            f'{source.options}: expected settings of ELMoForManyLangs, with "encoder" and "token_embedder"'
        )
    note = (
        f"{folder} has no settings of the network; assumed those of the published models, which no tensor reveals: "
        "cell and projection clipped at 3, relu, 50 characters per word; give others with --options"
    )
    return PUBLISHED_SETTINGS, [note]


def read_json(file: Path) -> dict[str, Any]:
    check_content(file, "settings of ELMoForManyLangs")
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not JSON ({error}); expected settings of ELMoForManyLangs") from error
    return content if isinstance(content, dict) else {}


def check_settings(settings: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    """Check the settings that no tensor reveals."""
    for section, kind in (("encoder", "elmo"), ("token_embedder", "cnn")):
        if not isinstance(settings[section], dict):
            raise ValueError(f"{file}: {section} must be an object, but is {settings[section]!r}")
        name = settings[section].get("name", kind)
        if str(name).lower() != kind:
            raise ValueError(
                f"{file}: {section}.name must be {kind!r}, but is {name!r}; other networks are not supported"
            )
    width = settings["token_embedder"].get("max_characters_per_token")
    if not isinstance(width, int) or isinstance(width, bool) or not 3 <= width <= LONGEST_ROW:
        raise ValueError(
            f"{file}: token_embedder.max_characters_per_token must be from 3 to {LONGEST_ROW}, but is {width!r}"
        )
    for name in ("cell_clip", "proj_clip"):
        clip = settings["encoder"].get(name)
        if clip is not None and (not isinstance(clip, (int, float)) or isinstance(clip, bool) or not 0 < clip < 1e30):
            raise ValueError(f"{file}: encoder.{name} must be a positive number or null, but is {clip!r}")
    return settings


# ---- Dictionaries


def read_dictionaries(folder: Path, embedder_file: Path, embedder: Mapping[str, Tensor]) -> Dictionaries:
    """Return the ids of characters and words by their names, for each table of the embedder."""
    found = {}
    if CHARACTER_TABLE in embedder:
        found["characters"] = read_dictionary(folder / CHARACTERS, embedder[CHARACTER_TABLE])
        if missing := [name for name in ("<bow>", "<eow>") if name not in found["characters"]]:
            raise ValueError(f"{folder / CHARACTERS}: lacks {missing[0]}; expected a dictionary of characters")
    if WORD_TABLE in embedder:
        found["words"] = read_dictionary(folder / WORDS, embedder[WORD_TABLE])
    if not found:
        raise ValueError(f"{embedder_file}: lacks {CHARACTER_TABLE} and {WORD_TABLE}; expected one of them or both")
    return found


def read_dictionary(file: Path, table: Tensor) -> dict[str, int]:
    """Return the ids of a dictionary, which must be rows of an embedding table. A repeated token has its last id."""
    check_content(file, "a token, a tab and an id in each line")
    try:
        lines = file.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 ({error}); expected a token, a tab and an id in each line") from error
    ids = {}
    for number, line in enumerate(lines, start=1):
        fields = line.strip().split("\t")
        token, digits = (WHITE_SPACE, fields[0]) if len(fields) == 1 else (fields[0], fields[-1])
        if len(fields) > 2 or not re.fullmatch(r"[0-9]{1,9}", digits) or int(digits) >= len(table):
            raise ValueError(
                f"{file}, line {number}: expected a token, a tab and an id below {len(table)}, but found {line[:80]!r}"
            )
        ids[token] = int(digits)
    if missing := [name for name in SPECIAL if name not in ids]:
        raise ValueError(f"{file}: lacks {' and '.join(missing)}; expected them among its {len(lines)} lines")
    return ids


def write_dictionary(ids: Mapping[str, int], file: Path):
    """Write a dictionary: a token, a tab and its id in each line, in the order of the ids."""
    lines = (f"{token}\t{number}\n" for token, number in sorted(ids.items(), key=lambda item: item[1]))
    file.write_text("".join(lines), encoding="utf-8", newline="\n")
