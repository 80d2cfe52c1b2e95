"""Training, validation and test examples of a run, and the record of how they were read."""

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from datasets import Dataset, DatasetDict, load_dataset, load_from_disk

from .tables import Row, dataset_rows

SPLITS = {"train": "max_train_samples", "validation": "max_eval_samples", "test": "max_predict_samples"}
CHUNK = 1000  # examples that are Python objects at a time; all others are in Arrow tables
SHOWN_LABELS = 40


@dataclass
class Understood:
    """How the data were read, for the user to check before training.

    Args:
        unit: Name of an example: sentence, text, pair, question.
        format, columns: Format of the files, and which column holds what, of the first split that was read.
        scheme: Scheme of the labels of words, as found and as learned.
        label_counts: Labels of the training examples as the model learns them; without training, of the test examples.
        examples: Number of examples of each split.
        notes: What was read by rule or differs between splits, a sentence each.
        left_out: For each split and reason, how many examples were left out, and the place of the first.
        first: The first example.
    """

    unit: str
    format: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    scheme: str | None = None
    label_counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    left_out: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    first: str = ""

    def record(self, split: str, format: str, **columns: str | None):
        """Record format and columns of a split; where they differ from those of the first split, as a note."""
        word = "column " if format == "a table" else ""
        named = {name: f"{word}{column}" for name, column in columns.items() if column is not None}
        if not self.format:
            self.format, self.columns = format, named
        elif (format, named) != (self.format, self.columns):
            self.notes.append("; ".join([f"{split} is read as {format}", *(f"{key} in {named[key]}" for key in named)]))

    def leave_out(self, split: str, reason: str, place: str):
        count, first = self.left_out.get((split, reason), (0, place))
        self.left_out[split, reason] = count + 1, first


@dataclass
class Splits:
    """Examples of a run, each split a `Dataset` or `None`, with the columns that its reader names.

    Args:
        understood: How the data were read.
        label_names: Labels in the order of the model's outputs, or `None` for tasks without classes.
        train, validation, test: The splits. A column `source` has the place of each example.
    """

    understood: Understood
    label_names: list[str] | None = None
    train: Dataset | None = None
    validation: Dataset | None = None
    test: Dataset | None = None

    def items(self) -> list[tuple[str, Dataset]]:
        """Return name and examples of the splits that there are."""
        return [(name, getattr(self, name)) for name in SPLITS if getattr(self, name) is not None]

    def describe(self) -> str:
        """Return the text that is printed before training."""
        known = self.understood
        lines = [(split, f"{count:,} {known.unit}s") for split, count in known.examples.items()]
        lines += [("format", known.format), *known.columns.items()]
        if known.scheme:
            lines.append(("scheme", known.scheme))
        if known.label_counts:
            counts = [f"{label} ({count:,})" for label, count in known.label_counts.most_common(SHOWN_LABELS)]
            more = len(known.label_counts) - SHOWN_LABELS
            lines.append(("counts", ", ".join(counts) + (f" and {more} others" if more > 0 else "")))
        for (split, reason), (count, place) in known.left_out.items():
            lines.append(("left out", f"{count:,} of {split}: {reason}; the first: {place}"))
        lines += [*(("note", note) for note in known.notes), ("example", known.first)]
        return "\n".join(f"{name + ':':13}{text}" for name, text in lines)

    def digest(self) -> str:
        """Return a hash of the content of the examples, whatever the names of their files."""
        digest = hashlib.sha256()
        for name, dataset in self.items():
            content = dataset.select_columns([name for name in dataset.column_names if name not in ("source", "lines")])
            digest.update(f"{name} {len(dataset)}".encode())
            for batch in content.iter(CHUNK):
                digest.update(repr(batch).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


# ---- Reading


class Reader(Protocol):
    """The part of a task in reading its data: the columns of an example, and how examples are read."""

    schema: pa.Schema

    def read_file(self, path: str, split: str) -> Iterable[dict]:
        """Yield the examples of a file for the split train, validation or test."""

    def read_rows(self, rows: Iterator[Row], split: str) -> Iterable[dict]:
        """Yield the examples of the rows of a dataset."""

    def problem(self, example: dict, split: str) -> str | None:
        """Say why an example is left out of the split, if it is."""


def read_examples(arguments: Any, understood: Understood, reader: Reader) -> dict[str, Dataset]:
    """Read those of the splits train, validation and test that the arguments name.

    Args:
        arguments: Fields as of `DataArguments`.
        understood: Records the number of examples, and those left out.
        reader: Reads the examples of the task.

    Raises:
        `ValueError`: if neither files nor a dataset are given, or both, or a split has no example.
    """
    files = {split: getattr(arguments, f"{split}_file") for split in SPLITS}
    files = {split: path for split, path in files.items() if path is not None}
    if bool(files) == (arguments.dataset_name is not None):
        raise ValueError("give the examples: either files (--train_file, ...) or --dataset_name")
    if files:
        sources = {split: (path, reader.read_file(path, split)) for split, path in files.items()}
    else:
        found = named_splits(arguments)
        sources = {
            name: (where, reader.read_rows(dataset_rows(rows, where), name)) for name, (where, rows) in found.items()
        }
    examples = {}
    for split, (name, read) in sources.items():
        kept = keep(read, split, reader, understood)
        examples[split] = to_dataset(islice(kept, getattr(arguments, SPLITS[split])), reader.schema)
        understood.examples[split] = len(examples[split])
        if not understood.examples[split]:
            out = [f"; {n} left out: {why}" for (which, why), (n, _) in understood.left_out.items() if which == split]
            raise ValueError(f"{name}: there is no example for {split} in it{''.join(out)}")
    return examples


def keep(examples: Iterable[dict], split: str, reader: Reader, understood: Understood) -> Iterator[dict]:
    for example in examples:
        if problem := reader.problem(example, split):
            understood.leave_out(split, problem, example["source"])
        else:
            yield example


def to_dataset(examples: Iterator[dict], schema: pa.Schema) -> Dataset:
    batches = []
    while chunk := list(islice(examples, CHUNK)):
        try:
            batches.append(pa.RecordBatch.from_pylist(chunk, schema=schema))
        except UnicodeEncodeError:
            raise ValueError(half_character(chunk)) from None
    return Dataset(pa.Table.from_batches(batches, schema=schema))


def half_character(examples: list[dict]) -> str:
    """Describe the first example with half of a character, an escape such as \\ud800 in JSON without its partner."""
    texts = (json.dumps(example, ensure_ascii=False, default=str) for example in examples)
    found = ((example, half) for example, text in zip(examples, texts) if (half := re.search("[\ud800-\udfff]", text)))
    example, half = next(found)
    return f"{example['source']}: the text has half of a character, {half[0]!a}, and cannot be encoded: remove it"


def named_splits(arguments: Any) -> dict[str, tuple[str, Dataset]]:
    """Return name and rows of each split of `--dataset_name`: on the Hub, or in a folder, saved to disk or of files."""
    name = arguments.dataset_name
    try:
        found = load_splits(name, arguments.dataset_config_name, arguments.train_split)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"--dataset_name {name}: {error}") from None
    names = {split: getattr(arguments, f"{split}_split") for split in SPLITS}
    for split, wanted in names.items():
        if wanted not in found and wanted != split:
            raise ValueError(f"--{split}_split: {name} has no split {wanted!r}, only {', '.join(found)}")
    splits = {split: (f"{name}/{wanted}", found[wanted]) for split, wanted in names.items() if wanted in found}
    if not splits:
        options = "--train_split, --validation_split, --test_split"
        raise ValueError(f"{name} has the splits {', '.join(found)}: choose with {options}")
    return splits


def load_splits(name: str, configuration: str | None, only_split: str) -> DatasetDict:
    """Return the splits of a dataset; one that was saved to disk without splits is `only_split`."""
    folder = Path(name)
    if not ((folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()):
        return load_dataset(name, configuration)
    found = load_from_disk(name)
    return found if isinstance(found, DatasetDict) else DatasetDict({only_split: found})


def values(dataset: Dataset, column: str) -> list:
    """Return a column as a list, much faster than `dataset[column]`, which reads row by row."""
    return dataset.select_columns(column).with_format("arrow")[:][column].to_pylist()


def sample(dataset: Dataset | None, fraction: float, seed: int) -> Dataset | None:
    """Return a random part of the examples, drawn by the seed, in their order; at least one."""
    if dataset is None or fraction == 1:
        return dataset
    count = max(1, round(fraction * len(dataset)))
    return dataset.select(sorted(random.Random(f"{seed}/{fraction}").sample(range(len(dataset)), count)))


# ---- Labels


def check_classes(
    examples: dict[str, Dataset], understood: Understood, known: Sequence[str] | None, is_chosen: bool
) -> Counter[str]:
    """Check the column `label` of texts or pairs, and return how often each label is in training.

    Args:
        known: Labels of a trained model.
        is_chosen: Whether the user named the column of labels, so that an unlikely one is right.

    Raises:
        `ValueError`: if the labels of training are implausible, or no example of a split has a label of the model.
    """
    counts = {split: Counter(values(dataset, "label")) for split, dataset in examples.items()}
    counted = counts.get("train", counts.get("test", Counter()))
    if "train" in counts and not is_chosen and (problem := implausible(counted)):
        file, column = examples["train"][0]["source"].split(", line ")[0], understood.columns.get("labels", "trees")
        raise ValueError(
            f"{file}: {problem}, read from {column}: name the column of labels with --label_column; if it is this one, "
            "name it all the same"
        )
    names = dict.fromkeys([*(known or ()), *counts.get("train", ())])
    for split in ("validation", "test"):
        labels = counts.get(split, Counter())
        if names and labels.keys() - {None} and not labels.keys() & names.keys():
            found = ", ".join(sorted(labels.keys() - {None}))
            place = examples[split][0]["source"]
            raise ValueError(f"{place}: labels are {found}, but the model's are {', '.join(names)}")
    note_unknown(examples, "label", names, understood, f"{understood.unit}s", "wrong")
    understood.label_counts = Counter({label: count for label, count in counted.items() if label is not None})
    return understood.label_counts


def implausible(counts: Counter[str]) -> str | None:
    """Say why these are most likely not the labels of texts: they are all the same, or nearly all different."""
    rows, classes = counts.total(), len(counts)
    shown = ", ".join(repr(label[:30]) for label in list(counts)[:5])
    if classes == 1:
        return f"all {rows} labels are {shown}"
    if all(len(label) > 2 and label[0] == label[-1] == '"' for label in counts):
        return f"all labels are in quotes ({shown}), which only files named .csv may have"
    are_numbers = all(label.lstrip("+-").isdecimal() for label in counts)
    if classes > rows / 2 and (classes > 20 or (rows >= 4 and not are_numbers)):
        return f"there are {classes} different labels in {rows} rows ({shown}, ...)"
    return None


def note_unknown(
    examples: dict[str, Dataset], column: str, names: Iterable[str], understood: Understood, unit: str, verdict: str
):
    """Note the labels that only held-out examples have: the model cannot predict them."""
    names = {None, *names}
    for split in ("validation", "test"):
        rows = enumerate(values(examples[split], column) if split in examples and len(names) > 1 else ())
        labels = [(label, number) for number, row in rows for label in (row if isinstance(row, list) else [row])]
        unknown = [(label, number) for label, number in labels if label not in names]
        if unknown:
            found, place = sorted({label for label, _ in unknown}), examples[split][unknown[0][1]]["source"]
            understood.notes.append(
                f"{split}: {len(unknown)} {unit} have labels that the model does not know, which count as {verdict}: "
                f"{', '.join(found)}; first in {place}"
            )
