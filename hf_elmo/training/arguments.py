"""What the scripts that train a task have in common on the command line, and how a JSON file of arguments is read."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from transformers import HfArgumentParser, TrainingArguments

RECIPES = Path(__file__).parent / "recipes"


@dataclass
class DataArguments:
    """The examples: files, or a data set of the Hub. Without training examples a trained model is only applied."""

    train_file: str | None = field(default=None, metadata={"help": "Examples to learn from, plain or .gz."})
    validation_file: str | None = field(
        default=None, metadata={"help": "Examples by which the best checkpoint is chosen."}
    )
    test_file: str | None = field(default=None, metadata={"help": "Examples to label at the end."})
    dataset_name: str | None = field(
        default=None, metadata={"help": "In place of files: a data set, on the Hub or in a folder."}
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Its configuration."})
    train_split: str = field(default="train", metadata={"help": "Its split to learn from."})
    validation_split: str = field(default="validation", metadata={"help": "Its split to choose by."})
    test_split: str = field(default="test", metadata={"help": "Its split to label at the end."})
    split_column: str | None = field(
        default=None, metadata={"help": "The column that tells the split of a row, where one file holds several."}
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only the first so many examples."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "The same of the validation examples."})
    max_predict_samples: int | None = field(default=None, metadata={"help": "The same of the test examples."})
    train_fraction: float = field(
        default=1.0, metadata={"help": "Learn from this part of the examples, drawn anew for each seed."}
    )
    license: str | None = field(default=None, metadata={"help": "License of the weights, for the model's card."})
    language: str | None = field(default=None, metadata={"help": "Language of the text, for the model's card: en."})

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
        default=None, metadata={"help": "A pretrained encoder, or a model that was trained for the task."}
    )
    config_overrides: str | None = field(
        default=None, metadata={"help": """Changes of the configuration, as JSON: '{"tagger_size": 100}'."""}
    )
    freeze_encoder: bool = field(default=True, metadata={"help": "Train the task's layers and the mixes alone."})
    random_encoder: bool = field(
        default=False,
        metadata={"help": "Replace the encoder's weights by random ones, others for each seed: no pretraining."},
    )
    mix: str = field(
        default="learnt",
        metadata={"help": "How the layers are mixed: learnt, mean, top, or the number of one layer (0: characters)."},
    )
    word_vectors: str | None = field(
        default=None, metadata={"help": "Static word vectors beside ELMo's: a text file as of GloVe or fastText."}
    )
    all_word_vectors: bool = field(
        default=False, metadata={"help": "Keep the vectors of all words of that file, not only of words in the data."}
    )


@dataclass
class FineTuningArguments(TrainingArguments):
    """`TrainingArguments` with defaults for a task's layers on a frozen encoder, and what only these scripts have."""

    output_dir: str = field(default="", metadata={"help": "The folder for checkpoints, results and the trained model."})
    num_train_epochs: float = field(default=20, metadata={"help": "Passes over the examples."})
    learning_rate: float = field(default=1e-3, metadata={"help": "The learning rate (of Adam)."})
    lr_scheduler_type: str = field(default="constant", metadata={"help": "Its schedule."})
    per_device_train_batch_size: int = field(default=32, metadata={"help": "Examples of a training step."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Examples of a batch in evaluation."})
    max_grad_norm: float = field(default=5.0, metadata={"help": "Bound of the gradient's global norm."})
    train_sampling_strategy: str = field(
        default="group_by_length",
        metadata={"help": "Batches of examples of like length (default), random, or sequential."},
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: epoch, steps or no."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save; as a rule as --eval_strategy."})
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept beside the best."})
    load_best_model_at_end: bool | None = field(
        default=None,
        metadata={"help": "Whether the best checkpoint is the result. By default if each is saved and evaluated."},
    )
    metric_for_best_model: str | None = field(
        default=None, metadata={"help": "What the best has most of; by default the task's own measure."}
    )
    hub_strategy: str = field(default="end", metadata={"help": "When to push: once, at the end."})
    dataloader_pin_memory: bool = field(
        default_factory=torch.cuda.is_available, metadata={"help": "Whether batches lie in pinned memory."}
    )
    early_stopping_patience: int = field(
        default=5, metadata={"help": "End after so many evaluations without a better one; 0 is never."}
    )
    seeds: list[int] = field(
        default_factory=list, metadata={"help": "Several runs, one a seed: mean and standard deviation are reported."}
    )
    mix_l2: float = field(
        default=0.0, metadata={"help": "Factor of the sum of the mixes' squared weights, added to the loss."}
    )
    cache_encoder_outputs: bool = field(
        default=True, metadata={"help": "Compute a frozen encoder's layers once, into a file, not in every epoch."}
    )
    cache_dir: str | None = field(
        default=None, metadata={"help": "Folder of that file, for other runs to find. By default a temporary one."}
    )

    def __post_init__(self):
        if self.load_best_model_at_end is None:
            when_saved, when_evaluated = (
                getattr(when, "value", when) for when in (self.save_strategy, self.eval_strategy)
            )
            self.load_best_model_at_end = when_saved in ("best", when_evaluated) and when_evaluated != "no"
        super().__post_init__()
        if self.early_stopping_patience < 0:
            raise ValueError(f"--early_stopping_patience must not be negative, but is {self.early_stopping_patience}")
        if self.mix_l2 < 0:
            raise ValueError(f"--mix_l2 must not be negative, but is {self.mix_l2:g}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"--seeds must be different, but are {' '.join(map(str, self.seeds))}")


class ArgumentParser(HfArgumentParser):
    """Dataclasses from the command line and from JSON files; what is wrong is a `ValueError` of one line."""

    def error(self, message: str):
        raise ValueError(message)

    def parse(self, arguments: list[str]) -> tuple:
        """Arguments, before which a `.json` file may stand; what is said on the command line goes before the file.

        In the file, keys that begin with `_` are notes, and an object may stand where the command line takes JSON. The
        name of one of the `recipes` that come with the package is enough.
        """
        if arguments and arguments[0].endswith(".json"):
            self.set_defaults(**self.read_json(arguments[0]))
            arguments = arguments[1:]
        *parsed, unknown = self.parse_args_into_dataclasses(arguments, return_remaining_strings=True)
        if unknown:
            raise ValueError(f"no such argument: {' '.join(unknown)}; --help lists those that there are")
        return tuple(parsed)

    def read_json(self, path: str) -> dict:
        shipped = RECIPES / path
        try:
            with open(path if Path(path).is_file() or not shipped.is_file() else shipped, encoding="utf-8-sig") as file:
                settings = json.load(file)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not JSON ({error})") from None
        if not isinstance(settings, dict):
            raise ValueError(f'{path}: must be an object of arguments, {{"learning_rate": 0.001, ...}}')
        settings = {name: value for name, value in settings.items() if not name.startswith("_")}
        known = {f.name for cls in self.dataclass_types for f in fields(cls) if f.init}
        if unknown := sorted(settings.keys() - known):
            raise ValueError(f"{path}: no such argument: {', '.join(unknown)}")
        if isinstance(settings.get("config_overrides"), dict):
            settings["config_overrides"] = json.dumps(settings["config_overrides"])
        return settings
