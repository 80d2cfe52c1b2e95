"""Labels of words in files with a word a line, as the CoNLL shared tasks have them, and the schemes of such labels.

    EU      NNP  I-NP  I-ORG           # columns by tabs if most lines have one, by white space otherwise
    rejects VBZ  I-VP  O
                                       # a line that is empty, or holds nothing but white space, ends a sentence

Left out are `-DOCSTART-` lines and, at the beginning of a sentence, comments: lines that begin with `#` and have not
the file's number of columns, or go on with `id` or `name =`. So are the ranges (`3-4`) and empty words (`8.1`) of
CoNLL-U files.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .metrics import Entity, entities, parts
from .text_files import Place, numbered_lines

COMMENT = re.compile(r"#\s*(id\s|\S+\s*=)")
ENTITY_LABEL = re.compile(r"O|[BILUES]-.+")
LABEL_SCHEMES = ("bio", "bioul", "keep")


@dataclass(frozen=True)
class LabelledSentence:
    """Words, their labels (None where there are none, as in a file to be labelled), and where they are from."""

    words: list[str]
    labels: list[str] | None
    places: list[Place]  # of each word


# ---- Files


def read_conll(path: str, word_column: int | None = None, label_column: int | None = None) -> list[LabelledSentence]:
    """The sentences of a file.

    Args:
        path: Plain or `.gz`.
        word_column, label_column: From 0; negative numbers count from the last. By default words are in the first
            column, in the second if the first is a running number; labels in the last one, if that is another. A file
            with one column has no labels.

    Raises:
        `ValueError`: with file and line, if a line has another number of columns than the others, or no word or label
            where it should be, or there is no such column.
    """
    lines = list(split_lines(path))
    widths = Counter(len(columns) for _, columns in lines if columns)
    if not widths:
        return []
    width = widths.most_common(1)[0][0]
    sentences = list(sentences_of(path, lines, width))
    word, label = choose_columns(path, [rows for rows in sentences if rows], width, word_column, label_column)
    return [labelled(path, rows, word, label) for rows in sentences if rows]


def split_lines(path: str) -> Iterator[tuple[int, list[str]]]:
    """The number and the columns of each line; none for a line that parts sentences."""
    lines = list(numbered_lines(path))
    tabs = ["\t" in line for _, line in lines if line and not line.isspace()]
    has_tabs = 2 * sum(tabs) > len(tabs)
    for number, line in lines:
        blank = not line or line.isspace()
        yield number, [] if blank else line.split("\t") if has_tabs else line.split()


def sentences_of(path: str, lines: list[tuple[int, list[str]]], width: int) -> Iterator[list[tuple[int, list[str]]]]:
    """The lines of each sentence."""
    rows: list[tuple[int, list[str]]] = []
    for number, columns in lines:
        if not columns or "-DOCSTART-" in columns:
            yield rows
            rows = []
        elif not rows and COMMENT.match(" ".join(columns)):
            continue
        elif len(columns) == width:
            rows.append((number, columns))
        elif rows or not columns[0].startswith("#"):
            raise ValueError(
                f"{path}, line {number}: {len(columns)} columns where the file has {width}: {' '.join(columns)[:60]!r}"
            )
    yield rows


def choose_columns(
    path: str, sentences: list[list[tuple[int, list[str]]]], width: int, word: int | None, label: int | None
) -> tuple[int, int | None]:
    if width == 1:
        label = None
    for name, column in (("--word_column", word), ("--label_column", label)):
        if column is not None and not -width <= column < width:
            raise ValueError(f"{path}: {name} {column}, but its lines have {width} columns, 0 to {width - 1}")
    if word is None:
        word = 1 if width > 1 and all(is_numbered(rows) for rows in sentences) else 0
    word %= width
    if label is None:
        label = width - 1 if word != width - 1 else None
    return word, None if label is None else label % width


def is_numbered(rows: list[tuple[int, list[str]]]) -> bool:
    """Whether the first column counts the words, from 0 or from 1."""
    numbers = [columns[0] for _, columns in rows if re.fullmatch(r"\d+", columns[0])]
    others = [columns[0] for _, columns in rows if not re.fullmatch(r"\d+([-.]\d+)?", columns[0])]
    return not others and [int(number) for number in numbers] in (
        list(range(len(numbers))),
        list(range(1, len(numbers) + 1)),
    )


def labelled(path: str, rows: list[tuple[int, list[str]]], word: int, label: int | None) -> LabelledSentence:
    if word > 0:
        rows = [row for row in rows if not re.fullmatch(r"\d+[-.]\d+", row[1][0])]
    for number, columns in rows:
        for what, column in (("word", word), ("label", label)):
            if column is not None and not columns[column].strip():
                raise ValueError(f"{path}, line {number}: there is no {what} in column {column}")
    return LabelledSentence(
        [columns[word].strip() for _, columns in rows],
        None if label is None else [columns[label].strip() for _, columns in rows],
        [Place(path, number) for number, _ in rows],
    )


def write_conll(path, sentences: Iterable[tuple[Sequence[str], Sequence[str] | None, Sequence[str]]]):
    """Write words, what is right (if it is known) and what was predicted, as conlleval reads it: parted by blanks.

    A blank inside a word, which would be a column of its own, becomes `_`.
    """
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for words, labels, predicted in sentences:
            for columns in zip(words, *([] if labels is None else [labels]), predicted):
                file.write(" ".join("_".join(column.split()) for column in columns) + "\n")
            file.write("\n")


# ---- Schemes of labels


def are_entities(labels: Iterable[str]) -> bool:
    """Whether these labels mark entities, which have schemes; others, parts of speech say, have none."""
    labels = set(labels)
    return bool(labels - {"O"}) and all(ENTITY_LABEL.fullmatch(label) for label in labels)


def scheme_of(sentences: Iterable[Sequence[str]]) -> str:
    """The scheme of some sentences' labels, for people: which one it is does not change how they are read.

    Labels that mark ends are of `BIOUL` (with L and U) or `BIOES` (with E and S). Without ends they are of `IOB1` if an
    entity begins with `B-` only where one of its type goes before, and of `BIO` (IOB2) otherwise.
    """
    letters, first, apart = set(), 0, 0
    for labels in sentences:
        letters.update(label[0] for label in labels)
        before = ("O", "")
        for label in labels:
            place, type = parts(label)
            first += place == "B"
            apart += place == "B" and (before[0] == "O" or before[1] != type)
            before = place, type
    if letters & {"L", "U"}:
        return "BIOUL"
    if letters & {"E", "S"}:
        return "BIOES"
    return "IOB1" if "I" in letters and not apart else "BIO"


def in_scheme(labels: Sequence[str], scheme: str) -> list[str]:
    """The same entities with labels of the scheme `bio` or `bioul`, or the labels as they are (`keep`)."""
    if scheme == "keep":
        return list(labels)
    converted = ["O"] * len(labels)
    for entity in entities(labels):
        converted[entity.start : entity.end] = entity_labels(entity, scheme)
    return converted


def entity_labels(entity: Entity, scheme: str) -> list[str]:
    size = entity.end - entity.start
    places = ["B", *"I" * (size - 1)]
    if scheme == "bioul":
        places = ["B", *"I" * (size - 2), "L"] if size > 1 else ["U"]
    return [f"{place}-{entity.type}" for place in places]


def labels_of_scheme(types: Iterable[str], scheme: str) -> list[str]:
    """All labels of `bio` or `bioul` for entities of these types, `O` first."""
    places = {"bio": "BI", "bioul": "BILU"}[scheme]
    return ["O", *(f"{place}-{type}" for type in sorted(types) for place in places)]
