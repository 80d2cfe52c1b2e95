# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""From a source in any known format to a folder for the Hub, or to the original's two files."""

import gzip
import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
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
from hf_elmo.model.saved_card_elmo import read_card
from hf_elmo.model.tokenization_elmo import ElmoTokenizer

from .bilm_hdf5 import SHIFTED, read_weights, rules, write_weights
from .model_card import converted_card
from .new_folder import check_free, new_folder
from .options import write_options
from .presets import localize, preset
from .sources import Original, open_source

WEIGHTS, OPTIONS, VOCABULARY = "weights.hdf5", "options.json", "vocab.txt"
ACCUMULATORS = "adagrad_accumulators.safetensors"  # which pretraining goes on from
INITIAL_ACCUMULATOR = 1.0  # bilm-tf's
CHUNK = 1 << 20  # bytes
BESIDES = 1 << 20  # bytes, of what is written beside the numbers: code, card, the format's own


@dataclass
class Conversion:
    """What a conversion read and wrote.

    Args:
        output: The new folder.
        format: What the source was recognized as.
        config: The model's configuration.
        files: The files read, by name, with their SHA-256.
        notes: What was assumed or left out, a line each.
    """

    output: Path
    format: str
    config: ElmoConfig
    files: dict[str, str]
    notes: list[str]


def convert(
    source: str | Path,
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
    overwrite: bool = False,
) -> Conversion:
    """Convert a model.

    Args:
        source: Weight file, folder, preset name, URL, or repository on the Hub.
        output: The folder to make. It appears when it is complete.
        options: Options file, or its URL. By default the one beside the weights.
        softmax: File with the language model's softmax, if the weights do not hold it, or its URL.
        vocab: Words of the softmax, one a line, or its URL. By default `vocab.txt` beside the weights.
        to: `"safetensors"` for a folder that `from_pretrained` loads, `"hdf5"` for options.json and weights.hdf5.
        dtype: `"int8"` to round the encoder's matrices to 8 bits, of saved models too. By default all stays as it is.
        license, language, name: Of the weights, for the model card; identifiers as on the Hub. By default unknown, the
            preset's, and the output folder's.
        keep_optimizer: Whether to store Adagrad's state too, in `adagrad_accumulators.safetensors`, to go on training
            as if there had been no break. Checkpoints of bilm-tf hold it.
        overwrite: Whether a model that is at `output` is replaced.
    Raises:
        ValueError: The source is not supported, not sound, or its parts do not belong together.
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
    request = localize(source, options=options, softmax=softmax, vocabulary=vocab)
    original = open_source(request)
    is_saved_model = original.format == "safetensors"
    if is_saved_model and to == "safetensors" and dtype is None:
        raise ValueError(
            f"{source}: already a model for transformers; use --to hdf5 for the original format, or --dtype int8"
        )
    if keep_optimizer and not (original.accumulators and to == "safetensors"):
        found = f"a {original.format} has none" if not original.accumulators else f"{to} has no place for it"
        raise ValueError(f"{source}: the state of the optimizer cannot be kept: {found}; leave out --keep-optimizer")
    if original.accumulators and not keep_optimizer:
        original.notes.append(f"{source} holds Adagrad's state; left out, as --keep-optimizer was not given")
    if inside(original.files, output):
        raise ValueError(f"{output}: holds the source itself; give another folder")
    if original.vocabulary is None and not original.config.char_cnn_filters:
        original.notes.append(
            "a model of whole words without its word list has no tokenizer, and <S> and </S> are taken for the first "
            "two words; give the list with --vocab"
        )
    files = {path.name: sha256(path) for path in original.files}
    chosen = preset(source)

    with new_folder(output, overwrite) as folder:
        check_space(original, folder)
        if original.vocabulary is not None:
            copy_vocabulary(original.vocabulary, folder / VOCABULARY, original.config)
        if to == "hdf5":
            write_original(original, folder)
        else:
            if is_saved_model:
                model = quantize_folder(request.source, folder)
                original.notes.clear()  # which say what the original format has no place for
            else:
                model = write_folder(original, folder, dtype)
            if keep_optimizer:
                write_accumulators(original, folder)
            card = converted_card(
                original,
                model,
                name=name or output.resolve().name,
                source=f"{source} ({chosen.about})" if chosen else public_name(source),
                files=files,
                license=license,
                language=language or (chosen and chosen.language),
                told=read_card(original.files[0].parent),
            )
            (folder / "README.md").write_text(card, encoding="utf-8")
    return Conversion(output, original.format, original.config, files, original.notes)


def check_space(original: Original, folder: Path):
    """That the weights fit on the disk: where they do not, the hdf5 library brings the whole process down."""
    numbers = sum(math.prod(rule.shape) for rule in rules(original.config))
    needed = numbers * next(iter(original.state.values())).element_size() + BESIDES
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(f"{folder.parent}: {needed:,} bytes are needed there, but only {free:,} are free")


def write_folder(original: Original, folder: Path, dtype: str | None = None) -> ElmoModel | ElmoForPreTraining:
    """What `from_pretrained` loads: configuration, weights, tokenizer, and the code of all."""
    config = original.config
    state = dict(original.state) | fresh_mixes(config)
    if config.word_vocab_size:
        state = below_the_head(state)
    with torch.device("meta"):  # the tensors read become the model's, without a second copy
        model = (ElmoForPreTraining if config.word_vocab_size else ElmoModel)(config)
    if dtype == "int8":
        model = type(model).from_pretrained(None, config=config, state_dict=state, quantization_config=ElmoInt8Config())
    else:
        model.load_state_dict(state, assign=True)
    save_model(model, folder)
    save_tokenizer(config, folder)
    return model


def quantize_folder(source: Path, folder: Path) -> ElmoPreTrainedModel:
    """A saved model, of whichever class, with its encoder's matrices in 8 bits."""
    architecture, *_ = ElmoConfig.from_pretrained(source).architectures or ["ElmoModel"]
    model = getattr(hf_elmo, architecture).from_pretrained(source, quantization_config=ElmoInt8Config())
    save_model(model, folder)
    if (source / "tokenizer_config.json").is_file():
        ElmoTokenizer.from_pretrained(source).save_pretrained(folder)
    return model


def save_model(model: ElmoPreTrainedModel, folder: Path):
    try:
        model.save_pretrained(folder)
    except SafetensorError as error:
        raise OSError(f"{folder.parent}: the weights cannot be written there ({error})") from error
    for weights in folder.glob("*.safetensors"):  # which safetensors lets nobody but their owner read
        shutil.copymode(folder / "config.json", weights)


def write_accumulators(original: Original, folder: Path):
    """Adagrad's sums of squared gradients, in the place and order of the numbers they belong to.

    Names are those of the parameters of `ElmoForPreTraining`. The row of padding, which the original has not, gets the
    value that all of them once started from.
    """
    sums, _ = read_weights(original.accumulators, original.config)
    for rule in rules(original.config):
        if rule.layout is SHIFTED:
            sums[rule.parameters[0]][0] = INITIAL_ACCUMULATOR
    save_file(below_the_head(sums), folder / ACCUMULATORS, metadata={"format": "pt"})


def below_the_head(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as in `ElmoForPreTraining`, where the encoder is a part."""
    return {name if name.startswith("lm_head.") else f"elmo.{name}": tensor for name, tensor in state.items()}


def fresh_mixes(config: ElmoConfig) -> dict[str, Tensor]:
    """The scalar mixes, of which original weights know nothing: the mean of all layers until trained."""
    mixes = {}
    for mix in range(config.num_mixes):
        mixes[f"scalar_mixes.{mix}.weights"] = torch.zeros(config.num_hidden_layers + 1)
        mixes[f"scalar_mixes.{mix}.gamma"] = torch.ones(1)
    return mixes


def save_tokenizer(config: ElmoConfig, folder: Path):
    """The tokenizer, with the word list if there is one. Without it a model that reads words can have none."""
    vocabulary = folder / VOCABULARY
    if config.char_cnn_filters or vocabulary.is_file():
        ElmoTokenizer(
            vocab_file=str(vocabulary) if vocabulary.is_file() else None,
            max_characters_per_token=config.max_characters_per_token,
        ).save_pretrained(folder)


def write_original(original: Original, folder: Path):
    """The two files that bilm-tf and AllenNLP read."""
    options = json.dumps(write_options(original.config), indent=2)
    (folder / OPTIONS).write_text(options + "\n", encoding="utf-8")
    write_weights(folder / WEIGHTS, original.state, original.config)


def copy_vocabulary(vocabulary: Path, destination: Path, config: ElmoConfig):
    """Copy a word list, and set the ids of the boundary words for a model that reads words.

    Raises:
        ValueError: The list is no UTF-8, or of another length than the model's tables.
    """
    opened = gzip.open if vocabulary.suffix == ".gz" else open
    try:
        with opened(vocabulary, "rt", encoding="utf-8", newline="\n") as file:
            words = [line.strip() for line in file]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{vocabulary}: not readable as a list of words in UTF-8 ({error})") from error
    words = [word for word in words if word != "!!!MAXTERMID"]  # a mark in some files, which bilm-tf skips
    table = config.word_vocab_size or (0 if config.char_cnn_filters else config.vocab_size - 1)
    if table and len(words) != table:
        raise ValueError(
            f"{vocabulary}: has {len(words):,} words, but the model {table:,}; give the list it was trained with"
        )
    if not config.char_cnn_filters:
        missing = [word for word in ("<S>", "</S>", "<UNK>") if word not in words]
        if missing:
            raise ValueError(f"{vocabulary}: lacks {' and '.join(missing)}; expected one word a line, these among them")
        config.bos_token_id, config.eos_token_id = words.index("<S>") + 1, words.index("</S>") + 1
    with opened(vocabulary, "rb") as file, open(destination, "wb") as copy:
        shutil.copyfileobj(file, copy)


def public_name(source: str | Path) -> str:
    """A source as the world may know it: of what lies on this machine, not the way there."""
    return Path(source).resolve().name if Path(source).exists() else str(source)


def inside(files: list[Path], folder: Path) -> bool:
    return any(folder.resolve() in path.resolve().parents for path in files)


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
