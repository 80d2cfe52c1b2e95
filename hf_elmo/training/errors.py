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
from .role_metrics import PREDICATE, arguments_of

Clusters = Sequence[Sequence[tuple[int, ...]]]

SHOWN = 15  # labels or groups; all others are one
OTHERS = "(others)"
SAMPLE = 500  # values at most
RIGHT, OTHER_TYPE, OTHER_PLACE, MISSED, INVENTED = "right", "other type", "other boundary", "missed", "invented"
OTHER_LINK, NO_ARGUMENT = "other link", "(none)"
LONG = 5  # words of a mention; longer ones are one group


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


def outcomes(
    counts: Mapping[str, Counter[str]], order: Sequence[str], units: str, groups: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the counts of each group's outcomes, those of the groups beyond `SHOWN` as one.

    Args:
        counts: For each group, how often it had which outcome.
        order: All outcomes, the right one first.
        groups: The groups in their order; by default the largest first.
    """
    groups = groups or sorted(counts, key=lambda group: (-counts[group].total(), group))
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
    counts: dict[str, Counter[str]] = {}
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
            counts.setdefault(words_of(mention), Counter())[outcome] += 1
        for mention in found:
            if mention not in own and mention not in used:
                counts.setdefault(words_of(mention), Counter())[INVENTED] += 1
    return outcomes(counts, (RIGHT, OTHER_LINK, OTHER_PLACE, MISSED, INVENTED), "mentions", sorted(counts))


def words_of(mention: Sequence[int]) -> str:
    count = mention[1] - mention[0] + 1
    return f"{count} word{'s' if count > 1 else ''}" if count < LONG else f"{LONG} words and more"


def score_errors(scores: Iterable[tuple[int, float]], name: str, units: str) -> dict[str, Any]:
    """Count texts by their length and their score, from 0 to 100, in steps of 20.

    Args:
        scores: Words of each source, and the score of the text written for it.
        name: What the score is called.
    """
    steps = [f"{name} {low} to {low + 20}" for low in range(80, -1, -20)]
    counts: dict[str, Counter[str]] = {}
    for words, score in scores:
        low = max(0, words - 1) // 10 * 10
        counts.setdefault(f"{low + 1} to {low + 10} words", Counter())[steps[4 - min(4, int(score // 20))]] += 1
    return outcomes(counts, steps, units, sorted(counts, key=lambda group: int(group.split()[0])))


def value_errors(gold: Sequence[float], predicted: Sequence[float]) -> dict[str, Any]:
    """Return a sample of right and predicted values, evenly over the examples."""
    step = max(1, len(gold) // SAMPLE)
    return {"units": "values"} | {
        name: [round(float(value), 4) for value in values[::step][:SAMPLE]]
        for name, values in (("right", gold), ("predicted", predicted))
    }
