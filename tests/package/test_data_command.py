"""`python3 run.py data NAME`: files whose contents are checked, and one line where there is no network."""

import gzip
import hashlib
import io
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pytest
from loopback_files import served

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
    with pytest.raises(ValueError, match=r"made\.txt\.differs: what was made .* is not the file that the tables"):
        data.fetch(source, tmp_path)
    (kept,) = (tmp_path / "folder").iterdir()
    assert (kept.name, kept.read_bytes()) == ("made.txt.differs", b"other")
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


def archive_of(files: dict[str, str]) -> bytes:
    """Return what GitHub serves of a repository at a commit: all files under a folder with the commit in its name."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        for path, text in files.items():
            opened.writestr(f"repository-4abade0b/{path}", text)
    return archive.getvalue()


NAF = """<?xml version='1.0' encoding='UTF-8'?>
<NAF><text>
<wf id="w0" sent="1">Ann</wf><wf id="w1" sent="1">&amp;</wf>
<wf id="w2" sent="1">Bob_Ray</wf><wf id="w3" sent="1">met</wf>
<wf id="w4" sent="2">Rain</wf>
</text><terms>
<term id="t0" lemma="ann"><span><target id="w0"/></span></term>
<term id="t3" lemma="meet"><span><target id="w3"/></span><externalReferences>
<externalRef reference="5;4" reftype="sense_number"/>
<externalRef reference="2:41:00::;2:33:00::" reftype="lexical_key"/>
</externalReferences></term>
<term id="t2" lemma="person"><span><target id="w2"/></span><externalReferences>
<externalRef reference="1:03:00::" reftype="lexical_key"/><externalRef reference="eng30-00007846-n" reftype="synset"/>
</externalReferences></term>
</terms></NAF>
"""
SEMCOR = {
    "semcor3.0/brown2/br-a02.naf": NAF,
    "semcor3.0/brownv/br-a03.naf": NAF,  # verbs alone have senses there
    "semcor1.6/brown1/br-a01.naf": NAF,
    "semcor3.0/brown1/br-b01.naf": NAF,
}
SENSES = "".join(
    f"{name}.s1\tAnn & Bob Ray met\t2:4:person%1:03:00:: 4:5:meet%2:41:00::;2:33:00::\n{name}.s2\tRain\t\n"
    for name in ("br-b01", "br-a02")
)
TREEBANK = """# newdoc id = reviews-01
# sent_id = reviews-01-0001
# text = They set it up.
1\tThey\tthey\tPRON\tPRP\t_
2\tset\tset\tVERB\tVBD\t_
3\tit\tit\tPRON\tPRP\t_
4-5\tup.\t_\t_\t_\t_
4\tup\tup\tADP\tRP\t_
5\t.\t.\tPUNCT\t.\t_
5.1\tthey\tthey\tPRON\tPRP\t_

# sent_id = reviews-01-0002
1\tFine\tfine\tADJ\tJJ\t_

# newdoc id = reviews-absent
# sent_id = reviews-absent-0001
1\tFine\tfine\tADJ\tJJ\t_

# newdoc id = answers-a.b_1_ans
# sent_id = answers-a.b_1_ans-0001
1\tOther\tother\tADJ\tJJ\t_
2\ttokens\ttoken\tNOUN\tNNS\t_

# newpar id = answers-a.b_1_ans-p0002
# sent_id = answers-a.b_1_ans-0002
1\tBig\tbig\tADJ\tJJ\t_
2\tred\tred\tADJ\tJJ\t_
3\tdog\tdog\tNOUN\tNN\t_

"""
PROPBANK = {
    "data/google/ewt/reviews/00/01.xml.gold_skel": """\
google/ewt/reviews/00/01.xml    0   0   [WORD]   PRP    (TOP(S(NP*)    -         -    (ARG0*)   *
google/ewt/reviews/00/01.xml    0   1   [WORD]   VBD    (VP*         set  set_up.03      (V*)   *
google/ewt/reviews/00/01.xml    0   2   [WORD]   PRP    (NP*)          -         -    (ARG1*)   *
google/ewt/reviews/00/01.xml    0   3   [WORD]    RP    (PRT*))       up     up.01    (C-V*)  (V*
google/ewt/reviews/00/01.xml    0   4   [WORD]     .    *))            -         -         *    *)

google/ewt/reviews/00/01.xml    1   0   [WORD]    JJ    (TOP(ADJP*))   -         -

""",
    "data/google/ewt/answers/00/a.b_1_ans.xml.gold_skel": """\
google/ewt/answers/00/a.b_1_ans.xml    0   0   [WORD]   JJ    (TOP*)    -  -

google/ewt/answers/00/a.b_1_ans.xml    1   0   [WORD]   JJ    (TOP*     -      -  (ARG1*
google/ewt/answers/00/a.b_1_ans.xml    1   1   [WORD]   JJ    *         -      -      *)
google/ewt/answers/00/a.b_1_ans.xml    1   2   [WORD]   NN    *)      dog dog.01    (V*)
""",
    "data/google/ewt/reviews/00/01.xml.prop": "ignored",
}
ROLES = """# newdoc id = reviews-01
# sent_id = reviews-01-0001
1\tThey\tthey\tPRON\tPRP\t_\tB-ARG0\tO
2\tset\tset\tVERB\tVBD\tset_up.03\tB-V\tO
3\tit\tit\tPRON\tPRP\t_\tB-ARG1\tO
4\tup\tup\tADP\tRP\tup.01\tB-C-V\tB-V
5\t.\t.\tPUNCT\t.\t_\tO\tI-V

# sent_id = reviews-01-0002
1\tFine\tfine\tADJ\tJJ\t_

# newdoc id = answers-a.b_1_ans
# sent_id = answers-a.b_1_ans-0002
1\tBig\tbig\tADJ\tJJ\t_\tB-ARG1
2\tred\tred\tADJ\tJJ\t_\tI-ARG1
3\tdog\tdog\tNOUN\tNN\tdog.01\tB-V

"""


def sources_at(address: str, sha256: str) -> dict[str, data.Source]:
    return {
        "semcor": data.Source("semcor.tsv", (f"{address}/semcor",), sha256, data.senses),
        "srl": data.Source("train.srl", (f"{address}/treebank", f"{address}/propbank"), sha256, join=data.roles),
    }


ANSWERS = {"/semcor": archive_of(SEMCOR), "/propbank": archive_of(PROPBANK), "/treebank": TREEBANK.encode()}


@pytest.mark.parametrize(("name", "made"), [("semcor", SENSES), ("srl", ROLES)])
def test_a_file_is_made_of_an_archive(name, made, tmp_path, monkeypatch, capsys):
    with served(ANSWERS) as address:
        source = sources_at(address, hashlib.sha256(made.encode()).hexdigest())[name]
        monkeypatch.setitem(data.DATA, name, ("", [source]))
        assert data.main([name, "--output", str(tmp_path)]) == 0, capsys.readouterr().err
        other = sources_at(address, "0")[name]
        monkeypatch.setitem(data.DATA, name, ("", [other]))
        assert data.main([name, "--output", str(tmp_path / "other")]) == 2
    assert (tmp_path / source.path).read_text() == made
    assert (tmp_path / "other" / f"{source.path}.differs").read_text() == made
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("answers", "cut"), [({**ANSWERS, "/semcor": b"<html>"}, 0), (ANSWERS, 9)])
def test_a_damaged_archive_is_one_line(answers, cut, tmp_path, monkeypatch, capsys):
    with served(answers, cut) as address:
        monkeypatch.setitem(data.DATA, "semcor", ("", [sources_at(address, "0")["semcor"]]))
        assert data.main(["semcor", "--output", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{address}/semcor" in line
    assert not any(tmp_path.iterdir())


def test_an_archive_is_fetched_once_for_all_its_files(tmp_path, capsys):
    with served({**ANSWERS, "/second": TREEBANK.encode()}) as address:
        first = sources_at(address, hashlib.sha256(ROLES.encode()).hexdigest())["srl"]
        data.fetch(first, tmp_path)
        data.fetch(replace(first, path="dev.srl", addresses=(f"{address}/second", first.addresses[1])), tmp_path)
    assert capsys.readouterr().out.count("/propbank\n") == 1


def brackets(labels: list[str]) -> list[str]:
    """Return the labels of one predicate as PropBank writes them."""
    written = []
    for label, following in zip(labels, [*labels[1:], "O"], strict=True):
        begins = f"({label[2:]}" if label.startswith("B-") else ""
        written.append(f"{begins}*{')' if label != 'O' and not following.startswith('I-') else ''}")
    return written


@pytest.mark.slow
@pytest.mark.parametrize("split", ["dev", "test", "train"])
def test_the_measured_roles_are_made_of_their_brackets(split, data_dir):
    """Of labels written as PropBank writes them: which sentences are joined and in which order, and every byte."""
    (source,) = (source for source in data.DATA["srl"][1] if source.path == f"srl/{split}.srl")
    measured = gzip.decompress((data_dir / "srl" / "propbank-ewt" / f"ewt-{split}.srl.gz").read_bytes()).decode()
    files: dict[str, str] = {}
    for sentence in measured.strip().split("\n\n"):
        comments, rows = [], []
        for line in sentence.split("\n"):
            (comments if line.startswith("# ") else rows).append(line)
        genre, _, rest = comments[-1].split()[-1].partition("-")
        name, _, number = rest.rpartition("-")
        frames, *columns = zip(*(row.split("\t")[5:] for row in rows), strict=True)
        for frame, *labels in zip(frames, *map(brackets, columns), strict=True):
            frame = "-" if frame == "_" else frame
            path = f"data/google/ewt/{genre}/00/{name}.xml.gold_skel"
            line = f"{path}  {int(number) - 1}  0  [WORD]  NN  *  -  {frame}  {'  '.join(labels)}\n"
            files[path] = files.get(path, "") + line
    treebank = gzip.decompress((data_dir / "pos" / "ud-english-ewt" / f"en_ewt-ud-{split}.conllu.gz").read_bytes())
    assert hashlib.sha256(data.roles(treebank, archive_of(files))).hexdigest() == source.sha256


@pytest.mark.slow
def test_the_measured_senses_are_made_of_their_documents(data_dir):
    """Of words and keys written as NAF has them: the order of documents and annotations, and every byte."""
    (source,) = data.DATA["semcor"][1]
    texts: dict[str, tuple[list[str], list[str]]] = {}
    measured = gzip.decompress((data_dir / "wsd" / "semcor" / "semcor-brown12.tsv.gz").read_bytes()).decode()
    for line in measured.splitlines():
        id, words, annotations = line.split("\t")
        name, _, number = id.partition(".s")
        text, terms = texts.setdefault(name, ([], []))
        parts, senses, place = words.split(" "), {}, 0
        for start, end, sense in (annotation.split(":", 2) for annotation in annotations.split()):
            senses[int(start)] = int(end), sense.split("%")
        while place < len(parts):
            end, sense = senses.get(place, (place + 1, None))
            word = f'"w{len(text)}"'
            text.append(f'<wf id={word} sent="{number}">{escape("_".join(parts[place:end]))}</wf>')
            if sense:
                reference = f'<externalRef reference={quoteattr(sense[1])} reftype="lexical_key"/>'
                terms.append(f"<term lemma={quoteattr(sense[0])}><target id={word}/>{reference}</term>")
            place = end
    names = list(texts)
    second = names.index("br-e22")  # brown2 begins
    files = {
        f"semcor3.0/brown{1 + (number >= second)}/{name}.naf": f"<NAF>{''.join(texts[name][0] + texts[name][1])}</NAF>"
        for number, name in enumerate(names)
    }
    assert hashlib.sha256(data.senses(archive_of(files))).hexdigest() == source.sha256
