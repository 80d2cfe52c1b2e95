# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""A folder that appears under its name only when it is complete."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODEL_FILES = ("config.json", "options.json")  # a folder with one of them is a model, which --overwrite may replace


def check_free(output: Path, overwrite: bool):
    """Check that a folder may be made at `output`.

    Raises:
        ValueError: A file or folder is there that must not be replaced.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not output.is_dir():
        raise ValueError(f"{output}: exists and is no folder; give the name of a new folder")
    if not overwrite:
        raise ValueError(f"{output}: exists and is not empty; give another folder, or --overwrite to replace it")
    if not any((output / name).is_file() for name in MODEL_FILES):
        raise ValueError(
            f"{output}: holds no model ({' or '.join(MODEL_FILES)}), so --overwrite does not replace it; "
            "remove it first"
        )


@contextmanager
def new_folder(output: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `output` if the context ends without error, and else is removed."""
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
    except BaseException:  # an interruption must leave nothing behind either
        shutil.rmtree(partial, ignore_errors=True)
        raise
