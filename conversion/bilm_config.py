# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The configuration of weights in bilm-tf's format: sizes from the shapes of tensors, the rest from options.json."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hf_elmo.model.configuration_elmo import ElmoConfig

from .bilm_hdf5 import CELL, ONLY_CELL
from .options import CHARACTERS, build_config
from .original import StoredTensor

NUMBERED_CELL = r"RNN_[01]/RNN/MultiRNNCell/Cell(\d+)/LSTMCell/(?:B|W_0|W_P_0)"


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
        return "token embeddings computed by a model, not the model; give its weights, and this file with --embeddings"
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
