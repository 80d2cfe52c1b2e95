# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Conversion of a source in any known format to a folder for the Hub, or to the two files of bilm-tf."""

import gzip
import json
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

import hf_elmo
from hf_elmo.model.code_points_elmo import DICTIONARIES_FILE, write_dictionaries
from hf_elmo.model.configuration_elmo import ElmoConfig
from hf_elmo.model.language_model_elmo import ElmoForPreTraining
from hf_elmo.model.modeling_elmo import ElmoModel, ElmoPreTrainedModel
from hf_elmo.model.quantizer_elmo import ElmoInt8Config
from hf_elmo.model.saved_card_elmo import read_card
from hf_elmo.model.tokenization_elmo import ElmoTokenizer

from .archives import is_archive
from .bilm_hdf5 import SHIFTED, read_weights, rules, write_weights
from .file_kinds import EMPTY, GZIP, check_content, file_kind, one_line, sha256
from .model_card import converted_card
from .new_folder import check_free, new_folder
from .options import write_options
from .original import Original
from .presets import Preset, find_preset, localize
from .sources import open_source

WEIGHTS, OPTIONS, VOCABULARY = "weights.hdf5", "options.json", "vocab.txt"
ACCUMULATORS = "adagrad_accumulators.safetensors"  # read by continued pretraining
INITIAL_ACCUMULATOR = 1.0  # of bilm-tf
SPECIAL_WORDS = ("<S>", "</S>", "<UNK>")
OVERHEAD = 1 << 20  # bytes of what is written beside the weights: code, card, file headers


@dataclass
class Conversion:
    """The record of a conversion.

    Args:
        output: The new folder.
        format: Name of the source's format.
        config: Configuration of the model.
        files: SHA-256 of the files that were read, by name.
        notes: One line for each assumption and for each part that was left out.
    """

    output: Path
    format: str
    config: ElmoConfig
    files: dict[str, str]
    notes: list[str]


def convert(
    source: str | Path | Preset,
    output: str | Path,
    *,
    options: str | Path | None = None,
    softmax: str | Path | None = None,
    vocab: str | Path | None = None,
    to: str = "safetensors",
    dtype: str | None = None,
    license: str | None = None,
    language: str | None = None,
    name: str | None = None,
    keep_optimizer: bool = False,
    prefer: str | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Convert a model.

    Args:
        source: Weight file, archive, folder, preset or its name, URL, or repository on the Hub.
        output: The folder to make. It appears under this name only when it is complete.
        options: Options file, or its URL. By default the one beside the weights.
        softmax: File with the softmax of the language model, if the weights do not hold it, or its URL.
        vocab: Words of the softmax, one a line, or its URL. By default `vocab.txt` beside the weights.
        to: `"safetensors"` for a folder that `from_pretrained` loads, `"hdf5"` for options.json and weights.hdf5.
        dtype: `"int8"` to round the encoder's matrices to 8 bits, of saved models too. By default nothing is rounded.
        license, language, name: Entries of the model card; identifiers as on the Hub. By default unknown, the preset's,
            and the name of the output folder.
        keep_optimizer: Whether to store Adagrad's state too, in `adagrad_accumulators.safetensors`, to continue
            training without a break. Checkpoints of bilm-tf hold it.
        prefer: `"hdf5"` (the default) or `"checkpoint"`, for folders that hold the weights in both forms.
        overwrite: Whether to replace a model that is at `output`.
    Raises:
        ValueError: The source is not supported or damaged, or its parts do not belong together.
    """
    output = Path(output)
    if to == "hdf5" and output.suffix in (".hdf5", ".h5"):
        raise ValueError(
            f"{output}: the output is a folder, in which {WEIGHTS} and {OPTIONS} are written; give its name"
        )
    if dtype is not None and (to == "hdf5" or keep_optimizer):
        option = "--to hdf5" if to == "hdf5" else "--keep-optimizer"
        raise ValueError(f"{option} needs weights as floats, to be trained or read by the original; leave out --dtype")
    check_free(output, overwrite)
    request = localize(source, options=options, softmax=softmax, vocabulary=vocab)._replace(prefer=prefer)
    preset = find_preset(source)
    with open_source(request) as original:
        original = original._replace(facts={**(preset.facts() if preset else {}), **original.facts})
        if original.format == "safetensors" and to == "safetensors" and dtype is None:
            raise ValueError(
                f"{source}: already a model for transformers; use --to hdf5 for the original format, or --dtype int8"
            )
        if to == "hdf5" and original.config.character_scheme != "bytes":
            raise ValueError(
                f"{source}: reads characters that are code points, for which bilm-tf's format has no place; leave out "
                "--to hdf5"
            )
        check_optimizer(original, source, to, keep_optimizer)
        if any(output.resolve() in path.resolve().parents for path in original.files):
            raise ValueError(f"{output}: holds the source itself; give another folder")
        words = read_words(original, given=vocab is not None)
        files = {path.name: sha256(path) for path in original.files}
        with new_folder(output, overwrite) as folder:
            check_space(original, folder)
            if words is not None:
                (folder / VOCABULARY).write_text("\n".join(words) + "\n", encoding="utf-8", newline="\n")
            if to == "hdf5":
                write_original(original, folder)
            else:
                model = write_model(original, request.path, folder, dtype)
                if keep_optimizer:
                    write_accumulators(original, folder)
                card = converted_card(
                    original,
                    model,
                    name=name or output.resolve().name,
                    source=f"{source} ({preset.about})" if preset else public_name(source),
                    files=files,
                    license=license,
                    language=language,
                    inherited=None if is_archive(request.path) else read_card(original.files[0].parent),
                )
                (folder / "README.md").write_text(card, encoding="utf-8")
    return Conversion(output, original.format, original.config, files, original.notes)


def write_model(original: Original, source: Path, folder: Path, dtype: str | None) -> ElmoPreTrainedModel:
    """Write what `from_pretrained` loads, of a saved model too."""
    if original.format != "safetensors":
        return write_folder(original, folder, dtype)
    original.notes.clear()  # they name what the original format cannot hold
    return quantize_folder(source, folder)


def check_optimizer(original: Original, source: str | Path, to: str, keep_optimizer: bool):
    """Check that the state of the optimizer can be kept if that was asked for, and note where it is left out."""
    if keep_optimizer and not (original.accumulators and to == "safetensors"):
        found = f"a {original.format} has none" if not original.accumulators else f"{to} has no place for it"
        raise ValueError(f"{source}: the state of the optimizer cannot be kept: {found}; leave out --keep-optimizer")
    if original.accumulators and not keep_optimizer:
        original.notes.append(f"{source} holds Adagrad's state; left out, as --keep-optimizer was not given")


def check_space(original: Original, folder: Path):
    """Check that the weights fit on the disk: where they do not, the hdf5 library aborts the whole process."""
    needed = sum(tensor.nbytes for tensor in original.state.values()) + OVERHEAD
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(f"{folder.parent}: {needed:,} bytes are needed there, but only {free:,} are free")


def write_folder(original: Original, folder: Path, dtype: str | None = None) -> ElmoModel | ElmoForPreTraining:
    """Write what `from_pretrained` loads: configuration, weights, tokenizer, and their code."""
    config = original.config
    state = fresh_mixes(config) | dict(original.state)
    if config.word_vocab_size:
        state = with_encoder_prefix(state)
    with torch.device("meta"):  # the tensors that were read become those of the model, without a copy
        model = (ElmoForPreTraining if config.word_vocab_size else ElmoModel)(config)
    if dtype == "int8":
        model = type(model).from_pretrained(None, config=config, state_dict=state, quantization_config=ElmoInt8Config())
    else:
        model.load_state_dict(state, assign=True)
    save_model(model, folder)
    save_tokenizer(original, folder)
    return model


def quantize_folder(source: Path, folder: Path) -> ElmoPreTrainedModel:
    """Write a saved model of any class with the matrices of its encoder in 8 bits."""
    architecture, *_ = ElmoConfig.from_pretrained(source).architectures or ["ElmoModel"]
    model = getattr(hf_elmo, architecture).from_pretrained(source, quantization_config=ElmoInt8Config())
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
        write_dictionaries(original.dictionaries, file)
        special = {"bos_token": "<bos>", "eos_token": "<eos>", "split": "punctuation"}
        ElmoTokenizer(dictionaries_file=str(file), max_characters_per_token=width, **special).save_pretrained(folder)
    elif config.char_cnn_filters or vocabulary.is_file():
        words = str(vocabulary) if vocabulary.is_file() else None
        ElmoTokenizer(vocab_file=words, max_characters_per_token=width).save_pretrained(folder)


def write_original(original: Original, folder: Path):
    """Write the two files that bilm-tf and AllenNLP read."""
    options = json.dumps(write_options(original.config), indent=2)
    (folder / OPTIONS).write_text(options + "\n", encoding="utf-8")
    write_weights(folder / WEIGHTS, original.state, original.config)


def read_words(original: Original, given: bool) -> list[str] | None:
    """Return the word list of a model, and set the ids of `<S>` and `</S>` for a model that reads words.

    Args:
        original: The model, with the file of the list if there is one.
        given: Whether the user named the file. A list that was only found beside weights without a softmax is left
            out, with a note, if it lacks the special words.
    Raises:
        ValueError: The list is not in UTF-8, lacks special words, or has another length than the tables of the model.
    """
    config, file = original.config, original.vocabulary
    if original.words is not None:
        return original.words
    reads_words = not config.char_cnn_filters
    if file is None:
        if reads_words:
            original.notes.append(
                "a model that reads words has no tokenizer without its word list, and <S> and </S> are assumed to be "
                "the first two words; give the list with --vocab"
            )
        return None
    if file_kind(file) != EMPTY:
        check_content(file, "one word a line")
    opened = gzip.open if file_kind(file) == GZIP else open
    try:
        with opened(file, "rt", encoding="utf-8-sig", newline="\n") as lines:
            words = [word for line in lines if (word := line.strip()) != "!!!MAXTERMID"]  # a line that bilm-tf skips
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise ValueError(f"{file}: not readable as a list of words in UTF-8 ({one_line(error)})") from error
    table = config.word_vocab_size or (config.vocab_size - 1 if reads_words else 0)
    if table and len(words) != table:
        raise ValueError(
            f"{file}: has {len(words):,} words, but the model {table:,}; give the list it was trained with"
        )
    if missing := [word for word in SPECIAL_WORDS if word not in set(words)]:
        complaint = f"{file}: lacks {' and '.join(missing)}; expected one word a line, these among them"
        if table or given:
            raise ValueError(complaint)
        original.notes.append(f"{complaint}; left out, as these weights have no softmax that needs it")
        return None
    if reads_words:
        config.bos_token_id, config.eos_token_id = words.index("<S>") + 1, words.index("</S>") + 1
    return words


def public_name(source: str | Path) -> str:
    """Return the name of a source without the folders of this machine."""
    return Path(source).resolve().name if Path(source).exists() else str(source)
