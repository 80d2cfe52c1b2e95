# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Recognition of a source by its content, in one place.

A source is first made local (`presets.py`), and an archive is unpacked. The first entry of `FORMATS` that recognizes
the result reads it. To add a format, write its module and add its `FORMAT` here.
"""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from . import allennlp_archive, bilm_checkpoint, bilm_folder, elmo_for_many_langs, nlpl, saved_model, tfhub
from .archives import is_archive, unpacked
from .file_kinds import JSON, LFS_POINTER, STAND_INS, WEB_PAGE, StandInError, check_content, file_kind, printable
from .original import Format, Original, Source

FORMATS: tuple[Format, ...] = (
    saved_model.FORMAT,
    elmo_for_many_langs.FORMAT,
    allennlp_archive.FORMAT,
    nlpl.FORMAT,
    tfhub.FORMAT,
    bilm_checkpoint.FORMAT,
    bilm_folder.FORMAT,
)
PART = re.compile(r"^checkpoint$|\.(hdf5|h5|json|th|pkl|pth|dic|index|pb|safetensors|data-[\w-]+)$")
EXPECTED = "weights in hdf5 format, a folder with them and their options.json, or a preset (`hf-elmo convert --list`)"


@contextmanager
def open_source(source: Source) -> Iterator[Original]:
    """Recognize a source and read it. Files that were unpacked from an archive exist as long as the context lasts.

    Raises:
        ValueError: There is nothing there, or nothing that is supported and sound.
    """
    path = source.path
    if not (path.exists() or bilm_checkpoint.is_checkpoint(path)):
        raise ValueError(f"{path}: no such file or folder, and no preset or URL; expected {EXPECTED}")
    if path.is_file() and file_kind(path) in STAND_INS:
        check_content(path, "the weights of an ELMo")
    if path.is_file() and file_kind(path) == JSON:
        raise ValueError(
            f"{path}: a JSON file; give the hdf5 weights or their folder as the source, and this with --options"
        )
    with ExitStack() as stack:
        stack.enter_context(in_one_line())
        if not is_archive(path):
            yield read_source(source)
            return
        folder = stack.enter_context(unpacked(path))
        stack.enter_context(named_after(folder, path))
        original = read_source(source._replace(path=model_folder(folder), archive=path))
        notes = [in_archive(note, folder, path) for note in original.notes]
        outside = [file for file in original.files if folder not in file.parents]
        yield original._replace(files=[path, *outside], notes=notes)


def read_source(source: Source) -> Original:
    """Read a local, unpacked source; where that fails, a file that stands for another is the likely cause."""
    found = recognize(source.path) or bilm_folder.FORMAT  # whose errors say what is missing
    try:
        original = found.read(source)
    except StandInError:
        raise
    except ValueError:
        for file in stand_ins(source.path):
            check_content(file, "a file of the model")
        raise
    others = [file for file in stand_ins(source.path) if file not in original.files]
    original.notes.extend(f"{file}: {STAND_INS[file_kind(file)][0]}; left out" for file in others)
    original.notes[:] = map(printable, original.notes)
    return original


def stand_ins(path: Path) -> list[Path]:
    """Return the files of a source, by their names of a model, that are Git LFS pointers, web pages or empty."""
    folders = [path, path / "variables"] if path.is_dir() else []
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir())]
    files += [] if path.is_dir() else sorted(path.parent.glob(f"{path.stem}.*"))
    words = [file for file in sorted(path.glob("vocabulary/*.txt")) if file_kind(file) in (LFS_POINTER, WEB_PAGE)]
    return words + [
        file for file in files if PART.search(file.name) and file.is_file() and file_kind(file) in STAND_INS
    ]


@contextmanager
def in_one_line() -> Iterator[None]:
    """Let errors have one line, whatever names are in the files."""
    try:
        yield
    except ValueError as error:
        if str(error).isprintable():
            raise
        raise ValueError(printable(str(error))) from error


@contextmanager
def named_after(folder: Path, archive: Path) -> Iterator[None]:
    """Let errors about files in a temporary folder name the archive that they come from."""
    try:
        yield
    except ValueError as error:
        raise ValueError(in_archive(str(error), folder, archive)) from error


def in_archive(text: str, folder: Path, archive: Path) -> str:
    return text.replace(f"{folder}/", f"{archive}: ").replace(str(folder), str(archive))


def model_folder(folder: Path) -> Path:
    """Return the folder of the model in an unpacked archive: the topmost one in a known format."""
    folders = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]
    folders.sort(key=lambda path: len(path.parts))
    return next((path for path in folders if recognize(path)), folder)


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
        name = "an archive" if is_archive(path) else found and found.name
    except (OSError, ValueError):
        return None
    if name is None or found is saved_model.FORMAT:
        return None
    return f"{path}: {name}, not a saved model; type `hf-elmo convert {path} OUTPUT` and give OUTPUT instead"
