# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Arguments of the pretraining script: text, model, training. Default values are those of bilm-tf."""

from dataclasses import dataclass, field

from transformers import TrainingArguments

from ..script import option

# By the beginning of an optimizer's name. Adagrad's is that of bilm-tf. With 1e-3, Adam is about as fast as Adagrad in
# the first 150 steps of a tiny model on WikiText-2 (sampled perplexities 296 and 308).
LIKE_ADAM = ("adamw", "stable_adamw", "ademamix", "paged_adamw", "paged_ademamix", "adafactor")
LEARNING_RATES = {"adagrad": 0.2, **dict.fromkeys(LIKE_ADAM, 1e-3)}


@dataclass
class TextArguments:
    """The training text and the words to predict."""

    train_files: list[str] = field(
        default_factory=list, metadata={"help": "Text files or globs, plain or .gz, one sentence a line."}
    )
    validation_files: list[str] = field(
        default_factory=list, metadata={"help": "Held-out text, scored with the full softmax."}
    )
    split: str | None = option(None, "treebank, punctuation or whitespace; by default, only raw text is split.")
    dataset_name: str | None = option(None, "A dataset on the Hub or in a folder.")
    dataset_config_name: str | None = option(None, "Configuration of the dataset.")
    dataset_split: str = option("train", "Split of the dataset to train on.")
    text_column: str = option("text", "Column of texts, or of lists of words.")
    streaming: bool = option(False, "Read the dataset while it is downloaded.")
    shuffle: bool = option(True, "Shuffle the sentences in each epoch.")
    vocab_file: str | None = option(None, "Words to predict, one a line.")
    max_vocab_size: int = option(800_000, "Maximum size of a vocabulary made from the text.")
    min_count: int = option(3, "Minimum count of a word in such a vocabulary.")


@dataclass
class ModelArguments:
    """The model to start from."""

    size: str | None = option(None, "tiny, small, medium or original; default: original, on a CPU tiny.")
    model_name_or_path: str | None = option(None, "Train this model further.")
    config_name: str | None = option(None, "A new model's config.json, in place of --size.")
    config_overrides: str | None = option(None, """Changes of the configuration: '{"projection_size": 128}'.""")
    freeze_encoder: bool = option(False, "Train only the softmax.")


@dataclass
class PretrainingArguments(TrainingArguments):
    """`TrainingArguments` with the values of bilm-tf as defaults, and the options of language models."""

    output_dir: str = option("", "Folder for checkpoints and the trained model.")
    overwrite_output_dir: bool = option(False, "Replace another run in the output folder.")
    num_train_epochs: float = option(10, "Number of training epochs.")
    per_device_train_batch_size: int = option(128, "Streams of text per process.")
    unroll_steps: int = option(20, "Words of a stream per step.")
    num_negative_samples: int = option(
        8192, "Number of negative samples, drawn once per step and direction; 0: full softmax."
    )
    sense_weight: float | None = option(
        None, "Weight of a loss by which a word's vectors are similar where its contexts are; for text in its order."
    )
    optim: str = option("adagrad", "adagrad as in bilm-tf, or another of transformers.")
    learning_rate: float | None = option(None, "Initial rate; default: 0.2 for adagrad, 0.001 for Adam.")
    lr_scheduler_type: str = option("constant", "Schedule of the learning rate.")
    max_grad_norm: float = option(10.0, "Maximum norm of the gradient of loss x unroll_steps.")
    logging_steps: float = option(100, "Steps between two logs.")
    save_steps: float = option(1250, "Steps between two checkpoints.")
    save_total_limit: int | None = option(2, "Number of checkpoints to keep.")
    keep_checkpoints: bool = option(True, "Keep them after the end, to train longer.")
    plots: bool = option(True, "Draw the curves, where matplotlib is installed.")
    license: str | None = option(None, "License of the weights, for the model card.")
    language: str | None = option(None, "Language code of the text; default: en.")
    hub_strategy: str = option("end", "When to push; `every_save` pushes checkpoints too.")

    def __post_init__(self):
        if self.learning_rate is None:
            self.learning_rate = default_learning_rate(str(getattr(self.optim, "value", self.optim)))
        super().__post_init__()


def default_learning_rate(optimizer: str) -> float:
    """Return the default learning rate of an optimizer."""
    name = max((name for name in LEARNING_RATES if optimizer.startswith(name)), key=len, default=None)
    if name is None:
        raise ValueError(
            f"--optim {optimizer} has no default learning rate here, only {', '.join(LEARNING_RATES)} have: give "
            "--learning_rate"
        )
    return LEARNING_RATES[name]
