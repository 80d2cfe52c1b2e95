"""What a script says of its task; everything else the scripts share."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from ..model.task_model_elmo import ElmoTaskModel
from .arguments import DataArguments, FineTuningArguments
from .encoded import Split
from .text_files import Place


class Task:
    """A task: how its examples are read and encoded, and how predictions are scored and written.

    Examples may be anything; the driver hands lists of them on, and takes parts of these lists.
    """

    name: str  # of the script
    head: type[ElmoTaskModel]
    metric: str  # of `score`; the checkpoint that has most of it is the best. Settled when labels are known
    data_arguments: type[DataArguments] = DataArguments
    run_arguments: type[FineTuningArguments] = FineTuningArguments
    model_defaults: Mapping = {}  # of the configuration, for an encoder that gets this head

    def __init__(self, data: DataArguments):
        self.data = data

    def read_file(self, path: str, split: str) -> list:
        """The examples of a file.

        Args:
            split: Name of the split that they are for, as `--train_split` and its like say it.
        """
        raise NotImplementedError

    def read_rows(self, rows: Iterable[tuple[Place, dict]]) -> list:
        """The examples of a table or of a data set, whose labels are names already, None where there is none."""
        raise NotImplementedError

    def label_names(self, examples: Sequence) -> list[str] | None:
        """The labels that training examples have, in the order of the model's outputs; None if the task has none."""
        raise NotImplementedError

    def use_labels(self, names: Sequence[str] | None):
        """Take the model's labels, before anything is encoded."""
        self.labels = {name: number for number, name in enumerate(names or ())}

    def config_options(self) -> dict:
        """Of the model's configuration, beside the labels' names."""
        return {}

    def check(self, examples: Sequence, split: str):
        """Warn of, or refuse, what does not fit the model's labels. `split` is train, validation or test."""

    def encode(self, examples: Sequence, tokenizer: PreTrainedTokenizerBase, split: str) -> Split:
        """What the model takes of examples.

        Args:
            split: What they are for: train, validation or test.
        """
        raise NotImplementedError

    def score(self, split: Split, predictions) -> dict[str, float]:
        """Measures of predictions; {} where it is not known what is right.

        Args:
            predictions: What the model gave but the loss, an array or a tuple of arrays, in the order of the features.
        """
        raise NotImplementedError

    def write(self, split: Split, predictions, folder: Path, name: str):
        """Write predictions in the task's format into a folder, as a file whose name begins with `name`."""
        raise NotImplementedError
