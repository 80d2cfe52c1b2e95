# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Folders and files of bilm-tf and AllenNLP: hdf5 weights and their options.json, with softmax and word list."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from .bilm_config import read_config
from .bilm_hdf5 import read_weights
from .file_kinds import HDF5, file_kind
from .hdf5_file import open_hdf5
from .options import read_options
from .original import Format, Original, Source, StoredTensor

ALIGNMENT = "best_mapping.pth"


def has_weights(path: Path) -> bool:
    """Return whether a path is an hdf5 file, or a folder that holds one or a file named like one."""
    if path.is_file():
        return file_kind(path) == HDF5
    return any(child.is_file() and (file_kind(child) == HDF5 or is_named_hdf5(child)) for child in path.iterdir())


def is_named_hdf5(path: Path) -> bool:
    return path.suffix in (".hdf5", ".h5")


def read_bilm_folder(source: Source) -> Original:
    """Read hdf5 weights with their options, and the softmax of the language model where there is one."""
    weights, softmax = source.path, source.softmax
    if weights.is_dir():
        weights, found_softmax = find_weights(weights)
        softmax = softmax or found_softmax
    options_file = source.options or find_options(weights)
    options = read_options(options_file)
    with ExitStack() as files:
        stored = files.enter_context(open_hdf5(weights))
        if not stored:
            raise ValueError(f"{weights}: the hdf5 file is empty; expected the tensors of an ELMo")
        if softmax is not None:
            stored = stored | softmax_only(files.enter_context(open_hdf5(softmax)), softmax)
        config, notes = read_config(options, stored, options_file)
        state, unused = read_weights(stored, config)
    notes += [f"{weights} holds {name}, which is no part of an ELMo; left out" for name in unused]
    if (weights.parent / ALIGNMENT).is_file():
        notes.append(
            f"{weights.parent / ALIGNMENT}, an alignment to another language, is not applied; multiply the vectors of "
            "the layer that it was made for by its transpose (Schuster et al. 2019)"
        )
    vocabulary = source.vocabulary or find_vocabulary(weights.parent)
    files_read = [options_file, weights, *([softmax] if softmax else [])]
    return Original(FORMAT.name, config, state, files_read, notes, vocabulary)


FORMAT = Format("bilm-tf hdf5", has_weights, read_bilm_folder)


def softmax_only(stored: Mapping[str, StoredTensor], path: Path) -> dict[str, StoredTensor]:
    softmax = {name: tensor for name, tensor in stored.items() if name.startswith("softmax/")}
    if "softmax/W" not in softmax:
        raise ValueError(
            f"{path}: no softmax weights; expected softmax/W and softmax/b, found {', '.join(list(stored)[:5])}"
        )
    return softmax


def find_weights(folder: Path) -> tuple[Path, Path | None]:
    """Return the weight file of a folder, whatever its name, and the file of its softmax if that is separate."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    candidates = [path for path in files if file_kind(path) == HDF5]
    if not candidates:  # a file with such a name has a message that says more
        candidates = [path for path in files if is_named_hdf5(path)][:1]
    if not candidates:
        names = ", ".join(path.name for path in files[:8]) or "nothing"
        raise ValueError(f"{folder}: no weights; expected a file in hdf5 format and its options.json, found {names}")
    if len(candidates) == 1:
        return candidates[0], None
    weights, softmax = [], []
    for path in candidates:
        with open_hdf5(path) as stored:
            if any(name.startswith("RNN_") for name in stored):
                weights.append(path)
            elif "softmax/W" in stored:
                softmax.append(path)
    if len(weights) != 1 or len(softmax) > 1:
        names = ", ".join(path.name for path in weights + softmax or candidates)
        raise ValueError(f"{folder}: {len(weights)} weight files among {names}; give one of them instead of the folder")
    return weights[0], softmax[0] if softmax else None


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


def find_vocabulary(folder: Path) -> Path | None:
    return next((folder / name for name in ("vocab.txt", "vocab.txt.gz") if (folder / name).is_file()), None)
