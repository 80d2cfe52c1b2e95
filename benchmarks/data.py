"""Fetch the data behind a table of the documentation: `python3 run.py data NAME`. Needs Python alone.

Files land in the folder `data` of the repository, where the commands of the documentation look for them; each is
compared with the checksum of the file that the tables were measured on; of the held-out texts of `lm-held-out`, each
sentence is. Where there is no network, the message names the address, so that the file can be brought by other means.
Of the archive of a repository, fetched whole, only the file that is made of it has a checksum: the bytes of archives
change.
"""

import argparse
import functools
import gzip
import hashlib
import io
import json
import re
import sys
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.parse import quote
from xml.etree import ElementTree

import held_out_texts

GITHUB = "https://raw.githubusercontent.com"
WIKITEXT = f"{GITHUB}/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2"
ELTEC = f"{GITHUB}/COST-ELTeC/ELTeC-eng/3db3b6738a836f0e1b276b6c9703e42f4297f978/level2"
WIKINEURAL = f"{GITHUB}/Babelscape/wikineural/d2e28c770cba2b285e742529ae18ed849e336c65/data/wikineural/en"
TREES = f"{GITHUB}/munikarmanish/RNTN/12bb731ba9fbdcdf2368b8515a241773f2b97547/trees"
LITBANK = f"{GITHUB}/dbamman/litbank/3e50db0ffc033d7ccbb94f4d88f6b99210328ed8/coref/conll"
FOLDS = f"{GITHUB}/dbamman/lrec2020-coref/e30de53743d36d1ea2c9e7292c69477fa332713c/data/litbank_tenfold_splits"
SQUAD = f"{GITHUB}/rajpurkar/SQuAD-explorer/eee5fdbf62f8613a7812b03419e6b29617b74fd1/dataset/dev-v1.1.json"
MULTI30K = f"{GITHUB}/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw"
SCITLDR = f"{GITHUB}/allenai/scitldr/5ccad9c00a60ad75c9e04abf7f27d0f53f983b20/SciTLDR-Data/SciTLDR-A"
TREEBANK = f"{GITHUB}/UniversalDependencies/UD_English-EWT/15d613d8447b3478787d4c278730a1e48a945efb"
WNUT = f"{GITHUB}/leondz/emerging_entities_17/e52a2d2a71ac1a051ca2d532eef28653c5c02603"
ALL_WORDS = f"{GITHUB}/HSLCY/GlossBERT/64d282d5bae75064fc1a0b35fae8b250538411ec/Evaluation_Datasets/ALL"
WIC = f"{GITHUB}/Wenxin-Jiang/CS577-NLP/17fb8ca981698024599b423ad140f1ac36608529/HW2/WiC_dataset"
ARCHIVES = "https://codeload.github.com"
PROPBANK = f"{ARCHIVES}/propbank/propbank-release/zip/4abade0b53ce4a181e1d98b3518101c1a44d395a"
SEMCOR = f"{ARCHIVES}/rubenIzquierdo/wsd_corpora/zip/c31b9b8eb6d6ca726b6868f19123aaf7e5eb1d88"
SICK = f"{GITHUB}/kkalouli/SICK-processing/0848f4aec60870122a4ca18de08ba0e25f6f9a75/SICK.txt"
NOVELS = {
    "train": """
        18411_Tupper 18490_Skene 18500_Ainsworth 18551_Trollope 18552_Kavanagh 18570_Bronte 18600_Clive
        18641_Stretton 18700_Oliphant 18702_Jenkins 18720_Lynn 18740_Ouida 18742_Trollope 18760_Collins
        18770_Mallock 18850_Rutherford 18872_Lyall 18910_Yeats 18920_Grossmith 18930_Benson 18931_Harraden
        18940_Dixon 18950_Cross 18951_Ward 18954_Sharp 18960_Malet 18961_Griffiths 18973_Cholmondeley
        19001_Glyn 19011_Jerome 19020_Nesbit 19060_Nesbit 19070_Machen 19080_Chesterton 19091_Ward
        19111_Hornung 19170_Conrad 19181_West 19190_Benson 19191_Hamilton 19201_Arlen
    """,
    "valid": "18610_Eliot 18952_Wells",
    "test": "18652_Carroll 18900_Doyle 19150_Buchan",
}


def novel_sentences(xml: bytes) -> bytes:
    """Return the sentences of a novel in TEI, one a line, its words and punctuation separated by spaces."""
    tei = "{http://www.tei-c.org/ns/1.0}"
    lines = []
    for sentence in ElementTree.fromstring(xml).find(f".//{tei}body").iter(f"{tei}s"):
        words = [word.text.strip() for word in sentence.iter() if word.tag in (f"{tei}w", f"{tei}pc") and word.text]
        lines.append(" ".join(words) + "\n")
    return "".join(lines).encode()


def without_dev(trees: bytes) -> bytes:
    """Return the training trees, without those for validation, which follow them in the published file."""
    return b"".join(trees.splitlines(keepends=True)[:8544])


def sentences(start: int, end: int | None) -> Callable[[bytes], bytes]:
    """Return a function that selects sentences, separated by empty lines, by their numbers."""

    def select(text: bytes) -> bytes:
        return b"\n\n".join(text.strip().split(b"\n\n")[start:end]) + b"\n\n"

    return select


def articles(keep: Callable[[int], bool]) -> Callable[[bytes], bytes]:
    """Return a function that selects articles of SQuAD by their numbers: its training file is not in the repository."""

    def select(squad: bytes) -> bytes:
        chosen = [one for number, one in enumerate(json.loads(squad)["data"]) if keep(number)]
        return json.dumps({"version": "1.1", "data": chosen}).encode()

    return select


def archived(archive: bytes, pattern: str) -> Iterator[tuple[re.Match[str], bytes]]:
    """Yield the files of a repository's archive whose paths match a pattern, in the order of their paths."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        for path in sorted(files.namelist()):
            if match := re.fullmatch(f"[^/]+/{pattern}", path):
                yield match, files.read(path)


def senses(archive: bytes) -> bytes:
    """Return a line for each sentence of SemCor: its id, words and annotations `start:end:lemma%key`.

    What is one word in SemCor, as `took_place`, becomes several. When this was written, the beginning of br-a01 and the
    end of br-l08 were at hand: five sentences, whose lines are those of the measured file.
    """
    lines = []
    for match, xml in archived(archive, r"semcor3\.0/brown[12]/(.+)\.naf"):
        document = ElementTree.fromstring(xml)
        keys = {}
        for term in document.iter("term"):
            key = term.find(".//externalRef[@reftype='lexical_key']")
            if key is not None:
                keys[term.find(".//target").get("id")] = f"{term.get('lemma')}%{key.get('reference')}"
        sentences: dict[str, tuple[list[str], list[str]]] = {}
        for word in document.iter("wf"):
            words, annotations = sentences.setdefault(word.get("sent"), ([], []))
            start = len(words)
            words += word.text.replace("_", " ").split()
            if key := keys.get(word.get("id")):
                annotations.append(f"{start}:{len(words)}:{key}")
        for number, (words, annotations) in sentences.items():
            lines.append(f"{match[1]}.s{number}\t{' '.join(words)}\t{' '.join(annotations)}\n")
    return "".join(lines).encode()


# As many tokens in PropBank as in the treebank, but others
OTHER_TOKENS = "answers-20111106144630AAadR8l_ans-0005"


def roles(treebank: bytes, archive: bytes) -> bytes:
    """Return the words of a treebank with the frames and arguments of PropBank, which is published without words.

    A line for each word has its number, form, lemma, two parts of speech, frame, and a label for each predicate of the
    sentence. Sentences are joined by document and number; those that PropBank lacks or has with other tokens are left
    out. When this was written, parts of seven documents were at hand: of 28 sentences, the lines of 26 are those of the
    measured file, which lacks the other two as well.
    """
    propbank: dict[str, list[list[str]]] = {}
    for match, text in archived(archive, r"data/google/ewt/(\w+)/\d+/(.+)\.xml\.gold_skel"):
        for columns in filter(None, map(str.split, text.decode().split("\n"))):
            propbank.setdefault(f"{match[1]}-{match[2]}-{int(columns[1]) + 1:04}", []).append(columns[7:])
    lines, document = [], []
    for sentence in treebank.decode().strip().split("\n\n"):
        comments = [line for line in sentence.split("\n") if line.startswith("# sent_id =")]
        document = re.findall("^# newdoc id = .*", sentence, re.MULTILINE) or document
        words = [line.split("\t")[:5] for line in sentence.split("\n") if line.partition("\t")[0].isdecimal()]
        name = comments[0].split()[-1]
        rows = propbank.get(name, [])
        if len(rows) == len(words) and name != OTHER_TOKENS:
            frames, *brackets = zip(*rows, strict=True)
            frames = ["_" if frame == "-" else frame for frame in frames]
            columns = zip(frames, *map(labels, brackets), strict=True)
            rows = ["\t".join((*word, *row)) for word, row in zip(words, columns, strict=True)]
            lines += [*document, *comments, *rows, ""]
            document = []
    return "\n".join([*lines, ""]).encode()


def labels(brackets: Iterable[str]) -> Iterator[str]:
    """Yield the IOB2 labels of arguments in brackets, as `(ARG0*`, `*)`, `(V*)` and `*`."""
    role = ""
    for bracket in brackets:
        begins = bracket.startswith("(")
        if begins:
            role = bracket[1 : bracket.index("*")]
        yield f"{'B' if begins else 'I'}-{role}" if role else "O"
        if bracket.endswith(")"):
            role = ""


def concatenated(*parts: bytes) -> bytes:
    return b"".join(parts)


@dataclass(frozen=True)
class Source:
    """A file to make: the addresses of its parts, and what makes each part's contents of what is downloaded.

    `join` makes the file of all parts. `listed`, if given, turns each line of the file at the only address into the
    address of a part. `compare`, if given, says how a file with another checksum compares with the measured one; None
    if the tables are not for it.
    """

    path: str
    addresses: tuple[str, ...]
    sha256: str
    prepare: Callable[[bytes], bytes] = bytes
    listed: Callable[[str], str] | None = None
    join: Callable[..., bytes] = concatenated
    compare: Callable[[bytes], str | None] = lambda contents: None

    def described(self, contents: bytes) -> str | None:
        """Return what to say of a file's contents; None if they are not what the tables were measured on."""
        if hashlib.sha256(contents).hexdigest() == self.sha256:
            return f"{len(contents):,} bytes"
        return self.compare(contents)


def novels(split: str, sha256: str) -> Source:
    addresses = tuple(f"{ELTEC}/ENG{name}.xml" for name in NOVELS[split].split())
    return Source(f"lm/eltec-eng/{split}.txt", addresses, sha256, novel_sentences)


def held_out(corpus: str, sha256: str) -> Source:
    return Source(
        f"lm/{corpus}/valid.txt",
        tuple(f"{GITHUB}/{quote(document.path)}" for document in held_out_texts.listed(corpus)),
        sha256,
        join=functools.partial(held_out_texts.sentences, corpus),
        compare=functools.partial(held_out_texts.comparison, corpus),
    )


def documents(split: str, sha256: str) -> Source:
    """Return the documents of LitBank that fold 0 of its authors has in a split, in one file."""
    return Source(
        f"coref/{split}.conll",
        (f"{FOLDS}/0/{split}.ids",),
        sha256,
        listed=lambda name: f"{LITBANK}/{name.removesuffix('.tsv')}.conll",
    )


# The names in the documentation, each with its license and files
DATA = {
    "lm": (
        "WikiText-2 (CC BY-SA 3.0) and ELTeC-eng (public domain, markup CC BY 4.0): pretraining, perplexity, 8 bits",
        [
            Source(
                "lm/wikitext-2/train.txt",
                (f"{WIKITEXT}/train.txt",),
                "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
            ),
            Source(
                "lm/wikitext-2/valid.txt",
                (f"{WIKITEXT}/valid.txt",),
                "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
            ),
            Source(
                "lm/wikitext-2/test.txt",
                (f"{WIKITEXT}/test.txt",),
                "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
            ),
            novels("train", "701ce3cb93d1a1be97bf81fd3bc52b39eb36d21617104c308348f089e0d2c793"),
            novels("valid", "1c605760ff3031f4c7d4ff99222012a2325287eb69faf482b6d3c499104a51e0"),
            novels("test", "3d2241448046577d5acb7186a6cea3e3f27f5cd6b819a1fb7c712437e87a1f52"),
        ],
    ),
    "lm-held-out": (
        "held-out texts of nine more corpora (licenses: hf_elmo/data/README.md): perplexity of the model in the box",
        [
            held_out("craft-articles", "7de8c7d522fdfeb26e68bbaf0a68d45960c066d46035600d4cf68abe1c653855"),
            held_out("digitalgov", "80ed8c3466458fc3e79004bf68abff964869878079623e910a9aa06714ecc5a9"),
            held_out("earnings-calls", "40bb593b9c68c5abed14d6315ee6588a451939f4a7fac95d35618047db08223f"),
            held_out("fed-speeches", "58e6f0de46c469921fc6b7a3eadc2b5ddb98ef298767d7b779a1add8c4cbf82d"),
            held_out("gum-open", "812e1d1f22feb1de5b004add8a44d59c52f6baf502e161c8aa6d555b871c34ad"),
            held_out("openstax", "85dccad980f690ed6731cdb8b59152579c5565bc90f398e2ad5d46af8a19dd8d"),
            held_out("pd-books", "112ca7abcfc1ef10a044dee766686b2de7a8a2d8ba14c05b018e2a8f2b6ca15b"),
            held_out("us-presidents", "08f11eabcf61b5ff03bf3a986add1842bb6f0a074bfd7d05d942aaa63ceb71ad"),
            held_out("wikipedia-2019", "a222f651a658cbacf5e297210de0997d72a15ea2ed81d7840a20c7e4594fa404"),
        ],
    ),
    "ner": (
        "WikiNEuRal, English (CC BY-NC-SA 4.0, research only): named entities",
        [
            Source(
                "ner/train.conll",
                (f"{WIKINEURAL}/val.conllu",),
                "b433138906af896659dcf1b0a90074a62d86be789bd9d48890e44152d0efed37",
                sentences(0, 10590),
            ),
            Source(
                "ner/dev.conll",
                (f"{WIKINEURAL}/val.conllu",),
                "74a1e1c6e5ded4e7f665229b51194bbdf33a5c300de8c08b1b02f877fb46319b",
                sentences(10590, None),
            ),
            Source(
                "ner/test.conll",
                (f"{WIKINEURAL}/test.conllu",),
                "088187d12574de9120f31fce908ce3c626b349b6b93f20886d5351b936ed0849",
            ),
        ],
    ),
    "nli": (
        "SICK (CC BY-NC-SA 3.0, research only): whether one sentence entails another",
        [Source("nli/SICK.txt", (SICK,), "1539c2d059809b5bd40694e26d8121cc85b6b496f91c7b40f2fc83bbd7dcd957")],
    ),
    "sentiment": (
        "Stanford Sentiment Treebank (license unstated, research only): sentiment",
        [
            Source(
                "sentiment/train.txt",
                (f"{TREES}/train.txt",),
                "e2f3f41b0b1e6d4dddc0effe3bfc2d27ed8928079aa9a03d652311614fc5feb7",
                without_dev,
            ),
            Source(
                "sentiment/dev.txt",
                (f"{TREES}/dev.txt",),
                "0e9336aed6e4730e19f58d00a77b3f0297efdb755f7b5e598c98a05e3f97ea40",
            ),
            Source(
                "sentiment/test.txt",
                (f"{TREES}/test.txt",),
                "6e54806dee95cf80cd918e7dfb3f6770f6df24bf826f289a4d1f709e1c8f6761",
            ),
        ],
    ),
    "wnut": (
        "WNUT 17 (CC BY 4.0): novel and emerging entities",
        [
            Source(
                "wnut/wnut17train.conll",
                (f"{WNUT}/wnut17train.conll",),
                "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5",
            ),
            Source(
                "wnut/emerging.test.annotated",
                (f"{WNUT}/emerging.test.annotated",),
                "2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0",
            ),
        ],
    ),
    "coref": (
        "LitBank, fold 0 (CC BY 4.0): coreference",
        [
            documents("train", "1b8417c115ca17f9bfa8c1f3c1bf148e39d7a9476270e733a8feef4567dd5592"),
            documents("dev", "a522b2b05214eeb4cb3c1bfd8ac9039b04049fb3bbd58da214b6423b094c3f82"),
            documents("test", "66ef4f1b08f2e7952b4ea4e944ce8ed76798e02a7d133e278f5249f4d40c45dc"),
        ],
    ),
    "qa": (
        "SQuAD 1.1, the articles for validation (CC BY-SA 4.0): 32 to train, 4 to choose, 12 to test",
        [
            Source(
                "qa/train.json",
                (SQUAD,),
                "79ff7bea78a8094f5f22147740bb342e552980df952b5e9c5d1b6579d3af459a",
                articles(lambda number: number % 4 > 0 and number < 43),
            ),
            Source(
                "qa/dev.json",
                (SQUAD,),
                "f58491951e19e19d2054ead5c12f78838a6edecdfba9cfd45e13df9615db8b17",
                articles(lambda number: number % 4 > 0 and number >= 43),
            ),
            Source(
                "qa/test.json",
                (SQUAD,),
                "8e6e9b6a42481ad4f6811ff010855bae8d1700f7a5743d4971ee2ce64e157a88",
                articles(lambda number: number % 4 == 0),
            ),
        ],
    ),
    "translation": (
        "Multi30k, English and German (license unstated, research only): translation",
        [
            Source(f"translation/{path}", (f"{MULTI30K}/{published}.gz",), sha256, gzip.decompress)
            for path, published, sha256 in (
                ("train.en", "train.en", "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6"),
                ("train.de", "train.de", "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72"),
                ("val.en", "val.en", "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227"),
                ("val.de", "val.de", "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660"),
                ("test.en", "test_2016_flickr.en", "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182"),
                ("test.de", "test_2016_flickr.de", "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16"),
            )
        ],
    ),
    "summarisation": (
        "SciTLDR, abstracts (Apache 2.0): summaries",
        [
            Source(f"summarisation/{split}.jsonl", (f"{SCITLDR}/{split}.jsonl",), sha256)
            for split, sha256 in (
                ("train", "b222771d387be585cfdf5ae957b36757138415a352e0a3e3b23f73f87c3b1119"),
                ("dev", "3191fa98ccc09521332b7a1cd63b1930be4e8df125a235ccd31e40329709525e"),
                ("test", "fb42dd6cd4f4a1928ae8a01a189456fbfe994a07e938bd49f68653933f6503c9"),
            )
        ],
    ),
    "pos": (
        "English EWT of Universal Dependencies (CC BY-SA 4.0): parts of speech",
        [
            Source(f"pos/en_ewt-ud-{split}.conllu", (f"{TREEBANK}/en_ewt-ud-{split}.conllu",), sha256)
            for split, sha256 in (
                ("train", "3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b"),
                ("test", "e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd"),
            )
        ],
    ),
    "wsd": (
        "the all-words sets of Raganato et al. 2017 (license unstated, research only): senses of words",
        [
            Source(f"wsd/{name}", (f"{ALL_WORDS}/{name}",), sha256)
            for name, sha256 in (
                ("ALL.data.xml", "27a9da01b6d4a1e4dc7c76d15148a38eaa56cc0df371cae4416d04e541b6fe36"),
                ("ALL.gold.key.txt", "0bf2ffc38f572587c72b59ea928da676423b99b5a54bd1a83eb4848b517d3170"),
            )
        ],
    ),
    "semcor": (
        "SemCor 3.0, brown1 and brown2 (WordNet's license): words with their senses",
        [
            Source(
                "wsd/semcor.tsv",
                (SEMCOR,),
                "7cbf8fe09f3b221d640d5d2c1f5d983988b6842339f0a1ee124a3ac5a5b326e9",
                senses,
            )
        ],
    ),
    "srl": (
        "PropBank over English EWT (CC BY-SA 4.0): semantic roles",
        [
            Source(f"srl/{split}.srl", (f"{TREEBANK}/en_ewt-ud-{split}.conllu", PROPBANK), sha256, join=roles)
            for split, sha256 in (
                ("train", "badfeb33b68e4a0c39c77d90a974b8b5757f4e9f93a42e14ea96fd14080d5b30"),
                ("dev", "592afc6a0ea0c5969877b91c7f4a22c9d6633d8f6328eca75715bed647426085"),
                ("test", "3414adbbcd0853662a73f7cf1cd18581ba3ea30fc032c812dd069a00f86e7e52"),
            )
        ],
    ),
    "wic": (
        "Words in Context (CC BY-NC 4.0): one meaning or two",
        [
            Source(f"wic/{name}", (f"{WIC}/{name.partition('.')[0]}/{name}",), sha256)
            for name, sha256 in (
                ("train.data.txt", "3a56ff8285ca9703d6c91dfb7cc79760171899c560bb6a8698fa4559a71b160d"),
                ("train.gold.txt", "3f614ca12c03a90fecc34471d8ae666f924a3c657b5620fcfb46d9b2b50bb7b2"),
                ("dev.data.txt", "1c360246ffa3904fc1d8f6f16bb7ae0d7980a1a27e9200e9b43c32fd35af11e7"),
                ("dev.gold.txt", "665ee959c2cf7db2a4255b7a049bdfa165b970482145cfd2ac456007d4dcf1d6"),
            )
        ],
    ),
}

# Data that were brought into another form by hand: addresses, and the form that the commands of the documentation read
BY_HAND = {
    "lm-sources": "the text to train the model anew on, of the repositories that benchmarks/held_out_lines.txt names: "
    "a sentence a line, its words separated by spaces, in data/lm/CORPUS/train.txt",
}


def main(arguments: list[str] | None = None) -> int:
    names = {name: about for name, (about, _) in DATA.items()} | dict.fromkeys(BY_HAND, "by hand: says what and where")
    epilog = "names:\n" + "\n".join(f"  {name:14}{about}" for name, about in names.items())
    parser = argparse.ArgumentParser(
        prog="python3 run.py data",
        description=__doc__.split("\n")[0],
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    folder = Path(__file__).resolve().parents[1] / "data"
    parser.add_argument(
        "--output", type=Path, default=folder, metavar="FOLDER", help="by default data/ of the repository"
    )
    parsed = parser.parse_args(arguments)
    try:
        for name in parsed.names:
            if name in BY_HAND:
                raise ValueError(f"{name} is in no single place in the form that is read here; bring {BY_HAND[name]}")
            for source in DATA[name][1]:
                fetch(source, parsed.output)
    except (URLError, OSError, ValueError, ElementTree.ParseError) as error:
        print(f"data: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("data: interrupted; the same command goes on with the files that lack", file=sys.stderr)
        return 130
    return 0


def fetch(source: Source, folder: Path) -> None:
    """Make one file, unless it is there; under another name if its contents are not the ones that were measured on."""
    path = folder / source.path
    if path.exists():
        if source.described(path.read_bytes()) is None:
            raise ValueError(f"{path} is not the file that the tables were measured on: move it away")
        print(f"{path} is there")
        return
    try:
        addresses = source.addresses
        if source.listed:
            addresses = tuple(map(source.listed, download(addresses[0]).decode().split()))
        contents = source.join(*(source.prepare(download(address)) for address in addresses))
    except OSError as error:
        raise OSError(f"{error}; {path} is made of it, by {__file__}") from error
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} cannot be made of what is at {addresses[-1]}: {error}") from error
    described = source.described(contents)
    made = path if described else path.with_name(f"{path.name}.differs")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(contents)
    part.replace(made)
    if made != path:
        raise ValueError(
            f"{made}: what was made of what was fetched is not the file that the tables were measured on; with it in "
            f"the place of {path.name}, their commands give other numbers"
        )
    print(f"{path}: {described}")


@functools.lru_cache(maxsize=2)  # an archive of which several files are made, beside what each is joined with
def download(address: str) -> bytes:
    """Return what is at an address."""
    print(f"fetching {address}", flush=True)
    try:
        with urllib.request.urlopen(address, timeout=60) as response:
            return response.read()
    except (OSError, HTTPException) as error:
        raise OSError(f"{address} cannot be fetched ({getattr(error, 'reason', error)})") from error


if __name__ == "__main__":
    sys.exit(main())
