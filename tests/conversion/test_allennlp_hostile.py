# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Archives of task models that mean harm, or are damaged: one line, little memory, and nothing is written or run."""

import io
import json
import os
import tarfile
import tempfile
import tracemalloc
import zipfile

import pytest
import torch
from allennlp_archives import INDEXERS, PREFIX, TAGGER, TAGS, namespaces, tagger_tensors, write_task
from lanes import first_fast

from hf_elmo.conversion import convert

MOST_MEMORY = 128 << 20


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The members of a sound archive, by name."""
    path = tmp_path_factory.mktemp("sound") / "model.tar.gz"
    write_task(path, TAGGER, INDEXERS, tagger_tensors(), namespaces(TAGS), PREFIX)
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A folder for the test, and one of its own for temporary files, which must be empty at the end."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield tmp_path
    assert list((tmp_path / "temporary").iterdir()) == []


def archive(path, members, extra=()):
    """Write an archive of members by name, and of further entries as they are."""
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for entry in extra:
            tar.fileobj.write(entry.tobuf())  # `addfile` refuses a size without content from Python 3.13 on
    return path


def refusal(path, folder):
    """Return the error, after checking its form, the memory that it took, and that nothing was written."""
    before = set(folder.rglob("*"))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (the callers look at the text)
            convert(path, folder / "model")
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
    assert set(folder.rglob("*")) == before
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert str(folder / "temporary") not in text
    return text


def entry(name, kind=tarfile.REGTYPE, target="", size=0):
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.size = kind, target, size
    return found


ENTRIES = {
    "above": (entry("../evil.txt"), "points outside the archive"),
    "above in a folder": (entry("vocabulary/../../evil.txt"), "points outside the archive"),
    "absolute": (entry("/tmp/evil.txt"), "points outside the archive"),
    "of windows": (entry("C:\\evil.txt"), "points outside the archive"),
    "symbolic link": (entry("vocabulary/x.txt", tarfile.SYMTYPE, "/etc/passwd"), "a link or device"),
    "symbolic folder": (entry("fta", tarfile.SYMTYPE, "/"), "a link or device"),
    "hard link": (entry("x.txt", tarfile.LNKTYPE, "config.json"), "a link or device"),
    "device": (entry("null", tarfile.CHRTYPE), "a link or device"),
    "pipe": (entry("pipe", tarfile.FIFOTYPE), "a link or device"),
    "declared size": (entry("vocabulary/big.txt", size=1 << 40), "declares 1,099,5"),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_members(sound, places, name):
    member, complaint = ENTRIES[name]
    assert complaint in refusal(archive(places / "model.tar.gz", sound, [member]), places)
    assert not (places.parent / "evil.txt").exists()


@pytest.mark.slow
def test_a_vocabulary_that_unpacks_to_much_more(sound, places):
    zeros = bytes(100 << 20)
    path = archive(places / "model.tar.gz", sound | {"vocabulary/tokens.txt": zeros})
    del zeros
    assert "may hold" in refusal(path, places)


# ---- weights


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def saved(content, **options):
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def compressed(content):
    """Return the file of a state dict with its records compressed, one of them with 100 MB of zeros behind it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            target.writestr(info.filename, source.read(info) + bytes(100 << 20) * info.filename.endswith("data/0"))
    return stream.getvalue()


def with_tensor(sound, name, tensor):
    return saved(torch.load(io.BytesIO(sound["weights.th"])) | {name: tensor})


WEIGHTS = {
    "code": (lambda sound: saved({"x": Evil()}), "holds more than tensors, perhaps code, and is not opened"),
    "code of old": (
        lambda sound: saved(Evil(), _use_new_zipfile_serialization=False),
        "perhaps code, and is not opened",
    ),
    "code beside tensors": (lambda sound: with_tensor(sound, "x", Evil()), "perhaps code, and is not opened"),
    "compressed": (lambda sound: compressed(sound["weights.th"]), "bytes, but the file has"),
    "cut": (lambda sound: sound["weights.th"][:5000], "not a"),
    "of shapes without numbers": (
        lambda sound: with_tensor(
            sound, "text_field_embedder.token_embedder_tokens.weight", torch.zeros(1, 4).expand(1 << 40, 4)
        ),
        "but fewer numbers are stored; the file is damaged",
    ),
    "not a number": (
        lambda sound: with_tensor(sound, "crf.end_transitions", torch.full((3,), torch.nan)),
        "crf.end_transitions holds 3 NaN or infinite numbers",
    ),
    "whole numbers": (
        lambda sound: with_tensor(sound, "crf.transitions", torch.zeros(3, 3, dtype=torch.long)),
        "crf.transitions must hold floating-point numbers, but holds torch.int64",
    ),
    "of one name twice": (
        lambda sound: with_tensor(sound, "_crf.transitions", torch.zeros(3, 3)),
        "holds tensors of the same name but for wrappers",
    ),
    "a name of two lines": (
        lambda sound: with_tensor(sound, "crf\n.transitions", torch.zeros(3, 3)),
        "config.json does not explain 1 tensors",
    ),
}


@pytest.mark.parametrize("name", first_fast(WEIGHTS, 2))
def test_weights(sound, places, name, monkeypatch):
    change, complaint = WEIGHTS[name]
    monkeypatch.chdir(places)
    assert complaint in refusal(archive(places / "model.tar.gz", sound | {"weights.th": change(sound)}), places)


# ---- settings and words

DEEP = b'{"model":' * 100_000


def settings(sound, **changed):
    config = json.loads(sound["config.json"])
    return json.dumps(config | {"model": config["model"] | changed}).encode()


CONFIGS = {
    "an array": (b"[]", None),
    "nothing": (b"null", None),
    "of jsonnet": (b'// trained by me\nlocal x = 1;\n{"model": {"type": "crf_tagger"}}', "not JSON"),
    "with an end cut off": (b'{"model": {"type": "crf_tag', "not JSON"),
    "deep": (DEEP, "not JSON"),
    "another encoding": ('{"model": "\u00e9"}'.encode("latin-1"), "not JSON"),
    "a model that is a list": (b'{"model": ["crf_tagger"]}', None),
    "a type that is a number": (b'{"model": {"type": 7}}', None),
    "a reader that is a list": (b'{"model": {"type": "crf_tagger"}, "dataset_reader": [1]}', "model lacks"),
}


@pytest.mark.parametrize("name", first_fast(CONFIGS, 3))
def test_files_of_settings(sound, places, name):
    """Those without a task model give the encoder alone, and say so."""
    content, complaint = CONFIGS[name]
    path = archive(places / "model.tar.gz", sound | {"config.json": content})
    if complaint is None:
        assert any("not carried over" in note for note in convert(path, places / "model").notes)
    else:
        assert complaint in refusal(path, places)


SETTINGS = {
    "label_namespace": ("a\nb", "no such file in the archive"),
    "encoder": ({"type": "lstm\n"}, "model.encoder.type is 'lstm\\n', which has no counterpart"),
    "dropout": (float("nan"), "model.dropout must be from 0 to below 1, but is nan"),
    "feedforward": ({"num_layers": 1 << 62}, "must be a whole number from 1"),
    "x\ny": (1, "model has settings that have no counterpart"),
    "text_field_embedder": ({"token_embedders": {"a\nb": {"type": "embedding"}}}, "the embedder a"),
}


@pytest.mark.parametrize("name", first_fast(SETTINGS, 3))
def test_settings(sound, places, name):
    value, complaint = SETTINGS[name]
    path = archive(places / "model.tar.gz", sound | {"config.json": settings(sound, **{name: value})})
    assert complaint in refusal(path, places)


@pytest.mark.slow
def test_damaged_words(sound, places):
    """Bytes that are no UTF-8 are found wherever they are."""
    for name in ("vocabulary/tokens.txt", "vocabulary/labels.txt", "vocabulary/non_padded_namespaces.txt"):
        for place in range(0, len(sound[name]), 11):
            content = bytearray(sound[name])
            content[place] ^= 0x80  # no UTF-8 any more
            path = archive(places / "model.tar.gz", sound | {name: bytes(content)})
            assert "not readable as a vocabulary in UTF-8" in refusal(path, places)


def test_archives_that_were_cut(sound, places):
    path = archive(places / "model.tar.gz", sound)
    content = path.read_bytes()
    for length in range(1000, len(content) - 8, len(content) // 5):
        path.write_bytes(content[:length])
        assert "it may be truncated: download it again" in refusal(path, places)
