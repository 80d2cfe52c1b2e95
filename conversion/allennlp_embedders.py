# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The text field embedder of an AllenNLP model, and the token indexers that feed it.

    embedder              indexer            becomes
    embedding             single_id          a table of words, and the vocabulary of the words in the tokenizer
    character_encoding    characters         embeddings of characters and a pooler, and their vocabulary
    elmo_token_embedder   elmo_characters    a scalar mix, perhaps projected
    empty                                    nothing

Vectors are concatenated in the alphabetical order of the embedders' names. Each reads the indexer of its name, or those
that `embedder_to_indexer_map` names (before 1.0).
"""

import re
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .allennlp_layers import read_pooler
from .allennlp_model import Settings, TaskArchive

CHARACTERS_READ = 128  # of a word, by an encoder of characters; ELMo itself reads 48 bytes
BYTES = 256
ELMO_SETTINGS = (  # read with the ELMo itself, or of its training
    *("options_file", "weight_file", "do_layer_norm", "dropout", "requires_grad", "scalar_mix_parameters"),
    *("vocab_to_cache", "namespace_to_cache"),
)
ELMO = ("elmo_token_embedder", "elmo")


class Features(NamedTuple):
    """The vectors of words as `word_features_elmo` describes them.

    Args:
        described: `word_features` of the configuration.
        size: Width of all vectors together.
        tensors: By their names in the model.
        content: What the tokenizer carries, see `row_variants_elmo`; None if ELMo alone is read.
    """

    described: list[dict[str, Any]]
    size: int
    tensors: dict[str, Tensor]
    content: dict[str, Any] | None


def read_features(archive: TaskArchive, model: Settings, place: str = "text_field_embedder") -> Features:
    """Read a text field embedder, the section `place` of a model.

    Raises:
        ValueError: An embedder or indexer has no counterpart, or does not fit to its tensors.
    """
    return concatenated(archive, *embedder_sections(model.required(place)), place)


def embedder_sections(embedder: Settings) -> tuple[dict[str, Settings], dict[str, list[str]]]:
    """Return the sections of the token embedders by name, and the names of the indexers that each reads."""
    embedder.choice("type", "basic", ("basic",))
    embedder.ignore("allow_unmatched_keys")
    named = embedder.pop("embedder_to_indexer_map", {}, dict)
    nested = embedder.section("token_embedders")
    if nested is None:  # before 0.8, the embedders stand in the section itself
        nested = Settings(embedder.content, embedder.place, embedder.file)
    else:
        embedder.finish()
    sections = {name: nested.required(name) for name in sorted(nested.content)}
    indexers = {name: named.get(name) or [name] for name in sections}
    return sections, {name: list(used.values()) if isinstance(used, dict) else used for name, used in indexers.items()}


def concatenated(
    archive: TaskArchive, sections: dict[str, Settings], indexers: dict[str, list[str]], place: str
) -> Features:
    """Read token embedders, in the order of their concatenation."""
    described, tensors, size = [], {}, 0
    content = {"features": [], "vocabularies": {}}
    for name, settings in sections.items():
        theirs, ours = f"{place}.token_embedder_{name}", f"token_embedders.embedders.{len(described)}"
        kind = settings.choice("type", "embedding", ("embedding", "character_encoding", *ELMO, "empty"))
        if kind == "empty":
            continue
        if kind in ELMO:
            check_elmo_indexer(archive, indexers[name])
            part, width, found = read_elmo(archive, settings, theirs)
        else:
            settings_of_indexer = indexer_section(archive, indexers[name], name)
            read = read_words if kind == "embedding" else read_characters
            part, width, found = read(archive, settings, settings_of_indexer, theirs, content)
        described.append(part)
        size += width
        tensors |= {f"{ours}.{parameter}": tensor for parameter, tensor in found.items()}
    if not described:
        raise ValueError(f"{archive.config_file}: model.{place} has no embedders")
    return Features(described, size, tensors, content if content["features"] else None)


def indexer_section(archive: TaskArchive, names: list[str], embedder: str) -> Settings:
    """Return the section of the indexer that an embedder reads."""
    indexers = archive.reader("token_indexers").section("token_indexers")
    if indexers is None:
        indexers = Settings({"tokens": {"type": "single_id"}}, "dataset_reader.token_indexers", archive.config_file)
    if len(names) != 1 or names[0] not in indexers.content:
        known = ", ".join(indexers.content)
        raise ValueError(
            f"{archive.config_file}: the embedder {embedder} reads {', '.join(map(str, names))}, but "
            f"{indexers.place} has {known}"
        )
    return indexers.required(names[0])


def check_elmo_indexer(archive: TaskArchive, names: list[str]):
    """Check that ELMo reads the characters of all words, where the archive says what it reads."""
    indexers = archive.reader("token_indexers").content.get("token_indexers")
    if isinstance(indexers, dict) and names and isinstance(content := indexers.get(names[0]), dict):
        indexer = Settings(content, f"token_indexers.{names[0]}", archive.config_file)
        indexer.choice("type", None, ("elmo_characters",))
        if indexer.pop("tokens_to_add", {}, dict):
            raise ValueError(f"{archive.config_file}: {indexer.place}.tokens_to_add has no counterpart")


def read_elmo(archive: TaskArchive, settings: Settings, theirs: str) -> tuple[dict, int, dict[str, Tensor]]:
    """Read an `elmo_token_embedder`, of whose own tensors only the projection belongs to the task."""
    size = settings.pop("projection_dim", None, int)
    settings.ignore(*ELMO_SETTINGS)
    settings.finish()
    tensors, hidden = {}, archive.hidden_size
    if size is not None:
        tensors = archive.linear(f"{theirs}._projection", "projection", size, hidden)
    if (mix := archive.mixes.get(f"{theirs}._elmo.")) is None:
        raise ValueError(f"{archive.file}: lacks the ELMo of {settings.place} in config.json")
    return {"type": "elmo", "mix": mix, "projection": size}, size or hidden, tensors


def read_words(
    archive: TaskArchive, settings: Settings, indexer: Settings, theirs: str, content: dict
) -> tuple[dict, int, dict[str, Tensor]]:
    """Read an `embedding` of words, and add the vocabulary of its `single_id` indexer."""
    indexer.choice("type", "single_id", ("single_id",))
    namespace = indexer.pop("namespace", "tokens", str)
    lowercase = indexer.pop("lowercase_tokens", False, bool)
    refuse_other_tokens(indexer)
    table = embedding_table(archive, settings, f"{theirs}.weight", archive.vocabulary.names(namespace), namespace)
    settings_size = settings.pop("projection_dim", None, int)
    tensors = {"weight": table}
    if settings_size is not None:
        tensors |= archive.linear(f"{theirs}._projection", "projection", settings_size, table.shape[1])
    trainable = settings.pop("trainable", True, bool)
    settings.ignore("vocab_namespace", "scale_grad_by_freq", "sparse", "pretrained_file", "weight")
    settings.finish()
    ids, unknown = add_vocabulary(archive, content, namespace)
    content["features"].append({"type": "word", "vocabulary": ids, "unknown": unknown, "lowercase": lowercase})
    count, size = table.shape
    part = {"type": "words", "count": count, "size": size, "projection": settings_size, "trainable": trainable}
    return part, settings_size or size, tensors


def read_characters(
    archive: TaskArchive, settings: Settings, indexer: Settings, theirs: str, content: dict
) -> tuple[dict, int, dict[str, Tensor]]:
    """Read a `character_encoding`, and add the characters of its `characters` indexer."""
    indexer.choice("type", None, ("characters",))
    namespace = indexer.pop("namespace", "token_characters", str)
    indexer.ignore("min_padding_length")
    feature = read_character_tokenizer(indexer)
    refuse_other_tokens(indexer)
    if feature.pop("is_bytes"):
        shown = "bytes"
        ends = [*feature["start"], *feature["end"]]
        if not all(type(number) is int for number in ends):
            raise ValueError(f"{archive.config_file}: start_tokens and end_tokens of bytes must be ids, but are {ends}")
        feature |= {"vocabulary": None, "unknown": None}
        names = [""] * (max([*ends, BYTES]) + 1)
    else:
        names, shown = archive.vocabulary.names(namespace), namespace
        ids, unknown = add_vocabulary(archive, content, namespace)
        feature |= {"vocabulary": ids, "unknown": unknown}
        known = content["vocabularies"][namespace]
        for side in ("start", "end"):
            feature[side] = [name if type(name) is int else known.get(name, unknown) for name in feature[side]]
    embedding = settings.required("embedding")
    table = embedding_table(archive, embedding, f"{theirs}._embedding.weight", names, shown)
    if "projection_dim" in embedding:
        raise ValueError(f"{archive.config_file}: {embedding.place}.projection_dim of characters has no counterpart")
    embedding.ignore("type", "vocab_namespace", "scale_grad_by_freq", "sparse", "pretrained_file", "trainable")
    embedding.finish()
    pooler = read_pooler(archive, settings.required("encoder"), f"{theirs}._encoder", table.shape[1])
    part = {
        "type": "characters",
        "count": table.shape[0],
        "size": table.shape[1],
        "length": CHARACTERS_READ,
        "pooler": pooler.described,
        "dropout": settings.rate("dropout"),
    }
    settings.finish()
    content["features"].append({"type": "characters", "length": CHARACTERS_READ, **feature})
    return part, pooler.size, {"embeddings.weight": table, **pooler.named("pooler")}


def read_character_tokenizer(indexer: Settings) -> dict[str, Any]:
    """Return how words are split into characters: bytes or not, in lower case, and what stands before and after."""
    content = indexer.pop("character_tokenizer", {}, dict, str)
    tokenizer = Settings(
        {"type": content} if isinstance(content, str) else content, f"{indexer.place}.character_tokenizer", indexer.file
    )
    tokenizer.choice("type", "character", ("character",))
    encoding = tokenizer.pop("byte_encoding", None, str)
    if encoding is not None and re.sub(r"[-_]", "", encoding.lower()) != "utf8":
        raise ValueError(
            f"{indexer.file}: {tokenizer.place}.byte_encoding {encoding} has no counterpart; known is utf-8"
        )
    feature = {
        "is_bytes": encoding is not None,
        "lowercase": tokenizer.pop("lowercase_characters", False, bool),
        "start": tokenizer.pop("start_tokens", [], list),
        "end": tokenizer.pop("end_tokens", [], list),
    }
    tokenizer.finish()
    return feature


def refuse_other_tokens(indexer: Settings):
    """Check that an indexer reads the words themselves, and adds none."""
    for name in ("start_tokens", "end_tokens"):
        if indexer.pop(name, [], list):
            raise ValueError(f"{indexer.file}: {indexer.place}.{name} adds words to a text, which has no counterpart")
    if (feature := indexer.pop("feature_name", "text", str)) not in ("text", "text_"):
        raise ValueError(
            f"{indexer.file}: {indexer.place} reads {feature} of words, of which only the text is known here"
        )
    if indexer.pop("use_lemma", False, bool):
        raise ValueError(f"{indexer.file}: {indexer.place} reads lemmas, of which only the words are known here")
    indexer.ignore("token_min_padding_length", "default_value")
    indexer.finish()


def embedding_table(archive: TaskArchive, settings: Settings, name: str, names: list[str], namespace: str) -> Tensor:
    """Take the table of an `embedding`, which must have a row for each name of a namespace."""
    size = settings.pop("embedding_dim", None, int)
    table = archive.take(name, None, size)
    settings.ignore("num_embeddings", "padding_index")
    if len(table) < len(names):
        raise ValueError(
            f"{archive.file}: {name} has {len(table):,} rows, but the namespace {namespace} has {len(names):,} entries"
        )
    norm, order = settings.pop("max_norm", None, int, float), settings.pop("norm_type", 2.0, int, float)
    if norm is not None:  # applied to each row that is looked up
        table = torch.renorm(table, order, 0, norm)
    return table


def add_vocabulary(archive: TaskArchive, content: dict, namespace: str) -> tuple[str, int | None]:
    """Add a namespace to what the tokenizer carries; return its name there, and the id of unknown entries."""
    ids, unknown = archive.vocabulary.ids(namespace)
    content["vocabularies"].setdefault(namespace, ids)
    return namespace, unknown
