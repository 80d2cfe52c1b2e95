"""Rows of tables: `.csv`, `.tsv`, `.jsonl`, `.json` and `.parquet` files, and rows of `datasets`.

Text formats are read here and not by `datasets`, which infers types (the label `NA` is then lost, and `01` is `1`) and
knows no line numbers. Cells of `.csv` and `.tsv` are text.
"""

import csv
import json
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset

from ...text_files import Place, name_of_kind, numbered_lines, read_text

Row = tuple[Place, dict[str, Any]]

ROWS_TO_JUDGE = 1000
SUFFIXES = (".tsv", ".csv", ".jsonl", ".json", ".parquet")


def is_table(path: str) -> bool:
    """Return whether a file's name says that it is a table."""
    return name_of_kind(path).endswith(SUFFIXES)


def read_table(
    path: str, chosen: Iterable[str | None] = (), split_column: str | None = None, split: str | None = None
) -> Iterator[Row]:
    """Yield the rows of a table, each with its place.

    The first line of `.csv`, `.tsv` and files without a table's suffix is the header, unless a column is chosen by its
    number, from 0: then the columns are named by their numbers. Columns of `.tsv` and of files without such a suffix
    are separated by tabs, and quotes mean nothing in them. In `.csv` the delimiter is that which the header has most
    of: comma, semicolon, tab or `|`. `.json` and `.jsonl` hold an object a line, or one array of objects. Empty lines
    are skipped.

    Args:
        chosen: Columns that the user named.
        split_column, split: Yield only rows with the value `split` in this column.

    Raises:
        `ValueError`: with file and line, for rows that do not fit the header, or text that is not JSON.
    """
    name = name_of_kind(path)
    if name.endswith(".parquet"):
        rows = parquet_rows(path)
    elif name.endswith((".jsonl", ".json")):
        rows = json_rows(path, name.endswith(".json"))
    else:
        rows = delimited_rows(path, name.endswith(".csv"), {*chosen, split_column})
    if split_column is None:
        yield from rows
        return
    found, others = False, set()
    for place, row in rows:
        value = row[find_column(list(row), split_column, (), place)]
        if value == split:
            found = True
            yield place, row
        else:
            others.add(str(value))
    if not found:
        raise ValueError(
            f"{path}: no row has {split!r} in its column {split_column}, only {', '.join(sorted(others))}: name the "
            "splits with --train_split, --validation_split and --test_split"
        )


def parquet_rows(path: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_TO_JUDGE):
                yield from dataset_rows(Dataset(pa.Table.from_batches([batch])), path, number)
                number += len(batch)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: not a Parquet file ({' '.join(str(error).split())})") from None


def dataset_rows(dataset: Dataset, source: str, start: int = 0) -> Iterator[Row]:
    """Yield the rows of a dataset, numbered from `start`; the numbers of classes become names, and -1 `None`."""
    inner = {name: getattr(feature, "feature", feature) for name, feature in dataset.features.items()}
    classes = {name: feature.names for name, feature in inner.items() if isinstance(feature, ClassLabel)}

    def named(value: Any, names: list[str]) -> Any:
        if isinstance(value, list):
            return [named(one, names) for one in value]
        return names[value] if value is not None and value >= 0 else None

    for number, row in enumerate(dataset, start):
        yield (
            Place(source, number, "row"),
            {key: named(value, classes[key]) if key in classes else value for key, value in row.items()},
        )


def json_rows(path: str, may_be_whole: bool) -> Iterator[Row]:
    """Yield the objects of lines, or of one array that is the whole file or the only list of its one object."""
    lines = ((Place(path, number), line) for number, line in numbered_lines(path) if line.strip())
    rows = ((place, json_row(line, place)) for place, line in lines)
    if is_one_value(path, may_be_whole):
        content = load_json(path)
        items = only_list(content) if isinstance(content, dict) else content
        if items is None:
            raise ValueError(
                f"{path}: expected a list of objects, one a row, but found one with {', '.join(content):.60}"
            )
    else:
        head = list(islice(rows, 2))
        items = only_list(head[0][1]) if may_be_whole and len(head) == 1 else None
        if items is None:
            yield from chain(head, rows)
    for number, row in enumerate(items or ()):
        place = Place(path, number, "item")
        if not isinstance(row, dict):
            raise ValueError(f"{place}: must be an object with a value for each column: {row!r:.60}")
        yield place, row


def only_list(content: dict) -> list | None:
    """Return the list of objects in an object that has no other list."""
    lists = [value for value in content.values() if isinstance(value, list)]
    return lists[0] if len(lists) == 1 and isinstance(next(iter(lists[0]), None), dict) else None


def is_one_value(path: str, may_be_object: bool) -> bool:
    """Return whether a JSON file is one array, or one object over several lines, in place of an object a line."""
    first = next((line for _, line in numbered_lines(path, "surrogateescape") if line.strip()), "").strip()
    return first.startswith("[") or (may_be_object and first.startswith("{") and not first.endswith("}"))


def json_row(line: str, place: Place) -> dict[str, Any]:
    """Return the object that a line of JSON holds; `ValueError` with its place if it holds none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: not JSON ({error}); a line must be an object") from None
    if not isinstance(row, dict):
        raise ValueError(f"{place}: a line must be an object, but is {line[:60]!r}")
    return row


def load_json(path: str) -> Any:
    """Return the content of a JSON file."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and what is nested as deeply
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"{path}{line}: not JSON ({getattr(error, 'msg', error)})") from None


def delimited_rows(path: str, is_csv: bool, chosen: Collection[str | None] = ()) -> Iterator[Row]:
    header = None
    for number, cells in csv_cells(path) if is_csv else ((n, line.split("\t")) for n, line in numbered_lines(path)):
        if not any(cell.strip() for cell in cells):
            continue
        place = Place(path, number)
        if header is None:
            names, numbers = [cell.strip() for cell in cells], [str(column) for column in range(len(cells))]
            header = numbers if set(chosen) & set(numbers) - set(names) else names
            if header is names:
                if twice := next((name for name in names if name and names.count(name) > 1), None):
                    raise ValueError(f"{place}: two columns are named {twice!r}")
                continue
        if len(cells) != len(header):
            raise ValueError(f"{place}: {len(cells)} columns where the header has {len(header)} ({', '.join(header)})")
        yield place, dict(zip(header, cells))


def csv_cells(path: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row of `.csv`, and the number of its last line."""
    csv.field_size_limit(2**31 - 1)  # the default refuses texts beyond 131,072 characters
    lines = (f"{line}\n" for _, line in numbered_lines(path))
    first = next((line for _, line in numbered_lines(path) if line.strip()), "")
    if first.lower().startswith("sep=") and len(first) == 5:  # names the delimiter, for spreadsheets
        lines = chain(["\n"], islice(lines, 1, None))
    reader = csv.reader(lines, delimiter=max(",;\t|", key=first.count), strict=True, skipinitialspace=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: not CSV ({error})") from None


def peek(rows: Iterable[Row]) -> tuple[list[Row], list[str], Iterator[Row]]:
    """Return the first rows, the names of their columns, and all rows. Rows of JSON need not have all columns."""
    rows = iter(rows)
    head = list(islice(rows, ROWS_TO_JUDGE))
    return head, list(dict.fromkeys(name for _, row in head for name in row)), chain(head, rows)


def find_column(
    names: Sequence[str], chosen: str | None, usual: Iterable[str], place: Place, option: str = "", needed: bool = True
) -> str | None:
    """Return the name of a column: the chosen one, or the first of the usual ones that there is, in any case.

    `ValueError` if there is none, and one was chosen or is needed. `option` is what to type then.
    """
    if chosen is not None and chosen in names:
        return chosen
    lower = {str(name).lower(): name for name in names}
    found = None if chosen is not None else next((lower[name.lower()] for name in usual if name.lower() in lower), None)
    if found is None and (needed or chosen is not None):
        expected = repr(chosen) if chosen is not None else " or ".join(map(repr, usual))
        hint = f"; name one with {option}, by its number from 0 if there is no header" if option and not chosen else ""
        raise ValueError(f"{place}: there is no column {expected}, only {', '.join(map(str, names))}{hint}")
    return found


def identifier_of(row: dict, column: str | None, place: Place) -> str:
    """Return the identifier of a row, or its number where it has none."""
    value = row.get(column)
    return str(place.number if value is None else value)


def find_label_column(
    names: Sequence[str], chosen: str | None, usual: Iterable[str], place: Place, split: str
) -> str | None:
    """Return the name of the column of labels; `None` for test data that have none."""
    if split == "test":
        return chosen if chosen in names else find_column(names, None, () if chosen else usual, place, needed=False)
    return find_column(names, chosen, usual, place, "--label_column")


def clean_label(label: Any, place: Place) -> str | None:
    """Return a label as text, without white space around it; `None` if it is missing (`NaN` too) or empty.

    Whole numbers are the same label in JSON with and without a fraction, `1` and `1.0`.

    Raises:
        `ValueError`: if it is an object or a list.
    """
    if isinstance(label, (dict, list)) or label in (math.inf, -math.inf):
        raise ValueError(f"{place}: a label must be a text or a number, but is {label!r:.60}")
    if isinstance(label, float):
        label = None if math.isnan(label) else int(label) if label.is_integer() else label
    return None if label is None else str(label).strip() or None


def as_number(label: str, place: Place) -> float:
    """Return a label as a number, or raise `ValueError` with its place."""
    try:
        value = math.nan if "_" in label else float(label)  # Python reads 1_0 as 10
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{place}: a label to regress on must be a number, but is {label!r}")
    return value
