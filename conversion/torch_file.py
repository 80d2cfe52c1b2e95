# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Safe reading of what `torch.save` wrote: tensors by their names, and never code.

Files are read with `weights_only=True`, which refuses every object that is not made of tensors and plain containers.
"""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import safe_globals

from .archives import RATIO, SLACK, is_torch_file
from .bilm_hdf5 import check_finite
from .file_kinds import PICKLE, ZIP, check_content, file_kind, one_line


def is_state_dict_file(path: Path) -> bool:
    """Return whether a path is a file of `torch.save`, in either of its two formats."""
    if not path.is_file():
        return False
    kind = file_kind(path)
    return kind == PICKLE or (kind == ZIP and is_torch_file(path))


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict.

    Raises:
        ValueError: The file is missing, damaged, no state dict, or holds objects other than tensors.
    """
    expected = "a state dict of PyTorch"
    state = load_data(path, expected)
    if not isinstance(state, Mapping) or not state or not all(isinstance(name, str) for name in state):
        raise ValueError(f"{path}: holds {type(state).__name__}, not tensors by their names; expected {expected}")
    if others := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise ValueError(f"{path}: {others[0]} is no tensor; expected {expected}, and nothing else in it")
    return {name: tensor.detach() for name, tensor in state.items()}


def load_data(path: Path, expected: str, known: Sequence[tuple[Callable, str]] = ()) -> Any:
    """Return the content of a file of `torch.save`.

    Args:
        path: The file.
        expected: What it should hold, for messages.
        known: Stand-ins for further classes and functions, each with the name that it has in the file.
    Raises:
        ValueError: The file is missing or damaged, or holds objects of other classes.
    """
    check_content(path, expected)
    if not is_state_dict_file(path):
        raise ValueError(f"{path}: not a file of PyTorch; expected {expected}: download it again")
    try:
        check_records(path)
        with safe_globals([*known]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(error)}") from error
    except Exception as error:  # torch raises exceptions of many types for damaged files
        raise ValueError(f"{path}: {explain(error, expected)}") from error


def check_records(path: Path):
    """Refuse zip files that declare more than they hold; `torch.save` compresses nothing."""
    if file_kind(path) != ZIP:
        return
    with zipfile.ZipFile(path) as file:
        declared, stored = sum(info.file_size for info in file.infolist()), path.stat().st_size
    if declared > stored * RATIO + SLACK:
        raise ValueError(f"declares {declared:,} bytes, but the file has {stored:,}; is it a file of weights?")


def explain(error: Exception, expected: str) -> str:
    text = str(error)
    if "Unsupported global" in text or "Unsupported operand" in text or "Weights only load failed" in text:
        return f"holds more than tensors, perhaps code, and is not opened; expected {expected}"
    return f"not readable as a file of PyTorch ({one_line(error)}); it may be truncated: download it again"


def checked(name: str, tensor: Tensor, shape: tuple[int, ...], file: Path) -> Tensor:
    """Return a tensor after checking that it has this shape, that its numbers are stored, and that they are finite.

    Raises:
        ValueError: One of these does not hold.
    """
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{file}: {name} must be {shape} to fit the other tensors, but is {tuple(tensor.shape)}")
    if tensor.layout != torch.strided or not tensor.is_floating_point():
        raise ValueError(f"{file}: {name} must hold floating-point numbers, but holds {tensor.dtype}")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(f"{file}: {name} declares shape {shape}, but fewer numbers are stored; the file is damaged")
    check_finite(name, tensor, file)
    return tensor
