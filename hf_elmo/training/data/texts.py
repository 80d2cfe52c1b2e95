r"""Texts with a class label: trees, lines of label and sentence, fastText, tables and datasets.

    trees         (3 (2 It) (4 (4 (2 's) (4 (3 a) (4 gem))) (2 .)))
    lines         4 a gripping movie, __label__4 a gripping movie (fastText), or the label last; blanks separate words
    two columns   A gripping movie.<tab>4, label first or last, without a header
    tables        named columns of texts, which the tokenizer splits, or of lists of words

Each node of a tree of the Stanford Sentiment Treebank (Socher et al. 2013) has a label from 0, very negative, over 2,
neutral, to 4, very positive. `-LRB-` and `-RRB-` become brackets again, and `\/` and `\*` lose their backslash.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
from datasets import Dataset

from ...text_files import Place, numbered_lines
from .splits import Reader, Splits, check_classes, check_values, implausible, note_alike, note_unknown, values
from .tables import Row, as_number, clean_label, find_column, find_label_column, is_table, peek
from .word_labels import as_list

TEXT_COLUMNS = ("text", "sentence", "tokens", "words", "review", "content", "comment", "tweet")
LABEL_COLUMNS = ("label", "labels", "sentiment", "class", "category", "stars")
STRING = pa.string()
SCHEMA = pa.schema({"text": STRING, "words": pa.list_(STRING), "label": STRING, "source": STRING})
LABEL_TYPES = {"single_label": pa.string(), "multi_label": pa.list_(pa.string()), "regression": pa.float64()}
NEUTRAL = 2
PIECES = re.compile(r"\((\d+)|\)|[^\s()]+")
ESCAPED = {"-LRB-": "(", "-RRB-": ")", "-lrb-": "(", "-rrb-": ")"}
FASTTEXT = "__label__"
Phrase = tuple[list[str], str]  # the words below a node of a tree, and the label of the node
LINES_TO_JUDGE = 20_000  # lines by which the layout of a file is recognized


def read_texts(arguments: Any, known_labels: Sequence[str] | None = None) -> Splits:
    """Read texts with a class label each; with `--problem_type`, with any number of labels, or with a value, each.

    Examples have the columns `text`, or `words` where the data are split into words (the other is `None`), `label` (a
    text, a list of texts or a number; `None` if there is none), `source`, and for pairs `text_pair`. Texts without
    words are left out of training, and texts without a label out of training and validation. Errors as of
    `Reader.read`.
    """
    return TextReader(arguments, known_labels).read()


class TextReader(Reader):
    """Reads texts; test files are read as the labels of training suggest."""

    unit = "text"

    def __init__(self, arguments: Any, known: Sequence[str] | None):
        super().__init__(arguments, known)
        self.seen = set(self.known)  # labels of the model and of training
        self.schema = SCHEMA.set(2, pa.field("label", LABEL_TYPES[arguments.problem_type]))
        if arguments.text_pair_column is not None:
            self.schema = self.schema.append(pa.field("text_pair", STRING))
        self.columns = arguments.text_column, arguments.label_column

    def read_file(self, path: str, split: str) -> Iterator[dict]:
        layout, pairs = find_layout(path, split, self.seen, self.columns[1]), self.arguments.text_pair_column
        if layout == "table":
            columns = table_columns(path, *self.columns)
            yield from self.read_rows(self.table(path, split, (*columns, pairs)), split, columns)
            return
        if pairs is not None:
            raise ValueError(f"{path}: {LAYOUTS[layout]}, where --text_pair_column {pairs} needs a table of columns")
        self.understood.record(split, LAYOUTS[layout], labels=LABEL_PLACES.get(layout))
        if layout == "trees":
            yield from self.read_trees(path, split)
            return
        for number, line in numbered_lines(path):
            place, words = Place(path, number), line.split()
            if not words:
                continue
            if layout == "label first":
                yield self.label_first(line, words, place)
            elif layout == "label last":
                yield example(words[:-1], self.label(words[-1], place), place)
            elif layout == "fastText":
                labels = [word.removeprefix(FASTTEXT) for word in words if word.startswith(FASTTEXT)]
                label = self.label(labels[0] if len(labels) == 1 else labels or None, place)
                yield example([word for word in words if not word.startswith(FASTTEXT)], label, place)
            else:
                yield example(words, None, place)

    def label_first(self, line: str, words: list[str], place: Place) -> dict:
        """Return the example of a line of a label and the words of a sentence."""
        if line[0].isspace() or not re.fullmatch(r"[\w+-]+|[+-]?\d*\.\d+", words[0]):
            raise ValueError(f"{place}: a label and a blank must go before the sentence, but the line is {line[:40]!r}")
        return example(words[1:], self.label(words[0], place), place)

    def read_trees(self, path: str, split: str) -> Iterator[dict]:
        with_phrases = self.arguments.phrases and split == "train"
        for place, phrases in read_trees(path):
            for words, label in phrases if with_phrases else phrases[-1:]:  # the last is the whole sentence
                if not self.arguments.binary or int(label) != NEUTRAL:  # SST-2 leaves out neutral sentences
                    label = str(int(int(label) > NEUTRAL)) if self.arguments.binary else label
                    yield example(words, self.label(label, place), place)

    def read_rows(self, rows: Iterable[Row], split: str, columns: Sequence | None = None) -> Iterator[dict]:
        head, names, rows = peek(rows)
        for place, _ in head[:1]:
            text_column, label_column = columns or self.columns
            text_column = find_column(names, text_column, TEXT_COLUMNS, place, "--text_column")
            label_column = find_label_column(names, label_column, LABEL_COLUMNS, place, split)
            second = find_column(names, self.arguments.text_pair_column, (), place, needed=False)
            self.understood.record(split, "a table", texts=text_column, second=second, labels=label_column)
        for place, row in rows:
            text = row.get(text_column)
            text = "" if text is None else text
            if not isinstance(text, str) and not (isinstance(text, list) and all(isinstance(w, str) for w in text)):
                raise ValueError(f"{place}: the text must be a string, or a list of words, but is {text!r:.60}")
            found = example(text, self.label(row.get(label_column), place), place)
            if second is not None:
                found["text_pair"] = row.get(second) or ""
                for part in (text, found["text_pair"]):
                    if not isinstance(part, str):
                        raise ValueError(f"{place}: both texts of a pair must be strings, but one is {part!r:.60}")
            yield found

    def label(self, label: Any, place: Place) -> str | list[str] | float | None:
        """Return the label of a text as the problem type needs it, without white space; `None` if it is not known.

        `ValueError` if there are several, where there must be one and `--first_label` was not given.
        """
        if self.arguments.problem_type == "regression":
            text = str(label) if isinstance(label, list) else clean_label(label, place)
            return None if text is None else as_number(text, place)
        if self.arguments.problem_type == "multi_label":
            if isinstance(label, str) and self.arguments.label_separator:
                label = label.split(self.arguments.label_separator)
            elif isinstance(label, str) and label.strip().startswith("["):
                label = as_list(label)
            labels = label if isinstance(label, list) or label is None else [label]
            found = [text for label in labels or () if (text := clean_label(label, place)) is not None]
            return labels and list(dict.fromkeys(found))
        labels = label if isinstance(label, list) else [label]
        if len(labels) > 1 and not self.arguments.first_label:
            raise ValueError(
                f"{place}: {len(labels)} labels ({', '.join(map(str, labels))}), where a text must have one: "
                "--first_label True keeps the first, and --problem_type multi_label learns any number of them"
            )
        return clean_label(labels[0], place) if labels else None

    def problem(self, example: dict, split: str) -> str | None:
        texts = example.get("words") or example.get("text", "").strip(), example.get("text_pair", "-").strip()
        if split == "train" and not all(texts):
            return "texts without words"
        if split != "test" and example["label"] is None:
            return "texts without a label"
        if split == "train" and isinstance(example["label"], str):
            self.seen.add(example["label"])
        return None

    def finish(self, examples: dict[str, Dataset]) -> list[str] | None:
        kind = self.arguments.problem_type
        is_chosen = self.arguments.label_column is not None
        if kind == "regression":
            check_values(examples, self.understood, is_chosen)
            return None
        if kind == "single_label":
            counts = check_classes(examples, self.understood, self.known, is_chosen)
        else:
            counts = Counter(label for row in values(next(iter(examples.values())), "label") for label in row or ())
            self.understood.label_counts = counts
            if "train" in examples and not is_chosen:
                self.check_sets(examples["train"], counts)
            note_alike(counts, self.understood)
        names = sorted(counts, key=lambda label: (len(label), label)) if "train" in examples else self.known
        if kind == "multi_label":
            note_unknown(examples, "label", names, self.understood, "labels", "not found")
        return names

    def check_sets(self, train: Dataset, counts: Counter[str]) -> None:
        """Raise `ValueError` if the labels are indicators, or most likely several that are joined."""
        joined = next(
            (
                (label, sign)
                for label in counts
                for sign in "|;,"
                if {*map(str.strip, label.split(sign))} & (counts.keys() - {label})
            ),
            None,
        )
        if joined and not self.arguments.label_separator:
            what = f"{joined[0]!r:.60} joins labels that also stand alone: give --label_separator '{joined[1]}'"
        elif counts.keys() <= {"0", "1", "True", "False"}:
            what = f"the labels are {', '.join(counts) or 'all empty'}, where the names of labels are expected"
        else:
            return
        raise ValueError(f"{train[0]['source'].split(', line ')[0]}: {what}; if it is right, name --label_column")

    def shown(self, example: dict) -> str:
        return f"{example['label']}: {(example['text'] or ' '.join(example['words'] or ()))[:200]}"


def example(text: str | list[str], label: str | list[str] | float | None, place: Place) -> dict:
    return {"words" if isinstance(text, list) else "text": text, "label": label, "source": str(place)}


# ---- Lines

LAYOUTS = {
    "trees": "trees of the Stanford Sentiment Treebank",
    "label first": "a label and a sentence per line",
    "label last": "a sentence and a label per line",
    "fastText": "fastText, a text per line",
    "sentences": "a sentence per line, without labels",
}
LABEL_PLACES = {"label first": "the first word of a line", "label last": "the last word of a line"}
LABEL_PLACES["fastText"] = f"the words that begin with {FASTTEXT}"


def find_layout(path: str, split: str, known: set[str], label_column: str | None) -> str:
    """Return the layout of a file: a key of `LAYOUTS`, or `table`, also for columns separated by tabs.

    A sentence without a label is expected in test files alone, where no label of training is found.
    """
    if is_table(path):
        return "table"
    lines = [line for _, line in islice(numbered_lines(path), LINES_TO_JUDGE) if line.strip()]
    if not lines or re.match(r"\(\d+ ", lines[0]):
        return "trees"
    if any(word.startswith(FASTTEXT) for line in lines if FASTTEXT in line for word in line.split()):
        return "fastText"
    tabs = {line.count("\t") for line in lines}
    if len(tabs) == 1 and tabs != {0}:
        return "table"
    if label_column in ("0", "-1"):
        return "label first" if label_column == "0" else "label last"
    first, last = (Counter(line.split()[column] for line in lines) for column in (0, -1))
    if known and split == "test" and not known & (first.keys() | last.keys()):
        return "sentences"
    if known:
        return "label first" if known & first.keys() or not known & last.keys() else "label last"
    is_last = len(first) > 1 < len(last) <= last.total() / 2 and implausible(first)
    return "label last" if is_last else "label first"


def table_columns(path: str, text_column: str | None, label_column: str | None) -> tuple[str | None, str | None]:
    """Return the columns of texts and labels of a file of two columns without a header, by their number."""
    if is_table(path):
        return text_column, label_column
    rows = [line.split("\t") for _, line in islice(numbered_lines(path), LINES_TO_JUDGE) if line.strip()]
    has_header = any(cell.strip().lower() in (*TEXT_COLUMNS, *LABEL_COLUMNS) for cell in rows[0])
    if has_header or text_column or label_column or len(rows[0]) != 2:
        return text_column, label_column
    first, second = (len({row[column].strip() for row in rows}) for column in (0, 1))
    if first == second:
        raise ValueError(
            f"{path}: two columns without a header, and either may be the labels: --text_column 0 --label_column 1 or "
            "--text_column 1 --label_column 0"
        )
    return ("1", "0") if first < second else ("0", "1")


# ---- Trees


def read_trees(path: str) -> Iterator[tuple[Place, list[Phrase]]]:
    """Yield the phrases of each tree of a file; the whole sentence is the last."""
    for number, line in numbered_lines(path):
        if line and not line.isspace():
            place = Place(path, number)
            yield place, phrases_of(line, place)


def phrases_of(line: str, place: Place) -> list[Phrase]:
    words: list[str] = []
    opened: list[tuple[int, str]] = []  # first word and label of each node that encloses the current one
    phrases: list[Phrase] = []
    for piece in PIECES.finditer(line):
        if phrases and not opened:
            raise ValueError(f"{place}: something follows the tree: {line[piece.start() :][:40]!r}")
        if piece[1] is not None:
            opened.append((len(words), piece[1]))
        elif not opened:
            raise ValueError(f"{place}: a tree must begin with '(' and a label, but the line is {line[:40]!r}")
        elif piece[0] == ")":
            first, label = opened.pop()
            if first == len(words):
                raise ValueError(f"{place}: there is no word in '({label})'")
            phrases.append((words[first:], label))
        else:
            words.append(ESCAPED.get(piece[0]) or piece[0].replace("\\/", "/").replace("\\*", "*"))
    if opened or not phrases:
        raise ValueError(f"{place}: {len(opened)} brackets are not closed")
    return phrases
