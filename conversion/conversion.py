# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Conversion of a source in any known format to a folder for the Hub, or back to the files of the original."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_elmo.model.configuration_elmo import ElmoConfig
from hf_elmo.model.model_card_elmo import read_card

from . import allennlp_archive, bilm_folder
from .alignment import align, parse_alignment
from .archives import is_archive
from .elmo_for_many_langs import check_writable, write_many_langs
from .file_kinds import sha256
from .model_card import converted_card
from .new_folder import check_free, new_folder
from .original import Head, Original, Source
from .output import OPTIONS, VOCABULARY, WEIGHTS, check_space, write_accumulators, write_model, write_original
from .presets import Preset, find_preset, local_file, localize
from .sentence_transformer import write_sentence_transformer
from .sources import open_source
from .word_list import read_word_list

WAYS_BACK = ("hdf5", "elmoformanylangs")  # formats that other programs read
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
        head: The task model that was carried over, if there is one.
    """

    output: Path
    format: str
    config: ElmoConfig
    files: dict[str, str]
    notes: list[str]
    head: Head | None = None


def convert(
    source: str | Path | Preset,
    output: str | Path,
    *,
    options: str | Path | None = None,
    softmax: str | Path | None = None,
    vocab: str | Path | None = None,
    embeddings: str | Path | None = None,
    alignment: Sequence[str | Path] = (),
    to: str = "safetensors",
    dtype: str | None = None,
    pooling: str | None = None,
    license: str | None = None,
    language: str | None = None,
    name: str | None = None,
    keep_optimizer: bool = False,
    prefer: str | None = None,
    encoder_only: bool = False,
    part: str | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Convert a model.

    Args:
        source: Weight file, archive, folder, preset or its name, URL, or repository on the Hub.
        output: The folder to make. It appears under this name only when it is complete.
        options: Options file, or its URL. By default the one beside the weights.
        softmax: File with the softmax of the language model, if the weights do not hold it, or its URL.
        vocab: Words of the softmax, one a line, or its URL. By default `vocab.txt` beside the weights.
        embeddings: File with the token embeddings of these words (bilm-tf's `dump_token_embeddings`), or its URL. The
            converted model reads words by them, in place of characters.
        alignment: Matrices to another language's model (`best_mapping.pth`), or their URLs: of the first biLSTM layer,
            or of layer N where it is `"N=FILE"`.
        to: `"safetensors"` for a folder that `from_pretrained` loads, `"sentence-transformers"` for one that
            `SentenceTransformer` loads too, also of a saved model, `"hdf5"` for options.json and weights.hdf5, or
            `"elmoformanylangs"` for the files of that program, where characters are code points.
        dtype: `"float32"` to widen weights of another type, or `"int8"` to round the encoder's matrices to 8 bits, of
            saved models too. By default the weights keep their type.
        pooling: How `"sentence-transformers"` makes one vector of a text's words: `"mean"`, `"max"` or `"attention"`.
        license, language, name: Entries of the model card; identifiers as on the Hub. By default unknown, the preset's,
            and the name of the output folder.
        keep_optimizer: Whether to store Adagrad's state too, in `adagrad_accumulators.safetensors`, to continue
            training without a break. Checkpoints of bilm-tf hold it.
        prefer: `"hdf5"` (the default) or `"checkpoint"`, for folders that hold the weights in both forms.
        encoder_only: Whether to leave out the task model around the ELMo of an AllenNLP archive.
        part: Which ELMo of an AllenNLP archive that holds several of different weights: the beginning of its tensors'
            names, the name of its token embedder, or its language. The task model around them is then left out.
        overwrite: Whether to replace a model that is at `output`.
    Raises:
        ValueError: The source is not supported or damaged, or its parts do not belong together.
    """
    output = Path(output)
    if to == "hdf5" and output.suffix in (".hdf5", ".h5"):
        raise ValueError(
            f"{output}: the output is a folder, in which {WEIGHTS} and {OPTIONS} are written; give its name"
        )
    for option, given in (("dtype", dtype), ("alignment", alignment)):
        if given and to in WAYS_BACK:
            raise ValueError(f"--to {to} writes the weights as the original reads them; leave out --{option}")
    if dtype is not None and keep_optimizer:
        raise ValueError("--keep-optimizer needs weights as they were trained; leave out --dtype")
    if pooling is not None and to != "sentence-transformers":
        raise ValueError("--pooling is of vectors of texts: it goes with --to sentence-transformers")
    check_free(output, overwrite)
    request = localize(source, options=options, softmax=softmax, vocabulary=vocab)
    request = request._replace(
        prefer=prefer,
        encoder_only=encoder_only,
        part=part,
        embeddings=None if embeddings is None else local_file(embeddings),
        alignment={layer: local_file(file) for layer, file in parse_alignment(alignment).items()},
    )
    preset = find_preset(source)
    with open_source(request) as original:
        if part is not None and original.format != allennlp_archive.FORMAT.name:
            raise ValueError(f"{source}: the format {original.format} has no parts to choose from; leave out --part")
        if prefer is not None and not any("--prefer" in note for note in original.notes):
            original.notes.append(f"--prefer {prefer} changed nothing: the weights are there in one form only")
        if preset:
            original = original._replace(facts={**preset.facts(), **original.facts})
            original.notes.extend(preset.notes(is_aligned=bool(alignment)))
        check_way(original, source, to, dtype, request)
        original = align(original, request.alignment)
        check_optimizer(original, source, to, keep_optimizer)
        if any(output.resolve() in path.resolve().parents for path in original.files):
            raise ValueError(f"{output}: holds the source itself; give another folder")
        words = read_words(original, given=vocab is not None)
        files = {path.name: sha256(path) for path in original.files}
        with new_folder(output, overwrite) as folder:
            check_space(original, folder)
            if words is not None and to != "elmoformanylangs":
                (folder / VOCABULARY).write_text("\n".join(words) + "\n", encoding="utf-8", newline="\n")
            if to == "hdf5":
                if original.head is not None:
                    original.notes.append(f"the {original.head.kind} around the ELMo has no place in hdf5; left out")
                if original.config.aligned_layers and original.format != "safetensors":  # whose reader says so
                    original.notes.append("the alignment to another language has no place in hdf5; left out")
                write_original(original, folder)
            elif to == "elmoformanylangs":
                write_many_langs(original, folder)
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
    head = None if to in WAYS_BACK else original.head
    return Conversion(output, original.format, original.config, files, original.notes, head)


def check_way(original: Original, source: str | Path, to: str, dtype: str | None, request: Source):
    """Check that a format can be written as asked, and that all files that were given belong to it."""
    saved, bytes_only = original.format == "safetensors", original.config.character_scheme == "bytes"
    if saved and to == "safetensors" and dtype is None:
        raise ValueError(
            f"{source}: already a model for transformers; use --to hdf5 for the original format, "
            "--to sentence-transformers, or --dtype float32 or int8"
        )
    if to == "hdf5" and not bytes_only:
        raise ValueError(
            f"{source}: reads characters that are code points, but the character ids of bilm-tf are bytes; "
            "use --to elmoformanylangs, the format of such models"
        )
    if to == "elmoformanylangs":
        check_writable(original, source)
    if request.alignment and saved:
        raise ValueError(f"{source}: --alignment goes with the original weights; convert those again")
    if request.embeddings and not original.format.endswith(bilm_folder.FORMAT.name):
        raise ValueError(
            f"{source}: --embeddings goes with weights in {bilm_folder.FORMAT.name}, not {original.format}"
        )


def check_optimizer(original: Original, source: str | Path, to: str, keep_optimizer: bool):
    """Check that the state of the optimizer can be kept if that was asked for, and note where it is left out."""
    if keep_optimizer and not (original.accumulators and to != "hdf5"):
        found = f"the format {original.format} has none" if not original.accumulators else f"{to} has no place for it"
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
    words = read_word_list(file)
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
        original.notes.append(f"a word that is not among the {len(words):,} of {file} is read as <UNK>")
    return words


def public_name(source: str | Path) -> str:
    """Return the name of a source without the folders of this machine."""
    return Path(source).resolve().name if Path(source).exists() else str(source)
