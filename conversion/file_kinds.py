# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Kinds of files, recognized by their first bytes, and advice where a file is not what its name says."""

import hashlib
import re
from pathlib import Path

HDF5, ZIP, GZIP, BZIP2, TAR, PICKLE, JSON = "hdf5", "zip", "gzip", "bzip2", "tar", "pickle", "json"
SQLITE, MXNET = "sqlite", "mxnet"
LFS_POINTER, WEB_PAGE, EMPTY, UNKNOWN = "lfs-pointer", "web-page", "empty", "unknown"

SIGNATURES: tuple[tuple[str, str], ...] = (  # kind, pattern at the beginning of the file
    (HDF5, r"\x89HDF\r\n\x1a\n"),
    (ZIP, r"PK\x03\x04"),
    (GZIP, r"\x1f\x8b"),
    (BZIP2, r"BZh[1-9]"),
    (TAR, r"(?s:.{257})ustar"),
    (SQLITE, r"SQLite format 3\x00"),
    (MXNET, r"\x12\x01\x00{6}"),
    (PICKLE, r"\x80[\x02-\x05]"),
    (LFS_POINTER, r"version https://git-lfs"),
    (WEB_PAGE, r"(?:\xef\xbb\xbf)?\s*(?i:<!doctype|<html|<head|<\?xml|<!--)"),
    (JSON, r"(?:\xef\xbb\xbf)?\s*[{\[]"),
)
HEAD = 512  # bytes
CHUNK = 1 << 20  # bytes

STAND_INS = {  # kind: what the file is, and what to do
    LFS_POINTER: ("this is a git-lfs pointer, not the file itself", "run `git lfs pull` in its repository"),
    WEB_PAGE: ("this is a web page, not the file itself", "download it again by its direct address"),
    EMPTY: ("the file is empty", "download it again"),
}
NO_WEIGHTS = {
    GZIP: "this is a gzip archive (AllenNLP's model.tar.gz?), not weights; give the archive itself as the source",
    ZIP: "this is a zip file, not weights; give the archive itself as the source",
    TAR: "this is a tar archive, not weights; give the archive itself as the source",
    PICKLE: "this is a Python pickle (of PyTorch?), not hdf5; give the original hdf5 weights of the model",
    SQLITE: "this is an SQLite database (a .magnitude file?), not weights; give the hdf5 weights that it was made from",
    MXNET: "these are parameters of MXNet (of gluonnlp?), not hdf5; give the hdf5 weights that they were made from",
    JSON: "this is a JSON file, not weights; give the weights or their folder as the source, and this with --options",
}


class StandInError(ValueError):
    """A file stands for another one, as a Git LFS pointer does."""


def file_kind(path: Path) -> str:
    """Return the kind of a file."""
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if not head:
        return EMPTY
    text = head.decode("latin-1")
    return next((kind for kind, pattern in SIGNATURES if re.match(pattern, text)), UNKNOWN)


def check_content(path: Path, expected: str):
    """Refuse a file that stands for another one: a Git LFS pointer, a saved web page, or an empty file.

    Args:
        path: The file.
        expected: What it should hold, for the message.
    Raises:
        ValueError: The file is missing or stands for another one; the message says what to type.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected {expected}")
    if stand_in := STAND_INS.get(file_kind(path)):
        fault, advice = stand_in
        raise StandInError(f"{path}: {fault}; expected {expected}, {advice}")


def check_weights(path: Path):
    """Refuse a file that cannot be weights in hdf5 format.

    Raises:
        ValueError: The file is missing, or of another kind; the message says what to give.
    """
    check_content(path, "weights in hdf5 format")
    if advice := NO_WEIGHTS.get(file_kind(path)):
        raise ValueError(f"{path}: {advice}")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def one_line(error: BaseException) -> str:
    """Return the message of an exception in one line of at most 300 characters."""
    text = " ".join(str(error.args[0] if error.args else error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."


def printable(text: str) -> str:
    """Return a text in one line: names out of files may hold line ends, and what moves the cursor of a terminal."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
