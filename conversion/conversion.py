# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Conversion of a source in any known format to a folder for the Hub, or to the two files of bilm-tf."""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

from hf_elmo.model.configuration_elmo import ElmoConfig
from hf_elmo.model.saved_card_elmo import read_card

from .archives import is_archive
from .file_kinds import EMPTY, GZIP, check_content, file_kind, one_line, sha256
from .model_card import converted_card
from .new_folder import check_free, new_folder
from .original import Original
from .output import OPTIONS, VOCABULARY, WEIGHTS, check_space, write_accumulators, write_model, write_original
from .presets import Preset, find_preset, localize
from .sentence_transformer import write_sentence_transformer
from .sources import open_source

SPECIAL_WORDS = ("<S>", "</S>", "<UNK>")


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
    pooling: str | None = None,
    license: str | None = None,
    language: str | None = None,
    name: str | None = None,
    keep_optimizer: bool = False,
    prefer: str | None = None,
    encoder_only: bool = False,
    overwrite: bool = False,
) -> Conversion:
    """Convert a model.

    Args:
        source: Weight file, archive, folder, preset or its name, URL, or repository on the Hub.
        output: The folder to make. It appears under this name only when it is complete.
        options: Options file, or its URL. By default the one beside the weights.
        softmax: File with the softmax of the language model, if the weights do not hold it, or its URL.
        vocab: Words of the softmax, one a line, or its URL. By default `vocab.txt` beside the weights.
        to: `"safetensors"` for a folder that `from_pretrained` loads, `"sentence-transformers"` for one that
            `SentenceTransformer` loads too, also of a saved model, `"hdf5"` for options.json and weights.hdf5.
        dtype: `"int8"` to round the encoder's matrices to 8 bits, of saved models too. By default nothing is rounded.
        pooling: How `"sentence-transformers"` makes one vector of a text's words: `"mean"`, `"max"` or `"attention"`.
        license, language, name: Entries of the model card; identifiers as on the Hub. By default unknown, the preset's,
            and the name of the output folder.
        keep_optimizer: Whether to store Adagrad's state too, in `adagrad_accumulators.safetensors`, to continue
            training without a break. Checkpoints of bilm-tf hold it.
        prefer: `"hdf5"` (the default) or `"checkpoint"`, for folders that hold the weights in both forms.
        encoder_only: Whether to leave out the task model around the ELMo of an AllenNLP archive.
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
    if pooling is not None and to != "sentence-transformers":
        raise ValueError("--pooling is of vectors of texts: it goes with --to sentence-transformers")
    check_free(output, overwrite)
    request = localize(source, options=options, softmax=softmax, vocabulary=vocab)
    request = request._replace(prefer=prefer, encoder_only=encoder_only)
    preset = find_preset(source)
    with open_source(request) as original:
        original = original._replace(facts={**(preset.facts() if preset else {}), **original.facts})
        if original.format == "safetensors" and to == "safetensors" and dtype is None:
            raise ValueError(
                f"{source}: already a model for transformers; use --to hdf5 for the original format, "
                "--to sentence-transformers, or --dtype int8"
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
                if original.head is not None:
                    original.notes.append(f"the {original.head.kind} around the ELMo has no place in hdf5; left out")
                write_original(original, folder)
            else:
                if to == "sentence-transformers":
                    model = write_sentence_transformer(original, request.path, folder, dtype, pooling)
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


def check_optimizer(original: Original, source: str | Path, to: str, keep_optimizer: bool):
    """Check that the state of the optimizer can be kept if that was asked for, and note where it is left out."""
    if keep_optimizer and not (original.accumulators and to != "hdf5"):
        found = f"a {original.format} has none" if not original.accumulators else f"{to} has no place for it"
        raise ValueError(f"{source}: the state of the optimizer cannot be kept: {found}; leave out --keep-optimizer")
    if original.accumulators and not keep_optimizer:
        original.notes.append(f"{source} holds Adagrad's state; left out, as --keep-optimizer was not given")


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
