# Copyright 2026 The hf_elmo authors. Licensed under the Apache License, Version 2.0.
"""Labels of words that mark entities: how their names are read, and the schemes that they follow.

    scheme          New York City is  in  Ohio    first, inner, last, only word of an entity
    BIO (IOB2)      B-X I-X  I-X  O   O   B-Y     B I I B
    IOB1            I-X I-X  I-X  O   O   I-Y     I I I I, but B where an entity of the same type ends just before
    BIOUL (BILOU)   B-X I-X  L-X  O   O   U-Y     B I L U
    BIOES (IOBES)   B-X I-X  E-X  O   O   S-Y     B I E S
    BMES            B-X M-X  E-X  O   O   S-Y     B M E S, or W in place of S (BMEOW)

A name is read with its position first or last, joined to the type by `-` or `_`, in upper or lower case: `B-PER`,
`B_PER`, `b-per` and `PER-B` are the same label. Bare positions (`B`, `I`, `O`) mark entities without a type.
"""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

POSITIONS = {"O": "O", "B": "B", "I": "I", "M": "I", "L": "E", "E": "E", "U": "S", "S": "S", "W": "S"}
LETTER = "[BIMLEUSWbimleusw]"
LABEL = re.compile(
    rf"(?P<bare>{LETTER}|[Oo])|(?P<first>{LETTER})[-_](?P<type>.+)|(?P<stem>.+)[-_](?P<last>{LETTER})", re.DOTALL
)


class Label(NamedTuple):
    """A label of a scheme: its letter in upper case, `O` outside of entities, and the type of entity, `""` without."""

    letter: str
    type: str

    @property
    def position(self) -> str:
        """Place in the entity whatever the letters: `B` first, `I` inner, `E` last or `S` only word, or `O`."""
        return POSITIONS[self.letter]


class Span(NamedTuple):
    """An entity: words `start` to `end`, the latter excluded, of a sentence."""

    start: int
    end: int
    type: str


def parse_label(name: str) -> Label | None:
    """Read a label's name; `None` if it has no position that a scheme knows."""
    part = LABEL.fullmatch(name)
    if part is None:
        return None
    letter = part["bare"] or part["first"] or part["last"]
    return Label(letter.upper(), part["type"] or part["stem"] or "")


def find_scheme(names: Collection[str]) -> str | None:
    """Return the scheme of a set of labels, in the table above, or `None` if they are labels of another kind.

    A set that holds both `B` and `I` may be used as BIO or as IOB1, and is `BIO` here. One name that cannot be read
    makes the result `None`. Names other than those written like `B-PER` may look like labels by chance (`e-mail`, `S`
    and `O`), so they are a scheme only with a `B`, or with `I` alone.
    """
    labels = [parse_label(name) for name in names]
    letters = {label.letter for label in labels if label} - {"O"}
    if None in labels or not letters:
        return None
    is_usual = all(re.fullmatch("O|[BIMLEUSW]-.+", name) for name in names)
    is_mixed = len({bool(label.type) for label in labels if label.letter != "O"}) > 1
    if is_mixed or not (is_usual or "B" in letters or letters == {"I"}):
        return None
    if letters & {"L", "U"}:
        return "BIOUL"
    if "M" in letters:
        return "BMES"
    if letters & {"E", "S", "W"}:
        return "BIOES"
    return "BIO" if "B" in letters else "IOB1"


def spans(names: Sequence[str]) -> list[Span]:
    """Return the entities of a sentence, by the lenient rule of conlleval, from its labels of whatever scheme.

    An entity begins at a `B` or an only word, and also at an inner or last word that follows `O`, an end, or another
    type; so stray inner labels and IOB1 are read. It ends where the next word does not go on with its type.
    `ValueError` for a name that is no label of a scheme.
    """
    found, start, previous = [], 0, Label("O", "")
    for index, name in enumerate([*names, "O"]):
        label = parse_label(name)
        if label is None:
            raise ValueError(f"{name!r} is no label of a scheme: it must be O, or a position and a type as in B-PER")
        goes_on = previous.position in "BI" and label.position in "IE" and label.type == previous.type
        if previous.letter != "O" and not goes_on:
            found.append(Span(start, index, previous.type))
        if not goes_on:
            start = index
        previous = label
    return found


def forbidden_transitions(names: Sequence[str], device: torch.device | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the scheme of labels forbids: `(K, K)` from row to column, `(K,)` at start, `(K,)` at end, all bool.

    An inner or last word goes on with an entity of its type. Where the scheme marks ends (BIOUL, BIOES, BMES), an
    entity moreover has to end. Names of no scheme forbid nothing, and neither does IOB1, where any `I` may begin an
    entity. Names are in the order of their ids; the result is on `device`.
    """
    scheme = find_scheme(names)
    follows_scheme = scheme not in (None, "IOB1") and "B" in (parse_label(name).letter for name in names)
    labels = [parse_label(name) if follows_scheme else Label("O", "") for name in names]
    types = [label.type for label in labels]
    kinds = torch.tensor([types.index(type) for type in types], device=device)
    opens = torch.tensor([label.position in "BI" for label in labels], dtype=torch.bool, device=device)
    continues = torch.tensor([label.position in "IE" for label in labels], dtype=torch.bool, device=device)
    goes_on = opens[:, None] & continues & (kinds[:, None] == kinds)
    must_end = torch.zeros_like(opens) if scheme == "BIO" else opens
    return (continues | must_end[:, None]) & ~goes_on, continues, must_end
