# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""ELMo modules of TensorFlow Hub (google/elmo/1 to 3) and of DeepPavlov, read from the variables of a SavedModel.

    bilm/...              the variables of bilm-tf, for which see `bilm_checkpoint`
    aggregation/weights   (L + 1,)   scalar mix, before the softmax      -> scalar_mixes.0.weights
    aggregation/scaling   ()         scale of the mix                    -> scalar_mixes.0.gamma

In the graph that uses a module all names have the prefix `module/`. A module holds no options, so the settings that no
shape reveals are those of the published models unless an options file is given. The output `elmo` of a module is
`last_hidden_state` here, `word_emb` is `token_embeddings`, `lstm_outputs1` and `lstm_outputs2` are `hidden_states`,
and `default` is the mean of `elmo` over the words of a sentence, without `<S>` and `</S>`.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from .bilm_checkpoint import bilm_variables, is_checkpoint
from .bilm_config import read_config
from .bilm_folder import is_options
from .bilm_hdf5 import read_weights
from .file_kinds import check_content
from .options import PUBLISHED_OPTIONS, published_note, read_options
from .original import Format, Original, Source, StoredTensor
from .tensorflow_checkpoint import checkpoint_files, find_prefix, read_checkpoint
from .word_list import find_word_list

AGGREGATION = {"aggregation/weights": "scalar_mixes.0.weights", "aggregation/scaling": "scalar_mixes.0.gamma"}
GRAPHS = ("saved_model.pb", "saved_model.pbtxt", "tfhub_module.pb")


def variables_of(path: Path) -> Path:
    """Return the checkpoint of a module: a SavedModel keeps it in the folder `variables`."""
    return path / "variables" if (path / "variables").is_dir() else path


def is_module(path: Path) -> bool:
    """Return whether a path is a SavedModel, or a checkpoint with the variables of a module."""
    if path.is_dir() and any((path / name).is_file() for name in GRAPHS):
        return True
    variables = variables_of(path)
    try:
        return is_checkpoint(variables) and bool(aggregation(read_checkpoint(variables)))
    except (ValueError, OSError):  # the reader of checkpoints reports the damage
        return False


def read_module(source: Source) -> Original:
    """Read the biLM of a module and its scalar mix."""
    variables = variables_of(source.path)
    if not is_checkpoint(variables):
        raise ValueError(f"{source.path}: a SavedModel without variables; expected variables/variables.index in it")
    folder = variables if variables.is_dir() else variables.parent
    checkpoint = read_checkpoint(variables)
    options_file = source.options or find_module_options(folder)
    stored = bilm_variables(checkpoint)
    if options_file is None:
        options, options_file = PUBLISHED_OPTIONS, find_prefix(variables)
        config, notes = read_config(options, stored, options_file)
        notes.append(published_note(source.path))
    else:
        config, notes = read_config(read_options(options_file), stored, options_file)
    state, unused = read_weights(stored, config)
    config.original_format.pop("character_rows", None)  # bilm-tf's files, the way back, are without a padding row
    state |= read_mix(checkpoint, config.num_hidden_layers + 1)
    notes += [f"{source.path} holds {name}, which is no part of an ELMo; left out" for name in unused]
    files = [*([options_file] if options_file.is_file() else []), *checkpoint_files(variables)]
    return Original(FORMAT.name, config, state, files, notes, source.vocabulary or find_word_list(folder))


FORMAT = Format("TensorFlow Hub module", is_module, read_module)


def aggregation(checkpoint: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Return the variables of the mix, by their names without a prefix."""
    names = {name.removeprefix("module/"): tensor for name, tensor in checkpoint.items()}
    return {name: names[name] for name in AGGREGATION if name in names}


def read_mix(checkpoint: Mapping[str, StoredTensor], layers: int) -> dict[str, Tensor]:
    """Return the parameters of the scalar mix, or nothing where a SavedModel has none."""
    found = aggregation(checkpoint)
    if not found:
        return {}
    if missing := AGGREGATION.keys() - found:
        file = next(iter(found.values())).file
        raise ValueError(f"{file}: lacks {', '.join(missing)}; expected both variables of the mix, {set(AGGREGATION)}")
    sizes = {"aggregation/weights": layers, "aggregation/scaling": 1}
    mix = {}
    for name, tensor in found.items():
        numbers = torch.from_numpy(tensor.read()).flatten()
        if len(numbers) != sizes[name] or not numbers.is_floating_point() or not numbers.isfinite().all():
            raise ValueError(
                f"{tensor.file}: {name} must hold {sizes[name]} finite numbers for {layers - 1} LSTM layers, "
                f"but is {tensor.shape}"
            )
        mix[AGGREGATION[name]] = numbers.float()
    return mix


def find_module_options(folder: Path) -> Path | None:
    """Return an options file in the folder of the variables or beside it, if there is exactly one."""
    for place in (folder, folder.parent):
        for path in place.glob("*options*.json"):
            check_content(path, "the options of the module")
        found = sorted(path for path in place.glob("*.json") if is_options(path))
        if len(found) == 1:
            return found[0]
    return None
