"""Exact match and F1 of answers against cases worked out by hand from the rules of SQuAD's official evaluation."""

import pytest

from hf_elmo.training.squad_metrics import exact_match, f1_score, normalize_answer, squad_scores


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
