# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Train a bidirectional language model as the original ELMo was trained, from scratch or from an existing model.

    python -m hf_elmo.training.pretrain --train_files 'corpus/*.txt' --validation_files held_out.txt --output_dir model

The same command resumes an interrupted run exactly where its last checkpoint left it, and leaves an ended one alone.
With `torchrun --nproc-per-node N -m hf_elmo.training.pretrain ...`, N processes share the streams of text.
"""

import contextlib
import logging
import sys
from itertools import chain
from pathlib import Path

from transformers import set_seed
from transformers.trainer_utils import IntervalStrategy

from ..loading import load_tokenizer
from .checkpoints import checkpoint_to_resume, move_into_place, remove_checkpoints, write_json
from .checks import check_optimizer, check_settings
from .language_model.arguments import ModelArguments, PretrainingArguments, TextArguments
from .language_model.corpus import choose_split, count_words, open_corpus, read_held_out
from .language_model.model import choose_vocabulary, default_split, make_model, make_tokenizer, starting_config
from .language_model.perplexity import unigram_perplexity
from .language_model.report import describe_model, describe_text, report_results, save_model_card
from .language_model.senses import Occurrences
from .language_model.streams import TrainingWindows, WordTable
from .language_model.trainer import BiLMTrainer
from .run_card import publish
from .run_plots import draw_curves, may_draw
from .run_record import RunRecord, configuration_digest, digest, settings_of, tokenizer_digest
from .script import RESULTS_FILE, run_script

logger = logging.getLogger("hf_elmo.training")


def main(arguments: list[str] | None = None) -> int:
    """Run the script, and return its exit code."""
    classes = (TextArguments, ModelArguments, PretrainingArguments)
    return run_script("pretrain", train, classes, arguments, __doc__)


def train(text: TextArguments, model_args: ModelArguments, args: PretrainingArguments, command: list[str]) -> None:
    """Read the text, make the model, train, evaluate and save.

    Args:
        command: The command line, for the model card.
    """
    check_settings(model_args.model_name_or_path, args)
    set_seed(args.seed)
    start = model_args.model_name_or_path
    config = starting_config(model_args, args.device)

    # The text and its words
    old_tokenizer = None if start is None else load_tokenizer(start)
    raw_split = text.split or default_split(old_tokenizer, args.language)
    corpus = open_corpus(text)
    logger.info(choose_split(corpus, text.split, raw_split))
    held_out = read_held_out(text, raw_split)
    statistics = None if text.streaming else count_words(corpus)
    vocabulary = choose_vocabulary(text, old_tokenizer, statistics)
    describe_text(statistics, vocabulary, held_out)
    tokenizer = make_tokenizer(vocabulary, raw_split, old_tokenizer, config)
    table = WordTable.from_tokenizer(tokenizer)
    num_tokens = None if statistics is None else statistics.num_tokens
    windows = TrainingWindows.from_corpus(corpus, table, args, num_tokens, text.shuffle)

    # The model
    model, accumulators = make_model(model_args, config, vocabulary, old_tokenizer)
    check_optimizer(args, model)
    describe_model(model, windows, args)

    # The run: a new one, or one that was interrupted or has ended
    content = {
        "text": corpus.digest() if statistics is None else statistics.digest,
        "held-out text": held_out and digest(held_out),
        "vocabulary": digest(vocabulary),
        "configuration": configuration_digest(config),
        "tokenizer": tokenizer_digest(tokenizer),
        "initial weights": start and digest(chain(*model.state_dict().items(), *accumulators.items())),
    }
    content = {name: value for name, value in content.items() if value is not None}
    identity = {**settings_of(text, model_args, args), "split": corpus.split, **content}
    run = RunRecord(args.output_dir, identity, is_main=args.should_save)
    if run.has_ended() and not args.overwrite_output_dir:
        ended = "%s: this run has ended before, and nothing is changed; --overwrite_output_dir True starts it again"
        logger.info(ended, args.output_dir)
        run.close()  # removes what a kill in the run's last moment leaves
        return
    if held_out and args.eval_strategy == IntervalStrategy.NO:
        args.eval_strategy, args.eval_steps = IntervalStrategy.STEPS, args.save_steps
    set_seed(args.seed + args.process_index)  # processes draw different dropout masks
    trainer = BiLMTrainer(
        model,
        args,
        table=table,
        train_dataset=windows,
        eval_dataset=held_out,
        accumulators=accumulators,
        occurrences=Occurrences.from_arguments(corpus, table, text, model_args, args),
        processing_class=tokenizer,
    )
    if args.resume_from_checkpoint:
        trainer.position(Path(checkpoint_to_resume(args.resume_from_checkpoint, args.output_dir)))
    with args.main_process_first(local=False):
        run.claim(args.overwrite_output_dir)
    with contextlib.closing(run):
        trainer.train(checkpoint_to_resume(args.resume_from_checkpoint, args.output_dir))
        metrics = trainer.final_evaluation() if held_out else {}
        if metrics and statistics is not None:
            metrics["eval_unigram_perplexity"] = unigram_perplexity(statistics, vocabulary, held_out)
        report_results(metrics)

        # The folder: everything at once, and the record that the run has ended last
        staging = trainer.save_to_staging()
        if args.should_save:
            results = {**trainer.results(), **metrics}
            write_json(staging / RESULTS_FILE, results)
            if args.plots and may_draw():
                draw_curves(staging, {"": vars(trainer.state)}, "perplexity")
            save_model_card(trainer, text, corpus, statistics, vocabulary, metrics, command, staging)
            move_into_place(staging, Path(args.output_dir))
            if args.push_to_hub:
                publish(args)
            run.finish(results)
            if not args.keep_checkpoints:
                remove_checkpoints(args.output_dir)
            logger.info("The model is saved in %s", args.output_dir)


if __name__ == "__main__":
    sys.exit(main())
