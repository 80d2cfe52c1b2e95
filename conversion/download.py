# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Files from the web, kept in a cache: fetched once, resumed after a break, never half under their final name."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from huggingface_hub.constants import HF_HOME
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import WeakFileLock, get_session

from .file_kinds import one_line

TransportError = HfHubHTTPError.__bases__[0]  # of the HTTP library below huggingface_hub, which differs by version
TIMEOUT = 30  # seconds without an answer
RANGE_NOT_SATISFIABLE, BUSY = 416, (408, 429)  # HTTP status codes


class Version(NamedTuple):
    """The validator and the size that a server reports for a file; empty and None where it reports none."""

    validator: str  # a strong ETag, else the date of the last change
    size: int | None  # bytes


def cache_folder() -> Path:
    """Return the folder of the downloads: `elmo` in the Hugging Face cache (`HF_HOME`)."""
    return Path(HF_HOME) / "elmo"


def is_url(source: str | Path) -> bool:
    return str(source).startswith(("https://", "http://"))


def download(url: str, cache: Path | None = None) -> Path:
    """Return the local copy of a file on the web. A complete copy is used as it is, a partial one is continued.

    Args:
        url: Address of the file.
        cache: Folder of the copies; by default `cache_folder()`.
    Raises:
        ValueError: The server has no such file, or cannot be reached.
    """
    name = unquote(urlsplit(url).path).rpartition("/")[2] or "index"
    complete = (cache or cache_folder()) / hashlib.sha256(url.encode()).hexdigest()[:16] / name
    if complete.is_file():
        return complete
    complete.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(complete.with_name(f"{name}.lock")):  # two processes must not append to one file
        if not complete.is_file():
            os.replace(fetch(url, complete), complete)
    return complete


def fetch(url: str, complete: Path) -> Path:
    """Download a file to a partial one beside `complete`, and return it when it holds every byte.

    The name of the partial file holds a hash of the file's version, so that parts of two versions are never joined.
    """
    partial = complete
    try:
        version = current_version(url)
        digest = hashlib.sha256(version.validator.encode()).hexdigest()[:8]
        partial = complete.with_name(f"{complete.name}.{digest}.partial")
        if version.size is not None and partial.is_file() and partial.stat().st_size > version.size:
            partial.unlink()
        headers = {"User-Agent": "hf_elmo", "Accept-Encoding": "identity"}
        if version.validator:
            headers["If-Range"] = version.validator
        with open(partial, "ab") as file:
            start, size = file.tell(), version.size
            http_get(
                url, file, resume_size=start, headers=headers, expected_size=size, displayed_filename=complete.name
            )
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == RANGE_NOT_SATISFIABLE and partial != complete:  # the partial file is no beginning of this file
            partial.unlink(missing_ok=True)
        discard_if_empty(partial)
        advice = "try again later" if status in BUSY or status >= 500 else "is the address right?"
        raise ValueError(f"{url}: the server answers {status} {error.response.reason_phrase}; {advice}") from error
    except (TransportError, OSError, ValueError) as error:
        came = partial.stat().st_size if partial != complete and partial.is_file() else 0
        kept = f"; the {came:,} bytes that came are kept, try again to continue" if came else ""
        discard_if_empty(partial)
        raise ValueError(f"{url}: cannot be downloaded ({one_line(error)}){kept}") from error
    return partial


def discard_if_empty(partial: Path):
    if partial.is_file() and not partial.stat().st_size:
        partial.unlink()


def current_version(url: str) -> Version:
    """Ask a server for the present version of a file. Errors are left to the download itself."""
    request = {"headers": {"Accept-Encoding": "identity"}, "timeout": TIMEOUT}
    try:
        answer = get_session().head(url, **request)
    except TransportError:  # the server may have closed a connection that the session kept open
        answer = get_session().head(url, **request)
    if answer.status_code != 200:
        return Version("", None)
    tag, length = answer.headers.get("ETag", ""), answer.headers.get("Content-Length", "")
    strong = tag and not tag.startswith("W/")
    return Version(
        tag if strong else answer.headers.get("Last-Modified", ""), int(length) if length.isdigit() else None
    )
