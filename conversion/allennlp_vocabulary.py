# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The vocabulary of an AllenNLP archive: `vocabulary/NAMESPACE.txt`, one entry a line, its line number its id.

A padded namespace has padding as id 0, which its file lacks, so its first line has id 1, and an entry for what is
unknown. Namespaces that match a pattern of `non_padded_namespaces.txt` (`*tags`, `*labels`) have neither.
"""

import re
from pathlib import Path
from typing import Any

from .file_kinds import EMPTY, check_content, file_kind

PADDING, UNKNOWN = "@@PADDING@@", "@@UNKNOWN@@"
NON_PADDED_FILE = "non_padded_namespaces.txt"
NON_PADDED = ("*tags", "*labels")


class Vocabulary:
    """The namespaces of an archive.

    Args:
        folder: The folder of their files.
        settings: The section `vocabulary` of config.json, which may rename padding and unknown entries.
    """

    def __init__(self, folder: Path, settings: Any = None):
        settings = settings if isinstance(settings, dict) else {}
        self.folder = folder
        self.padding = str(settings.get("padding_token") or PADDING)
        self.unknown = str(settings.get("oov_token") or UNKNOWN)
        file = folder / NON_PADDED_FILE
        self.non_padded = read_lines(file) if file.is_file() else list(NON_PADDED)

    def is_padded(self, namespace: str) -> bool:
        """Return whether id 0 of a namespace is padding."""
        return not any(
            pattern == namespace or (pattern.startswith("*") and namespace.endswith(pattern[1:]))
            for pattern in self.non_padded
        )

    def has(self, namespace: str) -> bool:
        return (self.folder / f"{namespace}.txt").is_file()

    def names(self, namespace: str) -> list[str]:
        """Return the entries of a namespace in the order of their ids, with padding if it is padded.

        Raises:
            ValueError: The file is missing, not in UTF-8, or lacks the entry for what is unknown.
        """
        if "/" in namespace or namespace.startswith("."):
            raise ValueError(f"{self.folder}: {namespace!r} is no name of a namespace")
        file = self.folder / f"{namespace}.txt"
        if not file.is_file():
            known = ", ".join(sorted(path.stem for path in self.folder.glob("*.txt"))) or "no files"
            raise ValueError(f"{file}: no such file in the archive, but its config.json reads it; there is {known}")
        names = [self.unknown if name == UNKNOWN else name for name in read_lines(file)]
        if not self.is_padded(namespace):
            return names
        if self.unknown not in names:
            raise ValueError(f"{file}: lacks {self.unknown}, which a padded namespace has")
        return [self.padding, *names]

    def ids(self, namespace: str) -> tuple[dict[str, int], int | None]:
        """Return the ids of a namespace by name, and the id of unknown names, None if it has none."""
        ids = {name: number for number, name in enumerate(self.names(namespace))}
        return ids, ids[self.unknown] if self.is_padded(namespace) else None


def read_lines(file: Path) -> list[str]:
    """Return the entries of a file. Only line feeds end a line: entries may be other white space."""
    if file_kind(file) != EMPTY:
        check_content(file, "one entry of the vocabulary a line")
    try:
        text = file.read_bytes().decode("utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{file}: not readable as a vocabulary in UTF-8 ({error})") from error
    lines = re.split(r"\r?\n", text)
    if lines[-1] == "":
        lines.pop()
    return [line.replace("@@NEWLINE@@", "\n") for line in lines]
