# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The ELMos of AllenNLP's `elmo_token_embedder_multilang` (Schuster et al. 2019), one for each language.

    PREFIXelmo_{language}.              an `Elmo` module, read as any other
    PREFIXaligning_{language}.weight    (2P, 2P), which the mix is multiplied by   -> alignment.layer_{0 to L}

A mix is a weighted sum, so that its product is the mix of the products of its layers. This holds for sums of layers as
they are, not of normalized ones.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from hf_elmo.model.configuration_elmo import ElmoConfig

from .torch_file import checked

TYPE = "elmo_token_embedder_multilang"
MODULE = re.compile(r"(.*\btoken_embedder_[^.]+\.)elmo_([^.]+)\.")


def language_of(elmo: str) -> str | None:
    """Return the language of the module whose tensors' names begin with `elmo`; None for one of a single language."""
    found = MODULE.fullmatch(elmo)
    return found and found[2]


def read_aligning(
    state: Mapping[str, Tensor], elmo: str, config: ElmoConfig, file: Path
) -> tuple[dict[str, Tensor], set[str], list[str]]:
    """Return the alignment of an ELMo, with the names of the tensors that it is read from, and notes.

    Sets `config.aligned_layers`, unless the matrix is that of a language that others are aligned to: the identity.

    Raises:
        ValueError: The matrix has another shape than the layers, or the mix is of normalized layers.
    """
    found = MODULE.fullmatch(elmo)
    name = f"{found[1]}aligning_{found[2]}.weight" if found else ""
    if name not in state:
        return {}, set(), []
    matrix = checked(name, state[name], (config.hidden_size, config.hidden_size), file).float().contiguous()
    if torch.equal(matrix, torch.eye(config.hidden_size)):
        return {}, {name}, [f"{name} of {file} is the identity: other languages are aligned to this one"]
    if config.mix_layer_norm:
        raise ValueError(f"{file}: {name} aligns a mix of normalized layers (do_layer_norm), which has no counterpart")
    config.aligned_layers = list(range(config.num_hidden_layers + 1))
    note = f"aligned to another language: every layer, and so the mix, by {name} of {file}"
    return {f"alignment.layer_{layer}": matrix.clone() for layer in config.aligned_layers}, {name}, [note]
