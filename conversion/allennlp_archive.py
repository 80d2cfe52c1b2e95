# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The ELMo inside what AllenNLP trained: archives (model.tar.gz), unpacked folders, and state dicts (weights.th).

An `Elmo` module may stand anywhere in a model; `PREFIX` is where (`text_field_embedder.token_embedder_elmo._elmo.`):

    PREFIX_elmo_lstm._token_embedder.   _char_embedding_weights  char_conv_{i}  _highways._layers.{k}  _projection
    PREFIX_elmo_lstm._elmo_lstm.{forward,backward}_layer_{l}.   input_linearity  state_linearity  state_projection
    PREFIXscalar_mix_{m}.   gamma  scalar_parameters.{layer}

The embedder of several languages has one for each, which `allennlp_multilang.py` tells apart.
The forget gate's bias already contains its 1, so the converted model has `forget_bias=0` and every number as it was.
The task model around the ELMo is read by `allennlp_tasks.py`.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hf_elmo.model.configuration_elmo import ElmoConfig

from .allennlp_multilang import language_of, read_aligning
from .allennlp_settings import ElmoSettings, find_archive_options, read_settings
from .allennlp_tasks import read_head
from .options import PUBLISHED_OPTIONS, build_config, published_note, read_options
from .original import Format, Original, Source
from .state_dict_rules import Rule, apply_rules, as_is, convolution_rules, highway_rules, lstm_rules
from .torch_file import checked, is_state_dict_file, read_state_dict

ENTRY = "_token_embedder._char_embedding_weights"
CACHE = "._word_embedding.weight"  # of the words in the namespace `namespace_to_cache`
WEIGHTS = ("weights.th", "best.th")
CHARACTERS = 262


def rules(config: ElmoConfig, bilm: str) -> Iterator[Rule]:
    """Yield a rule for every tensor of a biLM whose names begin with `bilm`."""
    characters, width = f"{bilm}_token_embedder.", config.projection_size
    table = (CHARACTERS, config.char_embedding_size)
    yield Rule(f"{bilm}{ENTRY}", table, ("char_encoder.embeddings.weight",), as_is)
    yield from convolution_rules(config, f"{characters}char_conv_")
    yield from highway_rules(config, f"{characters}_highways._layers.")
    for part, shape in (("weight", (width, config.char_features)), ("bias", (width,))):
        yield Rule(f"{characters}_projection.{part}", shape, (f"char_encoder.projection.{part}",), as_is)
    yield from lstm_rules(config, f"{bilm}_elmo_lstm.")


# ---- Recognition and reading


def weight_file(path: Path) -> Path | None:
    """Return the state dict of an archive's folder, or of a path that is one."""
    if path.is_file():
        return path if is_state_dict_file(path) else None
    return next((path / name for name in WEIGHTS if (path / name).is_file()), None)


def is_archive_folder(path: Path) -> bool:
    """Return whether a path is an unpacked archive, or a state dict of PyTorch."""
    return weight_file(path) is not None


def read_archive(source: Source) -> Original:
    """Read the biLM of a task model and its scalar mixes."""
    file = weight_file(source.path)
    state = read_state_dict(file)
    bilms, others = find_bilms(state, source.part, file)
    bilm, elmos = bilms[0], [elmo_of(name) for name in bilms]
    settings, more = common_settings(elmos, file, has_options=source.options is not None)
    sizes = read_sizes(state, bilm, file)
    options_file = source.options or find_archive_options(file.parent, settings, source.archive or file)
    options = PUBLISHED_OPTIONS if options_file is None else read_options(options_file)
    config, notes = build_config(options, sizes, options_file or file, file)
    notes += more
    mixes, first_mixes = read_all_mixes(state, elmos, config.num_hidden_layers + 1, file)
    apply_settings(config, settings, len(mixes) // 2)
    if options_file is None:
        notes.append(published_note(file))
    elif source.options is None:
        notes.append(f"options are those of {options_file}")

    converted, used = apply_rules(rules(config, bilm), state, file)
    used |= {f"{twin}{name.removeprefix(bilm)}" for name in used for twin in bilms[1:]}
    alignment, aligning, more = read_aligning(state, elmos[0], config, file)
    used, notes = used | aligning, notes + more
    used |= {name for name in state for elmo in elmos if name.startswith(f"{elmo}scalar_mix_")}
    head, left = None, {name: tensor for name, tensor in state.items() if name not in used}
    inside = {name for name in left for elmo in elmos if elmo and name.startswith(elmo)}
    notes += describe_leftovers({name: left.pop(name) for name in sorted(inside)}, settings, file)
    if len(elmos) > 1:
        notes.append(f"{len(elmos)} ELMos of {file} have the same weights and become one, with the mixes of all")
    if left and not source.encoder_only and settings.model_type is not None and not others:
        head, more = read_head(file.parent, file, left, first_mixes, config.hidden_size)
        notes += more
    if left and head is None:
        notes.append(describe_rest(left, settings))
    files = [file, *([options_file] if options_file else [])]
    facts = {} if head is None else head.facts
    return Original(
        FORMAT.name, config, converted | mixes | alignment, files, notes, source.vocabulary, facts=facts, head=head
    )


FORMAT = Format("AllenNLP archive", is_archive_folder, read_archive)


def find_bilms(state: Mapping[str, Tensor], part: str | None, file: Path) -> tuple[list[str], list[str]]:
    """Return the beginnings of the names of the biLMs to convert, which have the same weights, and of all others.

    Args:
        state: A state dict.
        part: The ELMo to convert: the beginning of its names, the name of its token embedder, or its language; None for
            all.
        file: The file of the state dict.

    Raises:
        ValueError: There is none, or none of this name, or there are several of different weights.
    """
    found = [name.removesuffix(ENTRY) for name in state if name.endswith(ENTRY)]
    if not found:
        refuse_without_elmo(state, file)
    elmos = {bilm: elmo_of(bilm) for bilm in found}
    listed = ", ".join(elmo.rstrip(".") or "(the whole file)" for elmo in elmos.values())
    if part is not None:
        name = part.rstrip(".")
        exact = [bilm for bilm, elmo in elmos.items() if name in (elmo.rstrip("."), language_of(elmo))]
        chosen = exact or [bilm for bilm, elmo in elmos.items() if f"token_embedder_{name}." in elmo]
        if len(chosen) != 1:
            raise ValueError(f"{file}: --part {part} does not name one of its ELMos, which are {listed}")
        return chosen, [bilm for bilm in found if bilm not in chosen]
    if len(found) > 1 and (language := language_of(elmos[found[0]])):
        raise ValueError(
            f"{file}: holds {len(found)} ELMos of different languages, {listed}; choose one: --part {language}"
        )
    if not all(are_equal(below(state, found[0]), below(state, other)) for other in found[1:]):
        raise ValueError(f"{file}: holds {len(found)} ELMos of different weights, {listed}; choose one with --part")
    return found, []


def elmo_of(bilm: str) -> str:
    """Return the beginning of the names of an `Elmo` module by that of its biLM."""
    return bilm.removesuffix("_elmo_lstm.")


def below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def are_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def common_settings(elmos: list[str], file: Path, has_options: bool) -> tuple[ElmoSettings, list[str]]:
    """Return the settings of ELMos that become one encoder, and notes.

    Args:
        elmos: The beginnings of the names of their tensors.
        file: The state dict.
        has_options: Whether the user gave the options of all.
    """
    settings, notes = [read_settings(file.parent, elmo) for elmo in elmos], []
    for name in ("layer_norm", *([] if has_options else ["options_file"])):
        values = [getattr(one, name) for one in settings]
        if len(set(values)) > 1:
            ways = "choose one with --part" if name == "layer_norm" else "give those of all with --options"
            raise ValueError(
                f"{file}: its ELMos {', '.join(elmos)} differ in {name}, {values}, which one encoder cannot; {ways}"
            )
    trainable = [one.mix_is_trainable for one in settings]
    if len(set(trainable)) > 1:
        fixed = ", ".join(elmo for elmo, one in zip(elmos, trainable) if not one)
        notes.append(f"the mix of {fixed} was fixed in training; here it is trained with the others")
    return settings[0]._replace(mix_is_trainable=any(trainable)), notes


def refuse_without_elmo(state: Mapping[str, Tensor], file: Path):
    """Raise a `ValueError` that says what a state dict without an ELMo holds."""
    names = " ".join(state)
    if re.search(r"transformer|self_attn|attention\.self", names, re.IGNORECASE):
        raise ValueError(
            f"{file}: weights of a Transformer, not of an LSTM; Transformer-ELMo and models like it are not supported"
        )
    if "char_emb_layer" in names or "word_emb_layer" in names or "forward_layer_0.input_linearity.weight" in state:
        raise ValueError(f"{file}: a part of a model of ELMoForManyLangs; give the folder or the zip file of the model")
    shown = ", ".join(list(state)[:3])
    raise ValueError(
        f"{file}: no ELMo in it; expected a tensor named ...{ENTRY}, found {len(state)}, among them {shown}"
    )


def read_sizes(state: Mapping[str, Tensor], bilm: str, file: Path) -> dict[str, tuple[Any, str]]:
    """Return the fields of the configuration that shapes reveal, each with the tensor that does."""

    def shape(name: str, axes: int) -> tuple[int, ...]:
        found = tuple(state[f"{bilm}{name}"].shape) if f"{bilm}{name}" in state else None
        if found is None or len(found) != axes:
            raise ValueError(f"{file}: {bilm}{name} must have {axes} axes, but is {found or 'missing'}")
        return found

    def count(pattern: str) -> int:
        return len({match[1] for name in state if (match := re.fullmatch(re.escape(bilm) + pattern, name))})

    convolutions = count(r"_token_embedder\.char_conv_(\d+)\.weight")
    shapes = [shape(f"_token_embedder.char_conv_{i}.weight", 3) for i in range(convolutions)]
    width, cell = shape("_elmo_lstm.forward_layer_0.state_projection.weight", 2)
    return {
        "vocab_size": (CHARACTERS, ENTRY),
        "char_embedding_size": (shape(ENTRY, 2)[1], ENTRY),
        "char_cnn_filters": ([[length, number] for number, _, length in shapes], "char_conv_*"),
        "num_highway_layers": (count(r"_token_embedder\._highways\._layers\.(\d+)\.weight"), "_highways"),
        "use_char_projection": (True, "_projection"),
        "projection_size": (width, "state_projection"),
        "cell_size": (cell, "state_projection"),
        "use_cell_projection": (True, "state_projection"),
        "num_hidden_layers": (count(r"_elmo_lstm\.forward_layer_(\d+)\.state_projection\.weight"), "forward_layer_*"),
    }


def read_mixes(state: Mapping[str, Tensor], elmo: str, layers: int, file: Path, first: int = 0) -> dict[str, Tensor]:
    """Return the parameters of an ELMo's scalar mixes, numbered from `first` on."""
    mixes = {}
    while (gamma := f"{elmo}scalar_mix_{len(mixes) // 2}.gamma") in state:
        theirs, ours = f"{elmo}scalar_mix_{len(mixes) // 2}", f"scalar_mixes.{first + len(mixes) // 2}"
        names = [f"{theirs}.scalar_parameters.{layer}" for layer in range(layers)]
        if missing := [name for name in names if name not in state]:
            raise ValueError(f"{file}: lacks {missing[0]}; expected a weight for each of the {layers} layers")
        mixes[f"{ours}.gamma"] = checked(gamma, state[gamma], (1,), file)
        mixes[f"{ours}.weights"] = torch.cat([checked(name, state[name], (1,), file) for name in names])
    return mixes


def read_all_mixes(
    state: Mapping[str, Tensor], elmos: list[str], layers: int, file: Path
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Return the parameters of the scalar mixes of all ELMos, and the number of the first mix of each."""
    mixes, first = {}, {}
    for elmo in elmos:
        first[elmo] = len(mixes) // 2
        mixes |= read_mixes(state, elmo, layers, file, first[elmo])
    return mixes, first


def apply_settings(config: ElmoConfig, settings: ElmoSettings, num_mixes: int):
    """Set what the archive's config.json says about the mixes."""
    config.forget_bias = 0.0
    config.num_mixes = max(num_mixes, 1)
    config.mix_layer_norm = settings.layer_norm
    config.mix_trainable = settings.mix_is_trainable
    config.classifier_dropout = settings.dropout


def part_of_model(name: str) -> str:
    """Return the part of a task model that a tensor belongs to: the first word of its name, or two for embedders."""
    first, *rest = name.split(".")
    return f"{first}.{rest[0]}" if rest and "text_field_embedder" in first else first


def describe_leftovers(left: Mapping[str, Tensor], settings: ElmoSettings, file: Path) -> list[str]:
    """Return notes about the tensors of an ELMo that are not carried over.

    Raises:
        ValueError: One of them is a cache of words' vectors that was trained apart from the characters.
    """
    notes = []
    for name in left:
        shown = f"{file} holds {name} {tuple(left[name].shape)}"
        if not name.endswith(CACHE):
            notes.append(f"{shown}, which a biLM does not need; left out")
        elif settings.is_trained:
            raise ValueError(
                f"{shown}, vectors of words that requires_grad trained apart from the character encoder, which has no "
                "counterpart"
            )
        else:
            notes.append(
                f"{shown}, a cache of words' vectors; every word is read by its characters, also those outside of the "
                "cache, which the archive reads as one unknown word; left out"
            )
    return notes


def describe_rest(left: Mapping[str, Tensor], settings: ElmoSettings) -> str:
    """Return a note about the model around an ELMo where it is not carried over."""
    model = f"the {settings.model_type} around the ELMo" if settings.model_type else "the model around the ELMo"
    return f"{model} is not carried over: {', '.join(sorted(set(map(part_of_model, left))))} ({len(left)} tensors)"
