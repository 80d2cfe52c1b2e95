"""Train a tagger of words, of named entities above all: ELMo, a biLSTM and a conditional random field.

    python -m hf_elmo.training.ner --model_name_or_path elmo --train_file train.conll --validation_file dev.conll \\
        --test_file test.conll --output_dir tagger --seeds 1 2 3

Files have a word a line (see `conll.py`), or are tables or data sets whose rows have lists of words and of labels. If
labels mark entities, precision, recall and F1 are those of conlleval and seqeval; of other labels it is the accuracy.
Labels of IOB1, BIO (IOB2), BIOUL and BIOES are told apart by themselves, and read as conlleval reads them, so that an
entity may begin with `I-`; the model learns those of `--label_scheme`. With `keep`, `strict_f1` is the F1 if entities
that break the rules of their scheme do not count.
"""

import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ..model.token_classification_elmo import ElmoForTokenClassification
from .arguments import DataArguments
from .common import main
from .conll import (
    LABEL_SCHEMES,
    LabelledSentence,
    are_entities,
    in_scheme,
    labels_of_scheme,
    read_conll,
    scheme_of,
    write_conll,
)
from .encoded import Split, encode
from .metrics import entity_scores, strict_entities
from .tables import column_of, read_table
from .task import Task
from .text_files import Place

logger = logging.getLogger("hf_elmo.training")

WORD_COLUMNS, LABEL_COLUMNS = ("tokens", "words"), ("ner_tags", "labels", "tags", "upos")


@dataclass
class WordLabelArguments(DataArguments):
    """Sentences with a label for each word: files with a word a line, JSON lines, or a data set."""

    word_column: str | None = field(
        default=None,
        metadata={
            "help": "Column of words: its number from 0 (-1 is the last) in files with a word a line, else name."
        },
    )
    label_column: str | None = field(
        default=None, metadata={"help": "Column of labels, the same. By default the last."}
    )
    label_scheme: str = field(
        default="bio",
        metadata={"help": "Labels of entities that the model learns: bio, bioul, or keep, those of the data."},
    )

    def __post_init__(self):
        super().__post_init__()
        if self.label_scheme not in LABEL_SCHEMES:
            raise ValueError(f"--label_scheme must be one of {', '.join(LABEL_SCHEMES)}, but is {self.label_scheme!r}")


class WordLabelling(Task):
    """Train a tagger: a label for each word, named entities above all."""

    name, head, metric = "ner", ElmoForTokenClassification, "f1"
    data_arguments = WordLabelArguments

    def read_file(self, path: str, split: str) -> list[LabelledSentence]:
        if path.removesuffix(".gz").endswith((".json", ".jsonl")):
            return self.read_rows(read_table(path, self.data.split_column, split))
        word, label = (column_number(name, getattr(self.data, name)) for name in ("word_column", "label_column"))
        return read_conll(path, word, label)

    def read_rows(self, rows: Iterable[tuple[Place, dict]]) -> list[LabelledSentence]:
        sentences, empty = [], []
        for place, row in rows:
            words = row[column_of(row, self.data.word_column, WORD_COLUMNS, place)]
            label_column = column_of(row, self.data.label_column, LABEL_COLUMNS, place, needed=False)
            labels = row[label_column] if label_column else None
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise ValueError(f"{place}: the words must be a list of strings, but are {words!r:.60}")
            if labels is not None and (not isinstance(labels, list) or len(labels) != len(words)):
                raise ValueError(f"{place}: {len(words)} words need as many labels, in a list, but have {labels!r:.60}")
            labelled = labels is not None and None not in labels
            if words:
                sentences.append(
                    LabelledSentence(words, [*map(str, labels)] if labelled else None, [place] * len(words))
                )
            else:
                empty.append(place)
        if empty:
            logger.warning("%d sentences without words are left out, the first of them %s", len(empty), empty[0])
        return sentences

    def label_names(self, examples: Sequence[LabelledSentence]) -> list[str]:
        for sentence in examples:
            if sentence.labels is None:
                raise ValueError(f"{sentence.places[0]}: there is no label to learn")
        labels = {label for sentence in examples for label in sentence.labels}
        if are_entities(labels):
            logger.info(
                "The labels mark entities, by the scheme %s", scheme_of(sentence.labels for sentence in examples)
            )
            if self.data.label_scheme != "keep":
                return labels_of_scheme({label[2:] for label in labels - {"O"}}, self.data.label_scheme)
        return sorted(labels, key=lambda label: (label != "O", label))

    def use_labels(self, names: Sequence[str]):
        super().use_labels(names)
        self.names, places = list(names), {name[0] for name in names}
        self.marks_entities = are_entities(names)
        self.metric = "f1" if self.marks_entities else "accuracy"
        self.scheme = "keep"
        if self.marks_entities and self.data.label_scheme != "keep" and not places & {"E", "S"}:
            self.scheme = "bioul" if places & {"L", "U"} else "bio"

    def check(self, examples: Sequence[LabelledSentence], split: str):
        """Labels that the model does not know cannot be predicted: their words, or entities, count as not found."""
        unknown = [
            (label, place)
            for sentence in examples
            for label, place in zip(in_scheme(sentence.labels or [], self.scheme), sentence.places)
            if label not in self.labels
        ]
        if unknown:
            names = ", ".join(sorted({label for label, _ in unknown}))
            logger.warning(
                "%s: %d words have labels that the model does not know, which count as not found: %s; first in %s",
                *(split, len(unknown), names, unknown[0][1]),
            )

    def encode(self, examples: Sequence[LabelledSentence], tokenizer, split: str) -> Split:
        before, after = ([-100] * added for added in (tokenizer.add_bos_token, tokenizer.add_eos_token))
        self.first = len(before)
        features = encode(tokenizer, [sentence.words for sentence in examples], is_split_into_words=True)
        for sentence, feature in zip(examples, features):
            labels = in_scheme(
                sentence.labels or [None] * len(sentence.words), self.scheme if sentence.labels else "keep"
            )
            ids = [self.labels.get(label, -100) for label in labels]
            feature["labels"] = np.array([*before, *ids, *after], dtype=np.int16)
        return Split(examples, features)

    def predicted(self, split: Split, logits: np.ndarray) -> list[list[str]]:
        """The label of each word."""
        best = logits.argmax(-1)[:, self.first :]
        return [
            [self.names[label] for label in row[: len(sentence.words)]] for sentence, row in zip(split.examples, best)
        ]

    def score(self, split: Split, predictions: np.ndarray) -> dict[str, float]:
        pairs = [
            (sentence.labels, labels)
            for sentence, labels in zip(split.examples, self.predicted(split, predictions))
            if sentence.labels is not None
        ]
        if not pairs:
            return {}
        if not self.marks_entities:
            same = [label == guess for labels, guesses in pairs for label, guess in zip(labels, guesses)]
            return {"accuracy": sum(same) / len(same)}
        gold, predicted = zip(*((self.written(labels), self.written(guesses)) for labels, guesses in pairs))
        scores = entity_scores(gold, predicted)
        if self.scheme == "keep":  # otherwise both are the same, as the labels are made of entities
            ends = any(name[0] in "LUES" for name in self.names)
            scores["strict_f1"] = entity_scores(gold, predicted, partial(strict_entities, marks_ends=ends))["f1"]
        return scores

    def written(self, labels: Sequence[str]) -> list[str]:
        """Labels as scorers read them: `B-` and `I-` only, unless those of the data are kept."""
        return in_scheme(labels, "keep" if self.scheme == "keep" else "bio")

    def write(self, split: Split, predictions: np.ndarray, folder: Path, name: str):
        """A line a word: the word, the right label if it is known, the predicted one, as conlleval reads it."""
        rows = zip(split.examples, self.predicted(split, predictions))
        write_conll(
            folder / f"{name}_predictions.conll",
            (
                (sentence.words, sentence.labels and self.written(sentence.labels), self.written(labels))
                for sentence, labels in rows
            ),
        )


def column_number(name: str, value: str | None) -> int | None:
    try:
        return None if value is None else int(value)
    except ValueError:
        raise ValueError(f"--{name} must be a number in a file with a word a line, from 0, but is {value!r}") from None


if __name__ == "__main__":
    sys.exit(main(WordLabelling))
