# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The records that pass between the readers of foreign formats and the writer of converted folders."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from hf_elmo.model.configuration_elmo import ElmoConfig


class StoredTensor(NamedTuple):
    """A tensor in a file of any format, not read yet. `read` checks it first and raises `ValueError`."""

    file: Path
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


class Source(NamedTuple):
    """The local files that the user named, and the choices that a format may offer."""

    path: Path  # file or folder
    options: Path | None = None
    softmax: Path | None = None
    vocabulary: Path | None = None
    prefer: str | None = None  # "hdf5" or "checkpoint", where a folder holds both
    archive: Path | None = None  # the archive that `path` was unpacked from


class Original(NamedTuple):
    """A model as it was found in a foreign format.

    Args:
        format: Name of the format.
        config: Configuration of the model.
        state: Tensors by their names in `ElmoModel`, and `lm_head.*` for the softmax of the language model.
        files: Files that were read.
        notes: One line for each assumption and for each part that was left out.
        vocabulary: Word list of the softmax, or of a model that reads words.
        accumulators: Adagrad's accumulators, by the names of the weights in bilm-tf's hdf5 files.
        dictionaries: Ids of characters and words by their names, for models that read code points.
        words: Word list, where the format has it in another form than `vocabulary`.
        facts: Entries of the model card that the format records (`language`, `license`, `training`, ...).
    """

    format: str
    config: ElmoConfig
    state: Mapping[str, Tensor]
    files: list[Path]
    notes: list[str]
    vocabulary: Path | None = None
    accumulators: Mapping[str, StoredTensor] = {}
    facts: Mapping[str, str] = {}
    dictionaries: Mapping[str, Mapping[str, int]] | None = None
    words: list[str] | None = None


class Format(NamedTuple):
    """A foreign format: its name, whether a path holds it (decided by content), and its reader."""

    name: str
    recognizes: Callable[[Path], bool]
    read: Callable[[Source], Original]
