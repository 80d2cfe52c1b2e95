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
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..label_schemes import convert
from ..loading import load_tokenizer
from ..model.configuration_elmo import ElmoConfig
from ..model.label_schemes_elmo import find_scheme
from ..model.token_classification_elmo import ElmoForTokenClassification
from ..text_files import write_lines
from .arguments import FineTuningArguments, ModelArguments, WordLabelArguments
from .batches import EncodedDataset, encode
from .checks import check_settings
from .data.splits import values
from .data.word_labels import read_word_labels
from .data.word_lines import conll_blocks
from .errors import confusions, entity_errors
from .metrics import accuracy, entity_scores, strict_f1
from .runs import Runs
from .script import run_script
from .starting_model import StartingModel, task_config, trained_labels
from .tasks import Task


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    return run_script("ner", train, (WordLabelArguments, ModelArguments, FineTuningArguments), arguments, __doc__)


def train(data: WordLabelArguments, model_args: ModelArguments, args: FineTuningArguments, command: list[str]) -> None:
    """Train with each seed, label the test examples, and save the best model."""
    head = ElmoForTokenClassification
    check_settings(model_args.model_name_or_path, args)
    splits = read_word_labels(data, trained_labels(model_args, head))
    tokenizer = load_tokenizer(model_args.model_name_or_path)
    config = task_config(head, model_args, splits)
    task = WordLabels(tokenizer, config, data.label_scheme)
    start = StartingModel(head, config, model_args, tokenizer, task.encode_splits(splits))
    Runs(command, data, model_args, args, splits, start, task).train()


class WordLabels(Task):
    """Labels of words; those of entities are scored and written in the scheme BIO, unless those of the data are kept.

    Args:
        scheme: The value of `--label_scheme`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: ElmoConfig, scheme: str):
        super().__init__(tokenizer)
        self.config, self.is_kept = config, scheme == "keep"
        self.mark_entities = scheme != "plain" and find_scheme(list(config.id2label.values())) is not None
        self.default_metric = "f1" if self.mark_entities else "accuracy"

    def encode(self, examples: Dataset) -> EncodedDataset:
        """Encode sentences; special tokens, and labels that the model does not know, have the id -100."""
        first, last = ([-100] * added for added in (self.tokenizer.add_bos_token, self.tokenizer.add_eos_token))
        features = encode(self.tokenizer, values(examples, "tokens"), is_split_into_words=True)
        for feature, tokens, labels in zip(features, values(examples, "tokens"), values(examples, "labels")):
            ids = [self.config.label2id.get(label, -100) for label in labels or [None] * len(tokens)]
            feature["labels"] = np.array([*first, *ids, *last], dtype=np.int16)
        return EncodedDataset(examples, features)

    def written(self, labels: Sequence[str]) -> list[str]:
        return convert(labels, "BIO") if self.mark_entities and not self.is_kept else list(labels)

    def gold(self, examples: Dataset) -> list[list[str] | None]:
        return [labels and self.written(labels) for labels in values(examples, "labels")]

    def predicted(self, dataset: EncodedDataset, predictions: np.ndarray) -> list[list[str]]:
        names, first = self.config.id2label, int(self.tokenizer.add_bos_token)
        rows = zip(predictions.argmax(-1)[:, first:], values(dataset.examples, "tokens"))
        return [self.written([names[int(id)] for id in ids[: len(tokens)]]) for ids, tokens in rows]

    def metrics(self, gold: Sequence, predicted: Sequence) -> dict[str, float]:
        if not self.mark_entities:
            return {"accuracy": accuracy(gold, predicted)}
        scores = entity_scores(gold, predicted)
        if self.is_kept:  # otherwise both are the same, as labels are made of entities
            scores["strict_f1"] = strict_f1(gold, predicted)
        return scores

    def errors(self, gold: Sequence, predicted: Sequence) -> dict:
        if self.mark_entities:
            return entity_errors(gold, predicted)
        return confusions((pair for sides in zip(gold, predicted) for pair in zip(*sides)), "words")

    def write_predictions(self, path: Path, examples: Dataset, predicted: list) -> None:
        """Write a line per word: the word, the gold label if it is known, the predicted one, as conlleval reads it."""
        rows = zip(values(examples, "tokens"), self.gold(examples), predicted, values(examples, "lines"))
        write_lines(path.with_suffix(".conll"), conll_blocks(rows))


if __name__ == "__main__":
    sys.exit(main())
