"""How documents are encoded, and how clusters of mentions are scored and written."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..model.coreference_elmo import clusters_of_antecedents
from .batches import EncodedDataset, encode
from .coreference_metrics import coreference_scores, gap_scores
from .data.documents import split_documents, write_conll_documents
from .data.splits import Splits, values
from .errors import confusions, coreference_errors

Clusters = list[list[list[int]]]  # of mentions, each the first and the last word, counted over the document


class DocumentDataset(EncodedDataset):
    """Documents, each one feature, and the place of each row of a feature among the document's words."""

    def __init__(self, examples: Dataset, features: list[dict], places: list[np.ndarray]):
        super().__init__(examples, features)
        self.places = places


def encode_documents(examples: Dataset, tokenizer: PreTrainedTokenizerBase, max_words: int = 0) -> DocumentDataset:
    """Encode documents, each as one row with the `<S>` of each sentence, and with clusters if all are known.

    Args:
        max_words: Words of a document; longer ones are cut into parts, which are documents of their own. 0: any.

    Raises:
        `ValueError`: if the tokenizer adds no `<S>`.
    """
    if not tokenizer.add_bos_token:
        raise ValueError("the tokenizer adds no `<S>`, by which sentences are found: set its `add_bos_token` to True")
    examples = split_documents(examples, max_words) if max_words else examples
    features, places = [], []
    all_clusters = values(examples, "clusters")
    for sentences, clusters in zip(values(examples, "sentences"), all_clusters):
        rows = encode(tokenizer, sentences, is_split_into_words=True)
        feature = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        place = words_of_rows([len(words) for words in sentences], int(tokenizer.add_eos_token))
        if None not in all_clusters:
            row_of = np.flatnonzero(place >= 0)
            mentions = [(*mention, number) for number, cluster in enumerate(clusters) for mention in cluster]
            mentions = np.array(mentions, dtype=np.int64).reshape(-1, 3)
            feature |= {"mention_spans": row_of[mentions[:, :2]], "labels": mentions[:, 2]}
        features.append(feature)
        places.append(place)
    return DocumentDataset(examples, features, places)


def words_of_rows(lengths: Sequence[int], after: int) -> np.ndarray:
    """Return the number of each row's word in the document; -1 for special tokens.

    Args:
        lengths: Words of each sentence, which has one special token before and `after` ones behind them.
    """
    ends = np.cumsum(lengths)
    parts = [[-1, *range(end - length, end), *[-1] * after] for end, length in zip(ends, lengths)]
    return np.array([number for part in parts for number in part], dtype=np.int64)


class ClusterScores:
    """How the spans and antecedents that a model predicts become clusters, which are scored and written.

    Args:
        keep_singletons: Whether a mention without others is a cluster, as in the data.
    """

    def __init__(self, keep_singletons: bool):
        self.keep_singletons = keep_singletons

    def predicted(self, dataset: DocumentDataset, predictions: tuple[np.ndarray, ...]) -> list[Clusters]:
        """Return the clusters of each document."""
        spans, mention_logits, antecedents = (prediction.tolist() for prediction in predictions)
        return [
            [
                [[int(place[first]), int(place[last])] for first, last in cluster]
                for cluster in clusters_of_antecedents(*row, self.keep_singletons)
            ]
            for row, place in zip(zip(spans, mention_logits, antecedents), dataset.places)
        ]

    def score(self, dataset: DocumentDataset, predictions: tuple[np.ndarray, ...]) -> dict[str, float]:
        """Return the metrics over all documents of which it is known what is right."""
        found, pronouns = self.predicted(dataset, predictions), values(dataset.examples, "pronoun")
        if any(pronouns):
            known = [(pronoun, clusters) for pronoun, clusters in zip(pronouns, found) if pronoun["is_a"] is not None]
            answers = [(pronoun["text"], pronoun["is_a"], pronoun["is_b"]) for pronoun, _ in known]
            return gap_scores(answers, [meant_names(*pair) for pair in known]) if known else {}
        return self.metrics(values(dataset.examples, "clusters"), found)

    def metrics(self, gold: Sequence[Clusters | None], found: Sequence[Clusters]) -> dict[str, float]:
        """Return the metrics; with singletons in the data also the mean without those of either side."""
        pairs = [(as_tuples(right), as_tuples(guess)) for right, guess in zip(gold, found) if right is not None]
        if not pairs:
            return {}
        scores = coreference_scores(*zip(*pairs))
        if self.keep_singletons:
            linked = [[[one for one in side if len(one) > 1] for side in pair] for pair in pairs]
            scores["conll_f1_without_singletons"] = coreference_scores(*zip(*linked))["conll_f1"]
        return scores

    def metric_names(self, splits: Splits) -> list[str]:
        """Return the names of the metrics by which checkpoints can be selected."""
        gold = values((splits.validation or splits.train or splits.test).select([0]), "clusters")
        return list(self.metrics(gold, gold))

    def write(self, path: Path, dataset: DocumentDataset, predictions: tuple[np.ndarray, ...]) -> dict | None:
        """Write the clusters in CoNLL-2012's format and as JSON; for GAP a table as its scorer reads it.

        Returns:
            The errors where it is known what is right, as `errors` counts them.
        """
        found, examples = self.predicted(dataset, predictions), dataset.examples
        pronouns, errors = values(examples, "pronoun"), None
        if any(pronouns):
            names = [meant_names(*pair) for pair in zip(pronouns, found)]
            lines = [
                "\t".join([id, *(str(meant).upper() for meant in pair)])
                for id, pair in zip(values(examples, "id"), names)
            ]
            path.with_suffix(".tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
            errors = pronoun_errors(pronouns, names)
        write_conll_documents(path.with_suffix(".conll"), examples, found)
        with open(path.with_suffix(".jsonl"), "w", encoding="utf-8") as file:
            for id, sentences, clusters in zip(values(examples, "id"), values(examples, "sentences"), found):
                row = {"doc_key": id, "sentences": sentences, "predicted_clusters": clusters}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        gold = values(examples, "clusters")
        pairs = [(as_tuples(right), as_tuples(guess)) for right, guess in zip(gold, found) if right is not None]
        return coreference_errors(*zip(*pairs)) if pairs else errors


def pronoun_errors(pronouns: Sequence[dict], meant: Sequence[tuple[bool, bool]]) -> dict | None:
    """Count, for both names of each pronoun of GAP of which it is known, whether it means them."""
    is_meant = {True: "meant", False: "not meant"}
    pairs = [
        (is_meant[right], is_meant[guess])
        for pronoun, guesses in zip(pronouns, meant)
        for right, guess in zip((pronoun["is_a"], pronoun["is_b"]), guesses)
        if right is not None
    ]
    return confusions(pairs, "names") if pairs else None


def as_tuples(clusters: Clusters) -> list[list[tuple[int, ...]]]:
    return [[tuple(mention) for mention in cluster] for cluster in clusters]


def meant_names(pronoun: dict, clusters: Clusters) -> tuple[bool, bool]:
    """Return whether a pronoun of GAP means its first and its second name, by the clusters of its text.

    It does if its cluster has a mention that ends with the name's last word and begins with its first word or before,
    as "Mr. Smith" for "Smith"; in "Smith's wife" the name is only a part of what is meant.
    """
    cluster = next((cluster for cluster in clusters if pronoun["p"] in cluster), [])
    names = pronoun["a"], pronoun["b"]
    meant = [any(first <= name[0] and last == name[1] for first, last in cluster) for name in names]
    return meant[0], meant[1]
