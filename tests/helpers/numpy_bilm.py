"""ELMo once more, in float64 numpy, from the tensors and options of the original's files: a witness that shares no
code, names or layouts with the package. One sentence, one word, one step at a time."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def word_vector(tensors, options, ids):
    """The context-free vector `(P,)` of a word's row of inference ids `(W,)`; a model of whole words has the one id."""
    if "char_embed" not in tensors:
        return tensors["embedding"][ids[0] - 1].astype(np.float64)
    cnn = options["char_cnn"]
    table = tensors["char_embed"].astype(np.float64)
    if len(table) == 261:  # without the row of id 0
        table = np.concatenate([np.zeros((1, table.shape[1])), table])
    characters = table[ids]  # (W, E)
    features = []
    for i, (width, _) in enumerate(cnn["filters"]):
        kernel = tensors[f"CNN/W_cnn_{i}"][0].astype(np.float64)  # (width, E, count)
        windows = np.stack([characters[start : start + width] for start in range(len(ids) - width + 1)])
        features.append((np.einsum("nwe,wec->nc", windows, kernel) + tensors[f"CNN/b_cnn_{i}"]).max(axis=0))
    x = np.concatenate(features)
    x = np.maximum(x, 0) if cnn["activation"] == "relu" else np.tanh(x)
    for k in range(cnn.get("n_highway") or 0):
        layer = {name: tensors[f"CNN_high_{k}/{name}"].astype(np.float64) for name in HIGHWAY}
        gate = sigmoid(x @ layer["W_carry"] + layer["b_carry"])
        x = gate * np.maximum(x @ layer["W_transform"] + layer["b_transform"], 0) + (1 - gate) * x
    if "CNN_proj/W_proj" in tensors:
        x = x @ tensors["CNN_proj/W_proj"].astype(np.float64) + tensors["CNN_proj/b_proj"]
    return x


HIGHWAY = ("W_carry", "b_carry", "W_transform", "b_transform")


def run_lstm(tensors, options, cell, inputs):
    """Outputs of one cell over `inputs` `(T, P)`, from a state of zeros."""
    lstm = options["lstm"]
    kernel, bias = (tensors[f"{cell}/{name}"].astype(np.float64) for name in ("W_0", "B"))
    projection = tensors.get(f"{cell}/W_P_0")
    h, c, outputs = np.zeros(kernel.shape[0] - inputs.shape[1]), np.zeros(len(bias) // 4), []
    for x in inputs:
        i, j, f, o = np.split(np.concatenate([x, h]) @ kernel + bias, 4)
        c = clip(sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j), lstm.get("cell_clip"))
        h = sigmoid(o) * np.tanh(c)
        if projection is not None:
            h = clip(h @ projection.astype(np.float64), lstm.get("proj_clip"))
        outputs.append(h)
    return np.stack(outputs)


def clip(x, bound):
    return x if bound is None else np.clip(x, -bound, bound)


def all_layers(tensors, options, sentence):
    """All layers `(L + 1, T, 2P)` of one sentence, a row `(W,)` of ids a word, boundary words included."""
    words = np.stack([word_vector(tensors, options, row) for row in sentence])
    layers = [np.concatenate([words, words], axis=1)]
    directions = []
    for direction in range(2):
        x, outputs = words[::-1] if direction else words, []
        for layer in range(options["lstm"].get("n_layers", 1)):
            y = run_lstm(tensors, options, f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell", x)
            x = y + x if layer and options["lstm"]["use_skip_connections"] else y
            outputs.append(x[::-1] if direction else x)
        directions.append(outputs)
    return np.stack(layers + [np.concatenate(both, axis=1) for both in zip(*directions)])
