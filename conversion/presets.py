# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Published models by name (`catalogue.json`), and the download of any source.

An entry of the catalogue has a name, language, format, license ("unknown" where nobody stated one), tokenization and
citation, and `sources` in order of preference: `weights` and `options`, an `archive`, or a repository of the `hub`. An
entry without sources has only a `page`, from which its files have to be fetched by hand. `sha256` maps names of files
to their digests, where these are known; `alignment` is the address of a matrix to another language.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from .download import download, is_url
from .file_kinds import sha256
from .original import Source

PUBLISHED = "published"  # in place of a file: the preset's own
HUB_FILES = "*.hdf5 *.h5 *.json *.txt *.txt.gz *.safetensors *.th *.pkl *.dic *.index *.data-* *.pb checkpoint".split()


@dataclass(frozen=True)
class Preset:
    """An entry of the catalogue."""

    name: str
    language: str | None
    format: str
    about: str
    license: str = "unknown"
    tokenization: str = "unknown"
    citation: str = "unknown"
    sources: list[dict[str, str]] = field(default_factory=list)
    softmax: str | None = None
    vocabulary: str | None = None
    alignment: str | None = None  # to another language, of the first biLSTM layer
    page: str | None = None
    megabytes: int | None = None
    sha256: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def notes(self, is_aligned: bool) -> list[str]:
        """Return what a user must know about the files, one line each."""
        notes = [] if self.sha256 else [f"the catalogue has no SHA-256 of the files of {self.name} to compare with"]
        if self.alignment and not is_aligned:
            notes.append(f"it can be aligned to another language: --alignment {self.alignment}")
        return notes

    def facts(self) -> dict[str, str]:
        """Return the entries of the model card that are known."""
        stated = {"license": self.license, "language": self.language, "tokenization": self.tokenization}
        return {key: value for key, value in stated.items() if value not in (None, "unknown")} | {
            "citation": self.citation
        }


def read_catalogue(file: Path) -> dict[str, Preset]:
    """Return the entries of a catalogue by their names. An entry may be the name of a published model.

    Raises:
        ValueError: The file is no JSON list of entries, or an entry is incomplete or repeats a name.
    """
    try:
        entries = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not readable as a catalogue ({error}); expected a JSON list of entries") from error
    if not isinstance(entries, list) or not all(isinstance(entry, (dict, str)) for entry in entries):
        raise ValueError(f"{file}: expected a JSON list of entries, each an object or the name of a published model")
    presets = {}
    for number, entry in enumerate(entries, start=1):
        place = f"{file}, entry {number}"
        if isinstance(entry, str) and entry not in catalogue():
            raise ValueError(f"{place}: {entry!r} is no published model; `hf-elmo convert --list` names them")
        preset = catalogue()[entry] if isinstance(entry, str) else read_entry(entry, place)
        if preset.name in presets:
            raise ValueError(f"{file}, entry {number}: the name {preset.name!r} is taken by another entry")
        presets[preset.name] = preset
    return presets


def read_entry(entry: Mapping[str, Any], place: str) -> Preset:
    known = {one.name for one in fields(Preset)}
    if unknown := entry.keys() - known:
        raise ValueError(f"{place}: unknown key {min(unknown)!r}; known are {', '.join(sorted(known))}")
    if missing := {"name", "language", "format", "about"} - entry.keys():
        raise ValueError(f"{place}: lacks {min(missing)!r}")
    preset = Preset(**entry)
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", str(preset.name)):
        raise ValueError(f"{place}: the name must be lower-case letters, digits, - and ., but is {preset.name!r}")
    wrong = [source for source in preset.sources if set(source) not in ({"weights", "options"}, {"archive"}, {"hub"})]
    if wrong:
        raise ValueError(f"{place}: a source must be weights and options, an archive or a hub, but is {wrong[0]}")
    return preset


@cache
def catalogue() -> dict[str, Preset]:
    """Return the published models that are known, by name."""
    return read_catalogue(Path(__file__).with_name("catalogue.json"))


def find_preset(source: str | Path | Preset) -> Preset | None:
    """Return the preset of a name, unless a file or folder has this name too."""
    if isinstance(source, Preset):
        return source
    return None if Path(source).exists() else catalogue().get(str(source).lower())


# ---- Download


def localize(
    source: str | Path | Preset,
    options: str | Path | None = None,
    softmax: str | Path | None = None,
    vocabulary: str | Path | None = None,
) -> Source:
    """Download what is not local yet.

    Args:
        source: A file or folder, which precedes everything else of its name; a preset or its name; the URL of a weight
            file or archive; or `user/name`, a repository on the Hub.
        options, softmax, vocabulary: Files or URLs, or None. `"published"` is the preset's own, where it has one.
    Raises:
        ValueError: A file cannot be downloaded, or the preset has no such file.
    """
    named, preset = str(source), find_preset(source)
    softmax = published(named, "softmax", softmax, preset and preset.softmax)
    vocabulary = published(named, "vocabulary", vocabulary, preset and preset.vocabulary)
    softmax, vocabulary = (None if file is None else local_file(file) for file in (softmax, vocabulary))
    if preset:
        path, found_options = download_preset(preset)
    else:
        if is_url(named) and options is None:
            options = options_url(named)
        path, found_options = local_source(source), None
    options = found_options if options is None else local_file(options)
    return Source(path, options, softmax, vocabulary)


def download_preset(preset: Preset) -> tuple[Path, Path | None]:
    """Return the weights (or archive, or folder) of a preset and its options, from the first source that answers."""
    if not preset.sources:
        raise ValueError(
            f"{preset.name}: no address of its files is known; fetch weights and options from {preset.page} into a "
            "folder, and type `hf-elmo convert FOLDER OUTPUT`"
        )
    errors = []
    for source in preset.sources:
        try:
            if "hub" in source:
                return hub_repository(source["hub"]), None
            if "archive" in source:
                return check_digest(local_source(source["archive"]), preset), None
            weights, options = (check_digest(local_file(source[kind]), preset) for kind in ("weights", "options"))
        except ValueError as error:
            errors.append(str(error))
        else:
            return weights, options
    raise ValueError(f"{preset.name}: no source answers: {'; '.join(errors)}")


def check_digest(file: Path, preset: Preset) -> Path:
    """Check the SHA-256 of a downloaded file where it is known, and forget a file with another one."""
    expected = preset.sha256.get(file.name)
    if expected is not None and (found := sha256(file)) != expected:
        raise ValueError(f"{file.name}: SHA-256 is {found}, but the catalogue has {expected}; the file has changed")
    return file


def published(source: str, kind: str, given: str | Path | None, own: str | None) -> str | Path | None:
    """Return the file that was given, or the preset's own where that was asked for."""
    if str(given) != PUBLISHED or Path(PUBLISHED).exists():
        return given
    if not own:
        raise ValueError(f"{source}: no published {kind} is known; give the file or its URL")
    return own


def options_url(weights: str) -> str | None:
    """Return the address of the options that belong to a weight file, by the custom of the published models."""
    folder, _, name = weights.rpartition("/")
    if re.search(r"\.(zip|tar|tgz|gz|bz2|th)$|format=compressed$", name):
        return None
    if not re.search(r"weights.*\.(hdf5|h5)$", name):
        raise ValueError(f"{weights}: where are its options? Give them with --options, a file or a URL")
    return f"{folder}/{re.sub(r'[.](hdf5|h5)$', '.json', name.replace('weights', 'options'))}"


def local_file(file: str | Path) -> Path:
    if is_url(file):
        return download(str(file))
    if not Path(file).is_file():
        raise ValueError(f"{file}: no such file")
    return Path(file)


def local_source(source: str | Path) -> Path:
    if is_url(source):
        return download(str(source))
    name = str(source)
    if not Path(name).exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).parent.exists():
        return hub_repository(name)
    return Path(source)


def hub_repository(name: str) -> Path:
    """Return the local copy of a repository on the Hub, without the files that no format needs."""
    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{name}: no such file or folder here, nor a repository that can be read on the Hub ({reason}); "
            "`hf-elmo convert --list` names the presets"
        ) from error
