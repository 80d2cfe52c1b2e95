"""Counts of wrong predictions, which are written beside the results and drawn.

    confusions  `labels`, and `counts` of each right label (rows) and predicted label (columns)
    outcomes    `groups`, such as types of entities, and for each outcome, the right one first, its count in each group
    values      pairs of `right` and `predicted` values

Each says in `units` what is counted.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..model.label_schemes_elmo import Span, spans

SHOWN = 15  # labels or groups; all others are one
OTHERS = "(others)"
SAMPLE = 500  # values at most
RIGHT, OTHER_TYPE, OTHER_PLACE, MISSED, INVENTED = "right", "other type", "other boundary", "missed", "invented"


def confusions(pairs: Iterable[tuple[str, str]], units: str) -> dict[str, Any]:
    """Count pairs of right and predicted labels; of many labels, the rare ones are one."""
    counts = Counter(pairs)
    frequent = Counter()
    for (right, predicted), count in counts.items():
        frequent[right] += count
        frequent[predicted] += count
    labels = [label for label, _ in frequent.most_common()]
    if len(labels) > SHOWN:
        labels = labels[: SHOWN - 1]
    labels = sorted(labels)
    shown = labels if len(frequent) <= SHOWN else [*labels, OTHERS]
    places = {label: place for place, label in enumerate(shown)}
    table = [[0] * len(shown) for _ in shown]
    for (right, predicted), count in counts.items():
        table[places.get(right, len(shown) - 1)][places.get(predicted, len(shown) - 1)] += count
    return {"units": units, "labels": shown, "counts": table}


def outcomes(counts: Mapping[str, Counter[str]], order: Sequence[str], units: str) -> dict[str, Any]:
    """Return the counts of each group's outcomes; the largest groups first, those beyond `SHOWN` as one.

    Args:
        counts: For each group, how often it had which outcome.
        order: All outcomes, the right one first.
    """
    groups = sorted(counts, key=lambda group: (-counts[group].total(), group))
    merged = {group: counts[group] for group in groups[:SHOWN]}
    if len(groups) > SHOWN:
        merged = {group: counts[group] for group in groups[: SHOWN - 1]}
        merged[OTHERS] = sum((counts[group] for group in groups[SHOWN - 1 :]), Counter())
    by_outcome = {name: [merged[group][name] for group in merged] for name in order}
    return {"units": units, "groups": list(merged), "outcomes": by_outcome}


def entity_errors(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Count, for each type, the entities that were found, and how the others were missed.

    An entity of the reference has `other type` if the same words have another type, `other boundary` if a predicted
    entity shares a word with it, and else is `missed`; a predicted entity that shares no word with one of the reference
    is `invented`.
    """
    counts: dict[str, Counter[str]] = {}
    for labels, guesses in zip(gold, predicted, strict=True):
        expected, found = spans(labels), spans(guesses)
        for entity in expected:
            counts.setdefault(entity.type or "entity", Counter())[outcome_of(entity, found)] += 1
        for entity in found:
            if not any(overlap(entity, other) for other in expected):
                counts.setdefault(entity.type or "entity", Counter())[INVENTED] += 1
    return outcomes(counts, (RIGHT, OTHER_TYPE, OTHER_PLACE, MISSED, INVENTED), "entities")


def outcome_of(entity: Span, found: Sequence[Span]) -> str:
    if entity in found:
        return RIGHT
    if any((entity.start, entity.end) == (other.start, other.end) for other in found):
        return OTHER_TYPE
    return OTHER_PLACE if any(overlap(entity, other) for other in found) else MISSED


def overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def label_errors(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Count, for each of several labels a text, how often it was right, missed and invented."""
    counts: dict[str, Counter[str]] = {}
    for labels, guesses in zip(gold, predicted):
        for label in {*labels, *guesses}:
            outcome = RIGHT if label in labels and label in guesses else MISSED if label in labels else INVENTED
            counts.setdefault(label, Counter())[outcome] += 1
    return outcomes(counts, (RIGHT, MISSED, INVENTED), "labels")


def value_errors(gold: Sequence[float], predicted: Sequence[float]) -> dict[str, Any]:
    """Return a sample of right and predicted values, evenly over the examples."""
    step = max(1, len(gold) // SAMPLE)
    return {"units": "values"} | {
        name: [round(float(value), 4) for value in values[::step][:SAMPLE]]
        for name, values in (("right", gold), ("predicted", predicted))
    }
