"""The model that every run of a command begins with, and the checks that need no training."""

import copy
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase, set_seed
from transformers.utils import logging as transformers_logging

from ..loading import loading
from ..model.configuration_elmo import ElmoConfig
from ..model.task_model_elmo import ElmoTaskModel
from .arguments import ModelArguments
from .batches import EncodedDataset
from .configs import read_config
from .data.splits import Splits
from .word_vectors import VectorTable, read_word_vectors, words_of


def trained_labels(model_args: ModelArguments, head: type[ElmoTaskModel]) -> list[str] | None:
    """Return the labels of the model to start from if it has this head, or None."""
    config = read_config(model_args.model_name_or_path)
    return list(config.id2label.values()) if head.__name__ in (config.architectures or ()) else None


def task_config(
    head: type[ElmoTaskModel], model_args: ModelArguments, splits: Splits, defaults: dict | None = None, **options
) -> ElmoConfig:
    """Return the configuration of the model to train, with the labels of the data.

    Labels keep the order of a trained model that knows all of them.

    Args:
        defaults: Options that an encoder gets with this head; a model that has the head keeps its own.
        options: Options that the task needs.

    Raises:
        `ValueError`: if there are no training examples and the model has no such head.
    """
    known = trained_labels(model_args, head)
    if splits.train is None and known is None:
        raise ValueError(
            f"{model_args.model_name_or_path} is no {head.__name__}, which could label without training: "
            "give training examples, --train_file or --dataset_name"
        )
    fixed = ("id2label", "label2id", *options)
    options = {"word_vocab_size": 0, **({} if known else defaults or {}), **options}
    is_trained = model_args.random_encoder or not model_args.freeze_encoder
    config = read_config(model_args.model_name_or_path, model_args.config_overrides, is_trained, fixed, **options)
    if splits.label_names is not None:
        names = known if known and set(splits.label_names) <= set(known) else splits.label_names
        config.id2label, config.label2id = dict(enumerate(names)), {name: id for id, name in enumerate(names)}
    return config


@dataclass
class StartingModel:
    """The model that every run begins with: the same encoder or a random one, and new task layers by the run's seed.

    Args:
        head: Class of the model.
        config: Its configuration; the number and size of static vectors is added to it.
        model_args: The options of the model.
        tokenizer: Encodes words of the file of static vectors.
        datasets: Words of these datasets have static vectors.
    """

    head: type[ElmoTaskModel]
    config: ElmoConfig
    model_args: ModelArguments
    tokenizer: PreTrainedTokenizerBase
    datasets: dict[str, EncodedDataset]

    def __post_init__(self):
        self.vectors: VectorTable | None = None
        if self.model_args.word_vectors is not None:
            lowercase = self.config.word_vector_lowercase and bool(self.config.char_cnn_filters)
            wanted = None if self.model_args.all_word_vectors else words_of(self.datasets.values(), lowercase)
            self.vectors = read_word_vectors(self.model_args.word_vectors, self.tokenizer, lowercase, wanted)
            self.config.word_vector_count, self.config.word_vector_size = self.vectors.vectors.shape

    def create(self, seed: int) -> ElmoTaskModel:
        """Return a new model; the seed determines the weights of new layers."""
        set_seed(seed)
        model = self.load(copy.deepcopy(self.config))
        if self.vectors is not None:
            model.word_vectors.fill(*self.vectors)
        set_mixes(model, self.model_args.mix)
        if self.model_args.freeze_encoder:
            model.elmo.freeze_encoder()
        return model

    def load(self, config: ElmoConfig) -> ElmoTaskModel:
        """Return the model as it is before mixes and frozen weights are chosen."""
        if self.model_args.random_encoder:
            return self.head(config)
        return load(self.head, self.model_args.model_name_or_path, config)

    def save_tokenizers(self, folder: Path) -> None:
        """Save what turns texts into what the model reads."""
        self.tokenizer.save_pretrained(folder)


def load(head: type[ElmoTaskModel], name: str, config: ElmoConfig) -> ElmoTaskModel:
    """Load a model with the encoder of `name`; task layers that `name` lacks, or has in another size, are new."""
    verbosity = transformers_logging.get_verbosity()
    own_logger = logging.getLogger(ElmoTaskModel.__module__.rpartition(".")[0])
    own_level = own_logger.level
    transformers_logging.set_verbosity_error()  # an encoder without task layers is no reason for a warning
    own_logger.setLevel(logging.ERROR)
    try:
        with loading(name):
            model, found = head.from_pretrained(
                name, config=config, dtype=torch.float32, ignore_mismatched_sizes=True, output_loading_info=True
            )
    finally:
        transformers_logging.set_verbosity(verbosity)
        own_logger.setLevel(own_level)
    lacking = [*found["missing_keys"], *(mismatch[0] for mismatch in found["mismatched_keys"])]
    lacking = sorted(key for key in lacking if key.startswith("elmo.") and "scalar_mixes" not in key)
    if lacking:
        raise ValueError(
            f"{name}: its weights do not fit the configuration ({lacking[0]} and {len(lacking) - 1} others): "
            "--config_overrides is for the task's layers, not for sizes of the encoder"
        )
    return model


def set_mixes(model: ElmoTaskModel, choice: str):
    """Set all mixes as `--mix` says: learnt, or fixed to the mean, the top layer, or one layer by its number."""
    layers = model.elmo.config.num_hidden_layers + 1
    if choice == "learnt":
        return
    if choice == "mean":
        weights = torch.ones(layers)
    elif choice == "top" or (choice.isdecimal() and int(choice) < layers):
        weights = torch.zeros(layers)
        weights[-1 if choice == "top" else int(choice)] = 1
    else:
        raise ValueError(f"--mix must be learnt, mean, top, or a layer from 0 to {layers - 1}, but is {choice!r}")
    for mix in range(len(model.elmo.scalar_mixes)):
        model.elmo.set_mix_weights(weights, mix=mix)
    model.elmo.freeze_mix()
    model.elmo.config.mix_trainable = False
