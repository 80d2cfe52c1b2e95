# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""The word list of bilm-tf beside weights: one word a line, its line number its id."""

import gzip
import zlib
from pathlib import Path

from .archives import RATIO, SLACK
from .file_kinds import EMPTY, GZIP, check_content, file_kind, one_line


def find_word_list(folder: Path) -> Path | None:
    """Return vocab.txt, or the only file that is named like a vocabulary (vocab-2016-09-10.txt, vocab-train.txt.gz)."""
    usual = [folder / name for name in ("vocab.txt", "vocab.txt.gz") if (folder / name).is_file()]
    others = [path for path in sorted(folder.glob("vocab*.txt*")) if path.name.endswith((".txt", ".txt.gz"))]
    return usual[0] if usual else others[0] if len(others) == 1 else None


def read_word_list(file: Path) -> list[str]:
    """Return the words of a list, plain or gzipped, in the order of their ids.

    Raises:
        ValueError: The file is missing, damaged, not in UTF-8, or unpacks to much more than a list of words does.
    """
    if not file.is_file() or file_kind(file) != EMPTY:
        check_content(file, "one word a line")
    opened, limit = gzip.open if file_kind(file) == GZIP else open, file.stat().st_size * RATIO + SLACK
    try:
        with opened(file, "rb") as stream:
            content = stream.read(limit + 1)
        if len(content) > limit:
            raise ValueError(f"{file}: unpacks to more than {limit:,} bytes; expected one word a line")
        lines = content.decode("utf-8-sig").removesuffix("\n").split("\n") if content else []
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise ValueError(f"{file}: not readable as a list of words in UTF-8 ({one_line(error)})") from error
    return [word for line in lines if (word := line.strip()) != "!!!MAXTERMID"]  # a line that bilm-tf skips
