"""Train a tagger of words, above all of named entities: ELMo, a biLSTM and a conditional random field.

    python -m hf_elmo.training.ner --model_name_or_path elmo --train_file train.conll --validation_file dev.conll \\
        --test_file test.conll --output_dir tagger --seeds 1 2 3

Files have a word per line, or are tables or datasets whose rows have lists of words and of labels. If labels mark
entities, precision, recall and F1 are those of conlleval and seqeval; for other labels the metric is the accuracy.
Label schemes (IOB1, BIO, BIOUL, BIOES, BMES) are recognized; the model learns the one of `--label_scheme`. With `keep`,
`strict_f1` is the F1 if entities that break the rules of their scheme do not count.
"""

import sys
from functools import partial

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..loading import load_tokenizer
from ..model.token_classification_elmo import ElmoForTokenClassification
from .arguments import FineTuningArguments, ModelArguments, WordLabelArguments
from .batches import EncodedDataset, encode
from .checks import check_settings, select_metric
from .data.splits import sample, values
from .data.word_labels import read_word_labels
from .labels import WordLabels
from .runs import Runs
from .script import run_script
from .starting_model import StartingModel, task_config, trained_labels
from .trainer import TaskTrainer


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
    labels = WordLabels(config.id2label, data.label_scheme, first=int(tokenizer.add_bos_token))
    encode_split = partial(encode_sentences, tokenizer=tokenizer, label_ids=config.label2id)
    datasets = {name: encode_split(examples) for name, examples in splits.items()}
    start = StartingModel(head, config, model_args, tokenizer, datasets)
    select_metric(args, labels.metric_names(splits), default="f1" if labels.mark_entities else "accuracy")

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
    features = encode(tokenizer, values(examples, "tokens"), is_split_into_words=True)
    for feature, tokens, labels in zip(features, values(examples, "tokens"), values(examples, "labels")):
        ids = [label_ids.get(label, -100) for label in labels or [None] * len(tokens)]
        feature["labels"] = np.array([*first, *ids, *last], dtype=np.int16)
    return EncodedDataset(examples, features)


if __name__ == "__main__":
    sys.exit(main())
