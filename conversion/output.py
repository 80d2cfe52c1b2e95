# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Write the result of a conversion: a folder for `from_pretrained`, or the two files of bilm-tf."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

import hf_elmo
from hf_elmo.model.configuration_elmo import ElmoConfig
from hf_elmo.model.language_model_elmo import ElmoForPreTraining
from hf_elmo.model.modeling_elmo import ElmoModel, ElmoPreTrainedModel
from hf_elmo.model.quantizer_elmo import ElmoInt8Config
from hf_elmo.model.tokenization_elmo import ElmoTokenizer
from hf_elmo.model.tokenizer_files_elmo import DICTIONARIES_FILE, FEATURES_FILE, write_json

from .bilm_hdf5 import SHIFTED, read_weights, rules, write_weights
from .options import missing_for_allennlp, write_options
from .original import Head, Original

WEIGHTS, OPTIONS, VOCABULARY = "weights.hdf5", "options.json", "vocab.txt"
ACCUMULATORS = "adagrad_accumulators.safetensors"  # read by continued pretraining
INITIAL_ACCUMULATOR = 1.0  # of bilm-tf
OVERHEAD = 1 << 20  # bytes of what is written beside the weights: code, card, file headers


def check_space(original: Original, folder: Path):
    """Check that the weights fit on the disk: where they do not, the hdf5 library aborts the whole process."""
    head = original.head.state if original.head else {}
    needed = sum(tensor.nbytes for tensor in (*original.state.values(), *head.values())) + OVERHEAD
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(f"{folder.parent}: {needed:,} bytes are needed there, but only {free:,} are free")


def write_model(original: Original, source: Path, folder: Path, dtype: str | None) -> ElmoPreTrainedModel:
    """Write what `from_pretrained` loads, of a saved model too."""
    if original.format != "safetensors":
        return write_folder(original, folder, dtype)
    original.notes.clear()  # they name what the original format cannot hold
    return change_folder(source, folder, dtype)


def write_folder(original: Original, folder: Path, dtype: str | None = None) -> ElmoPreTrainedModel:
    """Write what `from_pretrained` loads: configuration, weights, tokenizer, and their code."""
    model = build_model(original, dtype)
    save_model(model, folder)
    save_tokenizer(original, folder)
    return model


def build_model(original: Original, dtype: str | None = None) -> ElmoPreTrainedModel:
    """Return the model of an original, with its head or its softmax if it has one."""
    config, head = original.config, original.head
    state = fresh_mixes(config) | dict(original.state)
    if head is not None:
        set_head(config, head)
        state = with_encoder_prefix(state) | dict(head.state)
        architecture = getattr(hf_elmo, head.architecture)
    else:
        architecture = ElmoForPreTraining if config.word_vocab_size else ElmoModel
        state = with_encoder_prefix(state) if config.word_vocab_size else state
    with torch.device("meta"):  # the tensors that were read become those of the model, without a copy
        model = architecture(config)
    if dtype is not None:  # widened, which is exact; 8-bit numbers and their scales are computed from float32
        state = {name: tensor.float() for name, tensor in state.items()}
    if differing := sorted(set(state) ^ set(model.state_dict())):
        raise ValueError(f"{original.files[0]}: these tensors are on one side only: {', '.join(differing)}")
    if dtype == "int8":
        model = type(model).from_pretrained(None, config=config, state_dict=state, quantization_config=ElmoInt8Config())
    else:
        model.load_state_dict(state, assign=True)
    return model


def set_head(config: ElmoConfig, head: Head):
    """Set the fields of a task model, with the names of its labels."""
    for name, value in head.config.items():
        setattr(config, name, value)
    config.task_special_tokens = False
    if head.labels:
        config.id2label = dict(enumerate(head.labels))
        config.label2id = {label: number for number, label in enumerate(head.labels)}


def change_folder(source: Path, folder: Path, dtype: str | None) -> ElmoPreTrainedModel:
    """Write a saved model of any class in float32, or with the matrices of its encoder in 8 bits."""
    architecture, *_ = ElmoConfig.from_pretrained(source).architectures or ["ElmoModel"]
    quantization = {"quantization_config": ElmoInt8Config()} if dtype == "int8" else {}
    model = getattr(hf_elmo, architecture).from_pretrained(source, dtype=torch.float32, **quantization)
    save_model(model, folder)
    if (source / "tokenizer_config.json").is_file():
        ElmoTokenizer.from_pretrained(source).save_pretrained(folder)
    return model


def save_model(model: ElmoPreTrainedModel, folder: Path):
    """Save configuration, weights and code."""
    try:
        model.save_pretrained(folder)
    except SafetensorError as error:
        raise OSError(f"{folder.parent}: the weights cannot be written there ({error})") from error
    for weights in folder.glob("*.safetensors"):  # safetensors makes files that only their owner can read
        shutil.copymode(folder / "config.json", weights)


def write_accumulators(original: Original, folder: Path):
    """Write Adagrad's sums of squared gradients under the names of the parameters of `ElmoForPreTraining`.

    The row of padding, which the original lacks, gets the initial value of every accumulator.
    """
    sums, _ = read_weights(original.accumulators, original.config)
    for rule in rules(original.config):
        if rule.layout is SHIFTED:
            sums[rule.parameters[0]][0] = INITIAL_ACCUMULATOR
    save_file(with_encoder_prefix(sums), folder / ACCUMULATORS, metadata={"format": "pt"})


def with_encoder_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return names as in `ElmoForPreTraining`, where the encoder is a submodule."""
    return {name if name.startswith("lm_head.") else f"elmo.{name}": tensor for name, tensor in state.items()}


def fresh_mixes(config: ElmoConfig) -> dict[str, Tensor]:
    """Return untrained scalar mixes, each the mean of all layers: biLM weights have none."""
    mixes = {}
    for mix in range(config.num_mixes):
        mixes[f"scalar_mixes.{mix}.weights"] = torch.zeros(config.num_hidden_layers + 1)
        mixes[f"scalar_mixes.{mix}.gamma"] = torch.ones(1)
    return mixes


def save_tokenizer(original: Original, folder: Path):
    """Save the tokenizer, with its word list or dictionaries. A model that reads words has none without its list."""
    config, vocabulary = original.config, folder / VOCABULARY
    width = config.max_characters_per_token
    if original.dictionaries is not None:
        file = folder / DICTIONARIES_FILE
        write_json(original.dictionaries, file)
        special = {"bos_token": "<bos>", "eos_token": "<eos>", "split": "punctuation"}
        ElmoTokenizer(dictionaries_file=str(file), max_characters_per_token=width, **special).save_pretrained(folder)
    elif original.head is not None:
        options = {"max_characters_per_token": width, **original.head.tokenizer}
        if original.head.features is not None:
            write_json(dict(original.head.features), folder / FEATURES_FILE)
            options["features_file"] = str(folder / FEATURES_FILE)
        ElmoTokenizer(**options).save_pretrained(folder)
    elif config.char_cnn_filters or vocabulary.is_file():
        words = str(vocabulary) if vocabulary.is_file() else None
        ElmoTokenizer(vocab_file=words, max_characters_per_token=width).save_pretrained(folder)


def write_original(original: Original, folder: Path):
    """Write the two files that bilm-tf and AllenNLP read, with a note if only bilm-tf does."""
    options = json.dumps(write_options(original.config), indent=2)
    (folder / OPTIONS).write_text(options + "\n", encoding="utf-8")
    write_weights(folder / WEIGHTS, original.state, original.config)
    if missing := missing_for_allennlp(original.config):
        original.notes.append(f"bilm-tf reads this model, but AllenNLP does not: it expects {' and '.join(missing)}")
