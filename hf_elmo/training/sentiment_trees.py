r"""The Stanford Sentiment Treebank (Socher et al. 2013): trees of which every node has a label, one a line.

    (3 (2 It) (4 (4 (2 's) (4 (3 a) (4 gem))) (2 .)))

Labels go from 0, very negative, over 2, neutral, to 4, very positive. Words stand as the sentence has them: `-LRB-` and
`-RRB-` become brackets again, and `\/` and `\*` lose their backslash.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from .text_files import Place, numbered_lines

NEUTRAL = 2
PIECES = re.compile(r"\((\d+)|\)|[^\s()]+")
ESCAPED = {"-LRB-": "(", "-RRB-": ")", "-lrb-": "(", "-rrb-": ")"}


class Phrase(NamedTuple):
    """The words below a node of a tree, and the node's label."""

    words: list[str]
    label: str


def read_trees(path: str) -> Iterator[tuple[Place, list[Phrase]]]:
    """The phrases of each tree of a file, plain or `.gz`: the whole sentence is the last.

    Raises:
        `ValueError`: with file and line, if a line is no tree.
    """
    for number, line in numbered_lines(path):
        if line and not line.isspace():
            yield Place(path, number), phrases_of(line, Place(path, number))


def phrases_of(line: str, place: Place) -> list[Phrase]:
    words: list[str] = []
    opened: list[tuple[int, str]] = []  # of each node around: its first word, its label
    phrases: list[Phrase] = []
    for piece in PIECES.finditer(line):
        if phrases and not opened:
            raise ValueError(f"{place}: something follows the tree: {line[piece.start() :][:40]!r}")
        if piece[1] is not None:
            opened.append((len(words), piece[1]))
        elif not opened:
            raise ValueError(f"{place}: a tree must begin with '(' and a label, but the line is {line[:40]!r}")
        elif piece[0] == ")":
            first, label = opened.pop()
            if first == len(words):
                raise ValueError(f"{place}: there is no word in '({label})'")
            phrases.append(Phrase(words[first:], label))
        else:
            words.append(unescaped(piece[0]))
    if opened or not phrases:
        raise ValueError(f"{place}: {len(opened)} brackets are not closed")
    return phrases


def unescaped(word: str) -> str:
    return ESCAPED.get(word) or re.sub(r"\\([/*])", r"\1", word)


def binary(label: str) -> str | None:
    """`0` for a negative label, `1` for a positive one, None for the neutral one, as in SST-2."""
    return None if int(label) == NEUTRAL else str(int(int(label) > NEUTRAL))
