# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Folders and files of bilm-tf and AllenNLP: hdf5 weights and their options.json, with softmax and word list."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from .bilm_config import read_config
from .bilm_hdf5 import read_weights
from .file_kinds import HDF5, file_kind
from .hdf5_file import open_hdf5
from .options import read_options
from .original import Format, Original, Source, StoredTensor
from .token_cache import is_token_cache, with_token_embeddings
from .word_list import find_word_list

ALIGNMENT = "best_mapping.pth"


class BilmFiles(NamedTuple):
    """The hdf5 files of a folder: weights, and what may lie beside them in files of their own."""

    weights: Path
    softmax: Path | None = None
    embeddings: Path | None = None


def has_weights(path: Path) -> bool:
    """Return whether a path is an hdf5 file, or a folder that holds one or a file named like one."""
    if path.is_file():
        return file_kind(path) == HDF5
    return any(child.is_file() and (file_kind(child) == HDF5 or is_named_hdf5(child)) for child in path.iterdir())


def is_named_hdf5(path: Path) -> bool:
    return path.suffix in (".hdf5", ".h5")


def read_bilm_folder(source: Source) -> Original:
    """Read hdf5 weights with their options, the softmax of the language model, and token embeddings where given."""
    found = find_files(source.path) if source.path.is_dir() else BilmFiles(source.path)
    weights, softmax, notes = found.weights, source.softmax or found.softmax, []
    options_file = source.options or find_options(weights)
    options = read_options(options_file)
    vocabulary = source.vocabulary or find_word_list(weights.parent)
    with ExitStack() as opened:
        stored = opened.enter_context(open_hdf5(weights))
        if not stored:
            raise ValueError(f"{weights}: the hdf5 file is empty; expected the tensors of an ELMo")
        embeddings = source.embeddings or (None if {"char_embed", "embedding"} & set(stored) else found.embeddings)
        if softmax is not None:
            stored = stored | softmax_only(opened.enter_context(open_hdf5(softmax)), softmax)
        if embeddings is not None:
            cache = opened.enter_context(open_hdf5(embeddings))
            stored, notes = with_token_embeddings(stored, cache, options, options_file, vocabulary)
        config, assumptions = read_config(options, stored, options_file)
        state, unused = read_weights(stored, config)
    notes += assumptions
    notes += [f"{weights} holds {name}, which is no part of an ELMo; left out" for name in unused]
    notes += describe_others(found, embeddings, source)
    files_read = [options_file, weights, *(file for file in (softmax, embeddings) if file)]
    return Original(FORMAT.name, config, state, files_read, notes, vocabulary)


FORMAT = Format("bilm-tf hdf5", has_weights, read_bilm_folder)


def describe_others(found: BilmFiles, embeddings: Path | None, source: Source) -> list[str]:
    """Return notes about files beside the weights that are not used."""
    notes, alignment = [], found.weights.parent / ALIGNMENT
    if found.embeddings and found.embeddings != embeddings:
        notes.append(
            f"{found.embeddings}, token embeddings of a word list, is not needed to read characters; left out, or "
            "--embeddings makes a model that reads these words"
        )
    if alignment.is_file() and not source.alignment:
        notes.append(
            f"{alignment}, an alignment of a layer to another language, is not applied; --alignment {ALIGNMENT} "
            "applies it to the first biLSTM layer (Schuster et al. 2019)"
        )
    return notes


def softmax_only(stored: Mapping[str, StoredTensor], path: Path) -> dict[str, StoredTensor]:
    softmax = {name: tensor for name, tensor in stored.items() if name.startswith("softmax/")}
    if "softmax/W" not in softmax:
        raise ValueError(
            f"{path}: no softmax weights; expected softmax/W and softmax/b, found {', '.join(list(stored)[:5])}"
        )
    return softmax


def find_files(folder: Path) -> BilmFiles:
    """Return the weight file of a folder, whatever its name, and files of softmax and token embeddings beside it."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    candidates = [path for path in files if file_kind(path) == HDF5]
    if not candidates:  # a file with such a name has a message that says more
        candidates = [path for path in files if is_named_hdf5(path)][:1]
    if not candidates:
        names = ", ".join(path.name for path in files[:8]) or "nothing"
        raise ValueError(f"{folder}: no weights; expected a file in hdf5 format and its options.json, found {names}")
    if len(candidates) == 1:
        return BilmFiles(candidates[0])
    weights, softmax, embeddings = [], [], []
    for path in candidates:
        with open_hdf5(path) as stored:
            if any(name.startswith("RNN_") for name in stored):
                weights.append(path)
            elif "softmax/W" in stored:
                softmax.append(path)
            elif is_token_cache(stored):
                embeddings.append(path)
    if len(weights) != 1 or len(softmax) > 1 or len(embeddings) > 1:
        names = ", ".join(path.name for path in weights + softmax + embeddings or candidates)
        raise ValueError(f"{folder}: {len(weights)} weight files among {names}; give one of them instead of the folder")
    return BilmFiles(weights[0], *(paths[0] if paths else None for paths in (softmax, embeddings)))


def find_options(weights: Path) -> Path:
    """Return the options file of a weight file: of the same name, of the usual name, or the only one beside it."""
    names = (f"{weights.stem.replace('weights', 'options')}.json", f"{weights.stem}.json", "options.json")
    for name in names:
        if (weights.parent / name).is_file():
            return weights.parent / name
    found = sorted(path for path in weights.parent.glob("*.json") if is_options(path))
    if len(found) != 1:
        among = f"found {len(found)} ({', '.join(path.name for path in found)})" if found else "found none"
        raise ValueError(
            f"{weights.parent}: expected one options file beside {weights.name}, {among}; give it with --options"
        )
    return found[0]


def is_options(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError, OSError):
        return False
    return isinstance(content, dict) and "lstm" in content
