"""Counts of wrong predictions, which are written beside the results and drawn.

    confusions  `labels`, and `counts` of each right label (rows) and predicted label (columns)
    outcomes    `groups`, such as types of entities, and for each outcome, the right one first, its count in each group
    values      pairs of `right` and `predicted` values

Each says in `units` what is counted.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..model.label_schemes_elmo import Span, spans
from .metrics import PREDICATE, arguments_of

Clusters = Sequence[Sequence[tuple[int, ...]]]

SHOWN = 15  # labels or groups; all others are one
OTHERS = "(others)"
SAMPLE = 500  # values at most
RIGHT, OTHER_TYPE, OTHER_PLACE, MISSED, INVENTED = "right", "other type", "other boundary", "missed", "invented"
OTHER_LINK, NO_ARGUMENT = "other link", "(none)"
LONG = 5  # words of a mention; longer ones are one group


def confusions(pairs: Iterable[tuple[str, str]], units: str) -> dict[str, Any]:
    """Count pairs of right and predicted labels; of many labels, the rare ones are one."""
    counts, frequent = Counter(pairs), Counter()
    for (right, predicted), count in counts.items():
        frequent.update({right: count})
        frequent.update({predicted: count})
    labels = sorted(frequent)
    if len(frequent) > SHOWN:
        labels = [*sorted(label for label, _ in frequent.most_common(SHOWN - 1)), OTHERS]
    places = {label: place for place, label in enumerate(labels)}
    table = [[0] * len(labels) for _ in labels]
    for (right, predicted), count in counts.items():
        table[places.get(right, -1)][places.get(predicted, -1)] += count
    return {"units": units, "labels": labels, "counts": table}


def outcomes(
    found: Iterable[tuple[str, str]], order: Sequence[str], units: str, key: Callable[[str], Any] | None = None
) -> dict[str, Any]:
    """Count the outcomes of each group, those of the groups beyond `SHOWN` as of one.

    Args:
        found: Pairs of a group and an outcome.
        order: All outcomes, the right one first.
        key: Sorts the groups; by default the largest are first.
    """
    counts: dict[str, Counter[str]] = {}
    for group, outcome in found:
        counts.setdefault(group, Counter())[outcome] += 1
    groups = sorted(counts, key=key or (lambda group: (-counts[group].total(), group)))
    if len(groups) > SHOWN:
        rare = groups[SHOWN - 1 :]
        groups = [*groups[: SHOWN - 1], OTHERS]
        counts[OTHERS] = sum((counts[group] for group in rare), Counter())
    return {
        "units": units,
        "groups": groups,
        "outcomes": {name: [counts[one][name] for one in groups] for name in order},
    }


def entity_errors(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Count, for each type, the entities that were found, and how the others were missed.

    An entity of the reference has `other type` if the same words have another type, `other boundary` if a predicted
    entity shares a word with it, and else is `missed`; a predicted entity that shares no word with one of the reference
    is `invented`.
    """
    pairs = []
    for labels, guesses in zip(gold, predicted, strict=True):
        expected, found = spans(labels), spans(guesses)
        pairs += [(entity.type or "entity", outcome_of(entity, found)) for entity in expected]
        invented = [entity for entity in found if not any(overlap(entity, other) for other in expected)]
        pairs += [(entity.type or "entity", INVENTED) for entity in invented]
    return outcomes(pairs, (RIGHT, OTHER_TYPE, OTHER_PLACE, MISSED, INVENTED), "entities")


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
    pairs = [
        (label, (RIGHT if label in guesses else MISSED) if label in labels else INVENTED)
        for labels, guesses in zip(gold, predicted)
        for label in {*labels, *guesses}
    ]
    return outcomes(pairs, (RIGHT, MISSED, INVENTED), "labels")


def role_errors(gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> dict[str, Any]:
    """Count the predicted role of each argument, `NO_ARGUMENT` where no argument has its words, and of each predicted
    argument whose words are none. The predicate itself does not count.

    Args:
        gold, predicted: Labels of the words, for each predicate.
    """
    pairs = []
    for labels, guesses in zip(gold, predicted, strict=True):
        sides = [
            {one.pieces: one.role for one in arguments_of(side) if one.role != PREDICATE} for side in (labels, guesses)
        ]
        places = {**sides[0], **sides[1]}
        pairs += [(sides[0].get(place, NO_ARGUMENT), sides[1].get(place, NO_ARGUMENT)) for place in places]
    return confusions(pairs, "arguments")


def coreference_errors(gold: Sequence[Clusters], predicted: Sequence[Clusters]) -> dict[str, Any]:
    """Count how the mentions of documents were found and linked, by their number of words.

    A mention is `right` if the mention before it in its predicted cluster, or none, is one of its own. Else it has
    `other link`: to another cluster, or to none. A mention that is not predicted has `other boundary` if a predicted
    one begins or ends with the same word, and else is `missed`; other predicted mentions are `invented`.

    Args:
        gold, predicted: For each document, clusters of mentions, each its first and its last word.
    """
    pairs = []
    for clusters, guesses in zip(gold, predicted, strict=True):
        own, found = ({mention: sorted(part) for part in side for mention in part} for side in (clusters, guesses))
        used = set()
        for mention, cluster in own.items():
            near = [one for one in found if one not in own and (one[0] == mention[0] or one[1] == mention[1])]
            if mention in found:
                before, linked = cluster[: cluster.index(mention)], found[mention]
                latest = linked[: linked.index(mention)][-1:]
                outcome = RIGHT if (latest[0] in before if latest else not before) else OTHER_LINK
            else:
                outcome = OTHER_PLACE if near else MISSED
                used.update(near)
            pairs.append((words_of(mention), outcome))
        pairs += [(words_of(mention), INVENTED) for mention in found if mention not in own and mention not in used]
    return outcomes(pairs, (RIGHT, OTHER_LINK, OTHER_PLACE, MISSED, INVENTED), "mentions", key=str)


def words_of(mention: Sequence[int]) -> str:
    count = mention[1] - mention[0] + 1
    return f"{count} word{'s' if count > 1 else ''}" if count < LONG else f"{LONG} words and more"


def score_errors(scores: Iterable[tuple[int, float]], name: str, units: str) -> dict[str, Any]:
    """Count texts by the words of their source and by a score, from 0 to 100, in steps of 20."""
    steps = [f"{name} {low} to {low + 20}" for low in range(80, -1, -20)]
    pairs = []
    for words, score in scores:
        low = max(0, words - 1) // 10 * 10
        pairs.append((f"{low + 1} to {low + 10} words", steps[4 - min(4, int(score // 20))]))
    return outcomes(pairs, steps, units, key=lambda group: int(group.split()[0]))


def value_errors(gold: Sequence[float], predicted: Sequence[float]) -> dict[str, Any]:
    """Return a sample of right and predicted values, evenly over the examples."""
    step = max(1, len(gold) // SAMPLE)
    return {"units": "values"} | {
        name: [round(float(value), 4) for value in values[::step][:SAMPLE]]
        for name, values in (("right", gold), ("predicted", predicted))
    }
