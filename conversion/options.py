# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""options.json of bilm-tf and AllenNLP, converted to `ElmoConfig` and back.

Sizes are read from the shapes of the tensors. Options that repeat them must agree, because options of another model are
the most common mistake. Clips, skip connections, activation and characters per word come from the options alone.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from hf_elmo.model.configuration_elmo import ElmoConfig

from .bilm_hdf5 import original_format
from .file_kinds import check_content

FIELDS = {  # option -> field of ElmoConfig
    "lstm.use_skip_connections": "use_skip_connections",
    "lstm.projection_dim": "projection_size",
    "lstm.cell_clip": "cell_clip",
    "lstm.proj_clip": "projection_clip",
    "lstm.dim": "cell_size",
    "lstm.n_layers": "num_hidden_layers",
    "char_cnn.activation": "char_cnn_activation",
    "char_cnn.filters": "char_cnn_filters",
    "char_cnn.n_highway": "num_highway_layers",
    "char_cnn.embedding.dim": "char_embedding_size",
    "char_cnn.max_characters_per_token": "max_characters_per_token",
}
# Settings that no shape reveals: the default of bilm-tf, and the type.
SETTINGS = {
    "lstm.cell_clip": (None, (int, float)),
    "lstm.proj_clip": (None, (int, float)),
    "lstm.use_skip_connections": (False, bool),
    "char_cnn.activation": ("relu", str),
    "char_cnn.max_characters_per_token": (50, int),
}
# The settings that all published models of AllenNLP share, for sources without an options file.
PUBLISHED_OPTIONS = {
    "lstm": {"cell_clip": 3, "proj_clip": 3, "use_skip_connections": True},
    "char_cnn": {"activation": "relu", "max_characters_per_token": 50},
}
DROPOUT = 0.1  # of bilm-tf's training script; files for inference have none
LONGEST_ROW = 10_000  # ids of one word; a row is allocated for every word, and published models have 50
CHARACTERS = 262  # 256 bytes, five special characters, and 0 for padding, for which the table of training has no row
EXPECTED = "the options.json that came with the weights"


def read_options(path: Path) -> dict:
    """Return the content of an options file.

    Raises:
        ValueError: The file is missing, or holds no options of a biLM.
    """
    check_content(path, EXPECTED)
    try:
        options = json.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows write a byte-order mark
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error}); expected {EXPECTED}") from error
    if not isinstance(options, dict) or not isinstance(options.get("lstm"), dict):
        if isinstance(options, dict) and (
            "transformer" in str(options)[:10000] or "bidirectional_language_model" in str(options)
        ):
            raise ValueError(
                f"{path}: a configuration of AllenNLP's Transformer-ELMo, which has no LSTM and is not supported"
            )
        raise ValueError(f'{path}: no options of an ELMo; expected an object with "lstm" and "char_cnn" in it')
    for section in ("char_cnn", "char_cnn.embedding"):
        if not isinstance(option(options, section, {}), dict):
            raise ValueError(f"{path}: {section} must be an object, but is {option(options, section)!r}")
    return options


def published_note(source: Path) -> str:
    """Return the note about a source without options."""
    return (
        f"{source} has no options; assumed those of the published models, which no tensor reveals: cell and projection "
        "clipped at 3, skip connections, relu, 50 characters per word; give others with --options"
    )


def option(options: Mapping, name: str, default: Any = None) -> Any:
    """Return the option of a dotted name; null counts as missing."""
    for part in name.split("."):
        options = options.get(part) if isinstance(options, Mapping) else None
    return default if options is None else options


def build_config(
    options: Mapping, sizes: Mapping[str, tuple[Any, str]], options_file: str | Path, weight_file: str | Path
) -> tuple[ElmoConfig, list[str]]:
    """Return the configuration of a biLM, and one line for each assumption.

    Args:
        options: Content of options.json.
        sizes: Fields that the tensors reveal, each with the tensor that does.
        options_file, weight_file: Where both come from, for messages.
    Raises:
        ValueError: Options and tensors do not belong together, or an option has a wrong value.
    """
    by_characters = bool(sizes["char_cnn_filters"][0])
    for name, field in FIELDS.items():
        given = option(options, name)
        if field in sizes and given is not None and (by_characters or not name.startswith("char_cnn")):
            value, tensor = sizes[field]
            if given != value or isinstance(given, bool):
                raise ValueError(
                    f"{options_file}: {name} is {given!r}, but {tensor} of {weight_file} means {value!r}; "
                    "are these options of other weights?"
                )
    if option(options, "char_cnn.n_characters", CHARACTERS) not in (CHARACTERS - 1, CHARACTERS) and by_characters:
        raise ValueError(
            f"{options_file}: char_cnn.n_characters must be {CHARACTERS}, or {CHARACTERS - 1} as training writes it, "
            f"but is {option(options, 'char_cnn.n_characters')!r}"
        )

    settings, notes = read_settings(options, by_characters, options_file)
    try:
        config = ElmoConfig(
            **{field: value for field, (value, _) in sizes.items()},
            **settings,
            original_format={"options": without_fields(options)},
        )
    except StrictDataclassError as error:
        raise ValueError(f"{options_file}: {' '.join(str(error.__cause__ or error).split())}") from error
    return config, notes


def read_settings(options: Mapping, by_characters: bool, options_file: str | Path) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of the configuration that only options reveal, and one line for each that is missing."""
    settings, notes = {"lstm_dropout": option(options, "dropout", DROPOUT)}, []
    if not by_characters:
        settings |= {"max_characters_per_token": 1, "bos_token_id": 1, "eos_token_id": 2}
    for name, (default, kind) in SETTINGS.items():
        if name.startswith("char_cnn") and not by_characters:
            continue
        value = option(options, name, default)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool) != (kind is bool)):
            raise ValueError(f"{options_file}: {name} must be {describe(kind)} or null, but is {value!r}")
        if name.endswith("clip") and value is not None and not 0 < value < float("inf"):
            raise ValueError(
                f"{options_file}: {name} must be a positive number, or null for no clipping, but is {value!r} "
                "(at 0 TensorFlow clips everything to 0 and AllenNLP nothing)"
            )
        if name.endswith("per_token") and not 3 <= value <= LONGEST_ROW:
            raise ValueError(
                f"{options_file}: {name} must be at least 3, a byte between two special characters, and at most "
                f"{LONGEST_ROW}, but is {value!r}"
            )
        if value is not None and option(options, name) is None:
            notes.append(f"{options_file} has no {name}; assumed {json.dumps(value)}, as bilm-tf does in training")
        settings[FIELDS[name]] = value
    return settings, notes


def write_options(config: ElmoConfig) -> dict:
    """Return the content of options.json for a configuration, with the further options of the original file."""
    options = json.loads(json.dumps(original_format(config).get("options", {})))
    options = options if isinstance(options, dict) else {}
    for name, field in FIELDS.items():
        if name.startswith("char_cnn") and not config.char_cnn_filters:
            continue
        *sections, last = name.split(".")
        place = options
        for section in sections:
            if not isinstance(place.get(section), dict):
                place[section] = {}
            place = place[section]
        place[last] = getattr(config, field)
    if config.num_hidden_layers == 1:  # which changes nothing, but AllenNLP loads no model without
        options["lstm"]["use_skip_connections"] = True
    if config.char_cnn_filters:
        options["char_cnn"]["n_characters"] = config.vocab_size
    if config.lstm_dropout != options.get("dropout", DROPOUT):
        options["dropout"] = config.lstm_dropout
    if config.word_vocab_size or not config.char_cnn_filters:
        options["n_tokens_vocab"] = config.word_vocab_size or config.vocab_size - 1
    return options


def missing_for_allennlp(config: ElmoConfig) -> list[str]:
    """Return the parts that AllenNLP expects of every biLM, but that this one does not have."""
    parts = {
        "an encoder of characters": config.char_cnn_filters,
        "a projection of characters": config.use_char_projection or not config.char_cnn_filters,
        "projections of cells": config.use_cell_projection,
        "skip connections": config.use_skip_connections or config.num_hidden_layers == 1,
    }
    return [name for name, there in parts.items() if not there]


def without_fields(options: Mapping, prefix: str = "") -> dict:
    """Return the options that no field of the configuration holds, such as the length of the training."""
    rest = {}
    for name, value in options.items():
        if prefix + name in FIELDS or prefix + name == "char_cnn.n_characters":
            continue
        if isinstance(value, Mapping):
            value = without_fields(value, f"{prefix}{name}.")
            if not value:
                continue
        rest[name] = value
    return rest


def describe(kind: type | tuple[type, ...]) -> str:
    return {str: "a string", int: "an integer", bool: "true or false"}.get(kind, "a number")
