# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""AllenNLP's models that label a text: `basic_classifier` and `bcn`, as `ElmoForSequenceClassification`.

basic_classifier   perhaps an encoder; pooling; dropout; perhaps a feedforward; a linear layer
bcn                McCann et al. 2017, section 5, for one text: feedforward, encoder, attention to itself, integrator,
                   four kinds of pooling, and a maxout or feedforward network
"""

from .allennlp_embedders import Features, concatenated, embedder_sections, read_features
from .allennlp_layers import read_encoder, read_feedforward, read_feedforward_or_maxout, read_pooler
from .allennlp_model import TRAINING_ONLY, Settings, TaskArchive
from .original import Head

CLASS = "ElmoForSequenceClassification"


def read_basic_classifier(archive: TaskArchive) -> Head:
    settings = archive.model
    features = read_features(archive, settings)
    layers, tensors, width = {}, dict(features.tensors), features.size
    if (section := settings.section("seq2seq_encoder")) is not None:
        encoder = read_encoder(archive, section, "seq2seq_encoder", width)
        layers["encoder"], width = encoder.described, encoder.size
        tensors |= encoder.named("encoder")
    pooler = read_pooler(archive, settings.required("seq2vec_encoder"), "seq2vec_encoder", width)
    layers["pooler"], width = pooler.described, pooler.size
    tensors |= pooler.named("pooling")
    if (section := settings.section("feedforward")) is not None:
        feedforward = read_feedforward(archive, section, "feedforward", width)
        layers["feedforward"], width = feedforward.described, feedforward.size
        tensors |= feedforward.named("feedforward")
    tensors |= archive.linear("classification_layer", "classifier", None, width)
    labels = class_names(archive, settings, len(tensors["classifier.bias"]))
    layers["input_dropout"] = 0.0
    config = {
        "word_features": features.described,
        "task_layers": layers,
        "head_dropout": settings.rate("dropout"),
        "sequence_encoder": "pooling",
    }
    settings.ignore("type", "namespace", *TRAINING_ONLY)
    settings.finish()
    return Head(CLASS, config, tensors, labels, features.content)


def class_names(archive: TaskArchive, settings: Settings, count: int) -> list[str]:
    """Return the names of the classes of a model that scores `count`; those without a name are numbered."""
    namespace, given = settings.pop("label_namespace", "labels", str), settings.pop("num_labels", None, int)
    known = archive.vocabulary.names(namespace) if archive.vocabulary.has(namespace) or given is None else []
    if given is None and len(known) != count:
        raise ValueError(f"{archive.file}: scores {count} classes, but the namespace {namespace} has {len(known)}")
    return [*known, *(f"LABEL_{number}" for number in range(len(known), count))][:count]


def read_bcn(archive: TaskArchive) -> Head:
    settings = archive.model
    at_input = settings.pop("use_input_elmo", False, bool)
    at_output = settings.pop("use_integrator_output_elmo", False, bool)
    if len(archive.mixes) > 1 and (at_input or at_output):
        raise ValueError(f"{archive.config_file}: a bcn with another ELMo beside its own has no counterpart")
    features = bcn_features(archive, settings, at_input)
    if not (at_output or any(part["type"] == "elmo" for part in features.described)):
        raise ValueError(
            f"{archive.config_file}: a bcn that reads its ELMo nowhere; expected use_input_elmo, "
            "use_integrator_output_elmo, or an elmo_token_embedder"
        )
    reduction = read_feedforward(
        archive, settings.required("pre_encode_feedforward"), "pre_encode_feedforward", features.size
    )
    encoder = read_encoder(archive, settings.required("encoder"), "encoder", reduction.size)
    integrator = read_encoder(archive, settings.required("integrator"), "integrator", 3 * encoder.size)
    width = integrator.size + (archive.hidden_size if at_output else 0)
    pooling = archive.take("self_attentive_pooling_projection.weight", 1, width)
    archive.take("self_attentive_pooling_projection.bias", 1)  # the same for all words, so the softmax cancels it
    output = read_feedforward_or_maxout(archive, settings.required("output_layer"), "output_layer", 4 * width)
    labels = class_names(archive, settings, output.size)
    parts = {"reduction": reduction, "encoder": encoder, "integrator": integrator, "output": output}
    tensors = features.tensors | {"classifier.pooling.score.weight": pooling}
    for name, layer in parts.items():
        tensors |= layer.named(f"classifier.{name}")
    layers = {name: layer.described for name, layer in parts.items()}
    layers["input_dropout"] = settings.rate("embedding_dropout")
    config = {
        "word_features": features.described,
        "task_layers": layers,
        "head_dropout": settings.rate("integrator_dropout"),
        "sequence_encoder": "bcn",
        "elmo_at_output": at_output,
    }
    settings.ignore("type", "elmo", *TRAINING_ONLY)
    settings.finish()
    return Head(CLASS, config, tensors, labels, features.content)


def bcn_features(archive: TaskArchive, settings: Settings, at_input: bool) -> Features:
    """Read the vectors of words of a `bcn`: those of its text field embedder, then ELMo."""
    sections, indexers = embedder_sections(settings.required("text_field_embedder"))
    found = Features([], 0, {}, None)
    if sections:
        found = concatenated(archive, sections, indexers, "text_field_embedder")
    if not at_input:
        return found
    elmo = {"type": "elmo", "mix": 0, "projection": None}
    return found._replace(described=[*found.described, elmo], size=found.size + archive.hidden_size)
