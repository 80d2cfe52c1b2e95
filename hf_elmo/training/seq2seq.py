"""Train a model that reads a text and writes another: a translation, a summary, a headline, a reply.

    python -m hf_elmo.training.seq2seq --model_name_or_path elmo --train_file train.en --validation_file val.en \\
        --test_file test.en --source_language en --target_language de --output_dir translation

Files are parallel lines (`train.de` beside `train.en`), or tables with a column of sources and one of targets; datasets
of the Hub have such columns, or `translation`. The encoder is ELMo, frozen by default; the decoder is a small
transformer, and the targets have a tokenizer of their own, trained on them by default. Both are saved:
`AutoTokenizer.from_pretrained(folder)` and `AutoTokenizer.from_pretrained(folder, subfolder="target")`. Texts are
written by beam search and scored by BLEU, chrF and ROUGE. Predictions are a text a line.
"""

import sys
from functools import partial

from ..loading import load_tokenizer
from ..model.encoder_decoder_elmo import ElmoForSeq2SeqLM
from .arguments import ParallelArguments, Seq2SeqArguments, Seq2SeqModelArguments
from .checks import check_settings, select_metric
from .data.parallel_texts import read_parallel_texts
from .data.splits import sample
from .generation import PairStart, TextTrainer, encoder_config, is_pair
from .runs import Runs
from .script import run_script
from .target_texts import METRICS, TargetTexts, load_metrics


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    return run_script(
        "seq2seq", train, (ParallelArguments, Seq2SeqModelArguments, Seq2SeqArguments), arguments, __doc__
    )


def train(
    data: ParallelArguments, model_args: Seq2SeqModelArguments, args: Seq2SeqArguments, command: list[str]
) -> None:
    """Train with each seed, write the targets of the test sources, and save the best model."""
    load_metrics()  # which may be missing: known now rather than after training
    check_settings(model_args.model_name_or_path, args)
    splits = read_parallel_texts(data)
    config = encoder_config(model_args, splits)
    tokenizer = load_tokenizer(model_args.model_name_or_path)
    targets = TargetTexts.of(data, model_args, splits, is_pair(model_args))
    encode_split = partial(targets.encode, source=tokenizer)
    datasets = {name: encode_split(examples) for name, examples in splits.items()}
    start = PairStart(ElmoForSeq2SeqLM, config, model_args, tokenizer, datasets, targets=targets, args=args)
    select_metric(args, METRICS, default="chrf")

    with Runs(command, data, model_args, args, splits, start) as runs:
        for run in runs:
            if data.train_fraction < 1:
                datasets["train"] = encode_split(sample(splits.train, data.train_fraction, run.seed))
            trainer = TextTrainer(start.create(run.seed), run.args, datasets, targets.tokenizer, targets.score)
            run.train(trainer)
            run.evaluate(trainer, targets.write)
        runs.finish()


if __name__ == "__main__":
    sys.exit(main())
