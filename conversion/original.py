# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The records that pass between the readers of foreign formats and the writer of converted folders."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

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
    encoder_only: bool = False  # whether to leave out the task model around the ELMo
    part: str | None = None  # which of several ELMos of an archive
    archive: Path | None = None  # the archive that `path` was unpacked from
    embeddings: Path | None = None  # token embeddings of a word list, in place of a character encoder
    alignment: Mapping[int, Path] = {}  # matrices to another language, by layer


class Head(NamedTuple):
    """A task model around the encoder.

    Args:
        architecture: Name of its class.
        config: Fields of the configuration.
        state: Tensors by their names in the class, without those of the encoder.
        labels: Names of the labels in the order of their ids.
        features: What the tokenizer carries for embeddings of the head's own, see `row_variants_elmo`.
        tokenizer: Options of the tokenizer.
        kind: Name of the model in the foreign format.
        facts: Entries of the model card.
    """

    architecture: str
    config: Mapping[str, Any]
    state: Mapping[str, Tensor]
    labels: list[str]
    features: Mapping[str, Any] | None = None
    tokenizer: Mapping[str, Any] = {}
    kind: str = ""
    facts: Mapping[str, str] = {}


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
        head: The task model around the encoder, if it is carried over.
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
    head: Head | None = None


class Format(NamedTuple):
    """A foreign format: its name, whether a path holds it (decided by content), and its reader."""

    name: str
    recognizes: Callable[[Path], bool]
    read: Callable[[Source], Original]
