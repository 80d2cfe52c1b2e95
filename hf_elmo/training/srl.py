"""Train a labeler of semantic roles: who did what to whom, for each predicate of a sentence.

    python -m hf_elmo.training.srl --model_name_or_path elmo --train_file train.srl --validation_file dev.srl \\
        --test_file test.srl --output_dir roles

Files are PropBank in numbered columns with a column of IOB2 labels for each predicate, or those of CoNLL-2005 and
CoNLL-2012, or JSON lines. The model reads a sentence once for each predicate, which it sees marked, and its labels
follow BIO (He et al. 2017). Scores are those of CoNLL-2005's srl-eval.pl, with the predicates of the data.

With `--learn_predicates True`, by default, the model also learns to find the predicates of a sentence in which none is
marked, so that it can be applied to plain text; `predicate_f1` is the F1 of their words.
"""

import sys
from functools import partial

from ..loading import load_tokenizer
from ..model.token_classification_elmo import ElmoForTokenClassification
from .arguments import FineTuningArguments, ModelArguments, PredicateArguments
from .checks import check_settings, select_metric
from .data.predicates import read_predicates
from .data.splits import sample
from .roles import RoleLabels, encode_predicates
from .runs import Runs
from .script import run_script
from .starting_model import StartingModel, task_config, trained_labels
from .trainer import TaskTrainer

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
    labels = RoleLabels(config.id2label, first=int(tokenizer.add_bos_token))
    encode_split = partial(
        encode_predicates, tokenizer=tokenizer, label_ids=config.label2id, find_predicates=data.learn_predicates
    )
    datasets = {name: encode_split(examples) for name, examples in splits.items()}
    start = StartingModel(head, config, model_args, tokenizer, datasets)
    select_metric(args, labels.metric_names(splits, data.learn_predicates), default="f1")

    with Runs(command, data, model_args, args, splits, start) as runs:
        for run in runs:
            if data.train_fraction < 1:
                datasets["train"] = encode_split(sample(splits.train, data.train_fraction, run.seed))
            trainer = TaskTrainer(start.create(run.seed), run.args, datasets, tokenizer, labels.score)
            run.train(trainer)
            run.evaluate(trainer, labels.write)
        runs.finish()


if __name__ == "__main__":
    sys.exit(main())
