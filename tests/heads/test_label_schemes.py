"""Label schemes: names of labels in every form, the entities they mark, and the same entities in another scheme."""

import random

import pytest
from lanes import first_fast

from hf_elmo.label_schemes import SCHEMES, convert, find_used_scheme, labels_of_scheme, strict_spans
from hf_elmo.model.label_schemes_elmo import Label, Span, find_scheme, parse_label, spans

ENTITIES = [Span(0, 2, "PER"), Span(2, 3, "PER"), Span(4, 7, "LOC"), Span(7, 8, "ORG")]
SENTENCE = {
    "IOB1": "I-PER I-PER B-PER O I-LOC I-LOC I-LOC I-ORG O",
    "BIO": "B-PER I-PER B-PER O B-LOC I-LOC I-LOC B-ORG O",
    "BIOUL": "B-PER L-PER U-PER O B-LOC I-LOC L-LOC U-ORG O",
    "BIOES": "B-PER E-PER S-PER O B-LOC I-LOC E-LOC S-ORG O",
    "BMES": "B-PER E-PER S-PER O B-LOC M-LOC E-LOC S-ORG O",
}
all_schemes = pytest.mark.parametrize("scheme", SCHEMES)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("O", Label("O", "")),
        ("o", Label("O", "")),
        ("B-PER", Label("B", "PER")),
        ("B_PER", Label("B", "PER")),
        ("b-per", Label("B", "per")),
        ("PER-B", Label("B", "PER")),
        ("work_i", Label("I", "work")),
        ("U-creative-work", Label("U", "creative-work")),
        ("B-I", Label("B", "I")),
        ("M", Label("M", "")),
        ("NOUN", None),
        ("0", None),
        ("", None),
        ("X-PER", None),
        ("B-", None),
    ],
)
def test_names_of_labels(name, label):
    assert parse_label(name) == label


@pytest.mark.parametrize(
    ("names", "scheme"),
    [
        ("O B-PER I-PER", "BIO"),
        ("O I-PER I-LOC", "IOB1"),
        ("B-X O L-X I-X U-X", "BIOUL"),
        ("O B-X E-X S-X I-X", "BIOES"),
        ("O S-X", "BIOES"),
        ("B-X M-X E-X S-X O", "BMES"),
        ("B M E S", "BMES"),
        ("B I O", "BIO"),
        ("O I", "IOB1"),
        ("O PER-B PER-I", "BIO"),
        ("O b_per i_per", "BIO"),
        ("O", None),
        ("", None),
        ("O B-PER 0", None),
        ("O NOUN VERB", None),
        ("O PER LOC", None),
        ("S O", None),
        ("o e-mail s-bahn", None),
        ("B I-PER O", None),
    ],
)
def test_scheme_of_a_set_of_labels(names, scheme):
    assert find_scheme(names.split()) == scheme


@all_schemes
def test_entities_of_a_sentence(scheme):
    labels = SENTENCE[scheme].split()
    assert spans(labels) == strict_spans(labels, scheme) == ENTITIES
    assert find_used_scheme([labels]) == scheme
    for other in SCHEMES:
        assert convert(labels, other) == SENTENCE[other].split()
    assert convert(labels, {"BIOUL": "bilou", "BIO": "iob2", "BIOES": "IOBES"}.get(scheme, scheme)) == labels


@pytest.mark.parametrize("scheme", first_fast(SCHEMES, 2))
@pytest.mark.parametrize(
    "types", [("PER", "LOC", "creative-work"), pytest.param(("",), marks=pytest.mark.slow)], ids=["typed", "bare"]
)
def test_random_labels_keep_their_entities_in_every_scheme(scheme, types):
    """Labels by chance break every rule; what they mean leniently is kept, and is then strict as well."""
    chance = random.Random(0)
    labels = labels_of_scheme(types, scheme)
    assert labels[0] == "O"
    assert find_scheme(labels) in (scheme, "BIO")  # the set alone does not tell IOB1
    for length in range(1, 60):
        sentence = chance.choices(labels, k=length)
        for other in SCHEMES:
            converted = convert(sentence, other)
            assert set(converted) <= set(labels_of_scheme(types, other))
            assert spans(converted) == strict_spans(converted, other) == spans(sentence)


@pytest.mark.parametrize(
    ("labels", "lenient", "strict"),
    [
        ("O I-PER I-PER", [Span(1, 3, "PER")], []),
        ("B-PER I-LOC", [Span(0, 1, "PER"), Span(1, 2, "LOC")], [Span(0, 1, "PER")]),
        ("B-PER B-PER I-PER", [Span(0, 1, "PER"), Span(1, 3, "PER")], [Span(0, 1, "PER"), Span(1, 3, "PER")]),
        ("S-X E-X B-X O", [Span(0, 1, "X"), Span(1, 2, "X"), Span(2, 3, "X")], [Span(0, 1, "X")]),
        ("B I O I", [Span(0, 2, ""), Span(3, 4, "")], [Span(0, 2, "")]),
    ],
)
def test_lenient_and_strict(labels, lenient, strict):
    labels = labels.split()
    assert spans(labels) == lenient
    assert strict_spans(labels, "BIOES" if "S-X" in labels else "BIO") == strict


def test_stray_inner_words_do_not_make_it_iob1():
    assert find_used_scheme([["O", "B-PER", "I-PER"], ["O", "I-LOC"]]) == "BIO"
    assert find_used_scheme([["O", "I-PER", "B-PER"], ["O", "I-LOC"]]) == "IOB1"
    assert find_used_scheme([["B-PER"]]) == "BIO"
    assert find_used_scheme([["DET", "NOUN"]]) is None


def test_names_of_no_scheme_are_refused():
    with pytest.raises(ValueError, match="'0' is no label of a scheme: it must be O, or a position and a type"):
        spans(["B-PER", "0"])
    with pytest.raises(ValueError, match=r"a label scheme must be one of BIO, IOB1, .* but is 'bioxx'"):
        convert(["O"], "bioxx")
