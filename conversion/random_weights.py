# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Weights of an untrained biLM in the original format, for tests and trials of any size.

    python -m hf_elmo.conversion.random_weights FOLDER

writes small ones. Names and shapes are spelled out as bilm-tf has them, not taken from our own table of its format, so
that the reader has something to fail on.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

OPTIONS = {
    "lstm": {
        "use_skip_connections": True,
        "projection_dim": 32,
        "cell_clip": 3,
        "proj_clip": 3,
        "dim": 128,
        "n_layers": 2,
    },
    "char_cnn": {
        "activation": "relu",
        "filters": [[1, 16], [2, 16], [3, 32], [4, 64]],
        "n_highway": 1,
        "embedding": {"dim": 8},
        "n_characters": 262,
        "max_characters_per_token": 50,
    },
}


def random_weights(options: Mapping, *, seed: int = 0, gain: float = 1.0, words: int = 0, bias: float = 0.1) -> dict:
    """The tensors of a biLM as bilm-tf initializes them, but with random biases, which zeros would hide.

    Args:
        options: As in options.json. Without `"char_cnn"` it is a model of whole words, `"n_tokens_vocab"` of them.
        seed: The same seed gives the same numbers, everywhere and always.
        gain: Factor on the LSTMs' kernels. Large recurrent gains are chaotic: rounding grows from word to word.
        words: Rows of the language model's softmax, or 0 for none.
        bias: Standard deviation of biases.
    Returns:
        float32 arrays by their names in the weight file.
    """
    chance = np.random.RandomState(seed)  # its streams are frozen, unlike those of numpy's newer generators
    lstm, characters = options["lstm"], options.get("char_cnn")
    width, cell = lstm["projection_dim"], lstm["dim"]
    tensors = {}

    def normal(name: str, shape: tuple[int, ...], deviation: float, mean: float = 0.0):
        tensors[name] = (mean + deviation * chance.standard_normal(shape)).astype(np.float32)

    def uniform(name: str, shape: tuple[int, ...], bound: float):
        tensors[name] = chance.uniform(-bound, bound, shape).astype(np.float32)

    if characters:
        size, filters = characters["embedding"]["dim"], characters["filters"]
        features = sum(count for _, count in filters)
        uniform("char_embed", (261, size), 1.0)
        for i, (length, count) in enumerate(filters):
            uniform(f"CNN/W_cnn_{i}", (1, length, size, count), (3 / (length * size)) ** 0.5)
            normal(f"CNN/b_cnn_{i}", (count,), bias)
        for k in range(characters.get("n_highway") or 0):
            for gate, mean in (("carry", -2.0), ("transform", 0.0)):
                normal(f"CNN_high_{k}/W_{gate}", (features, features), features**-0.5)
                normal(f"CNN_high_{k}/b_{gate}", (features,), bias, mean)
        if features != width:
            normal("CNN_proj/W_proj", (features, width), features**-0.5)
            normal("CNN_proj/b_proj", (width,), bias)
    else:
        normal("embedding", (options["n_tokens_vocab"], width), 1.0)

    for direction in range(2):
        for layer in range(lstm.get("n_layers", 1)):
            name = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            uniform(f"{name}/W_0", (2 * width, 4 * cell), gain * (6 / (2 * width + 4 * cell)) ** 0.5)
            normal(f"{name}/B", (4 * cell,), bias)
            if cell != width:
                uniform(f"{name}/W_P_0", (cell, width), gain * (6 / (cell + width)) ** 0.5)

    if words:
        normal("softmax/W", (words, width), width**-0.5)
        normal("softmax/b", (words,), bias)
    return tensors


def write_files(
    folder: Path, options: Mapping, tensors: Mapping[str, np.ndarray], weights: str = "weights.hdf5"
) -> Path:
    """Write options.json and a weight file of any name into `folder`. Returns the weight file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "options.json").write_text(json.dumps(options, indent=2) + "\n", encoding="utf-8")
    with h5py.File(folder / weights, "w") as file:
        for name, tensor in tensors.items():
            file.create_dataset(name, data=tensor)
    return folder / weights


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m hf_elmo.conversion.random_weights FOLDER")
    print(write_files(Path(sys.argv[1]), OPTIONS, random_weights(OPTIONS)))
