"""Train a model that finds which words of a document mean the same: ELMo and the end-to-end span model.

    python -m hf_elmo.training.coref --model_name_or_path elmo --train_file train.conll --validation_file dev.conll \\
        --test_file test.conll --output_dir coreference

Files are those of CoNLL-2012, or JSON lines with `sentences` and `clusters`; datasets of the Hub have these columns. A
test file may be GAP's `.tsv`. Scores are those of the official scorer: MUC, B-cubed and CEAF, and their mean.

If the data have clusters of one mention, the model learns and predicts them, and they count;
`conll_f1_without_singletons` is the mean without them. With `--max_train_words`, documents are cut into parts for
training, never for evaluation.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..loading import load_tokenizer
from ..model.coreference_elmo import ElmoForCoreferenceResolution, clusters_of_antecedents
from ..text_files import write_lines
from .arguments import DocumentArguments, FineTuningArguments, ModelArguments
from .batches import EncodedDataset, encode
from .checks import check_settings
from .coreference_metrics import coreference_scores, gap_scores
from .data.documents import document_lines, read_documents, split_documents
from .data.splits import Splits, values
from .errors import confusions, coreference_errors
from .runs import Runs
from .script import run_script
from .starting_model import StartingModel, task_config
from .tasks import Task

Clusters = list[list[tuple[int, int]]]  # of mentions, each the first and the last word, counted over the document


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    one = {"per_device_train_batch_size": 1, "per_device_eval_batch_size": 1}  # document
    return run_script(
        "coref", train, (DocumentArguments, ModelArguments, FineTuningArguments), arguments, __doc__, **one
    )


def train(data: DocumentArguments, model_args: ModelArguments, args: FineTuningArguments, command: list[str]) -> None:
    """Train with each seed, find the clusters of the test documents, and save the best model."""
    head = ElmoForCoreferenceResolution
    check_settings(model_args.model_name_or_path, args)
    splits = read_documents(data)
    tokenizer = load_tokenizer(model_args.model_name_or_path)
    config = task_config(head, model_args, splits, defaults={"coref_singletons": has_singletons(splits)})
    task = MentionClusters(tokenizer, config.coref_singletons, data.max_train_words)
    start = StartingModel(head, config, model_args, tokenizer, task.encode_splits(splits))
    Runs(command, data, model_args, args, splits, start, task).train()


def has_singletons(splits: Splits) -> bool:
    """Return whether the data annotate mentions that have no other."""
    documents = values(splits.train or splits.validation or splits.test, "clusters")
    return any(len(cluster) == 1 for clusters in documents for cluster in clusters or ())


class MentionClusters(Task):
    """Clusters of the mentions of documents, out of the spans and antecedents that a model predicts.

    Of a text of GAP, only its pronoun is known: the dictionary of it is what is right, and of the predicted clusters
    counts which names they say it means.

    Args:
        keep_singletons: Whether a mention without others is a cluster, as in the data.
        max_train_words: Words of a document in training; longer ones are cut into documents of their own. 0: any.
    """

    default_metric = "conll_f1"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, keep_singletons: bool, max_train_words: int):
        super().__init__(tokenizer)
        self.keep_singletons, self.max_train_words = keep_singletons, max_train_words

    def encode(self, examples: Dataset) -> EncodedDataset:
        """Encode documents, each as one row with the `<S>` of each sentence, and with clusters if all are known.

        `ValueError` if the tokenizer adds no `<S>`.
        """
        if not self.tokenizer.add_bos_token:
            raise ValueError(
                "the tokenizer adds no `<S>`, by which sentences are found: set its `add_bos_token` to True"
            )
        features, places = [], []  # the latter: the number of each row's word in the document
        all_clusters = values(examples, "clusters")
        for sentences, clusters in zip(values(examples, "sentences"), all_clusters):
            rows = encode(self.tokenizer, sentences, is_split_into_words=True)
            feature = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
            place = words_of_rows([len(words) for words in sentences], int(self.tokenizer.add_eos_token))
            if None not in all_clusters:
                row_of = np.flatnonzero(place >= 0)
                mentions = [(*mention, number) for number, cluster in enumerate(clusters) for mention in cluster]
                mentions = np.array(mentions, dtype=np.int64).reshape(-1, 3)
                feature |= {"mention_spans": row_of[mentions[:, :2]], "labels": mentions[:, 2]}
            features.append(feature)
            places.append(place)
        return EncodedDataset(examples, features, places)

    def encode_training(self, examples: Dataset) -> EncodedDataset:
        return self.encode(split_documents(examples, self.max_train_words) if self.max_train_words else examples)

    def gold(self, examples: Dataset) -> list[Clusters | dict | None]:
        pronouns, clusters = values(examples, "pronoun"), values(examples, "clusters")
        if any(pronouns):
            return [None if None in (pronoun["is_a"], pronoun["is_b"]) else pronoun for pronoun in pronouns]
        return [one and [[tuple(mention) for mention in cluster] for cluster in one] for one in clusters]

    def metric_names(self, splits: Splits) -> list[str]:
        """Return the names of the metrics by which checkpoints can be selected; GAP, which is only a test, has none."""
        gold = self.gold(splits.validation or splits.train or splits.test)
        gold = [None if isinstance(one, dict) else one for one in gold]
        return list(self.of_known(self.metrics, gold, gold) or ())

    def predicted(self, dataset: EncodedDataset, predictions: tuple[np.ndarray, ...]) -> list[Clusters]:
        rows = zip(*(prediction.tolist() for prediction in predictions), dataset.places)
        return [
            [
                [(int(place[first]), int(place[last])) for first, last in cluster]
                for cluster in clusters_of_antecedents(spans, mention_logits, antecedents, self.keep_singletons)
            ]
            for spans, mention_logits, antecedents, place in rows
        ]

    def metrics(self, gold: Sequence, predicted: Sequence[Clusters]) -> dict[str, float]:
        """Return the metrics; with singletons in the data also the mean without those of either side."""
        if isinstance(gold[0], dict):
            answers = [(pronoun["text"], pronoun["is_a"], pronoun["is_b"]) for pronoun in gold]
            return gap_scores(answers, list(map(meant_names, gold, predicted)))
        scores = coreference_scores(gold, predicted)
        if self.keep_singletons:
            linked = [
                [[cluster for cluster in clusters if len(cluster) > 1] for clusters in side]
                for side in (gold, predicted)
            ]
            scores["conll_f1_without_singletons"] = coreference_scores(*linked)["conll_f1"]
        return scores

    def errors(self, gold: Sequence, predicted: Sequence[Clusters]) -> dict:
        if not isinstance(gold[0], dict):
            return coreference_errors(gold, predicted)
        is_meant = {True: "meant", False: "not meant"}
        pairs = [
            (is_meant[right], is_meant[guess])
            for pronoun, clusters in zip(gold, predicted)
            for right, guess in zip((pronoun["is_a"], pronoun["is_b"]), meant_names(pronoun, clusters))
        ]
        return confusions(pairs, "names")

    def write_predictions(self, path: Path, examples: Dataset, predicted: list[Clusters]) -> None:
        """Write the clusters in CoNLL-2012's format and as JSON; for GAP a table as its scorer reads it."""
        ids, pronouns = values(examples, "id"), values(examples, "pronoun")
        if any(pronouns):
            names = map(meant_names, pronouns, predicted)
            lines = ["\t".join([id, *(str(meant).upper() for meant in pair)]) for id, pair in zip(ids, names)]
            write_lines(path.with_suffix(".tsv"), (f"{line}\n" for line in lines))
        rows = list(zip(ids, values(examples, "part"), values(examples, "sentences"), predicted))
        write_lines(path.with_suffix(".conll"), (line for row in rows for line in document_lines(*row)))
        objects = [
            {"doc_key": id, "sentences": sentences, "predicted_clusters": clusters}
            for id, _, sentences, clusters in rows
        ]
        write_lines(path.with_suffix(".jsonl"), (json.dumps(one, ensure_ascii=False) + "\n" for one in objects))


def words_of_rows(lengths: Sequence[int], after: int) -> np.ndarray:
    """Return the number of each row's word in the document; -1 for special tokens.

    Args:
        lengths: Words of each sentence, which has one special token before and `after` ones behind them.
    """
    ends = np.cumsum(lengths)
    parts = [[-1, *range(end - length, end), *[-1] * after] for end, length in zip(ends, lengths)]
    return np.array([number for part in parts for number in part], dtype=np.int64)


def meant_names(pronoun: dict, clusters: Clusters) -> tuple[bool, bool]:
    """Return whether a pronoun of GAP means its first and its second name, by the clusters of its text.

    It does if its cluster has a mention that ends with the name's last word and begins with its first word or before,
    as "Mr. Smith" for "Smith"; in "Smith's wife" the name is only a part of what is meant.
    """
    cluster = next((cluster for cluster in clusters if tuple(pronoun["p"]) in cluster), [])
    names = pronoun["a"], pronoun["b"]
    meant = [any(first <= name[0] and last == name[1] for first, last in cluster) for name in names]
    return meant[0], meant[1]


if __name__ == "__main__":
    sys.exit(main())
