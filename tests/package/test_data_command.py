"""`python3 run.py data NAME`: files whose contents are checked, and one line where there is no network."""

import gzip
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
    "articles": (data.articles(lambda number: number > 0), b'{"data": [1, 2]}', b'{"version": "1.1", "data": [2]}'),
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


def test_parts_are_listed_in_a_file(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.conll").write_text(name)
    (tmp_path / "names").write_text("two.tsv\none.tsv\n")
    source = data.Source(
        "made.conll",
        ((tmp_path / "names").as_uri(),),
        hashlib.sha256(b"twoone").hexdigest(),
        listed=lambda name: (tmp_path / name.replace(".tsv", ".conll")).as_uri(),
    )
    data.fetch(source, tmp_path / "data")
    assert (tmp_path / "data" / "made.conll").read_text() == "twoone"


@pytest.mark.parametrize("name", data.BY_HAND)
def test_what_is_brought_by_hand_is_named_with_its_address(name, tmp_path, capsys):
    assert data.main([name, "--output", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert data.BY_HAND[name] in line
    assert not any(tmp_path.iterdir())


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


PUBLISHED = {
    "coref/train.conll": "coref/litbank/litbank-train.conll.gz",
    "coref/test.conll": "coref/litbank/litbank-test.conll.gz",
    "wnut/wnut17train.conll": "ner/wnut17/wnut17train.conll",
    "translation/train.de": "translation/multi30k-en-de/train.de.gz",
    "summarisation/test.jsonl": "summarisation/scitldr-a/test.jsonl.gz",
    "pos/en_ewt-ud-train.conllu": "pos/ud-english-ewt/en_ewt-ud-train.conllu.gz",
    "wsd/ALL.data.xml": "wsd/all-words/ALL.data.xml.gz",
    "wic/dev.gold.txt": "wsd/wic/dev.gold.txt",
    "qa/train.json": "qa/squad-v1.1/dev-v1.1.json.gz",
    "qa/dev.json": "qa/squad-v1.1/dev-v1.1.json.gz",
    "qa/test.json": "qa/squad-v1.1/dev-v1.1.json.gz",
}


@pytest.mark.parametrize("path", PUBLISHED)
def test_the_checksums_of_the_tasks_are_those_of_the_measured_data(path, data_dir):
    (source,) = (source for source in data.DATA[path.partition("/")[0]][1] if source.path == path)
    published = data_dir / PUBLISHED[path]
    contents = published.read_bytes()
    if published.suffix == ".gz":
        contents = gzip.decompress(contents)
    if source.prepare is not gzip.decompress:  # those files are compressed as published
        contents = source.prepare(contents)
    assert hashlib.sha256(contents).hexdigest() == source.sha256
