# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""A reader of TensorFlow's checkpoints ("V2", tensor bundles) that needs no TensorFlow.

A checkpoint is a table of contents, `PREFIX.index`, and the numbers, `PREFIX.data-00000-of-00001` (or several such
shards), where tensors lie one after the other, row by row, little-endian. The index
is a table as in LevelDB, for which see `leveldb_table`.

Files are not trusted: offsets and sizes are checked against the files before anything is read, and the CRC of a tensor
is computed over the mapped file before memory is allocated. Compressed indices and partitioned variables, which no
published ELMo has, are refused.
"""

import glob
import os
import re
from collections.abc import Callable
from functools import cache, partial
from math import prod
from pathlib import Path, PureWindowsPath

import numpy as np

from .leveldb_table import Damage, Message, masked_crc32c, read_index
from .original import StoredTensor

BFLOAT16 = 14
DTYPES = {  # tensorflow.DataType -> what lies in the file
    1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", BFLOAT16: "<u2", 17: "<u2", 19: "<f2",
    22: "<u4", 23: "<u8",
}  # fmt: skip
LARGEST, HIGHEST_RANK = 1 << 59, 32  # what NumPy can address, even where another size of the shape is zero

Shards = Callable[[int], tuple[Path, np.ndarray]]


# ---- Files


def read_checkpoint(path: str | Path) -> dict[str, StoredTensor]:
    """Return the tensors of a checkpoint by the names of their variables, none of them read yet.

    bfloat16 is read as float32, which holds it exactly. Variables that are no arrays of numbers (strings, for example)
    are listed, but reading them is an error.

    Args:
        path: The folder (its state file, `checkpoint`, selects one of several), the prefix (`.../model.ckpt-426`), or
            one of the files.
    Raises:
        ValueError: There is no checkpoint, or more than one, or a file is missing, truncated, damaged or of a kind
            that is not supported. Damaged numbers are reported when their tensor is read.
    """
    prefix = find_prefix(Path(path))
    index = Path(f"{prefix}.index")

    @cache
    def shard(number: int) -> tuple[Path, np.ndarray]:
        file = Path(f"{prefix}.data-{number:05d}-of-{num_shards:05d}")
        if not file.is_file():
            raise Damage(f"its data file {file.name} is missing; a checkpoint is all of its files")
        return file, np.asarray(np.memmap(file, np.uint8, "r")) if file.stat().st_size else np.empty(0, np.uint8)

    tensors, name = {}, None
    try:
        num_shards, entries = read_index(index.read_bytes())
        for key, entry in entries.items():
            name = readable(key)
            tensors[name] = stored_tensor(name, entry, shard, index)
    except Damage as damage:
        raise ValueError(f"{index}: {name + ': ' if name else ''}{damage}") from None
    return tensors


def checkpoint_files(path: str | Path) -> list[Path]:
    """Return the index of the checkpoint that `read_checkpoint` finds, and its data files."""
    prefix = find_prefix(Path(path))
    data = prefix.parent.glob(f"{glob.escape(prefix.name)}.data-?????-of-?????")
    return [Path(f"{prefix}.index"), *sorted(data)]


def readable(key: bytes) -> str:
    name = key.decode(errors="backslashreplace")
    return name if name.isprintable() else ascii(name)


def find_prefix(path: Path) -> Path:
    """Return the prefix of the one checkpoint at a path."""
    if not path.is_dir():
        prefix = path.with_name(re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", path.name))
    elif (path / "checkpoint").is_file():
        prefix = newest(path / "checkpoint")
    else:
        found = sorted(path.glob("*.index"))
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise ValueError(
                f"{path}: expected one checkpoint (a file *.index) here, found {names}; give the one to read"
            )
        prefix = found[0].with_suffix("")
    if not Path(f"{prefix}.index").is_file():
        raise ValueError(f"{path}: no TensorFlow checkpoint of the V2 format; expected the file {prefix}.index")
    return prefix


def newest(state: Path) -> Path:
    """Return the prefix that a state file names. A path of another machine is looked up beside the state file."""
    line = re.search(rb'^\s*model_checkpoint_path:\s*"(.*)"', state.read_bytes(), re.MULTILINE)
    if line is None:
        raise ValueError(f'{state}: expected a line model_checkpoint_path: "..." that names a checkpoint, found none')
    octets = re.sub(rb"\\([0-3][0-7]{2}|.)", lambda found: unescape(found[1]), line[1])
    if b"\0" in octets:
        raise ValueError(f"{state}: the name of the checkpoint holds a zero byte; the file is damaged, get it again")
    prefix = state.parent / os.fsdecode(octets)
    if not Path(f"{prefix}.index").is_file():
        prefix = state.parent / PureWindowsPath(prefix).name  # splits at both slashes
    return prefix


def unescape(escaped: bytes) -> bytes:
    return bytes([int(escaped, 8)]) if len(escaped) == 3 else escaped


# ---- Tensors


def stored_tensor(name: str, entry: Message, shard: Shards, index: Path) -> StoredTensor:
    """Return the tensor of an entry, after its place has been checked against the data file."""
    kind, shape = entry.number(1), read_shape(entry)
    if kind not in DTYPES or entry.messages(7):
        fault = f"is of TensorFlow's type {kind}" if kind not in DTYPES else "is partitioned, which is not supported"
        return StoredTensor(index, shape, partial(refuse, f"{name} must be an array of numbers, but {fault}", index))
    offset, size = entry.number(4), entry.number(5)
    expected = prod(shape) * np.dtype(DTYPES[kind]).itemsize
    if size != expected:
        raise Damage(f"shape {shape} takes {expected:,} bytes, but the index says {size:,}; the file is damaged")
    file, octets = shard(entry.number(3))
    if not 0 <= offset <= offset + size <= octets.size:
        raise Damage(
            f"expected at bytes {offset:,} to {offset + size:,} of {file.name}, which has {octets.size:,}; truncated?"
        )
    octets = octets[offset : offset + size]
    return StoredTensor(file, shape, partial(read_tensor, name, kind, shape, file, octets, entry.number(6)))


def read_shape(entry: Message) -> tuple[int, ...]:
    shape = tuple(axis.number(1) for message in entry.messages(2) for axis in message.messages(2))
    if any(size < 0 for size in shape) or prod(size or 1 for size in shape) > LARGEST or len(shape) > HIGHEST_RANK:
        raise Damage(f"its shape {shape} is impossible; the file is damaged")
    return shape


def read_tensor(name: str, kind: int, shape: tuple[int, ...], file: Path, octets: np.ndarray, crc: int) -> np.ndarray:
    """Return the numbers of a tensor, in memory of their own, after their checksum has been compared."""
    if masked_crc32c(octets) != crc:
        raise ValueError(f"{file}: {name}: checksum mismatch; the file is damaged, get it again")
    stored = octets.view(DTYPES[kind]).reshape(shape)
    numbers = np.array(stored, stored.dtype.newbyteorder("="))
    return (numbers.astype(np.uint32) << 16).view(np.float32) if kind == BFLOAT16 else numbers


def refuse(complaint: str, file: Path):
    raise ValueError(f"{file}: {complaint}")
