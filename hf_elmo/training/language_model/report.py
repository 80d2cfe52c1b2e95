# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Messages of a pretraining run before its first step, and the model card of its result."""

import logging
from pathlib import Path

from huggingface_hub import EvalResult
from transformers.training_args import OptimizerNames

from ...model.language_model_elmo import ElmoForPreTraining
from ...splitting_rules import DESCRIPTIONS
from ...tables import Table
from ..run_card import save_card
from .arguments import PretrainingArguments, TextArguments
from .corpus import Corpus, TextStatistics
from .streams import TrainingWindows
from .trainer import BiLMTrainer

logger = logging.getLogger("hf_elmo.training")

METRICS = ("perplexity", "forward_perplexity", "backward_perplexity")


def describe_text(statistics: TextStatistics | None, vocabulary: list[str], held_out: list[list[str]] | None) -> None:
    """Log what was understood of the text."""
    if statistics is not None:
        logger.info(
            "%s sentences, %s words, %s different ones; %.2f %% of the words are outside the vocabulary of %s words",
            *map("{:,}".format, (statistics.num_sentences, statistics.num_words, len(statistics.counts))),
            100 * statistics.unknown_share(vocabulary),
            f"{len(vocabulary):,}",
        )
        more = " ..." if len(statistics.first_sentence) > 40 else ""
        logger.info("The first sentence: %s%s", " ".join(statistics.first_sentence[:40]), more)
    if held_out:
        logger.info("%s held-out sentences, %s words", f"{len(held_out):,}", f"{sum(map(len, held_out)):,}")


def describe_model(model: ElmoForPreTraining, windows: TrainingWindows, args: PretrainingArguments) -> None:
    """Log the number of parameters, and what a step and an epoch are."""
    head = sum(parameter.numel() for parameter in model.lm_head.parameters())
    logger.info(
        "%.1f M parameters in the encoder (projection %d, cell %d), %.1f M in the softmax; %s, learning rate %g",
        sum(parameter.numel() for parameter in model.parameters()) / 1e6 - head / 1e6,
        model.config.projection_size,
        model.config.cell_size,
        head / 1e6,
        OptimizerNames(args.optim).value,
        args.learning_rate,
    )
    epoch = "" if windows.num_windows is None else f"; an epoch is {windows.num_windows:,} steps"
    logger.info("A step is %d streams of %d words%s", len(windows.forward.rows), args.unroll_steps, epoch)


def report_results(metrics: dict[str, float]) -> None:
    """Log perplexities of the held-out text in one table."""
    names = [name for name in (*METRICS, "unigram_perplexity") if f"eval_{name}" in metrics]
    if names:
        rows = [[name.removesuffix("perplexity").strip("_") or "both", metrics[f"eval_{name}"]] for name in names]
        logger.info("\n%s\n", Table("perplexity of the held-out text", ["model", "perplexity"], rows, digits=2).text())


def save_model_card(
    trainer: BiLMTrainer,
    text: TextArguments,
    corpus: Corpus,
    statistics: TextStatistics | None,
    vocabulary: list[str],
    metrics: dict[str, float],
    command: list[str],
    folder: Path,
) -> None:
    """Write the card of the trained model into its folder."""
    args, model = trainer.args, trainer.accelerator.unwrap_model(trainer.model)
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type="local",
            dataset_name=", ".join(Path(pattern).name for pattern in text.validation_files),
            dataset_split="validation",
            dataset_args={"tokens": metrics["eval_tokens"]},
            metric_type="perplexity",
            metric_name=f"{name.replace('_', ' ')} of {metrics['eval_tokens']} words",
            metric_value=metrics[f"eval_{name}"],
        )
        for name in METRICS
        if f"eval_{name}" in metrics
    ]
    size = ", streamed"
    if statistics is not None:
        size = (
            f": {statistics.num_words:,} words in {statistics.num_sentences:,} sentences, "
            f"{statistics.unknown_share(vocabulary):.2%} of the words not in the vocabulary"
        )
    shards = ", ".join("/".join(Path(shard).parts[-2:]) for shard in corpus.shards)
    origin = f"Trained as a bidirectional language model on {text.dataset_name or shards}{size}."
    if model.trained_from:
        origin = f"{origin} Training started from `{model.trained_from}`."
    unigram = metrics.get("eval_unigram_perplexity")
    weight = args.sense_weight
    senses = f", beside {weight:g} times the loss of senses" if weight else ""
    training = f"""\
{trainer.state.global_step} steps of {len(trainer.train_dataset.forward.rows)} streams of {args.unroll_steps} words, \
{args.optim.value} with learning rate {args.learning_rate:g} ({args.lr_scheduler_type.value}), \
{trainer.num_negative_samples or "all"} words in the softmax of a training step, {args.world_size} process(es) on \
{args.device.type}{senses}. Perplexities are of held-out text, by the full softmax, from a zero state at each \
sentence\
{f"; word frequencies alone (unigrams, one added to each count) reach {unigram:.2f}" if unigram else ""}."""
    save_card(
        model,
        folder,
        args,
        trainer.hub_model_id,
        command,
        training,
        eval_results=results or None,
        origin=origin,
        tokenization=describe_split(corpus, trainer.processing_class.split),
    )


def describe_split(corpus: Corpus, tokenizer_split: str) -> str:
    """Return what the card says about the words of the training text and of the tokenizer. Markdown."""
    if corpus.split == tokenizer_split:
        rule = DESCRIPTIONS[corpus.split]
        return f"By the rule `{corpus.split}`, which the tokenizer applies to raw text too. {rule}"
    return (
        "The text was split into words already and was left as it is (`whitespace`). The tokenizer splits raw text by "
        f"the rule `{tokenizer_split}`; where the training text was split by another rule, pass words to match it: "
        "`tokenizer(words, is_split_into_words=True)`."
    )
