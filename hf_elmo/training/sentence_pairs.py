"""Pairs of sentences with a label, as corpora of inference have them: tables, parallel lines, data sets.

    tables          one pair a row: SNLI and MultiNLI (`.jsonl` or `.txt`), SICK (`.txt`), any `.csv`, `.tsv`, `.jsonl`
    parallel lines  `s1.dev`, `s2.dev` and `labels.dev`: the same line of each makes a pair; any of the three names them

A pair without a gold label (`-` in SNLI, an empty field, -1 or null in a data set) has the label `None`.
"""

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from .tables import column_of, read_table
from .text_files import Place, numbered_lines

# What known corpora call their columns: SNLI, MultiNLI, GLUE; the same on the Hub; SICK.
FIRST = ("sentence1", "premise", "sentence_A")
SECOND = ("sentence2", "hypothesis", "sentence_B")
LABEL = ("gold_label", "label", "entailment_label")
IDENTIFIER = ("pairID", "pair_ID", "idx", "id")

PARALLEL = ("s1", "s2", "labels")
NO_LABEL = ("-", "")


class Pair(NamedTuple):
    """Two sentences, the first of which may entail the second.

    Args:
        label: Its gold label, None if it has none.
        id: What predictions call it: its id in the corpus, or the number of its line or row.
    """

    first: str
    second: str
    label: str | None
    place: Place
    id: str


class Columns(NamedTuple):
    """What a table calls the sentences and the label; None is one of the usual names."""

    first: str | None = None
    second: str | None = None
    label: str | None = None

    def of(self, row: Mapping, place: Place) -> "Columns":
        """The columns of a table with such a row; None for the label if the table has none.

        Raises:
            `ValueError`: if a column of sentences is not there.
        """
        label = self.label if self.label in row else None
        return Columns(
            column_of(row, self.first, FIRST, place),
            column_of(row, self.second, SECOND, place),
            column_of(row, label, () if self.label else LABEL, place, needed=False),
        )


def read_pairs(path: str, columns: Columns, split_column: str | None = None, split: str | None = None) -> list[Pair]:
    """The pairs of a file.

    Args:
        split_column, split: If given, only rows of a table with this value in this column.

    Raises:
        `ValueError`: in one line with file and line, if it is malformed.
    """
    if Path(path).name.split(".")[0] in PARALLEL:
        return read_parallel(path)
    return pairs_of_rows(read_table(path, split_column, split), columns)


def pairs_of_rows(rows: Iterable[tuple[Place, Mapping]], columns: Columns) -> list[Pair]:
    """The pairs of a table or of a data set.

    Raises:
        `ValueError`: with the place, if columns are missing, or a sentence is empty.
    """
    pairs, found = [], None
    for place, row in rows:
        if found is None:
            found = columns.of(row, place)
            id_column = column_of(row, None, IDENTIFIER, place, needed=False)
        first, second = (sentence_of(row, column, place) for column in found[:2])
        label = None if found.label is None else row.get(found.label)
        label = None if label is None or str(label).strip() in NO_LABEL else str(label).strip()
        pairs.append(Pair(first, second, label, place, str(row.get(id_column, place.number))))
    return pairs


def sentence_of(row: Mapping, column: str, place: Place) -> str:
    sentence = row.get(column)
    if not isinstance(sentence, str) or not sentence.strip():
        raise ValueError(f"{place}: {column} must be a sentence, but is {sentence!r:.60}")
    return sentence


def read_parallel(path: str) -> list[Pair]:
    """The pairs of parallel lines. Without the file of labels, pairs have none.

    Raises:
        `ValueError`: if one of the files of sentences is missing, files have different numbers of lines, or a line is
            empty.
    """
    ending = Path(path).name.split(".", 1)[1:]
    paths = [Path(path).with_name(".".join([name, *ending])) for name in PARALLEL]
    if not paths[2].is_file():
        del paths[2]
    pairs = []
    for number, lines in enumerate(zip_longest(*map(numbered_lines, paths)), start=1):
        if None in lines:
            ended, longer = paths[lines.index(None)], next(file for file, line in zip(paths, lines) if line)
            raise ValueError(f"{longer}, line {number}: {ended.name} has no such line, and the lines are to match")
        texts = [line.strip() for _, line in lines]
        if "" in texts:
            raise ValueError(f"{paths[texts.index('')]}, line {number}: the line is empty")
        label = texts[2] if len(texts) == 3 and texts[2] not in NO_LABEL else None
        pairs.append(Pair(*texts[:2], label, Place(str(paths[0]), number), str(number)))
    return pairs
