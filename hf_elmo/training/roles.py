"""How sentences with predicates are encoded, and how the labels of arguments are scored and written."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from .batches import EncodedDataset, encode
from .data.predicates import write_props
from .data.splits import Splits, values
from .errors import role_errors
from .metrics import rates
from .role_metrics import role_scores

FIND = -1  # in the place of a predicate's number: the row that finds the predicates of a sentence


class PredicateDataset(EncodedDataset):
    """Sentences, and a feature for each of their predicates.

    Args:
        rows: Sentence and predicate of each feature, by their numbers; `FIND` for a feature without a marked predicate.
    """

    def __init__(self, examples: Dataset, features: list[dict], rows: list[tuple[int, int]]):
        super().__init__(examples, features)
        self.rows = rows


def encode_predicates(
    examples: Dataset, tokenizer: PreTrainedTokenizerBase, label_ids: dict[str, int], find_predicates: bool
) -> PredicateDataset:
    """Encode sentences once for each predicate, which `token_type_ids` mark; labels only if all are known.

    Args:
        label_ids: The id of each label; labels that the model does not know, and special tokens, have -100.
        find_predicates: Whether each sentence has also a feature without a mark, with the labels `V` of all predicates.
    """
    first, last = int(tokenizer.add_bos_token), int(tokenizer.add_eos_token)
    sentences = encode(tokenizer, values(examples, "tokens"), is_split_into_words=True)
    all_predicates = values(examples, "predicates")
    is_labeled = all(predicate["labels"] is not None for predicates in all_predicates for predicate in predicates)
    features, rows = [], []

    def add(number: int, predicate: int, marked: Sequence[int], labels: Sequence[str] | None) -> None:
        length = len(sentences[number]["input_ids"])
        mark = np.zeros(length, dtype=np.int8)
        mark[np.asarray(marked, dtype=int) + first] = 1
        feature = {**sentences[number], "token_type_ids": mark}
        if is_labeled:
            ids = [label_ids.get(label, -100) for label in labels]
            feature["labels"] = np.array([*[-100] * first, *ids, *[-100] * last], dtype=np.int16)
        features.append(feature)
        rows.append((number, predicate))

    for number, predicates in enumerate(all_predicates):
        if find_predicates:
            count = len(sentences[number]["input_ids"]) - first - last
            add(number, FIND, [], labels_of_predicates(count, [one["words"] for one in predicates]))
        for place, predicate in enumerate(predicates):
            add(number, place, predicate["words"], predicate["labels"])
    return PredicateDataset(examples, features, rows)


def labels_of_predicates(count: int, predicates: Sequence[Sequence[int]]) -> list[str]:
    """Return the labels of `count` words that mark predicates, each by the numbers of its words."""
    labels = ["O"] * count
    for words in predicates:
        for place, word in enumerate(words):
            labels[word] = "I-V" if place and word == words[place - 1] + 1 else "B-V"
    return labels


class RoleLabels:
    """How the labels of arguments are scored and written.

    Args:
        names: The label of each id.
        first: Number of special tokens before the first word.
    """

    def __init__(self, names: dict[int, str], first: int):
        self.names, self.first = names, first

    def predicted(self, dataset: PredicateDataset, logits: np.ndarray) -> dict[tuple[int, int], list[str]]:
        """Return the labels of the words for each sentence and predicate."""
        lengths = [len(tokens) for tokens in values(dataset.examples, "tokens")]
        return {
            (sentence, predicate): [self.names[int(id)] for id in ids[: lengths[sentence]]]
            for (sentence, predicate), ids in zip(dataset.rows, logits.argmax(-1)[:, self.first :])
        }

    def score(self, dataset: PredicateDataset, logits: np.ndarray) -> dict[str, float]:
        """Return the metrics of the predicates that have labels, and `predicate_f1` of those found without a mark."""
        found, predicates = self.predicted(dataset, logits), values(dataset.examples, "predicates")
        pairs = [
            (one["labels"], found[sentence, number])
            for sentence, row in enumerate(predicates)
            for number, one in enumerate(row)
            if one["labels"] is not None
        ]
        scores = role_scores(*zip(*pairs)) if pairs else {}
        if pairs and any(predicate == FIND for _, predicate in dataset.rows):
            marked = [
                (
                    {word for one in row for word in one["words"]},
                    {n for n, label in enumerate(found[sentence, FIND]) if label.endswith("-V")},
                )
                for sentence, row in enumerate(predicates)
            ]
            right = sum(len(gold & guess) for gold, guess in marked)
            scores["predicate_f1"] = rates(right, *(sum(map(len, side)) for side in list(zip(*marked))[::-1]))[2]
        return scores

    def metric_names(self, splits: Splits, find_predicates: bool) -> list[str]:
        """Return the names of the metrics by which checkpoints can be selected."""
        rows = values(splits.validation or splits.train or splits.test, "predicates")
        labels = [one["labels"] for row in rows for one in row if one["labels"] is not None]
        return [*role_scores(labels, labels), *(["predicate_f1"] if find_predicates else [])]

    def write(self, path: Path, dataset: PredicateDataset, logits: np.ndarray) -> dict | None:
        """Write the labels as `srl-eval.pl` reads them, those of the data too if they are known, and as JSON lines.

        Returns:
            The errors where it is known what is right, as `errors` counts them.
        """
        found, examples = self.predicted(dataset, logits), dataset.examples
        predicates = values(examples, "predicates")
        labels = [[found[sentence, number] for number in range(len(row))] for sentence, row in enumerate(predicates)]
        write_props(path.with_suffix(".props"), examples, labels)
        gold = [[one["labels"] for one in row] for row in predicates]
        if all(one is not None for row in gold for one in row):
            write_props(path.with_name(f"{path.name}_gold.props"), examples, gold)
        with open(path.with_suffix(".jsonl"), "w", encoding="utf-8") as file:
            for tokens, row, guesses in zip(values(examples, "tokens"), predicates, labels):
                marked = [one | {"labels": guess} for one, guess in zip(row, guesses)]
                file.write(json.dumps({"tokens": tokens, "predicates": marked}, ensure_ascii=False) + "\n")
        pairs = [pair for row, guesses in zip(gold, labels) for pair in zip(row, guesses) if pair[0] is not None]
        return role_errors(*zip(*pairs)) if pairs else None
