"""Metrics of predictions: entities, roles, classes, values, and answers to questions.

Entities are counted as conlleval and seqeval do: leniently, where stray `I-` labels and IOB1 count as entities; or
strictly, as seqeval's strict mode, where an entity counts only if all of its labels follow the scheme.

Semantic roles are counted as `srl-eval.pl` of CoNLL-2005 does (Carreras and Màrquez 2005). An argument is right if the
reference has one of the same predicate with the same role and the same words. Its pieces count together: `C-ARG1`
continues the last `ARG1` before it, and without one is itself an `ARG1`. References such as `R-ARG1` are roles of their
own. The predicate, `V`, and what continues it, `C-V`, do not count.

Answers are compared by the rules of the official evaluation of SQuAD (Rajpurkar et al. 2016, 2018): texts without case,
ASCII punctuation, English articles and repeated white space. A question with several reference answers counts by the
best of them, one without a prediction counts 0.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..label_schemes import strict_spans
from ..model.label_schemes_elmo import Span, find_scheme, spans

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(?:a|an|the)\b")
PREDICATE, CONTINUED = "V", "C-"


class Rates(NamedTuple):
    precision: float
    recall: float
    f1: float


def rates(right: int, predicted: int, gold: int) -> Rates:
    """Return the rates of so many right, predicted and true things. A rate of nothing is 0."""
    return Rates(
        right / predicted if predicted else 0.0,
        right / gold if gold else 0.0,
        2 * right / (predicted + gold) if predicted + gold else 0.0,
    )


def rates_of_sets(sides: Iterable[Iterable[set]], kind: Callable[[Any], str] = str) -> tuple[Rates, dict[str, float]]:
    """Return the rates of things in sets, right and predicted ones of each example, and the F1 of each kind."""
    gold, predicted = sides
    right, in_gold, in_predicted = Counter(), Counter(), Counter()
    for expected, found in zip(gold, predicted, strict=True):
        for counter, things in ((right, expected & found), (in_gold, expected), (in_predicted, found)):
            counter.update(map(kind, things))
    by_kind = {
        name: rates(right[name], in_predicted[name], in_gold[name]).f1 for name in sorted(in_gold | in_predicted)
    }
    return rates(right.total(), in_predicted.total(), in_gold.total()), by_kind


# ---- Labels of words


def entity_scores(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    find: Callable[[Sequence[str]], list[Span]] = spans,
) -> dict[str, float]:
    """Return precision, recall and F1 of entities over all sentences, the F1 of each type, and the accuracy of labels.

    An entity is right if the reference has one with the same words and the same type. Labels may be of any scheme;
    `find` returns the entities of a sentence.
    """
    entities = ([set(find(labels)) for labels in side] for side in (gold, predicted))
    total, by_type = rates_of_sets(entities, lambda entity: entity.type or "entity")
    return {**total._asdict(), "accuracy": accuracy(gold, predicted)} | {
        f"f1_{name}": f1 for name, f1 in by_type.items()
    }


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


class Argument(NamedTuple):
    """An argument of a predicate: its role and its pieces, each the first word and the word after the last."""

    role: str
    pieces: tuple[tuple[int, int], ...]


def arguments_of(labels: Sequence[str]) -> list[Argument]:
    """Return the arguments that labels mark, in any label scheme, the predicate itself as one with the role `V`."""
    found: list[Argument] = []
    latest: dict[str, int] = {}
    for span in spans(labels):
        role, piece = span.type.removeprefix(CONTINUED), ((span.start, span.end),)
        if role != span.type and role in latest:
            found[latest[role]] = Argument(role, found[latest[role]].pieces + piece)
        else:
            latest[role] = len(found)
            found.append(Argument(role, piece))
    return found


def role_scores(gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> dict[str, float]:
    """Return `precision`, `recall` and `f1` over all arguments, and `f1_<role>`.

    `perfect_predicates` is the fraction of predicates of which all arguments are right and none is too many. `piece_f1`
    counts each piece by itself, `C-ARG1` as a role of its own, as scorers of labeled spans do; it gives credit for one
    piece of a discontinuous argument, and counts each piece that is wrong. Both sides are labels of each predicate.
    """
    sides = [list(gold), list(predicted)]
    arguments = [[{one for one in arguments_of(labels) if one.role != PREDICATE} for labels in side] for side in sides]
    pieces = [
        [{span for span in spans(labels) if span.type.removeprefix(CONTINUED) != PREDICATE} for labels in side]
        for side in sides
    ]
    total, by_role = rates_of_sets(arguments, lambda argument: argument.role)
    perfect = [expected == found for expected, found in zip(*arguments)]
    return {
        **total._asdict(),
        "perfect_predicates": sum(perfect) / len(perfect) if perfect else 0.0,
        "piece_f1": rates_of_sets(pieces)[0].f1,
        **{f"f1_{role}": f1 for role, f1 in by_role.items()},
    }


# ---- Classes and values


def class_scores(gold: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """Return the accuracy of one label per text, `f1_<label>` of each label in `gold`, and `macro_f1`, their mean."""
    if not gold:
        return {}
    scores = multi_label_scores([[label] for label in gold], [[label] for label in predicted])
    del scores["micro_f1"]
    return {"accuracy": scores.pop("accuracy"), **scores}


def multi_label_scores(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return metrics of any number of labels per text.

    `micro_f1` is over all labels, `macro_f1` the mean over the labels in `gold`, and `accuracy` that of whole sets.
    """
    sets = [list(map(set, side)) for side in (gold, predicted)]
    total, f1 = rates_of_sets(sets)
    by_label = {f"f1_{label}": f1[label] for label in sorted(set().union(*sets[0]))}
    return {
        "micro_f1": total.f1,
        "macro_f1": sum(by_label.values()) / len(by_label) if by_label else 0.0,
        "accuracy": sum(labels == guesses for labels, guesses in zip(*sets)) / len(gold),
        **by_label,
    }


def value_scores(predicted: Sequence[float], gold: Sequence[float]) -> dict[str, float]:
    """Return Pearson's and Spearman's correlation and the mean squared error, as SemEval-2014 task 1 does.

    A correlation with values that are all the same is not defined, and counts 0.
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
    predicted, best = Counter(normalize_answer(prediction).split()), 0.0
    for answer in answers:
        expected = Counter(normalize_answer(answer).split())
        if common := (predicted & expected).total():
            best = max(best, 2 * common / (predicted.total() + expected.total()))
    return best


def squad_scores(predictions: Mapping[Any, str], answers: Mapping[Any, Sequence[str]]) -> dict[str, float]:
    """Return `exact_match` and `f1` in percent, over all questions.

    If some questions have no answer, these are the metrics of SQuAD 2.0, where such a question is right if the
    prediction is empty; then `has_answer_` and `no_answer_` with both are the means over either kind of questions.

    Args:
        predictions: The answer to each question, by the question's id.
        answers: The reference answers of each question; none if the text has no answer.
    """
    if not answers:
        raise ValueError("there is no question with a reference answer: nothing to score")
    metrics: dict[str, dict[Any, float]] = {"exact_match": {}, "f1": {}}
    is_version_2 = not all(answers.values())
    for question, texts in answers.items():
        prediction, scorer = predictions.get(question), f1_score
        if is_version_2:
            texts = [text for text in texts if normalize_answer(text)] or [""]
            if prediction is None or not normalize_answer(prediction) or texts == [""]:
                scorer = exact_match
        for name, score in (("exact_match", exact_match), ("f1", scorer)):
            metrics[name][question] = 0.0 if prediction is None else score(prediction, texts)
    kinds = {"": [*answers]}
    if is_version_2:
        kinds["has_answer_"] = [question for question, texts in answers.items() if texts]
        kinds["no_answer_"] = [question for question, texts in answers.items() if not texts]
    return {
        f"{kind}{name}": 100 * sum(values[one] for one in questions) / len(questions)
        for kind, questions in kinds.items()
        for name, values in metrics.items()
        if questions
    }
