# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Files from the web, kept in a cache: fetched once, resumed where a connection broke, never half under their name."""

import hashlib
import os
import time
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from socket import gaierror
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from huggingface_hub.constants import HF_HOME
from huggingface_hub.utils import WeakFileLock
from tqdm.auto import tqdm

ATTEMPTS = 5  # without any progress
PAUSE = 1.0  # seconds before the second attempt; doubles after each
TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 20  # bytes


def cache_folder() -> Path:
    """Where downloads are kept: `elmo` in the Hugging Face cache (`HF_HOME`)."""
    return Path(HF_HOME) / "elmo"


def is_url(source: str | Path) -> bool:
    return str(source).startswith(("https://", "http://"))


def download(url: str, cache: Path | None = None) -> Path:
    """The local copy of a file on the web. A complete one is used as it is, a partial one is continued.

    Raises:
        ValueError: The server has no such file, or cannot be reached.
    """
    name = unquote(urlsplit(url).path).rpartition("/")[2] or "index"
    complete = (cache or cache_folder()) / hashlib.sha256(url.encode()).hexdigest()[:16] / name
    if complete.is_file():
        return complete
    complete.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(complete.with_name(name + ".lock")):  # two processes must not append to one file
        if not complete.is_file():
            partial = complete.with_name(name + ".partial")
            fetch_all(url, partial)
            os.replace(partial, complete)
            tag_file(partial).unlink(missing_ok=True)
    return complete


def fetch_all(url: str, partial: Path):
    """Fetch until `partial` is complete, going on where a connection broke."""
    failures = 0
    while True:
        before = size(partial)
        try:
            return fetch(url, partial)
        except HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise ValueError(
                    f"{url}: the server answers {error.code} {error.reason}; is the address right?"
                ) from error
            reason = f"{error.code} {error.reason}"
        except (URLError, OSError, HTTPException) as error:
            if isinstance(getattr(error, "reason", error), gaierror):
                raise ValueError(f"{url}: no such host, or no network") from error
            reason = str(getattr(error, "reason", error))
        failures = 0 if size(partial) > before else failures + 1
        if failures == ATTEMPTS:
            kept = f"; the {size(partial):,} bytes that came are kept, try again to go on" if size(partial) else ""
            raise ValueError(f"{url}: cannot be downloaded ({reason}){kept}")
        time.sleep(PAUSE * 2**failures)


def fetch(url: str, partial: Path):
    """Append what `partial` lacks; or fetch everything, if the file has changed or the server sends no parts."""
    start, tag = size(partial), tag_file(partial)
    headers = {"User-Agent": "hf_elmo", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if tag.is_file() and (version := tag.read_text(encoding="utf-8")):
            headers["If-Range"] = version
    try:
        response = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if start and error.code == 416:  # nothing lies beyond what is here, so it is not this file's beginning
            partial.unlink()
            return fetch(url, partial)
        raise
    with response:
        resumed = response.status == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            partial.unlink(missing_ok=True)
            raise OSError(f"asked for the bytes from {start:,}, got {response.headers.get('Content-Range')}")
        start = start if resumed else 0
        tag.write_text(version_of(response.headers), encoding="utf-8")
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        progress = tqdm(
            desc=partial.stem, initial=start, total=total, unit="B", unit_scale=True, unit_divisor=1024, disable=None
        )
        with progress, open(partial, "ab" if resumed else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                progress.update(len(chunk))
    if total is not None and size(partial) != total:
        raise OSError(f"expected {total:,} bytes, got {size(partial):,}")
    return None


def size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def version_of(headers: Message) -> str:
    """What tells versions of a file apart: a strong ETag, else the date. Where a server sends neither it is empty, and
    the file is trusted not to change between two parts."""
    etag = headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")


def tag_file(partial: Path) -> Path:
    """Beside a partial file: the version it began with, so that parts of two are never joined."""
    return partial.with_name(partial.name + ".version")
