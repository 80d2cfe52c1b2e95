# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""A reader of TensorFlow's checkpoints ("V2", tensor bundles) that needs no TensorFlow.

A checkpoint is a table of contents, `PREFIX.index`, and the numbers, `PREFIX.data-00000-of-00001` (or several such
shards), where tensors lie one after the other, row by row, little-endian. The index is a sorted table as in LevelDB:

    file    = block* ... index-block footer            each block: content, compression byte, masked CRC-32C of both
    footer  = handles of the metaindex and the index block, zeros up to 40 bytes, magic number (uint64)
    handle  = offset and size of a content (two varints)
    content = entry*, offset of every restart (uint32 each), number of restarts (uint32)
    entry   = bytes shared with the previous key, bytes added, bytes of the value (varints); the added bytes; the value

The values of the index block are the handles of the blocks that hold the table. In these blocks the empty key has a
`BundleHeaderProto`, and every other key a `BundleEntryProto`: type, shape, shard, offset, size and CRC of a tensor.

Files are not trusted: offsets and sizes are checked against the files before anything is read, and the CRC of a tensor
is computed over the mapped file before memory is allocated. Compressed indices and partitioned variables, which no
published ELMo has, are refused.
"""

import glob
import os
import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from math import prod
from pathlib import Path, PureWindowsPath

import google_crc32c
import numpy as np

from .original import StoredTensor

BFLOAT16 = 14
DTYPES = {  # tensorflow.DataType -> what lies in the file
    1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", BFLOAT16: "<u2", 17: "<u2", 19: "<f2",
    22: "<u4", 23: "<u8",
}  # fmt: skip
LARGEST, HIGHEST_RANK = 1 << 59, 32  # what NumPy can address, even where another size of the shape is zero
MAGIC = 0xDB4775248B80FB57
FOOTER = 48  # bytes
VERSION = 1  # of the bundle format
CHUNK = 1 << 20  # bytes

Shards = Callable[[int], tuple[Path, np.ndarray]]


class Damage(ValueError):
    """A fault in a file, to be reported by a caller who knows the name of the file."""


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


def stored_tensor(name: str, entry: "Message", shard: Shards, index: Path) -> StoredTensor:
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


def read_shape(entry: "Message") -> tuple[int, ...]:
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


def masked_crc32c(octets: bytes | np.ndarray) -> int:
    """Return a CRC-32C as LevelDB stores it: rotated and shifted, so that data may contain CRCs of their own."""
    crc = 0
    for start in range(0, len(octets), CHUNK):
        crc = google_crc32c.extend(crc, bytes(octets[start : start + CHUNK]))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


# ---- The index: LevelDB's table of protocol buffers


def read_index(table: bytes) -> tuple[int, dict[bytes, "Message"]]:
    """Return the number of shards, and the entry of every key."""
    if len(table) < FOOTER or int.from_bytes(table[-8:], "little") != MAGIC:
        raise Damage("not the index of a TensorFlow checkpoint, or truncated: the magic number at its end is missing")
    footer = Cursor(table[-FOOTER:])
    footer.varint(), footer.varint()  # the handle of the metaindex, which is empty
    entries = {}
    for _, handle in read_entries(table, footer):
        for key, value in read_entries(table, Cursor(handle)):
            entries[key] = Message(value)
    header = entries.pop(b"", None)
    if header is None:
        raise Damage("the header is missing; the file is damaged")
    if header.number(2) != 0:
        raise Damage("written on a big-endian machine, which is not supported")
    if any(version.number(2) > VERSION for version in header.messages(3)):
        raise Damage(f"asks for a reader of a later version of the format than {VERSION}, the one known here")
    slices = [key for key in entries if key.startswith(b"\0")]  # of partitioned variables
    return header.number(1), {key: entry for key, entry in entries.items() if key not in slices}


def read_entries(table: bytes, handle: "Cursor") -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a block."""
    block = read_block(table, handle.varint(), handle.varint())
    restarts = 4 * (int.from_bytes(block[-4:], "little") + 1)
    if len(block) < restarts:
        raise Damage(
            f"a block of {len(block):,} bytes cannot end in {restarts:,} bytes of restarts; the file is damaged"
        )
    cursor, key = Cursor(block[: len(block) - restarts]), b""
    while not cursor.at_end():
        shared, added, size = cursor.varint(), cursor.varint(), cursor.varint()
        key = key[:shared] + cursor.next_bytes(added)
        yield key, cursor.next_bytes(size)


def read_block(table: bytes, start: int, size: int) -> bytes:
    end = start + size
    if end + 5 > len(table):
        raise Damage(f"a block should end at byte {end + 5:,}, but the file has {len(table):,}; truncated?")
    if masked_crc32c(table[start : end + 1]) != int.from_bytes(table[end + 1 : end + 5], "little"):
        raise Damage(f"checksum mismatch in the block at byte {start:,}; the file is damaged, get it again")
    if table[end] != 0:
        raise Damage(f"compression {table[end]} of the block at byte {start:,} is not supported")
    return table[start:end]


class Cursor:
    """Numbers and bytes, one after the other, and never beyond the end."""

    def __init__(self, data: bytes):
        self.data, self.position = data, 0

    def at_end(self) -> bool:
        return self.position == len(self.data)

    def next_bytes(self, size: int) -> bytes:
        start, self.position = self.position, self.position + size
        if self.position > len(self.data):
            raise Damage("an entry ends too early; the file is damaged")
        return self.data[start : self.position]

    def varint(self) -> int:
        """Return a number stored in seven bits a byte, the lowest first; the last byte is below 128."""
        number = 0
        for shift in range(0, 70, 7):
            (octet,) = self.next_bytes(1)
            number |= (octet & 0x7F) << shift
            if octet < 0x80:
                return number
        raise Damage("a number is longer than 64 bits; the file is damaged")


class Message:
    """A protocol buffer read without its schema: the values of every field number."""

    def __init__(self, data: bytes):
        self.fields: dict[int, list[int | bytes]] = {}
        cursor = Cursor(data)
        while not cursor.at_end():
            field, wire_type = divmod(cursor.varint(), 8)
            if wire_type == 0:
                value = cursor.varint()
            elif wire_type == 2:
                value = cursor.next_bytes(cursor.varint())
            elif wire_type in (1, 5):
                value = int.from_bytes(cursor.next_bytes(8 if wire_type == 1 else 4), "little")
            else:
                raise Damage(f"an entry has the unknown wire type {wire_type}; the file is damaged")
            self.fields.setdefault(field, []).append(value)

    def number(self, field: int, default: int = 0) -> int:
        """Return a field of the type int64, or of a narrower one."""
        value = self.fields.get(field, [default])[-1]
        if isinstance(value, bytes):
            raise Damage(f"field {field} of an entry must be a number; the file is damaged")
        return value - (1 << 64) if value >> 63 == 1 else value

    def messages(self, field: int) -> list["Message"]:
        """Return a field that holds messages, any number of them."""
        values = self.fields.get(field, [])
        if not all(isinstance(value, bytes) for value in values):
            raise Damage(f"field {field} of an entry must be a message; the file is damaged")
        return [Message(value) for value in values]
