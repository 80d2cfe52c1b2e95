# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Opening an hdf5 file of unknown origin: which tensors it holds, and that each really is where and what it says.

An hdf5 file may point into other files (links, external storage, virtual datasets) and may declare more numbers than it
holds. Nothing of that is followed or allocated: a file that does it is refused.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SLACK = 1 << 20  # bytes; below it no ratio of declared to stored size is worth a question
COMPRESSION = 10  # trained weights hardly compress, float32 numbers kept as float64 do about threefold

# What else people have under the name of a weight file, told by the first bytes.
IMPOSTORS = {
    b"version https://git-lfs": "a git-lfs pointer, not the weights themselves; run `git lfs pull` and try again",
    b"\x1f\x8b": "a gzip archive (an AllenNLP model.tar.gz?); give the hdf5 weights and options it was made from",
    b"PK\x03\x04": "a zip file (PyTorch's weights.th or an archive), not hdf5; give the model's original hdf5 weights",
    b"\x80\x02": "a Python pickle (PyTorch's?), not hdf5; give the model's original hdf5 weights",
    b"<!DOCTYPE": "a web page, not weights; download the file itself",
    b"<html": "a web page, not weights; download the file itself",
    b"{": "a JSON file, not weights; give the hdf5 file here and the options with --options",
}


class StoredTensor(NamedTuple):
    """A tensor in a file, of whatever format, not read yet. `read` checks it first and raises `ValueError`."""

    file: Path
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def is_hdf5(path: Path) -> bool:
    """Whether a file starts as an hdf5 file does."""
    with open(path, "rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


@contextmanager
def open_hdf5(path: str | Path) -> Iterator[dict[str, StoredTensor]]:
    """The datasets of an hdf5 file by their paths, to be read as long as the context lasts.

    Raises:
        ValueError: The file is missing, truncated, no hdf5 file, or holds links to elsewhere.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected weights in hdf5 format")
    with open(path, "rb") as opened:
        start = opened.read(32)
    if not start:
        raise ValueError(f"{path}: the file is empty; expected weights in hdf5 format, download it again")
    for beginning, what in IMPOSTORS.items():
        if start.startswith(beginning):
            raise ValueError(f"{path}: this is {what}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(
            f"{path}: no readable hdf5 file ({explain(error)}); it may be truncated: expected weights in hdf5 format, "
            f"got {path.stat().st_size:,} bytes; download it again"
        ) from error
    with file:
        try:
            stored = {
                name: StoredTensor(path, dataset.shape or (), partial(read, name, dataset, path))
                for name, dataset in walk(file, path)
            }
        except (OSError, RuntimeError, KeyError, TypeError) as error:  # what h5py makes of damaged structures
            raise ValueError(f"{path}: the hdf5 file is damaged ({explain(error)}); get it again") from error
        yield stored


def walk(file: h5py.File, path: Path) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every dataset of a file, with its path. Only hard links are walked, and each group once, by its first name."""
    groups, seen = [("", file)], {h5py.h5o.get_info(file.id).addr}
    while groups:
        prefix, group = groups.pop()
        for name in group:
            if isinstance(name, bytes):
                raise ValueError(f"{path}: the name {name!r} is no UTF-8; the hdf5 file is damaged, get it again")
            full = prefix + name
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(
                    f"{path}: {full} is a link to somewhere else, and links are not followed; expected the tensor "
                    "itself: copy it into the file"
                )
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if isinstance(item, h5py.Dataset):
                yield full, item
            elif isinstance(item, h5py.Group) and address not in seen:
                seen.add(address)
                groups.append((full + "/", item))


def read(name: str, dataset: h5py.Dataset, path: Path) -> np.ndarray:
    """The numbers of a dataset in the machine's byte order."""
    try:
        check_storage(name, dataset, path)
        numbers = np.empty(dataset.shape, dataset.dtype.newbyteorder("="))
        dataset.read_direct(numbers)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"{path}: {name} cannot be read ({explain(error)}); the file is damaged, get it again"
        ) from error
    return numbers


def check_storage(name: str, dataset: h5py.Dataset, path: Path):
    """That a dataset is floating-point numbers which lie in this file, all of them.

    Raises:
        ValueError: Its type is another, its storage is elsewhere, or it declares more than is stored.
    """
    kind = dataset.id.get_type()
    if not isinstance(kind, h5py.h5t.TypeFloatID) or kind.get_size() not in (2, 4, 8):
        raise ValueError(
            f"{path}: {name} must hold float16, float32 or float64 numbers, but holds {describe_type(kind)}"
        )
    if dataset.external or dataset.is_virtual:
        raise ValueError(
            f"{path}: {name} keeps its numbers in another file, and such references are not followed; "
            "expected them in the file itself: copy them in"
        )
    declared, stored = dataset.size * kind.get_size(), dataset.id.get_storage_size()
    compressed = dataset.id.get_create_plist().get_nfilters() > 0
    if not stored or declared > (stored * COMPRESSION + SLACK if compressed else stored) or lacks_chunks(dataset):
        raise ValueError(
            f"{path}: {name} declares shape {dataset.shape}, {declared:,} bytes, but only {stored:,} bytes are stored; "
            "the file is damaged or was never filled: get it again"
        )
    on_disk = bytes_on_disk(path)
    if declared > on_disk * COMPRESSION + SLACK:
        raise ValueError(
            f"{path}: {name} declares shape {dataset.shape}, {declared:,} bytes, but the whole file occupies "
            f"{on_disk:,}; the file is damaged or was never filled: get it again"
        )


def lacks_chunks(dataset: h5py.Dataset) -> bool:
    """Whether a dataset that is stored in pieces lacks some: they would be read as zeros."""
    if dataset.chunks is None:
        return False
    expected = math.prod(-(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks))
    return dataset.id.get_num_chunks() < expected


def bytes_on_disk(path: Path) -> int:
    """What a file really occupies: for a sparse file less than its length."""
    status = os.stat(path)
    blocks = getattr(status, "st_blocks", 0)  # not on Windows; 0 where the file system does not say
    return min(status.st_size, blocks * 512) if blocks else status.st_size


def describe_type(kind: h5py.h5t.TypeID) -> str:
    try:
        return str(kind.dtype)
    except TypeError:
        return "a type of its own"


def explain(error: Exception) -> str:
    """An exception's message in one line."""
    return " ".join(str(error.args[0] if error.args else error).split())
