"""Training, validation and test examples of a run, and the record of how they were read."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetDict, load_dataset, load_from_disk

from .files import Place
from .tables import Row, dataset_rows

SPLITS = {"train": "max_train_samples", "validation": "max_eval_samples", "test": "max_predict_samples"}
CHUNK = 1000  # examples that are Python objects at a time; all others are in Arrow tables
SHOWN_LABELS = 40


@dataclass
class Understood:
    """How the data were read, for the user to check before training.

    Args:
        unit: What an example is called: sentence, text, pair, question.
        format: Format of the files.
        columns: Which column of the data holds what.
        scheme: Scheme of the labels of words, as found and as learned.
        label_counts: Labels of the training examples, as the model learns them; of the test examples without training.
        examples: Number of examples of each split.
        notes: What was read by rule or differs between splits, a sentence each.
        left_out: For each split and reason, how many examples were left out, and the place of the first.
        first: The first example, as text.
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

    def record(self, split: str, format: str, columns: dict[str, str]):
        """Record format and columns of a split; where they differ from those of the first split read, as a note."""
        if not self.format:
            self.format, self.columns = format, columns
        elif (format, columns) != (self.format, self.columns):
            self.note("; ".join([f"{split} is read as {format}", *(f"{key} in {columns[key]}" for key in columns)]))

    def note(self, text: str):
        if text not in self.notes:
            self.notes.append(text)

    def leave_out(self, split: str, reason: str, place: Place | str):
        count, first = self.left_out.get((split, reason), (0, str(place)))
        self.left_out[split, reason] = count + 1, first


@dataclass
class Splits:
    """Examples of a run, each split a `Dataset` or `None`, with the columns that its reader names.

    Args:
        train, validation, test: The splits. Each has a column `source` with the place of every example.
        label_names: Labels in the order of the model's outputs, or `None` for tasks without classes.
        understood: How the data were read.
    """

    train: Dataset | None
    validation: Dataset | None
    test: Dataset | None
    label_names: list[str] | None
    understood: Understood

    def items(self) -> list[tuple[str, Dataset]]:
        """Return name and examples of the splits that there are."""
        return [(name, getattr(self, name)) for name in SPLITS if getattr(self, name) is not None]

    def describe(self) -> str:
        """Return the text that is printed before training."""
        known, lines = self.understood, []
        for split, _ in self.items():
            lines.append((split, f"{known.examples[split]:,} {known.unit}s"))
        lines.append(("format", known.format))
        lines += list(known.columns.items())
        if known.scheme:
            lines.append(("scheme", known.scheme))
        if known.label_counts:
            counts = [f"{label} ({count:,})" for label, count in known.label_counts.most_common(SHOWN_LABELS)]
            more = len(known.label_counts) - SHOWN_LABELS
            lines.append(("counts", ", ".join(counts) + (f" and {more} others" if more > 0 else "")))
        for (split, reason), (count, place) in known.left_out.items():
            lines.append(("left out", f"{count:,} of {split}: {reason}; the first: {place}"))
        lines += [("note", note) for note in known.notes]
        lines.append(("first", known.first))
        return "\n".join(f"{name + ':':13}{text}" for name, text in lines)

    def digest(self) -> str:
        """Return a hash of the content of the examples, whatever the names of their files."""
        digest = hashlib.sha256()
        for name, dataset in self.items():
            content = dataset.remove_columns(
                [column for column in ("source", "lines") if column in dataset.column_names]
            )
            digest.update(f"{name} {len(dataset)}".encode())
            for batch in content.iter(CHUNK):
                digest.update(repr(batch).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


# ---- Reading


def read_examples(
    arguments: Any,
    understood: Understood,
    schema: pa.Schema,
    read_file: Callable[[str, str], Iterable[dict]],
    read_rows: Callable[[Iterator[Row], str], Iterable[dict]],
) -> dict[str, Dataset]:
    """Read those of the splits train, validation and test that the arguments name.

    Args:
        arguments: Fields as of `DataArguments`.
        understood: Gets the number of examples.
        schema: Columns of an example.
        read_file: Yields the examples of a file; the second argument is the name of the split.
        read_rows: Yields the examples of the rows of a dataset.

    Raises:
        `ValueError`: if neither files nor a dataset are given, or both, or a split has no example.
    """
    files = {split: getattr(arguments, f"{split}_file") for split in SPLITS}
    files = {split: path for split, path in files.items() if path is not None}
    if bool(files) == (arguments.dataset_name is not None):
        raise ValueError("give the examples: either files (--train_file, ...) or --dataset_name")
    if files:
        sources = {split: (path, read_file(path, split)) for split, path in files.items()}
    else:
        found = named_splits(arguments)
        sources = {
            split: (name, read_rows(dataset_rows(dataset, name), split)) for split, (name, dataset) in found.items()
        }
    examples = {}
    for split, (name, read) in sources.items():
        examples[split] = to_dataset(islice(read, getattr(arguments, SPLITS[split])), schema)
        understood.examples[split] = len(examples[split])
        if not understood.examples[split]:
            raise ValueError(f"{name}: there is no example for {split} in it{reasons(understood, split)}")
    return examples


def reasons(understood: Understood, split: str) -> str:
    found = [f"; {count} left out: {why}" for (which, why), (count, _) in understood.left_out.items() if which == split]
    return "".join(found)


def to_dataset(examples: Iterator[dict], schema: pa.Schema) -> Dataset:
    batches = []
    while chunk := list(islice(examples, CHUNK)):
        batches.append(pa.RecordBatch.from_pylist(chunk, schema=schema))
    return Dataset(pa.Table.from_batches(batches, schema=schema))


def named_splits(arguments: Any) -> dict[str, tuple[str, Dataset]]:
    """Return name and rows of each split of `--dataset_name`: on the Hub, or in a folder, saved to disk or of files."""
    name, folder = arguments.dataset_name, Path(arguments.dataset_name)
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            found = load_from_disk(name)
            found = found if isinstance(found, DatasetDict) else DatasetDict({arguments.train_split: found})
        else:
            found = load_dataset(name, arguments.dataset_config_name)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"--dataset_name {name}: {error}") from None
    names = {split: getattr(arguments, f"{split}_split") for split in SPLITS}
    for split, wanted in names.items():
        if wanted not in found and wanted != split:
            raise ValueError(f"--{split}_split: {name} has no split {wanted!r}, only {', '.join(found)}")
    splits = {split: (f"{name}/{wanted}", found[wanted]) for split, wanted in names.items() if wanted in found}
    if not splits:
        raise ValueError(
            f"{name} has the splits {', '.join(found)}: name them with --train_split, --validation_split, --test_split"
        )
    return splits


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
    counts = {
        split: Counter(label for label in values(dataset, "label") if label is not None)
        for split, dataset in examples.items()
    }
    if "train" in counts and not is_chosen and (problem := implausible(counts["train"])):
        file = examples["train"][0]["source"].split(", line ")[0]
        raise ValueError(
            f"{file}: {problem}, read from {understood.columns.get('labels', 'it')}: name the column of labels with "
            "--label_column; if it is this one, name it all the same"
        )
    check_known(examples, counts, understood, [*(known or ()), *counts.get("train", ())], is_known=bool(known))
    understood.label_counts = counts.get("train", counts.get("test", Counter()))
    return understood.label_counts


def implausible(counts: Counter[str]) -> str | None:
    """Say why these are most likely not the labels of texts: they are all the same, or nearly all different."""
    rows, classes = counts.total(), len(counts)
    are_numbers = all(label.lstrip("+-").isdecimal() for label in counts)
    shown = ", ".join(repr(label[:30]) for label in list(counts)[:5])
    if classes == 1:
        return f"all {rows} labels are {shown}"
    if classes > rows / 2 and (classes > 20 or (rows >= 4 and not are_numbers)):
        return f"there are {classes} different labels in {rows} rows ({shown}, ...)"
    return None


def check_known(
    examples: dict[str, Dataset],
    counts: dict[str, Counter[str]],
    understood: Understood,
    known: Sequence[str],
    is_known: bool,
):
    """Note labels that only held-out examples have; they count as not found. Raise `ValueError` if all are such."""
    for split in ("validation", "test"):
        unknown = {label: count for label, count in counts.get(split, {}).items() if label not in known}
        if not unknown or not known:
            continue
        place = examples[split][
            next(n for n, label in enumerate(values(examples[split], "label")) if label in unknown)
        ]["source"]
        names = ", ".join(sorted(unknown))
        if len(unknown) == len(counts[split]):
            raise ValueError(f"{place}: labels are {names}, but the model's are {', '.join(dict.fromkeys(known))}")
        understood.note(
            f"{split}: {sum(unknown.values())} {understood.unit}s have labels that the model does not know, which "
            f"count as wrong: {names}; first in {place}"
        )
