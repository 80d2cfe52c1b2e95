"""Tables: files of rows with names, `.tsv`, `.csv` and `.jsonl` (or `.json`, an object a line), plain or `.gz`."""

import csv
import json
from collections.abc import Iterable, Iterator

from .text_files import Place, numbered_lines

SUFFIXES = (".tsv", ".csv", ".jsonl", ".json")


def is_table(path: str) -> bool:
    """Whether a file's name says that it is one."""
    return path.removesuffix(".gz").endswith(SUFFIXES)


def read_table(path: str, split_column: str | None = None, split: str | None = None) -> Iterator[tuple[Place, dict]]:
    """The rows of a table, each with its place. A table's first line is its header.

    Tabs part the columns of `.tsv` and of any file that has no suffix of a table, and quotes mean nothing in it. In
    `.csv`, quotes are as everywhere. Lines with nothing in them are passed over.

    Args:
        split_column, split: Give only the rows that have `split` in this column.

    Raises:
        `ValueError`: with file and line, if a row has another number of columns than the header, or is not JSON.
    """
    name = path.removesuffix(".gz")
    rows = read_json_lines(path) if name.endswith((".jsonl", ".json")) else read_columns(path, name.endswith(".csv"))
    if split_column is None:
        yield from rows
        return
    found, others = False, set()
    for place, row in rows:
        value = row[column_of(row, split_column, (), place)]
        if value == split:
            found = True
            yield place, row
        else:
            others.add(str(value))
    if not found:
        raise ValueError(
            f"{path}: no row has {split!r} in its column {split_column}, only {', '.join(sorted(others))}: say with "
            "--train_split, --validation_split and --test_split which is which"
        )


def read_json_lines(path: str) -> Iterator[tuple[Place, dict]]:
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error}); a line must be an object") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: a line must be an object, but is {line[:60]!r}")
        yield Place(path, number), row


def read_columns(path: str, quoted: bool) -> Iterator[tuple[Place, dict[str, str]]]:
    lines = (f"{line}\n" for _, line in numbered_lines(path))
    reader = csv.reader(lines, strict=True) if quoted else (line.rstrip("\n").split("\t") for line in lines)
    header, number = None, 0
    while True:
        try:
            columns = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: not CSV ({error})") from None
        number = reader.line_num if quoted else number + 1
        if not any(column.strip() for column in columns):
            continue
        if header is None:
            header = columns
        elif len(columns) != len(header):
            raise ValueError(
                f"{path}, line {number}: {len(columns)} columns where the header has {len(header)} "
                f"({', '.join(header)})"
            )
        else:
            yield Place(path, number), dict(zip(header, columns))


def column_of(row: dict, chosen: str | None, usual: Iterable[str], place: Place, needed: bool = True) -> str | None:
    """The name of a row's column: the chosen one, or the first of the usual ones that there is.

    Raises:
        `ValueError`: if there is none, and one was chosen or is needed.
    """
    if chosen is not None and chosen in row:
        return chosen
    found = None if chosen is not None else next((name for name in usual if name in row), None)
    if found is None and (needed or chosen is not None):
        expected = repr(chosen) if chosen is not None else " or ".join(map(repr, usual))
        raise ValueError(f"{place}: there is no column {expected}, only {', '.join(map(str, row))}")
    return found
