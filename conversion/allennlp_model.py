# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The task model of an AllenNLP archive: its settings, its tensors and its vocabulary, all accounted for.

Names of tensors are brought into one form, whatever version wrote them:

    _text_field_embedder., text_field_embedder.     text_field_embedder.     (the first underscore)
    encoder._module.weight_ih_l0                    encoder.weight_ih_l0     (wrappers)
    layer_0.cell.input_linearity                    layer_0.input_linearity  (since 1.0)
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .allennlp_vocabulary import Vocabulary
from .torch_file import checked

TRAINING_ONLY = ("initializer", "regularizer", "verbose_metrics", "label_smoothing", "ddp_accelerator")


class Settings:
    """A section of config.json, whose entries are taken one by one, so that no entry is overlooked.

    Args:
        content: The section.
        place: Its name in the file (`model.encoder`).
        file: The file.
    """

    def __init__(self, content: Any, place: str, file: Path):
        if not isinstance(content, dict):
            raise ValueError(f"{file}: {place} must be an object, but is {content!r:.80}")
        self.content, self.place, self.file = dict(content), place, file

    def __contains__(self, name: str) -> bool:
        return self.content.get(name) is not None

    def pop(self, name: str, default: Any, *types: type) -> Any:
        """Take an entry, of one of these types; the default where it is absent or null."""
        value = self.content.pop(name, None)
        if value is None:
            return default
        is_right = isinstance(value, types) and not (isinstance(value, bool) and bool not in types)
        if types and not is_right:
            expected = " or ".join(kind.__name__ for kind in types)
            raise ValueError(f"{self.file}: {self.place}.{name} must be {expected}, but is {value!r:.80}")
        return value

    def section(self, name: str) -> "Settings | None":
        """Take an entry that is a section; None where it is absent."""
        value = self.content.pop(name, None)
        value = {"type": value} if isinstance(value, str) else value  # short for a section with a type alone
        return None if value is None else Settings(value, f"{self.place}.{name}", self.file)

    def required(self, name: str) -> "Settings":
        """Take a section that must be there."""
        section = self.section(name)
        if section is None:
            raise ValueError(f"{self.file}: {self.place} lacks {name}")
        return section

    def size(self, name: str, default: int | None = None) -> int:
        """Take a number of units or layers, at least 1."""
        value = self.pop(name, default, int)
        if value is None or not 1 <= value <= 1 << 20:
            raise ValueError(f"{self.file}: {self.place}.{name} must be a whole number from 1, but is {value!r}")
        return value

    def rate(self, name: str) -> float:
        """Take a dropout, by default 0."""
        return self.check_rate(name, self.pop(name, 0.0, int, float))

    def check_rate(self, name: str, value: float) -> float:
        if not 0 <= value < 1:
            raise ValueError(f"{self.file}: {self.place}.{name} must be from 0 to below 1, but is {value!r}")
        return float(value)

    def each(self, name: str, count: int, default: Any, *types: type) -> list:
        """Take an entry that is a list with a value for each of `count` layers, or one value for all."""
        value = self.pop(name, default, list, *types)
        values = value if isinstance(value, list) else [value] * count
        if len(values) != count or not all(isinstance(one, types) for one in values):
            raise ValueError(f"{self.file}: {self.place}.{name} must have {count} values, but is {value!r:.80}")
        return values

    def choice(self, name: str, default: str | None, choices: Iterable[str]) -> str:
        """Take a name that must be one of several."""
        value = self.pop(name, default, str)
        if value not in choices:
            found = "missing" if value is None else f"{value!r}, which has no counterpart"
            raise ValueError(f"{self.file}: {self.place}.{name} is {found}; known are {', '.join(choices)}")
        return value

    def ignore(self, *names: str):
        """Leave out entries that change nothing in a trained model."""
        for name in names:
            self.content.pop(name, None)

    def finish(self):
        """Check that every entry was taken."""
        if left := [name for name, value in self.content.items() if value is not None]:
            raise ValueError(f"{self.file}: {self.place} has settings that have no counterpart: {', '.join(left)}")


class TaskArchive:
    """The parts of an archive around its ELMo.

    Args:
        folder: The unpacked archive.
        file: The file of the state dict.
        state: Its tensors, without those of the ELMo.
        mixes: Number of the first scalar mix of each ELMo, by the beginning of its tensors' names.
        hidden_size: Width of ELMo's vectors.
    """

    def __init__(
        self, folder: Path, file: Path, state: Mapping[str, Tensor], mixes: Mapping[str, int], hidden_size: int
    ):
        self.folder, self.file, self.hidden_size = folder, file, hidden_size
        self.mixes = {canonical(elmo): mix for elmo, mix in mixes.items()}
        self.config_file = folder / "config.json"
        self.config = json.loads(self.config_file.read_text(encoding="utf-8-sig"))
        self.names = {canonical(name): name for name in state}
        if len(self.names) < len(state):
            raise ValueError(
                f"{file}: holds tensors of the same name but for wrappers; expected one layout of AllenNLP"
            )
        self.state, self.left = state, set(self.names)
        self.vocabulary = Vocabulary(folder / "vocabulary", self.config.get("vocabulary"))
        self.notes: list[str] = []
        self.counts_padding = is_older_than_1_2_1(folder, state)

    @property
    def model(self) -> Settings:
        """The section of the model."""
        return Settings(self.config.get("model"), "model", self.config_file)

    def reader(self, entry: str) -> Settings:
        """The section of the dataset reader that has an entry; that of validation first, as predictors use it. Of a
        reader around another, as `sharded` and `multiprocess` are, the inner one."""
        for place in ("validation_dataset_reader", "dataset_reader"):
            section = self.config.get(place)
            if isinstance(section, dict) and isinstance(section.get("base_reader"), dict):
                place, section = f"{place}.base_reader", section["base_reader"]
            if isinstance(section, dict) and entry in section:
                return Settings(section, place, self.config_file)
        return Settings(self.config.get("dataset_reader") or {}, "dataset_reader", self.config_file)

    def has(self, name: str) -> bool:
        return name in self.names

    def take(self, name: str, *shape: int | None) -> Tensor:
        """Return a tensor after checking its shape, in which None is any size.

        Raises:
            ValueError: It is missing, has another shape, or holds no finite floats.
        """
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        if name not in self.names:
            raise ValueError(f"{self.file}: lacks {name} ({wanted}), which config.json asks for")
        tensor = self.state[self.names[name]]
        fits = tensor.dim() == len(shape) and all(size in (None, real) for size, real in zip(shape, tensor.shape))
        if not fits:
            raise ValueError(
                f"{self.file}: {self.names[name]} must be ({wanted}) by config.json and the other tensors, but is "
                f"{tuple(tensor.shape)}"
            )
        self.left.discard(name)
        return checked(self.names[name], tensor, tuple(tensor.shape), self.file).contiguous()

    def linear(self, theirs: str, ours: str, outputs: int | None, inputs: int, bias: bool = True) -> dict[str, Tensor]:
        """Take a linear layer, and return it by its names here."""
        layer = {f"{ours}.weight": self.take(f"{theirs}.weight", outputs, inputs)}
        if bias:
            layer[f"{ours}.bias"] = self.take(f"{theirs}.bias", layer[f"{ours}.weight"].shape[0])
        return layer

    def finish(self):
        """Check that every tensor was taken."""
        if left := sorted(self.left):
            shown = ", ".join(f"{self.names[name]} {tuple(self.state[self.names[name]].shape)}" for name in left[:12])
            more = f" and {len(left) - 12} more" if len(left) > 12 else ""
            raise ValueError(f"{self.file}: config.json does not explain {len(left)} tensors: {shown}{more}")


def is_older_than_1_2_1(folder: Path, state: Mapping[str, Tensor]) -> bool:
    """Return whether an archive says that its AllenNLP is older than 1.2.1, whose `CnnEncoder` reads padding too.

    Versions from 2.5.0 on write `meta.json`. Those before 1.0 archive further files, and name the weights of their
    LSTMs without `cell`. All others count as new: today's AllenNLP reads them so.
    """
    try:
        version = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["version"]
        return tuple(map(int, re.findall(r"\d+", version)[:3])) < (1, 2, 1)
    except (OSError, ValueError, TypeError, KeyError):
        is_old = (folder / "files_to_archive.json").is_file() or (folder / "fta").is_dir()
        return is_old or any(re.search(r"layer_\d+\.input_linearity", name) for name in state)


def canonical(name: str) -> str:
    """Return the name of a tensor in the form that does not depend on versions and wrappers."""
    name = name.replace("._module.", ".")
    while "._module." in name:
        name = name.replace("._module.", ".")
    return re.sub(r"\.cell\.", ".", name.removeprefix("_"))
