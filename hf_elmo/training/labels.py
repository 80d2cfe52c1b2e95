"""How labels are learned, scored and written: labels of words, and of texts or pairs of texts.

A text has one label, any number of labels, or a value.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..label_schemes import convert
from ..model.configuration_elmo import ElmoConfig
from ..model.label_schemes_elmo import find_scheme
from ..model.sequence_classification_elmo import ElmoForSequenceClassification
from .arguments import ModelArguments
from .batches import EncodedDataset
from .data.splits import Splits, values
from .data.word_lines import write_conll
from .errors import confusions, entity_errors, label_errors, value_errors
from .metrics import accuracy, class_scores, entity_scores, multi_label_scores, strict_f1, value_scores
from .starting_model import task_config

DEFAULT_METRICS = {"single_label": "accuracy", "multi_label": "micro_f1", "regression": "pearson"}


def text_config(model_args: ModelArguments, splits: Splits, problem_type: str, encoder: str) -> ElmoConfig:
    """Return the configuration of a classifier.

    Args:
        problem_type: A key of `DEFAULT_METRICS`.
        encoder: Sequence encoder of a new classifier.
    """
    options = {"problem_type": "regression", "num_labels": 1}
    if problem_type != "regression":
        options = {"problem_type": f"{problem_type}_classification"}
    return task_config(ElmoForSequenceClassification, model_args, splits, {"sequence_encoder": encoder}, **options)


class WordLabels:
    """How the labels of words are scored and written.

    Args:
        names: The label of each id.
        scheme: The value of `--label_scheme`.
        first: Number of special tokens before the first word.
    """

    def __init__(self, names: dict[int, str], scheme: str, first: int):
        self.names, self.is_kept, self.first = names, scheme == "keep", first
        self.mark_entities = scheme != "plain" and find_scheme(list(names.values())) is not None

    def predicted(self, dataset: EncodedDataset, logits: np.ndarray) -> list[list[str]]:
        """Return the most probable label of each word."""
        rows = zip(logits.argmax(-1)[:, self.first :], values(dataset.examples, "tokens"))
        return [self.written([self.names[int(id)] for id in ids[: len(tokens)]]) for ids, tokens in rows]

    def written(self, labels: Sequence[str]) -> list[str]:
        """Return labels as scorers read them: in the scheme BIO, unless those of the data are kept."""
        return convert(labels, "BIO") if self.mark_entities and not self.is_kept else list(labels)

    def score(self, dataset: EncodedDataset, logits: np.ndarray) -> dict[str, float]:
        """Return the metrics of predictions on those sentences that have labels."""
        pairs = zip(values(dataset.examples, "labels"), self.predicted(dataset, logits))
        return self.metrics([(gold, predicted) for gold, predicted in pairs if gold is not None])

    def metrics(self, pairs: list[tuple[Sequence[str], Sequence[str]]]) -> dict[str, float]:
        """Return the metrics of pairs of gold and predicted labels of a sentence."""
        if not pairs:
            return {}
        gold, predicted = [self.written(gold) for gold, _ in pairs], [predicted for _, predicted in pairs]
        if not self.mark_entities:
            return {"accuracy": accuracy(gold, predicted)}
        scores = entity_scores(gold, predicted)
        if self.is_kept:  # otherwise both are the same, as labels are made of entities
            scores["strict_f1"] = strict_f1(gold, predicted)
        return scores

    def metric_names(self, splits: Splits) -> list[str]:
        """Return the names of the metrics by which checkpoints can be selected."""
        gold = [labels for labels in values(splits.validation or splits.train or splits.test, "labels") if labels]
        return list(self.metrics([*zip(gold, gold)]))

    def write(self, path: Path, dataset: EncodedDataset, logits: np.ndarray) -> dict | None:
        """Write a line per word: the word, the gold label if it is known, the predicted one, as conlleval reads it.

        Returns:
            The errors where gold labels are known, as `errors` counts them.
        """
        examples, predicted = dataset.examples, self.predicted(dataset, logits)
        gold = [labels and self.written(labels) for labels in values(examples, "labels")]
        rows = zip(values(examples, "tokens"), gold, predicted, values(examples, "lines"))
        write_conll(path.with_suffix(".conll"), rows)
        known = [(right, guesses) for right, guesses in zip(gold, predicted) if right]
        if not known:
            return None
        if self.mark_entities:
            return entity_errors(*zip(*known))
        return confusions((pair for right, guesses in known for pair in zip(right, guesses)), "words")


class TextLabels:
    """Labels of one problem type.

    Args:
        names: The label of each id.
        problem_type: `single_label`, `multi_label` or `regression`.
        id_column: Column of the ids under which predictions are written; by default they are numbered from 0.
        threshold: With `multi_label`, probability above which a label is predicted.
    """

    def __init__(self, names: dict[int, str], problem_type: str, id_column: str | None = None, threshold: float = 0.5):
        self.names, self.problem_type, self.id_column = list(names.values()), problem_type, id_column
        self.lowest_logit = math.log(threshold / (1 - threshold))

    def add_to(self, dataset: EncodedDataset) -> EncodedDataset:
        """Add targets to the features, if all examples have a label that the model knows. Return the dataset."""
        labels: list[Any] = values(dataset.examples, "label")
        ids = {name: id for id, name in enumerate(self.names)}
        if self.problem_type == "single_label":
            labels = [ids.get(label) for label in labels]
        elif self.problem_type == "multi_label":
            labels = [row if row is None else np.float32([name in row for name in ids]) for row in labels]
        if not any(label is None for label in labels):
            for feature, label in zip(dataset.features, labels):
                feature["labels"] = label
        return dataset

    def predicted(self, logits: np.ndarray) -> list:
        """Return the predicted label, list of labels or value of each example."""
        if self.problem_type == "regression":
            return logits[:, 0].tolist()
        if self.problem_type == "multi_label":
            return [
                [name for name, logit in zip(self.names, row) if logit > self.lowest_logit] for row in logits.tolist()
            ]
        return [self.names[id] for id in logits.argmax(-1).tolist()]

    def score(self, dataset: EncodedDataset, logits: np.ndarray) -> dict[str, float]:
        """Return the metrics of predictions on those examples that have a label."""
        return self.metrics(values(dataset.examples, "label"), self.predicted(logits))

    def metrics(self, gold: Sequence, predicted: Sequence) -> dict[str, float]:
        pairs = [(right, guess) for right, guess in zip(gold, predicted) if right is not None]
        if not pairs:
            return {}
        gold, predicted = zip(*pairs)
        if self.problem_type == "regression":
            return value_scores(predicted, gold)
        return (class_scores if self.problem_type == "single_label" else multi_label_scores)(gold, predicted)

    def metric_names(self, splits: Splits) -> list[str]:
        """Return the names of the metrics by which checkpoints can be selected."""
        gold = values(splits.validation or splits.train or splits.test, "label")
        return list(self.metrics(gold, gold))

    def write(self, path: Path, dataset: EncodedDataset, logits: np.ndarray) -> dict | None:
        """Write a table in the format of GLUE: id or number of each example, and its prediction (a list as JSON).

        Returns:
            The errors where labels are known, as `errors` counts them.
        """
        shown = {"regression": "{:.4f}".format, "multi_label": json.dumps}.get(self.problem_type, str)
        ids = range(len(logits)) if self.id_column is None else values(dataset.examples, self.id_column)
        predicted = self.predicted(logits)
        lines = [f"{id}\t{shown(label)}" for id, label in zip(ids, predicted)]
        head = f"{'index' if self.id_column is None else 'id'}\tprediction"
        path.with_suffix(".tsv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
        known = [
            (right, guess) for right, guess in zip(values(dataset.examples, "label"), predicted) if right is not None
        ]
        if not known:
            return None
        if self.problem_type == "single_label":
            return confusions(known, "texts")
        return (label_errors if self.problem_type == "multi_label" else value_errors)(*zip(*known))
