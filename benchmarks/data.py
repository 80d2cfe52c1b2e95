"""Fetch the data behind a table of the documentation: `python3 run.py data NAME`. Needs Python alone.

Files land in the folder `data` of the repository, where the commands of the documentation look for them; each is
compared with the checksum of the file that the tables were measured on. Where there is no network, the message names
the address, so that the file can be brought by other means.
"""

import argparse
import hashlib
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from xml.etree import ElementTree

GITHUB = "https://raw.githubusercontent.com"
WIKITEXT = f"{GITHUB}/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2"
ELTEC = f"{GITHUB}/COST-ELTeC/ELTeC-eng/3db3b6738a836f0e1b276b6c9703e42f4297f978/level2"
WIKINEURAL = f"{GITHUB}/Babelscape/wikineural/d2e28c770cba2b285e742529ae18ed849e336c65/data/wikineural/en"
TREES = f"{GITHUB}/munikarmanish/RNTN/12bb731ba9fbdcdf2368b8515a241773f2b97547/trees"
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


@dataclass(frozen=True)
class Source:
    """A file to make: the addresses of its parts, and what makes each part's contents of what is downloaded."""

    path: str
    addresses: tuple[str, ...]
    sha256: str
    prepare: Callable[[bytes], bytes] = bytes


def novels(split: str, sha256: str) -> Source:
    addresses = tuple(f"{ELTEC}/ENG{name}.xml" for name in NOVELS[split].split())
    return Source(f"lm/eltec-eng/{split}.txt", addresses, sha256, novel_sentences)


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
}


def main(arguments: list[str] | None = None) -> int:
    epilog = "names:\n" + "\n".join(f"  {name:10}{about}" for name, (about, _) in DATA.items())
    parser = argparse.ArgumentParser(
        prog="python3 run.py data",
        description=__doc__.split("\n")[0],
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", choices=DATA, metavar="NAME", help=", ".join(DATA))
    folder = Path(__file__).resolve().parents[1] / "data"
    parser.add_argument(
        "--output", type=Path, default=folder, metavar="FOLDER", help="by default data/ of the repository"
    )
    parsed = parser.parse_args(arguments)
    try:
        for name in parsed.names:
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
    """Make one file, unless it is there; write it only if its contents are the ones that were measured on."""
    path = folder / source.path
    if path.exists():
        if hashlib.sha256(path.read_bytes()).hexdigest() != source.sha256:
            raise ValueError(f"{path} is not the file that the tables were measured on: move it away")
        print(f"{path} is there")
        return
    parts = []
    for address in source.addresses:
        print(f"fetching {address}", flush=True)
        try:
            with urllib.request.urlopen(address, timeout=60) as response:
                parts.append(source.prepare(response.read()))
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise OSError(f"{address} cannot be fetched ({reason}); {path} is made of it, by {__file__}") from error
    contents = b"".join(parts)
    if hashlib.sha256(contents).hexdigest() != source.sha256:
        raise ValueError(
            f"{path}: what was fetched is not the file that the tables were measured on; nothing is written"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(contents)
    part.replace(path)
    print(f"{path}: {len(contents):,} bytes")


if __name__ == "__main__":
    sys.exit(main())
