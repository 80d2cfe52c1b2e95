"""Train a labeler of semantic roles: who did what to whom, for each predicate of a sentence.

    python -m hf_elmo.training.srl --model_name_or_path elmo --train_file train.srl --validation_file dev.srl \\
        --test_file test.srl --output_dir roles

Files are PropBank in numbered columns with a column of IOB2 labels for each predicate, or those of CoNLL-2005 and
CoNLL-2012, or JSON lines. The model reads a sentence once for each predicate, which it sees marked, and its labels
follow BIO (He et al. 2017). Scores are those of CoNLL-2005's srl-eval.pl, with the predicates of the data.

With `--learn_predicates True`, by default, the model also learns to find the predicates of a sentence in which none is
marked, so that it can be applied to plain text; `predicate_f1` is the F1 of their words.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..loading import load_tokenizer
from ..model.configuration_elmo import ElmoConfig
from ..model.token_classification_elmo import ElmoForTokenClassification
from ..text_files import write_lines
from .arguments import FineTuningArguments, ModelArguments, PredicateArguments
from .batches import EncodedDataset, encode
from .checks import check_settings
from .data.predicates import read_predicates, write_props
from .data.splits import values
from .errors import role_errors
from .metrics import rates_of_sets, role_scores
from .runs import Runs
from .script import run_script
from .starting_model import StartingModel, task_config, trained_labels
from .tasks import Task

NEW_MODEL = {"predicate_feature_size": 100, "tagger_crf": False, "tagger_constraints": "labels"}


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    return run_script("srl", train, (PredicateArguments, ModelArguments, FineTuningArguments), arguments, __doc__)


def train(data: PredicateArguments, model_args: ModelArguments, args: FineTuningArguments, command: list[str]) -> None:
    """Train with each seed, label the test sentences, and save the best model."""
    head = ElmoForTokenClassification
    check_settings(model_args.model_name_or_path, args)
    splits = read_predicates(data, trained_labels(model_args, head))
    tokenizer = load_tokenizer(model_args.model_name_or_path)
    config = task_config(head, model_args, splits, defaults=NEW_MODEL)
    if not config.predicate_feature_size:
        raise ValueError("the model does not see which word is the predicate: its predicate_feature_size is 0")
    task = RoleLabels(tokenizer, config, data.learn_predicates)
    start = StartingModel(head, config, model_args, tokenizer, task.encode_splits(splits))
    Runs(command, data, model_args, args, splits, start, task).train()


class RoleLabels(Task):
    """Labels of arguments: what is right and what is predicted for a sentence are the labels of its rows.

    A sentence has a row for each predicate. With `find_predicates`, another one without a mark comes before them, in
    which the predicates themselves are labeled, `V`.
    """

    default_metric = "f1"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: ElmoConfig, find_predicates: bool):
        super().__init__(tokenizer)
        self.config, self.find_predicates = config, find_predicates

    def rows(self, examples: Dataset) -> list[list[tuple[Sequence[int], list[str] | None]]]:
        """Return the marked words and the labels of each row of each sentence."""
        rows = [
            [(predicate["words"], predicate["labels"]) for predicate in predicates]
            for predicates in values(examples, "predicates")
        ]
        if self.find_predicates:
            for row, tokens in zip(rows, values(examples, "tokens")):
                row.insert(0, ((), labels_of_predicates(len(tokens), [words for words, _ in row])))
        return rows

    def encode(self, examples: Dataset) -> EncodedDataset:
        """Encode sentences once for each row, where `token_type_ids` mark the predicate.

        Features have labels only if all are known; those that the model does not know, and special tokens, have -100.
        """
        first, last = int(self.tokenizer.add_bos_token), int(self.tokenizer.add_eos_token)
        sentences = encode(self.tokenizer, values(examples, "tokens"), is_split_into_words=True)
        rows = self.rows(examples)
        is_labeled = all(labels is not None for row in rows for _, labels in row)
        features = []
        for sentence, row in zip(sentences, rows):
            for words, labels in row:
                mark = np.zeros(len(sentence["input_ids"]), dtype=np.int8)
                mark[np.asarray(words, dtype=int) + first] = 1
                features.append({**sentence, "token_type_ids": mark})
                if is_labeled:
                    ids = [self.config.label2id.get(label, -100) for label in labels]
                    features[-1]["labels"] = np.array([*[-100] * first, *ids, *[-100] * last], dtype=np.int16)
        return EncodedDataset(examples, features)

    def gold(self, examples: Dataset) -> list[list[list[str] | None]]:
        return [[labels for _, labels in row] for row in self.rows(examples)]

    def predicted(self, dataset: EncodedDataset, predictions: np.ndarray) -> list[list[list[str]]]:
        rows = iter(predictions.argmax(-1)[:, int(self.tokenizer.add_bos_token) :])
        names, tokens = self.config.id2label, values(dataset.examples, "tokens")
        return [
            [[names[int(id)] for id in next(rows)[: len(words)]] for _ in row]
            for words, row in zip(tokens, self.rows(dataset.examples))
        ]

    def of_predicates(self, sentences: Sequence[list]) -> list[list]:
        """Return the rows of each sentence that are of its predicates."""
        return [rows[int(self.find_predicates) :] for rows in sentences]

    def pairs(self, gold: Sequence[list], predicted: Sequence[list]) -> list[tuple[list[str], list[str]]]:
        """Return right and predicted labels of each predicate of which they are known."""
        sides = self.of_predicates(gold), self.of_predicates(predicted)
        return [pair for rows in zip(*sides) for pair in zip(*rows) if pair[0] is not None]

    def metrics(self, gold: Sequence, predicted: Sequence) -> dict[str, float]:
        """Return the metrics of arguments, and `predicate_f1` of the words of predicates found without a mark."""
        pairs = self.pairs(gold, predicted)
        if not pairs:
            return {}
        scores = role_scores(*zip(*pairs))
        if self.find_predicates:
            words = ([predicate_words(rows[0]) for rows in side] for side in (gold, predicted))
            scores["predicate_f1"] = rates_of_sets(words)[0].f1
        return scores

    def errors(self, gold: Sequence, predicted: Sequence) -> dict | None:
        pairs = self.pairs(gold, predicted)
        return role_errors(*zip(*pairs)) if pairs else None

    def write_predictions(self, path: Path, examples: Dataset, predicted: list) -> None:
        """Write the labels as `srl-eval.pl` reads them, those of the data too if they are known, and as JSON lines."""
        predicted, gold = self.of_predicates(predicted), self.of_predicates(self.gold(examples))
        write_props(path.with_suffix(".props"), examples, predicted)
        if all(one is not None for row in gold for one in row):
            write_props(path.with_name(f"{path.name}_gold.props"), examples, gold)
        objects = [
            {"tokens": tokens, "predicates": [one | {"labels": guess} for one, guess in zip(row, guesses)]}
            for tokens, row, guesses in zip(values(examples, "tokens"), values(examples, "predicates"), predicted)
        ]
        write_lines(path.with_suffix(".jsonl"), (json.dumps(one, ensure_ascii=False) + "\n" for one in objects))


def labels_of_predicates(count: int, predicates: Sequence[Sequence[int]]) -> list[str]:
    """Return the labels of `count` words that mark predicates, each by the numbers of its words."""
    labels = ["O"] * count
    for words in predicates:
        for place, word in enumerate(words):
            labels[word] = "I-V" if place and word == words[place - 1] + 1 else "B-V"
    return labels


def predicate_words(labels: Sequence[str]) -> set[int]:
    return {number for number, label in enumerate(labels) if label.endswith("-V")}


if __name__ == "__main__":
    sys.exit(main())
