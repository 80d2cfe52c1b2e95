# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Archives of unknown origin: what is sound is unpacked, and everything else is refused before a file is written."""

import gzip
import io
import tarfile
import tempfile
import zipfile

import pytest
from lanes import first_fast
from small_original import OPTIONS

from hf_elmo.conversion import convert
from hf_elmo.conversion.archives import SLACK
from hf_elmo.conversion.random_weights import random_weights, write_files


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A folder for the test, and one of its own for temporary files, which must be empty at the end."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield tmp_path
    assert list(temporary.iterdir()) == []


def refusal(source, folder):
    before = set(folder.rglob("*"))
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the callers look at the text)
        convert(source, folder / "model")
    assert set(folder.rglob("*")) == before
    message = str(caught.value)
    assert message.startswith(str(source))
    assert "\n" not in message
    assert str(folder / "temporary") not in message
    return message


@pytest.mark.parametrize("form", first_fast(["zip", "tar.gz", "zip-of-a-folder", "tar.bz2", "tar", "no-suffix"], 2))
def test_archives_of_a_folder(places, form):
    write_files(places / "original", OPTIONS, random_weights(OPTIONS))
    archive = places / ("archive" if form == "no-suffix" else f"elmo.{form.split('-')[0]}")
    root = "" if form == "zip" else "some/folder/"
    if "tar" in form:
        with tarfile.open(archive, f"w:{form.removeprefix('tar').removeprefix('.')}") as tar:
            tar.add(places / "original", root)
    else:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for path in (places / "original").iterdir():
                file.write(path, f"{root}{path.name}")
    conversion = convert(archive, places / "model")
    assert conversion.files.keys() == {archive.name}
    assert conversion.format == "bilm-tf hdf5"


def zip_of(path, *members):
    """Write a zip file of members, each a name or `ZipInfo`, and a content."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for member, content in members:
            file.writestr(member, content)
    return path


def tar_of(path, *members, mode="w:gz"):
    with tarfile.open(path, mode) as file:
        for member, content in members:
            member = tarfile.TarInfo(member) if isinstance(member, str) else member
            member.size = len(content) if member.isreg() else 0
            file.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("write", [zip_of, tar_of])
@pytest.mark.parametrize("name", ["../../evil", "/evil", "a/../../evil", "..\\evil", "C:/evil"])
def test_members_that_point_outside(places, write, name):
    archive = write(places / "archive", ("options.json", b"{}"), (name, b"x"))
    assert "points outside the archive" in refusal(archive, places)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar(places, kind):
    member = tarfile.TarInfo("options.json")
    member.type, member.linkname = kind, "/etc/passwd"
    assert "a link or device" in refusal(tar_of(places / "archive", (member, b"")), places)


def test_links_in_a_zip(places):
    member = zipfile.ZipInfo("options.json")
    member.external_attr = 0o120777 << 16
    assert "a link or device" in refusal(zip_of(places / "archive", (member, b"/etc/passwd")), places)


@pytest.mark.slow
def test_bombs(places):
    zeros = bytes(SLACK + (8 << 20))
    for archive in (zip_of(places / "a.zip", ("a", zeros)), tar_of(places / "a.tar.gz", ("a", zeros))):
        assert archive.stat().st_size < 1 << 20
        assert "is it an archive of weights?" in refusal(archive, places)
    many = zip_of(places / "many.zip", *((f"{i}", b"") for i in range(10_001)))
    assert "in 10,001 files" in refusal(many, places)


def test_a_tar_header_that_asks_for_memory(places):
    """Extended headers are read whole, so that their size must be bounded."""
    member = tarfile.TarInfo("a")
    member.type, member.size = tarfile.XHDTYPE, 1 << 32
    with gzip.open(places / "archive", "wb") as file:
        file.write(member.tobuf(tarfile.USTAR_FORMAT) + bytes(1 << 20))
    assert "asks for 4,294,967,296 bytes at once" in refusal(places / "archive", places)


def test_a_tar_member_larger_than_the_archive(places):
    member = tarfile.TarInfo("a")
    member.size = 1 << 40
    with gzip.open(places / "archive", "wb") as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
    assert "declares 1,099,511,627,776 bytes" in refusal(places / "archive", places)


def test_damage(places):
    write_files(places / "original", OPTIONS, random_weights(OPTIONS))
    files = [(path.name, path.read_bytes()) for path in (places / "original").iterdir()]
    for archive in (zip_of(places / "a.zip", *files), tar_of(places / "a.tar.gz", *files)):
        content = bytearray(archive.read_bytes())
        archive.write_bytes(content[: len(content) // 2])
        assert "not readable as an archive" in refusal(archive, places)
        content[len(content) // 2] ^= 0xFF
        archive.write_bytes(content)
        assert str(archive) in refusal(archive, places)
    (places / "b.gz").write_bytes(gzip.compress(b"no tar"))
    assert "not readable as an archive" in refusal(places / "b.gz", places)


def test_an_encrypted_archive(places):
    archive = zip_of(places / "archive", ("a", b"x"))
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    assert "is encrypted" in refusal(archive, places)


def test_an_archive_of_something_else(places):
    archive = zip_of(places / "archive", ("notes.txt", b"x"))
    assert refusal(archive, places) == (
        f"{archive}: no weights; expected a file in hdf5 format and its options.json, found notes.txt"
    )
