"""Held-out texts, made of a small document in each format, and of the measured sentences only."""

import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path
from urllib.parse import quote

import pytest
from loopback_files import served

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import data
import held_out_texts

CNXML = """<document xmlns="http://cnx.rice.edu/cnxml"><title>Prices</title>
<metadata xmlns:md="http://cnx.rice.edu/mdml"><md:abstract>Prices rise and fall.</md:abstract></metadata>
<content><para id="p1">A <term>price</term> isn\u2019t fixed;
it moves. We write <m:math><m:mi>p</m:mi></m:math> for it. It rose 3\u20134% in 1990\u20131991.</para>
<equation><m:math><m:mi>p</m:mi></m:math></equation><para>and so on, in the x- or y-direction.</para>
<list><item>Look at <link document="m1">the <emphasis>first</emphasis> chapter</link>.</item></list>
</content></document>
"""
ARTICLE = """<article><!-- <p>Nothing is here.</p> --><body><sec><title>Results</title><p>Mice were fed as before
[<xref ref-type="bibr" rid="B1">1</xref>-<xref ref-type="bibr" rid="B3">3</xref>] and kept at -20&#x000b0;C.
Of ten, five were +/+ and had more Ca<sup>2+</sup> (see Fig. <xref ref-type="fig" rid="F1">1A</xref>).</p></sec></body>
</article>
"""
XHTML = """<?xml version="1.0"?><html><head><title>One</title></head><body><h2>I</h2>
<p>“Come in,” said <abbr>Mr.</abbr>\u00a0Gray—\u2018or stay out! Who cares?\u2019 grunted the cook.
He <em>did</em>n\u2019t.</p>
<p>No more was said.<a href="endnotes.xhtml#n1" epub:type="noteref">1</a> … Then he gave \u2019Change a look</p></body>
</html>
"""
PAGE = """---
title: 'Forms'
summary: 'Forms are short.'
---

{{< legacy-img src="a.jpg" alt="A form. It is long." >}}

# Forms

![A picture](b.png)[Forms]({{< ref "forms.md" >}}) are **short** &mdash; _most_ of them.
<a href="{{< ref "c" >}}">You</a> can&#8217;t and cannot skip `one`.

  * Use plain words:
  * Don't write e.g. "[UTF-8](https://example.com/a_b)" etc.
"""
WIKIPEDIA = """Old_mill.jpg JON DOE (MILLER) () was a miller in the U.S.[1] He was _not_ rich.[2] Doe_house.png of Doe's
house]] The 1890's mill stood there.. Kōbō's was another.

Category:Millers"""
CALL = """token|speaker|ts|endTs|punctuation|prepunctuation|case|tags|oldTs|oldEndTs|ali_comment
Good|0|1.5|1.6|||UC|[]|||
morning|0|1.6|1.7|.||LC|[]|||
We're|1|1.8|1.9|||UC|['0:CONTRACTION']|||
gonna|1|1.9|2.0|,||LC|[]|||
uh|1|2.0|2.1|,||LC|[]|||
ex-|1|||||LC|['1:FALLBACK']|||del
explain|1|||.||LC|[]|||del
Thanks|0|||.||UC|[]|||
"""
SPEECHES = [
    {"url": "https://example.com/speech/one20240102a.htm", "content": "Another speech was held."},
    {
        "url": "https://example.com/speech/two20240103a.htm",
        "content": 'January 3\n\nOutlook\nPrices rose in 2021.3,4 They fell by 2.5 percent, as some said, to "zero."12 '
        "Banks lend (ask them).1 More follows",
    },
]
CONLLU = """# newdoc id = GUM_voyage_isle
# sent_id = GUM_voyage_isle-1
# text = The isle
1\tThe\tthe\tDET\tDT\t_\t2\tdet\t_\t_

# text = It's only 2km² large - and flat.
1\tIt\tit\tPRON\tPRP\t_\t2\tnsubj\t_\t_
"""


def archive() -> bytes:
    contents = io.BytesIO()
    with zipfile.ZipFile(contents, "w") as files:
        files.writestr(
            "speeches/1901-Roe.txt",
            "Mr. Speaker: \nWe meet today \n-- [laughter] -- in cafés. \n".encode("cp1252"),
        )
        files.writestr("speeches/1905-Roe.txt", "We meet again.")
    return contents.getvalue()


# A document of each corpus: its address, name, contents and sentences
DOCUMENTS = {
    "openstax": (
        "osbooks/modules/m1/index.cnxml",
        "",
        CNXML.encode(),
        [
            "A price is n't fixed ; it moves .",
            "It rose 3-4 % in 1990-1991 .",
            "and so on , in the x - or y-direction .",
            "Look at the first chapter .",
        ],
    ),
    "craft-articles": (
        "articles/J Mice-1.nxml",
        "",
        ARTICLE.encode(),
        [
            "Mice were fed as before and kept at - 20 ° C .",
            "Of ten , five were + / + and had more Ca2 + ( see Fig. 1A ) .",
        ],
    ),
    "pd-books": (
        "text/part-1.xhtml",
        "",
        XHTML.encode(),
        [
            '" Come in , " said Mr. Gray -- \' or stay out !',
            "Who cares ? ' grunted the cook .",
            "He did n't .",
            "No more was said . ...",
            "Then he gave ' Change a look",
        ],
    ),
    "digitalgov": (
        "content/forms.md",
        "",
        PAGE.encode(),
        [
            "Forms are short -- most of them .",
            "You ca n't and can not skip one .",
            "Use plain words :",
            'Do n\'t write e.g. " UTF-8 " etc .',
        ],
    ),
    "wikipedia-2019": (
        "Page/Jon_Doe_(miller).md",
        "Jon_Doe_(miller)",
        WIKIPEDIA.encode(),
        [
            "Jon Doe ( MILLER ) was a miller in the U.S. .",
            "He was not rich .",
            "The 1890 ' s mill stood there . .",
            "Kōbō's was another .",
        ],
    ),
    "earnings-calls": (
        "transcripts/1.nlp",
        "",
        CALL.encode(),
        ["Good morning .", "We 're gon na , uh , ex - explain ."],
    ),
    "fed-speeches": (
        "speeches/2024.json",
        "two20240103a",
        json.dumps(SPEECHES).encode(),
        [
            "Prices rose in 2021 .",
            'They fell by 2.5 percent , as some said , to " zero . "',
            "Banks lend ( ask them ) .",
        ],
    ),
    "gum-open": ("dep/GUM_voyage_isle.conllu", "", CONLLU.encode(), ["It 's only 2km² large - and flat ."]),
    "us-presidents": (
        "corpora/speeches.zip",
        "speeches/1901-Roe.txt",
        archive(),
        ["We meet today -- [ laughter ] -- in cafés ."],
    ),
}


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """Return a function that lists the sentences of documents as the measured ones of a corpus."""

    def listed(corpus: str, *documents: tuple[str, str, list[str]]) -> None:
        rows = (
            "\t".join([corpus, path, name, "".join(map(held_out_texts.checksum, lines))])
            for path, name, lines in documents
        )
        file = tmp_path / "listed.txt"
        file.write_text("\n".join(rows), encoding="utf-8")
        monkeypatch.setattr(held_out_texts, "LISTED", file)
        held_out_texts.listed.cache_clear()

    yield listed
    held_out_texts.listed.cache_clear()


def source_at(address: str, corpus: str, lines: list[str], monkeypatch) -> data.Source:
    """Return what is made of the listed documents at an address, measured on these lines."""
    monkeypatch.setattr(data, "GITHUB", address)
    return data.held_out(corpus, hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest())


@pytest.mark.parametrize("corpus", held_out_texts.READERS)
def test_the_measured_sentences_are_made_of_a_document(corpus, listed, tmp_path, monkeypatch, capsys):
    path, name, contents, lines = DOCUMENTS[corpus]
    listed(corpus, (path, name, lines))
    with served({f"/{quote(path)}": contents}) as address:
        source = source_at(address, corpus, lines, monkeypatch)
        data.fetch(source, tmp_path)
        made = tmp_path / "lm" / corpus / "valid.txt"
        assert made.read_text(encoding="utf-8").splitlines() == lines
    assert capsys.readouterr().out.endswith(f"{made}: {made.stat().st_size:,} bytes\n")


LINES = [f"The mill has {number} wheels ." for number in range(20)]


def mill(lines: list[str]) -> bytes:
    return "".join(f"<p>{line.replace(' .', '.')} No-one counts.</p>" for line in lines).encode()


def test_sentences_that_are_missing_are_counted(listed, tmp_path, monkeypatch, capsys):
    """What is made is in the order of the list, and a sentence is looked for in its own document."""
    listed("pd-books", ("one", "", LINES[:10]), ("two", "", LINES[10:]))
    made = tmp_path / "lm" / "pd-books" / "valid.txt"
    with served({"/one": mill([*LINES[9::-1], LINES[11]]), "/two": mill(LINES[12:])}) as address:
        monkeypatch.setitem(data.DATA, "lm-held-out", ("", [source_at(address, "pd-books", LINES, monkeypatch)]))
        assert data.main(["lm-held-out", "--output", str(tmp_path)]) == 0
    assert made.read_text().splitlines() == [*LINES[:10], *LINES[12:]]
    assert f"{made}: 18 of the 20 sentences that the table was measured on;" in capsys.readouterr().out
    assert data.main(["lm-held-out", "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{made} is there\n"
    made.write_text(f"{made.read_text()}The mill has no wheels .\n")
    assert data.main(["lm-held-out", "--output", str(tmp_path)]) == 2
    assert "move it away" in capsys.readouterr().err


def test_a_text_that_lacks_much_gets_another_name(listed, tmp_path, monkeypatch):
    listed("pd-books", ("one", "", LINES))
    with served({"/one": mill(LINES[3:])}) as address:
        source = source_at(address, "pd-books", LINES, monkeypatch)
        with pytest.raises(ValueError, match=r"valid\.txt\.differs: what was made"):
            data.fetch(source, tmp_path)
    (kept,) = (tmp_path / "lm" / "pd-books").iterdir()
    assert kept.read_text().splitlines() == LINES[3:]


@pytest.mark.parametrize(
    ("corpus", "name", "contents"),
    [
        ("us-presidents", "speeches/1901-Roe.txt", b"<html>"),
        ("us-presidents", "speeches/1902-Roe.txt", archive()),
        ("fed-speeches", "two20240103b", json.dumps(SPEECHES).encode()),
        ("fed-speeches", "two20240103a", b"<html>"),
        ("digitalgov", "", b"\xff"),
        ("earnings-calls", "", b"<html>\n<body>"),
    ],
)
def test_a_document_that_is_not_what_it_was_is_one_line(corpus, name, contents, listed, tmp_path, monkeypatch, capsys):
    listed(corpus, ("folder/one", name, LINES))
    with served({"/folder/one": contents}) as address:
        monkeypatch.setitem(data.DATA, "lm-held-out", ("", [source_at(address, corpus, LINES, monkeypatch)]))
        assert data.main(["lm-held-out", "--output", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"folder/one {name}".strip() in line
    assert not (tmp_path / "lm").exists()


@pytest.mark.parametrize("corpus", held_out_texts.READERS)
def test_the_listed_sentences_are_the_measured_ones(corpus, data_dir):
    measured = (data_dir / "lm" / corpus / "valid.txt").read_bytes()
    (source,) = (source for source in data.DATA["lm-held-out"][1] if source.path == f"lm/{corpus}/valid.txt")
    assert hashlib.sha256(measured).hexdigest() == source.sha256
    documents = held_out_texts.listed(corpus)
    checksums = [one for document in documents for one in document.checksums]
    assert list(map(held_out_texts.checksum, measured.decode().splitlines())) == checksums
    assert len(source.addresses) == len(documents)
    assert all(address.isascii() and " " not in address for address in source.addresses)
