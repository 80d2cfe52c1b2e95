# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""AllenNLP's models of two texts once more, as plain as can be: one instance at a time, without padding or masks.

The functions read a state dict by the names that AllenNLP gives its tensors, and the sections of config.json; they
share nothing with the package. Letters: T and S words of the two texts, D width of their vectors.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": lambda x: x.clamp(min=0),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "elu": lambda x: torch.where(x > 0, x, torch.exp(x) - 1),
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "swish": lambda x: x * torch.sigmoid(x),
    "mish": lambda x: x * torch.tanh(torch.log1p(torch.exp(x))),
    "softplus": lambda x: torch.log1p(torch.exp(x)),
}


def below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of one module, by their names in it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def encode(state: Mapping[str, Tensor], prefix: str, section: Mapping, x: Tensor) -> Tensor:
    """A `Seq2SeqEncoder` over a text `(T, D)`."""
    if section["type"] == "pass_through":
        return x
    if section["type"] == "feedforward":
        return feedforward(state, f"{prefix}_feedforward.", section["feedforward"], x)
    tensors = below(state, f"{prefix}_module.")
    kind = {"lstm": nn.LSTM, "gru": nn.GRU}[section["type"]]
    layers = 1 + max(int(re.search(r"_l(\d+)", name)[1]) for name in tensors)
    both = any(name.endswith("_reverse") for name in tensors)
    module = kind(section["input_size"], section["hidden_size"], layers, bidirectional=both, batch_first=True)
    module.load_state_dict(tensors)
    return module(x[None])[0][0]


def feedforward(state: Mapping[str, Tensor], prefix: str, section: Mapping, x: Tensor) -> Tensor:
    """A `FeedForward` over the last axis."""
    activations = section["activations"]
    for layer in range(section["num_layers"]):
        name = activations[layer] if isinstance(activations, list) else activations
        weight, bias = (state[f"{prefix}_linear_layers.{layer}.{part}"] for part in ("weight", "bias"))
        x = ACTIVATIONS[name](x @ weight.T + bias)
    return x


def combined(piece: str, x: Tensor, y: Tensor) -> Tensor:
    """One piece of a combination, such as `x*y`, of two vectors."""
    vectors = {"x": x, "y": y, "1": x, "2": y}
    if len(piece) == 1:
        return vectors[piece]
    a, b = vectors[piece[0]], vectors[piece[2]]
    return {"*": a * b, "+": a + b, "-": a - b, "/": a / b}[piece[1]]


def similarity(state: Mapping[str, Tensor], prefix: str, section: Mapping, first: Tensor, second: Tensor) -> Tensor:
    """The scores `(T, S)` of all pairs of words, one pair at a time."""
    tensors = below(state, prefix)
    kind, activation = section.get("type", "dot_product"), ACTIVATIONS[section.get("activation", "linear")]

    def score(x: Tensor, y: Tensor) -> Tensor:
        if kind == "linear":
            pieces = [combined(piece, x, y) for piece in section.get("combination", "x,y").split(",")]
            return activation(torch.cat(pieces) @ tensors["_weight_vector"] + tensors["_bias"][0])
        if kind == "bilinear":
            if section.get("use_input_biases"):
                x, y = torch.cat([x, torch.ones(1)]), torch.cat([y, torch.ones(1)])
            return activation(x @ tensors["_weight_matrix"] @ y + tensors["_bias"][0])
        if kind == "cosine":
            return x @ y / (x.norm() * y.norm())
        scaled = kind == "scaled_dot_product" or section.get("scale_output")
        return x @ y / (len(x) ** 0.5 if scaled else 1)

    return torch.stack([torch.stack([score(x, y) for y in second]) for x in first])


def highway(state: Mapping[str, Tensor], prefix: str, layers: int, x: Tensor) -> Tensor:
    """A `Highway`: the gate is of the input."""
    for layer in range(layers):
        weight, bias = (state[f"{prefix}_layers.{layer}.{part}"] for part in ("weight", "bias"))
        changed, gate = (x @ weight.T + bias).chunk(2, dim=-1)
        x = torch.sigmoid(gate) * x + (1 - torch.sigmoid(gate)) * changed.clamp(min=0)
    return x


def esim(state: Mapping[str, Tensor], model: Mapping, premise: Tensor, hypothesis: Tensor) -> Tensor:
    """The logits of `esim` for embedded texts `(T, D)` and `(S, D)`."""
    a, b = (encode(state, "_encoder.", model["encoder"], x) for x in (premise, hypothesis))
    scores = similarity(state, *attention_of(model), a, b)
    from_b, from_a = scores.softmax(dim=1) @ b, scores.T.softmax(dim=1) @ a
    pooled = []
    for x, other in ((a, from_b), (b, from_a)):
        enhanced = torch.cat([x, other, x - other, x * other], dim=1)
        projected = feedforward(state, "_projection_feedforward.", model["projection_feedforward"], enhanced)
        v = encode(state, "_inference_encoder.", model["inference_encoder"], projected)
        pooled += [v.mean(dim=0), v.max(dim=0).values]
    hidden = feedforward(state, "_output_feedforward.", model["output_feedforward"], torch.cat(pooled))
    return feedforward(state, "_output_logit.", model["output_logit"], hidden)


def decomposable_attention(state: Mapping[str, Tensor], model: Mapping, premise: Tensor, hypothesis: Tensor) -> Tensor:
    """The logits of `decomposable_attention` for embedded texts `(T, D)` and `(S, D)`."""
    for_premise = model.get("premise_encoder")
    for_hypothesis = model.get("hypothesis_encoder") or for_premise
    a = encode(state, "_premise_encoder.", for_premise, premise) if for_premise else premise
    b = encode(state, "_hypothesis_encoder.", for_hypothesis, hypothesis) if for_hypothesis else hypothesis
    attend, compare = model["attend_feedforward"], model["compare_feedforward"]
    scores = similarity(
        state,
        *attention_of(model),
        feedforward(state, "_attend_feedforward._module.", attend, a),
        feedforward(state, "_attend_feedforward._module.", attend, b),
    )
    sums = []
    for x, attended in ((a, scores.softmax(dim=1) @ b), (b, scores.T.softmax(dim=1) @ a)):
        compared = feedforward(state, "_compare_feedforward._module.", compare, torch.cat([x, attended], dim=1))
        sums.append(compared.sum(dim=0))
    return feedforward(state, "_aggregate_feedforward.", model["aggregate_feedforward"], torch.cat(sums))


def bidaf(
    state: Mapping[str, Tensor], model: Mapping, question: Tensor, passage: Tensor
) -> tuple[Tensor, Tensor, list[int]]:
    """The start and end logits `(T,)` of `bidaf`, and the first and last word of the best answer."""
    layers = model["num_highway_layers"]
    u, h = (
        encode(state, "_phrase_layer.", model["phrase_layer"], highway(state, "_highway_layer._module.", layers, x))
        for x in (question, passage)
    )
    scores = similarity(state, *attention_of(model), h, u)
    asked = scores.softmax(dim=1) @ u
    whole = scores.max(dim=1).values.softmax(dim=0) @ h
    merged = torch.cat([h, asked, h * asked, h * whole], dim=1)
    modeled = encode(state, "_modeling_layer.", model["modeling_layer"], merged)
    start = linear(state, "_span_start_predictor._module.", torch.cat([merged, modeled], dim=1))
    middle = (start.softmax(dim=0) @ modeled).expand_as(modeled)
    ends = torch.cat([merged, modeled, middle, modeled * middle], dim=1)
    ended = encode(state, "_span_end_encoder.", model["span_end_encoder"], ends)
    end = linear(state, "_span_end_predictor._module.", torch.cat([merged, ended], dim=1))
    spans = [(i, j) for i in range(len(start)) for j in range(i, len(start))]
    return start, end, list(max(spans, key=lambda span: float(start[span[0]] + end[span[1]])))


def linear(state: Mapping[str, Tensor], prefix: str, x: Tensor) -> Tensor:
    """A linear layer of one output."""
    return (x @ state[f"{prefix}weight"].T + state[f"{prefix}bias"]).squeeze(-1)


def attention_of(model: Mapping) -> tuple[str, Mapping]:
    """The prefix and the section of a model's similarities, of AllenNLP 1.0 and later, or of 0.9 and before."""
    if "similarity_function" in model:
        return "_matrix_attention._similarity_function.", model["similarity_function"]
    return "_matrix_attention.", model["matrix_attention"]
