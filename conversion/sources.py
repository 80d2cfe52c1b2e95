# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Recognition of a source by its content, in one place.

A source is first made local (`presets.py`). The first entry of `FORMATS` that recognizes it reads it. To add a format,
write its module and add its `FORMAT` here.
"""

import json
from collections.abc import Callable
from pathlib import Path

from . import bilm_checkpoint, bilm_folder, saved_model, tfhub
from .file_kinds import BZIP2, GZIP, JSON, PICKLE, STAND_INS, ZIP, check_content, file_kind
from .original import Format, Original, Source

FORMATS: tuple[Format, ...] = (
    saved_model.FORMAT,
    tfhub.FORMAT,
    bilm_checkpoint.FORMAT,
    bilm_folder.FORMAT,
)
EXPECTED = "weights in hdf5 format, a folder with them and their options.json, or a preset (`hf-elmo convert --help`)"


def holds(*names: str) -> Callable[[Path], bool]:
    """Return a test whether a path is a folder that holds all these files."""
    return lambda path: path.is_dir() and all((path / name).is_file() for name in names)


def is_kind(*kinds: str) -> Callable[[Path], bool]:
    """Return a test whether a path is a file of one of these kinds."""
    return lambda path: path.is_file() and file_kind(path) in kinds


UNSUPPORTED: tuple[tuple[Callable[[Path], bool], str], ...] = (
    (
        holds("encoder.pkl", "token_embedder.pkl"),
        "a model of ELMoForManyLangs, which reads Unicode characters and whole words; not supported yet",
    ),
    (
        holds("weights.th", "config.json"),
        "an unpacked AllenNLP archive (weights.th); not supported yet: give the options and hdf5 weights it had",
    ),
    (is_kind(ZIP), "a zip archive; unpack it and give the folder with options.json and the hdf5 weights"),
    (
        is_kind(GZIP, BZIP2),
        "a compressed archive; unpack it and give the folder with options.json and the hdf5 weights (AllenNLP's "
        "model.tar.gz and Transformer-ELMo have none and are not supported)",
    ),
    (is_kind(JSON), "a JSON file; give the hdf5 weights or their folder as the source, and this with --options"),
    (is_kind(PICKLE), "a Python pickle (of PyTorch?), not hdf5; give the original hdf5 weights of the model"),
)


def open_source(source: Source) -> Original:
    """Recognize a source and read it.

    Raises:
        ValueError: There is nothing there, or nothing that is supported and sound.
    """
    path = source.path
    if not (path.exists() or bilm_checkpoint.is_checkpoint(path)):
        raise ValueError(f"{path}: no such file or folder, and no preset or URL; expected {EXPECTED}")
    if path.is_file() and file_kind(path) in STAND_INS:
        check_content(path, "the weights of an ELMo")
    for recognizes, refusal in UNSUPPORTED:
        if recognizes(path):
            raise ValueError(f"{path}: {refusal}")
    if found := recognize(path):
        return found.read(source)
    return bilm_folder.FORMAT.read(source)  # whose messages say what is missing


def recognize(path: Path) -> Format | None:
    """Return the format of a file or folder, or None."""
    return next((candidate for candidate in FORMATS if candidate.recognizes(path)), None)


def is_transformers_model(path: Path) -> bool:
    """Return whether a folder is a saved model of transformers, of any type."""
    try:
        return "model_type" in json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (ValueError, TypeError, RecursionError, OSError):
        return False


def looks_unconverted(path: str | Path) -> str | None:
    """Return one line of advice if a path holds an ELMo that has to be converted first, else None.

    Scripts that expect a saved model call it to explain why a path is none.
    """
    path = Path(path)
    try:
        if not path.exists() or is_transformers_model(path):
            return None
        found = recognize(path)
    except (OSError, ValueError):
        return None
    if found is None or found is saved_model.FORMAT:
        return None
    return f"{path}: {found.name}, not a saved model; type `hf-elmo convert {path} OUTPUT` and give OUTPUT instead"
