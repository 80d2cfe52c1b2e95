# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Folders that `from_pretrained` loads, as the source of a conversion back to the original format, or to 8 bits."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hf_elmo.model.configuration_elmo import ElmoConfig
from hf_elmo.model.tokenizer_files_elmo import DICTIONARIES_FILE, read_dictionaries

from . import elmo_for_many_langs
from .bilm_hdf5 import rules
from .original import Format, Original, Source
from .state_dict_rules import lstm_rules
from .word_list import find_word_list


def is_saved_model(path: Path) -> bool:
    """Return whether a folder holds a saved model of this package."""
    config = path / "config.json"
    if not (path.is_dir() and config.is_file() and any(path.glob("*.safetensors"))):
        return False
    try:
        return json.loads(config.read_text(encoding="utf-8")).get("model_type") == "elmo"
    except (ValueError, AttributeError, RecursionError, OSError):
        return False


def read_saved_model(source: Source) -> Original:
    """Read encoder and language-model head of a saved model. Notes name what the original format cannot hold."""
    folder = source.path
    try:
        config = ElmoConfig.from_pretrained(folder)
        tensors = SafetensorsFolder(folder)
    except (ValueError, OSError, TypeError, AttributeError, SafetensorError, StrictDataclassError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise ValueError(
            f"{folder}: not readable as a saved model ({reason}); expected what `hf-elmo convert` makes"
        ) from error
    if quantization := getattr(config, "quantization_config", None):
        raise ValueError(
            f"{folder}: a quantized model ({quantization.get('quant_method')}), whose weights are rounded; give the "
            "model that it was made from"
        )
    bytes_only = config.character_scheme == "bytes"
    table = rules(config) if bytes_only else [*elmo_for_many_langs.rules(config), *lstm_rules(config, "")]
    needed = {parameter for rule in table for parameter in rule.parameters}
    if missing := needed - set(tensors):
        raise ValueError(
            f"{folder}: model.safetensors lacks {', '.join(sorted(missing)[:3])}, which config.json asks for"
        )
    left = sorted(name for name in set(tensors) - needed if not is_untrained_mix(name, tensors))
    notes = [f"{name} has no place in the original format; left out" for name in left]
    vocabulary = source.vocabulary or find_word_list(folder)
    files, dictionaries = sorted(folder.glob("*.safetensors")), None
    if not bytes_only and (folder / DICTIONARIES_FILE).is_file():
        dictionaries = read_dictionaries(folder / DICTIONARIES_FILE)
    return Original(FORMAT.name, config, tensors, files, notes, vocabulary, dictionaries=dictionaries)


FORMAT = Format("safetensors", is_saved_model, read_saved_model)


def is_untrained_mix(name: str, tensors: Mapping[str, Tensor]) -> bool:
    """Return whether a tensor belongs to a scalar mix as every conversion adds it, so that nothing is lost."""
    return name.startswith("scalar_mixes.") and bool((tensors[name] == name.endswith(".gamma")).all())


class SafetensorsFolder(Mapping):
    """The tensors of a saved model of any class, each read on request, by their names in `ElmoModel`."""

    def __init__(self, folder: Path):
        self.files = {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                self.files.update({name: path for name in file.keys()})  # noqa: SIM118 (not a dict)

    def __getitem__(self, name: str) -> Tensor:
        stored = name if name in self.files else f"elmo.{name}"
        with safe_open(self.files[stored], framework="pt") as file:
            return file.get_tensor(stored)

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix("elmo.") for name in self.files)

    def __len__(self) -> int:
        return len(self.files)
