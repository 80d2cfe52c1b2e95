"""Train a classifier of texts, above all of their sentiment: ELMo and the biattentive classification network.

    python -m hf_elmo.training.classify --model_name_or_path elmo --train_file trees/train.txt \\
        --validation_file trees/dev.txt --test_file trees/test.txt --output_dir sentiment --seeds 1 2 3

Files are trees of the Stanford Sentiment Treebank, lines of a label and a sentence (`4 a gripping movie`), or tables
(.tsv, .csv, .jsonl); datasets of the Hub are tables too. In the first two, blanks separate words; texts of tables are
split by the tokenizer, unless they are lists of words. Texts without words are left out of training, and labeled like
all others elsewhere.
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
from .data.splits import sample
from .data.texts import read_texts
from .metrics import class_scores
from .runs import Runs
from .script import run_script
from .starting_model import StartingModel, load_tokenizer, task_config, trained_labels
from .trainer import TaskTrainer


@dataclass
class TextLabelArguments(DataArguments):
    """Texts with a label each."""

    text_column: str | None = field(default=None, metadata={"help": "Column of the texts."})
    label_column: str | None = field(default=None, metadata={"help": "Column of the labels."})
    first_label: bool = field(default=False, metadata={"help": "Keep the first of several labels of a text."})
    phrases: bool = field(default=False, metadata={"help": "Train on all phrases of trees, not only on sentences."})
    binary: bool = field(default=False, metadata={"help": "Trees: positive or negative, without neutral ones."})


def main(arguments: list[str] | None = None, name: str = "classify") -> int:
    """Run the script and return its exit code."""
    return run_script(name, train, (TextLabelArguments, ModelArguments, FineTuningArguments), arguments, __doc__)


def train(data: TextLabelArguments, model_args: ModelArguments, args: FineTuningArguments, command: list[str]) -> None:
    """Train with each seed, label the test examples, and save the best model."""
    head = ElmoForSequenceClassification
    check_settings(model_args, args)
    splits = read_texts(data, trained_labels(model_args, head))
    tokenizer = load_tokenizer(model_args)
    options = {"problem_type": "single_label_classification"}
    config = task_config(head, model_args, splits, defaults={"sequence_encoder": "bcn"}, **options)
    encode_split = partial(encode_texts, tokenizer=tokenizer, label_ids=config.label2id)
    datasets = {name: encode_split(examples) for name, examples in splits.items()}
    start = StartingModel(head, config, model_args, tokenizer, datasets)
    gold = [label for label in (splits.validation or splits.train or splits.test)["label"] if label is not None]
    select_metric(args, class_scores(gold, gold), default="accuracy")
    score, write = (partial(function, label_names=config.id2label) for function in (score_classes, write_classes))

    with Runs(command, data, model_args, args, splits, start) as runs:
        for run in runs:
            if data.train_fraction < 1:
                datasets["train"] = encode_split(sample(splits.train, data.train_fraction, run.seed))
            trainer = TaskTrainer(start.create(run.seed), run.args, datasets, tokenizer, score)
            run.train(trainer)
            run.evaluate(trainer, write)
        runs.finish()


def encode_texts(examples: Dataset, tokenizer: PreTrainedTokenizerBase, label_ids: dict[str, int]) -> EncodedDataset:
    """Encode texts, each of which is a string or a list of words, and the ids of their labels."""
    features: list[dict] = [{} for _ in examples]
    for column, is_split in (("text", False), ("words", True)):
        chosen = [(number, text) for number, text in enumerate(examples[column]) if text is not None]
        encoded = encode(tokenizer, [text for _, text in chosen], is_split_into_words=is_split)
        for (number, _), feature in zip(chosen, encoded):
            features[number] = feature
    return with_class_ids(EncodedDataset(examples, features), label_ids)


def with_class_ids(dataset: EncodedDataset, label_ids: dict[str, int]) -> EncodedDataset:
    """Add the id of each example's label to its features, if the model knows all of them."""
    labels = dataset.examples["label"]
    if all(label in label_ids for label in labels):
        for feature, label in zip(dataset.features, labels):
            feature["labels"] = label_ids[label]
    return dataset


def predicted_classes(logits: np.ndarray, label_names: dict[int, str]) -> list[str]:
    return [label_names[id] for id in logits.argmax(-1).tolist()]


def score_classes(dataset: EncodedDataset, logits: np.ndarray, label_names: dict[int, str]) -> dict[str, float]:
    """Return the metrics of predictions on those examples that have a label."""
    pairs = zip(dataset.examples["label"], predicted_classes(logits, label_names))
    pairs = [(gold, label) for gold, label in pairs if gold is not None]
    return class_scores(*zip(*pairs)) if pairs else {}


def write_classes(path: Path, dataset: EncodedDataset, logits: np.ndarray, label_names: dict[int, str]) -> None:
    """Write a table in the format of GLUE: the number of each text, from 0, and its predicted label."""
    lines = [f"{number}\t{label}" for number, label in enumerate(predicted_classes(logits, label_names))]
    path.with_suffix(".tsv").write_text("\n".join(["index\tprediction", *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
