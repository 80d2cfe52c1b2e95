"""The options that the fine-tuning scripts share."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import Seq2SeqTrainingArguments, TrainingArguments

from .data.word_labels import LABEL_SCHEMES
from .script import option

PROBLEM_TYPES = ("single_label", "multi_label", "regression")


def check_least(arguments: object, least: int, *names: str) -> None:
    """Raise `ValueError` if one of these options has a value below the least one."""
    for name in names:
        value = getattr(arguments, name)
        if value is not None and value < least:
            must = f"be at least {least}" if least else "not be negative"
            raise ValueError(f"--{name} must {must}, but is {value:g}")


def check_choice(arguments: object, name: str, choices: Sequence[str]) -> None:
    """Raise `ValueError` if an option has none of the values that there are."""
    if getattr(arguments, name) not in choices:
        raise ValueError(f"--{name} must be one of {', '.join(choices)}, but is {getattr(arguments, name)!r}")


@dataclass
class DataArguments:
    """The examples: files, or a dataset of the Hub. Without training examples, a trained model is only applied."""

    train_file: str | None = option(None, "Training examples, plain or .gz.")
    validation_file: str | None = option(None, "Validation examples, which select the best checkpoint.")
    test_file: str | None = option(None, "Test examples, labeled at the end.")
    dataset_name: str | None = option(None, "A dataset on the Hub or in a folder.")
    dataset_config_name: str | None = option(None, "Configuration of the dataset.")
    train_split: str = option("train", "Split to train on.")
    validation_split: str = option("validation", "Split to validate on.")
    test_split: str = option("test", "Split to label.")
    split_column: str | None = option(None, "Column that names each row's split.")
    max_train_samples: int | None = option(None, "Use only the first training examples.")
    max_eval_samples: int | None = option(None, "Use only the first validation examples.")
    max_predict_samples: int | None = option(None, "Use only the first test examples.")
    train_fraction: float = option(1.0, "Fraction of the training examples, drawn separately for each seed.")

    def __post_init__(self):
        check_least(self, 1, "max_train_samples", "max_eval_samples", "max_predict_samples")
        if not 0 < self.train_fraction <= 1:
            raise ValueError(f"--train_fraction must be above 0 and at most 1, but is {self.train_fraction:g}")


@dataclass
class WordLabelArguments(DataArguments):
    """Sentences with a label for each word: files with a word per line, tables, or a dataset."""

    word_column: str | None = option(None, "Column of the words: its name, or its number from 0 (-1: the last).")
    label_column: str | None = option(None, "Column of the labels. By default the last.")
    sentence_column: str | None = option(None, "Tables: column that numbers the sentences.")
    label_list: list[str] = field(default_factory=list, metadata={"help": "Names of labels that are numbers, from 0."})
    label_scheme: str = option("bio", f"Scheme to learn: {', '.join(LABEL_SCHEMES)}.")

    def __post_init__(self):
        super().__post_init__()
        check_choice(self, "label_scheme", LABEL_SCHEMES)


@dataclass
class TextLabelArguments(DataArguments):
    """Texts with a label each."""

    text_column: str | None = option(None, "Column of the texts.")
    text_pair_column: str | None = option(None, "Tables: column of the second texts of pairs.")
    label_column: str | None = option(None, "Column of the labels.")
    problem_type: str = option("single_label", f"{', '.join(PROBLEM_TYPES)}.")
    first_label: bool = option(False, "Keep the first of several labels of a text.")
    label_separator: str | None = option(None, "multi_label: separates labels in a cell.")
    threshold: float = option(0.5, "multi_label: probability above which a label is predicted.")
    class_weights: str = option("none", "Weights of classes in the loss: none or balanced.")
    phrases: bool = option(False, "Train on all phrases of trees, not only on sentences.")
    binary: bool = option(False, "Trees: positive or negative, without neutral ones.")

    def __post_init__(self):
        super().__post_init__()
        check_choice(self, "problem_type", PROBLEM_TYPES)
        check_choice(self, "class_weights", ("none", "balanced"))
        if not 0 < self.threshold < 1:
            raise ValueError(f"--threshold must be above 0 and below 1, but is {self.threshold:g}")
        if self.threshold != 0.5 and self.problem_type != "multi_label":
            raise ValueError("--threshold is for --problem_type multi_label: the others predict one label or value")
        if self.class_weights != "none" and self.problem_type != "single_label":
            raise ValueError("--class_weights is for --problem_type single_label: the others have no classes to weight")


@dataclass
class PairArguments(DataArguments):
    """Pairs of texts with a label each."""

    first_column: str | None = option(None, "Column of the premise. By default as in SNLI, SICK or MultiNLI.")
    second_column: str | None = option(None, "Column of the hypothesis.")
    label_column: str | None = option(None, "Column of the labels.")
    regression: bool = option(False, "Labels are numbers, such as relatedness.")


@dataclass
class QuestionArguments(DataArguments):
    """Questions, texts with their answers, and how the texts are read."""

    max_context_words: int = option(400, "Maximum number of words of a window.")
    context_stride: int = option(128, "Words that a window repeats of the previous one.")
    max_answer_length: int = option(17, "Maximum number of words of an answer.")
    n_best: int = option(20, "Answers to each question that are written down.")
    no_answer_threshold: float = option(0.0, "SQuAD 2.0: no answer if its score exceeds the best answer's by more.")
    keep_unplaced_answers: bool = option(
        False, "Score by answers that are not where the data say, but do not learn them."
    )

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.context_stride < self.max_context_words:
            raise ValueError(
                f"--context_stride must be from 0 to below --max_context_words ({self.max_context_words}), but is "
                f"{self.context_stride}"
            )
        check_least(self, 1, "max_answer_length", "n_best")


@dataclass
class PredicateArguments(DataArguments):
    """Sentences with predicates and labels of their arguments."""

    learn_predicates: bool = option(True, "Learn to find the predicates of sentences, too.")


@dataclass
class DocumentArguments(DataArguments):
    """Documents with clusters of mentions."""

    max_train_words: int = option(0, "Maximum number of words of a document in training; longer ones are cut. 0: any.")

    def __post_init__(self):
        super().__post_init__()
        check_least(self, 0, "max_train_words")


@dataclass
class ParallelArguments(DataArguments):
    """Source texts and their targets: translations, summaries, headlines, replies."""

    source_language: str | None = option(None, "Parallel lines: the part of file names that sources have, as en.")
    target_language: str | None = option(None, "Parallel lines: the part that their targets have, as de.")
    source_column: str | None = option(None, "Tables: column of the sources.")
    target_column: str | None = option(None, "Tables: column of the targets.")
    max_source_words: int = option(400, "Maximum number of words of a source; longer ones are cut.")
    max_target_length: int = option(128, "Maximum number of tokens of a target; longer ones are cut.")

    def __post_init__(self):
        super().__post_init__()
        check_least(self, 4, "max_source_words", "max_target_length")


@dataclass
class ModelArguments:
    """The model to start from."""

    model_name_or_path: str | None = option(None, "A pretrained encoder, or a model trained for the task.")
    config_overrides: str | None = option(None, """Changes of the configuration: '{"tagger_size": 100}'.""")
    freeze_encoder: bool = option(True, "Train only the task's layers and the mixes.")
    random_encoder: bool = option(False, "Use random encoder weights, drawn separately for each seed.")
    mix: str = option("learnt", "Mix of the layers: learnt, mean, top, or one layer's number.")
    word_vectors: str | None = option(None, "Static word vectors to use beside ELMo: GloVe or fastText text.")
    all_word_vectors: bool = option(False, "Keep the vectors of all words, not only of words in the data.")


@dataclass
class Seq2SeqModelArguments(ModelArguments):
    """The encoder to start from, and the decoder, which is new; or a pair that was trained for the task."""

    decoder_layers: int = option(3, "Layers of the decoder.")
    decoder_size: int = option(256, "Width of the decoder.")
    decoder_heads: int = option(4, "Attention heads of each of its layers.")
    decoder_dropout: float = option(0.2, "Dropout of the decoder.")
    target_tokenizer: str | None = option(None, "Tokenizer of the targets. By default one is trained on them.")
    target_vocab_size: int = option(8000, "Tokens of a tokenizer that is trained on the targets.")

    def __post_init__(self):
        check_least(self, 1, "decoder_layers", "decoder_size", "decoder_heads")
        size, heads = self.decoder_size, self.decoder_heads
        if size % heads:
            raise ValueError(f"--decoder_size must be a multiple of --decoder_heads ({heads}), but is {size}")
        if not 0 <= self.decoder_dropout < 1:
            raise ValueError(f"--decoder_dropout must be from 0 to below 1, but is {self.decoder_dropout:g}")
        if self.target_vocab_size < 300:
            size = self.target_vocab_size
            raise ValueError(f"--target_vocab_size must be at least 300, as 256 of them are bytes, but is {size}")
        if self.word_vectors is not None:
            raise ValueError("--word_vectors are read by task heads; a decoder reads only the encoder: leave it out")


@dataclass
class FineTuningArguments(TrainingArguments):
    """`TrainingArguments` with defaults for task layers on a frozen encoder, and the options of these scripts."""

    output_dir: str = option("", "Folder for checkpoints, results and the trained model.")
    overwrite_output_dir: bool = option(False, "Replace another run in the output folder.")
    num_train_epochs: float = option(20, "Number of training epochs.")
    learning_rate: float = option(1e-3, "Initial learning rate.")
    lr_scheduler_type: str = option("constant", "Schedule of the learning rate.")
    per_device_train_batch_size: int = option(32, "Examples per training batch.")
    per_device_eval_batch_size: int = option(64, "Examples per evaluation batch.")
    max_grad_norm: float = option(5.0, "Maximum norm of the gradient.")
    train_sampling_strategy: str = option("group_by_length", "group_by_length, random or sequential.")
    eval_strategy: str = option("epoch", "When to evaluate: epoch, steps or no.")
    save_strategy: str = option("epoch", "When to save a checkpoint.")
    logging_strategy: str = option("epoch", "When to log.")
    save_total_limit: int | None = option(1, "Checkpoints kept beside the best.")
    keep_checkpoints: bool = option(False, "Keep checkpoints after the run has ended.")
    load_best_model_at_end: bool | None = option(None, "Return the best checkpoint. By default, if each is evaluated.")
    metric_for_best_model: str | None = option(None, "Metric that selects the best checkpoint.")
    early_stopping_patience: int = option(5, "Evaluations without improvement before training stops; 0: never.")
    plots: bool = option(True, "Draw curves, layer weights and errors, where matplotlib is installed.")
    seeds: list[int] = field(
        default_factory=list, metadata={"help": "Train once per seed; report mean and standard deviation."}
    )
    mix_l2: float = option(0.0, "Weight of an L2 penalty on the mix weights.")
    cache_encoder_outputs: bool = option(True, "Compute a frozen encoder's layers once, not in every epoch.")
    cache_dir: str | None = option(None, "Folder of these layers, shared by runs. By default temporary.")
    license: str | None = option(None, "License of the weights, for the model card.")
    language: str | None = option(None, "Language code of the text, for the model card.")
    hub_strategy: str = option("end", "When to push: only `end`, once.")
    dataloader_pin_memory: bool = field(
        default_factory=torch.cuda.is_available, metadata={"help": "Keep batches in pinned memory."}
    )

    def __post_init__(self):
        if self.load_best_model_at_end is None:
            when_saved, when_evaluated = (
                getattr(when, "value", when) for when in (self.save_strategy, self.eval_strategy)
            )
            self.load_best_model_at_end = when_saved in ("best", when_evaluated) and when_evaluated != "no"
        chosen = self.metric_for_best_model, self.greater_is_better
        super().__post_init__()
        # The default is the task's own metric, not the loss.
        self.metric_for_best_model, self.greater_is_better = chosen
        check_least(self, 0, "early_stopping_patience", "mix_l2")
        check_choice(self, "train_sampling_strategy", ("group_by_length", "random", "sequential"))
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"--seeds must be different, but are {' '.join(map(str, self.seeds))}")


@dataclass
class Seq2SeqArguments(FineTuningArguments, Seq2SeqTrainingArguments):
    """The options of fine-tuning with those of generation, by which a model is evaluated."""

    predict_with_generate: bool = option(True, "Evaluate by what the model writes.")
    generation_num_beams: int | None = option(4, "Beams of the search.")
    generation_max_length: int | None = option(None, "Maximum number of tokens; default: --max_target_length.")
