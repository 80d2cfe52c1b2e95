"""`python3 run.py data NAME`: files whose contents are checked, and one line where there is no network."""

import hashlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import data

NOVEL = b"""<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><s><w>Header</w></s></teiHeader><text><body>
<p><s><w>I</w> <w>do</w><w>n't</w><pc>.</pc></s> <s><pc>,</pc></s></p></body></text></TEI>"""
PREPARED = {
    "novel_sentences": (data.novel_sentences, NOVEL, b"I do n't .\n,\n"),
    "without_dev": (data.without_dev, b"(3 a)\n" * 9645, b"(3 a)\n" * 8544),
    "sentences": (data.sentences(1, 3), b"a\n\nb\nb\n\nc\n\nd\n\n", b"b\nb\n\nc\n\n"),
}


def source_of(path: Path, contents: bytes, prepare=bytes) -> data.Source:
    return data.Source("folder/made.txt", (path.as_uri(),), hashlib.sha256(contents).hexdigest(), prepare)


@pytest.mark.parametrize("name", PREPARED)
def test_a_file_is_made_of_what_is_fetched(name, tmp_path):
    prepare, fetched, contents = PREPARED[name]
    (tmp_path / "published").write_bytes(fetched)
    source = source_of(tmp_path / "published", contents, prepare)
    data.fetch(source, tmp_path)
    assert (tmp_path / "folder" / "made.txt").read_bytes() == contents
    (tmp_path / "published").unlink()  # a file that is there is not fetched
    data.fetch(source, tmp_path)


def test_other_contents_are_refused(tmp_path):
    (tmp_path / "published").write_bytes(b"other")
    source = source_of(tmp_path / "published", b"measured")
    with pytest.raises(ValueError, match="nothing is written"):
        data.fetch(source, tmp_path)
    assert not (tmp_path / "folder").exists()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "made.txt").write_bytes(b"mine")
    with pytest.raises(ValueError, match="move it away"):
        data.fetch(source, tmp_path)


def test_an_address_out_of_reach_is_named_in_one_line(tmp_path, monkeypatch, capsys):
    source = source_of(tmp_path / "absent", b"")
    monkeypatch.setitem(data.DATA, "ner", ("", [source]))
    assert data.main(["ner", "--output", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert source.addresses[0] in line
    assert str(tmp_path / "folder" / "made.txt") in line


def test_the_checksums_are_those_of_the_measured_data(data_dir):
    """Of the files that are at hand as published; each split of the named entities is cut from one of them."""
    for path in (
        "lm/wikitext-2/valid.txt",
        "lm/wikitext-2/test.txt",
        "lm/eltec-eng/valid.txt",
        "lm/eltec-eng/test.txt",
    ):
        (source,) = (source for source in data.DATA["lm"][1] if source.path == path)
        assert hashlib.sha256((data_dir / path).read_bytes()).hexdigest() == source.sha256
