"""Entities in sequences of labels, and their precision, recall and F1 as conlleval and seqeval count them.

Labels are `O` and, with a type after the hyphen, `B-` and `I-`, and of schemes that mark the ends of entities `L-` or
`E-` (the last word) and `U-` or `S-` (the only word). What is counted is lenient, as in the CoNLL shared tasks: an
entity begins at a `B-`, and also at a label inside an entity that follows `O`, an end, or another type. So labels of
IOB1 and stray `I-` count as entities. The strict reading, of seqeval's strict mode, counts no entity that has them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

ENDS = {"L": "E", "U": "S", "E": "E", "S": "S"}


class Entity(NamedTuple):
    """Words `start` to below `end` of a sentence."""

    type: str
    start: int
    end: int


def parts(label: str) -> tuple[str, str]:
    """What a label says of the place in an entity, `B`, `I`, `E`, `S` or `O`, and the entity's type."""
    place, _, type = label.partition("-")
    return ENDS.get(place, place), type


def entities(labels: Sequence[str]) -> list[Entity]:
    """The entities of a sentence, by the lenient rule of conlleval."""
    found, start, (before, type_before) = [], None, ("O", "")
    for position, label in enumerate([*labels, "O"]):
        place, type = parts(label)
        inside = place != "O"
        goes_on = inside and before in ("B", "I") and place in ("I", "E") and type == type_before
        if start is not None and not goes_on:
            found.append(Entity(type_before, start, position))
            start = None
        if inside and not goes_on:
            start = position
        before, type_before = place, type
    return found


def strict_entities(labels: Sequence[str], marks_ends: bool = False) -> list[Entity]:
    """The entities of a sentence every label of which is as IOB2, or with ends BIOUL, has it."""
    return [
        entity
        for entity in entities(labels)
        if is_well_formed([parts(label)[0] for label in labels[entity.start : entity.end]], marks_ends)
    ]


def is_well_formed(places: list[str], marks_ends: bool) -> bool:
    first, *inner = places
    if not marks_ends:
        return first == "B" and all(place == "I" for place in inner)
    if not inner:
        return first == "S"
    return first == "B" and inner[-1] == "E" and all(place == "I" for place in inner[:-1])


def entity_scores(
    gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]], find: Callable = entities
) -> dict[str, float]:
    """Precision, recall and F1 of entities over all sentences, the F1 of each type, and the accuracy of labels.

    An entity is right if it is among the reference's with the same words and the same type. What cannot be said,
    because there is nothing to count, is 0.

    Args:
        gold, predicted: The labels of each sentence.
        find: What finds the entities in labels.
    """
    right, in_gold, in_predicted = Counter(), Counter(), Counter()
    same = words = 0
    for labels, guesses in zip(gold, predicted, strict=True):
        expected, found = set(find(labels)), set(find(guesses))
        right.update(entity.type for entity in expected & found)
        in_gold.update(entity.type for entity in expected)
        in_predicted.update(entity.type for entity in found)
        same += sum(label == guess for label, guess in zip(labels, guesses, strict=True))
        words += len(labels)
    precision, recall, f1 = rates(right.total(), in_predicted.total(), in_gold.total())
    scores = {"precision": precision, "recall": recall, "f1": f1, "accuracy": same / words if words else 0.0}
    for type in sorted(in_gold | in_predicted):
        scores[f"f1_{type}"] = rates(right[type], in_predicted[type], in_gold[type])[2]
    return scores


def rates(right: int, predicted: int, gold: int) -> tuple[float, float, float]:
    """Precision, recall, F1."""
    return (
        right / predicted if predicted else 0.0,
        right / gold if gold else 0.0,
        2 * right / (predicted + gold) if predicted + gold else 0.0,
    )


def class_scores(gold: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """The accuracy of one label a text, `f1_<label>` of each label that `gold` has, and `macro_f1`, their mean."""
    if not gold:
        return {}
    right = Counter(label for label, guess in zip(gold, predicted, strict=True) if label == guess)
    in_gold, in_predicted = Counter(gold), Counter(predicted)
    by_label = {f"f1_{label}": rates(right[label], in_predicted[label], in_gold[label])[2] for label in sorted(in_gold)}
    return {"accuracy": right.total() / len(gold), "macro_f1": sum(by_label.values()) / len(by_label), **by_label}
