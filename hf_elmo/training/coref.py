"""Train a model that finds which words of a document mean the same: ELMo and the end-to-end span model.

    python -m hf_elmo.training.coref --model_name_or_path elmo --train_file train.conll --validation_file dev.conll \\
        --test_file test.conll --output_dir coreference

Files are those of CoNLL-2012, or JSON lines with `sentences` and `clusters`; datasets of the Hub have these columns. A
test file may be GAP's `.tsv`. Scores are those of the official scorer: MUC, B-cubed and CEAF, and their mean.

If the data have clusters of one mention, the model learns and predicts them, and they count;
`conll_f1_without_singletons` is the mean without them. With `--max_train_words`, documents are cut into parts for
training, never for evaluation.
"""

import sys
from functools import partial

from ..loading import load_tokenizer
from ..model.coreference_elmo import ElmoForCoreferenceResolution
from .arguments import DocumentArguments, FineTuningArguments, ModelArguments
from .checks import check_settings, select_metric
from .clusters import ClusterScores, encode_documents
from .data.documents import read_documents
from .data.splits import Splits, sample, values
from .runs import Runs
from .script import run_script
from .starting_model import StartingModel, task_config
from .trainer import TaskTrainer


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
    encode_training = partial(encode_documents, tokenizer=tokenizer, max_words=data.max_train_words)
    encode_split = {"train": encode_training}
    datasets = {
        name: encode_split.get(name, partial(encode_documents, tokenizer=tokenizer))(examples)
        for name, examples in splits.items()
    }
    start = StartingModel(head, config, model_args, tokenizer, datasets)
    clusters = ClusterScores(config.coref_singletons)
    select_metric(args, clusters.metric_names(splits), default="conll_f1")

    with Runs(command, data, model_args, args, splits, start) as runs:
        for run in runs:
            if data.train_fraction < 1:
                datasets["train"] = encode_training(sample(splits.train, data.train_fraction, run.seed))
            trainer = TaskTrainer(start.create(run.seed), run.args, datasets, tokenizer, clusters.score)
            run.train(trainer)
            run.evaluate(trainer, clusters.write)
        runs.finish()


def has_singletons(splits: Splits) -> bool:
    """Return whether the data annotate mentions that have no other."""
    documents = values(splits.train or splits.validation or splits.test, "clusters")
    return any(len(cluster) == 1 for clusters in documents for cluster in clusters or ())


if __name__ == "__main__":
    sys.exit(main())
