"""Train a tagger of words, above all of named entities: ELMo, a biLSTM and a conditional random field.

    python -m hf_elmo.training.ner --model_name_or_path elmo --train_file train.conll --validation_file dev.conll \\
        --test_file test.conll --output_dir tagger --seeds 1 2 3

Files have a word per line, or are tables or datasets whose rows have lists of words and of labels. If labels mark
entities, precision, recall and F1 are those of conlleval and seqeval; for other labels the metric is the accuracy.
Label schemes (IOB1, BIO, BIOUL, BIOES, BMES) are recognized; the model learns the one of `--label_scheme`. With `keep`,
`strict_f1` is the F1 if entities that break the rules of their scheme do not count.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..model.label_schemes_elmo import convert, find_scheme
from ..model.token_classification_elmo import ElmoForTokenClassification
from .arguments import DataArguments, FineTuningArguments, ModelArguments
from .batches import EncodedDataset, encode
from .checks import check_settings, select_metric
from .data.splits import sample
from .data.word_labels import LABEL_SCHEMES, read_word_labels
from .data.word_lines import write_conll
from .metrics import accuracy, entity_scores, strict_f1
from .runs import Runs
from .script import run_script
from .starting_model import StartingModel, load_tokenizer, task_config, trained_labels
from .trainer import TaskTrainer


@dataclass
class WordLabelArguments(DataArguments):
    """Sentences with a label for each word: files with a word per line, tables, or a dataset."""

    word_column: str | None = field(
        default=None, metadata={"help": "Column of the words: its name, or its number from 0 (-1: the last)."}
    )
    label_column: str | None = field(default=None, metadata={"help": "Column of the labels. By default the last."})
    label_list: list[str] = field(
        default_factory=list, metadata={"help": "Names of labels that are numbers in the data, in their order."}
    )
    sentence_column: str | None = field(
        default=None, metadata={"help": "Column that numbers the sentences, in tables with one word per row."}
    )
    label_scheme: str = field(default="bio", metadata={"help": f"Scheme to learn: {', '.join(LABEL_SCHEMES)}."})

    def __post_init__(self):
        super().__post_init__()
        if self.label_scheme not in LABEL_SCHEMES:
            raise ValueError(f"--label_scheme must be one of {', '.join(LABEL_SCHEMES)}, but is {self.label_scheme!r}")


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    return run_script("ner", train, (WordLabelArguments, ModelArguments, FineTuningArguments), arguments, __doc__)


def train(data: WordLabelArguments, model_args: ModelArguments, args: FineTuningArguments, command: list[str]) -> None:
    """Train with each seed, label the test examples, and save the best model."""
    head = ElmoForTokenClassification
    check_settings(model_args, args)
    splits = read_word_labels(data, trained_labels(model_args, head))
    tokenizer = load_tokenizer(model_args)
    config = task_config(head, model_args, splits)
    labels = WordLabels(config.id2label, data.label_scheme, first=int(tokenizer.add_bos_token))
    encode_split = partial(encode_sentences, tokenizer=tokenizer, label_ids=config.label2id)
    datasets = {name: encode_split(examples) for name, examples in splits.items()}
    start = StartingModel(head, config, model_args, tokenizer, datasets)
    gold = [labels for labels in (splits.validation or splits.train or splits.test)["labels"] if labels]
    select_metric(args, labels.metrics([*zip(gold, gold)]), default="f1" if labels.mark_entities else "accuracy")

    with Runs(command, data, model_args, args, splits, start) as runs:
        for run in runs:
            if data.train_fraction < 1:
                datasets["train"] = encode_split(sample(splits.train, data.train_fraction, run.seed))
            trainer = TaskTrainer(start.create(run.seed), run.args, datasets, tokenizer, labels.score)
            run.train(trainer)
            run.evaluate(trainer, labels.write)
        runs.finish()


def encode_sentences(
    examples: Dataset, tokenizer: PreTrainedTokenizerBase, label_ids: dict[str, int]
) -> EncodedDataset:
    """Encode sentences with the ids of their labels; special tokens and labels the model does not know have -100."""
    first, last = ([-100] * added for added in (tokenizer.add_bos_token, tokenizer.add_eos_token))
    features = encode(tokenizer, examples["tokens"], is_split_into_words=True)
    for feature, tokens, labels in zip(features, examples["tokens"], examples["labels"]):
        ids = [label_ids.get(label, -100) for label in labels or [None] * len(tokens)]
        feature["labels"] = np.array([*first, *ids, *last], dtype=np.int16)
    return EncodedDataset(examples, features)


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
        rows = zip(logits.argmax(-1)[:, self.first :], dataset.examples["tokens"])
        return [self.written([self.names[int(id)] for id in ids[: len(tokens)]]) for ids, tokens in rows]

    def written(self, labels: Sequence[str]) -> list[str]:
        """Return labels as scorers read them: in the scheme BIO, unless those of the data are kept."""
        return convert(labels, "BIO") if self.mark_entities and not self.is_kept else list(labels)

    def score(self, dataset: EncodedDataset, logits: np.ndarray) -> dict[str, float]:
        """Return the metrics of predictions on those sentences that have labels."""
        pairs = zip(dataset.examples["labels"], self.predicted(dataset, logits))
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

    def write(self, path: Path, dataset: EncodedDataset, logits: np.ndarray) -> None:
        """Write a line per word: the word, the gold label if it is known, the predicted one, as conlleval reads it."""
        examples = dataset.examples
        gold = [labels and self.written(labels) for labels in examples["labels"]]
        rows = zip(examples["tokens"], gold, self.predicted(dataset, logits), examples["lines"])
        write_conll(path.with_suffix(".conll"), rows)


if __name__ == "__main__":
    sys.exit(main())
