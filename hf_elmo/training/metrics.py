"""Metrics of predictions: entities, classes, values, and answers to questions.

Entities are counted as conlleval and seqeval do: leniently, where stray `I-` labels and IOB1 count as entities; or
strictly, as seqeval's strict mode, where an entity counts only if all of its labels follow the scheme.

Answers are compared by the rules of the official evaluation of SQuAD (Rajpurkar et al. 2016, 2018): texts without case,
ASCII punctuation, English articles and repeated white space. A question with several reference answers counts by the
best of them, one without a prediction counts 0.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from ..label_schemes import strict_spans
from ..model.label_schemes_elmo import Span, find_scheme, spans

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(?:a|an|the)\b")

# ---- Labels of words


def entity_scores(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    find: Callable[[Sequence[str]], list[Span]] = spans,
) -> dict[str, float]:
    """Return precision, recall and F1 of entities over all sentences, the F1 of each type, and the accuracy of labels.

    An entity is right if the reference has one with the same words and the same type. A rate of nothing is 0.

    Args:
        gold, predicted: Labels of each sentence, of any scheme.
        find: Returns the entities of a sentence.
    """
    right, in_gold, in_predicted = Counter(), Counter(), Counter()
    for labels, guesses in zip(gold, predicted, strict=True):
        expected, found = set(find(labels)), set(find(guesses))
        right.update(entity.type for entity in expected & found)
        in_gold.update(entity.type for entity in expected)
        in_predicted.update(entity.type for entity in found)
    precision, recall, f1 = rates(right.total(), in_predicted.total(), in_gold.total())
    scores = {"precision": precision, "recall": recall, "f1": f1, "accuracy": accuracy(gold, predicted)}
    for type in sorted(in_gold | in_predicted):
        scores[f"f1_{type}" if type else "f1_entity"] = rates(right[type], in_predicted[type], in_gold[type])[2]
    return scores


def strict_f1(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float:
    """Return the F1 of those entities that have, in all their words, the labels that the scheme demands."""
    scheme = find_scheme({label for side in (gold, predicted) for labels in side for label in labels}) or "BIO"
    scheme = "BIO" if scheme == "IOB1" else scheme
    return entity_scores(gold, predicted, lambda labels: strict_spans(labels, scheme))["f1"]


def accuracy(gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> float:
    """Return the fraction of words with the right label."""
    same = [
        label == guess
        for labels, guesses in zip(gold, predicted, strict=True)
        for label, guess in zip(labels, guesses, strict=True)
    ]
    return sum(same) / len(same) if same else 0.0


def rates(right: int, predicted: int, gold: int) -> tuple[float, float, float]:
    """Return precision, recall and F1."""
    return (
        right / predicted if predicted else 0.0,
        right / gold if gold else 0.0,
        2 * right / (predicted + gold) if predicted + gold else 0.0,
    )


# ---- Classes and values


def class_scores(gold: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """Return the accuracy of one label per text, `f1_<label>` of each label in `gold`, and `macro_f1`, their mean."""
    if not gold:
        return {}
    right = Counter(label for label, guess in zip(gold, predicted, strict=True) if label == guess)
    in_gold, in_predicted = Counter(gold), Counter(predicted)
    by_label = {f"f1_{label}": rates(right[label], in_predicted[label], in_gold[label])[2] for label in sorted(in_gold)}
    return {"accuracy": right.total() / len(gold), "macro_f1": sum(by_label.values()) / len(by_label), **by_label}


def multi_label_scores(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return metrics of any number of labels per text.

    `micro_f1` is over all labels, `macro_f1` the mean over the labels in `gold`, and `accuracy` that of whole sets.
    """
    sides = [Counter(label for labels in side for label in set(labels)) for side in (gold, predicted)]
    right = Counter(label for labels, guesses in zip(gold, predicted, strict=True) for label in {*labels} & {*guesses})
    in_gold, in_predicted = sides
    by_label = {f"f1_{label}": rates(right[label], in_predicted[label], in_gold[label])[2] for label in sorted(in_gold)}
    same = sum(set(labels) == set(guesses) for labels, guesses in zip(gold, predicted))
    return {
        "micro_f1": rates(right.total(), in_predicted.total(), in_gold.total())[2],
        "macro_f1": sum(by_label.values()) / len(by_label) if by_label else 0.0,
        "accuracy": same / len(gold),
        **by_label,
    }


def value_scores(predicted: Sequence[float], gold: Sequence[float]) -> dict[str, float]:
    """Return Pearson's and Spearman's correlation and the mean squared error, as SemEval-2014 task 1 does.

    A correlation with values that are all the same is not defined, and counts 0.

    Args:
        predicted, gold (`(N,)`): Values.
    """
    predicted, gold = np.asarray(predicted, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    return {
        "pearson": correlation(predicted, gold),
        "spearman": correlation(ranks(predicted), ranks(gold)),
        "mse": float(((predicted - gold) ** 2).mean()),
    }


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one - one.mean(), other - other.mean()
    norms = np.sqrt((one**2).sum() * (other**2).sum())
    return float((one * other).sum() / norms) if norms else 0.0


def ranks(values: np.ndarray) -> np.ndarray:
    """Return positions in ascending order; equal values share the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[group]


# ---- Answers


def normalize_answer(text: str) -> str:
    """Return the text in lower case, without punctuation, then without articles, its words separated by single spaces.

    Punctuation is removed first and leaves no gap: "the U.S.-led" has the words `usled`, and "a.m." is no article.
    """
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(prediction: str, answers: Iterable[str]) -> float:
    """Return 1 if the prediction is one of the answers once both are normalized, else 0."""
    prediction = normalize_answer(prediction)
    return float(any(prediction == normalize_answer(answer) for answer in answers))


def f1_score(prediction: str, answers: Iterable[str]) -> float:
    """Return the best F1 of the prediction's words, order aside, over all answers.

    Without a common word it is 0, as in the official evaluation of SQuAD 1.1, even where nothing is left of either.
    """
    return max((word_f1(prediction, answer) for answer in answers), default=0.0)


def word_f1(prediction: str, answer: str) -> float:
    predicted, expected = (Counter(normalize_answer(text).split()) for text in (prediction, answer))
    common = (predicted & expected).total()
    return 2 * common / (predicted.total() + expected.total()) if common else 0.0


def squad_scores(
    predictions: Mapping[str, str],
    answers: Mapping[str, Sequence[str]],
    no_answer_scores: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Return `exact_match` and `f1` in percent, over all questions.

    If some questions have no answer, these are the metrics of SQuAD 2.0, where such a question is right if the
    prediction is empty; then `has_answer_` and `no_answer_` with both are the means over either kind of questions.

    Args:
        predictions: The answer to each question, by the question's id.
        answers: The reference answers of each question; none if the text has no answer.
        no_answer_scores: By id, the score that there is no answer minus that of the best answer. With them,
            `best_exact_match` and `best_f1` are the scores with the best threshold, `best_..._threshold`, above which
            a prediction counts as empty. `predictions` should then have an answer to every question.
    """
    if not answers:
        raise ValueError("there is no question with a reference answer: nothing to score")
    exact, f1 = {}, {}
    for question, texts in answers.items():
        prediction = predictions.get(question)
        if all(answers.values()):
            exact[question] = 0.0 if prediction is None else exact_match(prediction, texts)
            f1[question] = 0.0 if prediction is None else f1_score(prediction, texts)
            continue
        texts = [text for text in texts if normalize_answer(text)] or [""]
        exact[question] = 0.0 if prediction is None else exact_match(prediction, texts)
        is_empty = prediction is None or not normalize_answer(prediction) or texts == [""]
        f1[question] = exact[question] if is_empty else f1_score(prediction, texts)
    metrics = {"exact_match": exact, "f1": f1}
    scores = {name: percent(values.values()) for name, values in metrics.items()}
    if all(answers.values()):
        return scores
    for kind, has_answer in (("has_answer", True), ("no_answer", False)):
        chosen = [question for question, texts in answers.items() if bool(texts) == has_answer]
        if chosen:
            scores |= {f"{kind}_{name}": percent(values[one] for one in chosen) for name, values in metrics.items()}
    if no_answer_scores is not None:
        for name, values in metrics.items():
            best, threshold = best_threshold(predictions, answers, values, no_answer_scores)
            scores |= {f"best_{name}": best, f"best_{name}_threshold": threshold}
    return scores


def percent(values: Iterable[float]) -> float:
    values = list(values)
    return 100 * sum(values) / len(values)


def best_threshold(
    predictions: Mapping[str, str],
    answers: Mapping[str, Sequence[str]],
    values: Mapping[str, float],
    no_answer_scores: Mapping[str, float],
) -> tuple[float, float]:
    """Return the best mean in percent, and its threshold: predictions with a higher no-answer score count as empty."""
    current = best = float(sum(not texts for texts in answers.values()))
    threshold = 0.0
    for question in sorted(answers, key=no_answer_scores.__getitem__):
        current += values[question] if answers[question] else -bool(predictions[question])
        if current > best:
            best, threshold = current, no_answer_scores[question]
    return 100 * best / len(answers), threshold
