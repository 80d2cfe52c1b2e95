# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Random models of two texts as AllenNLP's archives hold them: state dicts and config.json of `esim`,
`decomposable_attention` and `bidaf`, in many configurations."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape) * 0.5


def add_feedforward(state: dict, prefix: str, section: Mapping):
    """Add the tensors of a `FeedForward`."""
    sizes = section["hidden_dims"]
    width = section["input_dim"]
    for layer in range(section["num_layers"]):
        size = sizes[layer] if isinstance(sizes, list) else sizes
        state[f"{prefix}_linear_layers.{layer}.weight"] = noise(size, width)
        state[f"{prefix}_linear_layers.{layer}.bias"] = noise(size)
        width = size


def add_encoder(state: dict, prefix: str, section: Mapping):
    """Add the tensors of a `Seq2SeqEncoder`."""
    if section["type"] == "feedforward":
        add_feedforward(state, f"{prefix}_feedforward.", section["feedforward"])
    if section["type"] in ("lstm", "gru"):
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[section["type"]]
        both, layers = section.get("bidirectional", False), section.get("num_layers", 1)
        module = kind(section["input_size"], section["hidden_size"], layers, bidirectional=both)
        state |= {f"{prefix}_module.{name}": noise(*tensor.shape) for name, tensor in module.state_dict().items()}


def width_of(section: Mapping) -> int:
    """Width of an encoder's output."""
    if section["type"] == "pass_through":
        return section["input_dim"]
    if section["type"] == "feedforward":
        sizes = section["feedforward"]["hidden_dims"]
        return sizes[-1] if isinstance(sizes, list) else sizes
    return section["hidden_size"] * (2 if section.get("bidirectional") else 1)


def add_similarity(state: dict, model: Mapping):
    """Add the tensors of a similarity of words."""
    old = "similarity_function" in model
    section = model["similarity_function" if old else "matrix_attention"]
    if isinstance(section, str):  # a type alone, without tensors
        return
    prefix = f"_matrix_attention.{'_similarity_function.' if old else ''}"
    if section.get("type") == "linear":
        x, y = section["tensor_1_dim"], section["tensor_2_dim"]
        widths = [y if piece in ("y", "2") else x for piece in section.get("combination", "x,y").split(",")]
        state |= {f"{prefix}_weight_vector": noise(sum(widths)), f"{prefix}_bias": noise(1)}
    if section.get("type") == "bilinear":
        extra = bool(section.get("use_input_biases"))
        sizes = [section[f"{'tensor' if old else 'matrix'}_{number}_dim"] + extra for number in (1, 2)]
        state |= {f"{prefix}_weight_matrix": noise(*sizes), f"{prefix}_bias": noise(1)}


def rnn(kind: str, input_size: int, hidden_size: int, **options) -> dict:
    """The section of a recurrent encoder."""
    return {"type": kind, "input_size": input_size, "hidden_size": hidden_size, **options}


def layers(input_dim: int, hidden_dims: int | list[int], activations: str | list[str], **options) -> dict:
    """The section of a `FeedForward`."""
    count = len(hidden_dims) if isinstance(hidden_dims, list) else options.pop("num_layers", 1)
    sizes = {"input_dim": input_dim, "num_layers": count, "hidden_dims": hidden_dims}
    return {**sizes, "activations": activations, **options}


def esim(width: int, labels: int, encoder: Mapping, similarity: Mapping, **sections) -> tuple[dict, dict]:
    """The section `model` and the tensors of an `esim` for words of this width."""
    encoded = width_of(encoder)
    projection = sections.get("projection") or layers(4 * encoded, 5, "relu")
    sizes = projection["hidden_dims"]
    inference = sections.get("inference") or rnn(
        "lstm", sizes[-1] if isinstance(sizes, list) else sizes, 4, bidirectional=True
    )
    model = {
        "type": "esim",
        "encoder": encoder,
        **similarity,
        "projection_feedforward": projection,
        "inference_encoder": inference,
        "output_feedforward": sections.get("output") or layers(4 * width_of(inference), 6, "relu", dropout=0.5),
        "output_logit": sections.get("logit") or layers(6, labels, "linear"),
        **sections.get("rest", {}),
    }
    state: dict = {}
    add_encoder(state, "_encoder.", encoder)
    add_similarity(state, model)
    add_feedforward(state, "_projection_feedforward.", projection)
    add_encoder(state, "_inference_encoder.", inference)
    add_feedforward(state, "_output_feedforward.", model["output_feedforward"])
    add_feedforward(state, "_output_logit.", model["output_logit"])
    return model, state


def decomposable_attention(width: int, labels: int, similarity: Mapping, **sections) -> tuple[dict, dict]:
    """The section `model` and the tensors of a `decomposable_attention` for words of this width."""
    encoders = {name: sections[name] for name in ("premise_encoder", "hypothesis_encoder") if name in sections}
    encoded = width_of(sections["premise_encoder"]) if "premise_encoder" in sections else width
    model = {
        "type": "decomposable_attention",
        "attend_feedforward": sections.get("attend") or layers(encoded, 5, "relu", num_layers=2, dropout=0.2),
        **similarity,
        "compare_feedforward": sections.get("compare") or layers(2 * encoded, 6, "relu", num_layers=2, dropout=0.2),
        "aggregate_feedforward": sections.get("aggregate")
        or layers(12, [7, labels], ["relu", "linear"], dropout=[0.2, 0.0]),
        **encoders,
    }
    state: dict = {}
    add_feedforward(state, "_attend_feedforward._module.", model["attend_feedforward"])
    add_similarity(state, model)
    add_feedforward(state, "_compare_feedforward._module.", model["compare_feedforward"])
    add_feedforward(state, "_aggregate_feedforward.", model["aggregate_feedforward"])
    if "premise_encoder" in sections:
        add_encoder(state, "_premise_encoder.", sections["premise_encoder"])
    if "hypothesis_encoder" in sections:
        add_encoder(state, "_hypothesis_encoder.", sections["hypothesis_encoder"])
    elif "premise_encoder" in sections:  # one module under two names
        shared = {name: tensor for name, tensor in state.items() if name.startswith("_premise_encoder.")}
        state |= {name.replace("_premise", "_hypothesis"): tensor for name, tensor in shared.items()}
    return model, state


def bidaf(width: int, phrase: Mapping, similarity: Mapping, highways: int = 2, **sections) -> tuple[dict, dict]:
    """The section `model` and the tensors of a `bidaf` for words of this width."""
    merged = 4 * width_of(phrase)
    modeling = sections.get("modeling") or rnn("lstm", merged, 3, bidirectional=True, num_layers=2, dropout=0.2)
    modeled = width_of(modeling)
    span_end = sections.get("span_end") or rnn("lstm", merged + 3 * modeled, 4, bidirectional=True)
    model = {
        "type": "bidaf",
        "num_highway_layers": highways,
        "phrase_layer": phrase,
        **similarity,
        "modeling_layer": modeling,
        "span_end_encoder": span_end,
        **sections.get("rest", {}),
    }
    state: dict = {}
    for layer in range(highways):
        state[f"_highway_layer._module._layers.{layer}.weight"] = noise(2 * width, width)
        state[f"_highway_layer._module._layers.{layer}.bias"] = noise(2 * width)
    add_encoder(state, "_phrase_layer.", phrase)
    add_similarity(state, model)
    add_encoder(state, "_modeling_layer.", modeling)
    add_encoder(state, "_span_end_encoder.", span_end)
    for part, size in (("start", merged + modeled), ("end", merged + width_of(span_end))):
        state[f"_span_{part}_predictor._module.weight"] = noise(1, size)
        state[f"_span_{part}_predictor._module.bias"] = noise(1)
    return model, state
