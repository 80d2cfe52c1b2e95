"""Labels of texts and of pairs of texts: one label, any number of labels, or a value."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..model.configuration_elmo import ElmoConfig
from ..model.sequence_classification_elmo import ElmoForSequenceClassification
from ..text_files import one_word, write_lines
from .arguments import ModelArguments
from .batches import EncodedDataset, encode
from .data.splits import Splits, values
from .errors import confusions, label_errors, value_errors
from .metrics import class_scores, multi_label_scores, value_scores
from .starting_model import task_config
from .tasks import Task

DEFAULT_METRICS = {"single_label": "accuracy", "multi_label": "micro_f1", "regression": "pearson"}


def text_config(model_args: ModelArguments, splits: Splits, problem_type: str, encoder: str) -> ElmoConfig:
    """Return the configuration of a classifier of a problem type; `encoder` is the sequence encoder of a new one."""
    options = {"problem_type": "regression", "num_labels": 1}
    if problem_type != "regression":
        options = {"problem_type": f"{problem_type}_classification"}
    return task_config(ElmoForSequenceClassification, model_args, splits, {"sequence_encoder": encoder}, **options)


class TextLabels(Task):
    """Labels of one problem type.

    Args:
        problem_type: `single_label`, `multi_label` or `regression`.
        threshold: With `multi_label`, probability above which a label is predicted.
        loss: Replaces the loss of the problem type.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        names: dict[int, str],
        problem_type: str,
        threshold: float = 0.5,
        loss: Callable | None = None,
    ):
        super().__init__(tokenizer)
        self.names, self.problem_type, self.loss = list(names.values()), problem_type, loss
        self.default_metric = DEFAULT_METRICS[problem_type]
        self.lowest_logit = math.log(threshold / (1 - threshold))

    def encode(self, examples: Dataset) -> EncodedDataset:
        """Encode texts, each a string or a list of words, or pairs of strings.

        Features have targets if all examples have a label that the model knows.
        """
        features: list[dict] = [{} for _ in examples]
        pairs = values(examples, "text_pair") if "text_pair" in examples.column_names else None
        for column, is_split in (("text", False), ("words", True)):
            texts = values(examples, column) if column in examples.column_names else []
            chosen = [number for number, text in enumerate(texts) if text is not None]
            second = None if pairs is None else [pairs[number] for number in chosen]
            encoded = encode(self.tokenizer, [texts[number] for number in chosen], second, is_split_into_words=is_split)
            for number, feature in zip(chosen, encoded):
                features[number] = feature
        labels: list[Any] = values(examples, "label")
        ids = {name: id for id, name in enumerate(self.names)}
        if self.problem_type == "single_label":
            labels = [ids.get(label) for label in labels]
        elif self.problem_type == "multi_label":
            labels = [row if row is None else np.float32([name in row for name in ids]) for row in labels]
        if not any(label is None for label in labels):
            for feature, label in zip(features, labels):
                feature["labels"] = label
        return EncodedDataset(examples, features)

    def gold(self, examples: Dataset) -> list:
        return values(examples, "label")

    def predicted(self, dataset: EncodedDataset | None, predictions: np.ndarray) -> list:
        """Return the predicted label, list of labels or value of each example."""
        if self.problem_type == "regression":
            return predictions[:, 0].tolist()
        if self.problem_type == "multi_label":
            return [
                [name for name, logit in zip(self.names, row) if logit > self.lowest_logit]
                for row in predictions.tolist()
            ]
        return [self.names[id] for id in predictions.argmax(-1).tolist()]

    def metrics(self, gold: Sequence, predicted: Sequence) -> dict[str, float]:
        if self.problem_type == "regression":
            return value_scores(predicted, gold)
        return (class_scores if self.problem_type == "single_label" else multi_label_scores)(gold, predicted)

    def errors(self, gold: Sequence, predicted: Sequence) -> dict:
        if self.problem_type == "single_label":
            return confusions(zip(gold, predicted), "texts")
        return (label_errors if self.problem_type == "multi_label" else value_errors)(gold, predicted)

    def write_predictions(self, path: Path, examples: Dataset, predicted: list) -> None:
        """Write a table in the format of GLUE: id or number of each example, and its prediction (a list as JSON)."""
        shown = {"regression": "{:.4f}".format, "multi_label": json.dumps}.get(self.problem_type, str)
        name, ids = "index", range(len(examples))
        if "id" in examples.column_names:
            name, ids = "id", values(examples, "id")
        lines = [
            f"{name}\tprediction\n",
            *(f"{one_word(str(id))}\t{' '.join(shown(label).split())}\n" for id, label in zip(ids, predicted)),
        ]
        write_lines(path.with_suffix(".tsv"), lines)
