"""Metrics of entities, as conlleval and seqeval count them, of classes, values and answers: by hand and by chance."""

import random
from functools import partial

import numpy as np
import pytest
from lanes import first_fast
from reading import arguments

from hf_elmo.label_schemes import convert, strict_spans
from hf_elmo.model.label_schemes_elmo import Span, spans
from hf_elmo.training.data.word_labels import read_word_labels
from hf_elmo.training.metrics import (
    accuracy,
    class_scores,
    entity_scores,
    exact_match,
    f1_score,
    normalize_answer,
    squad_scores,
    strict_f1,
    value_scores,
)

# ---- Labels of words

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
        ("O I-PER I-PER", [Span(1, 3, "PER")], []),
        ("B-PER I-LOC", [Span(0, 1, "PER"), Span(1, 2, "LOC")], [Span(0, 1, "PER")]),
        ("B-PER B-PER I-PER", [Span(0, 1, "PER"), Span(1, 3, "PER")], [Span(0, 1, "PER"), Span(1, 3, "PER")]),
        ("B-PER L-PER U-PER", [Span(0, 2, "PER"), Span(2, 3, "PER")], [Span(0, 2, "PER"), Span(2, 3, "PER")]),
        ("S-X E-X B-X O", [Span(0, 1, "X"), Span(1, 2, "X"), Span(2, 3, "X")], [Span(0, 1, "X")]),
        ("B-creative-work I-creative-work", [Span(0, 2, "creative-work")], [Span(0, 2, "creative-work")]),
    ],
)
def test_lenient_and_strict_entities(labels, lenient, strict):
    labels = labels.split()
    assert spans(labels) == lenient
    assert strict_spans(labels, {"S": "BIOES", "U": "BIOUL"}.get(max(label[0] for label in labels), "BIO")) == strict


@pytest.mark.parametrize("places", first_fast(["BI", "BIES", "BILU"]))
@pytest.mark.parametrize("strict", first_fast([False, True]), ids=["lenient", "strict"])
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
        scheme = {"BI": "BIO", "BIES": "BIOES", "BILU": "BIOUL"}[places]
        scores = entity_scores(gold, predicted, partial(strict_spans, scheme=scheme))
        assert strict_f1(gold, predicted) == scores["f1"]
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


@pytest.mark.slow
def test_stray_labels_count_as_by_seqeval_on_a_real_corpus(data_dir):
    """559 labels of the corpus are inside no entity: all count when the reading is lenient, none when it is strict."""
    path = data_dir / "ner" / "wikineural-en" / "test.conllu.gz"
    sentences = list(read_word_labels(arguments(train_file=path, label_scheme="keep")).train["labels"])
    assert sum(len(spans(labels)) for labels in sentences) == 19116 + 559
    assert sum(len(strict_spans(labels, "BIO")) for labels in sentences) == 19116


def test_other_schemes_count_alike():
    """The same entities in BMES, and without types, have the same scores; bare labels are of one type."""
    scores = entity_scores(GOLD, PREDICTED)
    bmes = [[convert(labels, "BMES") for labels in side] for side in (GOLD, PREDICTED)]
    assert {**entity_scores(*bmes), "accuracy": 0} == {**scores, "accuracy": 0}
    assert entity_scores([["B", "I", "O"]], [["B", "O", "O"]])["f1_entity"] == 0
    assert entity_scores([["B", "I", "O"]], [["B", "I", "O"]])["f1_entity"] == 1


def test_accuracy_of_words():
    assert accuracy([["A", "B"], ["C"]], [["A", "C"], ["C"]]) == 2 / 3
    assert accuracy([], []) == 0


def test_classes():
    """Of two labels, one has an F1 of 2/3, the other of 4/5; one that is only predicted has none."""
    scores = class_scores(list("aabbb"), list("acbbb"))
    assert scores["accuracy"] == 4 / 5
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert class_scores([], []) == {}


# ---- Values


def test_values():
    # deviations -1.5 -0.5 0.5 1.5 and -2 -1 -1 4: products sum to 9, squares to 5 and 22
    # ranks 1 2 3 4 and 1 2.5 2.5 4: deviations of the latter -1.5 0 0 1.5, products 4.5, squares 5 and 4.5
    scores = value_scores([1, 2, 3, 4], [0, 1, 1, 6])
    assert scores == pytest.approx({"pearson": 9 / 110**0.5, "spearman": 4.5 / 22.5**0.5, "mse": (1 + 1 + 4 + 4) / 4})


def test_values_that_are_all_the_same_correlate_with_nothing():
    assert value_scores(np.ones(3), [1, 2, 3]) == pytest.approx({"pearson": 0, "spearman": 0, "mse": 5 / 3})


# ---- Answers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Denver\tBroncos ", "denver broncos"),
        ("a cat, an owl and the dog", "cat owl and dog"),
        ("U.S.-led", "usled"),  # punctuation leaves no gap
        ("a.m.", "am"),  # so that this is no article
        ("'the'", ""),  # and this is one
        ("theatre and banana", "theatre and banana"),
        ("the-the a\u2014an", "thethe \u2014"),  # punctuation of ASCII only; the dash leaves the articles free
        ("2,000\u00a0people", "2000 people"),
        ("\u00c9COLE d'\u00e9t\u00e9", "\u00e9cole d\u00e9t\u00e9"),
        ("The The", ""),
        ("...", ""),
        ("", ""),
    ],
)
def test_normalization(text, expected):
    assert normalize_answer(text) == expected


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("the Denver Broncos", ["Denver Broncos"], 1, 1),
        ("Denver", ["Denver Broncos"], 0, 2 / 3),  # precision 1, recall 1/2
        ("Broncos of Denver", ["Denver Broncos"], 0, 4 / 5),  # order is not looked at: 2/3 and 1
        ("Denver Denver", ["Denver Broncos"], 0, 1 / 2),  # a word counts once for each time both have it
        ("in Santa Clara, California", ["Santa Clara", "Levi's Stadium", "Santa Clara California"], 0, 6 / 7),
        ("gold", ["golden", "Gold!", "blue"], 1, 1),  # the best of several
        ("silver", ["gold", "golden"], 0, 0),
        ("the", ["the"], 1, 0),  # nothing is left of either: equal, but no common word
        ("", ["gold"], 0, 0),
        ("a b c", ["b c d", "c"], 0, 4 / 5),  # without the article: 4/5 against b c d, 2/3 against c
    ],
)
def test_scores_of_one_question(prediction, answers, exact, f1):
    assert exact_match(prediction, answers) == exact
    assert f1_score(prediction, answers) == pytest.approx(f1, abs=1e-12)


def test_scores_are_means_over_questions_with_answers():
    answers = {"1": ["gold"], "2": ["Denver Broncos", "Denver"], "3": ["1 a.m."], "4": ["no prediction"]}
    predictions = {"1": "The gold", "2": "Broncos", "3": "1", "beside": "the questions"}
    # 1: 1 and 1; 2: 0 and 2/3; 3: 0 and 2/3; 4: 0 and 0
    assert squad_scores(predictions, answers) == pytest.approx({"exact_match": 25, "f1": 100 * (1 + 4 / 3) / 4})


def test_no_questions_are_refused():
    with pytest.raises(ValueError, match="nothing to score"):
        squad_scores({"1": "gold"}, {})


# ---- SQuAD 2.0

MIXED = {"1": ["gold", "the gold"], "2": [], "3": ["Denver Broncos"], "4": []}


def test_scores_of_questions_with_and_without_an_answer():
    predictions = {"1": "Gold!", "2": "", "3": "Denver", "4": "blue"}
    # exact 1, 1, 0, 0; F1 1, 1, 2/3, 0
    assert squad_scores(predictions, MIXED) == pytest.approx(
        {
            "exact_match": 50,
            "f1": 100 * (2 + 2 / 3) / 4,
            "has_answer_exact_match": 50,
            "has_answer_f1": 100 * (1 + 2 / 3) / 2,
            "no_answer_exact_match": 50,
            "no_answer_f1": 50,
        }
    )
    assert squad_scores({}, {"1": []}) == {"exact_match": 0, "f1": 0, "no_answer_exact_match": 0, "no_answer_f1": 0}


def test_an_empty_prediction_is_wrong_where_there_is_an_answer():
    """Answers of which nothing is left once they are normalized count as no answer, as in the official evaluation."""
    scores = squad_scores({"1": "", "2": "the", "3": ""}, {"1": ["gold"], "2": [], "3": ["the"]})
    assert scores["exact_match"] == scores["f1"] == pytest.approx(100 * 2 / 3)
