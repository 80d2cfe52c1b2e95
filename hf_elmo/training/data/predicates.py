"""Sentences with predicates and their arguments: PropBank in columns, CoNLL-2005, CoNLL-2012, tables and datasets.

    numbered    number, word, lemma, two tags, frame (`kill.01`, `_` for other words), then a column of IOB2 labels for
                each predicate, in their order
    CoNLL-2005  word first; then the predicates (`-` for other words) and a column of brackets for each, `(A0*`, `*)`
    CoNLL-2012  word fourth, frame eighth, brackets from the twelfth to the last but one
    JSON        `tokens` and `predicates`, objects with `words`, the numbers of the predicate's words, and `labels`

The predicate's words are those labeled `V`, and without labels the word of its line. Where a test file has no column of
labels, it is not known what is right.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from datasets import Dataset

from ...label_schemes import labels_of_scheme
from ...model.label_schemes_elmo import spans
from ...text_files import Place, columns_of, numbered_lines, one_word, write_lines
from .splits import Reader, Splits, values
from .tables import Row, find_column, is_table, peek
from .word_lines import BRACKETS, COMMENT, labels_of_brackets

IOB = re.compile(r"O|[BI]-\S+")
LINES_TO_JUDGE = 5000
PREDICATES = pa.list_(pa.struct({"name": pa.string(), "words": pa.list_(pa.int32()), "labels": pa.list_(pa.string())}))
SCHEMA = pa.schema({"tokens": pa.list_(pa.string()), "predicates": PREDICATES, "source": pa.string()})
NOT_LABELED = ("-", "_")  # in the column of predicates, for other words


class Layout(NamedTuple):
    """Where a file has words, predicates and labels: columns from 0, `last` that of the last label or None."""

    kind: str
    word: int
    predicate: int | None  # None: the column before the brackets
    last: int | None = None


LAYOUTS = {
    "numbered": Layout("numbered columns with IOB2 labels", 1, 5),
    "CoNLL-2005": Layout("CoNLL-2005", 0, None),
    "CoNLL-2012": Layout("CoNLL-2012", 3, 7, -1),
}


def read_predicates(arguments: Any, known_labels: Sequence[str] | None = None) -> Splits:
    """Read sentences with predicates and labels of their arguments. Errors as of `Reader.read`.

    Examples have the columns `tokens`, `predicates` (their `name` in the data, the numbers of their `words`, and
    `labels`, `None` where it is not known what is right) and `source`. Labels are those of BIO; those of a trained
    model are kept if they hold all labels of training.
    """
    return PredicateReader(arguments, known_labels).read()


class PredicateReader(Reader):
    unit, schema = "sentence", SCHEMA

    def read_file(self, path: str, split: str) -> Iterator[dict]:
        if is_table(path):
            yield from super().read_file(path, split)
            return
        layout = find_layout(path)
        self.understood.record(split, layout.kind, words=f"column {layout.word}", labels="one column a predicate")
        rows: list[tuple[Place, list[str]]] = []
        for number, line in chain(numbered_lines(path), [(0, "")]):
            if line.startswith("#") and (layout.word or (not rows and not is_word(line))):
                continue
            if line.strip():
                rows.append((Place(path, number), columns_of(line)))
            elif rows:
                yield read_sentence(rows, layout)
                rows = []

    def read_rows(self, rows: Iterable[Row], split: str) -> Iterator[dict]:
        head, names, rows = peek(rows)
        if not head:
            return
        tokens = find_column(names, None, ("tokens", "words"), head[0][0])
        predicates = find_column(names, None, ("predicates",), head[0][0])
        self.understood.record(split, "a table", words=tokens, labels=predicates)
        for place, row in rows:
            words = row.get(tokens)
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise ValueError(f"{place}: {tokens} must be a list of words, but is {words!r:.60}")
            found = [read_predicate(one, words, place) for one in row.get(predicates) or ()]
            yield {"tokens": words, "predicates": found, "source": str(place)}

    def problem(self, example: dict, split: str) -> str | None:
        if not example["tokens"]:
            return "sentences without words"
        unlabeled = any(predicate["labels"] is None for predicate in example["predicates"])
        return "sentences with predicates without labels" if split != "test" and unlabeled else None

    def finish(self, examples: dict[str, Dataset]) -> list[str]:
        for split, dataset in examples.items():
            predicates = [one for row in values(dataset, "predicates") for one in row]
            if not predicates:
                raise ValueError(f"{dataset[0]['source']}: no sentence for {split} has a predicate")
            labeled = [one["labels"] for one in predicates if one["labels"] is not None]
            counts = f"{split}: {len(predicates):,} predicates, of which {len(labeled):,} have labels"
            self.understood.notes.append(counts)
            if not self.understood.label_counts:
                self.understood.label_counts.update(span.type for labels in labeled for span in spans(labels))
        found = labels_of_scheme(self.understood.label_counts, "BIO")
        return self.known if "train" not in examples or set(found) <= set(self.known) else found

    def shown(self, example: dict) -> str:
        return " ".join(example["tokens"])[:200]


def find_layout(path: str) -> Layout:
    """Return the layout of a file, by its first lines."""
    for _, line in islice(numbered_lines(path), LINES_TO_JUDGE):
        if line.startswith("#begin document"):
            return LAYOUTS["CoNLL-2012"]
        columns = columns_of(line)
        if columns and not line.startswith("#"):
            return LAYOUTS["numbered" if columns[0] == "1" and len(columns) >= 6 else "CoNLL-2005"]
    raise ValueError(f"{path}: there is no sentence in it")


def is_word(line: str) -> bool:
    """Return whether a line of CoNLL-2005 that begins with `#` is no comment, but ends as lines of words do."""
    last = columns_of(line)[-1].strip()
    return not COMMENT.match(line) and (last in NOT_LABELED or bool(BRACKETS.fullmatch(last)))


def has_columns_of_predicates(path: str) -> bool:
    """Return whether a file has words in the numbered columns or those of CoNLL-2005."""
    lines = [line for _, line in islice(numbered_lines(path), LINES_TO_JUDGE) if line.strip() and line[0] != "#"]
    rows = [columns_of(line) for line in lines]
    if not rows or find_layout(path) == LAYOUTS["CoNLL-2012"]:
        return False
    if find_layout(path) == LAYOUTS["numbered"]:
        return all(IOB.fullmatch(cell.strip()) for row in rows for cell in row[6:])
    last = [row[-1].strip() for row in rows if len(row) > 1]
    marked = [cell for cell in last if BRACKETS.fullmatch(cell)]
    return bool(marked) and all(BRACKETS.fullmatch(cell) or cell in NOT_LABELED for cell in last)


def read_sentence(rows: list[tuple[Place, list[str]]], layout: Layout) -> dict:
    """Return the example of a sentence's lines.

    `ValueError` if lines have different numbers of columns, or there are not as many columns of labels as predicates,
    or a label is none.
    """
    width, needed = len(rows[0][1]), max(layout.word + 1, layout.predicate or 0) + 1
    if width < needed:
        raise ValueError(f"{rows[0][0]}: {width} columns where {layout.kind} has at least {needed}")
    for place, columns in rows:
        if len(columns) != width:
            raise ValueError(
                f"{place}: {len(columns)} columns where the sentence begins with {width}: {' '.join(columns)[:60]!r}"
            )
    table = [[cell.strip() for cell in column] for column in zip(*(columns for _, columns in rows))]
    named = layout.predicate
    if named is None:  # columns of brackets are the last, and the predicates stand before them
        named = max(
            (number for number, column in enumerate(table) if not all("*" in cell for cell in column)), default=0
        )
    marked = [number for number, cell in enumerate(table[named]) if cell not in NOT_LABELED]
    if layout.kind == "CoNLL-2012":  # a frame is named only where it is annotated
        labeled = table[11 : layout.last]
        if labeled:
            marked = [column.index(cell) for column in labeled for cell in column if cell.startswith("(V*")]
    else:
        labeled = table[named + 1 :]
    if labeled and len(labeled) != len(marked):
        raise ValueError(
            f"{rows[0][0]}: {len(marked)} predicates in column {named}, but {len(labeled)} columns of labels behind it"
        )
    places = [place for place, _ in rows]
    read = labels_of_iob if layout == LAYOUTS["numbered"] else partial(labels_of_brackets, what="arguments")
    predicates = []
    for number, word in enumerate(marked):
        labels = read(labeled[number], places) if labeled else None
        own = [] if labels is None else [n for n, label in enumerate(labels) if label in ("B-V", "I-V")]
        predicates.append({"name": table[named][word], "words": own or [word], "labels": labels})
    return {"tokens": table[layout.word], "predicates": predicates, "source": str(places[0])}


def labels_of_iob(cells: Sequence[str], places: Sequence[Place]) -> list[str]:
    for cell, place in zip(cells, places):
        if not IOB.fullmatch(cell):
            raise ValueError(f"{place}: a label must be O, or B- or I- and a role, but is {cell!r}")
    return list(cells)


def read_predicate(value: Any, words: list[str], place: Place) -> dict:
    """Return a predicate of a row of JSON, an object, or the number of its word.

    `ValueError` if it names no words of the sentence, or has another number of labels than the sentence of words.
    """
    value = {"words": [value]} if type(value) is int else value
    own = value.get("words") if isinstance(value, dict) else None
    if not isinstance(own, list) or not own or not all(type(n) is int and 0 <= n < len(words) for n in own):
        raise ValueError(
            f"{place}: a predicate must be an object whose `words` are numbers from 0 to {len(words) - 1}, but is "
            f"{value!r:.60}"
        )
    labels = value.get("labels")
    if labels is not None:
        if not isinstance(labels, list) or len(labels) != len(words):
            raise ValueError(f"{place}: {len(words)} words need as many labels, but have {labels!r:.60}")
        labels = labels_of_iob([str(label) for label in labels], [place] * len(labels))
    own, marked = sorted(set(own)), [n for n, label in enumerate(labels or ()) if label in ("B-V", "I-V")]
    if marked and not {*marked} & {*own}:  # predictions may have more of them
        raise ValueError(f"{place}: a predicate has the words {own}, but the label V is at the words {marked}")
    return {"name": str(value.get("name") or words[own[0]]), "words": own, "labels": labels}


# ---- Writing


def write_props(path: str | Path, sentences: Dataset, labels: Sequence[Sequence[Sequence[str]]]) -> None:
    """Write predicates and bracketed arguments in columns, as `srl-eval.pl` reads them: `props_of` each sentence.

    Args:
        labels: For each sentence, the labels of its words for each of its predicates.
    """
    lines = []
    for tokens, predicates, rows in zip(values(sentences, "tokens"), values(sentences, "predicates"), labels):
        named = [(one["words"], one["name"]) for one in predicates]
        lines += ["\t".join(row) + "\n" for row in props_of(len(tokens), named, rows)] + ["\n"]
    write_lines(path, lines)


def props_of(
    count: int, predicates: Sequence[tuple[Sequence[int], str]], labels: Sequence[Sequence[str]]
) -> Iterator[list[str]]:
    """Yield the columns of each of `count` words: the predicate that it is, or `-`, and brackets for each predicate.

    Args:
        predicates: Words of each predicate, by their places, and its name.
        labels: For each predicate, the labels of all words.
    """
    order = sorted(range(len(predicates)), key=lambda number: predicates[number][0][0])
    names = {predicates[number][0][0]: predicates[number][1] for number in order}
    columns = [brackets(labels[number]) for number in order]
    for place in range(count):
        name = one_word(names[place]) if place in names else "-"
        yield ["_" if name == "-" and place in names else name, *(column[place] for column in columns)]


def brackets(labels: Sequence[str]) -> list[str]:
    """Return the brackets at each word of the arguments that labels mark."""
    cells = ["*"] * len(labels)
    for start, end, role in spans(labels):
        cells[start] = f"({role}{cells[start]}"
        cells[end - 1] += ")"
    return cells
