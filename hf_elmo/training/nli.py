"""Train a model that says whether one sentence entails another.

    python -m hf_elmo.training.nli --model_name_or_path elmo --train_file snli_1.0_train.jsonl \\
        --validation_file snli_1.0_dev.jsonl --test_file snli_1.0_test.jsonl --output_dir nli

Files are those of SNLI, MultiNLI and SICK, parallel lines (`s1.dev`, `s2.dev`, `labels.dev`), and tables with columns
of any names; data sets of the Hub have the columns of one of these. Pairs without a gold label are left out, unless a
file has no labels at all: it is only labeled. Predictions are a table of the pairs' ids, or numbers, and their labels.

With `--regression True` labels are values, such as the relatedness in SICK (`--label_column relatedness_score`).
"""

import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..model.sequence_classification_elmo import ElmoForSequenceClassification
from .arguments import DataArguments
from .common import main
from .encoded import Split, encode
from .metrics import class_scores
from .sentence_pairs import Columns, Pair, pairs_of_rows, read_pairs
from .task import Task
from .text_files import Place
from .value_metrics import value_scores

logger = logging.getLogger("hf_elmo.training")


@dataclass
class PairArguments(DataArguments):
    """Pairs of sentences, and what the first says of the second."""

    first_column: str | None = field(
        default=None, metadata={"help": "Column of the premise. By default as in SNLI, SICK or MultiNLI."}
    )
    second_column: str | None = field(default=None, metadata={"help": "Column of the hypothesis."})
    label_column: str | None = field(default=None, metadata={"help": "Column of the label."})
    regression: bool = field(default=False, metadata={"help": "Labels are numbers, such as relatedness."})


class PairTask(Task):
    """Train a model that says whether one sentence entails another."""

    name = "nli"
    head = ElmoForSequenceClassification
    metric = "accuracy"
    data_arguments = PairArguments
    model_defaults = {"sequence_encoder": "esim"}

    def __init__(self, data: PairArguments):
        super().__init__(data)
        self.columns = Columns(data.first_column, data.second_column, data.label_column)
        if data.regression:
            self.metric = "pearson"

    def read_file(self, path: str, split: str) -> list[Pair]:
        return with_labels(read_pairs(path, self.columns, self.data.split_column, split))

    def read_rows(self, rows: Iterable[tuple[Place, dict]]) -> list[Pair]:
        return with_labels(pairs_of_rows(rows, self.columns))

    def label_names(self, pairs: Sequence[Pair]) -> list[str] | None:
        if pairs[0].label is None:
            raise ValueError(f"{pairs[0].place.source}: no pair has a label to learn; see --label_column")
        return None if self.data.regression else sorted({pair.label for pair in pairs})

    def config_options(self) -> dict:
        if self.data.regression:
            return {"problem_type": "regression", "num_labels": 1}
        return {"problem_type": "single_label_classification"}

    def check(self, pairs: Sequence[Pair], split: str):
        """Labels that the model does not know cannot be predicted and count as wrong; but some must be known."""
        unknown = [pair for pair in pairs if pair.label is not None and self.target(pair) is None]
        if not unknown:
            return
        names = ", ".join(sorted({pair.label for pair in unknown}))
        if len(unknown) == len(pairs):
            raise ValueError(f"{unknown[0].place}: labels are {names}, but the model's are {', '.join(self.labels)}")
        logger.warning(
            "%s: %d pairs have labels that the model does not know, which count as wrong: %s; the first is in %s",
            *(split, len(unknown), names, unknown[0].place),
        )

    def target(self, pair: Pair) -> int | float | None:
        """What the model learns of a pair: the number of its label, if it is known, or its value.

        Raises:
            `ValueError`: if the label is no number where values are learnt.
        """
        if not self.data.regression:
            return self.labels.get(pair.label)
        try:
            value = float(pair.label)
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise ValueError(f"{pair.place}: with --regression a label must be a number, but is {pair.label!r}")
        return value

    def encode(self, pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, split: str) -> Split:
        features = encode(tokenizer, [pair.first for pair in pairs], [pair.second for pair in pairs])
        targets = [None if pair.label is None else self.target(pair) for pair in pairs]
        if None not in targets:
            for feature, target in zip(features, targets):
                feature["labels"] = target
        return Split(pairs, features)

    def score(self, split: Split, logits: np.ndarray) -> dict[str, float]:
        if split.examples[0].label is None:
            return {}
        if self.data.regression:
            return value_scores(logits[:, 0], [self.target(pair) for pair in split.examples])
        return class_scores([pair.label for pair in split.examples], self.predicted(logits))

    def predicted(self, logits: np.ndarray) -> list[str]:
        if self.data.regression:
            return [f"{value:.4f}" for value in logits[:, 0].tolist()]
        names = [*self.labels]
        return [names[number] for number in logits.argmax(-1).tolist()]

    def write(self, split: Split, logits: np.ndarray, folder: Path, name: str):
        lines = ["id\tprediction"]
        lines += [f"{pair.id}\t{label}" for pair, label in zip(split.examples, self.predicted(logits))]
        (folder / f"{name}_predictions.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def with_labels(pairs: list[Pair]) -> list[Pair]:
    """Without the pairs that have no label, if others of the file have one."""
    labeled = [pair for pair in pairs if pair.label is not None]
    if labeled and len(labeled) < len(pairs):
        logger.info("%s: %d pairs without a label are left out", pairs[0].place.source, len(pairs) - len(labeled))
    return labeled or pairs


if __name__ == "__main__":
    sys.exit(main(PairTask))
