# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""AllenNLP's models of two texts.

esim                      Chen et al. 2017, as `ElmoForSequenceClassification`
decomposable_attention    Parikh et al. 2016, as `ElmoForSequenceClassification`
bidaf                     Seo et al. 2017, as `ElmoForQuestionAnswering`

Similarities of words are the section `matrix_attention`, or `similarity_function` in AllenNLP 0.9 and before.
"""

from typing import Any

import torch

from hf_elmo.model.pair_layers_elmo import PIECE

from .allennlp_embedders import Features, read_features
from .allennlp_layers import Layer, Reader, check_width, read_activation, read_encoder, read_feedforward, read_layer
from .allennlp_model import TRAINING_ONLY, Settings, TaskArchive
from .original import Head
from .state_dict_rules import split_highway

PAIRS, ANSWERS = "ElmoForSequenceClassification", "ElmoForQuestionAnswering"


# ---- similarities of words


def read_product(kind: str) -> Reader:
    """Return the reader of a similarity without weights."""

    def read(archive: TaskArchive, settings: Settings, theirs: str, width: int) -> Layer:
        is_scaled = kind == "dot_product" and settings.pop("scale_output", False, bool)
        return Layer({"type": "scaled_dot_product" if is_scaled else kind}, 1, {})

    return read


def read_bilinear(archive: TaskArchive, settings: Settings, theirs: str, width: int) -> Layer:
    for number in (1, 2):
        check_width(settings, f"matrix_{number}_dim", width)
        check_width(settings, f"tensor_{number}_dim", width)  # before 1.0
    if (count := settings.pop("label_dim", 1, int)) != 1:
        raise ValueError(
            f"{settings.file}: {settings.place}.label_dim is {count}, where one score for a pair is needed"
        )
    has_biases = settings.pop("use_input_biases", False, bool)
    activation = read_activation(settings.pop("activation", "linear", str, dict), settings, "activation")
    size = width + has_biases
    tensors = {"weight": archive.take(f"{theirs}._weight_matrix", size, size)}
    tensors["bias"] = archive.take(f"{theirs}._bias", 1)
    return Layer({"type": "bilinear", "activation": activation, "input_biases": has_biases}, 1, tensors)


def read_linear(archive: TaskArchive, settings: Settings, theirs: str, width: int) -> Layer:
    for number in (1, 2):
        check_width(settings, f"tensor_{number}_dim", width)
    combination = settings.pop("combination", "x,y", str).replace("1", "x").replace("2", "y")
    if not all(PIECE.fullmatch(piece) for piece in combination.split(",")):
        raise ValueError(
            f"{settings.file}: {settings.place}.combination {combination!r:.60} has no counterpart; known are x, y, "
            "x*y, x+y, x-y and x/y, with commas between them"
        )
    activation = read_activation(settings.pop("activation", "linear", str, dict), settings, "activation")
    tensors = {"weight": archive.take(f"{theirs}._weight_vector", (combination.count(",") + 1) * width)}
    tensors["bias"] = archive.take(f"{theirs}._bias", 1)
    return Layer({"type": "linear", "combination": combination, "activation": activation}, 1, tensors)


SIMILARITIES: dict[str, Reader] = {
    **{kind: read_product(kind) for kind in ("dot_product", "scaled_dot_product", "cosine")},
    "bilinear": read_bilinear,
    "linear": read_linear,
}


def read_similarity(archive: TaskArchive, model: Settings, width: int) -> Layer:
    """Read the similarity of a model, of vectors of this width."""
    theirs, settings = "matrix_attention", model.section("matrix_attention")
    if settings is not None and settings.content.get("type") == "legacy":
        settings.ignore("type")
        model.content["similarity_function"] = settings.pop("similarity_function", {}, dict, str)
        settings.finish()
        settings = None
    if settings is None and "similarity_function" not in model:
        raise ValueError(f"{model.file}: {model.place} lacks matrix_attention, or similarity_function")
    if settings is None:
        theirs, settings = f"{theirs}._similarity_function", model.required("similarity_function")
    return read_layer(SIMILARITIES, archive, settings, theirs, width, default="dot_product")


# ---- pairs


def read_esim(archive: TaskArchive) -> Head:
    settings = archive.model
    features = read_features(archive, settings)
    encoder = read_encoder(archive, settings.required("encoder"), "encoder", features.size)
    similarity = read_similarity(archive, settings, encoder.size)
    compared = 4 * encoder.size  # the word, the attended words, their difference and product
    projection = read_feedforward(
        archive, settings.required("projection_feedforward"), "projection_feedforward", compared
    )
    inference = read_encoder(archive, settings.required("inference_encoder"), "inference_encoder", projection.size)
    pooled = 4 * inference.size  # mean and maximum of two texts
    hidden = read_feedforward(archive, settings.required("output_feedforward"), "output_feedforward", pooled)
    output = read_feedforward(archive, settings.required("output_logit"), "output_logit", hidden.size)
    parts = {
        "encoder": encoder,
        "similarity": similarity,
        "projection": projection,
        "composition": inference,
        "hidden": hidden,
        "output": output,
    }
    rate = settings.check_rate("dropout", settings.pop("dropout", 0.5, int, float))
    return pair_head(archive, settings, "esim", features, parts, {"projection": "reduction"}, output.size, rate)


def read_decomposable_attention(archive: TaskArchive) -> Head:
    settings = archive.model
    features = read_features(archive, settings)
    encoders = read_text_encoders(archive, settings, features.size)
    width = encoders[0].size if encoders else features.size
    attend = read_feedforward(archive, settings.required("attend_feedforward"), "attend_feedforward", width)
    similarity = read_similarity(archive, settings, attend.size)
    compare = read_feedforward(archive, settings.required("compare_feedforward"), "compare_feedforward", 2 * width)
    aggregate = read_feedforward(
        archive, settings.required("aggregate_feedforward"), "aggregate_feedforward", 2 * compare.size
    )
    parts = dict(zip(("encoder", "second_encoder"), encoders))
    parts |= {"attend": attend, "similarity": similarity, "compare": compare, "aggregate": aggregate}
    places = {"encoder": "encoders.0", "second_encoder": "encoders.1"}
    places |= {"attend": "attention", "compare": "comparison", "aggregate": "aggregation"}
    return pair_head(archive, settings, "decomposable_attention", features, parts, places, aggregate.size, 0.0)


def read_text_encoders(archive: TaskArchive, settings: Settings, width: int) -> list[Layer]:
    """Return the encoders of premise and hypothesis; one if both share it, none if there is none."""
    sections = [settings.section(name) for name in ("premise_encoder", "hypothesis_encoder")]
    if sections == [None, None]:
        return []
    if sections[1] is None:  # one module, whose tensors are stored under two names
        for name in sorted(archive.left):
            twin = name.replace("hypothesis_encoder.", "premise_encoder.", 1)
            if name.startswith("hypothesis_encoder.") and archive.has(twin):
                one, other = (archive.state[archive.names[place]] for place in (name, twin))
                if not torch.equal(one, other):
                    raise ValueError(f"{archive.file}: {name} and {twin} are one tensor by config.json, but differ")
                archive.left.discard(name)
        return [read_encoder(archive, sections[0], "premise_encoder", width)]
    if sections[0] is None:
        premise = Layer({"type": "pass_through"}, width, {})
    else:
        premise = read_encoder(archive, sections[0], "premise_encoder", width)
    hypothesis = read_encoder(archive, sections[1], "hypothesis_encoder", width)
    if premise.size != hypothesis.size:
        raise ValueError(f"{settings.file}: encoders of {premise.size} and {hypothesis.size} numbers a word do not fit")
    return [premise, hypothesis]


def pair_head(
    archive: TaskArchive,
    settings: Settings,
    encoder: str,
    features: Features,
    parts: dict[str, Layer],
    places: dict[str, str],
    count: int,
    dropout: float,
) -> Head:
    """Return a classifier of pairs.

    Args:
        archive, settings: The archive, and the section of its model.
        encoder: The configuration's `sequence_encoder`.
        features: The vectors of words.
        parts: The layers by their names in `task_layers`.
        places: Where a layer is in the classifier, if not at the place of its name.
        count: Number of scores.
        dropout: The configuration's `head_dropout`.
    """
    tensors = dict(features.tensors)
    for name, layer in parts.items():
        tensors |= layer.named(f"classifier.{places.get(name, name)}")
    config = {
        "word_features": features.described,
        "task_layers": {name: layer.described for name, layer in parts.items()} | {"input_dropout": 0.0},
        "head_dropout": dropout,
        "sequence_encoder": encoder,
        "elmo_at_output": False,
    }
    settings.ignore("type", *TRAINING_ONLY)
    settings.finish()
    return Head(PAIRS, config, tensors, label_names(archive, count), features.content)


def label_names(archive: TaskArchive, count: int) -> list[str]:
    """Return the names of the labels of a model that gives this many scores."""
    names = archive.vocabulary.names("labels")
    if len(names) > count:
        raise ValueError(f"{archive.file}: gives {count} scores for the {len(names)} labels of vocabulary/labels.txt")
    if len(names) < count:
        archive.notes.append(f"{count - len(names)} of the {count} labels have no name in vocabulary/labels.txt")
    return [*names, *(f"LABEL_{number}" for number in range(len(names), count))]


# ---- answers


def read_bidaf(archive: TaskArchive) -> Head:
    settings = archive.model
    features = read_features(archive, settings)
    highways, tensors = settings.pop("num_highway_layers", 0, int), dict(features.tensors)
    for layer in range(highways):
        theirs, ours = f"highway_layer._layers.{layer}", f"qa_outputs.highways.{layer}"
        for part, tensor in archive.linear(theirs, "", 2 * features.size, features.size).items():
            halves = zip(("transform", "carry"), split_highway(tensor))
            tensors |= {f"{ours}.{gate}{part}": half.contiguous() for gate, half in halves}
    phrase = read_encoder(archive, settings.required("phrase_layer"), "phrase_layer", features.size)
    similarity = read_similarity(archive, settings, phrase.size)
    flow = 4 * phrase.size
    modeling = read_encoder(archive, settings.required("modeling_layer"), "modeling_layer", flow)
    width = flow + 3 * modeling.size
    span_end = read_encoder(archive, settings.required("span_end_encoder"), "span_end_encoder", width)
    tensors |= archive.linear("span_start_predictor", "qa_outputs.start", 1, flow + modeling.size)
    tensors |= archive.linear("span_end_predictor", "qa_outputs.end", 1, flow + span_end.size)
    parts = {"encoder": phrase, "similarity": similarity, "modeling": modeling, "end": span_end}
    places = {"similarity": "attention.similarity", "end": "end_encoder"}
    for name, layer in parts.items():
        tensors |= layer.named(f"qa_outputs.{places.get(name, name)}")
    if not settings.pop("mask_lstms", True, bool):
        archive.notes.append("mask_lstms is false: every text is read as without padding beside it")
    layers: dict[str, Any] = {name: layer.described for name, layer in parts.items()}
    config = {
        "word_features": features.described,
        "task_layers": layers | {"highways": highways, "input_dropout": 0.0},
        "head_dropout": settings.check_rate("dropout", settings.pop("dropout", 0.2, int, float)),
        "qa_encoder": "bidaf_original",
        "qa_null_score": None,
        "qa_max_answer_len": None,
        "qa_context_len": None,
        "qa_length_limits": read_limits(archive),
    }
    settings.ignore("type", *TRAINING_ONLY)
    settings.finish()
    return Head(ANSWERS, config, tensors, [], features.content)


def read_limits(archive: TaskArchive) -> list[int | None] | None:
    """Return how many words of question and passage the dataset reader reads; None if all.

    The limit of a passage counts the word for "no answer" that the reader adds.
    """
    reader = archive.reader("type")
    has_no_answer = bool(reader.content.get("no_answer_token", reader.content.get("type") == "squad2"))
    limits: list[int | None] = []
    for text, least in (("question", 1), ("passage", 1 + has_no_answer)):
        name = f"{text}_length_limit"
        limit = reader.pop(name, None, int)
        if limit is not None and limit < least:
            raise ValueError(f"{reader.file}: {reader.place}.{name} must be at least {least}, but is {limit}")
        limits.append(None if limit is None else limit - least + 1)
    return None if limits == [None, None] else limits
