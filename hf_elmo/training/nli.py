"""Train a classifier of pairs of texts: whether one sentence entails another.

    python -m hf_elmo.training.nli --model_name_or_path elmo --train_file snli_1.0_train.jsonl \\
        --validation_file snli_1.0_dev.jsonl --test_file snli_1.0_test.jsonl --output_dir nli

Files are those of SNLI, MultiNLI and SICK, parallel lines (`s1.dev`, `s2.dev`, `labels.dev`), and tables with columns
of any names; datasets of the Hub have the columns of one of these. Pairs without a gold label are left out of training
and validation. Predictions are a table of the pairs' ids, or numbers, and their labels.

With `--regression True` labels are values, such as the relatedness in SICK (`--label_column relatedness_score`).
"""

import sys

from ..loading import load_tokenizer
from ..model.sequence_classification_elmo import ElmoForSequenceClassification
from .arguments import FineTuningArguments, ModelArguments, PairArguments
from .checks import check_settings
from .data.text_pairs import read_text_pairs
from .labels import TextLabels, text_config
from .runs import Runs
from .script import run_script
from .starting_model import StartingModel, trained_labels


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    return run_script("nli", train, (PairArguments, ModelArguments, FineTuningArguments), arguments, __doc__)


def train(data: PairArguments, model_args: ModelArguments, args: FineTuningArguments, command: list[str]) -> None:
    """Train with each seed, label the test examples, and save the best model."""
    head, problem_type = ElmoForSequenceClassification, "regression" if data.regression else "single_label"
    check_settings(model_args.model_name_or_path, args)
    splits = read_text_pairs(data, None if data.regression else trained_labels(model_args, head))
    tokenizer = load_tokenizer(model_args.model_name_or_path)
    config = text_config(model_args, splits, problem_type, "esim")
    task = TextLabels(tokenizer, config.id2label, problem_type)
    start = StartingModel(head, config, model_args, tokenizer, task.encode_splits(splits))
    Runs(command, data, model_args, args, splits, start, task).train()


if __name__ == "__main__":
    sys.exit(main())
