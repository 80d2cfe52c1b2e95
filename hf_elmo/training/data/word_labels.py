"""Sentences with a label for each word: files with a word per line, tables and datasets.

    tables  lists of words and of labels; cells of words and labels separated by blanks; or a word per row, where a
            column numbers the sentences, or an empty line ends them

Labels of entities may be written in any way that `label_schemes_elmo` reads, and `0`, `-` or `_` may stand for `O`. The
model learns those of `--label_scheme`: `bio`, `bioul`, `keep` (those of the data), or `plain` (labels that mark no
entities, whatever they look like).
"""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

import pyarrow as pa
from datasets import Dataset

from ...label_schemes import convert, find_used_scheme, join_label, labels_of_scheme
from ...model.label_schemes_elmo import find_scheme, parse_label
from ...text_files import Place, name_of_kind
from .splits import UNHASHED, Reader, Splits, Understood, note_alike, note_unknown, values
from .tables import Row, clean_label, find_column, find_label_column, is_table, peek
from .word_lines import OUTSIDE, SENTENCE_NAMES, Layout, find_layout, looks_like_entities, read_label, read_word_lines

LABEL_SCHEMES = ("bio", "bioul", "keep", "plain")
WORD_COLUMNS = ("tokens", "words", "token", "word", "form", "text", "sentence")
LABEL_COLUMNS = ("ner_tags", "labels", "tags", "ner", "label", "tag", "upos", "pos_tags", "pos")
NAME = re.compile(r"[^\W\d_][\w.-]+")
WORDS, LINES = pa.list_(pa.string()), pa.list_(pa.int32())
SCHEMA = pa.schema({"tokens": WORDS, "labels": WORDS, "lines": LINES, "source": pa.string()})


def read_word_labels(arguments: Any, known_labels: Sequence[str] | None = None) -> Splits:
    """Read sentences with a label for each word. Errors as of `Reader.read`.

    Examples have the columns `tokens`, `labels` (`None` where there are none), `lines` (the number of each word's line,
    `None` for rows of lists) and `source`. Labels of entities are those of the scheme to learn; those of a trained
    model are kept if they hold all labels of training.
    """
    return WordLabelReader(arguments, known_labels).read()


class WordLabelReader(Reader):
    """Reads sentences; keeps count and first place of each label as the data have it."""

    unit, schema = "sentence", SCHEMA

    def __init__(self, arguments: Any, known: Sequence[str] | None):
        super().__init__(arguments, known)
        self.seen = set(self.known)  # labels of the model and of training
        self.counts: Counter[str] = Counter()
        self.places: dict[str, Place] = {}
        self.layout: Layout | None = None  # layout of the training file

    # ---- Files with a word per line

    def read_file(self, path: str, split: str) -> Iterator[dict]:
        columns = self.arguments.word_column, self.arguments.label_column
        if not is_table(path) or name_of_kind(path).endswith(".tsv"):
            layout = find_layout(path, *columns, split == "test", self.seen, self.layout)
            if layout.kind != "table":
                yield from self.read_lines(path, split, layout)
                return
            if layout.header is None:
                columns = str(layout.word), str(layout.label)
        yield from self.read_rows(self.table(path, split, columns), split, columns)

    def read_lines(self, path: str, split: str, layout: Layout) -> Iterator[dict]:
        self.layout = self.layout or layout
        format, words, labels = layout.describe()
        self.understood.record(split, format, words=words, labels=labels)
        if layout.header is not None:
            self.understood.notes.append(f"{path}, line {layout.header}: the names of columns")
        if layout.ignored:
            columns = ", ".join(map(str, layout.ignored))
            self.understood.notes.append(f"{path}: column {columns} also holds labels; not read")
        empty = []
        for words, labels, lines in read_word_lines(path, layout):
            places = [Place(path, line) for line in lines]
            if labels is None and split != "test":
                raise ValueError(
                    f"{places[0]}: there is no label to learn in {words[0]!r:.60}; a line must have a word, a tab or a "
                    "blank, and its label"
                )
            self.count(labels or (), places, split)
            empty += [line for word, line in zip(words, lines) if not word.strip()]
            numbers = None if layout.kind == "sentences" else lines
            yield {"tokens": words, "labels": labels, "lines": numbers, "source": str(places[0])}
        if empty:
            self.understood.notes.append(
                f"{path}: {len(empty)} empty words are words of their own, the first in line {empty[0]}"
            )

    def count(self, labels: Iterable[str], places: Iterable[Place], split: str):
        for label, place in zip(labels, places):
            self.counts[label] += 1
            self.places.setdefault(label, place)
            if split == "train":
                self.seen.add(label)

    # ---- Tables and datasets

    def read_rows(self, rows: Iterable[Row], split: str, columns: Sequence[str | None] = ()) -> Iterator[dict]:
        head, names, rows = peek(rows)
        if not head:
            return
        place = head[0][0]
        word_column, label_column = columns or (self.arguments.word_column, self.arguments.label_column)
        word_column = find_column(names, word_column, WORD_COLUMNS, place, "--word_column")
        label_column = find_label_column(names, label_column, LABEL_COLUMNS, place, split)
        sentences = ((place, row.get(word_column), row.get(label_column), None) for place, row in rows)
        column = None
        if all(isinstance(row.get(word_column), str) and " " not in row[word_column].strip() for _, row in head):
            chosen, others = self.arguments.sentence_column, [name for name in names if name != word_column]
            column = find_column(others, chosen, sorted(SENTENCE_NAMES), place, needed=False)
            numbers = [place.number for place, _ in head]
            if column is None and numbers == [*range(numbers[0], numbers[0] + len(numbers))] and len(head) > 1:
                raise ValueError(
                    f"{place}: a row has one word, and neither a column nor an empty line shows where sentences end: "
                    "name the column of sentence numbers with --sentence_column"
                )
            sentences = grouped(rows, word_column, label_column, column)
        self.understood.record(split, "a table", words=word_column, labels=label_column, sentences=column)
        for place, words, labels, lines in sentences:
            words, labels = as_list(words), as_list(labels)
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise ValueError(f"{place}: the words must be a list of strings, but are {words!r:.60}")
            if labels is not None and (not isinstance(labels, list) or len(labels) != len(words)):
                raise ValueError(f"{place}: {len(words)} words need as many labels, in a list, but have {labels!r:.60}")
            if labels is not None:
                labels = [clean_label(label, place) for label in labels]
                labels = None if None in labels else self.named(labels, place)
            self.count(labels or (), repeat(place), split)
            yield {"tokens": words, "labels": labels, "lines": lines, "source": str(place)}

    def problem(self, example: dict, split: str) -> str | None:
        if not example["tokens"]:
            return "sentences without words"
        return "sentences without labels" if split != "test" and example["labels"] is None else None

    def finish(self, examples: dict[str, Dataset]) -> list[str]:
        scheme, understood = self.arguments.label_scheme, self.understood
        meanings = read_labels(self.places, self.counts, scheme, understood)
        change_labels(examples, lambda labels: [meanings[label] for label in labels])
        if "train" in examples and self.arguments.label_column is None:
            check_plausible(examples["train"])
        names = label_names(examples.get("train"), self.known, scheme, understood)
        target = None if scheme in ("keep", "plain") else find_scheme(names)
        if target is not None:
            other = next((label for label, meaning in meanings.items() if parse_label(meaning) is None), None)
            if other is not None:
                raise ValueError(f"{self.places[other]}: {other!r} is no label of entities, as those of the model are")
            change_labels(examples, lambda labels: convert(labels, target))
            understood.scheme = f"{understood.scheme or target}, learned as {target}"
        note_unknown(examples, "labels", names, understood, "words", "not found")
        counted = values(next(iter(examples.values())), "labels")
        understood.label_counts = Counter(label for labels in counted for label in labels or ())
        return names

    def shown(self, example: dict) -> str:
        columns = [example["tokens"], example["labels"]] if example["labels"] else [example["tokens"]]
        return " ".join("/".join(parts) for parts in zip(*columns))[:200]

    def named(self, labels: list[str], place: Place) -> list[str] | None:
        """Return labels with the names of `--label_list` in place of numbers, or `None` if one is negative."""
        names = self.arguments.label_list
        if not names or not all(label.lstrip("-").isdecimal() for label in labels):
            return labels
        numbers = [int(label) for label in labels]
        if min(numbers) < 0:
            return None
        if max(numbers) >= len(names):
            raise ValueError(f"{place}: the label {max(numbers)}, but --label_list has only {len(names)} names")
        return [names[number] for number in numbers]


def grouped(
    rows: Iterable[Row], word_column: str, label_column: str | None, sentence_column: str | None
) -> Iterator[tuple]:
    """Yield the sentences of rows that have one word each, with the place of the first and the numbers of all rows.

    A sentence begins where the sentence column has another value that is not empty, or without such a column after an
    empty line.
    """
    words, labels, lines, first, current = [], [], [], None, None
    for place, row in rows:
        value = str(row.get(sentence_column) or "").strip() if sentence_column else None
        begins = (value and value != current) if sentence_column else (lines and place.number > lines[-1] + 1)
        if begins and words:
            yield first, words, labels if label_column else None, lines
            words, labels, lines = [], [], []
        current = value or current
        first = first if words else place
        words.append(row.get(word_column))
        labels.append(row.get(label_column))
        lines.append(place.number)
    yield first, words, labels if label_column else None, lines


def as_list(cell: Any) -> Any:
    """Return the words or labels in a cell: a list, one written as in Python or JSON, or text separated by blanks."""
    if not isinstance(cell, str):
        return cell
    if cell.strip().startswith("["):
        try:
            return ast.literal_eval(cell.strip())
        except (ValueError, SyntaxError):
            return cell
    return cell.split(" ") if cell.strip() else []


# ---- Labels


def read_labels(places: dict[str, Place], counts: Counter[str], scheme: str, understood: Understood) -> dict[str, str]:
    """Return the meaning of each label of the data: itself, or a label of an entity scheme in the usual form.

    Labels mark entities if all but those for `O` have a position, as in `B-PER`. If only most have one, the others are
    refused. Without any, other labels beside a frequent `O` mark entities as runs of equal labels.

    Raises:
        `ValueError`: for single labels outside of the scheme of the others, and for numbers without names.
    """
    meanings = {label: label for label in counts}
    if scheme == "plain" or not counts:
        return meanings
    if all(re.fullmatch(r"-?\d+", label) for label in counts):
        raise ValueError(
            f"{next(iter(places.values()))}: the labels are numbers ({', '.join(sorted(counts, key=int)[:5])}, ...) "
            "without names: give the names in the order of the numbers, --label_list O B-PER I-PER ..., or learn the "
            "numbers as they are with --label_scheme plain"
        )
    inside = [label for label in counts if label not in OUTSIDE]
    parsed = {label: read_label(label) for label in inside}
    usual = {label: join_label(*found) for label, found in parsed.items() if found and found.letter != "O"}
    typed = 2 * sum(bool(parsed[label].type) for label in usual) >= len(usual)
    odd = [label for label in inside if label not in usual or bool(parsed[label].type) != typed]
    has_positions = any(re.match("[BI]-", label) for label in usual)
    look_alike = all(re.match("[A-Za-z][-_:]", label) for label in odd)  # with other letters
    is_scheme = has_positions and (len(usual) >= len(odd) or look_alike)
    if is_scheme and len(odd) == 1 and "O" not in counts and counts[odd[0]] == max(counts.values()):
        usual[odd[0]] = "O"  # the most frequent label
        odd = []
    if inside and not odd and find_scheme({*usual.values(), "O"}) is not None:
        meanings |= {**usual, **{label: "O" for label in counts if label in OUTSIDE}}
        note_alike({label.partition("-")[2] for label in usual.values()}, understood, "types of entities")
    elif odd and (is_scheme or looks_like_entities(counts)):
        usual = sorted(label for label in usual if label not in odd)
        share = "most" if len(usual) >= len(odd) else "some"
        shown = "; ".join(f"{label!r:.40} ({counts[label]}x, first in {places[label]})" for label in odd[:5])
        raise ValueError(
            f"{places[odd[0]]}: {share} labels mark entities ({', '.join(usual[:4])}, ...), but not {shown}: "
            "correct them, or learn all labels as they are, without entities, with --label_scheme plain"
        )
    elif not has_positions and inside and counts["O"] == max(counts.values()) and all(map(NAME.fullmatch, inside)):
        understood.notes.append(
            f"the labels {', '.join(sorted(inside)[:5])} have no B- or I-: neighboring words with the same label are "
            "one entity; --label_scheme plain learns the labels as they are"
        )
        return meanings | {label: f"I-{label}" for label in inside}
    changed = [f"{label!r} as {new} ({places[label]})" for label, new in meanings.items() if label != new]
    if changed:
        more = ", ..." if len(changed) > 8 else ""
        understood.notes.append(f"labels are read in the usual form: {', '.join(changed[:8])}{more}")
    return meanings


def check_plausible(train: Dataset):
    """Raise `ValueError` if all labels are the same, or nearly all are different."""
    counts = Counter(label for labels in values(train, "labels") for label in labels)
    shown = ", ".join(map(repr, sorted(counts)[:4]))
    if len(counts) == 1 or len(counts) > max(50, counts.total() / 2):
        raise ValueError(
            f"{train[0]['source']}: {len(counts)} different labels for {counts.total()} words ({shown}): name the "
            "column of labels with --label_column; if it is this one, name it all the same"
        )


def label_names(train: Dataset | None, known: list[str], scheme: str, understood: Understood) -> list[str]:
    """Return the labels in the order of the model's outputs, and record the scheme that the data follow."""
    if train is None:
        return known
    rows = values(train, "labels")
    found = sorted({label for labels in rows for label in labels}, key=lambda label: (label != "O", label))
    understood.scheme = find_used_scheme(rows) if scheme != "plain" else None
    if understood.scheme is not None and scheme != "keep":
        types = {parse_label(label).type for label in found if label != "O"}
        found = labels_of_scheme(types, scheme)
    return known if set(found) <= set(known) else found


def change_labels(examples: dict[str, Dataset], change: Callable[[list[str]], list[str]]):
    """Replace the labels of all sentences that have any."""
    for split, dataset in examples.items():
        table = dataset.data.table
        chunks = [pa.array([row and change(row) for row in part.to_pylist()], WORDS) for part in table["labels"].chunks]
        labels, index = pa.chunked_array(chunks, WORDS), table.column_names.index("labels")
        examples[split] = Dataset(table.set_column(index, "labels", labels), fingerprint=UNHASHED)
