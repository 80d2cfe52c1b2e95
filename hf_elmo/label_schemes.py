"""Labels of entities in another scheme: which one sentences use, and the same entities in labels of another.

The schemes are those of `model.label_schemes_elmo`, which reads labels and finds the entities that they mark.
"""

from collections.abc import Iterable, Sequence
from functools import cache

from .model.label_schemes_elmo import Span, find_scheme, parse_label, spans

# Letters of the first, an inner, the last and the only word of an entity
SCHEMES = {"BIO": "BIIB", "IOB1": "IIII", "BIOUL": "BILU", "BIOES": "BIES", "BMES": "BMES"}
ALIASES = {"IOB2": "BIO", "BILOU": "BIOUL", "IOBES": "BIOES", "BMESO": "BMES"}


def find_used_scheme(sentences: Iterable[Sequence[str]]) -> str | None:
    """Return the scheme that the labels of sentences follow, which separates IOB1 from BIO by their use.

    It is IOB1 if no entity begins with `B` but those that follow an entity of the same type.
    """
    names, needless, parse = set(), False, cache(parse_label)  # a corpus has few labels, each of them many times
    for sentence in sentences:
        names.update(sentence)
        previous = None
        for name in sentence:
            label = parse(name)
            if label and label.position == "B":
                needless |= previous is None or previous.position == "O" or previous.type != label.type
            previous = label
    scheme = find_scheme(names)
    has_inner = any(label and label.position == "I" for label in map(parse_label, names))
    return "IOB1" if scheme == "BIO" and has_inner and not needless else scheme


def strict_spans(names: Sequence[str], scheme: str) -> list[Span]:
    """Return those entities of a sentence whose every label is the one that the scheme gives it."""
    own, expected = ([parse_label(name).position for name in part] for part in (names, convert(names, scheme)))
    return [span for span in spans(names) if own[span.start : span.end] == expected[span.start : span.end]]


def convert(names: Sequence[str], to: str) -> list[str]:
    """Return the same entities in labels of another scheme, written as `B-PER`, or as `B` without a type.

    Args:
        names: Labels of one sentence, of any scheme.
        to: A key of `SCHEMES`, or another name of one, in any case.
    """
    scheme, converted, previous = canonical_scheme(to), ["O"] * len(names), Span(-1, -1, "")
    for span in spans(names):
        first, inner, last, only = SCHEMES[scheme]
        length = span.end - span.start
        letters = [first, *inner * (length - 2), last] if length > 1 else [only]
        if scheme == "IOB1" and (previous.end, previous.type) == (span.start, span.type):
            letters[0] = "B"
        converted[span.start : span.end] = [join_label(letter, span.type) for letter in letters]
        previous = span
    return converted


def labels_of_scheme(types: Iterable[str], scheme: str) -> list[str]:
    """Return all labels of a scheme for entities of these types: `O`, then the types in order, each with its letters.

    Args:
        types: Types of entities; `""` gives bare letters.
        scheme: A key of `SCHEMES`, or another name of one, in any case.
    """
    scheme = canonical_scheme(scheme)
    letters = dict.fromkeys("BI" if scheme == "IOB1" else SCHEMES[scheme])
    return ["O", *(join_label(letter, type) for type in sorted(set(types)) for letter in letters)]


def canonical_scheme(name: str) -> str:
    """Return the key of `SCHEMES` for a scheme's name; `ValueError` for any other."""
    scheme = ALIASES.get(name.upper(), name.upper())
    if scheme not in SCHEMES:
        raise ValueError(f"a label scheme must be one of {', '.join([*SCHEMES, *ALIASES])}, but is {name!r}")
    return scheme


def join_label(letter: str, type: str) -> str:
    """Write a label: `B-PER`, or `B` without a type."""
    return f"{letter}-{type}" if type else letter
