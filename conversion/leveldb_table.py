# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The index of a TensorFlow checkpoint: a sorted table as in LevelDB, whose values are protocol buffers.

    file    = block* ... index-block footer            each block: content, compression byte, masked CRC-32C of both
    footer  = handles of the metaindex and the index block, zeros up to 40 bytes, magic number (uint64)
    handle  = offset and size of a content (two varints)
    content = entry*, offset of every restart (uint32 each), number of restarts (uint32)
    entry   = bytes shared with the previous key, bytes added, bytes of the value (varints); the added bytes; the value

The values of the index block are the handles of the blocks that hold the table. In these blocks the empty key has a
`BundleHeaderProto`, and every other key a `BundleEntryProto`: type, shape, shard, offset, size and CRC of a tensor.
"""

from collections.abc import Iterator

import google_crc32c
import numpy as np

MAGIC = 0xDB4775248B80FB57
FOOTER = 48  # bytes
VERSION = 1  # of the bundle format
CHUNK = 1 << 20  # bytes


class Damage(ValueError):
    """A fault in a file, to be reported by a caller who knows the name of the file."""


def masked_crc32c(octets: bytes | np.ndarray) -> int:
    """Return a CRC-32C as LevelDB stores it: rotated and shifted, so that data may contain CRCs of their own."""
    crc = 0
    for start in range(0, len(octets), CHUNK):
        crc = google_crc32c.extend(crc, bytes(octets[start : start + CHUNK]))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


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
