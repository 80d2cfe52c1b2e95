"""The options that the fine-tuning scripts share."""

from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments


@dataclass
class DataArguments:
    """The examples: files, or a dataset of the Hub. Without training examples, a trained model is only applied."""

    train_file: str | None = field(default=None, metadata={"help": "Training examples, plain or .gz."})
    validation_file: str | None = field(
        default=None, metadata={"help": "Validation examples, which select the best checkpoint."}
    )
    test_file: str | None = field(default=None, metadata={"help": "Test examples, labeled at the end."})
    dataset_name: str | None = field(default=None, metadata={"help": "A dataset on the Hub or in a folder."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of the dataset."})
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    validation_split: str = field(default="validation", metadata={"help": "Split to validate on."})
    test_split: str = field(default="test", metadata={"help": "Split to label."})
    split_column: str | None = field(default=None, metadata={"help": "Column that names each row's split."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only the first training examples."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only the first validation examples."})
    max_predict_samples: int | None = field(default=None, metadata={"help": "Use only the first test examples."})
    train_fraction: float = field(
        default=1.0, metadata={"help": "Fraction of the training examples, drawn separately for each seed."}
    )

    def __post_init__(self):
        for name in ("max_train_samples", "max_eval_samples", "max_predict_samples"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1, but is {getattr(self, name)}")
        if not 0 < self.train_fraction <= 1:
            raise ValueError(f"--train_fraction must be above 0 and at most 1, but is {self.train_fraction:g}")


@dataclass
class ModelArguments:
    """The model to start from."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "A pretrained encoder, or a model trained for the task."}
    )
    config_overrides: str | None = field(
        default=None, metadata={"help": """Changes of the configuration: '{"tagger_size": 100}'."""}
    )
    freeze_encoder: bool = field(default=True, metadata={"help": "Train only the task's layers and the mixes."})
    random_encoder: bool = field(
        default=False, metadata={"help": "Use random encoder weights, drawn separately for each seed."}
    )
    mix: str = field(
        default="learnt", metadata={"help": "Mix of the layers: learnt, mean, top, or one layer's number."}
    )
    word_vectors: str | None = field(
        default=None, metadata={"help": "Static word vectors to use beside ELMo: GloVe or fastText text."}
    )
    all_word_vectors: bool = field(
        default=False, metadata={"help": "Keep the vectors of all words, not only of words in the data."}
    )


@dataclass
class FineTuningArguments(TrainingArguments):
    """`TrainingArguments` with defaults for task layers on a frozen encoder, and the options of these scripts."""

    output_dir: str = field(default="", metadata={"help": "Folder for checkpoints, results and the trained model."})
    overwrite_output_dir: bool = field(default=False, metadata={"help": "Replace another run in the output folder."})
    num_train_epochs: float = field(default=20, metadata={"help": "Number of training epochs."})
    learning_rate: float = field(default=1e-3, metadata={"help": "Initial learning rate."})
    lr_scheduler_type: str = field(default="constant", metadata={"help": "Schedule of the learning rate."})
    per_device_train_batch_size: int = field(default=32, metadata={"help": "Examples per training batch."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Examples per evaluation batch."})
    max_grad_norm: float = field(default=5.0, metadata={"help": "Maximum norm of the gradient."})
    train_sampling_strategy: str = field(
        default="group_by_length", metadata={"help": "group_by_length, random or sequential."}
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: epoch, steps or no."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint."})
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept beside the best."})
    keep_checkpoints: bool = field(default=False, metadata={"help": "Keep checkpoints after the run has ended."})
    load_best_model_at_end: bool | None = field(
        default=None, metadata={"help": "Return the best checkpoint. By default, if each is evaluated."}
    )
    metric_for_best_model: str | None = field(
        default=None, metadata={"help": "Metric that selects the best checkpoint."}
    )
    early_stopping_patience: int = field(
        default=5, metadata={"help": "Evaluations without improvement before training stops; 0: never."}
    )
    seeds: list[int] = field(
        default_factory=list, metadata={"help": "Train once per seed; report mean and standard deviation."}
    )
    mix_l2: float = field(default=0.0, metadata={"help": "Weight of an L2 penalty on the mix weights."})
    cache_encoder_outputs: bool = field(
        default=True, metadata={"help": "Compute a frozen encoder's layers once, not in every epoch."}
    )
    cache_dir: str | None = field(
        default=None, metadata={"help": "Folder of these layers, shared by runs. By default temporary."}
    )
    license: str | None = field(default=None, metadata={"help": "License of the weights, for the model card."})
    language: str | None = field(default=None, metadata={"help": "Language code of the text, for the model card."})
    hub_strategy: str = field(default="end", metadata={"help": "When to push: only `end`, once."})
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
        self.metric_for_best_model, self.greater_is_better = (
            chosen  # the task's own metric is the default, not the loss
        )
        if self.early_stopping_patience < 0:
            raise ValueError(f"--early_stopping_patience must not be negative, but is {self.early_stopping_patience}")
        if self.mix_l2 < 0:
            raise ValueError(f"--mix_l2 must not be negative, but is {self.mix_l2:g}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"--seeds must be different, but are {' '.join(map(str, self.seeds))}")


__all__ = ["DataArguments", "FineTuningArguments", "ModelArguments"]
