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
from statistics import fmean
from typing import Any
from unicodedata import category, normalize

import pyarrow as pa
from datasets import Dataset, DatasetDict, load_dataset, load_from_disk

from .tables import Row, dataset_rows, read_table

SPLITS = {"train": "max_train_samples", "validation": "max_eval_samples", "test": "max_predict_samples"}
CHUNK = 1000  # examples that are Python objects at a time; all others are in Arrow tables
SHOWN_LABELS = 40
UNHASHED = "in-memory"  # in place of the hash of a table, which takes long and names files that nobody keeps


@dataclass
class Understood:
    """How the data were read, for the user to check before training."""

    unit: str  # name of an example: sentence, text, pair, question
    format: str = ""  # of the files of the first split that was read
    columns: dict[str, str] = field(default_factory=dict)  # which column of it holds what
    scheme: str | None = None  # of the labels of words, as found and as learned
    label_counts: Counter[str] = field(default_factory=Counter)  # of training as learned; without training, of tests
    examples: dict[str, int] = field(default_factory=dict)  # their number in each split
    notes: list[str] = field(default_factory=list)  # what was read by rule or differs between splits, a sentence each
    # By split and reason: how many examples were left out, and the place of the first
    left_out: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    first: str = ""  # the first example

    def record(self, split: str, format: str, **columns: str | None):
        """Record format and columns of a split; where they differ from those of the first split, as a note."""
        word = "column " if format == "a table" else ""
        named = {name: f"{word}{column}" for name, column in columns.items() if column is not None}
        if twice := next((column for column in named.values() if [*named.values()].count(column) > 1), None):
            raise ValueError(
                f"{split}: {' and '.join(n for n in named if named[n] == twice)} are both read from {twice}"
            )
        if not self.format:
            self.format, self.columns = format, named
        elif (format, named) != (self.format, self.columns):
            self.notes.append("; ".join([f"{split} is read as {format}", *(f"{key} in {named[key]}" for key in named)]))


@dataclass
class Splits:
    """Examples of a run, with the columns that their reader names; the column `source` has the place of each."""

    understood: Understood
    label_names: list[str] | None = None  # in the order of the model's outputs; `None` for tasks without classes
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
        lines += [*(("note", note) for note in known.notes), ("example", " ".join(known.first.split()))]
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


class Reader:
    """The base class of the tasks' readers: how examples are read, and which of them are left out.

    Args:
        arguments: Fields as of `DataArguments`, and those of the task.
        known: Labels of a trained model.
    """

    unit: str  # what an example is called
    schema: pa.Schema  # the columns of examples

    def __init__(self, arguments: Any = None, known: Iterable[str] | None = None):
        self.arguments, self.known = arguments, list(known or ())
        self.understood, self.has_splits = Understood(self.unit), False

    def read_file(self, path: str, split: str) -> Iterable[dict]:
        """Yield the examples of a file for the split train, validation or test."""
        return self.read_rows(self.table(path, split), split)

    def read_rows(self, rows: Iterable[Row], split: str) -> Iterable[dict]:
        """Yield the examples of the rows of a table or a dataset."""
        raise NotImplementedError

    def problem(self, example: dict, split: str) -> str | None:
        """Say why an example is left out of the split, if it is."""

    def finish(self, examples: dict[str, Dataset]) -> list[str] | None:
        """Check the examples of all splits, and return the labels in the order of the model's outputs, if any."""

    def shown(self, example: dict) -> str:
        """Return an example as the user sees it."""
        raise NotImplementedError

    def table(self, path: str, split: str, chosen: Iterable[str | None] = ()) -> Iterator[Row]:
        """Yield the rows of a table that are of a split."""
        self.has_splits = True
        return read_table(path, chosen, self.arguments.split_column, getattr(self.arguments, f"{split}_split"))

    def read(self) -> Splits:
        """Read those of the splits train, validation and test that the arguments name.

        `ValueError` in one line, for data that cannot be read or are most likely misread; if neither files nor a
        dataset are given, or both; or if a split has no example.
        """
        files = {split: getattr(self.arguments, f"{split}_file") for split in SPLITS}
        files = {split: path for split, path in files.items() if path is not None}
        if bool(files) == (self.arguments.dataset_name is not None):
            raise ValueError("give the examples: either files (--train_file, ...) or --dataset_name")
        if files:
            sources = {split: (path, self.read_file(path, split)) for split, path in files.items()}
        else:
            sources = {
                split: (name, self.read_rows(dataset_rows(dataset, name), split))
                for split, (name, dataset) in named_splits(self.arguments).items()
            }
        examples = {}
        for split, (name, read) in sources.items():
            kept = islice(self.kept(read, split), getattr(self.arguments, SPLITS[split]))
            examples[split] = to_dataset(kept, self.schema)
            self.understood.examples[split] = len(examples[split])
            if files and self.arguments.split_column and not self.has_splits:
                raise ValueError(
                    f"{name}: it has no columns, of which --split_column {self.arguments.split_column} is one"
                )
            if not len(examples[split]):
                left_out = self.understood.left_out.items()
                out = [f"; {count} left out: {why}" for (which, why), (count, _) in left_out if which == split]
                raise ValueError(f"{name}: there is no example for {split} in it{''.join(out)}")
        names = self.finish(examples)
        self.understood.first = self.shown(next(iter(examples.values()))[0])
        return Splits(self.understood, names, **examples)

    def kept(self, examples: Iterable[dict], split: str) -> Iterator[dict]:
        for example in examples:
            if problem := self.problem(example, split):
                count, first = self.understood.left_out.get((split, problem), (0, example["source"]))
                self.understood.left_out[split, problem] = count + 1, first
            else:
                yield example


def to_dataset(examples: Iterator[dict], schema: pa.Schema) -> Dataset:
    batches = []
    while chunk := list(islice(examples, CHUNK)):
        try:
            batches.append(pa.RecordBatch.from_pylist(chunk, schema=schema))
        except UnicodeEncodeError:  # half of a character, an escape such as \\ud800 in JSON without its partner
            texts = (json.dumps(example, ensure_ascii=False, default=str) for example in chunk)
            found = ((place["source"], re.search("[\ud800-\udfff]", text)) for place, text in zip(chunk, texts))
            place, half = next(pair for pair in found if pair[1])
            raise ValueError(
                f"{place}: the text has half of a character, {half[0]!a}, and cannot be encoded: remove it"
            ) from None
    return Dataset(pa.Table.from_batches(batches, schema=schema), fingerprint=UNHASHED)


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
    return dataset.with_format("arrow", columns=[column])[:][column].to_pylist()


def sample(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Return a random part of the examples, drawn by the seed, in their order; at least one."""
    if fraction == 1:
        return dataset
    count = max(1, round(fraction * len(dataset)))
    return dataset.select(sorted(random.Random(f"{seed}/{fraction}").sample(range(len(dataset)), count)))


# ---- Labels


def check_classes(
    examples: dict[str, Dataset], understood: Understood, known: Sequence[str], is_chosen: bool
) -> Counter[str]:
    """Check the column `label` of texts or pairs, and return how often each label is in training.

    Args:
        known: Labels of a trained model.
        is_chosen: Whether the user named the column of labels, so that an unlikely one is right.

    Raises:
        `ValueError`: if the labels of training are implausible, or no example of a split has a label of the model.
    """
    counts = {split: Counter(filter(None, values(dataset, "label"))) for split, dataset in examples.items()}
    understood.label_counts = counts.get("train", counts.get("test", Counter()))
    if "train" in counts and not is_chosen and (problem := implausible(counts["train"])):
        file, column = examples["train"][0]["source"].split(", line ")[0], understood.columns.get("labels", "trees")
        raise ValueError(
            f"{file}: {problem}, read from {column}: name the column of labels with --label_column; if it is this one, "
            "name it all the same"
        )
    names = dict.fromkeys([*known, *counts.get("train", ())])
    for split in ("validation", "test"):
        labels = counts.get(split, Counter()).keys()
        if names and labels and not labels & names.keys():
            place, found = examples[split][0]["source"], ", ".join(sorted(labels))
            raise ValueError(f"{place}: labels are {found}, but the model's are {', '.join(names)}")
    note_alike(names, understood)
    note_unknown(examples, "label", names, understood, f"{understood.unit}s", "wrong")
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


def check_values(examples: dict[str, Dataset], understood: Understood, is_chosen: bool) -> None:
    """Note the range of the values to regress on; `ValueError` if all of training are the same."""
    for split, dataset in examples.items():
        found = [value for value in values(dataset, "label") if value is not None]
        if found and split == "train" and not is_chosen and len({*found}) == 1:
            raise ValueError(
                f"{dataset[0]['source']}: all {len(found)} values are {found[0]:g}: name the column of "
                "values with --label_column; if it is this one, name it all the same"
            )
        if found:
            understood.notes.append(
                f"{split}: values from {min(found):g} to {max(found):g}, {fmean(found):.4g} on average"
            )


def note_alike(names: Iterable[str], understood: Understood, what: str = "labels") -> None:
    """Note names that differ only in case, in characters that nobody sees, or as `1` and `1.0`."""
    alike: dict[str, list[str]] = {}
    for name in names:
        seen = "".join(one for one in normalize("NFKC", name).casefold() if category(one) != "Cf")
        alike.setdefault(re.sub(r"\+?0*(\d+)(\.0*)?", r"\1", seen) if seen[-1:].isdecimal() else seen, []).append(name)
    if same := [ascii(name) for group in alike.values() if len(group) > 1 for name in sorted(group)]:
        understood.notes.append(f"{what} that look alike are kept apart: {', '.join(same[:8])}")


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
