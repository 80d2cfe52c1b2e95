# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The conversion of many published models in a row, and the list of those that are known."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from huggingface_hub.utils import WeakFileLock

from .conversion import convert
from .file_kinds import one_line
from .presets import Preset
from .push import push

LOCK = ".catalogue.lock"
STATE = "catalogue-state.json"  # in the output folder: what is done, so that a second run continues


class Outcome(NamedTuple):
    """The result for a model ("pushed", "converted", "done before" or "failed"), and the address or the error."""

    name: str
    result: str
    detail: str


def convert_many(presets: Iterable[Preset], output: Path, organization: str | None = None) -> Iterator[Outcome]:
    """Convert models into folders of `output` and push them, one after the other; an error stops only its own model.

    A second run with the same output leaves out what is done, and tries again what failed.

    Args:
        presets: The models.
        output: The folder of their folders.
        organization: Where on the Hub they are pushed; None for nowhere.
    """
    output.mkdir(parents=True, exist_ok=True)
    with one_run(output):
        for left in output.glob(".*.partial"):  # of a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        yield from convert_rest(presets, output, organization)


@contextmanager
def one_run(output: Path) -> Iterator[None]:
    """Keep other runs out of a folder as long as the context lasts."""
    with ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(output / LOCK, timeout=1))
        except TimeoutError:
            raise ValueError(f"{output}: another run converts into this folder; wait for it, or give another") from None
        yield


def convert_rest(presets: Iterable[Preset], output: Path, organization: str | None) -> Iterator[Outcome]:
    """Convert and push what the state of the folder does not record as done."""
    state = read_state(output / STATE)
    for preset in presets:
        name = f"{organization}/{preset.name}" if organization else None
        if state.get(preset.name) == (name or "converted"):
            yield Outcome(preset.name, "done before", state[preset.name])
            continue
        try:
            folder = output / preset.name
            if not (folder / "config.json").is_file():  # a folder appears only when it is complete
                convert(preset, folder, name=name)
            detail = push(folder, name) if name else str(folder)
        except (ValueError, OSError) as error:
            yield Outcome(preset.name, "failed", one_line(error))
            continue
        state[preset.name] = name or "converted"
        write_state(output / STATE, state)
        yield Outcome(preset.name, "pushed" if name else "converted", detail)


def read_state(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: not readable ({one_line(error)}); remove it to convert everything again") from error


def write_state(file: Path, state: Mapping[str, str]):
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, file)


def table(rows: list[tuple[str, ...]]) -> str:
    """Return rows as lines with aligned columns, the last one ragged."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def list_presets(presets: Iterable[Preset]) -> str:
    """Return a table of models. What is not known of one is `unknown`; one without addresses is fetched by hand."""
    rows = [("name", "language", "format", "license", "size", "sha256", "about")]
    for preset in presets:
        note = "" if preset.sources else f" (by hand from {preset.page})"
        size = f"{preset.megabytes} MB" if preset.megabytes else "unknown"
        checked = "known" if preset.sha256 else "unknown"
        row = preset.name, preset.language or "-", preset.format, preset.license, size, checked
        rows.append((*row, f"{preset.about}{note}"))
    return table(rows)
