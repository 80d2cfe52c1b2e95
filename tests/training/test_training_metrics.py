"""Scores of entities and of classes: as conlleval and seqeval count them, by hand and on random labels."""

import random
from functools import partial

import pytest

from hf_elmo.training.metrics import Entity, class_scores, entities, entity_scores, strict_entities

GOLD = [
    "B-PER I-PER O B-LOC".split(),
    "O B-ORG I-ORG I-ORG O".split(),
    "B-PER B-PER".split(),
]
PREDICTED = [
    "B-PER I-PER O B-ORG".split(),  # the first is right, the second has another type
    "O B-ORG I-ORG O O".split(),  # too short
    "B-PER I-PER".split(),  # one where there are two
]


def test_scores_by_hand():
    """Of 5 entities and 4 that are found, one is right."""
    scores = entity_scores(GOLD, PREDICTED)
    assert scores["precision"] == 1 / 4
    assert scores["recall"] == 1 / 5
    assert scores["f1"] == pytest.approx(2 / 9)
    assert scores["accuracy"] == 8 / 11
    assert scores["f1_PER"] == pytest.approx(2 / 5)
    assert scores["f1_LOC"] == scores["f1_ORG"] == 0


def test_nothing_to_count_is_0():
    scores = entity_scores([["O", "O"]], [["O", "O"]])
    assert (scores["precision"], scores["recall"], scores["f1"], scores["accuracy"]) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("labels", "lenient", "strict"),
    [
        ("O I-PER I-PER", [Entity("PER", 1, 3)], []),
        ("B-PER I-LOC", [Entity("PER", 0, 1), Entity("LOC", 1, 2)], [Entity("PER", 0, 1)]),
        ("B-PER B-PER I-PER", [Entity("PER", 0, 1), Entity("PER", 1, 3)], [Entity("PER", 0, 1), Entity("PER", 1, 3)]),
        ("B-PER L-PER U-PER", [Entity("PER", 0, 2), Entity("PER", 2, 3)], [Entity("PER", 0, 2), Entity("PER", 2, 3)]),
        ("S-X E-X B-X O", [Entity("X", 0, 1), Entity("X", 1, 2), Entity("X", 2, 3)], [Entity("X", 0, 1)]),
        ("B-creative-work I-creative-work", [Entity("creative-work", 0, 2)], [Entity("creative-work", 0, 2)]),
    ],
)
def test_lenient_and_strict_entities(labels, lenient, strict):
    labels = labels.split()
    assert entities(labels) == lenient
    assert strict_entities(labels, marks_ends=bool({label[0] for label in labels} & set("LUES"))) == strict


@pytest.mark.parametrize("places", ["BI", "BIES", "BILU"])
@pytest.mark.parametrize("strict", [False, True], ids=["lenient", "strict"])
def test_random_labels_score_as_by_seqeval(places, strict):
    """Labels by chance break every rule of their scheme, so that each is exercised."""
    seqeval = pytest.importorskip("seqeval.metrics")
    from seqeval.scheme import BILOU, IOB2, IOBES

    chance = random.Random(0)
    labels = ["O", *(f"{place}-{type}" for place in places for type in ("PER", "LOC", "creative-work"))]
    gold, predicted = (
        [[chance.choice(labels) for _ in range(length)] for length in range(1, 40) for _ in range(20)] for _ in range(2)
    )
    for guesses, sentence in zip(predicted, gold):  # most labels are right
        guesses[:] = [label if chance.random() < 0.8 else guess for label, guess in zip(sentence, guesses)]
    if strict:
        options = {"mode": "strict", "scheme": {"BI": IOB2, "BIES": IOBES, "BILU": BILOU}[places]}
        scores = entity_scores(gold, predicted, partial(strict_entities, marks_ends=places != "BI"))
    else:
        options = {}
        scores = entity_scores(gold, predicted)
        if places == "BILU":  # which seqeval's lenient mode does not know: ends by the names that it does
            gold, predicted = (
                [[label.replace("L-", "E-").replace("U-", "S-") for label in labels] for labels in side]
                for side in (gold, predicted)
            )
    assert 0.2 < scores["f1"] < 0.95
    assert scores["f1"] == pytest.approx(seqeval.f1_score(gold, predicted, **options))
    assert scores["precision"] == pytest.approx(seqeval.precision_score(gold, predicted, **options))
    assert scores["recall"] == pytest.approx(seqeval.recall_score(gold, predicted, **options))
    by_type = seqeval.classification_report(gold, predicted, output_dict=True, zero_division=0, **options)
    for type in ("PER", "LOC", "creative-work"):
        assert scores[f"f1_{type}"] == pytest.approx(by_type[type]["f1-score"])


def test_stray_labels_count_as_by_seqeval_on_a_real_corpus(data_dir):
    """559 labels of the corpus are inside no entity: all count when the reading is lenient, none when it is strict."""
    from hf_elmo.training.conll import read_conll

    sentences = [sentence.labels for sentence in read_conll(str(data_dir / "ner" / "wikineural-en" / "test.conllu.gz"))]
    assert sum(len(entities(labels)) for labels in sentences) == 19116 + 559
    assert sum(len(strict_entities(labels)) for labels in sentences) == 19116


def test_classes():
    """Of two labels, one has an F1 of 2/3, the other of 4/5; one that is only predicted has none."""
    scores = class_scores(list("aabbb"), list("acbbb"))
    assert scores["accuracy"] == 4 / 5
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert class_scores([], []) == {}
