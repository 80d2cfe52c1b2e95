"""The examples of a run: out of files, or out of a data set of the `datasets` library."""

import logging
import random
from collections.abc import Iterator

from .arguments import DataArguments
from .task import Task
from .text_files import Place

logger = logging.getLogger("hf_elmo.training")

SPLITS = {"train": "max_train_samples", "validation": "max_eval_samples", "test": "max_predict_samples"}


def read_splits(task: Task) -> dict[str, list]:
    """The examples of those of the splits train, validation and test that there are.

    Raises:
        `ValueError`: if neither files nor a data set are given, or both, or a split has no example.
    """
    data = task.data
    files = {split: getattr(data, f"{split}_file") for split in SPLITS}
    files = {split: path for split, path in files.items() if path is not None}
    if bool(files) == (data.dataset_name is not None):
        raise ValueError("give the examples: either files (--train_file, ...) or --dataset_name")
    if files:
        examples = {split: task.read_file(path, getattr(data, f"{split}_split")) for split, path in files.items()}
    else:
        examples = read_data_set(task)
    for split, samples in SPLITS.items():
        if split in examples:
            if not examples[split]:
                raise ValueError(f"{files.get(split, data.dataset_name)}: there is no example for {split} in it")
            examples[split] = examples[split][: getattr(data, samples)]
            logger.info("%s: %d examples", split, len(examples[split]))
    return examples


def read_data_set(task: Task) -> dict[str, list]:
    from datasets import load_dataset

    data = task.data
    try:
        found = load_dataset(data.dataset_name, data.dataset_config_name)
    except (OSError, ValueError) as error:
        raise ValueError(f"--dataset_name {data.dataset_name}: {error}") from None
    names = {split: getattr(data, f"{split}_split") for split in SPLITS}
    for split, name in names.items():
        if name not in found and name != DataArguments.__dataclass_fields__[f"{split}_split"].default:
            raise ValueError(f"--{split}_split: {data.dataset_name} has no split {name!r}, only {', '.join(found)}")
    names = {split: name for split, name in names.items() if name in found}
    if not names:
        raise ValueError(
            f"{data.dataset_name} has the splits {', '.join(found)}: say with --train_split, --validation_split and "
            "--test_split which is which"
        )
    return {
        split: task.read_rows(named_rows(found[name], f"{data.dataset_name}/{name}")) for split, name in names.items()
    }


def named_rows(dataset, source: str) -> Iterator[tuple[Place, dict]]:
    """The rows of a data set, numbered from 0, with names in place of the numbers of classes: None for -1."""
    from datasets import ClassLabel

    inner = {name: getattr(feature, "feature", feature) for name, feature in (dataset.features or {}).items()}
    classes = {name: feature.names for name, feature in inner.items() if isinstance(feature, ClassLabel)}

    def named(value, names):
        if isinstance(value, list):
            return [named(one, names) for one in value]
        return names[value] if value is not None and value >= 0 else None

    for number, row in enumerate(dataset):
        yield (
            Place(source, number, "row"),
            {key: named(value, classes[key]) if key in classes else value for key, value in row.items()},
        )


def sampled(examples: list | None, fraction: float, seed: int) -> list | None:
    """A part of the examples, drawn by the seed, in their order; at least one."""
    if examples is None or fraction == 1:
        return examples
    count = max(1, round(fraction * len(examples)))
    return [
        examples[number] for number in sorted(random.Random(f"{seed}/{fraction}").sample(range(len(examples)), count))
    ]
