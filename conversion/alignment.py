# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Alignment matrices between languages (Schuster et al. 2019), `best_mapping.pth`: a matrix for each aligned layer.

The matrix A (2P, 2P) of the first biLSTM layer is what the authors publish, and AllenNLP multiplies by its transpose:
h A^T. MUSE, which computes these matrices, saves NumPy arrays with `torch.save`; tensors are read as well.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .original import Original
from .torch_file import checked, load_data

PUBLISHED_LAYER = 1  # the first biLSTM layer
EXPECTED = "an alignment matrix, a tensor or NumPy array saved by PyTorch"
FLOATS = {("f4", "<"): "<f4", ("f8", "<"): "<f8", ("f4", "="): "<f4", ("f8", "="): "<f8"}


def parse_alignment(given: Iterable[str | Path]) -> dict[int, str]:
    """Return files by the layers that they align: `FILE` for the first biLSTM layer, `2=FILE` for another.

    Raises:
        ValueError: Two files are given for one layer.
    """
    files = {}
    for text in map(str, given):
        numbered = re.fullmatch(r"(\d{1,4})=(.+)", text)
        layer, file = (int(numbered[1]), numbered[2]) if numbered else (PUBLISHED_LAYER, text)
        if layer in files:
            raise ValueError(
                f"--alignment has two files for layer {layer}, {files[layer]} and {file}; number them: 1=FILE 2=FILE"
            )
        files[layer] = file
    return files


def align(original: Original, files: Mapping[int, Path]) -> Original:
    """Return a model with matrices that its hidden states and mixes are multiplied by.

    Raises:
        ValueError: A file is no matrix of the model's width, or the model has no such layer.
    """
    config, top = original.config, original.config.num_hidden_layers
    if not files:
        return original
    if config.aligned_layers:
        raise ValueError(f"{original.files[0]}: its layers are aligned already; leave out --alignment")
    if beyond := [layer for layer in files if layer > top]:
        raise ValueError(f"{files[beyond[0]]}: is for layer {beyond[0]}, but layers go from 0 to {top}")
    matrices = {
        f"alignment.layer_{layer}": read_matrix(file, config.hidden_size) for layer, file in sorted(files.items())
    }
    config.aligned_layers = sorted(files)
    names = ", ".join(f"layer {layer} by {file.name}" for layer, file in sorted(files.items()))
    advice = ""
    if len(files) <= top:
        only = ", ".join(str(int(layer in files)) for layer in range(top + 1))
        advice = f"; the mix holds the other layers too, unless you type model.set_mix_weights([{only}])"
    original.notes.append(f"aligned to another language: {names}{advice}")
    return original._replace(state=dict(original.state) | matrices, files=[*original.files, *files.values()])


def read_matrix(file: Path, size: int) -> Tensor:
    """Return a matrix `(size, size)` of float32."""
    names = [(rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    found = load_data(file, EXPECTED, [*names, (StoredArray, "numpy.ndarray"), (StoredType, "numpy.dtype")])
    if isinstance(found, StoredArray):
        found = found.tensor
    if not isinstance(found, Tensor):
        raise ValueError(f"{file}: holds {type(found).__name__}; expected {EXPECTED}")
    return checked("the alignment matrix", found.detach(), (size, size), file).float().contiguous()


# ---- NumPy arrays in files of PyTorch: read as bytes, a shape and a type, without NumPy's own unpickling


class StoredType:
    """The type of an array, of which only little-endian floats are known."""

    def __init__(self, code: Any = None, *_: Any):
        self.code, self.order = code, None

    def __setstate__(self, state: tuple):
        self.order = state[1]


class StoredArray:
    """An array of floats, as a tensor once its state is set."""

    tensor: Tensor | None = None

    def __setstate__(self, state: tuple):
        _, shape, kind, by_columns, content = state
        code = FLOATS.get((kind.code, kind.order)) if isinstance(kind, StoredType) else None
        if code is None or not isinstance(content, bytes):
            raise ValueError("holds an array of another type than float32 and float64")
        numbers = np.frombuffer(content, code).reshape(shape, order="F" if by_columns else "C")
        self.tensor = torch.from_numpy(numbers.copy())


def rebuild(*_: Any) -> StoredArray:
    return StoredArray()
