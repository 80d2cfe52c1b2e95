"""Train a classifier of pairs of texts: whether one sentence entails another.

    python -m hf_elmo.training.nli --model_name_or_path elmo --train_file snli_1.0_train.jsonl \\
        --validation_file snli_1.0_dev.jsonl --test_file snli_1.0_test.jsonl --output_dir nli

Files are those of SNLI, MultiNLI and SICK, parallel lines (`s1.dev`, `s2.dev`, `labels.dev`), and tables with columns
of any names; datasets of the Hub have the columns of one of these. Pairs without a gold label are left out of training
and validation. Predictions are a table of the pairs' ids, or numbers, and their labels.

With `--regression True` labels are values, such as the relatedness in SICK (`--label_column relatedness_score`).
"""

import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..model.sequence_classification_elmo import ElmoForSequenceClassification
from .arguments import DataArguments, FineTuningArguments, ModelArguments
from .batches import EncodedDataset, encode
from .checks import check_settings, select_metric
from .classify import predicted_classes, score_classes, with_class_ids
from .data.splits import sample
from .data.text_pairs import read_text_pairs
from .metrics import class_scores, value_scores
from .runs import Runs
from .script import run_script
from .starting_model import StartingModel, load_tokenizer, task_config, trained_labels
from .trainer import TaskTrainer


@dataclass
class PairArguments(DataArguments):
    """Pairs of texts with a label each."""

    first_column: str | None = field(
        default=None, metadata={"help": "Column of the premise. By default as in SNLI, SICK or MultiNLI."}
    )
    second_column: str | None = field(default=None, metadata={"help": "Column of the hypothesis."})
    label_column: str | None = field(default=None, metadata={"help": "Column of the labels."})
    regression: bool = field(default=False, metadata={"help": "Labels are numbers, such as relatedness."})


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    return run_script("nli", train, (PairArguments, ModelArguments, FineTuningArguments), arguments, __doc__)


def train(data: PairArguments, model_args: ModelArguments, args: FineTuningArguments, command: list[str]) -> None:
    """Train with each seed, label the test examples, and save the best model."""
    head = ElmoForSequenceClassification
    check_settings(model_args, args)
    splits = read_text_pairs(data, None if data.regression else trained_labels(model_args, head))
    tokenizer = load_tokenizer(model_args)
    options = {"problem_type": "regression", "num_labels": 1} if data.regression else {}
    options = options or {"problem_type": "single_label_classification"}
    config = task_config(head, model_args, splits, defaults={"sequence_encoder": "esim"}, **options)
    encode_split = partial(encode_pairs, tokenizer=tokenizer, label_ids=None if data.regression else config.label2id)
    datasets = {name: encode_split(examples) for name, examples in splits.items()}
    start = StartingModel(head, config, model_args, tokenizer, datasets)
    gold = [label for label in (splits.validation or splits.train or splits.test)["label"] if label is not None]
    names = value_scores(gold, gold) if data.regression else class_scores(gold, gold)
    select_metric(args, names, default="pearson" if data.regression else "accuracy")
    score = score_values if data.regression else partial(score_classes, label_names=config.id2label)
    write = partial(write_pairs, label_names=None if data.regression else config.id2label)

    with Runs(command, data, model_args, args, splits, start) as runs:
        for run in runs:
            if data.train_fraction < 1:
                datasets["train"] = encode_split(sample(splits.train, data.train_fraction, run.seed))
            trainer = TaskTrainer(start.create(run.seed), run.args, datasets, tokenizer, score)
            run.train(trainer)
            run.evaluate(trainer, write)
        runs.finish()


def encode_pairs(
    examples: Dataset, tokenizer: PreTrainedTokenizerBase, label_ids: dict[str, int] | None
) -> EncodedDataset:
    """Encode pairs and the ids of their labels, or without `label_ids` their values."""
    dataset = EncodedDataset(examples, encode(tokenizer, examples["text"], examples["text_pair"]))
    if label_ids is not None:
        return with_class_ids(dataset, label_ids)
    if None not in examples["label"]:
        for feature, value in zip(dataset.features, examples["label"]):
            feature["labels"] = value
    return dataset


def score_values(dataset: EncodedDataset, logits: np.ndarray) -> dict[str, float]:
    """Return the metrics of predicted values on those pairs that have one."""
    pairs = [(value, gold) for value, gold in zip(logits[:, 0], dataset.examples["label"]) if gold is not None]
    return value_scores(*zip(*pairs)) if pairs else {}


def write_pairs(path: Path, dataset: EncodedDataset, logits: np.ndarray, label_names: dict[int, str] | None) -> None:
    """Write a table of the pairs' ids and predicted labels or values."""
    values = logits[:, 0].tolist() if label_names is None else []
    predicted = [f"{value:.4f}" for value in values] or predicted_classes(logits, label_names or {})
    lines = [f"{id}\t{label}" for id, label in zip(dataset.examples["id"], predicted)]
    path.with_suffix(".tsv").write_text("\n".join(["id\tprediction", *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
