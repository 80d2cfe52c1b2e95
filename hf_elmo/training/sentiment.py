"""Train a classifier of texts, of their sentiment above all: ELMo and the biattentive classification network.

    python -m hf_elmo.training.sentiment --model_name_or_path elmo --train_file trees/train.txt \\
        --validation_file trees/dev.txt --test_file trees/test.txt --output_dir sentiment --seeds 1 2 3

Files are trees of the Stanford Sentiment Treebank, lines of a label and a sentence (`4 a gripping movie`), or tables
(.tsv, .csv, .jsonl); data sets of the Hub are tables too. In the first two, words are parted by blanks; texts of tables
are split by the tokenizer, unless they are lists of words. Texts without words are left out of training; elsewhere they
are labelled like all others.
"""

import logging
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..model.sequence_classification_elmo import ElmoForSequenceClassification
from .arguments import DataArguments
from .common import main
from .encoded import Split, encode
from .metrics import class_scores
from .sentiment_trees import binary, read_trees
from .tables import column_of, is_table, read_table
from .task import Task
from .text_files import Place, numbered_lines

logger = logging.getLogger("hf_elmo.training")

TEXT_COLUMNS, LABEL_COLUMNS = ("text", "sentence", "tokens", "words", "review"), ("label", "labels", "sentiment")


@dataclass
class TextLabelArguments(DataArguments):
    """Texts with a label each."""

    text_column: str | None = field(default=None, metadata={"help": "Of a table: its column of texts."})
    label_column: str | None = field(default=None, metadata={"help": "Of a table: its column of labels."})
    phrases: bool = field(
        default=False, metadata={"help": "Learn from all phrases of the treebank's trees, not only from sentences."}
    )
    binary: bool = field(
        default=False,
        metadata={"help": "Of trees: positive or negative, without what is neutral, in place of five labels."},
    )


@dataclass(frozen=True)
class LabelledText:
    """A text, or its words; its label, if it is known; where it is from."""

    text: str | list[str]
    label: str | None
    place: Place

    @property
    def is_empty(self) -> bool:
        return not self.text or (isinstance(self.text, str) and self.text.isspace())


class TextLabelling(Task):
    """Train a classifier: a label for each text, its sentiment above all."""

    name, head, metric = "sentiment", ElmoForSequenceClassification, "accuracy"
    data_arguments = TextLabelArguments
    model_defaults = {"sequence_encoder": "bcn"}

    def read_file(self, path: str, split: str) -> list[LabelledText]:
        if is_table(path):
            return self.read_rows(read_table(path, self.data.split_column, split))
        first = next((line for _, line in numbered_lines(path) if line.strip()), "")
        if first.startswith("("):
            return self.read_trees(path, with_phrases=self.data.phrases and path == self.data.train_file)
        return list(read_lines(path))

    def read_trees(self, path: str, with_phrases: bool) -> list[LabelledText]:
        texts = []
        for place, phrases in read_trees(path):
            for phrase in phrases if with_phrases else phrases[-1:]:
                label = binary(phrase.label) if self.data.binary else phrase.label
                if label is not None:
                    texts.append(LabelledText(phrase.words, label, place))
        return texts

    def read_rows(self, rows: Iterable[tuple[Place, dict]]) -> list[LabelledText]:
        texts = []
        for place, row in rows:
            text = row[column_of(row, self.data.text_column, TEXT_COLUMNS, place)]
            label_column = column_of(row, self.data.label_column, LABEL_COLUMNS, place, needed=False)
            label = row[label_column] if label_column else None
            if not isinstance(text, str) and not (isinstance(text, list) and all(isinstance(w, str) for w in text)):
                raise ValueError(f"{place}: the text must be a string, or a list of words, but is {text!r:.60}")
            texts.append(LabelledText(text, None if label in (None, "") else str(label), place))
        return texts

    def label_names(self, examples: Sequence[LabelledText]) -> list[str]:
        for example in examples:
            if example.label is None:
                raise ValueError(f"{example.place}: there is no label to learn")
        return sorted({example.label for example in examples}, key=lambda label: (len(label), label))

    def config_options(self) -> dict:
        return {"problem_type": "single_label_classification"}

    def check(self, examples: Sequence[LabelledText], split: str):
        """Labels that the model does not know cannot be predicted and count as wrong; but some must be known."""
        unknown = [one for one in examples if one.label is not None and one.label not in self.labels]
        if not unknown:
            return
        names = ", ".join(sorted({one.label for one in unknown}))
        if len(unknown) == len(examples):
            raise ValueError(f"{unknown[0].place}: labels are {names}, but the model's are {', '.join(self.labels)}")
        logger.warning(
            "%s: %d texts have labels that the model does not know, which count as wrong: %s; first in %s",
            *(split, len(unknown), names, unknown[0].place),
        )

    def encode(self, examples: Sequence[LabelledText], tokenizer, split: str) -> Split:
        empty = [example for example in examples if example.is_empty]
        if empty and split == "train":
            logger.warning("%d texts without words are left out, the first of them %s", len(empty), empty[0].place)
            examples = [example for example in examples if not example.is_empty]
        features: list[dict] = [{} for _ in examples]
        for is_split in (False, True):
            chosen = [number for number, one in enumerate(examples) if isinstance(one.text, list) == is_split]
            encoded = encode(tokenizer, [examples[number].text for number in chosen], is_split_into_words=is_split)
            for number, feature in zip(chosen, encoded):
                features[number] = feature
        if all(example.label in self.labels for example in examples):
            for feature, example in zip(features, examples):
                feature["labels"] = self.labels[example.label]
        return Split(examples, features)

    def predicted(self, logits: np.ndarray) -> list[str]:
        names = list(self.labels)
        return [names[number] for number in logits.argmax(-1).tolist()]

    def score(self, split: Split, predictions: np.ndarray) -> dict[str, float]:
        pairs = [
            (example.label, label)
            for example, label in zip(split.examples, self.predicted(predictions))
            if example.label is not None
        ]
        return class_scores(*zip(*pairs)) if pairs else {}

    def write(self, split: Split, predictions: np.ndarray, folder: Path, name: str):
        """A table as GLUE takes it: the number of each text, from 0, and the predicted label."""
        lines = ["index\tprediction"]
        lines += [f"{number}\t{label}" for number, label in enumerate(self.predicted(predictions))]
        (folder / f"{name}_predictions.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_lines(path: str) -> Iterable[LabelledText]:
    """The texts of a file of lines of a label, white space, and the words of a sentence.

    Raises:
        `ValueError`: with file and line, if the label is missing, or is no word of letters, digits and `_+-`.
    """
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        place = Place(path, number)
        label, *words = line.split()
        if not re.fullmatch(r"(__label__)?[\w+-]+", label) or line[0].isspace():
            raise ValueError(f"{place}: a label and a blank must go before the sentence, but the line is {line[:40]!r}")
        yield LabelledText(words, label.removeprefix("__label__"), place)


if __name__ == "__main__":
    sys.exit(main(TextLabelling))
