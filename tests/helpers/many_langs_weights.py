# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""A tiny untrained model in the layout of ELMoForManyLangs, written out independently of the reader."""

import json
from pathlib import Path

import torch

CHARACTERS = [*"abcdefghijklmnopqrstuvwxyz.", "\u00e9", "\u6c49", "\U0001f600", "\u3000"]
CHARACTERS += ["<bos>", "<eos>", "<oov>", "<pad>", "<bow>", "<eow>"]
WORDS = ["<oov>", "<bos>", "<eos>", "<pad>", "the", "bank", "\u6c49", "b" * 48]
SETTINGS = {
    "encoder": {"name": "elmo", "projection_dim": 6, "cell_clip": 3, "proj_clip": 3, "dim": 10, "n_layers": 2},
    "token_embedder": {
        "name": "cnn",
        "activation": "relu",
        "filters": [[1, 4], [2, 5]],
        "n_highway": 1,
        "word_dim": 3,
        "char_dim": 4,
        "max_characters_per_token": 50,
    },
    "dropout": 0.1,
}


def write_model(folder: Path, words: bool = True, legacy: bool = True, settings: dict = SETTINGS) -> Path:
    """Write a model with random weights; without `words` it reads characters only."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(7)
    names = {"char_emb_layer.embedding.weight": (len(CHARACTERS), 4), "convolutions.0.weight": (4, 4, 1)}
    names |= {"convolutions.0.bias": (4,), "convolutions.1.weight": (5, 4, 2), "convolutions.1.bias": (5,)}
    names |= {"highways._layers.0.weight": (18, 9), "highways._layers.0.bias": (18,), "projection.bias": (6,)}
    names["projection.weight"] = (6, 12 if words else 9)
    if words:
        names["word_emb_layer.embedding.weight"] = (len(WORDS), 3)
    lstm = {}
    for direction in ("forward", "backward"):
        for layer in range(2):
            prefix = f"{direction}_layer_{layer}"
            lstm |= {f"{prefix}.input_linearity.weight": (40, 6), f"{prefix}.state_linearity.weight": (40, 6)}
            lstm |= {f"{prefix}.state_linearity.bias": (40,), f"{prefix}.state_projection.weight": (6, 10)}
    for file, shapes in (("token_embedder.pkl", names), ("encoder.pkl", lstm)):
        state = {name: torch.randn(shape, generator=generator) / 2 for name, shape in shapes.items()}
        torch.save(state, folder / file, _use_new_zipfile_serialization=not legacy)
    (folder / "config.json").write_text(json.dumps({"config_path": "/home/somebody/cnn_sample.json"}))
    (folder / "cnn_sample.json").write_text(json.dumps(settings))
    for name, tokens in (("char.dic", CHARACTERS), ("word.dic", WORDS))[: 1 + words]:
        lines = "".join(f"{token}\t{number}\n" for number, token in enumerate(tokens))
        (folder / name).write_text(lines, encoding="utf-8")
    return folder
