"""Lines of text files, plain or gzipped, in UTF-8 or UTF-16, with messages that say what a file is if it is no text."""

import gzip
import io
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

HEAD = 4096  # bytes of a file that show what it is
OTHER_KINDS = {
    b"version https://git-lfs": "a Git LFS pointer in place of the file: fetch the file with `git lfs pull`",
    b"<!doctype html": "a web page: download the file itself",
    b"<html": "a web page: download the file itself",
    b"pk\x03\x04": "a zip archive or a spreadsheet: unpack it, or save it as .csv",
    b"par1": "a Parquet file: give it the suffix .parquet",
    b"%pdf": "a PDF",
    b"bzh91ay&sy": "compressed by bzip2: unpack it, or compress it with gzip",
    b"\xfd7zxz": "compressed by xz: unpack it, or compress it with gzip",
    b"(\xb5/\xfd": "compressed by zstd: unpack it, or compress it with gzip",
    b"7z\xbc\xaf": "a 7z archive: unpack it",
    b"\xd0\xcf\x11\xe0": "a document of an office program: save it as .csv",
    b"{\\rtf": "a document of an office program: save it as plain text",
}


class Place(NamedTuple):
    """Position of something in the data, for messages: a line of a file or a row of a dataset."""

    source: str
    number: int
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.source}, {self.unit} {self.number}"


def numbered_lines(path: str | Path, errors: str = "strict") -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file, numbered from 1, without their ends.

    A file that begins as gzip data do is decompressed, whatever its name. UTF-16 is recognized by its byte order mark,
    or by the zero bytes of its first characters.

    Args:
        errors: What becomes of bytes that are no text, as in `open`: `"surrogateescape"` keeps them as half characters.

    Raises:
        `ValueError`: if there is no such file, it is cut off, or it is not text in one of these encodings.
    """
    path = str(path)
    try:
        with open_binary(path) as raw:
            encoding = find_encoding(path, raw.peek(HEAD)[:HEAD])
            for number, line in enumerate(io.TextIOWrapper(raw, encoding, errors), start=1):
                yield number, line.rstrip("\n")
    except UnicodeDecodeError:
        raise ValueError(undecodable(path, encoding)) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a complete gzip file ({error})") from None


def parallel_lines(paths: Sequence[str | Path]) -> Iterator[tuple[int, list[str]]]:
    """Yield the same line of all files, without white space around it, and its number.

    `ValueError` if one of the files has fewer lines than another.
    """
    for number, lines in enumerate(zip_longest(*map(numbered_lines, paths)), start=1):
        if None in lines:
            shorter, longer = paths[lines.index(None)], next(path for path, line in zip(paths, lines) if line)
            name = Path(shorter).name
            raise ValueError(f"{longer}, line {number}: {name} has no such line, and the lines are to match")
        yield number, [line.strip() for _, line in lines]


def columns_of(line: str) -> list[str]:
    """Return the columns of a line, which tabs separate, or without any, blanks."""
    return line.split("\t") if "\t" in line else line.split()


def name_of_kind(path: str) -> str:
    """Return a path in lower case without `.gz`, whose end says what the file holds."""
    return path.lower().removesuffix(".gz")


def one_word(text: str) -> str:
    """Return a text as a word of a file in columns: white space becomes `_`, and so does an empty text."""
    return "_".join(text.split()) or "_"


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Write lines that have their ends."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)


def read_text(path: str | Path) -> str:
    """Return the whole text of a file; errors as in `numbered_lines`."""
    return "\n".join(line for _, line in numbered_lines(path))


def open_binary(path: str) -> io.BufferedReader:
    if not os.path.isfile(path):
        what = "no such file"
        if os.path.isdir(path):
            what = "this is a folder, not a file"
        elif os.path.exists(path):
            what = "this is a pipe or a device, and files are read more than once: write it to a file"
        raise ValueError(f"{path or repr(path)}: {what}")
    file = open(path, "rb")  # noqa: SIM115 (the caller closes it)
    if not path.endswith(".gz") and not file.peek(2).startswith(b"\x1f\x8b"):
        return file
    file.close()
    return io.BufferedReader(gzip.open(path), HEAD)


def find_encoding(path: str, head: bytes) -> str:
    for start, kind in OTHER_KINDS.items():
        if head.lower().startswith(start):
            raise ValueError(f"{path}: this is {kind}")
    if head.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "utf-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    even, odd = head[::2].count(0), head[1::2].count(0)
    if even + odd <= len(head) // 100:
        return "utf-8-sig"
    if max(even, odd) > 10 * min(even, odd) and max(even, odd) > len(head) // 8:
        return "utf-16-be" if even > odd else "utf-16-le"
    raise ValueError(f"{path}: this is no text, but binary data")


def undecodable(path: str, encoding: str) -> str:
    """Describe the first line that is not in the encoding that the file begins with."""
    if encoding != "utf-8-sig":
        return f"{path}: the file begins as {encoding.upper()}, but is not that throughout; convert the text to UTF-8"
    with open_binary(path) as raw:
        lines = ((number, line.decode("utf-8", "surrogateescape")) for number, line in enumerate(raw, start=1))
        number, line, wrong = next(
            (n, line, wrong) for n, line in lines if (wrong := re.search("[\udc80-\udcff]", line))
        )
    shown = line[max(0, wrong.start() - 10) : wrong.end() + 9].encode("utf-8", "surrogateescape")
    return (
        f"{path}, line {number}: not UTF-8; read as Windows-1252 (Latin-1) it has "
        f"{shown.decode('windows-1252', 'replace').strip()!r}. Convert the text to UTF-8: "
        f"iconv -f windows-1252 -t utf-8 {path} > NEW_FILE"
    )
