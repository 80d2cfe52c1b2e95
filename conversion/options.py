# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""options.json of bilm-tf and AllenNLP, converted to `ElmoConfig` and back.

Sizes are read from the shapes of the tensors. Options that repeat them must agree, because options of another model are
the most common mistake. Clips, skip connections, activation and characters per word come from the options alone.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from hf_elmo.model.configuration_elmo import ElmoConfig

from .bilm_hdf5 import CELL, ONLY_CELL, original_format
from .file_kinds import check_content
from .original import StoredTensor

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
NUMBERED_CELL = r"RNN_[01]/RNN/MultiRNNCell/Cell(\d+)/LSTMCell/(?:B|W_0|W_P_0)"
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


def read_config(
    options: Mapping, stored: Mapping[str, StoredTensor], options_file: str | Path = "options.json"
) -> tuple[ElmoConfig, list[str]]:
    """Return the configuration of weights in bilm-tf's format, and one line for each assumption.

    `config.original_format` keeps what no field holds and the conversion back needs: further options (`"options"`), a
    character table that already has its padding row (`"character_rows"`), and the cell name of one layer (`"cell"`).

    Args:
        options: Content of options.json.
        stored: The tensors, of which only the shapes are used.
        options_file: The file of `options`, for messages.
    Raises:
        ValueError: Options and tensors do not belong together, or are no biLM.
    """
    config, notes = build_config(options, read_sizes(stored), options_file, stored_file(stored))
    if config.char_cnn_filters and stored["char_embed"].shape[0] == CHARACTERS:
        config.original_format["character_rows"] = CHARACTERS
    if not matches(stored, NUMBERED_CELL):
        config.original_format["cell"] = ONLY_CELL
    return config, notes


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


def read_sizes(stored: Mapping[str, StoredTensor]) -> dict[str, tuple[Any, str]]:
    """Return the fields of the configuration that shapes reveal, each with the tensor that does."""
    cells = r"RNN_[01]/RNN/(?:MultiRNNCell/Cell\d+/)?LSTMCell"
    kernel = first(stored, rf"{cells}/(?:B|W_0)", lambda shape: shape[-1] % 4 == 0)
    if kernel is None:
        raise ValueError(f"{stored_file(stored)}: {no_bilm(stored)}")
    cell_size = stored[kernel].shape[-1] // 4
    projection = first(stored, rf"{cells}/W_P_0", lambda shape: len(shape) == 2)
    sizes = {
        "cell_size": (cell_size, shown(stored, kernel)),
        "num_hidden_layers": (len(matches(stored, NUMBERED_CELL)) or 1, "the number of LSTM cells"),
        "projection_size": (stored[projection].shape[1], shown(stored, projection))
        if projection
        else (cell_size, f"{shown(stored, kernel)} without W_P_0"),
        "use_cell_projection": (projection is not None, "W_P_0"),
        "char_cnn_filters": ([], "embedding"),
        "num_highway_layers": (0, "embedding"),
    }
    if "softmax/W" in stored:
        if len(stored["softmax/W"].shape) != 2:
            raise ValueError(
                f"{stored['softmax/W'].file}: softmax/W must be (words, {sizes['projection_size'][0]}), "
                f"but is {stored['softmax/W'].shape}"
            )
        sizes["word_vocab_size"] = (stored["softmax/W"].shape[0], shown(stored, "softmax/W"))
    return sizes | (read_character_sizes if "char_embed" in stored else read_word_sizes)(stored, sizes)


def read_character_sizes(stored: Mapping[str, StoredTensor], sizes: Mapping) -> dict[str, tuple[Any, str]]:
    """Return the sizes of the character CNN."""
    table = stored["char_embed"].shape
    if len(table) != 2 or table[0] not in (CHARACTERS - 1, CHARACTERS):
        raise ValueError(
            f"{stored_file(stored)}: char_embed must have {CHARACTERS - 1} rows, or {CHARACTERS} with a padding row, "
            f"but is {table}"
        )
    filters = []
    for i in range(len(matches(stored, r"CNN/W_cnn_(\d+)"))):
        kernel = stored.get(f"CNN/W_cnn_{i}")
        if kernel is None or len(kernel.shape) != 4:
            found = "is missing" if kernel is None else f"is {kernel.shape}"
            raise ValueError(f"{stored_file(stored)}: CNN/W_cnn_{i} must be (1, width, {table[1]}, count), but {found}")
        filters.append([kernel.shape[1], kernel.shape[3]])
    if not filters:
        raise ValueError(f"{stored_file(stored)}: char_embed has no convolutions beside it; missing CNN/W_cnn_0")
    features = sum(count for _, count in filters)
    projected = "CNN_proj/W_proj" in stored or features != sizes["projection_size"][0]
    return {
        "vocab_size": (CHARACTERS, "char_embed"),
        "char_embedding_size": (table[1], shown(stored, "char_embed")),
        "char_cnn_filters": (filters, "CNN/W_cnn_*"),
        "num_highway_layers": (len(matches(stored, r"CNN_high_(\d+)/\w+")), "the number of CNN_high_*"),
        "use_char_projection": (projected, "CNN_proj/W_proj"),
    }


def read_word_sizes(stored: Mapping[str, StoredTensor], sizes: Mapping) -> dict[str, tuple[Any, str]]:
    """Return the sizes of a model that reads words."""
    if "embedding" not in stored:
        raise ValueError(
            f"{stored_file(stored)}: neither char_embed, of a model that reads characters, nor embedding, of one that "
            f"reads words; found {some(stored)}"
        )
    if len(stored["embedding"].shape) != 2:
        raise ValueError(f"{stored_file(stored)}: embedding must be (words, width), but is {stored['embedding'].shape}")
    return {"vocab_size": (stored["embedding"].shape[0] + 1, shown(stored, "embedding"))}


def write_options(config: ElmoConfig) -> dict:
    """Return the content of options.json for a configuration, with the further options of the original file."""
    options = json.loads(json.dumps(original_format(config).get("options", {})))
    for name, field in FIELDS.items():
        if name.startswith("char_cnn") and not config.char_cnn_filters:
            continue
        *sections, last = name.split(".")
        place = options
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = getattr(config, field)
    if config.char_cnn_filters:
        options["char_cnn"]["n_characters"] = config.vocab_size
    if config.lstm_dropout != options.get("dropout", DROPOUT):
        options["dropout"] = config.lstm_dropout
    if config.word_vocab_size or not config.char_cnn_filters:
        options["n_tokens_vocab"] = config.word_vocab_size or config.vocab_size - 1
    return options


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


def matches(stored: Mapping[str, StoredTensor], pattern: str) -> set:
    """Return the groups of a pattern in all names that match it."""
    return {match[1] for name in stored if (match := re.fullmatch(pattern, name))}


def first(stored: Mapping[str, StoredTensor], pattern: str, fits: Callable[[tuple[int, ...]], bool]) -> str | None:
    """Return the first name that matches a pattern and whose shape, of at least one axis, is acceptable."""
    names = (name for name in sorted(stored) if re.fullmatch(pattern, name))
    return next((name for name in names if stored[name].shape and fits(stored[name].shape)), None)


def no_bilm(stored: Mapping[str, StoredTensor]) -> str:
    """Describe what a file without an LSTM may be instead."""
    if "softmax/W" in stored:
        return "softmax weights without an ELMo; give them with --softmax, and the ELMo's own weights as the source"
    if set(stored) == {"embedding"}:
        return "token embeddings computed by a model, not the model; give the model's weights"
    if any(re.search("transformer|attention", name) for name in stored):
        return "weights of a Transformer, not of an LSTM; Transformer-ELMo is not supported"
    return f"no ELMo weights; missing {CELL.format(direction=0, layer=0)}/W_0; found {some(stored)}"


def some(stored: Mapping[str, StoredTensor]) -> str:
    names = sorted(stored)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "nothing"


def shown(stored: Mapping[str, StoredTensor], name: str) -> str:
    return f"{name} {stored[name].shape}"


def stored_file(stored: Mapping[str, StoredTensor]) -> str:
    """Return the file of the model's own tensors, for messages."""
    files = {str(tensor.file) for name, tensor in stored.items() if not name.startswith("softmax/")}
    return ", ".join(sorted(files or {str(tensor.file) for tensor in stored.values()})) or "the weight file"


def describe(kind: type | tuple[type, ...]) -> str:
    return {str: "a string", int: "an integer", bool: "true or false"}.get(kind, "a number")
