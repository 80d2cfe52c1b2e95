"""Files and arguments for tests of the readers, and short forms of what was read."""

import gzip
from pathlib import Path
from types import SimpleNamespace

from hf_elmo.training.data.splits import Splits

CASES = Path(__file__).resolve().parents[1] / "fixtures" / "cases"
SPLITS = ("train", "validation", "test")
DEFAULTS = {
    **{f"{split}_file": None for split in SPLITS},
    **{f"{split}_split": split for split in SPLITS},
    **dict.fromkeys(("dataset_name", "dataset_config_name", "split_column")),
    **dict.fromkeys(("max_train_samples", "max_eval_samples", "max_predict_samples")),
    **dict.fromkeys(("word_column", "label_column", "sentence_column", "text_column", "text_pair_column")),
    **dict.fromkeys(("first_column", "second_column")),
    **dict.fromkeys(("phrases", "binary", "first_label", "regression", "keep_unplaced_answers"), False),
    "label_scheme": "bio",
    "label_list": [],
    "problem_type": "single_label",
    "label_separator": None,
}


def arguments(**changes: object) -> SimpleNamespace:
    """Return the options of all readers, with some changed; paths become text."""
    assert changes.keys() <= DEFAULTS.keys()
    changed = {name: str(value) if isinstance(value, Path) else value for name, value in changes.items()}
    return SimpleNamespace(**{**DEFAULTS, **changed})


def write(folder: Path, name: str, text: str | bytes) -> str:
    """Write a file, compressed if its name ends in `.gz`, and return its path."""
    content = text.encode() if isinstance(text, str) else text
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return str(folder / name)


def rows(splits: Splits, split: str, *columns: str) -> list[tuple]:
    """Return columns of a split, a tuple for each example."""
    dataset = getattr(splits, split)
    return list(zip(*(dataset[column] for column in columns)))


def tagged(splits: Splits, split: str = "train") -> list[str]:
    """Return each sentence as `word/label word/label`; words alone where there are no labels."""
    return [
        " ".join(words if labels is None else map("/".join, zip(words, labels)))
        for words, labels in rows(splits, split, "tokens", "labels")
    ]
