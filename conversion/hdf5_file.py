# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Safe reading of an hdf5 file of unknown origin: its tensors, each checked before memory is allocated for it.

An hdf5 file may point into other files (links, external storage, virtual datasets) and may declare more numbers than it
holds. No reference is followed, and a file that declares more than it holds is refused.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from .file_kinds import check_weights, one_line
from .original import StoredTensor

SLACK = 1 << 20  # bytes; below it the ratio of declared to stored size is not checked
COMPRESSION = 10  # trained weights hardly compress; float32 numbers kept as float64 compress about threefold


@contextmanager
def open_hdf5(path: str | Path) -> Iterator[dict[str, StoredTensor]]:
    """Open an hdf5 file and yield its datasets by their paths; they can be read as long as the context lasts.

    Raises:
        ValueError: The file is missing, truncated, of another format, or holds links to elsewhere.
    """
    path = Path(path)
    check_weights(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(
            f"{path}: no readable hdf5 file ({one_line(error)}); it may be truncated: expected weights in hdf5 format, "
            f"got {path.stat().st_size:,} bytes; download it again"
        ) from error
    with file:
        try:
            stored = {
                name: StoredTensor(path, dataset.shape or (), partial(read, name, dataset, path))
                for name, dataset in datasets(file, path)
            }
        except (OSError, RuntimeError, KeyError, TypeError) as error:  # what h5py raises for damaged structures
            raise ValueError(f"{path}: the hdf5 file is damaged ({one_line(error)}); get it again") from error
        yield stored


def datasets(file: h5py.File, path: Path) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield every dataset of a file with its path. Only hard links are followed, and each group is visited once."""
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
    """Return the numbers of a dataset in the byte order of the machine."""
    try:
        check_storage(name, dataset, path)
        numbers = np.empty(dataset.shape, dataset.dtype.newbyteorder("="))
        dataset.read_direct(numbers)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"{path}: {name} cannot be read ({one_line(error)}); the file is damaged, get it again"
        ) from error
    return numbers


def check_storage(name: str, dataset: h5py.Dataset, path: Path):
    """Check that a dataset holds floating-point numbers, and that all of them lie in this file.

    Raises:
        ValueError: The type is another one, the storage is elsewhere, or the dataset declares more than is stored.
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
    """Return whether a dataset stored in chunks lacks some of them, which would be read as zeros."""
    if dataset.chunks is None:
        return False
    expected = math.prod(-(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks))
    return dataset.id.get_num_chunks() < expected


def bytes_on_disk(path: Path) -> int:
    """Return the bytes that a file occupies on the disk: fewer than its length for a sparse file."""
    status = os.stat(path)
    blocks = getattr(status, "st_blocks", 0)  # not on Windows; 0 where the file system does not say
    return min(status.st_size, blocks * 512) if blocks else status.st_size


def describe_type(kind: h5py.h5t.TypeID) -> str:
    try:
        return str(kind.dtype)
    except TypeError:
        return "a type without a NumPy equivalent"
