# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""A folder that appears under its name when it is complete, and not before."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARKS = ("config.json", "options.json")  # a folder with one of these is a model, and may be overwritten when asked to


def check_free(output: Path, overwrite: bool):
    """That a folder may be made at `output`.

    Raises:
        ValueError: Something is there that must not be replaced.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not output.is_dir():
        raise ValueError(f"{output}: exists and is no folder; give the name of a new folder")
    if not overwrite:
        raise ValueError(f"{output}: exists and is not empty; give another folder, or --overwrite to replace it")
    if not any((output / mark).is_file() for mark in MARKS):
        raise ValueError(
            f"{output}: holds no model ({' or '.join(MARKS)}), so --overwrite does not replace it; remove it first"
        )


@contextmanager
def new_folder(output: Path, overwrite: bool = False) -> Iterator[Path]:
    """A folder to fill beside `output`. It takes that name when the context ends well, and else goes away."""
    output = output.resolve()
    check_free(output, overwrite)
    partial = output.with_name(f".{output.name}.{secrets.token_hex(4)}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
        check_free(output, overwrite)
        if output.exists():
            old = partial.with_suffix(".old")
            os.replace(output, old)
            try:
                os.replace(partial, output)
            except BaseException:
                os.replace(old, output)
                raise
            shutil.rmtree(old)
        else:
            os.replace(partial, output)
    except BaseException:  # an interruption too must leave nothing behind
        shutil.rmtree(partial, ignore_errors=True)
        raise
