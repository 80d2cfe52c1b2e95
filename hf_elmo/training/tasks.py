"""The steps that tasks have in common: examples are encoded, and predictions scored and written."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from .batches import EncodedDataset
from .data.splits import Splits
from .trainer import TaskTrainer


class Task:
    """The base class of tasks; `predictions` are the logits of a model, or what it wrote, in the order of features.

    Args:
        tokenizer: The tokenizer of the model, which encodes the examples.
    """

    default_metric: str
    trainer: type[TaskTrainer] = TaskTrainer
    loss: Callable | None = None  # replaces the model's own

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.tokenizer = tokenizer

    def encode(self, examples: Dataset) -> EncodedDataset:
        """Encode the examples of a split."""
        raise NotImplementedError

    def encode_training(self, examples: Dataset) -> EncodedDataset:
        """Encode examples to be trained on."""
        return self.encode(examples)

    def encode_splits(self, splits: Splits) -> dict[str, EncodedDataset]:
        return {
            name: (self.encode_training if name == "train" else self.encode)(examples)
            for name, examples in splits.items()
        }

    def gold(self, examples: Dataset) -> list:
        """Return what is right for each example, `None` where that is not known."""
        raise NotImplementedError

    def predicted(self, dataset: EncodedDataset, predictions: Any) -> list:
        """Return what is predicted for each example."""
        raise NotImplementedError

    def metrics(self, gold: Sequence, predicted: Sequence) -> dict[str, float]:
        """Return the metrics of examples of which it is known what is right."""
        raise NotImplementedError

    def errors(self, gold: Sequence, predicted: Sequence) -> dict | None:
        """Count what was predicted wrongly, as the functions of `errors` do."""
        raise NotImplementedError

    def write_predictions(self, path: Path, examples: Dataset, predicted: list) -> None:
        """Write what is predicted to files whose names begin as `path`."""
        raise NotImplementedError

    def metric_names(self, splits: Splits) -> list[str]:
        """Return the names of the metrics by which checkpoints can be selected."""
        examples = splits.validation or splits.train or splits.test
        gold = self.gold(examples) if examples else []
        return list(self.of_known(self.metrics, gold, gold) or ())

    def score(self, dataset: EncodedDataset, predictions: Any) -> dict[str, float]:
        """Return the metrics of predictions; {} where it is not known what is right."""
        return self.of_known(self.metrics, self.gold(dataset.examples), self.predicted(dataset, predictions)) or {}

    def write(self, path: Path, dataset: EncodedDataset, predictions: Any) -> dict | None:
        """Write predictions, and return the errors where it is known what is right."""
        predicted = self.predicted(dataset, predictions)
        self.write_predictions(path, dataset.examples, predicted)
        return self.of_known(self.errors, self.gold(dataset.examples), predicted)

    def of_known(self, function: Callable, gold: Iterable, predicted: Iterable) -> dict | None:
        """Call a function of right and predicted results with those examples of which it is known what is right."""
        pairs = [(right, guess) for right, guess in zip(gold, predicted) if right is not None]
        return function(*zip(*pairs)) if pairs else None
