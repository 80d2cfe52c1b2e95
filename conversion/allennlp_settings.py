# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The settings that the config.json of an AllenNLP archive has for its ELMo, and the place of the biLM's options.

Since AllenNLP 1.0 an archive names its options file but does not hold it. Archives of 0.9 and before hold it as a
member of `fta/`, which `files_to_archive.json` lists. Some since 1.2 hold it where `include_in_archive` put it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from .allennlp_multilang import TYPE as MULTILANG
from .allennlp_multilang import language_of
from .bilm_folder import is_options

DROPOUT = 0.5  # AllenNLP's default, of the mixed representation in training


class ElmoSettings(NamedTuple):
    """Settings of an `Elmo` module, and the type of the model around it."""

    model_type: str | None = None
    options_file: str | None = None
    layer_norm: bool = False
    dropout: float = DROPOUT
    mix_is_trainable: bool = True
    is_trained: bool = False
    language: str | None = None


def read_settings(folder: Path, elmo: str) -> ElmoSettings:
    """Return the settings of the module whose tensors have the prefix `elmo`; defaults where there is no config.json.

    Raises:
        ValueError: config.json is damaged, or a setting is of a wrong type.
    """
    file = folder / "config.json"
    if not file.is_file():
        return ElmoSettings()
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not JSON ({error}); expected the config.json of an AllenNLP archive") from error
    model = content.get("model") if isinstance(content, dict) else None
    model = model if isinstance(model, dict) else {}
    found = dict(find_modules(model))
    name = next((part.removeprefix("token_embedder_") for part in elmo.split(".") if "token_embedder_" in part), "elmo")
    module = found.get(name) or next(iter(found.values()), {})
    options, language = module.get("options_file"), language_of(elmo)
    if isinstance(module.get("options_files"), dict):
        options = module["options_files"].get(language)
    settings = ElmoSettings(
        model_type=model.get("type") if isinstance(model.get("type"), str) else None,
        options_file=options if isinstance(options, str) else None,
        layer_norm=module.get("do_layer_norm", False),
        dropout=module.get("dropout", DROPOUT),
        mix_is_trainable=module.get("scalar_mix_parameters") is None,
        is_trained=module.get("requires_grad") is True,
        language=language,
    )
    if not isinstance(settings.layer_norm, bool):
        raise ValueError(f"{file}: do_layer_norm must be true or false, but is {settings.layer_norm!r}")
    if not isinstance(settings.dropout, (int, float)) or not 0 <= settings.dropout < 1:
        raise ValueError(f"{file}: dropout must be from 0 to below 1, but is {settings.dropout!r}")
    return settings


def find_modules(section: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every ELMo in a configuration with the name that its section has."""
    if depth > 20 or not isinstance(section, (dict, list)):
        return
    if isinstance(section, dict) and (
        section.get("type") in ("elmo_token_embedder", MULTILANG) or "options_file" in section
    ):
        yield name, section
    parts = section.items() if isinstance(section, dict) else enumerate(section)
    for key, part in parts:
        yield from find_modules(part, str(key), depth + 1)


def find_archive_options(folder: Path, settings: ElmoSettings, archive: Path) -> Path | None:
    """Return the options file that an archive holds, or that lies where its config.json says.

    Args:
        folder: The unpacked archive.
        settings: Settings of its ELMo.
        archive: The archive, or a file in the folder. A relative path of config.json begins at the folder of the
            archive, or one folder above.
    """
    members, named = folder / "fta", settings.options_file
    ending = "options_file" if settings.language is None else f"options_files.{settings.language}"
    inside = [path for path in sorted(members.rglob("*")) if path.name.endswith(ending)] if members.is_dir() else []
    below = folder.glob if folder in archive.parents else folder.rglob  # a folder of the user may hold anything
    inside += [path for path in sorted(below("*.json"), key=depth) if is_options(path)]
    if inside:
        return next((path for path in inside if named and str(path).endswith(f"/{named}")), inside[0])
    if named is None or "://" in named:
        return None
    relative = PurePosixPath(named)
    if relative.is_absolute() or ".." in relative.parts:
        return None
    places = (archive.parent, archive.parent.parent)
    return next((place / relative for place in places if is_options(place / relative)), None)


def depth(path: Path) -> tuple[int, Path]:
    """Return the order of files in which those in upper folders come first."""
    return len(path.parts), path
