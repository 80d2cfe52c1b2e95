# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""A small writer of TensorFlow checkpoints, for sound files of any layout and for damaged ones."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_elmo.conversion.leveldb_table import masked_crc32c

KINDS = {"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "int64": 9, "bool": 10}
KINDS |= {"uint16": 17, "float16": 19, "uint32": 22, "uint64": 23}  # of tensorflow.DataType
FLOAT = 1


def varint(number: int) -> bytes:
    number, octets = number % (1 << 64), []
    while number >= 128:
        octets.append(number % 128 + 128)
        number //= 128
    return bytes([*octets, number])


def proto_field(number: int, value: int | bytes, even_zero: bool = False) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value) if value or even_zero else b""


@dataclass
class Entry:
    """A `BundleEntryProto`."""

    kind: int = FLOAT
    shape: tuple[int, ...] = ()
    shard: int = 0
    offset: int = 0
    size: int = 0
    crc: int = 0
    is_partitioned: bool = False

    def encode(self) -> bytes:
        message = proto_field(1, self.kind)
        message += proto_field(2, b"".join(proto_field(2, proto_field(1, size)) for size in self.shape))
        message += proto_field(3, self.shard) + proto_field(4, self.offset) + proto_field(5, self.size)
        message += varint(6 << 3 | 5) + struct.pack("<I", self.crc)
        if self.is_partitioned:
            message += proto_field(7, b"")
        return message


def encode_header(shards: int, endianness: int = 0, min_consumer: int = 0) -> bytes:
    version = proto_field(1, 1) + proto_field(2, min_consumer)
    return proto_field(1, shards) + proto_field(2, endianness) + proto_field(3, version)


def encode_block(pairs: list[tuple[bytes, bytes]], restart_interval: int) -> bytes:
    content, restarts, previous = b"", [0], b""
    for i, (key, value) in enumerate(pairs):
        shared = 0
        if i and i % restart_interval == 0:
            restarts.append(len(content))
        else:
            while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
                shared += 1
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        previous = key
    return content + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def encode_table(pairs: dict[bytes, bytes], per_block=1000, restart_interval=16, compression=0, spoil=bytes) -> bytes:
    """Return a table of LevelDB. `spoil` changes the blocks of entries before their checksums are computed."""
    table, handles = b"", []

    def append(content: bytes) -> bytes:
        nonlocal table
        handle = varint(len(table)) + varint(len(content))
        content += bytes([compression])
        table += content + struct.pack("<I", masked_crc32c(content))
        return handle

    pairs = sorted(pairs.items())
    for start in range(0, len(pairs), per_block):
        part = pairs[start : start + per_block]
        handles.append((part[-1][0], append(spoil(encode_block(part, restart_interval)))))
    footer = append(encode_block([], 1)) + append(encode_block(handles, 1))
    return table + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def lay_out(arrays: dict[str, np.ndarray], shards: int = 1) -> tuple[dict[bytes, Entry], list[bytes]]:
    """Return entries and data files of arrays, which go to the shards in turn."""
    entries, data = {}, [b""] * shards
    for name, array in arrays.items():
        shard, octets = len(entries) % shards, array.tobytes()
        place = {"shard": shard, "offset": len(data[shard]), "size": len(octets), "crc": masked_crc32c(octets)}
        entries[name.encode()] = Entry(KINDS[array.dtype.name], array.shape, **place)
        data[shard] += octets
    return entries, data


def write(folder: Path, entries: dict[bytes, Entry], data: list[bytes], header: bytes | None = None, **options) -> Path:
    encoded = {key: entry.encode() for key, entry in entries.items()}
    encoded[b""] = encode_header(len(data)) if header is None else header
    return write_files(folder, encode_table(encoded, **options), data)


def write_files(folder: Path, index: bytes, data: list[bytes], prefix: str = "model.ckpt-1") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{prefix}.index").write_bytes(index)
    for number, octets in enumerate(data):
        (folder / f"{prefix}.data-{number:05d}-of-{len(data):05d}").write_bytes(octets)
    return folder
