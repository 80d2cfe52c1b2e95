"""Pairs of texts with a label, as corpora of inference have them: tables, parallel lines, datasets.

    tables          one pair per row: SNLI and MultiNLI (`.jsonl` or `.txt`), SICK (`.txt`), any table
    parallel lines  `s1.dev`, `s2.dev` and `labels.dev`: the same line of each makes a pair; any of the three names them

A pair without a gold label (`-` in SNLI, an empty field, -1 or null) has the label `None`. A model that has learned the
class -1 keeps it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset

from ...text_files import Place, parallel_lines
from .splits import Reader, Splits, check_classes, check_values, values
from .tables import Row, as_number, clean_label, find_column, find_label_column, identifier_of, peek

# Names of columns in SNLI, MultiNLI and GLUE; the same on the Hub; in SICK; in the other tasks of GLUE
FIRST = ("sentence1", "premise", "sentence_A", "question1", "text1")
SECOND = ("sentence2", "hypothesis", "sentence_B", "question2", "text2")
LABEL = ("gold_label", "label", "entailment_label")
IDENTIFIER = ("pairID", "pair_ID", "idx", "id")
PARALLEL = ("s1", "s2", "labels")
MINUS_ONE = "-1"  # in SNLI as the Hub has it, no gold label


def read_text_pairs(arguments: Any, known_labels: Sequence[str] | None = None) -> Splits:
    """Read pairs of texts with a class label, or with `--regression` a value, each. Errors as of `Reader.read`.

    Examples have the columns `text`, `text_pair`, `label` (text or number, `None` if there is none), `id` (in the
    corpus, or the number of line or row) and `source`. Pairs with an empty text are left out of training, and pairs
    without a label out of training and validation.
    """
    return PairReader(arguments, known_labels).read()


class PairReader(Reader):
    unit = "pair"

    def __init__(self, arguments: Any, known: Sequence[str] | None):
        super().__init__(arguments, known)
        self.has_minus_one = arguments.regression or MINUS_ONE in self.known
        self.minus_ones: dict[str, list[Place]] = {}  # of each split
        self.columns = arguments.first_column, arguments.second_column, arguments.label_column
        texts = [(name, pa.string()) for name in ("text", "text_pair", "id", "source")]
        self.schema = pa.schema([*texts, ("label", pa.float64() if arguments.regression else pa.string())])

    def read_file(self, path: str, split: str) -> Iterator[dict]:
        name, *ending = Path(path).name.split(".", 1)
        if name not in PARALLEL:
            yield from self.read_rows(self.table(path, split, self.columns), split)
            return
        files = [Path(path).with_name(".".join([name, *ending])) for name in PARALLEL]
        if split == "test" and not files[2].is_file():
            del files[2]
        names = dict(zip(("first", "second", "labels"), (file.name for file in files)))
        self.understood.record(split, "parallel lines", **names)
        for number, (first, second, *label) in parallel_lines(files):
            yield self.pair(first, second, "".join(label), Place(str(files[0]), number), str(number), split)

    def read_rows(self, rows: Iterable[Row], split: str) -> Iterator[dict]:
        head, names, rows = peek(rows)
        for place, _ in head[:1]:
            first = find_column(names, self.columns[0], FIRST, place, "--first_column")
            second = find_column(names, self.columns[1], SECOND, place, "--second_column")
            label = find_label_column(names, self.columns[2], LABEL, place, split)
            identifier = find_column(names, None, IDENTIFIER, place, needed=False)
            self.understood.record(split, "a table", first=first, second=second, labels=label)
        for place, row in rows:
            texts = row.get(first), row.get(second)
            for column, text in zip((first, second), texts):
                if text is not None and not isinstance(text, str):
                    raise ValueError(f"{place}: {column} must be a sentence, but is {text!r:.60}")
            yield self.pair(*texts, row.get(label), place, identifier_of(row, identifier, place), split)

    def pair(
        self, first: str | None, second: str | None, label: Any, place: Place, identifier: str, split: str
    ) -> dict:
        label = clean_label(label, place)
        if label == MINUS_ONE and not self.has_minus_one:
            self.minus_ones.setdefault(split, []).append(place)
            label = None
        label = None if label == "-" else label
        if self.arguments.regression and label is not None:
            label = as_number(label, place)
        texts = {"text": first or "", "text_pair": second or ""}
        return {**texts, "label": label, "id": identifier, "source": str(place)}

    def problem(self, example: dict, split: str) -> str | None:
        if split == "train" and not (example["text"].strip() and example["text_pair"].strip()):
            return "pairs with an empty text"
        return "pairs without a label" if split != "test" and example["label"] is None else None

    def finish(self, examples: dict[str, Dataset]) -> list[str] | None:
        """Note that -1 was read as no label; refuse it where it is as frequent as a class, which it then may be."""
        for split, places in self.minus_ones.items():
            self.understood.notes.append(f"{split}: {len(places):,} pairs with the label -1 have no label")
            counts = Counter(label for label in values(examples[split], "label") if label is not None)
            if split != "test" and len(places) > 10 and len(places) >= min(counts.values(), default=0):
                raise ValueError(
                    f"{places[0]}: {len(places)} pairs of {split} have the label -1, which stands for no label: give "
                    "the class a name if it is one, or remove these pairs"
                )
        is_chosen = self.arguments.label_column is not None
        if self.arguments.regression:
            check_values(examples, self.understood, is_chosen)
            return None
        counts = check_classes(examples, self.understood, self.known, is_chosen)
        return sorted(counts) if "train" in examples else self.known

    def shown(self, example: dict) -> str:
        return f"{example['label']}: {example['text'][:100]} | {example['text_pair'][:100]}"
