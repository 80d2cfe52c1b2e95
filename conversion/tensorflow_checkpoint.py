# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""TensorFlow's checkpoints ("V2", tensor bundles) read without TensorFlow, and the names bilm-tf gave its variables.

A checkpoint is a table of contents, `PREFIX.index`, and the numbers, `PREFIX.data-00000-of-00001` (or several such
shards), where tensors lie one after the other, row by row, little-endian. The index is a sorted table as in LevelDB:

    file    = block* ... index-block footer            each block: content, compression byte, masked CRC-32C of both
    footer  = handles of the metaindex and the index block, zeros up to 40 bytes, magic number (uint64)
    handle  = offset and size of a content (two varints)
    content = entry*, offset of every restart (uint32 each), number of restarts (uint32)
    entry   = bytes shared with the key before, bytes added to them, bytes of the value (varints); the added; the value

The values of the index block are the handles of the blocks that hold the table. In these the empty key has a
`BundleHeaderProto`, any other a `BundleEntryProto`: type, shape, shard, offset, size and CRC of a tensor. A partitioned
variable has no bytes of its own but a list of slices, each of them an entry under a key made of the name and the place.

Files are not trusted: offsets and sizes are checked against the files at hand before anything is read, and the CRC of a
tensor is taken over the mapped file before memory is allocated for it.
"""

import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from itertools import chain, combinations, starmap
from math import prod
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import numpy as np

from .crc32c import masked_crc32c
from .hdf5_file import StoredTensor

# ---- Checkpoints of bilm-tf

LSTM_VARIABLE = re.compile(
    r"(RNN_\d)/(?:RNN|rnn)/(?:(?:MultiRNNCell/Cell|multi_rnn_cell/cell_)(\d+)/)?(?:rnn/)?(?:LSTMCell|lstm_cell)/(.+)"
)
LSTM_DATASETS = {"kernel": "W_0", "bias": "B", "projection/kernel": "W_P_0"}


def bilm_variables(checkpoint: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The weights of a biLM, softmax included, by their names in bilm-tf's hdf5 files.

    Takes the names of training (`lm/...`) and of TensorFlow Hub's modules (`bilm/...`, also below `module/`). What else
    there is (optimizer slots, `global_step`, `train_perplexity`, the module's `aggregation/...`) is left out.
    """
    return rename(checkpoint, slot=None)


def adagrad_accumulators(checkpoint: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Adagrad's sum of squared gradients for every number of the weights, by the same names as these."""
    return rename(checkpoint, slot="Adagrad")


def rename(checkpoint: Mapping[str, StoredTensor], slot: str | None) -> dict[str, StoredTensor]:
    datasets = {}
    for name, tensor in checkpoint.items():
        variable, _, last = name.rpartition("/")
        if variable not in checkpoint:  # only slots lie below another variable
            variable, last = name, None
        inside = re.fullmatch(r"(?:module/)?(?:lm|bilm)/(.+)", variable)
        if inside and last == slot:
            dataset = dataset_name(inside[1])
            if dataset in datasets:
                raise ValueError(f"{tensor.file}: {name} is one of two variables that mean {dataset}; expected one")
            datasets[dataset] = tensor._replace(read=partial(read_floats, name, tensor))
    return datasets


def read_floats(name: str, tensor: StoredTensor) -> np.ndarray:
    numbers = tensor.read()
    if numbers.dtype.kind != "f":
        raise ValueError(f"{tensor.file}: {name} must hold floating-point numbers, but holds {numbers.dtype}")
    return numbers


def dataset_name(variable: str) -> str:
    if lstm := LSTM_VARIABLE.fullmatch(variable):
        direction, layer, last = lstm.groups(default="0")  # one layer alone has no MultiRNNCell around it
        return f"{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell/{LSTM_DATASETS.get(last, last)}"
    return variable


# ---- Any checkpoint


def read_checkpoint(path: str | Path) -> dict[str, StoredTensor]:
    """The tensors of a checkpoint by the names of their variables, none of them read yet.

    bfloat16 is read as float32, which holds it exactly. What is no array of numbers (strings, say) is listed, but
    reading it is an error.

    Args:
        path: The directory (which checkpoint of several is up to its state file, `checkpoint`), the prefix
            (`.../model.ckpt-426`), or one of the files.
    Raises:
        ValueError: There is no checkpoint or no telling which, or a file is missing, truncated, damaged or of a kind
            that is not supported. Damaged numbers come to light when their tensor is read.
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
        for key in entries:
            if not key.startswith(b"\0"):  # a slice belongs to another entry
                name = readable(key)
                tensors[name] = stored_tensor(key, name, entries, shard, index)
    except Damage as damage:
        raise ValueError(f"{index}: {name + ': ' if name else ''}{damage}") from None
    return tensors


def checkpoint_files(path: str | Path) -> list[Path]:
    """The index of the checkpoint that `read_checkpoint` finds there, and its data files."""
    prefix = find_prefix(Path(path))
    data = prefix.parent.glob(f"{glob.escape(prefix.name)}.data-?????-of-?????")
    return [Path(f"{prefix}.index"), *sorted(data)]


def readable(key: bytes) -> str:
    name = key.decode(errors="backslashreplace")
    return name if name.isprintable() else ascii(name)


def find_prefix(path: Path) -> Path:
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
    """The prefix that a state file names, or that of the same name beside it: it may be a path of another machine."""
    line = re.search(rb'^\s*model_checkpoint_path:\s*"(.*)"', state.read_bytes(), re.MULTILINE)
    if line is None:
        raise ValueError(f'{state}: expected a line model_checkpoint_path: "..." that names a checkpoint, found none')
    octets = re.sub(rb"\\([0-3][0-7]{2}|.)", lambda found: unescape(found[1]), line[1])
    prefix = state.parent / os.fsdecode(octets)
    if not Path(f"{prefix}.index").is_file():
        prefix = state.parent / PureWindowsPath(prefix).name  # splits at both slashes
    return prefix


def unescape(escaped: bytes) -> bytes:
    return bytes([int(escaped, 8)]) if len(escaped) == 3 else escaped


class Piece(NamedTuple):
    """The bytes of a tensor, or of a region of a partitioned one, in a mapped file."""

    file: Path
    octets: np.ndarray
    crc: int  # masked
    shape: tuple[int, ...]
    region: tuple[slice, ...] | None


def read_tensor(name: str, kind: int, shape: tuple[int, ...], pieces: list[Piece]) -> np.ndarray:
    for piece in pieces:
        if masked_crc32c(piece.octets) != piece.crc:
            raise ValueError(f"{piece.file}: {name}: checksum mismatch; the file is damaged, get it again")
    arrays = [piece.octets.view(DTYPES[kind]).reshape(piece.shape) for piece in pieces]
    numbers = np.empty(shape, arrays[0].dtype.newbyteorder("="))
    for piece, array in zip(pieces, arrays):
        numbers[... if piece.region is None else piece.region] = array
    return (numbers.astype(np.uint32) << 16).view(np.float32) if kind == BFLOAT16 else numbers


def refuse(name: str, kind: int, file: Path):
    raise ValueError(f"{file}: {name} must be an array of numbers, but is of TensorFlow's type {kind}")


# ---- From entries to tensors

BFLOAT16 = 14
DTYPES = {  # tensorflow.DataType -> what lies in the file
    1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", BFLOAT16: "<u2", 17: "<u2", 19: "<f2",
    22: "<u4", 23: "<u8",
}  # fmt: skip
WHOLE = -1  # length of an extent that takes all of a dimension
LARGEST, HIGHEST_RANK = 1 << 59, 32  # what NumPy can address, even where another size of the shape is zero

Entries = dict[bytes, "Message"]
Shards = Callable[[int], tuple[Path, np.ndarray]]


def stored_tensor(key: bytes, name: str, entries: Entries, shard: Shards, index: Path) -> StoredTensor:
    entry = entries[key]
    kind, shape, slices = entry.number(1), read_shape(entry), entry.messages(7)
    if kind not in DTYPES:
        return StoredTensor(index, shape, partial(refuse, name, kind, index))
    if not slices:
        pieces = [read_piece(entry, shard)]
    else:
        pieces = [read_slice(key, read_extents(place, shape), entries, shard) for place in slices]
        if sum(prod(piece.shape) for piece in pieces) != prod(shape) or any(starmap(overlap, combinations(pieces, 2))):
            raise Damage(f"its slices do not make up its shape {shape}; the file is damaged")
    return StoredTensor(pieces[0].file, shape, partial(read_tensor, name, kind, shape, pieces))


def read_piece(entry: "Message", shard: Shards, region: tuple[slice, ...] | None = None) -> Piece:
    shape, offset, size = read_shape(entry), entry.number(4), entry.number(5)
    expected = prod(shape) * np.dtype(DTYPES[entry.number(1)]).itemsize
    if size != expected:
        raise Damage(f"shape {shape} takes {expected:,} bytes, but the index says {size:,}; the file is damaged")
    file, octets = shard(entry.number(3))
    if not 0 <= offset <= offset + size <= octets.size:
        raise Damage(
            f"expected at bytes {offset:,} to {offset + size:,} of {file.name}, which has {octets.size:,}; truncated?"
        )
    return Piece(file, octets[offset : offset + size], entry.number(6), shape, region)


def read_slice(key: bytes, extents: list[tuple[int, int]], entries: Entries, shard: Shards) -> Piece:
    whole, part = entries[key], entries.get(slice_key(key, extents))
    ends = [size if length == WHOLE else start + length for (start, length), size in zip(extents, read_shape(whole))]
    region = tuple(slice(start, end) for (start, _), end in zip(extents, ends))
    shape = tuple(extent.stop - extent.start for extent in region)
    if part is None or part.number(1) != whole.number(1) or read_shape(part) != shape:
        raise Damage(f"its slice of shape {shape} with the end {tuple(ends)} is missing or of another kind")
    return read_piece(part, shard, region)


def read_shape(entry: "Message") -> tuple[int, ...]:
    shape = tuple(axis.number(1) for message in entry.messages(2) for axis in message.messages(2))
    if any(size < 0 for size in shape) or prod(size or 1 for size in shape) > LARGEST or len(shape) > HIGHEST_RANK:
        raise Damage(f"its shape {shape} is impossible; the file is damaged")
    return shape


def read_extents(place: "Message", shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Start and length of a slice in each dimension."""
    extents = [(extent.number(1), extent.number(2, default=WHOLE)) for extent in place.messages(1)]
    inside = (0 <= start <= start + max(length, 0) <= size for (start, length), size in zip(extents, shape))
    if len(extents) != len(shape) or not all(inside):
        raise Damage(f"its slice {extents} (start, length) is not within its shape {shape}; the file is damaged")
    return extents


def overlap(one: Piece, other: Piece) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one.region, other.region))


def slice_key(name: bytes, extents: list[tuple[int, int]]) -> bytes:
    """The key of a slice: a zero, the name, the rank, starts and lengths, all in codes that sort as their values do."""
    return b"\0" + name + b"\0\1\1" + bytes([len(extents)]) + b"".join(map(ordered_code, chain(*extents)))


def ordered_code(number: int) -> bytes:
    """A number in n bytes: two's complement, with the topmost n bits flipped."""
    size = (number if number >= 0 else ~number).bit_length() // 7 + 1
    return (number % (1 << 8 * size) ^ ((1 << size) - 1) << 7 * size).to_bytes(size, "big")


# ---- The index: LevelDB's table of protocol buffers

MAGIC = 0xDB4775248B80FB57
FOOTER = 48  # bytes
VERSION = 1  # of the bundle format


class Damage(ValueError):
    """What is wrong with a file, for one who knows which file it is to put its name in front."""


def read_index(table: bytes) -> tuple[int, Entries]:
    """The number of shards, and the entry of every key."""
    if len(table) < FOOTER or int.from_bytes(table[-8:], "little") != MAGIC:
        raise Damage("not the index of a TensorFlow checkpoint, or truncated: the magic number at its end is missing")
    footer = Cursor(table[-FOOTER:])
    footer.varint(), footer.varint()  # the metaindex is empty
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
    return header.number(1), entries


def read_entries(table: bytes, handle: "Cursor") -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block."""
    block = read_block(table, handle.varint(), handle.varint())
    restarts = 4 * (int.from_bytes(block[-4:], "little") + 1)
    if len(block) < restarts:
        raise Damage(
            f"a block of {len(block):,} bytes cannot end in {restarts:,} bytes of restarts; the file is damaged"
        )
    cursor, key = Cursor(block[: len(block) - restarts]), b""
    while not cursor.at_end():
        shared, added, size = cursor.varint(), cursor.varint(), cursor.varint()
        key = key[:shared] + cursor.take(added)
        yield key, cursor.take(size)


def read_block(table: bytes, start: int, size: int) -> bytes:
    end = start + size
    if end + 5 > len(table):
        raise Damage(f"a block should end at byte {end + 5:,}, but the file has {len(table):,}; truncated?")
    if masked_crc32c(table[start : end + 1]) != int.from_bytes(table[end + 1 : end + 5], "little"):
        raise Damage(f"checksum mismatch in the block at byte {start:,}; the file is damaged, get it again")
    block, compression = table[start:end], table[end]
    if compression not in (0, 1):
        raise Damage(f"unknown compression {compression} of the block at byte {start:,}")
    return unsnap(block) if compression else block


def unsnap(packed: bytes) -> bytes:
    """Decompress Snappy's raw format. TensorFlow can read such blocks and wrote them for a short time only."""
    import pyarrow  # comes with datasets; too heavy to import for what is so rare

    size = Cursor(packed).varint()
    try:
        if size <= 64 * len(packed):  # more cannot be in there
            return pyarrow.decompress(packed, size, codec="snappy", asbytes=True)
    except (OSError, ValueError):
        pass
    raise Damage("a compressed block cannot be decompressed; the file is damaged")


class Cursor:
    """Numbers and bytes, one after the other, and never beyond the end."""

    def __init__(self, data: bytes):
        self.data, self.position = data, 0

    def at_end(self) -> bool:
        return self.position == len(self.data)

    def take(self, size: int) -> bytes:
        start, self.position = self.position, self.position + size
        if self.position > len(self.data):
            raise Damage("an entry ends too early; the file is damaged")
        return self.data[start : self.position]

    def varint(self) -> int:
        """Seven bits a byte, the lowest first, as long as bytes are above 127."""
        number = 0
        for shift in range(0, 70, 7):
            (octet,) = self.take(1)
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
                value = cursor.take(cursor.varint())
            elif wire_type in (1, 5):
                value = int.from_bytes(cursor.take(8 if wire_type == 1 else 4), "little")
            else:
                raise Damage(f"an entry has the unknown wire type {wire_type}; the file is damaged")
            self.fields.setdefault(field, []).append(value)

    def number(self, field: int, default: int = 0) -> int:
        """A field of the type int64, or of a narrower one."""
        value = self.fields.get(field, [default])[-1]
        if isinstance(value, bytes):
            raise Damage(f"field {field} of an entry must be a number; the file is damaged")
        return value - (1 << 64) if value >> 63 == 1 else value

    def messages(self, field: int) -> list["Message"]:
        """A field that holds messages, any number of them."""
        values = self.fields.get(field, [])
        if not all(isinstance(value, bytes) for value in values):
            raise Damage(f"field {field} of an entry must be a message; the file is damaged")
        return [Message(value) for value in values]
