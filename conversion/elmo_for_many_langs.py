# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Models of ELMoForManyLangs (Che et al. 2018, Fares et al. 2017): code points as characters, and word embeddings.

    config.json          names a file of settings (cnn_50_100_512_4096_sample.json), which is often not in the folder
    char.dic, word.dic   a token, a tab and its id in each line
    token_embedder.pkl   char_emb_layer  convolutions.{i}  highways._layers.{k}  word_emb_layer  projection
    encoder.pkl          {forward,backward}_layer_{l}.   input_linearity  state_linearity  state_projection

A word is the id of `<eow>`, its code points, the id of `<bow>` (the original exchanges both names) and padding. A word
of more than `max_characters_per_token - 2` code points is cut first, and the cut word is also looked up in word.dic.
The projection reads the word embedding, then the features of the highways. The forget gate gets no further 1.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor

from hf_elmo.model.configuration_elmo import ElmoConfig

from .many_langs_files import (
    CHARACTER_TABLE,
    CHARACTERS,
    WORD_TABLE,
    WORDS,
    Dictionaries,
    read_dictionaries,
    read_settings,
    write_dictionary,
)
from .original import Format, Original, Source
from .state_dict_rules import (
    Rule,
    apply_rules,
    as_is,
    convolution_rules,
    highway_rules,
    lstm_rules,
    undo_rules,
    with_padding_row,
)
from .torch_file import checked, read_state_dict

EMBEDDER, ENCODER, CLASSIFIER = "token_embedder.pkl", "encoder.pkl", "classifier.pkl"
FACTS = {
    "tokenization": "Words as in the Universal Dependencies of the language; Chinese in the characters of its corpus."
}


def rules(config: ElmoConfig) -> Iterator[Rule]:
    """Yield a rule for every tensor of token_embedder.pkl."""
    table = config.vocab_size - 1, config.char_embedding_size
    yield Rule(CHARACTER_TABLE, table, ("char_encoder.embeddings.weight",), with_padding_row)
    yield from convolution_rules(config, "convolutions.")
    yield from highway_rules(config, "highways._layers.")
    if config.word_embedding_size:
        table = config.word_embedding_count - 1, config.word_embedding_size
        yield Rule(WORD_TABLE, table, ("char_encoder.word_embeddings.weight",), with_padding_row)
    inputs = config.word_embedding_size + config.char_features
    for part, shape in (("weight", (config.projection_size, inputs)), ("bias", (config.projection_size,))):
        yield Rule(f"projection.{part}", shape, (f"char_encoder.projection.{part}",), as_is)


def is_many_langs(path: Path) -> bool:
    """Return whether a folder holds a model of ELMoForManyLangs."""
    return path.is_dir() and all((path / name).is_file() for name in (EMBEDDER, ENCODER))


def read_many_langs(source: Source) -> Original:
    """Read weights, settings and both dictionaries."""
    folder = source.path
    settings, notes = read_settings(source)
    embedder, encoder = (read_state_dict(folder / name) for name in (EMBEDDER, ENCODER))
    dictionaries = read_dictionaries(folder, folder / EMBEDDER, embedder)
    config = build_config(embedder, encoder, settings, dictionaries, folder)
    words = None
    if "characters" in dictionaries:
        first, used = apply_rules(rules(config), embedder, folder / EMBEDDER)
    else:
        first, used = project_words(embedder, config, folder / EMBEDDER)
        words, dictionaries = word_list(dictionaries["words"], config.vocab_size - 1, folder / WORDS), None
        notes.append(f"{folder} reads words only; its embeddings were multiplied by its projection")
    second, also_used = apply_rules(lstm_rules(config, ""), encoder, folder / ENCODER)
    for state, known, name in ((embedder, used, EMBEDDER), (encoder, also_used, ENCODER)):
        left = sorted(state.keys() - known)
        notes += [f"{folder / name} holds {tensor}, which is no part of an ELMo; left out" for tensor in left]
    if (folder / CLASSIFIER).is_file():
        notes.append(f"{folder / CLASSIFIER}, the softmax over the words of a batch, has no counterpart; left out")
    files = [folder / name for name in (EMBEDDER, ENCODER, CHARACTERS, WORDS) if (folder / name).is_file()]
    return Original(
        FORMAT.name, config, first | second, files, notes, facts=FACTS, dictionaries=dictionaries, words=words
    )


def project_words(state: Mapping[str, Tensor], config: ElmoConfig, file: Path) -> tuple[dict[str, Tensor], set[str]]:
    """Return the table of a model without characters: its embeddings after the projection."""
    size = state[WORD_TABLE].shape[1]
    table = checked(WORD_TABLE, state[WORD_TABLE], (config.vocab_size - 1, size), file)
    names = {"projection.weight": (config.projection_size, size), "projection.bias": (config.projection_size,)}
    if missing := names.keys() - state.keys():
        raise ValueError(f"{file}: lacks {min(missing)}; expected every tensor of the model")
    weight, bias = (checked(name, state[name], shape, file) for name, shape in names.items())
    (projected,) = with_padding_row(torch.addmm(bias, table, weight.T))
    return {"word_embeddings.weight": projected}, {WORD_TABLE, *names}


def word_list(ids: Mapping[str, int], count: int, file: Path) -> list[str]:
    """Return the words of a model without characters by their ids, with the special words of this package."""
    renamed = {"<bos>": "<S>", "<eos>": "</S>", "<oov>": "<UNK>"}
    if taken := [word for word in renamed.values() if word in ids]:
        raise ValueError(f"{file}: holds {taken[0]}, which is a special word here; remove it")
    words = {number: renamed.get(word, word) for word, number in ids.items()}
    return [words.get(number, f"<id {number}>") for number in range(count)]


FORMAT = Format("ELMoForManyLangs", is_many_langs, read_many_langs)


# ---- Configuration


def build_config(
    embedder: Mapping[str, Tensor],
    encoder: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    dictionaries: Dictionaries,
    folder: Path,
) -> ElmoConfig:
    """Return the configuration: sizes from the tensors, the rest from the settings."""

    def shape(state: Mapping[str, Tensor], name: str, axes: int) -> tuple[int, ...]:
        found = tuple(state[name].shape) if name in state else None
        if found is None or len(found) != axes:
            file = folder / (EMBEDDER if state is embedder else ENCODER)
            raise ValueError(f"{file}: {name} must have {axes} axes, but is {found or 'missing'}")
        return found

    def count(state: Mapping[str, Tensor], pattern: str) -> int:
        return len({match[1] for name in state if (match := re.fullmatch(pattern, name))})

    width, cell = shape(encoder, "forward_layer_0.state_projection.weight", 2)
    fields = {
        "projection_size": width,
        "cell_size": cell,
        "use_cell_projection": True,
        "num_hidden_layers": count(encoder, r"forward_layer_(\d+)\.state_projection\.weight"),
        "cell_clip": settings["encoder"].get("cell_clip"),
        "projection_clip": settings["encoder"].get("proj_clip"),
        "forget_bias": 0.0,
    }
    words, word_size = shape(embedder, WORD_TABLE, 2) if "words" in dictionaries else (0, 0)
    if "characters" in dictionaries:
        convolutions = count(embedder, r"convolutions\.(\d+)\.weight")
        shapes = [shape(embedder, f"convolutions.{i}.weight", 3) for i in range(convolutions)]
        characters, size = shape(embedder, CHARACTER_TABLE, 2)
        fields |= {
            "character_scheme": "codepoints",
            "vocab_size": characters + 1,
            "char_embedding_size": size,
            "char_cnn_filters": [[length, number] for number, _, length in shapes],
            "char_cnn_activation": settings["token_embedder"].get("activation", "relu"),
            "num_highway_layers": count(embedder, r"highways\._layers\.(\d+)\.weight"),
            "max_characters_per_token": settings["token_embedder"]["max_characters_per_token"],
            "word_embedding_count": words + 1 if words else 0,
            "word_embedding_size": word_size,
            "use_char_projection": True,
        }
    else:
        fields |= {"char_cnn_filters": [], "vocab_size": words + 1, "max_characters_per_token": 1}
    ids = dictionaries.get("characters") or dictionaries["words"]
    try:
        return ElmoConfig(**fields, bos_token_id=ids["<bos>"] + 1, eos_token_id=ids["<eos>"] + 1)
    except StrictDataclassError as error:
        raise ValueError(f"{folder}: {' '.join(str(error.__cause__ or error).split())}") from error


# ---- The way back

SETTINGS = "cnn_50_100_512_4096_sample.json"
FIXED = {"use_skip_connections": True, "use_cell_projection": True, "use_char_projection": True}  # in the original


def check_writable(original: Original, source: str | Path):
    """Check that the format has a place for a model.

    Raises:
        ValueError: The model reads bytes or words, or has another network than the original can build.
    """
    config = original.config
    if config.character_scheme != "codepoints":
        raise ValueError(
            f"{source}: reads bytes or words, but ELMoForManyLangs reads code points; use --to hdf5, the format of "
            "such models"
        )
    if other := [name for name, value in FIXED.items() if getattr(config, name) != value]:
        raise ValueError(f"{source}: ELMoForManyLangs has no model with {other[0]}={getattr(config, other[0])}")
    if original.dictionaries is None:
        raise ValueError(f"{source}: lacks the dictionaries of its tokenizer, which the format needs")


def write_many_langs(original: Original, folder: Path):
    """Write a model as the original loads it: settings, dictionaries, and the state dicts of both networks."""
    config = original.config
    (folder / "config.json").write_text(json.dumps({"config_path": SETTINGS}) + "\n", encoding="utf-8")
    settings = json.dumps(build_settings(config), indent=2)
    (folder / SETTINGS).write_text(settings + "\n", encoding="utf-8")
    for kind, name in (("characters", CHARACTERS), ("words", WORDS)):
        if kind in original.dictionaries:
            write_dictionary(original.dictionaries[kind], folder / name)
    encoder = undo_rules(lstm_rules(config, ""), original.state)
    for name, bias in encoder.items():
        if name.endswith("bias"):  # the original adds nothing to the forget gate
            bias[config.cell_size : 2 * config.cell_size] += config.forget_bias
    torch.save(undo_rules(rules(config), original.state), folder / EMBEDDER)
    torch.save(encoder, folder / ENCODER)


def build_settings(config: ElmoConfig) -> dict[str, Any]:
    """Return the settings of the network."""
    return {
        "encoder": {
            "name": "elmo",
            "projection_dim": config.projection_size,
            "cell_clip": config.cell_clip,
            "proj_clip": config.projection_clip,
            "dim": config.cell_size,
            "n_layers": config.num_hidden_layers,
        },
        "token_embedder": {
            "name": "cnn",
            "activation": config.char_cnn_activation,
            "filters": config.char_cnn_filters,
            "n_highway": config.num_highway_layers,
            "word_dim": config.word_embedding_size,
            "char_dim": config.char_embedding_size,
            "max_characters_per_token": config.max_characters_per_token,
        },
        "classifier": {"name": "sampled_softmax", "n_samples": 8192},
        "dropout": config.lstm_dropout,
    }
