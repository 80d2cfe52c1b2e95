"""Pairs of a source text and its targets: translations, summaries, headlines, replies.

parallel lines  `train.en` and `train.de` (also .gz): the same line of both makes a pair; the source file is named
tables          a column of sources and one of targets, each a text or a list: of sentences that are joined, of
                references; `translation`, an object of languages, as datasets of the Hub have it
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...text_files import Place, parallel_lines
from .splits import Reader, Splits
from .tables import Row, find_column, is_table, peek

SOURCE = ("source", "src", "article", "document", "dialogue", "text", "prompt", "question")
TARGET = ("target", "tgt", "summary", "highlights", "headline", "title", "response", "reply", "answer")


def read_parallel_texts(arguments: Any) -> Splits:
    """Read sources and their targets, as examples of `text`, `references` (all targets; the first is learned) and
    `source` (the place). Errors as of `Reader.read`.

    Pairs with an empty text are left out of training, and those without a target out of training and validation.
    """
    return ParallelReader(arguments).read()


class ParallelReader(Reader):
    unit = "pair"
    schema = pa.schema([("text", pa.string()), ("references", pa.list_(pa.string())), ("source", pa.string())])

    def __init__(self, arguments: Any):
        super().__init__(arguments)
        self.languages = arguments.source_language, arguments.target_language
        self.columns = arguments.source_column, arguments.target_column

    def read_file(self, path: str, split: str) -> Iterator[dict]:
        if is_table(path) or any(self.columns):
            yield from self.read_rows(self.table(path, split, self.columns), split)
            return
        target = parallel_file(path, *self.languages)
        if split == "test" and not target.is_file():  # a test file may come without its translation
            self.understood.record(split, "lines", sources=Path(path).name)
            lines = parallel_lines([path])
        else:
            self.understood.record(split, "parallel lines", sources=self.languages[0], targets=self.languages[1])
            lines = parallel_lines([path, target])
        for number, (text, *references) in lines:
            yield {"text": text, "references": [*filter(None, references)], "source": str(Place(path, number))}

    def read_rows(self, rows: Iterable[Row], split: str) -> Iterator[dict]:
        head, names, rows = peek(rows)
        for place, _ in head[:1]:
            if "translation" in names and all(self.languages) and not any(self.columns):
                source, target = self.languages
                rows = ((place, translation(row, self.languages, place)) for place, row in rows)
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

    def shown(self, example: dict) -> str:
        return f"{example['text'][:100]} -> {(example['references'] or [''])[0][:100]}"


def translation(row: dict, languages: Sequence[str], place: Place) -> dict:
    """Return the object of texts by language in a row of a dataset of translations."""
    texts = row.get("translation")
    if not isinstance(texts, dict) or not texts.keys() >= {*languages}:
        raise ValueError(f"{place}: translation must be an object with {' and '.join(languages)}, but is {texts!r:.60}")
    return texts


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
