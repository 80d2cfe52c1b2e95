# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The sentences of an input of any kind, one after the other: text, files with a word per line, tables, datasets.

    text    a sentence a line, raw or split into words; numbered by lines, empty ones included
    conll   a word a line, whatever the other columns hold; numbered by sentences
    table   a column of .csv, .tsv, .jsonl, .json or .parquet with texts or lists of words; numbered by rows
    dataset a column of a dataset on the Hub or in a folder; numbered by rows

A sentence that cannot be read is an entry with its problem, so that the others keep their numbers.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from .text_files import Place, name_of_kind, numbered_lines
from .training.data.splits import load_splits
from .training.data.tables import (
    ROWS_TO_JUDGE,
    SUFFIXES,
    Row,
    dataset_rows,
    find_column,
    is_one_value,
    is_table,
    json_row,
    read_table,
)
from .training.data.texts import TEXT_COLUMNS
from .training.data.word_lines import find_layout, read_word_lines
from .training.language_model.corpus import Corpus, choose_split

FORMATS = {"text": ".txt", "conll": ".conll", **{suffix[1:]: suffix for suffix in SUFFIXES}}
CONLL_SUFFIXES = (".conll", ".conllu", ".conllup", ".conll2003", ".bio", ".iob", ".iob2", ".iobes", ".bmes")
STANDARD_INPUT = "-"
UNDECODABLE = re.compile("[\udc80-\udcff]")
SENTENCES_TO_JUDGE = 1000  # by which it is judged whether texts are split into words


class Entry(NamedTuple):
    """A place of an input where there should be a sentence.

    Args:
        number: Number of the sentence, from 0.
        place: Position in the input, for messages.
        sentence: A text, a list of words, or `None` if there is a problem.
        problem: Why the sentence cannot be read.
    """

    number: int
    place: Place
    sentence: str | list[str] | None
    problem: str = ""


class Sentences:
    """The sentences of an input, which can be read any number of times.

    Args:
        name: Name of the input in messages.
        read: Function that starts reading.
    """

    def __init__(self, name: str, read: Callable[[], Iterator[Entry]]):
        self.name, self.read = name, read

    def __iter__(self) -> Iterator[Entry]:
        return self.read()

    def splitting_rule(self, chosen: str | None, default: str) -> tuple[str, str]:
        """Return the rule that splits the texts into words, and a sentence that says which and why.

        Args:
            chosen: Rule that the user named. Without it, texts that look split are split at white space only.
            default: Rule for raw texts.

        Raises:
            `ValueError`: if only a part of the texts looks split, and no rule was chosen.
        """
        first = (entry.sentence for entry in islice(self, SENTENCES_TO_JUDGE))
        texts = [sentence for sentence in first if isinstance(sentence, str) and not sentence.isspace() and sentence]
        corpus = Texts(texts)
        note = choose_split(corpus, chosen, default)
        return corpus.split, note if texts else "The input consists of words, which are not split further."


class Texts(Corpus):
    """Some texts as a corpus."""

    def __init__(self, texts: list[str]):
        super().__init__(["texts"])
        self.texts = texts

    def sentences(self, shard: str) -> Iterator[str]:
        return iter(self.texts)


# ---- Opening


@contextmanager
def open_sentences(
    source: str,
    format: str | None = None,
    column: str | None = None,
    dataset_split: str | None = None,
    dataset_config: str | None = None,
) -> Iterator[Sentences]:
    """Open an input, for as long as a `with` block lasts.

    Args:
        source: A file, `-` for standard input, a folder of a dataset, or the name of a dataset on the Hub.
        format: A key of `FORMATS`; by default by the name of the file, and `text` if that says nothing.
        column: Column of the texts or words: name, or number from 0 where columns have no names.
        dataset_split, dataset_config: Split (by default train) and configuration of a dataset.

    Raises:
        `ValueError`: in one line, if there is no such input, or an option does not apply to it.
    """
    is_file = source == STANDARD_INPUT or Path(source).is_file()
    for option, value in (("--dataset-split", dataset_split), ("--dataset-config", dataset_config)):
        if is_file and value is not None:
            raise ValueError(f"{option} is for datasets, but {source} is a file")
    if not is_file:
        if format is not None:
            raise ValueError(f"{source}: no such file; without --format, it may name a dataset")
        yield dataset_sentences(source, column, dataset_split or "train", dataset_config)
    elif source == STANDARD_INPUT:
        with copied_input(FORMATS[format or "text"]) as path:
            yield file_sentences(path, format or "text", column, "standard input")
    else:
        yield file_sentences(source, format or format_of(source), column, source)


def format_of(path: str) -> str:
    """Return the format that the name of a file says."""
    suffix = Path(name_of_kind(path)).suffix
    return "conll" if suffix in CONLL_SUFFIXES else suffix[1:] if suffix in SUFFIXES else "text"


@contextmanager
def copied_input(suffix: str) -> Iterator[str]:
    """Copy standard input to a file, because it must be read more than once; yield its path."""
    with tempfile.NamedTemporaryFile(prefix="hf-elmo-", suffix=suffix) as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        yield file.name


def file_sentences(path: str, format: str, column: str | None, name: str) -> Sentences:
    if format == "text" and column is not None:
        raise ValueError(f"{name}: --column is for tables and files with a word per line; --format says what it is")
    reader = {"text": text_lines, "conll": word_lines}.get(format, table_entries)

    def read() -> Iterator[Entry]:
        try:
            for entry in reader(path, format, column):
                yield entry._replace(place=entry.place._replace(source=name))
        except ValueError as error:
            raise ValueError(str(error).replace(path, name)) from None

    return Sentences(name, read)


def dataset_sentences(name: str, column: str | None, split: str, configuration: str | None) -> Sentences:
    is_path = Path(name).suffix in (".txt", ".gz", *CONLL_SUFFIXES, *SUFFIXES) or name.startswith((".", "/", "~"))
    if is_path and not Path(name).is_dir():
        raise ValueError(f"{name}: no such file")
    try:
        found = load_splits(name, configuration, "train")
    except Exception as error:  # whatever the Hub and the files of a dataset bring up
        reason = " ".join(str(error).split())
        raise ValueError(f"{name}: neither a file nor a dataset that can be loaded: {reason}") from error
    if split not in found:
        raise ValueError(f"{name} has no split {split!r}, only {', '.join(found)}: choose with --dataset-split")
    rows = found[split]
    return Sentences(name, lambda: column_entries(dataset_rows(rows, f"{name}/{split}"), column))


# ---- Reading


def text_lines(path: str, format: str, column: str | None) -> Iterator[Entry]:
    for number, line in numbered_lines(path, "surrogateescape"):
        place = Place(path, number)
        if problem := undecodable(line):
            yield Entry(number - 1, place, None, problem)
        else:
            yield Entry(number - 1, place, line.strip())


def undecodable(line: str) -> str:
    """Describe what is no text in a line; `""` if all of it is."""
    wrong = UNDECODABLE.search(line)
    return f"not UTF-8, but the byte {ord(wrong[0]) - 0xDC00:#x} after {line[: wrong.start()][-20:]!r}" if wrong else ""


def word_lines(path: str, format: str, column: str | None) -> Iterator[Entry]:
    layout = find_layout(path, column, None, is_test=True)
    if layout.kind == "table":
        raise ValueError(f"{path}: a row of this file is a sentence, or a column numbers them: give --format tsv")
    for number, sentence in enumerate(read_word_lines(path, layout)):
        yield Entry(number, Place(path, sentence.lines[0]), sentence.words)


def table_entries(path: str, format: str, column: str | None) -> Iterator[Entry]:
    if format == "jsonl" and not is_one_value(path, may_be_object=False):
        return json_entries(path, column)
    name = name_of_kind(path)
    if not name.endswith(f".{format}") and (format != "tsv" or is_table(path)):
        raise ValueError(f"{path}: --format {format} needs a file whose name ends in .{format}")
    return column_entries(read_table(path, [column]), column)


def json_entries(path: str, column: str | None) -> Iterator[Entry]:
    """Yield the entries of a file with an object a line; a line that is none is an entry with a problem."""
    lines = ((number, line) for number, line in numbered_lines(path, "surrogateescape") if line.strip())
    return column_entries((json_or_problem(Place(path, number), line) for number, line in lines), column)


def json_or_problem(place: Place, line: str) -> Row:
    try:
        if problem := undecodable(line):
            raise ValueError(f"{place}: {problem}")
        return place, json_row(line, place)
    except ValueError as error:
        return place, {PROBLEM: str(error).removeprefix(f"{place}: ")}


PROBLEM = "\0problem"  # name of a column, which no file has, of a row that could not be read


def column_entries(rows: Iterable[Row], column: str | None) -> Iterator[Entry]:
    """Yield the entries of a column with texts or lists of words."""
    rows = iter(rows)
    head = list(islice(rows, ROWS_TO_JUDGE))
    readable = [(place, row) for place, row in head if PROBLEM not in row]
    for place, _ in readable[:1]:
        names = list(dict.fromkeys(name for _, row in readable for name in row))
        column = find_column(names, column, TEXT_COLUMNS, place, "--column")
    for number, (place, row) in enumerate(chain(head, rows)):
        sentence, problem = row.get(column), row.get(PROBLEM, "")
        problem = problem or why_no_sentence(sentence, column)
        sentence = sentence.strip() if isinstance(sentence, str) else sentence
        yield Entry(number, place, None if problem else sentence, problem)


def why_no_sentence(value: Any, column: str) -> str:
    """Say why a value is neither a text nor a list of words; `""` if it is one."""
    if value is None:
        return f"there is nothing in column {column!r}"
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(word, str) for word in value)):
        return ""
    return f"column {column!r} must have a text or a list of words, but has {value!r:.60}"


__all__ = ["FORMATS", "Entry", "Sentences", "open_sentences"]
