"""Train a classifier of texts, above all of their sentiment: ELMo and the biattentive classification network.

    python -m hf_elmo.training.classify --model_name_or_path elmo --train_file trees/train.txt \\
        --validation_file trees/dev.txt --test_file trees/test.txt --output_dir sentiment --seeds 1 2 3

Files are trees of the Stanford Sentiment Treebank, lines of a label and a sentence (`4 a gripping movie`), or tables
(.tsv, .csv, .jsonl); datasets of the Hub are tables too. In the first two, blanks separate words; texts of tables are
split by the tokenizer, unless they are lists of words. Texts without words are left out of training, and labeled like
all others elsewhere.

With `--problem_type multi_label` a text has any number of labels, in a list or separated by `--label_separator`; with
`regression` it has a value. With `--text_pair_column`, tables have pairs of texts.
"""

import sys
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers.modeling_outputs import SequenceClassifierOutput

from ..loading import load_tokenizer
from ..model.sequence_classification_elmo import ElmoForSequenceClassification
from .arguments import FineTuningArguments, ModelArguments, TextLabelArguments
from .checks import check_settings
from .data.splits import values
from .data.texts import read_texts
from .labels import TextLabels, text_config
from .runs import Runs
from .script import run_script
from .starting_model import StartingModel, trained_labels


def main(arguments: list[str] | None = None, name: str = "classify") -> int:
    """Run the script and return its exit code."""
    return run_script(name, train, (TextLabelArguments, ModelArguments, FineTuningArguments), arguments, __doc__)


def train(data: TextLabelArguments, model_args: ModelArguments, args: FineTuningArguments, command: list[str]) -> None:
    """Train with each seed, label the test examples, and save the best model."""
    head = ElmoForSequenceClassification
    check_settings(model_args.model_name_or_path, args)
    splits = read_texts(data, trained_labels(model_args, head))
    tokenizer = load_tokenizer(model_args.model_name_or_path)
    config = text_config(model_args, splits, data.problem_type, "bcn")
    loss = balanced_loss(values(splits.train, "label"), config.label2id) if data.class_weights == "balanced" else None
    task = TextLabels(tokenizer, config.id2label, data.problem_type, data.threshold, loss)
    start = StartingModel(head, config, model_args, tokenizer, task.encode_splits(splits))
    Runs(command, data, model_args, args, splits, start, task).train()


def balanced_loss(labels: list[str], label_ids: dict[str, int]) -> Callable:
    """Return the cross-entropy in which all classes of the training examples have the same total weight."""
    counts = Counter(labels)
    weights = torch.tensor([len(labels) / (len(counts) * max(1, counts[label])) for label in label_ids])

    def loss(
        outputs: SequenceClassifierOutput, labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        total = cross_entropy(outputs.logits, labels, weights.to(outputs.logits), reduction="sum")
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)

    return loss


if __name__ == "__main__":
    sys.exit(main())
