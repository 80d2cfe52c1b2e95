# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""A biLM of bilm-tf as AllenNLP keeps it in a state dict, written out independently of the reader."""

import io
import json
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def gates(array: np.ndarray) -> np.ndarray:
    """From the columns i, j, f, o of TensorFlow to i, f, j, o."""
    i, j, f, o = np.split(array, 4, axis=-1)
    return np.concatenate([i, f, j, o], axis=-1)


def state_dict(tensors: Mapping[str, np.ndarray], prefix: str, mixes=((0.0, 0.0, 0.0, 1.0),)) -> dict[str, Tensor]:
    """Return an `Elmo` module's state dict; a mix is its weights, then gamma."""
    state, characters = {}, f"{prefix}_elmo_lstm._token_embedder."
    table = tensors["char_embed"]
    state[f"{characters}_char_embedding_weights"] = np.concatenate([np.zeros_like(table[:1]), table])
    for name in (name for name in tensors if name.startswith("CNN/W_cnn_")):
        number = name.rsplit("_", 1)[1]
        state[f"{characters}char_conv_{number}.weight"] = tensors[name][0].transpose(2, 1, 0)
        state[f"{characters}char_conv_{number}.bias"] = tensors[f"CNN/b_cnn_{number}"]
    for name in (name for name in tensors if name.endswith("W_transform")):
        place, number = name.split("/")[0], name.split("/")[0].rsplit("_", 1)[1]
        for part, kind in (("weight", "W"), ("bias", "b")):
            transform, carry = (tensors[f"{place}/{kind}_{gate}"].T for gate in ("transform", "carry"))
            state[f"{characters}_highways._layers.{number}.{part}"] = np.concatenate([transform, -carry])
    state[f"{characters}_projection.weight"] = tensors["CNN_proj/W_proj"].T
    state[f"{characters}_projection.bias"] = tensors["CNN_proj/b_proj"]
    for name in (name for name in tensors if name.endswith("W_0")):
        cell = name.removesuffix("W_0")
        direction = "forward" if name.startswith("RNN_0") else "backward"
        layer = re.search(r"Cell(\d+)", name)[1]
        ours = f"{prefix}_elmo_lstm._elmo_lstm.{direction}_layer_{layer}"
        width = tensors[f"{cell}W_P_0"].shape[1]
        kernel, bias = gates(tensors[name]), gates(tensors[f"{cell}B"]).copy()
        bias[len(bias) // 4 : len(bias) // 2] += 1
        state[f"{ours}.input_linearity.weight"], state[f"{ours}.state_linearity.weight"] = (
            kernel[:width].T,
            kernel[width:].T,
        )
        state[f"{ours}.state_linearity.bias"] = bias
        state[f"{ours}.state_projection.weight"] = tensors[f"{cell}W_P_0"].T
    for number, (*weights, gamma) in enumerate(mixes):
        state[f"{prefix}scalar_mix_{number}.gamma"] = np.array([gamma])
        for layer, weight in enumerate(weights):
            state[f"{prefix}scalar_mix_{number}.scalar_parameters.{layer}"] = np.array([weight])
    return {name: torch.from_numpy(np.ascontiguousarray(array, np.float32)) for name, array in state.items()}


def write_archive(
    path: Path, state: Mapping[str, Tensor], config: Mapping | None = None, members: Mapping = {}
) -> Path:
    """Write model.tar.gz, with further members by name."""
    weights = io.BytesIO()
    torch.save(dict(state), weights)
    files = {"config.json": json.dumps(config).encode(), "weights.th": weights.getvalue(), **members}
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path
