"""Lines of text files, plain or gzipped, with the number of the line that is wrong if one is."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Place(NamedTuple):
    """Where something stands, for messages: a line of a file, or a row of a data set."""

    source: str
    number: int
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.source}, {self.unit} {self.number}"


def numbered_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """The lines of a file from 1 on, without their ends. Names that end in `.gz` are decompressed.

    Raises:
        `ValueError`: if there is no such file, or it is not UTF-8, or not a complete gzip file.
    """
    path = str(path)
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    opener = gzip.open if path.endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.rstrip("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path}, line {undecodable_line(path)}: not UTF-8; convert the text to UTF-8") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a complete gzip file ({error})") from None


def undecodable_line(path: str) -> int:
    """The number of the first line that is not UTF-8."""
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    raise AssertionError(f"{path} is UTF-8")
