"""Pairs of a source text and its targets: translations, summaries, headlines, replies.

parallel lines  `train.en` and `train.de` (also .gz): the same line of both makes a pair; the source file is named
tables          a column of sources and one of targets, each a text or a list: of sentences that are joined, of
                references; `translation`, an object of languages, as datasets of the Hub have it
"""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa

from .files import Place, numbered_lines
from .splits import Splits, Understood, read_examples
from .tables import Row, find_column, is_table, peek, read_table

SOURCE = ("source", "src", "article", "document", "dialogue", "text", "prompt", "question")
TARGET = ("target", "tgt", "summary", "highlights", "headline", "title", "response", "reply", "answer")


def read_parallel_texts(arguments: Any) -> Splits:
    """Read sources and their targets.

    Examples have the columns `text`, `references` (all targets; the first is learned) and `source` (the place). Pairs
    with an empty text are left out of training, and those without a target out of training and validation.

    Args:
        arguments: Fields as of `ParallelArguments`.

    Raises:
        `ValueError`: in one line, for data that cannot be read.
    """
    understood = Understood("pair")
    examples = read_examples(arguments, understood, ParallelReader(arguments, understood))
    first = next(iter(examples.values()))[0]
    understood.first = f"{first['text'][:100]} -> {(first['references'] or [''])[0][:100]}"
    return Splits(understood, None, **examples)


class ParallelReader:
    """Reader of one run's files and datasets."""

    def __init__(self, arguments: Any, understood: Understood):
        self.arguments, self.understood = arguments, understood
        self.languages = arguments.source_language, arguments.target_language
        self.columns = arguments.source_column, arguments.target_column
        self.schema = pa.schema([("text", pa.string()), ("references", pa.list_(pa.string())), ("source", pa.string())])

    def read_file(self, path: str, split: str) -> Iterator[dict]:
        if not is_table(path) and not any(self.columns):
            return self.read_parallel(path, split)
        wanted = getattr(self.arguments, f"{split}_split")
        return self.read_rows(read_table(path, self.columns, self.arguments.split_column, wanted), split)

    def read_parallel(self, path: str, split: str) -> Iterator[dict]:
        """Yield the pairs of parallel lines; a test file may come without its translation."""
        target = parallel_file(path, *self.languages)
        if split == "test" and not target.is_file():
            self.understood.record(split, "lines", sources=Path(path).name)
            for number, line in numbered_lines(path):
                yield {"text": line.strip(), "references": [], "source": str(Place(path, number))}
            return
        self.understood.record(split, "parallel lines", sources=self.languages[0], targets=self.languages[1])
        for number, lines in enumerate(zip_longest(numbered_lines(path), numbered_lines(target)), start=1):
            if None in lines:
                shorter, longer = (path, target) if lines[0] is None else (target, path)
                raise ValueError(f"{longer}, line {number}: {shorter} has no such line, and the lines are to match")
            text, reference = (line.strip() for _, line in lines)
            yield {"text": text, "references": [reference] * bool(reference), "source": str(Place(path, number))}

    def read_rows(self, rows: Iterable[Row], split: str) -> Iterator[dict]:
        head, names, rows = peek(rows)
        for place, _ in head[:1]:
            if "translation" in names and all(self.languages) and not any(self.columns):
                rows = ((place, row["translation"]) for place, row in rows)
                source, target = self.languages
            else:
                source = find_column(names, self.columns[0], SOURCE, place, "--source_column")
                usual = [name for name in TARGET if name != source]
                target = find_column(names, self.columns[1], usual, place, "--target_column", needed=split != "test")
            self.understood.record(split, "a table", sources=source, targets=target)
        for place, row in rows:
            text, references = (texts_of(row.get(column), column, place) for column in (source, target))
            yield {"text": " ".join(text), "references": references, "source": str(place)}

    def problem(self, example: dict, split: str) -> str | None:
        if split == "train" and not example["text"].strip():
            return "pairs with an empty text"
        return "pairs without a target" if split != "test" and not example["references"] else None


def texts_of(cell: Any, column: str | None, place: Place) -> list[str]:
    """Return the texts of a cell, a text or a list of texts; empty ones do not count."""
    texts = [] if cell is None else cell if isinstance(cell, list) else [cell]
    if wrong := [text for text in texts if not isinstance(text, str)]:
        raise ValueError(f"{place}: {column} must be a text or a list of texts, but holds {wrong[0]!r:.60}")
    return [text.strip() for text in texts if text.strip()]


def parallel_file(path: str, source: str | None, target: str | None) -> Path:
    """Return the file of the targets beside one of sources: `train.de.gz` beside `train.en.gz`."""
    file = Path(path)
    if source is None or target is None:
        raise ValueError(
            f"{path}: name the languages of parallel files, --source_language en --target_language de for train.en and "
            "train.de; or the columns of a table, --source_column and --target_column"
        )
    parts = file.name.split(".")
    if source not in parts[1:]:
        raise ValueError(f"{path}: expected a file of the source language, as {parts[0]}.{source}")
    last = len(parts) - 1 - parts[::-1].index(source)
    return file.with_name(".".join([*parts[:last], target, *parts[last + 1 :]]))
