# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Safe unpacking of zip and tar archives of unknown origin into a temporary folder.

Before a file is written, its name must lie inside the archive, it must be a regular file, and all sizes that the
archive declares must be plausible for its length and fit on the disk.
"""

import bz2
import gzip
import io
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from .file_kinds import BZIP2, GZIP, TAR, ZIP, file_kind, one_line

RATIO, SLACK = 20, 64 << 20  # weights hardly compress, and word lists about fourfold; the slack is in bytes
MEMBERS = 10_000
LARGEST_READ = 16 << 20  # bytes at once; the headers of a tar archive are far smaller
DAMAGE = (  # what the standard library raises for damaged archives
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError,
    NotImplementedError, RuntimeError, KeyError, IndexError, OverflowError,
)  # fmt: skip


def is_torch_file(path: Path) -> bool:
    """Return whether a zip file is what `torch.save` writes."""
    try:
        with zipfile.ZipFile(path) as file:
            return any(name.endswith("/data.pkl") for name in file.namelist())
    except DAMAGE:
        return False


def is_archive(path: Path) -> bool:
    """Return whether a path is an archive that may hold a model."""
    if not path.is_file():
        return False
    kind = file_kind(path)
    return kind in (GZIP, BZIP2, TAR) or (kind == ZIP and not is_torch_file(path))


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yield a temporary folder with the files of an archive.

    Raises:
        ValueError: The archive is damaged, points outside, holds links, or declares more than is plausible.
    """
    with tempfile.TemporaryDirectory(prefix="hf-elmo-") as folder:
        try:
            extract = extract_zip if file_kind(path) == ZIP else extract_tar
            extract(path, Path(folder))
        except Refusal as refusal:
            raise ValueError(f"{path}: {refusal}") from None
        except DAMAGE as error:
            raise ValueError(
                f"{path}: not readable as an archive ({one_line(error)}); it may be truncated: download it again"
            ) from error
        yield Path(folder)


class Refusal(Exception):
    """The reason why an archive is not unpacked."""


class Budget:
    """The numbers of files and bytes that an archive may still hold."""

    def __init__(self, archive: Path, folder: Path):
        self.limit = archive.stat().st_size * RATIO + SLACK
        self.free = shutil.disk_usage(folder).free
        self.total, self.members = 0, 0

    def spend(self, name: str, size: int):
        self.total, self.members = self.total + max(size, 0), self.members + 1
        if size < 0 or self.total > self.limit or self.members > MEMBERS:
            raise Refusal(
                f"declares {self.total:,} bytes in {self.members:,} files up to {name[:80]!r}, but an archive of its "
                f"length may hold {self.limit:,} bytes in {MEMBERS:,} files; is it an archive of weights?"
            )
        if self.total > self.free:
            raise Refusal(f"needs {self.total:,} bytes, but only {self.free:,} are free in {tempfile.gettempdir()}")


def place(name: str, folder: Path) -> Path:
    """Return where a member is written, which must lie inside the folder."""
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or "\\" in name or PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive:
        raise Refusal(f"holds {name[:80]!r}, which points outside the archive; not unpacked")
    return folder.joinpath(*parts)


def write(source: BinaryIO, target: Path):
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def extract_zip(path: Path, folder: Path):
    budget = Budget(path, folder)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:  # all checks come before the first file is written
            mode = member.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise Refusal(f"holds {member.filename[:80]!r}, a link or device; not unpacked")
            if member.flag_bits & 1:
                raise Refusal("is encrypted; give it without a password")
            place(member.filename, folder)
            budget.spend(member.filename, member.file_size)
        for member in members:
            if not member.is_dir():
                with archive.open(member) as source:
                    write(source, place(member.filename, folder))


def extract_tar(path: Path, folder: Path):
    budget = Budget(path, folder)
    opened = {GZIP: gzip.open, BZIP2: bz2.open, TAR: open}[file_kind(path)]
    with opened(path, "rb") as source, tarfile.open(fileobj=BoundedReader(source, budget.limit), mode="r:") as archive:
        for member in archive:
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise Refusal(f"holds {member.name[:80]!r}, a link or device; not unpacked")
            target = place(member.name, folder)
            budget.spend(member.name, member.size)
            write(archive.extractfile(member), target)
        while source.read(1 << 20):  # the checksum of a compressed archive is behind its last byte
            if source.tell() > budget.limit:
                raise Refusal(f"declares more than {budget.limit:,} bytes; is it an archive of weights?")


class BoundedReader(io.RawIOBase):
    """A file that refuses reads too large for memory, and positions beyond a limit: headers can ask for both."""

    def __init__(self, source: BinaryIO, limit: int):
        self.source, self.limit = source, limit + MEMBERS * 2 * tarfile.BLOCKSIZE

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_READ:
            raise Refusal(f"asks for {size:,} bytes at once; the archive is damaged")
        return self.source.read(size)

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        if position > self.limit:
            raise Refusal(f"declares more than {self.limit:,} bytes; is it an archive of weights?")
        return self.source.seek(position, whence)

    def tell(self) -> int:
        return self.source.tell()
