# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""AllenNLP's models that label words: `crf_tagger`, `simple_tagger` and `srl`, as `ElmoForTokenClassification`.

crf_tagger      dropout, encoder, dropout, feedforward, projection; conditional random field under constraints
simple_tagger   encoder, projection; each word by itself
srl             dropout on words, then whether each is the predicate; encoder, projection; the sequence with the
                highest sum of probabilities that BIO allows
"""

from typing import Any

import torch
from torch import Tensor

from hf_elmo.model.label_schemes_elmo import forbidden_transitions

from .allennlp_embedders import read_features
from .allennlp_layers import read_encoder, read_feedforward
from .allennlp_model import TRAINING_ONLY, Settings, TaskArchive
from .original import Head

CLASS = "ElmoForTokenClassification"
METRICS = ("calculate_span_f1", "ignore_span_metric", "top_k", "ignore_loss_on_o_tags")  # and the loss
WEIGHTS = ("label_weights", "weight_strategy")  # of the loss


def read_labels(archive: TaskArchive, settings: Settings, entry: str = "label_namespace") -> list[str]:
    """Return the names of the labels in the order of their ids."""
    return archive.vocabulary.names(settings.pop(entry, "labels", str))


def read_crf_tagger(archive: TaskArchive) -> Head:
    settings = archive.model
    labels = read_labels(archive, settings)
    features = read_features(archive, settings)
    encoder = read_encoder(archive, settings.required("encoder"), "encoder", features.size)
    layers, tensors, width = {"encoder": encoder.described}, features.tensors | encoder.named("tagger"), encoder.size
    if (section := settings.section("feedforward")) is not None:
        feedforward = read_feedforward(archive, section, "feedforward", width)
        layers["feedforward"], width = feedforward.described, feedforward.size
        tensors |= feedforward.named("feedforward")
    tensors |= archive.linear("tag_projection_layer", "score", len(labels), width)
    tensors["crf.transitions"] = archive.take("crf.transitions", len(labels), len(labels))
    at_ends = settings.pop("include_start_end_transitions", True, bool)
    for side in ("start", "end"):
        weights = archive.take(f"crf.{side}_transitions", len(labels)) if at_ends else torch.zeros(len(labels))
        tensors[f"crf.{side}"] = weights
    if archive.has("crf.label_weights"):
        archive.take("crf.label_weights", len(labels))
    constraints, stored = crf_constraints(archive, settings, labels)
    config = {
        "word_features": features.described,
        "task_layers": layers,
        "head_dropout": settings.rate("dropout"),
        "tagger_crf": True,
        "tagger_constraints": constraints,
    }
    settings.ignore("type", *METRICS, *WEIGHTS, *TRAINING_ONLY)
    settings.finish()
    return Head(CLASS, config, tensors | stored, labels, features.content)


def crf_constraints(archive: TaskArchive, settings: Settings, labels: list[str]) -> tuple[str, dict[str, Tensor]]:
    """Return `tagger_constraints`, and the stored matrix where the label names do not say the same.

    The matrix `_constraint_mask` of the archive decides. The few archives without it have no constraints, or those of
    the scheme that they name.
    """
    scheme = settings.pop("label_encoding", None, str) or settings.pop("constraint_type", None, str)
    settings.ignore("label_encoding", "constraint_type")
    constrained = settings.pop("constrain_crf_decoding", scheme is not None, bool)
    if not archive.has("crf._constraint_mask"):
        return ("labels" if scheme and constrained else "none"), {}
    size = len(labels) + 2
    return matching_constraints(archive.take("crf._constraint_mask", size, size) > 0, labels)


def matching_constraints(allowed: Tensor, labels: list[str]) -> tuple[str, dict[str, Tensor]]:
    """Return `"none"` or `"labels"` where these mean the same as a matrix of bool, as `StoredConstraints` has it; else
    `"stored"` and the matrix."""
    count = len(labels)
    found = allowed[:count, :count], allowed[count, :count], allowed[:count, count + 1]
    if all(part.all() for part in found):
        return "none", {}
    if all(torch.equal(~part, forbidden) for part, forbidden in zip(found, forbidden_transitions(labels))):
        return "labels", {}
    return "stored", {"constraints.allowed": allowed}


def read_simple_tagger(archive: TaskArchive) -> Head:
    settings = archive.model
    labels = read_labels(archive, settings)
    features = read_features(archive, settings)
    encoder = read_encoder(archive, settings.required("encoder"), "encoder", features.size)
    tensors = features.tensors | encoder.named("tagger")
    tensors |= archive.linear("tag_projection_layer", "score", len(labels), encoder.size)
    settings.ignore("type", "label_encoding", *METRICS, *TRAINING_ONLY)
    settings.finish()
    return Head(CLASS, plain_tagger(features.described, encoder.described), tensors, labels, features.content)


def plain_tagger(word_features: list[dict], encoder: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a tagger without dropout and without a conditional random field."""
    layers = {"encoder": encoder}
    return {"word_features": word_features, "task_layers": layers, "head_dropout": 0.0, "tagger_crf": False}


def read_srl(archive: TaskArchive) -> Head:
    settings = archive.model
    labels = read_labels(archive, settings)
    features = read_features(archive, settings)
    indicator = settings.size("binary_feature_dim")
    encoder = read_encoder(archive, settings.required("encoder"), "encoder", features.size + indicator)
    tensors = features.tensors | encoder.named("tagger")
    tensors["predicate_features.weight"] = archive.take("binary_feature_embedding.weight", 2, indicator)
    tensors |= archive.linear("tag_projection_layer", "score", len(labels), encoder.size)
    constraints, stored = matching_constraints(bio_allows(labels), labels)
    config = plain_tagger(features.described, encoder.described)
    config["task_layers"]["input_dropout"] = settings.rate("embedding_dropout")
    config |= {
        "predicate_feature_size": indicator,
        "tagger_constraints": constraints,
        "tagger_sums_probabilities": True,
    }
    settings.ignore("type", "srl_eval_path", *METRICS, *TRAINING_ONLY)
    settings.finish()
    archive.notes.append("which word is the predicate is given as token_type_ids, 1 at its words and 0 elsewhere")
    return Head(CLASS, config, tensors | stored, labels, features.content)


def bio_allows(labels: list[str]) -> Tensor:
    """Return which label may follow which in AllenNLP's `srl`: an `I-X` only follows `B-X` or `I-X`."""
    size = len(labels) + 2
    allowed = torch.ones(size, size, dtype=torch.bool)
    for column, label in enumerate(labels):
        if label.startswith("I"):
            for row, before in enumerate(labels):
                allowed[row, column] = before in (f"B{label[1:]}", label)
            allowed[-2, column] = False
    return allowed
