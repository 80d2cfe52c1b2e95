"""Exact match and F1 of answers, by the rules of the official evaluation of SQuAD 1.1 (Rajpurkar et al. 2016).

Both compare normalized texts: without case, ASCII punctuation, English articles and repeated white space. A question
with several reference answers counts by the best of them; one without a prediction counts 0.
"""

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalize_answer(text: str) -> str:
    """The text in lower case, without punctuation, then without articles, its words parted by single spaces.

    Punctuation goes first and leaves no gap: "the U.S.-led" has the words `usled`, and "a.m." is no article.
    """
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(prediction: str, answers: Iterable[str]) -> float:
    """1 if the prediction is one of the answers once both are normalized, else 0."""
    prediction = normalize_answer(prediction)
    return float(any(prediction == normalize_answer(answer) for answer in answers))


def f1_score(prediction: str, answers: Iterable[str]) -> float:
    """The best harmonic mean of precision and recall of the prediction's words, order aside, over all answers.

    Where nothing is left of either text there is no common word, and the score is 0, as in the official evaluation.
    """
    return max((word_f1(prediction, answer) for answer in answers), default=0.0)


def word_f1(prediction: str, answer: str) -> float:
    predicted, expected = (Counter(normalize_answer(text).split()) for text in (prediction, answer))
    common = (predicted & expected).total()
    return 2 * common / (predicted.total() + expected.total()) if common else 0.0


def squad_scores(predictions: Mapping[str, str], answers: Mapping[str, Iterable[str]]) -> dict[str, float]:
    """`exact_match` and `f1` in percent, over all questions that have reference answers.

    Args:
        predictions (`Mapping[str, str]`): The answer to each question, by the question's id.
        answers (`Mapping[str, Iterable[str]]`): The reference answers of each question.

    Raises:
        `ValueError`: if there are no questions.
    """
    if not answers:
        raise ValueError("there is no question with a reference answer: nothing to score")
    scores = {"exact_match": 0.0, "f1": 0.0}
    for question, texts in answers.items():
        texts = list(texts)
        if question in predictions:
            scores["exact_match"] += exact_match(predictions[question], texts)
            scores["f1"] += f1_score(predictions[question], texts)
    return {name: 100 * total / len(answers) for name, total in scores.items()}
