# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The `sentence_to_index` of an HDF5 file: one JSON text of all sentences, of which no more than a piece is in memory.

Sentences are collected in a table on the disk, which knows the equal ones. The text is what `json.dumps` makes of a
dictionary. HDF5 takes a text only as a whole and copies it twice, so a long one is written to the file behind its back.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py

INDEX = "sentence_to_index"
LONGEST_TEXT = (1 << 32) - 1  # bytes, because a reference to a text of HDF5 has 32 bits for its length
SHORTEST_HEAP = 4096  # bytes of the place that HDF5 makes for short texts


def length_of_entry(text: str, key: str) -> int:
    """Return how many bytes a sentence and its key take in the text."""
    return len(json.dumps(text)) + len(json.dumps(key)) + len(": , ")


class SentenceIndex:
    """Sentences in the order in which they were first added, each with the key that it was added with last.

    Args:
        path: File of the table, which is there as long as a `with` block lasts.
    """

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> SentenceIndex:
        self.path.unlink(missing_ok=True)  # of a run that was killed
        self.table = sqlite3.connect(self.path, isolation_level=None)
        self.table.execute("PRAGMA journal_mode = OFF")  # nobody reads it after a failure
        self.table.execute("PRAGMA synchronous = OFF")
        self.table.execute("CREATE TABLE sentences (place INTEGER PRIMARY KEY, text TEXT UNIQUE, key TEXT)")
        self.table.execute("BEGIN")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        self.table.close()
        self.path.unlink()
        if isinstance(error, sqlite3.Error):
            raise OSError(f"{self.path}: cannot be written ({error})") from error

    def add(self, text: str, key: str) -> None:
        """Add a sentence; of one that is there already, change the key."""
        text = json.dumps(text)  # ASCII, whereas a sentence may have half characters, which are no text for SQLite
        self.table.execute(
            "INSERT INTO sentences (text, key) VALUES (?, ?) ON CONFLICT (text) DO UPDATE SET key = excluded.key",
            (text, key),
        )

    def pieces(self) -> Iterator[bytes]:
        """Yield the text in pieces."""
        before = b"{"
        for text, key in self.table.execute("SELECT text, key FROM sentences ORDER BY place"):
            yield before + f"{text}: {json.dumps(key)}".encode()
            before = b", "
        yield b"{}" if before == b"{" else b"}"

    def write(self, file: h5py.File) -> None:
        """Add the text to a file as its last dataset; of a long one only its place, until `complete`."""
        self.length = sum(map(len, self.pieces()))
        is_short = self.length <= SHORTEST_HEAP
        dataset = file.create_dataset(INDEX, (1,), dtype=h5py.string_dtype())
        dataset[0] = b"".join(self.pieces()) if is_short else b"."
        self.reference = None if is_short else dataset.id.get_offset()

    def complete(self, path: Path) -> None:
        """Write a long text to the file, which is closed."""
        if self.reference is not None:
            replace_last_text(path, self.reference, self.length, self.pieces())


def replace_last_text(path: Path, reference: int, length: int, pieces: Iterator[bytes]) -> None:
    """Replace the text that was written last to an HDF5 file by a long one, with the bytes that HDF5 would write.

    The text is the only object of a global heap at the end of the file (HDF5 File Format Specification, III.E), so that
    all that changes are this heap, the length in the reference to it, and the end of the file in the superblock.

    Args:
        reference: Position of the reference: length of the text, position of the heap, number of the object.
    """
    size = 32 + length + -length % 8
    with open(path, "r+b") as file:
        file.seek(reference)
        _, heap, _ = struct.unpack("<IQI", file.read(16))
        file.seek(heap)
        file.write(struct.pack("<4sB3xQ", b"GCOL", 1, size))
        file.write(struct.pack("<HH4xQ", 1, 0, length))
        for piece in pieces:
            file.write(piece)
        file.write(bytes(-length % 8))
        file.seek(reference)
        file.write(struct.pack("<I", length))
        file.seek(40)
        file.write(struct.pack("<Q", heap + size))
